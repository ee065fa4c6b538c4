"""What `rpaccel retrieval-study` computes and measures; the page is retrieval_page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.faiss_timing import FaissTiming
from rpaccel.host.fpga_parts import PARTS
from rpaccel.host.ideal_requester import pattern_addresses, requester_report
from rpaccel.host.scan_profile import BATCHES, ScanProfile, measure_scans
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.retrieval_costs import filter_area, unit_series
from rpaccel.main_job.shard_runs import ShardStudy, shard_study
from rpaccel.perfmodel import retrieval
from rpaccel.perfmodel.retrieval_board import ROW_BYTES, ScanDesign
from rpaccel.perfmodel.retrieval_budget import Area, UnitCosts
from rpaccel.perfmodel.retrieval_latency import (
    Constant,
    MemoryPath,
    constant_of,
    queue_bound,
    queued_rows,
    scattered_bytes_per_s,
)
from rpaccel.perfmodel.retrieval_overrun import SIGMA, scores_of, upper_tails
from rpaccel.perfmodel.retrieval_shards import (
    Scaled,
    kept_rows,
    replicate,
    second_round,
    shard,
    simulate_second_rounds,
)
from rpaccel.spec.retrieval import BUCKETS, RetrievalConfig
from rpaccel.spec.retrieval_buckets import place_buckets, sample_places

__all__ = [
    "CHANNELS",
    "CLOCK_HZ",
    "PART",
    "PRODUCTS",
    "DepthRow",
    "MemoryRow",
    "PassRow",
    "RetrievalStudy",
    "ScaleRow",
    "run_retrieval_study",
    "scan_of",
]

Say = Callable[[str], None]

CLOCK_HZ = 250e6  # assumed: no place and route of the engine on this part
SWITCH_S = 15.6e-9  # HBM's switch: 7 cycles of 450 MHz, Shuhai
CHANNELS = {16: 16, 28: 32}  # pseudo-channels -> lanes of the filter, a power of two
BEATS = (32, 64)
LANES = (4, 8, 16)
DEPTHS = (16, 64, 128, 256, 512)
K_VALUES = (512, 1024, 2048, 4096)
DEVICES = (1, 2, 4, 8, 16)
AGAIN = 1e-3  # probability of a second round that a shard's answers are sized for
BURSTS = (32, 64, 128, 256, 512, 1024)
STRIPES = (1024, 4096)
IN_FLIGHT = (1, 2, 4, 8)
PRODUCTS = (1, 2)  # per DSP
_VU35P = PARTS["VU35P"]
PART = Area(lut=_VU35P.lut, ff=_VU35P.ff, dsp=_VU35P.dsp, bram36=_VU35P.bram36)


@dataclass(frozen=True, kw_only=True)
class PassRow:
    """Rows let through by `lanes` lanes, means over seeds; predicted by the formulas."""

    lanes: int
    interval_cycles: float
    queued: float
    queued_formula: float  # of the threshold as it is: edges, age
    queued_published: float  # the published table's formula at the same interval
    queued_sweep: float  # the same at one plain sweep of 256 cycles
    passes: float
    peak_entries: int
    peak_bound: float


@dataclass(frozen=True, kw_only=True)
class DepthRow:
    """Stalled cycles of a scan by the depth of the lanes' queues."""

    lanes: int
    stalled_cycles: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """Bytes per second of one HBM2 pseudo-channel: the bank model and the closed form."""

    beat_bytes: int
    what: str
    burst_bytes: int
    model_bytes_per_s: float
    formula_bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class ScaleRow:
    """Devices with a copy each, shards that give k rows, shards that give fewer."""

    devices: int
    kept: int
    again: float
    copies: Scaled
    shards: Scaled
    short: Scaled


@dataclass(frozen=True, kw_only=True)
class RetrievalStudy:
    """All figures of the page.

    costs : by (pseudo-channels, beat bytes, products per DSP). gpu : None: not measured.
    """

    rows: int
    k: int
    seeds: int
    ideal_passes: float
    passes: list[PassRow]
    depths: list[DepthRow]
    constants: dict[tuple[int, int], Constant]  # by pseudo-channels and beat bytes
    answers: dict[int, int]  # cycles by k
    memory: list[MemoryRow]
    costs: dict[tuple[int, int, int], UnitCosts]
    faiss: list[FaissTiming]
    cpu: str
    merge_s_per_row: float
    gpu: ScanProfile | None
    scale: list[ScaleRow]
    simulated: ShardStudy
    rounds: list[tuple[int, int, float, float]]  # shards, kept, formula, simulated
    round_trials: int


