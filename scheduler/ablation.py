"""What each idea of RPAccel brings, alone and with the others, on the modelled machine.

O.1 two stages, O.2 filters on the chip, O.3 the array split, O.4 caches of both stages, O.5 tasks;
against a machine of the same MACs, memory and bandwidth that ranks with one model on the whole
array, has a static cache, and lets the host sort.

Ref: U. Gupta et al., "RecPipe", MICRO'21, section 6, figures 5 and 12, and its artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rpaccel.host.partition import split_8_2
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.memory import padded_records
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.row_hits import cache_bytes, machine_hits, static_hits
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.shapes import ModelShape, NetworkShape, compile_shape
from rpaccel.perfmodel.task_profile import TaskProfile, task_profile
from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.queueing import WARM_UP, serve
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import RESULT, StageMode
from rpaccel.spec.platform import PlatformConfig, load_platform
from rpaccel.spec.stage_tasks import StageTasks

__all__ = [
    "CANDIDATES", "FEATURES", "IDEAS", "ID_BYTES", "KEPT", "SERVED", "SPLIT_SUB_BATCH",
    "SPLIT_TASKS", "WHOLE_TASKS", "Bound", "Design", "Load", "Measured", "Setup", "bounds",
    "designs", "host_sort_s", "lane_use", "measure", "pace_cycles", "saturated_qps",
    "stage_alone_qps", "stage_banks",
]  # fmt: skip

Floats = NDArray[np.float64]

CANDIDATES, KEPT, SERVED = 4096, 512, 64  # RecPipe section 5.1, Criteo
IDEAS = ("O.1", "O.2", "O.3", "O.4", "O.5")
FEATURES = 39  # of a Criteo record, 4 bytes each: 13 dense, 26 ids
ID_BYTES = 4
# Host top-k [s] by items, at most: RecPipe's artifact (used by no released configuration).
HOST_SORT_S = ((512, 0.03e-3), (1024, 0.07e-3), (4096, 0.35e-3))
# Items of a task with O.5: whole multiples of the lanes' sub-batches. Chosen for throughput.
SPLIT_TASKS = (256, 128)
WHOLE_TASKS = (1024, 128)  # RecPipe O.5: four sub-batches a query
SPLIT_SUB_BATCH = 64  # divides the tasks, and of stage 0 on a block four are gathered ahead
PACED = 14  # sub-batches of a row
SATURATED = 96  # queries of the shorter of two loads
IN_FLIGHT = 32  # the machine's and the host's: more than both need


@dataclass(frozen=True, kw_only=True)
class Design:
    """A machine with some of the ideas.

    ids_only : the items' records are on the card and only their ids come from the host.
    quarters : O.3 as four quarters that both stages share, instead of the paper's 8 + 2. One stage
        alone always has quarters.
    """

    name: str
    ideas: frozenset[str]
    ids_only: bool = False
    quarters: bool = False

    def __post_init__(self) -> None:
        wrong = sorted(self.ideas - set(IDEAS))
        if wrong:
            raise ValueError(f"ideas must be some of {', '.join(IDEAS)}, not {wrong[0]}")

    def has(self, idea: str) -> bool:
        """Whether the design has the idea."""
        return idea in self.ideas

    @property
    def stages(self) -> tuple[tuple[NetworkShape, int], ...]:
        """Networks and items."""
        if self.has("O.1"):
            return (RM_SMALL, CANDIDATES), (RM_LARGE, KEPT)
        return ((RM_LARGE, CANDIDATES),)

    @property
    def bytes_in(self) -> int:
        """Bytes that the host sends per query."""
        return CANDIDATES * (ID_BYTES if self.ids_only else 4 * FEATURES)

    @property
    def bytes_out(self) -> int:
        """Bytes of the last answer: scores of the host's choice, or the served list."""
        last = self.stages[-1][1]
        return (SERVED if self.has("O.2") else last) * RESULT.bytes


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A resource and the queries per second that it allows."""

    resource: str
    qps: float


@dataclass(frozen=True, kw_only=True)
class Load:
    """Latencies under Poisson arrivals, after warm-up [ms]."""

    load_qps: float
    p50_ms: float
    p99_ms: float


def designs(*, ids_only: bool = False) -> list[Design]:
    """Return the base, every idea alone, then one more idea at a time."""
    chosen = [Design(name="base", ideas=frozenset(), ids_only=ids_only)]
    chosen += [
        Design(name=f"{idea} alone", ideas=frozenset({idea}), ids_only=ids_only) for idea in IDEAS
    ]
    for count in range(1, len(IDEAS) + 1):
        name = IDEAS[0] if count == 1 else f"{IDEAS[0]} to {IDEAS[count - 1]}"
        chosen.append(Design(name=name, ideas=frozenset(IDEAS[:count]), ids_only=ids_only))
    return chosen


def host_sort_s(items: int) -> float:
    """Return how long the host takes to choose the best of `items` scores [s]."""
    for most, seconds in HOST_SORT_S:
        if items <= most:
            return seconds
    raise ValueError(f"items must be at most {HOST_SORT_S[-1][0]}, not {items}")


@cache
def _hits(config: AcceleratorConfig, two: bool, ours: bool) -> Mapping[str, float]:
    networks = ((RM_SMALL, CANDIDATES), (RM_LARGE, KEPT)) if two else ((RM_LARGE, CANDIDATES),)
    stages = [(network.name, network.dim, items) for network, items in networks]
    if ours:
        return machine_hits(config, stages)
    return static_hits(stages, sum(cache_bytes(config)))


@cache
def _shape(network: NetworkShape, config: AcceleratorConfig) -> ModelShape:
    return compile_shape(network, config)


class Setup:
    """A design on the published machine: what the model is asked.

    Parameters
    ----------
    design : Design
    preset : str  A machine with the lanes of `split_8_2`, and the platform of the same name.
    """

    def __init__(self, design: Design, preset: str = "paper") -> None:
        self.design = design
        self.config = load_accelerator(preset)
        self.platform: PlatformConfig = load_platform(preset)
        lanes = self._lanes()
        owners = sorted({lane for each in lanes for lane in each})
        networks = [network for network, _ in design.stages]
        held = {
            lane: {
                network.name: _shape(network, self.config.lane(lane))
                for network, own in zip(networks, lanes, strict=True)
                if lane in own
            }
            for lane in owners
        }
        self.machine = Machine(
            config=self.config,
            memory=self.platform.accelerator.memory,
            lanes=held,
            row_hits=_hits(self.config, design.has("O.1"), design.has("O.4")),
        )
        self.records = padded_records(
            RM_LARGE.record_bytes("user"), RM_LARGE.record_bytes("item"), self.config.beat_bytes
        )
        self.stages = self._stages(lanes)

    def _lanes(self) -> list[tuple[int, ...]]:
        """Return the lanes of each stage."""
        stages = len(self.design.stages)
        if not self.design.has("O.3"):
            return [(0,)] * stages
        split = split_8_2(self.config)
        by_shape = {
            shape: tuple(
                lane for lane in range(self.config.lanes) if self.config.lane_shape(lane) == shape
            )
            for shape in ((1, 1), (2, 2))
        }
        if stages == 1 or self.design.quarters:
            return [by_shape[2, 2][:4]] * stages
        return [tuple(lane for lane in split if lane in by_shape[shape]) for shape in by_shape]

    def _stages(self, lanes: Sequence[tuple[int, ...]]) -> tuple[StageLoad, ...]:
        blocks = len(lanes) > 1 and lanes[0] != lanes[1]
        sizes = SPLIT_TASKS if blocks else WHOLE_TASKS
        loads = []
        for number, (network, items) in enumerate(self.design.stages):
            last = number == len(self.design.stages) - 1
            tasks = StageTasks()
            if self.design.has("O.5"):
                tasks = StageTasks(task_items=sizes[number])
                if not last and self.design.has("O.2"):
                    mode = StageMode.PROPORTIONAL
                    tasks = StageTasks.shared(sizes[number], KEPT, items, mode)
            loads.append(
                StageLoad(
                    model=network.name,
                    k=0 if last else KEPT,
                    tasks=tasks,
                    lanes=lanes[number],
                    sub_batch=SPLIT_SUB_BATCH if blocks else 0,
                )
            )
        return tuple(loads)

    def cycles(self, seconds: float) -> int:
        """Return cycles of the card's clock."""
        return round(seconds * self.platform.accelerator.clock_hz)

    def loads(self, arrivals: Sequence[int]) -> list[QueryLoad]:
        """Return what the machine is asked by queries that it gets at `arrivals` [cycles].

        Without O.2 a stage is a query of its own, made by the host when it has the scores of the
        one before; those queries are at the end of the list, in the same order.
        """
        whole = self.design.has("O.2") or len(self.stages) == 1
        first = QueryLoad(
            arrival=0,
            items=CANDIDATES,
            stages=self.stages if whole else self.stages[:1],
            records=self.records,
            top_n=SERVED,
        )
        asked = [replace(first, arrival=int(arrival)) for arrival in arrivals]
        if not whole:
            second = QueryLoad(
                arrival=self.cycles(self.round_trip_s),
                items=KEPT,
                stages=self.stages[1:],
                records=self.records,
                top_n=SERVED,
            )
            asked += [replace(second, after=number) for number in range(len(arrivals))]
        return asked

    @property
    def round_trip_s(self) -> float:
        """Time that scores of the first stage spend at the host [s]."""
        link = self.platform.link
        scores, ids = CANDIDATES * RESULT.bytes, KEPT * ID_BYTES
        return link.seconds(scores) + host_sort_s(CANDIDATES) + link.seconds(ids)

    @property
    def last_s(self) -> float:
        """Time from the machine's answer to the host's [s]."""
        sort = 0.0 if self.design.has("O.2") else host_sort_s(self.design.stages[-1][1])
        return self.platform.link.seconds(self.design.bytes_out) + sort

    @property
    def link_s(self) -> float:
        """Time of the link that a query takes on its way in [s]."""
        return self.design.bytes_in / self.platform.link.bytes_per_s


