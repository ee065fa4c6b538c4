"""L = M / B + C of scans in the netlist beside the formulas; the page is retrieval_scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rpaccel.golden.retrieval import inner_product, top_k
from rpaccel.host.axi_memory import MEMORIES, MemoryTiming
from rpaccel.host.ideal_requester import requester_report
from rpaccel.host.retrieval_simulator import (
    RetrievalRun,
    ScanQuery,
    ScanTask,
    build_retrieval,
    run_retrieval,
)
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.query_tracks import QueryTracks, write_tracks
from rpaccel.perfmodel import retrieval
from rpaccel.perfmodel.retrieval_latency import (
    DDR4_PORT_BYTES_PER_S,
    HBM2_PORT_BYTES_PER_S,
    Constant,
    MemoryPath,
    constant_of,
)
from rpaccel.perfmodel.trace_events import QuerySpan
from rpaccel.rtl.memory_fabric import SCAN_SLOTS
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig
from rpaccel.spec.retrieval import Metric
from rpaccel.spec.retrieval_buckets import place_buckets, sample_places
from rpaccel.spec.stripe import port_of

__all__ = [
    "CLOCK_HZ", "LatencyRow", "asked_of", "counted", "ideal_cycles", "latency_study",
    "latency_text", "path_of", "scan_tracks",
]  # fmt: skip

Int8 = npt.NDArray[np.int8]
CLOCK_HZ = 250e6  # assumed
SUSTAINED = {"hbm2": HBM2_PORT_BYTES_PER_S, "ddr4": DDR4_PORT_BYTES_PER_S}

_TEXT = """
## L = M / B + C

Scans alone, {mib:g} MiB per port in random order, from the scan's start to the end of the last
query's answer; all in cycles. M / B and C are the formulas of `perfmodel/retrieval_latency.py`: B
is the least of a beat per cycle and port, what Shuhai measured of the memory, and bursts in flight
over latency; C is memory's first beat + scoring + overrun + closing + answer, the last three
counted by the register-exact model of the filter. The answer is the sorter's: it hangs on how full
its last run is. Largest error: {worst:.2f} %.

scan: to the last row. overrun: of that, over the ideal requester. gap: what a scan behind another
takes from last row to last row more than an ideal requester that never stops reading; on DDR4 with
what {slots} bursts in flight per port do not hide of its refreshes.

"""


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """A scan alone, and one behind it. All cycles; of the slower query.

    stream_cycles, constant : M / B and C by the formulas. latency_cycles, scan_cycles,
    answer_cycles : from the start to the end of the answer, to the last row, from there on.
    ideal_cycles : of the same beats. period_cycles, ideal_period_cycles : from the last row of a
    scan to that of the next one, and of a requester that reads the corpus again and again.
    """

    ports: int
    memory: str
    row_bytes: int
    k: int
    corpus_bytes: int
    stream_cycles: float
    constant: Constant
    latency_cycles: int
    scan_cycles: int
    answer_cycles: int
    ideal_cycles: int
    period_cycles: int
    ideal_period_cycles: int

    @property
    def predicted_cycles(self) -> float:
        """L by the formulas."""
        return self.stream_cycles + self.constant.total

    @property
    def error(self) -> float:
        """Of the predicted L, as a share of the measured one."""
        return self.predicted_cycles / self.latency_cycles - 1

    @property
    def overrun(self) -> float:
        """Cycles of the scan beyond the ideal requester's, as a share of those."""
        return self.scan_cycles / self.ideal_cycles - 1

    @property
    def gap_cycles(self) -> int:
        """Cycles between two scans in which memory could have given beats."""
        return self.period_cycles - self.ideal_period_cycles


def path_of(config: AcceleratorConfig, memory: str) -> MemoryPath:
    """Return how the netlist's scan reads a memory of SUSTAINED, a row miss first."""
    dram = MEMORIES[memory]
    assert dram is not None, memory
    return MemoryPath(
        ports=config.memory_ports,
        beat_bytes=config.beat_bytes,
        clock_hz=CLOCK_HZ,
        memory_bytes_per_s=SUSTAINED[memory],
        burst_bytes=config.retrieval_block_bytes,
        in_flight=SCAN_SLOTS,
        latency_s=1e-9 * dram.page_miss_ns,
    )


def asked_of(corpus: Int8, vectors: Int8, k: int) -> list[ScanQuery]:
    """Return queries whose buckets are placed as `host.corpus` places them."""
    sample = corpus[sample_places(len(corpus))]
    return [
        ScanQuery(vector=vector, k=k, base=base, shift=shift)
        for vector in vectors
        for base, shift in [place_buckets(inner_product(sample, vector))]
    ]


def ideal_cycles(
    config: AcceleratorConfig, timing: MemoryTiming, corpus_bytes: int, scans: int = 1
) -> int:
    """Return the cycles in which an ideal requester reads a corpus, `scans` times in a row."""
    block = config.retrieval_block_bytes
    at = config.memory_ports * block + np.arange(0, corpus_bytes, block)
    at = np.tile(at, scans)
    return requester_report(timing, at, block, port_of(config, at)).cycles


def counted(
    config: AcceleratorConfig, scores: npt.NDArray[np.int64], query: ScanQuery, beats_per_row: int
) -> retrieval.ScanReport:
    """Return the filter's cycles of scores, int64[rows], that come as the ports give them.

    A port's bursts follow each other, a beat per set; a row's score comes with its last beat.
    """
    beats = np.zeros((2, len(scores), beats_per_row), dtype=np.int64)
    beats[:, :, -1] = scores, np.ones(len(scores))
    places = beats.reshape(2, -1, config.memory_ports, BURST_BEATS).swapaxes(2, 3).reshape(2, -1)
    return retrieval.scan(
        config.retrieval, places[0], query.k, query.base, query.shift, places[1] != 0
    )


