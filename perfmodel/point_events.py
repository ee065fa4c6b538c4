"""A design point on the event level: the machine and the query of `perfmodel.machine`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rpaccel.perfmodel.design_space import DesignPoint, DesignSpace, dealt
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.spec.isa import StageMode
from rpaccel.spec.platform import MemoryTiming
from rpaccel.spec.stage_tasks import StageTasks

__all__ = ["EventCycles", "lanes_of_point", "point_events", "point_machine", "point_query"]


@dataclass(frozen=True, kw_only=True)
class EventCycles:
    """Of a query alone, and between the queries of a load that never lets up [cycles]."""

    latency_cycles: int
    front_cycles: int
    interval_cycles: float


def point_machine(space: DesignSpace, point: DesignPoint) -> Machine:
    """Return the machine of a point. Raises ValueError if it cannot be."""
    config = space.config(point)
    networks = [network for network, _ in space.workload.stages]
    batches = (point.front_sub_batch, point.back_sub_batch)
    front, back = lanes_of_point(point)
    shapes = {
        number: {
            network.name: compile_shape(network, config.lane(number), batch)
            for network, batch, lanes in zip(networks, batches, (front, back), strict=True)
            if number in lanes
        }
        for number in range(config.lanes)
    }
    names = [network.name for network in networks]
    key = space.hit_key(point)
    return Machine(
        config=config,
        memory=MemoryTiming(latency_cycles=point.memory_latency_cycles, source="the point"),
        lanes=shapes,
        row_hits=dict(zip(names, space.hits.rates(key), strict=True)),
        bank_skews=dict(zip(names, space.hits.skews(key), strict=True)),
    )


def lanes_of_point(point: DesignPoint) -> tuple[range, range]:
    """Return the lanes that may run each stage."""
    front = range(point.split.front[0])
    back = point.split.back
    return front, front if back is None else range(len(front), len(front) + back[0])


def point_query(space: DesignSpace, point: DesignPoint) -> QueryLoad:
    """Return the query of a point: PROPORTIONAL tasks in stage 0, if there are several."""
    first, second = (network.name for network, _ in space.workload.stages)
    front, back = lanes_of_point(point)
    count, size, _ = dealt(space.candidates, point.front_task_items)
    tasks = StageTasks()
    if count > 1:
        tasks = StageTasks.shared(size, point.k, space.candidates, StageMode.PROPORTIONAL)
    stages = (
        StageLoad(model=first, k=point.k, tasks=tasks, lanes=tuple(front)),
        StageLoad(
            model=second, tasks=StageTasks(task_items=point.back_task_items), lanes=tuple(back)
        ),
    )
    return QueryLoad(
        arrival=0,
        items=space.candidates,
        stages=stages,
        records=space.records(point.beat_bytes),
        top_n=space.workload.top_n,
    )


def point_events(space: DesignSpace, point: DesignPoint, queries: int = 48) -> EventCycles:
    """Simulate a query alone, and `queries` that all wait from the start."""
    machine, query = point_machine(space, point), point_query(space, point)
    alone = simulate(machine, [query]).queries[0]
    busy = simulate(machine, [replace(query) for _ in range(queries)])
    return EventCycles(
        latency_cycles=alone.total_cycles,
        front_cycles=alone.stages[0].cycles,
        interval_cycles=1 / busy.queries_per_cycle,
    )