class Measured(Protocol):
    """A machine and its host, and what it is asked by queries that come at `arrivals` [cycles].

    link_s : of the link, on a query's way in. last_s : from the machine's answer to the host's [s].
    """

    machine: Machine
    platform: PlatformConfig

    @property
    def link_s(self) -> float: ...  # noqa: D102
    @property
    def last_s(self) -> float: ...  # noqa: D102
    def loads(self, arrivals: Sequence[int]) -> list[QueryLoad]: ...  # noqa: D102


def saturated_qps(setup: Measured, shorter: int = SATURATED) -> float:
    """Return the rate of a machine with IN_FLIGHT queries, a new one with every answer; no link.

    From the ends of two loads, of which one is twice the other: what begins and ends them is out.
    shorter : queries of the first.
    """
    ends = []
    for queries in (shorter, 2 * shorter):
        loads = setup.loads([0] * queries)
        parts = len(loads) // queries
        for number in range(IN_FLIGHT, queries):
            answered = (parts - 1) * queries + number - IN_FLIGHT
            loads[number] = replace(loads[number], after=answered)
        ends.append(simulate(setup.machine, loads).cycles)
    return shorter / (ends[1] - ends[0]) * setup.platform.accelerator.clock_hz


def stage_alone_qps(setup: Setup, number: int) -> float:
    """Return the rate at which the machine's lanes would do a stage if it were all of a query."""
    stage = replace(setup.stages[number], k=0, tasks=replace(setup.stages[number].tasks, task_k=0))
    items = setup.design.stages[number][1]
    loads = [
        QueryLoad(arrival=0, items=items, stages=(stage,), records=setup.records, top_n=SERVED)
    ] * (2 * SATURATED)
    ends = [simulate(setup.machine, loads[:count]).cycles for count in (SATURATED, 2 * SATURATED)]
    return SATURATED / (ends[1] - ends[0]) * setup.platform.accelerator.clock_hz


