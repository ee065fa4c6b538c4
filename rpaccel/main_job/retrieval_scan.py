"""`rpaccel retrieval-scan`: what scans in the netlist get of a memory, and what it could give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpaccel.golden.retrieval import inner_product, top_k
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.retrieval_simulator import ScanTask, build_retrieval, run_retrieval
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.scan_latency import (
    LatencyRow,
    asked_of,
    ideal_cycles,
    latency_study,
    latency_text,
)
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.retrieval import Metric

__all__ = [
    "ORDERS", "MaskRow", "ScanRow", "law_study", "machine", "mask_study", "scan_study", "scan_text",
    "scan_values",
]  # fmt: skip

BEAT_BYTES = 64
ROW_BYTES = 64
ORDERS = ("random", "descending", "ascending", "equal")

_TEXT = """\
# Scans in the netlist

Written by `rpaccel retrieval-scan`: \
the retrieval engine by itself on AXI memory (`rtl/retrieval_system.py`),
Verilated; {rows:,} rows of {row_bytes} bytes, K = {k}, {queries} queries share a scan, ports of
{beat_bytes} bytes a beat at 250 MHz (assumed). Every answer is equal to a full sort. Rows are in an
order of the first query's scores; equal: one row, again and again.

cycles: of the second of two scans in a row, from the first one's last row to its own. ideal: a
requester with unlimited reads in flight that reads the same addresses again and again
(`host/ideal_requester.py`). overrun: of the cycles over those. waits: cycles in which a beat waits
for a filter. answer: from the last row to the answer's end; where queries queue it leaves while the
next scan runs.

"""
_MASKS = """
## Bitmaps

Scans of {ports} ports ({memory}) in which only some rows are looked at. A burst in which nobody
looks at a row is not read.

"""


@dataclass(frozen=True, kw_only=True)
class ScanRow:
    """A case. cycles : from the last row of a scan to that of the next one, right behind it.

    ideal_cycles : of the same beats, read again and again. stalled_cycles : a beat waits for a
    filter. answer_cycles : from the last row to the answer's end. The figures are those of the
    slower query of the second scan.
    """

    ports: int
    queries: int
    memory: str
    order: str
    rows: int
    k: int
    cycles: int
    ideal_cycles: int
    stalled_cycles: int
    answer_cycles: int
    cycles_per_s: float

    @property
    def share(self) -> float:
        """Of the beats that the ideal requester gets in the same time."""
        return self.ideal_cycles / self.cycles

    @property
    def overrun(self) -> float:
        """Cycles beyond the ideal requester's, as a share of those."""
        return self.cycles / self.ideal_cycles - 1


@dataclass(frozen=True, kw_only=True)
class MaskRow:
    """A scan with a bitmap: runs of `run` rows, of which `share` are looked at."""

    share: float
    run: int
    blocks: float  # share of bursts in which a row is looked at
    beats: int
    cycles: int


def machine(ports: int, queries: int, k: int) -> AcceleratorConfig:
    """Return a machine whose engine matters alone: ports of 64 bytes, a row per beat."""
    return load_accelerator("edge").model_copy(
        update={
            "name": f"scan of {ports} ports",
            "memory_ports": ports,
            "row_banks": ports,
            "axi_data_bits": 8 * BEAT_BYTES,
            "stripe_bytes": 16 * BEAT_BYTES,
            "reads_in_flight": 64,
            "retrieval_queries": queries,
            "retrieval_k_max": max(16, k),
        }
    )


