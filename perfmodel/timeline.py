"""A machine's run as trace events that Perfetto and chrome://tracing open.

Ref: "Trace Event Format", Google, 2016: complete events (ph X) and metadata (ph M); microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.spec.isa import MAX_STAGES

__all__ = ["trace_events"]

LANES, FILTERS, QUERIES = 1, 2, 3  # processes of the trace
PROCESSES = {LANES: "lanes", FILTERS: "filters and lists", QUERIES: "queries"}
ROWS = MAX_STAGES + 1  # of a query: itself and its stages


def trace_events(report: MachineReport, clock_hz: float) -> dict[str, Any]:
    """Return the trace of `report` at a clock [Hz], ready for JSON.

    A lane has a row of gathers and one of computing, where a task begins when the one before has
    ended; a filter has a row per stage of a query; a query has one for itself and one per stage.
    """
    if clock_hz <= 0:
        raise ValueError(f"clock_hz must be positive, not {clock_hz}")
    microsecond = clock_hz / 1e6
    spans = [*_tasks(report), *_queries(report)]
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": name}}
        for pid, name in PROCESSES.items()
    ]
    rows = {(pid, tid): row for pid, tid, row, *_ in spans}
    events += [
        {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": row}}
        for (pid, tid), row in sorted(rows.items())
    ]
    events += [
        {
            "name": name,
            "ph": "X",
            "pid": pid,
            "tid": tid,
            "ts": start / microsecond,
            "dur": (end - start) / microsecond,
            "args": {"items": items},
        }
        for pid, tid, _, name, start, end, items in spans
    ]
    return {"traceEvents": events, "displayTimeUnit": "ns"}


Span = tuple[int, int, str, str, int, int, int]  # process, thread, its name, name, from, to, items


def _tasks(report: MachineReport) -> Iterator[Span]:
    busy: dict[int, int] = {}  # until when a lane computes
    for task in sorted(report.tasks, key=lambda task: (task.lane, task.end)):
        name = f"query {task.query} stage {task.stage}"
        lane = f"lane {task.lane}"
        begin = max(task.computing, busy.get(task.lane, 0))
        busy[task.lane] = task.end
        number = 2 * task.lane
        yield LANES, number, f"{lane} gather", name, task.start, task.gathered, task.items
        yield LANES, number + 1, f"{lane} compute", name, begin, task.end, task.items
        row = ROWS * task.query + task.stage
        yield FILTERS, row, name, lane, task.scored - task.items, task.scored, task.items


def _queries(report: MachineReport) -> Iterator[Span]:
    for index, query in enumerate(report.queries):
        row, items = ROWS * index, query.stages[0].items if query.stages else 0
        yield QUERIES, row, f"query {index}", "in all", query.arrival, query.end, items
        for number, stage in enumerate(query.stages):
            name = f"stage {number}"
            yield (
                QUERIES,
                row + 1 + number,
                f"query {index} {name}",
                name,
                stage.start,
                stage.end,
                (stage.items),
            )