def scan_of(
    lanes: int,
    rows: int,
    k: int,
    seed: int,
    *,
    beats_per_row: int = 1,
    fifo_depth: int = 512,
) -> retrieval.ScanReport:
    """Return the counts of a scan in random order by the register-exact model.

    beats_per_row : a port's rows are so many beats long: a set comes in as many cycles.
    """
    scores = scores_of("random", rows, seed)
    config = RetrievalConfig(lanes=lanes, k_max=k, fifo_depth=fifo_depth)
    base, shift = place_buckets(scores[sample_places(rows)])
    sets = -(-rows // lanes)
    spread = np.zeros((sets, beats_per_row, lanes), dtype=np.int64)
    valid = np.zeros(spread.shape, dtype=bool)
    spread[:, -1] = np.pad(scores, (0, sets * lanes - rows)).reshape(sets, lanes)
    valid[:, -1] = (np.arange(sets * lanes) < rows).reshape(sets, lanes)
    return retrieval.scan(config, spread.ravel(), k, base, shift, valid.ravel())


def pass_rows(rows: int, k: int, seeds: int) -> list[PassRow]:
    """Return what the lanes let through, beside the formulas."""
    found = []
    for lanes in LANES:
        reports, formulas = [], []
        for seed in range(seeds):
            report = scan_of(lanes, rows, k, seed)
            scores = scores_of("random", rows, seed)
            base, shift = place_buckets(scores[sample_places(rows)])
            edges = base + (np.arange(1, BUCKETS, dtype=np.int64) << shift)
            tails = np.append(1.0, upper_tails(edges / SIGMA))
            interval = report.scan_cycles / report.sweeps
            formulas.append(
                queued_rows(rows, k, lanes, interval, age_cycles=interval / 2, tails=tails)
            )
            reports.append(report)
        interval = float(np.mean([r.scan_cycles / r.sweeps for r in reports]))
        found.append(
            PassRow(
                lanes=lanes,
                interval_cycles=interval,
                queued=float(np.mean([r.queued for r in reports])),
                queued_formula=float(np.mean(formulas)),
                queued_published=queued_rows(rows, k, lanes, interval),
                queued_sweep=queued_rows(rows, k, lanes, BUCKETS),
                passes=float(np.mean([r.passes for r in reports])),
                peak_entries=max(r.peak_entries for r in reports),
                peak_bound=queue_bound(k, lanes, interval),
            )
        )
    return found


def memory_rows(bursts: int) -> list[MemoryRow]:
    """Return what one pseudo-channel gives, by burst, order and bursts in flight."""
    timing = MemoryTiming.of("hbm2", clock_hz=CLOCK_HZ)
    found = []

    def add(beat: int, what: str, burst: int, addresses: npt.NDArray[np.uint64], flying: int | None,
            formula: float) -> None:  # fmt: skip
        report = requester_report(timing, addresses, burst, beat_bytes=beat, in_flight=flying)
        found.append(
            MemoryRow(
                beat_bytes=beat,
                what=what,
                burst_bytes=burst,
                model_bytes_per_s=report.bytes_per_cycle * CLOCK_HZ,
                formula_bytes_per_s=formula,
            )
        )

    for burst in BURSTS:
        path = MemoryPath(ports=1, beat_bytes=64, clock_hz=CLOCK_HZ, burst_bytes=burst,
                          in_flight=256)  # fmt: skip
        port = path.port_bytes_per_s * min(1.0, burst / 64)
        add(64, "in order", burst, pattern_addresses("sequential", burst, bursts), None, port)
        add(64, "scattered", burst, pattern_addresses("random", burst, bursts), None,
            scattered_bytes_per_s(burst))  # fmt: skip
    for beat in BEATS:
        burst = 16 * beat
        place = np.arange(bursts, dtype=np.uint64) * np.uint64(burst)
        for flying in IN_FLIGHT:
            path = MemoryPath(ports=1, beat_bytes=beat, clock_hz=CLOCK_HZ, burst_bytes=burst,
                              in_flight=flying)  # fmt: skip
            add(beat, f"in order, {flying} in flight", burst, place, flying, path.port_bytes_per_s)
        for stripe in STRIPES:
            ports = 16
            gaps = place // np.uint64(stripe) * np.uint64(stripe * ports) + place % np.uint64(
                stripe
            )
            path = MemoryPath(ports=1, beat_bytes=beat, clock_hz=CLOCK_HZ, burst_bytes=burst)
            add(beat, f"stripes of {stripe} B of {ports} ports, not made dense", burst, gaps, 16,
                path.port_bytes_per_s)  # fmt: skip
    return found


def all_costs(k: int, folder: Path, say: Say) -> dict[tuple[int, int, int], UnitCosts]:
    """Return what the units cost by Yosys on UltraScale+, by channels, beat and products."""
    filters = {
        channels: filter_area(lanes, k, folder / f"f{lanes}_{k}", say)
        for channels, lanes in CHANNELS.items()
    }
    found = {}
    for beat in BEATS:
        for products in PRODUCTS:
            units = unit_series(beat, products, k, folder, say)
            for channels, filters_area in filters.items():
                found[channels, beat, products] = UnitCosts(units=units, filter=filters_area)
    return found


