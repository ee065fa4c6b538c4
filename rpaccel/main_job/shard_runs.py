"""Copies and shards of a corpus on several Verilated devices, beside the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rpaccel.golden.retrieval import inner_product, top_k
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.corpus_shards import ShardedAnswer, ShardedCorpus
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.scan_latency import CLOCK_HZ, asked_of, counted, path_of
from rpaccel.main_job.shard_trace import PageDriver, ScanCosts, ShardTrace
from rpaccel.perfmodel.retrieval_latency import constant_of
from rpaccel.perfmodel.retrieval_shards import kept_rows, replicate, second_round, shard
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator

__all__ = ["ShardRun", "ShardStudy", "shard_study", "shard_study_text"]

Int8 = npt.NDArray[np.int8]
MEMORY = "ddr4"
CHANCES = (0.01, 0.5)  # of a second page, that shards with fewer than K rows are sized for
SINGLES = 3  # queries that are asked one at a time

_TEXT = """\
### Simulated

Netlists of `{preset}` (a port of {beat} bytes, {shared} queries per scan, {memory}), each with a
memory and a driver of its own; {rows:,} rows of {row_bytes} bytes, K = {k}. Each answer is equal to
a sort of all rows. L: cycles of the slowest device, from the doorbell until its driver has seen the
last completion, the mean of {singles} queries that are asked one at a time; the host's merge takes
none. Beyond: what the model of L does not have, registers, descriptor, record, vector
and completion; about the same whatever is scanned. Rate: by a batch of {queries} queries and one of
half as many, for 10^6 cycles. Again: queries of those that asked a shard for a second page, and as
many as the formula expects; the model of L and of the rate is told how many of their queries did,
and lets all shards scan once more for each, where only those that may hide a row do.