def measure(setup: Measured, load_qps: float, queries: int, seed: int = 0) -> Load:
    """Return the latencies of `queries` Poisson arrivals: link in, machine, host, link out.

    The link is a queue on the way in; on the way out it only takes its time.
    """
    arrivals = poisson_arrivals_s(queries, load_qps, seed)
    _, sent = serve(arrivals, setup.link_s, 1)
    clock_hz = setup.platform.accelerator.clock_hz
    ready = np.ceil((sent + setup.platform.link.fixed_s) * clock_hz).astype(np.int64)
    report = simulate(setup.machine, setup.loads(ready.tolist()))
    ends = np.array([query.end for query in report.queries[-queries:]])
    latency_ms = (ends / clock_hz + setup.last_s - arrivals)[int(queries * WARM_UP) :] * 1e3
    p50, p99 = np.percentile(latency_ms, [50, 99], method="inverted_cdf")
    return Load(load_qps=load_qps, p50_ms=float(p50), p99_ms=float(p99))


def bounds(setup: Setup) -> list[Bound]:
    """Return what each resource allows if nothing else binds, the scarcest first."""
    clock_hz = setup.platform.accelerator.clock_hz
    found = [Bound(resource="link", qps=1 / setup.link_s)]
    busy: dict[str, dict[int, float]] = {"array": {}, "gather": {}, "interaction": {}}
    memory = 0.0
    for stage, (_, items) in zip(setup.stages, setup.design.stages, strict=True):
        for lane in stage.lanes:
            share = items / len(stage.lanes)
            use = lane_use(setup, stage, lane)
            for resource, lanes in busy.items():
                lanes[lane] = lanes.get(lane, 0.0) + use[resource] * share
            memory += use["memory"] * share
    for resource, lanes in busy.items():
        found.append(Bound(resource=resource, qps=clock_hz / max(lanes.values())))
    found.append(Bound(resource="memory", qps=clock_hz / memory))
    return sorted(found, key=lambda bound: bound.qps)


