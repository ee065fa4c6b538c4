"""The retrieval stage of the software device: its structures out of memory, its answer by golden.

One simplification: a corpus of which a part lies outside the readable regions ends with REGION even
if no row is looked at there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.golden.block_retrieval import retrieve_blocks
from rpaccel.golden.corpus import Corpus, CorpusQuery, Found
from rpaccel.host.compile import align
from rpaccel.host.refused import RefusedError
from rpaccel.spec.accelerator import AcceleratorConfig, is_power_of_two
from rpaccel.spec.isa import CORPUS, ISA_VERSION, MAX_STAGES, RETRIEVAL, RetrievalFlag, Status
from rpaccel.spec.retrieval import MIN_ROW_BYTES, Metric

__all__ = ["Scan", "read_scan", "shifted"]

Fetch = Callable[[int, int], npt.NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """A retrieval stage as it is in memory. list_address : where the ids go if a stage follows."""

    corpus: Corpus
    query: CorpusQuery
    list_address: int

    def run(self) -> Found:
        """Return what the scan finds."""
        return retrieve_blocks(self.corpus, [self.query])[0]


def shifted(descriptor: dict[str, int], **changes: int) -> dict[str, int]:
    """Return the descriptor of the stages behind a retrieval stage, as a funnel gets it."""
    moved = dict(descriptor)
    for name in [field for field in descriptor if field.startswith("stage0_")]:
        part = name.removeprefix("stage0_")
        for stage in range(MAX_STAGES - 1):
            moved[f"stage{stage}_{part}"] = descriptor[f"stage{stage + 1}_{part}"]
        moved[f"stage{MAX_STAGES - 1}_{part}"] = 0
    return moved | {"stages": descriptor["stages"] - 1} | changes


def read_scan(address: int, k: int, config: AcceleratorConfig, fetch: Fetch) -> Scan:
    """Return what the RETRIEVAL at `address` asks for, and the corpus as it is now.

    fetch : reads memory, or raises RefusedError. Raises RefusedError with BAD_CORPUS for a wrong
    structure, with REGION for addresses that the bus does not have.
    """
    asked = RETRIEVAL.from_bytes(fetch(address, RETRIEVAL.bytes).tobytes())
    places = [asked[name] for name in ("corpus", "vector", "list", "bitmap")]
    _check(asked["version"] == ISA_VERSION, Status.BAD_CORPUS)
    _check_places(places, config)
    header = CORPUS.from_bytes(fetch(asked["corpus"], CORPUS.bytes).tobytes())
    width, stripes = header["row_bytes"], config.memory_ports * config.stripe_bytes
    _check(
        header["version"] == ISA_VERSION
        and is_power_of_two(width)
        and MIN_ROW_BYTES <= width <= config.retrieval_row_bytes_max
        and header["metric"] in list(Metric)
        and header["base"] % stripes == 0,
        Status.BAD_CORPUS,
    )
    _check_places([header[name] for name in ("base", "live", "scales")], config)
    vector = fetch(asked["vector"], width).view(np.int8)
    rows, metric = header["rows"], Metric(header["metric"])

    def bits(place: int) -> npt.NDArray[np.bool_] | None:
        if not place or not rows:
            return None
        raw = fetch(place, align(-(-rows // 8), config.beat_bytes))
        return np.unpackbits(raw, count=rows, bitorder="little").astype(np.bool_)

    scales = np.zeros(rows, dtype=np.int64)
    if metric is Metric.COSINE and rows:
        raw = fetch(header["scales"], align(2 * rows, config.beat_bytes))
        scales = raw.view("<u2")[:rows].astype(np.int64)
    live, bitmap = bits(header["live"]), bits(asked["bitmap"])
    held = fetch(header["base"], rows * width) if rows else np.zeros(0, dtype=np.uint8)
    flags = RetrievalFlag(asked["flags"] & int(RetrievalFlag.FLOOR | RetrievalFlag.PAGE))
    return Scan(
        corpus=Corpus(
            rows=held.view(np.int8).reshape(rows, width),
            count=rows,
            metric=metric,
            live=np.ones(rows, dtype=np.bool_) if live is None else live,
            scales=scales,
        ),
        query=CorpusQuery(
            vector=vector,
            k=k,
            floor=asked["floor"] if RetrievalFlag.FLOOR in flags else None,
            page=(asked["page_score"], asked["page_id"]) if RetrievalFlag.PAGE in flags else None,
            bitmap=bitmap,
        ),
        list_address=asked["list"],
    )


def _check(holds: bool, status: Status) -> None:
    if not holds:
        raise RefusedError(status)


def _check_places(places: list[int], config: AcceleratorConfig) -> None:
    _check(not any(place % config.beat_bytes for place in places), Status.BAD_CORPUS)
    _check(not any(place >> config.axi_address_bits for place in places), Status.REGION)
