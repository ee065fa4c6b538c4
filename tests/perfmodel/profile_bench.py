"""Tasks of a given profile on one lane of a machine."""

from __future__ import annotations

from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.memory import padded_records
from rpaccel.perfmodel.networks import FILM_SMALL
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.spec.platform import MemoryTiming


def run_profile(monkeypatch, config, profile, *, lane=0, tasks=1):
    """Return when sub-batches are gathered, taken, crossed and scored, from the task's start on.

    The tasks are equal and wait from the start; each is a query.
    """
    monkeypatch.setattr("rpaccel.perfmodel.machine_plan.task_profile", lambda *_, **__: profile)
    machine = Machine(
        config=config,
        memory=MemoryTiming(latency_cycles=1, source="unused"),
        lanes={lane: {"small": compile_shape(FILM_SMALL, config.lane(lane))}},
    )
    query = QueryLoad(
        arrival=0,
        items=sum(work.items for work, _, _ in profile.batches),
        stages=(StageLoad(model="small"),),
        records=padded_records(64, 64, config.beat_bytes),
        top_n=1,
    )
    report = simulate(machine, [query] * tasks, sub_batches=True)
    start = report.tasks[0].start
    return {
        name: (report.batch_log[name] - start).tolist()
        for name in ("gathered", "taken", "crossed", "logit")
    }
