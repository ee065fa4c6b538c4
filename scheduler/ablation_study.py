"""Runs the ablation: every design alone, under load, and beside the published baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from rpaccel.scheduler.ablation import (
    CANDIDATES,
    IDEAS,
    Bound,
    Design,
    Load,
    Setup,
    bounds,
    designs,
    host_sort_s,
    lane_use,
    measure,
    pace_cycles,
    saturated_qps,
    stage_alone_qps,
    stage_banks,
)
from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.published_baseline import Phase, published_phases
from rpaccel.scheduler.queueing import WARM_UP, serve

__all__ = ["AblationStudy", "DesignRow", "run_ablation"]

POINT = 0.8  # of the published baseline's capacity: where latencies are compared
SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)  # of a design's capacity: loads
BASELINE_QUERIES = 200_000


@dataclass(frozen=True, kw_only=True)
class DesignRow:
    """A design, measured.

    machine_qps : of the machine that always has queries, the link apart. bounds : the scarcest
    first. at_point : at the published baseline's load. loads : at SHARES of `capacity_qps`.
    """

    design: Design
    unloaded_ms: float
    machine_qps: float
    bounds: tuple[Bound, ...]
    at_point: Load
    loads: tuple[Load, ...]

    @property
    def capacity_qps(self) -> float:
        """What machine and link sustain."""
        return min(self.machine_qps, *(b.qps for b in self.bounds if b.resource == "link"))

    @property
    def of_bound(self) -> float:
        """Capacity as a share of what the scarcest resource allows."""
        return self.capacity_qps / self.bounds[0].qps

    def qps_within(self, p99_ms: float) -> float:
        """Return the largest load of `loads` whose p99 is within a limit [queries/s]; 0: none."""
        return max((load.load_qps for load in self.loads if load.p99_ms <= p99_ms), default=0.0)


@dataclass(frozen=True, kw_only=True)
class AblationStudy:
    """All rows: `rows` of `designs()`, then `fair` (baseline B) and the variants of the whole.

    stage_qps : of each stage of the whole if it were alone. paces : cycles per item of a lane of
    its first stage: array alone, with gathers, and with gathers that hand over at once; banks : of
    items, of that stage.
    caches : (name, hit rates, queries per second that memory then allows) of both stages.
    phases, point : of the published baseline (A), and its latencies at POINT of its capacity.
    """

    rows: tuple[DesignRow, ...]
    fair: DesignRow
    quarters: DesignRow
    fair_ids: DesignRow
    whole_ids: DesignRow
    stage_qps: tuple[float, ...]
    paces: tuple[float, float, float]
    banks: int
    caches: tuple[tuple[str, Mapping[str, float], float], ...]
    phases: tuple[Phase, ...]
    point: Load
    queries: int
    seed: int

    @property
    def baseline_ms(self) -> float:
        """Latency of the published baseline, unloaded [ms]."""
        return 1e3 * sum(phase.seconds for phase in self.phases)

    @property
    def baseline_qps(self) -> float:
        """Capacity of the published baseline."""
        return 1e3 / self.baseline_ms

    @property
    def whole(self) -> DesignRow:
        """The row of all ideas."""
        return self.rows[-1]


def serial_load(service_s: float, load_qps: float, queries: int, seed: int) -> Load:
    """Return the latencies of one server of constant time under Poisson arrivals."""
    arrivals = poisson_arrivals_s(queries, load_qps, seed)
    _, finish = serve(arrivals, service_s, 1)
    latency_ms = (finish - arrivals)[int(queries * WARM_UP) :] * 1e3
    p50, p99 = np.percentile(latency_ms, [50, 99], method="inverted_cdf")
    return Load(load_qps=load_qps, p50_ms=float(p50), p99_ms=float(p99))


def run_ablation(
    *, queries: int = 1500, seed: int = 0, progress: Callable[[str], None] = print
) -> AblationStudy:
    """Return the study. queries : Poisson arrivals of each load."""
    base = Setup(Design(name="base", ideas=frozenset()))
    phases = published_phases(
        base.config,
        base.platform,
        base.machine.lanes[0][base.stages[0].model],
        base.records,
        items=CANDIDATES,
        bytes_in=base.design.bytes_in,
        row_hits=base.machine.row_hits[base.stages[0].model],
        sort_s=host_sort_s(CANDIDATES),
    )
    service_s = sum(phase.seconds for phase in phases)
    point = serial_load(service_s, POINT / service_s, BASELINE_QUERIES, seed)

    def row(design: Design) -> DesignRow:
        progress(f"{design.name} ...")
        return _row(design, point.load_qps, queries, seed)

    whole = Setup(designs()[-1])
    every, fair = frozenset(IDEAS), frozenset({"O.2"})
    return AblationStudy(
        rows=tuple(row(design) for design in designs()),
        fair=row(Design(name="B, fair", ideas=fair)),
        quarters=row(Design(name="all, quarters", ideas=every, quarters=True)),
        fair_ids=row(Design(name="B, ids only", ideas=fair, ids_only=True)),
        whole_ids=row(Design(name="all, ids only", ideas=every, ids_only=True)),
        stage_qps=tuple(stage_alone_qps(whole, n) for n in range(len(whole.stages))),
        paces=(
            lane_use(whole, whole.stages[0], whole.stages[0].lanes[0])["array"],
            pace_cycles(whole, 0, drained=True),
            pace_cycles(whole, 0, drained=False),
        ),
        banks=stage_banks(whole, 0),
        caches=tuple(_caches()),
        phases=tuple(phases),
        point=point,
        queries=queries,
        seed=seed,
    )


def _row(design: Design, point_qps: float, queries: int, seed: int) -> DesignRow:
    setup = Setup(design)
    machine_qps = saturated_qps(setup)
    capacity = min(machine_qps, 1 / setup.link_s)
    return DesignRow(
        design=design,
        unloaded_ms=measure(setup, 1.0, 1, seed).p50_ms,
        machine_qps=machine_qps,
        bounds=tuple(bounds(setup)),
        at_point=measure(setup, point_qps, queries, seed),
        loads=tuple(measure(setup, share * capacity, queries, seed) for share in SHARES),
    )


def _caches() -> Iterator[tuple[str, Mapping[str, float], float]]:
    """Yield what memory allows both stages with no cache, the static one, and the machine's."""
    static, ours = (
        Setup(Design(name="", ideas=frozenset({"O.1", "O.3", *more}))) for more in ((), ("O.4",))
    )
    nothing = dict.fromkeys(static.machine.row_hits, 0.0)
    for name, setup, hits in (
        ("none", static, nothing),
        ("static, a vector per line of 128 bytes", static, static.machine.row_hits),
        ("O.4: pinned beats and look-ahead", ours, ours.machine.row_hits),
    ):
        setup.machine = replace(setup.machine, row_hits=hits)
        memory = next(bound for bound in bounds(setup) if bound.resource == "memory")
        yield name, hits, memory.qps