"""


@dataclass(frozen=True, kw_only=True)
class ShardRun:
    """Devices that hold a corpus in `shards` parts. kept : rows that a shard gives at a time.

    latency_cycles : of a query that waits for no other, the mean. queries_per_mcycle : for 10^6
    cycles. model_... : by the formulas, with as many second pages as there were. queries : asked in
    all; again : of them, those that asked for a second page; expected_again : by the formula.
    """

    devices: int
    shards: int
    kept: int
    latency_cycles: float
    model_latency_cycles: float
    queries_per_mcycle: float
    model_queries_per_mcycle: float
    queries: int
    again: int
    expected_again: float


@dataclass(frozen=True, kw_only=True)
class ShardStudy:
    """Runs of devices of `preset` with int8[rows, row_bytes], K = k. queries : of a batch."""

    preset: str
    rows: int
    row_bytes: int
    k: int
    queries: int
    runs: tuple[ShardRun, ...]


def shard_study(
    preset: str = "edge",
    *,
    device_counts: Sequence[int] = (1, 2, 4),
    rows: int = 1 << 14,
    row_bytes: int = 32,
    k: int = 256,
    queries: int = 16,
    seed: int = 1,
    progress: Callable[[str], None] = print,
    trace: Path | None = None,
) -> ShardStudy:
    """Run copies and shards of a random corpus; see `_cases`.

    rows : int  A multiple of the devices. queries : int  Of a batch: each copy of a corpus has full
        scans of half of it too. trace : Path  Folder of a timeline of each run.
    Raises ValueError for other numbers, RuntimeError if an answer is not that of a sort of all.
    """
    config = load_accelerator(preset)
    full = 2 * config.retrieval_queries * max(device_counts)
    for name, number, step in (("rows", rows, max(device_counts)), ("queries", queries, full)):
        if number < 1 or number % step:
            raise ValueError(f"{name} must be a multiple of {step}, not {number}")
    rng = np.random.default_rng(seed)
    corpus = rng.integers(-128, 128, (rows, row_bytes)).astype(np.int8)
    vectors = rng.integers(-128, 128, (queries, row_bytes)).astype(np.int8)
    bench = _Bench(config, corpus, vectors, k, progress)
    runs = []
    for devices in device_counts:
        for shards, kept in _cases(devices, rows, k):
            name = f"{devices}_devices_{shards}_shards_{kept}_rows.json"
            found = bench.run(devices, shards, kept, trace and trace / name)
            progress(
                f"{devices} devices, {shards} shards, {kept} rows of each: "
                f"{found.latency_cycles:,.0f} cycles"
            )
            runs.append(found)
    return ShardStudy(
        preset=preset, rows=rows, row_bytes=row_bytes, k=k, queries=queries, runs=tuple(runs)
    )


def _cases(devices: int, rows: int, k: int) -> list[tuple[int, int]]:
    """Return (shards, kept): copies, shards of two copies, shards that give k rows or fewer."""
    if devices == 1:
        return [(1, k)]
    mixed = [(devices // 2, k)] if devices > 2 else []
    short = [(devices, kept_rows(rows, k, devices, chance)) for chance in CHANCES]
    return [(1, k), *mixed, (devices, k), *short]


class _Bench:
    """A corpus, its queries and their answers by a sort; devices of one library."""

    def __init__(
        self,
        config: AcceleratorConfig,
        corpus: Int8,
        vectors: Int8,
        k: int,
        progress: Callable[[str], None],
    ) -> None:
        self.config, self.corpus, self.vectors, self.k = config, corpus, vectors, k
        self.wanted = [top_k(inner_product(corpus, vector), k).tolist() for vector in vectors]
        self.library = build_simulator(config, progress=progress)

    def run(self, devices: int, shards: int, kept: int, trace: Path | None = None) -> ShardRun:
        """Return what `devices` take in `shards` parts that give `kept` rows at a time.

        trace : where a timeline is written.
        """
        batch, scan_s = len(self.vectors), self._scan_s(shards, kept)
        costs = ScanCosts(
            scan_cycles=scan_s[0] / shards * CLOCK_HZ,
            constant_cycles=scan_s[1] * CLOCK_HZ,
            shared=self.config.retrieval_queries,
        )
        picture = ShardTrace(self.vectors, devices, costs)
        with ExitStack() as stack:
            netlists = [stack.enter_context(self._device()) for _ in range(devices)]
            drivers = [self._driver(netlist) for netlist in netlists]
            parts = ShardedCorpus(drivers, self.corpus, replicas=devices // shards)

            def ask(places: range) -> tuple[int, int]:
                """Return the cycles of the slowest device, and the queries asked again."""
                before = [netlist.cycles for netlist in netlists]
                answers = parts.retrieve(self.vectors[places], self.k, per_shard=kept)
                cycles = [
                    netlist.cycles - start for netlist, start in zip(netlists, before, strict=True)
                ]
                picture.add([driver.take_pages() for driver in drivers], before, max(cycles))
                return max(cycles), self._check(places, answers)

            singles = np.array([ask(range(n, n + 1)) for n in range(SINGLES)])
            (half, few), (whole, many) = ask(range(batch // 2)), ask(range(batch))
        latency, again = singles.mean(axis=0).tolist()
        asked, batches = SINGLES + batch // 2 + batch, batch // 2 + batch
        if trace is not None:
            picture.write(trace)
        model_latency, _ = self._model(devices, shards, kept, scan_s, again)
        _, model_rate = self._model(devices, shards, kept, scan_s, (few + many) / batches)
        chance = second_round(len(self.corpus), self.k, shards, kept) if shards > 1 else 0.0
        return ShardRun(
            devices=devices,
            shards=shards,
            kept=kept,
            latency_cycles=latency,
            model_latency_cycles=model_latency,
            queries_per_mcycle=1e6 * (batch - batch // 2) / (whole - half),
            model_queries_per_mcycle=model_rate,
            queries=asked,
            again=int(singles[:, 1].sum()) + few + many,
            expected_again=asked * chance,
        )

    def _device(self) -> VerilatedDevice:
        return VerilatedDevice(
            self.config,
            MemoryTiming.of(MEMORY, clock_hz=CLOCK_HZ),
            memory_bytes=4 * self.corpus.nbytes + (1 << 22),
            library=self.library,
        )

    def _driver(self, netlist: VerilatedDevice) -> PageDriver:
        return PageDriver(
            netlist,
            self.config,
            netlist.memory_bytes,
            depth=1 << (len(self.vectors) - 1).bit_length(),
            feature_bytes=1 << 16,
            corpus_bytes=self.corpus.nbytes + (1 << 18),
        )

    def _check(self, places: range, answers: Sequence[ShardedAnswer]) -> int:
        """Return how many of the answers took more than a page of a shard."""
        for place, answer in zip(places, answers, strict=True):
            if answer.found.ids.tolist() != self.wanted[place]:
                raise RuntimeError(f"query {place}: wrong rows")
        return sum(max(answer.pages) > 1 for answer in answers)

    def _scan_s(self, shards: int, kept: int) -> tuple[float, float]:
        """Return the time of a scan of all rows by one device, and its constant of a shard [s]."""
        config = self.config
        path, part = path_of(config, MEMORY), self.corpus[::shards]
        per_row = part.shape[1] // config.beat_bytes
        reports = [
            counted(config, inner_product(part, query.vector), query, per_row)
            for query in asked_of(part, self.vectors[:SINGLES], kept)
        ]
        constants = [constant_of(each, path, beats_per_row=per_row).total for each in reports]
        return self.corpus.nbytes / path.bytes_per_s, float(np.mean(constants)) / CLOCK_HZ

    def _model(
        self, devices: int, shards: int, kept: int, scan_s: tuple[float, float], again: float
    ) -> tuple[float, float]:
        """Return latency [cycles] and queries for 10^6 cycles. again : share asked again."""
        of_shards = shard(shards, *scan_s, self.config.retrieval_queries, kept, self.k, 0.0, again)
        found = replicate(devices // shards, of_shards.latency_s, of_shards.queries_per_s)
        return found.latency_s * CLOCK_HZ, 1e6 * found.queries_per_s / CLOCK_HZ


def shard_study_text(study: ShardStudy) -> str:
    """Return the section of the page."""
    config = load_accelerator(study.preset)
    head = ("devices", "shards x copies", "rows a shard gives", "L by the model", "L", "beyond",
            "rate by the model", "rate", "off [%]", "again", "expected")  # fmt: skip
    cells = [
        (
            str(run.devices),
            f"{run.shards} x {run.devices // run.shards}",
            f"{run.kept:,}",
            f"{run.model_latency_cycles:,.0f}",
            f"{run.latency_cycles:,.0f}",
            f"{run.latency_cycles - run.model_latency_cycles:+,.0f}",
            f"{run.model_queries_per_mcycle:.1f}",
            f"{run.queries_per_mcycle:.1f}",
            f"{100 * (run.queries_per_mcycle / run.model_queries_per_mcycle - 1):+.1f}",
            f"{run.again} of {run.queries}",
            f"{run.expected_again:.1f}",
        )
        for run in study.runs
    ]
    text = _TEXT.format(
        preset=study.preset,
        beat=config.beat_bytes,
        shared=config.retrieval_queries,
        memory=MEMORY.upper(),
        rows=study.rows,
        row_bytes=study.row_bytes,
        k=study.k,
        singles=SINGLES,
        queries=study.queries,
    )
    return text + markdown_table(head, cells)