def _corpus(order: str, rows: int, seed: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return rows in an order of the first query's scores, and four queries."""
    rng = np.random.default_rng(seed)
    corpus = rng.integers(-128, 128, (rows, ROW_BYTES)).astype(np.int8)
    vectors = rng.integers(-128, 128, (4, ROW_BYTES)).astype(np.int8)
    if order == "equal":
        corpus[:] = corpus[0]
    elif order != "random":
        sign = 1 if order == "ascending" else -1
        corpus = corpus[np.argsort(sign * inner_product(corpus, vectors[0]), kind="stable")]
    return corpus, vectors


def scan_study(
    ports: Sequence[int],
    memories: Sequence[str],
    orders: Sequence[str],
    *,
    rows: int,
    k: int,
    queries: int,
    seed: int,
    progress: Callable[[str], None],
) -> Iterator[ScanRow]:
    """Run every case; raise RuntimeError if an answer is not that of a full sort."""
    for count in ports:
        config = machine(count, queries, k)
        program = build_retrieval(config, progress=progress)
        for order in orders:
            corpus, vectors = _corpus(order, rows, seed)
            asked = asked_of(corpus, vectors[:queries], k)
            tasks = [ScanTask(corpus=0, metric=Metric.INNER_PRODUCT, queries=asked)] * 2
            wanted = [top_k(inner_product(corpus, query.vector), k) for query in asked]
            for memory in memories:
                timing = MemoryTiming.of(memory)
                begin = time.monotonic()
                run = run_retrieval(program, config, [(corpus, None, None)], tasks, timing)
                seconds = time.monotonic() - begin
                for answers in run.answers:
                    for ids, answer in zip(wanted, answers, strict=True):
                        if not np.array_equal(ids, answer.ids):
                            raise RuntimeError(f"{count} ports, {order}, {memory}: wrong rows")
                before, last = (max(found, key=lambda each: each.ended) for found in run.answers)
                once, twice = (ideal_cycles(config, timing, corpus.size, n) for n in (1, 2))
                progress(f"{count} ports, {order}, {memory}: {run.cycles} cycles")
                yield ScanRow(
                    ports=count,
                    queries=queries,
                    memory=memory,
                    order=order,
                    rows=rows,
                    k=k,
                    cycles=last.reported - before.reported,
                    ideal_cycles=twice - once,
                    stalled_cycles=last.stalled_cycles,
                    answer_cycles=last.ended - last.reported,
                    cycles_per_s=run.cycles / seconds,
                )


def mask_study(
    ports: int,
    memory: str,
    *,
    rows: int,
    k: int,
    queries: int,
    seed: int,
    progress: Callable[[str], None],
) -> Iterator[MaskRow]:
    """Run scans whose queries share a bitmap of runs of rows."""
    config = machine(ports, queries, k)
    program = build_retrieval(config, progress=progress)
    corpus, vectors = _corpus("random", rows, seed)
    per_block = config.retrieval_block_bytes // ROW_BYTES
    for share, run_rows in ((1, rows), (1 / 2, 4096), (1 / 8, 4096), (1 / 64, 4096), (1 / 64, 1)):
        rng = np.random.default_rng(seed)
        mask = np.repeat(rng.random(rows // run_rows) < share, run_rows)
        asked = [replace(query, bitmap=mask) for query in asked_of(corpus, vectors[:queries], k)]
        task = ScanTask(corpus=0, metric=Metric.INNER_PRODUCT, queries=asked)
        timing = MemoryTiming.of(memory)
        answers = run_retrieval(program, config, [(corpus, None, None)], [task], timing).answers[0]
        ids = np.flatnonzero(mask)
        for query, answer in zip(asked, answers, strict=True):
            scores = inner_product(corpus[mask], query.vector)
            if not np.array_equal(ids[top_k(scores, k, ids)], answer.ids):
                raise RuntimeError(f"a bitmap of {share}: wrong rows")
        yield MaskRow(
            share=float(mask.mean()),
            run=run_rows,
            blocks=float(mask.reshape(-1, per_block).any(1).mean()),
            beats=answers[0].beats,
            cycles=answers[0].reported - answers[0].started,
        )


def law_study(
    ports: Sequence[int],
    memories: Sequence[str],
    *,
    rows: int,
    k: int,
    queries: int,
    seed: int,
    progress: Callable[[str], None],
    trace: Path | None = None,
) -> Iterator[LatencyRow]:
    """Run scans alone by ports, K and length of rows; 16 ports read as many bytes as `rows` are.

    trace : folder of a timeline of each.
    """
    sizes = [(ROW_BYTES, max(1, k // part)) for part in (1, 8, 64)]
    sizes += [(length * ROW_BYTES, k) for length in (2, 8)]
    for count in ports:
        config = machine(count, queries, k)
        yield from latency_study(
            config,
            memories,
            sizes,
            corpus_bytes=rows * ROW_BYTES // 16 * count,
            seed=seed,
            progress=progress,
            trace=trace,
        )


def scan_text(rows: Sequence[ScanRow], laws: Sequence[LatencyRow], masks: Sequence[MaskRow]) -> str:
    """Return the page."""
    first, full = rows[0], masks[0]
    table = markdown_table(
        ("ports", "memory", "order", "cycles", "ideal", "of its beats", "overrun", "waits",
         "answer"),
        [
            (
                str(row.ports),
                row.memory,
                row.order,
                f"{row.cycles:,}",
                f"{row.ideal_cycles:,}",
                f"{100 * row.share:.2f} %",
                f"{100 * row.overrun:.2f} %",
                f"{row.stalled_cycles:,}",
                f"{row.answer_cycles:,}",
            )
            for row in rows
        ],
    )  # fmt: skip
    mask_table = markdown_table(
        (
            "rows looked at",
            "in runs of",
            "bursts with one",
            "beats read",
            "cycles",
            "of a full scan",
        ),
        [
            (
                f"{100 * row.share:.2f} %",
                f"{row.run:,}",
                f"{100 * row.blocks:.2f} %",
                f"{row.beats:,}",
                f"{row.cycles:,}",
                f"{100 * row.cycles / full.cycles:.2f} %",
            )
            for row in masks
        ],
    )
    opening = _TEXT.format(
        rows=first.rows,
        row_bytes=ROW_BYTES,
        k=first.k,
        queries=first.queries,
        beat_bytes=BEAT_BYTES,
    )
    bitmaps = _MASKS.format(ports=first.ports, memory=first.memory) + mask_table
    return opening + table + latency_text(laws) + bitmaps


def scan_values(
    rows: Sequence[ScanRow], laws: Sequence[LatencyRow], masks: Sequence[MaskRow]
) -> dict[str, Any]:
    """Return the figures as JSON values."""
    return {
        "scans": [asdict(row) | {"share": row.share} for row in rows],
        "latencies": [
            asdict(row) | {"predicted_cycles": row.predicted_cycles, "error": row.error}
            for row in laws
        ],
        "bitmaps": [asdict(row) for row in masks],
    }
