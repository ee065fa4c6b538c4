"""Busy cycles of a query's units on the event level, stage by stage, as completions count them."""

from __future__ import annotations

from collections.abc import Mapping

from rpaccel.perfmodel.bucket_filter import first_survivor_cycles
from rpaccel.perfmodel.design_space import DesignPoint, DesignSpace, dealt
from rpaccel.perfmodel.lane import TAKE_CYCLES
from rpaccel.perfmodel.machine_load import Machine
from rpaccel.perfmodel.machine_report import BatchRecord, MachineReport
from rpaccel.perfmodel.ordered_top_n import LATENCY_CYCLES
from rpaccel.perfmodel.report import UNIT_FIELDS
from rpaccel.perfmodel.sequencer import ProgramShape
from rpaccel.spec.stage_tasks import StageTasks

__all__ = ["event_units"]

Pair = tuple[int, int]  # of both stages


def event_units(
    space: DesignSpace, point: DesignPoint, machine: Machine, report: MachineReport
) -> Mapping[str, Pair]:
    """Return UNIT_FIELDS of both stages [cycles] of a query alone, all tasks together.

    machine, report : perfmodel.point_events.point_machine, and simulate's with sub_batches.
    """
    gather, array, interaction = (dict.fromkeys(range(2), 0) for _ in range(3))
    batches = [[each for each in report.sub_batches if each.stage == stage] for stage in range(2)]
    for stage, (network, _) in enumerate(space.workload.stages):
        for batch in batches[stage]:
            shape = machine.lanes[batch.lane][network.name]
            program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
            array[stage] += program.tiles * batch.items
            config = machine.config.lane(batch.lane)
            interaction[stage] += program.interaction_cycles(config, batch.items)
    for task in report.tasks:
        mine = [each for each in batches[task.stage] if each.lane == task.lane]
        gather[task.stage] += _last_taken(mine, task.gathered) - task.begin - TAKE_CYCLES
    stages = gather, array, interaction, dict(enumerate(_filters(space, point)))
    pairs = zip(UNIT_FIELDS, stages, strict=True)
    return {name: (cycles[0], cycles[1]) for name, cycles in pairs}


def _last_taken(batches: list[BatchRecord], gathered: int) -> int:
    """Return when the array takes a task's last sub-batch, whose data are there in `gathered`."""
    return max(each.taken for each in batches if each.gathered == gathered)


def _filters(space: DesignSpace, point: DesignPoint) -> Pair:
    """Return the cycles of filter and list; every release looks at all bins.

    All but the last release of a filter give ids away while it is at work, as many as are due.
    """
    items, tasks = space.candidates, dealt(space.candidates, point.front_task_items)[0]
    share = StageTasks.shared(point.front_task_items or items, point.k, items).task_k
    given = min(share * (tasks - 1), point.k)
    front = items + tasks * (first_survivor_cycles() - 1) + given
    return front, point.k + LATENCY_CYCLES - 1
