"""A machine's run as spans of a timeline, the model's twin of host.timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.trace_events import (
    BatchSpan,
    Event,
    QuerySpan,
    TaskSpan,
    batch_events,
    trace_events,
)

__all__ = ["machine_events"]


def machine_events(
    report: MachineReport,
    *,
    process: int = 1,
    start: int = 0,
    tags: Sequence[int] | None = None,
    source: str = "model",
) -> list[Event]:
    """Return the trace events of `report`, in cycles.

    source : what the model is called, if there are several. process : number of the first of two
    processes, or of three if the report has its sub-batches. start : when the load's cycle 0 is in
    the picture. tags : what queries are called, such as a device's tags; by default their number in
    the load.
    """
    names = range(len(report.query_records)) if tags is None else tags
    tasks = [
        TaskSpan(
            tag=names[task.query],
            lane=task.lane,
            stage=task.stage,
            items=task.items,
            given_at=start + task.start,
            gathered_at=start + task.gathered,
            computed_at=start + task.end,
            first_score_at=start + task.scored - task.items,  # taken one per cycle
            scored_at=start + task.scored,
        )
        for task in report.tasks
    ]
    queries = [
        QuerySpan(
            tag=names[index],
            fetched_at=start + query.arrival,
            begun_at=start + query.accepted,
            ended_at=start + query.end,
            stage_cycles=tuple(stage.cycles for stage in query.stages),
        )
        for index, query in enumerate(report.queries)
    ]
    events = trace_events(tasks, queries, source=source, process=process)
    if not len(report.batch_log):
        return events
    spans = _batch_spans(report, start, names)
    return events + batch_events(spans, source=source, process=process + 2)


def _batch_spans(report: MachineReport, start: int, names: Sequence[int]) -> Iterator[BatchSpan]:
    for batch in report.sub_batches:
        yield BatchSpan(
            tag=names[batch.query], lane=batch.lane, stage=batch.stage, items=batch.items,
            gathering_at=start + batch.gathering, gathered_at=start + batch.gathered,
            taken_at=start + batch.taken, crossed_at=start + batch.crossed,
            chosen_at=start + batch.chosen, logit_at=start + batch.logit,
        )  # fmt: skip