def latency_study(
    config: AcceleratorConfig,
    memories: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    *,
    corpus_bytes: int,
    seed: int,
    progress: Callable[[str], None],
    trace: Path | None = None,
) -> Iterator[LatencyRow]:
    """Run two scans of each case; sizes : (row_bytes, k), rows of whole beats of one port each.

    trace : folder of a timeline of each case. Raises RuntimeError if an answer is not that of a
    full sort.
    """
    program = build_retrieval(config, progress=progress)
    for row_bytes, k in sizes:
        rng = np.random.default_rng(seed)
        rows, queries = corpus_bytes // row_bytes, config.retrieval_queries
        corpus = rng.integers(-128, 128, (rows, row_bytes)).astype(np.int8)
        vectors = rng.integers(-128, 128, (queries, row_bytes)).astype(np.int8)
        asked = asked_of(corpus, vectors, k)
        scores = [inner_product(corpus, query.vector) for query in asked]
        beats_per_row = row_bytes // config.beat_bytes
        reports = [
            counted(config, of_rows, query, beats_per_row)
            for of_rows, query in zip(scores, asked, strict=True)
        ]
        slowest = max(reports, key=lambda report: report.end_cycle)
        tasks = [ScanTask(corpus=0, metric=Metric.INNER_PRODUCT, queries=asked)] * 2
        for memory in memories:
            timing, path = MemoryTiming.of(memory, clock_hz=CLOCK_HZ), path_of(config, memory)
            run = run_retrieval(program, config, [(corpus, None, None)], tasks, timing)
            progress(f"{config.memory_ports} ports, {memory}, {row_bytes} bytes, K = {k}")
            _check(run, [top_k(each, k) for each in scores])
            last, behind = (max(found, key=lambda each: each.ended) for found in run.answers)
            once, twice = (ideal_cycles(config, timing, corpus_bytes, n) for n in (1, 2))
            row = LatencyRow(
                ports=config.memory_ports,
                memory=memory,
                row_bytes=row_bytes,
                k=k,
                corpus_bytes=corpus_bytes,
                stream_cycles=corpus_bytes / path.bytes_per_s * CLOCK_HZ,
                constant=constant_of(slowest, path, beats_per_row=beats_per_row),
                latency_cycles=last.ended - last.started,
                scan_cycles=last.reported - last.started,
                answer_cycles=last.ended - last.reported,
                ideal_cycles=once,
                period_cycles=behind.reported - last.reported,
                ideal_period_cycles=twice - once,
            )
            if trace is not None:
                name = f"{row.ports}_ports_{memory}_{row_bytes}_bytes_{k}_rows.json"
                write_tracks(trace / name, scan_tracks(run, row))
            yield row


def scan_tracks(run: RetrievalRun, row: LatencyRow) -> list[QueryTracks]:
    """Return the queries of scans that follow each other, in the engine and by the formulas.

    A query is called by its number in the run; all of them wait from the first scan's start on.
    """
    engine = QueryTracks(source="engine", queries=2)
    model = QueryTracks(source="model", queries=4)
    begin, tag = min(answer.started for answer in run.answers[0]), 0
    for scan, answers in enumerate(run.answers):
        starts, scanned = (round(begin + n * row.stream_cycles) for n in (scan, scan + 1))
        end = scanned + row.constant.total
        for answer in answers:
            engine.add(
                QuerySpan(tag=tag, fetched_at=begin, begun_at=answer.started, ended_at=answer.ended)
            )
            engine.add_part(
                "scan", tag, answer.started, answer.reported, beats=answer.beats,
                stalled_cycles=answer.stalled_cycles,
            )  # fmt: skip
            model.add(QuerySpan(tag=tag, fetched_at=begin, begun_at=starts, ended_at=end))
            model.add_part("scan", tag, starts, scanned)
            tag += 1
    return [engine, model]


def _check(run: RetrievalRun, wanted: Sequence[npt.NDArray[np.int64]]) -> None:
    for answers in run.answers:
        for ids, answer in zip(wanted, answers, strict=True):
            if not np.array_equal(ids, answer.ids):
                raise RuntimeError("wrong rows")


def latency_text(rows: Sequence[LatencyRow]) -> str:
    """Return the section of the page."""
    head = ("ports", "memory", "row [B]", "K", "M / B", "C", "of it the answer", "L predicted",
            "L measured", "error", "scan", "overrun", "answer", "gap")  # fmt: skip
    cells = [
        (
            str(row.ports),
            row.memory,
            str(row.row_bytes),
            f"{row.k:,}",
            f"{row.stream_cycles:,.0f}",
            f"{row.constant.total:,}",
            f"{row.constant.answer:,}",
            f"{row.predicted_cycles:,.0f}",
            f"{row.latency_cycles:,}",
            f"{100 * row.error:+.2f} %",
            f"{row.scan_cycles:,}",
            f"{100 * row.overrun:.2f} %",
            f"{row.answer_cycles:,}",
            f"{row.gap_cycles:,}",
        )
        for row in rows
    ]
    worst = 100 * max(abs(row.error) for row in rows)
    mib = rows[0].corpus_bytes / rows[0].ports / 2**20
    return _TEXT.format(mib=mib, worst=worst, slots=SCAN_SLOTS) + markdown_table(head, cells)