def pace_cycles(setup: Setup, number: int, *, drained: bool) -> float:
    """Return the cycles per item of a stage's lane in a long row of its sub-batches.

    drained : with the time from the last row that is asked for to the hand-over.
    """
    stage = setup.stages[number]
    lane = stage.lanes[0]
    shape = setup.machine.lanes[lane][stage.model]
    size = min(stage.sub_batch or shape.slot["sub_batch"], shape.slot["sub_batch"])
    profile = _profile(setup, stage, lane, PACED * size)
    line = core_times(
        setup.config.lane(lane),
        ProgramShape.of(shape.program, shape.slot["row_bytes"]),
        [size] * PACED,
        [walk for _, walk, _ in profile.batches],
        0,
        profile.handover if drained else 0,
        profile.banks,
    )
    first, last = PACED // 2 - 1, PACED - 2  # in step, pairs of them, and with one behind
    return float(line.logit[last, 0] - line.logit[first, 0]) / ((last - first) * size)


def stage_banks(setup: Setup, number: int) -> int:
    """Return the item banks that a stage's sub-batches take turns at."""
    stage = setup.stages[number]
    return _profile(setup, stage, stage.lanes[0], CANDIDATES).banks


def _profile(setup: Setup, stage: StageLoad, lane: int, items: int) -> TaskProfile:
    return task_profile(
        setup.config.lane(lane),
        setup.machine.lanes[lane][stage.model],
        items,
        stage.sub_batch,
        setup.machine.memory,
        setup.records,
        first=False,
        row_hits=setup.machine.row_hits[stage.model],
    )


def lane_use(setup: Setup, stage: StageLoad, lane: int) -> dict[str, float]:
    """Return the cycles per item that a stage takes of a lane's units, and of the shared memory."""
    items = setup.machine.lanes[lane][stage.model].slot["sub_batch"]
    profile = _profile(setup, stage, lane, items)
    return {
        "array": profile.array / items,
        "gather": sum(walk for _, walk, _ in profile.batches) / items,
        "interaction": sum(work.crossing for work, _, _ in profile.batches) / items,
        "memory": sum(memory for _, _, memory in profile.batches) / items,
    }
