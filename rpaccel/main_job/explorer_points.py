"""What the page of `rpaccel report` shows of one point: where time, area and energy go; a query.

The query is alone on the machine, by the event model (`perfmodel.machine`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.main_job.explorer_space import ItemLink, stage_uj
from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_report import BatchRecord, MachineReport, TaskRecord
from rpaccel.perfmodel.point_events import point_machine, point_query

__all__ = ["TERMS", "PointDetail", "latency_terms", "point_detail"]

Flags = NDArray[np.bool_]

# Where a query's cycles go. Each cycle counts once, for the first of these that goes on anywhere.
TERMS = (
    "link in",
    "layers of both stages at once", "layers of stage 0", "layers of stage 1",
    "gather of stage 0 alone", "gather of stage 1 alone",
    "scores and filter", "control and waiting",
    "link out",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PointDetail:
    """One point. terms_us : of TERMS. energy_uj : by part.

    event_cycles : of the query, from `accepted` on. tasks, and sub_batches of each.
    ends : cycles in which each stage is over.
    """

    terms_us: tuple[float, ...]
    energy_uj: dict[str, float]
    event_cycles: int
    accepted: int
    tasks: tuple[TaskRecord, ...]
    sub_batches: tuple[tuple[BatchRecord, ...], ...]
    ends: tuple[int, ...]


def _busy(cycles: int, spans: Sequence[tuple[int, int]]) -> Flags:
    """Return in which cycles any span goes on: bool[cycles]."""
    steps = np.zeros(cycles + 1, np.int64)
    for begin, end in spans:
        if min(cycles, end) > max(0, begin):
            steps[max(0, begin)] += 1
            steps[min(cycles, end)] -= 1
    return np.cumsum(steps[:-1]) > 0


def latency_terms(report: MachineReport) -> tuple[int, ...]:
    """Return the cycles of a query alone by TERMS without the link; they sum to its total."""
    query = report.queries[0]
    total = query.total_cycles

    def busy(spans: Sequence[tuple[int, int]]) -> Flags:
        return _busy(total, [(a - query.accepted, b - query.accepted) for a, b in spans])

    layers, gathers = [], []
    for stage in (0, 1):
        mine = [batch for batch in report.sub_batches if batch.stage == stage]
        layers.append(
            busy([span for b in mine for span in ((b.taken, b.crossed), (b.chosen, b.logit))])
        )
        gathers.append(busy([(batch.gathering, batch.gathered) for batch in mine]))
    scores = [(task.end, task.scored) for task in report.tasks]
    scores += [
        (max(task.scored for task in report.tasks if task.stage == number), stage.end)
        for number, stage in enumerate(query.stages)
    ]
    claims = (
        layers[0] & layers[1], layers[0], layers[1], gathers[0], gathers[1], busy(scores),
        np.ones(total, bool),
    )  # fmt: skip
    left, found = np.ones(total, bool), []
    for claim in claims:
        found.append(int((claim & left).sum()))
        left &= ~claim
    return tuple(found)


def _by_task(report: MachineReport) -> tuple[tuple[BatchRecord, ...], ...]:
    """Return the sub-batches of each task; each belongs to one."""
    found = []
    for task in report.tasks:
        found.append(
            tuple(
                batch
                for batch in report.sub_batches
                if (batch.lane, batch.stage) == (task.lane, task.stage)
                and task.computing <= batch.taken <= task.end
                and batch.logit <= task.end
            )
        )
    assert sum(map(len, found)) == len(report.sub_batches)
    return tuple(found)


def point_detail(space: DesignSpace, number: int, link: ItemLink, clock_hz: float) -> PointDetail:
    """Return what is shown of a point of `space`."""
    point = space.point(number)
    report = simulate(point_machine(space, point), [point_query(space, point)], sub_batches=True)
    query = report.queries[0]
    cycles_us = [1e6 * cycles / clock_hz for cycles in latency_terms(report)]
    parts: dict[str, float] = {}
    for stage in (0, 1):
        for name, uj in stage_uj(space, point, stage).items():
            parts[name] = parts.get(name, 0.0) + uj
    return PointDetail(
        terms_us=(1e6 * link.in_s, *cycles_us, 1e6 * link.out_s),
        energy_uj=parts,
        event_cycles=query.total_cycles,
        accepted=query.accepted,
        tasks=report.tasks,
        sub_batches=_by_task(report),
        ends=tuple(stage.end for stage in query.stages),
    )
