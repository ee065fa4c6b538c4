"""What an application asks of a retrieval stage, and its form in device memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import ISA_VERSION, RETRIEVAL, RetrievalFlag
from rpaccel.spec.retrieval import MAX_ROW_BYTES

__all__ = ["INPUT_BYTES", "CorpusPlace", "Retrieval", "RowMask", "check_retrieval", "encode"]

INPUT_BYTES = RETRIEVAL.bytes + MAX_ROW_BYTES  # the structure, then the vector


@dataclass(frozen=True, kw_only=True)
class CorpusPlace:
    """A corpus in device memory. address : of its header. dim : bytes of a row that are used."""

    address: int
    row_bytes: int
    dim: int


@dataclass(frozen=True, kw_only=True)
class RowMask:
    """Rows of a corpus that queries look at: a bitmap in device memory."""

    address: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrieval:
    """The k best rows of a corpus: a query, or the first stage of one (`Request.retrieval`).

    vector : int8[dim]. floor : lower scores are not found. page : (score, id), only rows behind it
    in the order (score descending, id ascending). mask : None: all rows are looked at.
    base, shift : of the filter's buckets; they change the time, not the answer.
    deadline_cycles : of a query of its own, from when the device fetches it; 0: none.
    """

    corpus: CorpusPlace
    vector: npt.NDArray[np.int8]
    k: int
    floor: int | None = None
    page: tuple[int, int] | None = None
    mask: RowMask | None = None
    base: int = 0
    shift: int = 0
    deadline_cycles: int = 0


def check_retrieval(asked: Retrieval, config: AcceleratorConfig, stages: int) -> None:
    """Check what the device would refuse. stages : that follow.

    Raises ValueError that names the parameter, the rule and the value.
    """
    if not config.retrieval_queries:
        raise ValueError(
            f"retrieval_queries of {config.name!r} must be at least 1 for retrieval, not 0"
        )
    limit = min(config.retrieval_k_max, config.max_items) if stages else config.retrieval_k_max
    if not 1 <= asked.k <= limit:
        raise ValueError(f"k of the retrieval must be in 1..{limit}, not {asked.k}")
    vector = np.asarray(asked.vector)
    if vector.dtype != np.int8 or vector.shape != (asked.corpus.dim,):
        raise ValueError(
            f"vector must be int8[{asked.corpus.dim}], not {vector.dtype}{list(vector.shape)}"
        )
    scores = {"floor": asked.floor, "score of page": asked.page and asked.page[0]}
    for name, score in scores.items():
        if score is not None and not -(1 << 31) <= score < 1 << 31:
            raise ValueError(f"{name} must be an int32, not {score}")
    if asked.page is not None and not 0 <= asked.page[1] < 1 << 32:
        raise ValueError(f"id of page must be in 0..{(1 << 32) - 1}, not {asked.page[1]}")
    if asked.deadline_cycles < 0:
        raise ValueError(f"deadline_cycles must be at least 0, not {asked.deadline_cycles}")


def encode(asked: Retrieval, address: int, list_address: int) -> bytes:
    """Return the RETRIEVAL that lies at `address`, with its vector behind it."""
    flags = RetrievalFlag(0)
    if asked.floor is not None:
        flags |= RetrievalFlag.FLOOR
    if asked.page is not None:
        flags |= RetrievalFlag.PAGE
    score, row = asked.page or (0, 0)
    structure = RETRIEVAL.to_bytes(
        {
            "corpus": asked.corpus.address,
            "vector": address + RETRIEVAL.bytes,
            "list": list_address,
            "bitmap": asked.mask.address if asked.mask else 0,
            "base": asked.base,
            "shift": asked.shift,
            "flags": flags,
            "version": ISA_VERSION,
            "floor": asked.floor or 0,
            "page_score": score,
            "page_id": row,
        }
    )
    vector = np.asarray(asked.vector, dtype=np.int8).tobytes()
    return structure + vector.ljust(asked.corpus.row_bytes, b"\0")
