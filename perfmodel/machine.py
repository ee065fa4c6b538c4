"""A whole machine under a load: funnels, tasks, lanes, filters, shared memory; event by event.

Chains of layers are exact (`perfmodel.lane_core`), gathers are those of `perfmodel.costs`, and
what lanes share is dealt out by `perfmodel.shared_memory`. A query on a machine that is idle, each
stage a task on one lane, takes what `perfmodel.lane.predict_query` says. The events are those of
`perfmodel.machine_kernels`, compiled.

Simplified: a gather's reads come at an even rate; a fourth stage does not wait for the filter of
the first; reading ahead is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from rpaccel.perfmodel.machine_faults import check_report
from rpaccel.perfmodel.machine_kernels import (
    DONE,
    FEW_RELEASES,
    MANY_TASKS,
    NO_PROFILE,
    PAST,
    SMALL,
    run_machine,
)
from rpaccel.perfmodel.machine_load import Machine, QueryLoad
from rpaccel.perfmodel.machine_plan import MachinePlan
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.machine_state import MachineState

__all__ = ["finish_run", "simulate"]

EVENTS = 1 << 10  # places at first
BATCHES = 1 << 13  # of the log


def simulate(
    machine: Machine, queries: Sequence[QueryLoad], *, sub_batches: bool = False
) -> MachineReport:
    """Return what becomes of `queries` on `machine`; they are taken in the order of arrival.

    sub_batches : every one of them is in the report, for a timeline.
    Raises ValueError if a stage has no lane, or one without its model; if it has more tasks than
    releases; or if a query is to be made at the end of one that does not end. Raises RuntimeError
    if there are more tasks than planned, which is a fault of the plan; if an event were in the
    past, or if the report breaks a rule of `perfmodel.machine_faults`, which are those of the
    model.
    """
    plan = MachinePlan(machine, queries)
    events, batches = EVENTS, BATCHES if sub_batches else 0
    while True:
        state = plan.new_state(events, batches)
        why = _run(plan, state)
        if why != SMALL:
            return finish_run(plan, state, why)
        events, batches = 2 * events, 2 * batches


def finish_run(plan: MachinePlan, state: MachineState, why: int) -> MachineReport:
    """Return the report of a run that is over. why : it is; raises as `simulate` says."""
    if why == FEW_RELEASES:
        raise ValueError("releases must be as many as the tasks of their stage, not fewer")
    if why == MANY_TASKS:
        raise RuntimeError(f"tasks must be at most {len(state.log)}, as planned, not more")
    if why == PAST:
        raise RuntimeError("an event must not be before the events of now")
    assert why == DONE, "there is room for all events and sub-batches"
    run = state.run[0]
    ended = int((state.queries["end"] > 0).sum())
    assert run["waiting"] == ended, "queries wait and nothing moves"
    if ended < len(plan.queries):
        lost = {query.after for query, end in zip(plan.queries, state.queries["end"], strict=True)
                if not end}  # fmt: skip
        raise ValueError(f"after must be a query that ends, not {sorted(lost, key=repr)}")
    report = MachineReport(
        query_records=state.queries,
        stage_records=state.stages,
        task_log=state.log[: run["tasks"]],
        batch_log=state.batch_log[: run["batches"]],
        lane_numbers=tuple(plan.lanes),
        array_cycles=dict(zip(plan.lanes, state.lanes["array"].tolist(), strict=True)),
        memory_cycles=float(run["memory"]),
        steps=int(run["steps"]),
    )
    check_report(report)
    return report


def _run(plan: MachinePlan, state: MachineState) -> int:
    """Run until all is over or something is wrong, adding profiles on the way; return why."""
    while True:
        why = int(run_machine(plan.tables, state))
        if why != NO_PROFILE:
            return why
        plan.add_asked(state)