def scale_rows(
    design: ScanDesign, constant: Constant, rows: int, k: int, merge_s_per_row: float
) -> list[ScaleRow]:
    """Return rate and latency of several devices."""
    scan, rest = design.scan_s(rows), constant.total / design.path.clock_hz
    found = []
    for devices in DEVICES:
        count = rows // devices * devices
        kept = kept_rows(count, k, devices, AGAIN) if devices > 1 else k
        again = second_round(count, k, devices, kept) if devices > 1 else 0.0
        merge = merge_s_per_row if devices > 1 else 0.0
        found.append(
            ScaleRow(
                devices=devices,
                kept=kept,
                again=again,
                copies=replicate(devices, scan + rest, design.queries / scan),
                shards=shard(devices, scan, rest, design.queries, k, k, merge),
                short=shard(devices, scan, rest, design.queries, kept, k, merge, again),
            )
        )
    return found


def round_rows(rows: int, k: int, trials: int, seed: int) -> list[tuple[int, int, float, float]]:
    """Return shards, kept rows, the probability of a second round, and its simulated share."""
    found = []
    for shards in DEVICES[1:]:
        count = rows // shards * shards
        for chance in (0.5, 0.1, 0.01):
            kept = kept_rows(count, k, shards, chance)
            simulated = simulate_second_rounds(count, k, shards, kept, trials, seed)
            found.append((shards, kept, second_round(count, k, shards, kept), simulated))
    return found


def run_retrieval_study(
    *,
    rows: int = 1_000_000,
    k: int = 1024,
    seeds: int = 8,
    trials: int = 4000,
    repeats: int = 3,
    batches: tuple[int, ...] = BATCHES,
    cpu: ScanProfile | None = None,
    gpu: ScanProfile | None = None,
    seed: int = 1,
    folder: Path = BUILD_DIR / "retrieval",
    progress: Say = print,
    trace: Path | None = None,
) -> RetrievalStudy:
    """Return all figures. repeats : of a Faiss call, the least counts; trials : of a simulated cut.

    cpu : Faiss's times, measured before; None: here. gpu : a GPU's; None: not measured.
    trace : folder of timelines of the simulated devices.
    Raises ModuleNotFoundError without faiss-cpu, ValueError for times of another corpus or K.
    """
    for profile, device in ((cpu, "cpu"), (gpu, "gpu")):
        if profile is not None:
            profile.check(device, rows, ROW_BYTES, k)
    if cpu is None:
        progress("Faiss on this machine's CPU")
        cpu = measure_scans(
            "cpu", rows=rows, row_bytes=ROW_BYTES, k=k, batches=batches, repeats=repeats,
            seed=seed, progress=progress,
        )  # fmt: skip

    progress("scans by the register-exact model")
    constants = {}
    for channels, lanes in CHANNELS.items():
        for beat in BEATS:
            per_row = ROW_BYTES // beat
            path = MemoryPath(ports=channels, beat_bytes=beat, clock_hz=CLOCK_HZ)
            report = scan_of(lanes, rows, k, seed, beats_per_row=per_row)
            constants[channels, beat] = constant_of(
                report,
                path,
                beats_per_row=per_row,
                switch_s=SWITCH_S,
                products_per_dsp=PRODUCTS[-1],
            )
    answers = {}
    for value in K_VALUES:
        report = scan_of(16, rows, value, seed)
        answers[value] = report.end_cycle - report.close_cycle
    depths = [
        DepthRow(
            lanes=lanes,
            stalled_cycles={
                depth: scan_of(lanes, rows, k, seed, fifo_depth=depth).stalled_cycles
                for depth in DEPTHS
            },
        )
        for lanes in LANES
    ]
    constant = constants[16, 32]
    design = ScanDesign(
        path=MemoryPath(ports=16, beat_bytes=32, clock_hz=CLOCK_HZ),
        queries=4,
        overhead_cycles=constant.total - constant.answer,
    )
    progress("units by Yosys")
    costs = all_costs(k, folder, progress)
    progress("devices by Verilator")
    return RetrievalStudy(
        rows=rows,
        k=k,
        seeds=seeds,
        ideal_passes=retrieval.mean_passes(rows, k),
        passes=pass_rows(rows, k, seeds),
        depths=depths,
        constants=constants,
        answers=answers,
        memory=memory_rows(20_000),
        costs=costs,
        faiss=list(cpu.timings),
        cpu=cpu.name,
        merge_s_per_row=cpu.merge_s_per_row,
        gpu=gpu,
        scale=scale_rows(design, constant, rows, k, cpu.merge_s_per_row),
        simulated=shard_study(seed=seed, progress=progress, trace=trace),
        rounds=round_rows(rows, k, trials, seed),
        round_trials=trials,
    )
