"""What a device has done as spans of a timeline."""

from __future__ import annotations

from collections.abc import Iterable

from rpaccel.host.query import Completion
from rpaccel.host.task_log import TaskRecord
from rpaccel.perfmodel.trace_events import Event, QuerySpan, TaskSpan, trace_events

__all__ = ["device_events"]


def device_events(
    records: Iterable[TaskRecord], completions: Iterable[Completion], *, process: int = 1
) -> list[Event]:
    """Return the trace events of tasks and queries of one run, shorter than 2**32 cycles.

    Tasks that were lost with a lane are left out.
    """
    names = TaskSpan.__dataclass_fields__
    tasks = [
        TaskSpan(**{name: getattr(record, name) for name in names})
        for record in records
        if not record.lost
    ]
    queries = []
    for completion in completions:
        begun = completion.ended_at - completion.total_cycles
        queries.append(
            QuerySpan(
                tag=completion.tag,
                fetched_at=begun - completion.queue_cycles,
                begun_at=begun,
                ended_at=completion.ended_at,
                status=completion.status.name,
                stage_cycles=completion.stage_cycles,
            )
        )
    return trace_events(tasks, queries, source="device", process=process)
