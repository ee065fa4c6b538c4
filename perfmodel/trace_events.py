"""Timelines in the trace-event format that Perfetto and chrome://tracing open.

One picture for what a device did and what a model says: lanes with the gathers, the computing and
the scores of their tasks, and queries with their waits, stages and filters. One cycle is drawn as
one us.

Ref: Trace Event Format, Google, 2016 (complete events "X", metadata "M").
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]
QUERY_TRACKS = 16  # of a query: itself, its stages, their filters


@dataclass(frozen=True, kw_only=True)
class TaskSpan:
    """A task on a lane; times in cycles, as in spec.isa.TASK_LOG."""

    tag: int
    lane: int
    stage: int
    items: int
    given_at: int
    gathered_at: int
    computed_at: int
    first_score_at: int
    scored_at: int


@dataclass(frozen=True, kw_only=True)
class QuerySpan:
    """A query: in the device, worked on, answered [cycles].

    stage_cycles : of each stage, from its first task until its filter has counted, or its list of
    the best is whole; () if they are not known.
    """

    tag: int
    fetched_at: int
    begun_at: int
    ended_at: int
    status: str = "OK"
    stage_cycles: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BatchSpan:
    """A sub-batch in the units of a lane [cycles].

    Times as those of machine_report.BatchRecord.
    """

    tag: int
    lane: int
    stage: int
    items: int
    gathering_at: int
    gathered_at: int
    taken_at: int
    crossed_at: int
    chosen_at: int
    logit_at: int


def batch_events(batches: Iterable[BatchSpan], *, source: str, process: int) -> list[Event]:
    """Return the trace events of sub-batches, in the order of a lane's gathers, as a process.

    A lane has three tracks: gather, bottom (bottom chain and interaction), top (top chain). Chains
    overlap: a span begins no sooner than the one before it in its track ends.
    """
    events = [_name("process_name", process, 0, f"{source}: sub-batches")]
    ends: dict[tuple[int, int], int] = {}  # of each lane and track
    for batch in batches:
        title = f"query {batch.tag} stage {batch.stage}"
        facts = {"items": batch.items, "stage": batch.stage, "query": batch.tag}
        spans = (
            ("gather", batch.gathering_at, batch.gathered_at),
            ("bottom", batch.taken_at, batch.crossed_at),
            ("top", batch.chosen_at, batch.logit_at),
        )
        for n, (track, start, end) in enumerate(spans):
            thread = 3 * batch.lane + n
            if (batch.lane, n) not in ends:
                events.append(_name("thread_name", process, thread, f"lane {batch.lane} {track}"))
            begin = min(max(start, ends.get((batch.lane, n), 0)), end)
            ends[batch.lane, n] = end
            events.append(_span(title, process, thread, begin, end, facts))
    return events


def trace_events(
    tasks: Sequence[TaskSpan], queries: Sequence[QuerySpan], *, source: str, process: int = 1
) -> list[Event]:
    """Return the events of one source, "device" or "model", as processes of their own.

    process : number of the first of two processes: lanes, then queries. A lane has three tracks:
    gather, compute (from the gather's end of the task, or the end of the one before) and scores
    (from the first that its filter takes to the last).
    """
    events = [_name("process_name", process + 1, 0, f"{source}: queries")]
    if tasks:
        events.append(_name("process_name", process, 0, f"{source}: lanes"))
    tracks = ("gather", "compute", "scores")
    for lane in sorted({task.lane for task in tasks}):
        for n, track in enumerate(tracks):
            events.append(_name("thread_name", process, 3 * lane + n, f"lane {lane} {track}"))

    computed: dict[int, int] = {}  # of each lane, the end of the task before
    for task in sorted(tasks, key=lambda task: (task.given_at, task.lane)):
        title = f"query {task.tag} stage {task.stage}"
        begin = max(task.gathered_at, computed.get(task.lane, 0))
        computed[task.lane] = task.computed_at
        spans = (
            (task.given_at, task.gathered_at),
            (min(begin, task.computed_at), task.computed_at),
            (task.first_score_at, task.scored_at),
        )
        for n, (start, end) in enumerate(spans):
            facts = {"items": task.items, "stage": task.stage, "query": task.tag}
            events.append(_span(title, process, 3 * task.lane + n, start, end, facts))
    by_tag: defaultdict[int, list[TaskSpan]] = defaultdict(list)
    for task in tasks:
        by_tag[task.tag].append(task)
    for query in queries:
        events += _query_events(query, by_tag[query.tag], process + 1)
    return events


def _query_events(query: QuerySpan, tasks: Sequence[TaskSpan], process: int) -> list[Event]:
    """Return a query's events: tracks of its own, of its stages and their filters, which overlap.

    A filter's span is from the first score that it takes until it has counted.
    """
    thread, name = QUERY_TRACKS * query.tag, f"query {query.tag}"
    facts = {"status": query.status}
    events = [
        _name("thread_name", process, thread, name),
        _span("waits", process, thread, query.fetched_at, query.begun_at, facts),
        _span("query", process, thread, query.begun_at, query.ended_at, facts),
    ]
    for stage in sorted({task.stage for task in tasks}):
        mine = [task for task in tasks if task.stage == stage]
        start, scored = min(t.given_at for t in mine), max(t.scored_at for t in mine)
        counted = scored
        if stage < len(query.stage_cycles):
            counted = max(scored, start + query.stage_cycles[stage])
        items = {"items": sum(task.items for task in mine), "tasks": len(mine)}
        first = min(task.first_score_at for task in mine)
        for n, (what, begin, end) in enumerate(
            ((f"stage {stage}", start, scored), (f"filter {stage}", first, counted)), 1 + 2 * stage
        ):
            events.append(_name("thread_name", process, thread + n, f"{name} {what}"))
            events.append(_span(what, process, thread + n, begin, end, items))
    return events


def query_span(
    what: str,
    tag: int,
    begin: int,
    end: int,
    *,
    process: int,
    facts: Mapping[str, int] | None = None,
) -> list[Event]:
    """Return a span of a query in one more track of its own. process : of the queries."""
    thread = QUERY_TRACKS * tag + QUERY_TRACKS - 1
    return [
        _name("thread_name", process, thread, f"query {tag} {what}"),
        _span(what, process, thread, begin, end, dict(facts or {})),
    ]


def trace_json(*sources: Iterable[Event]) -> str:
    """Return events of any number of sources as a file for Perfetto; same input, same bytes."""
    events = [event for source in sources for event in source]
    document = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"unit": "cycles"}}
    return json.dumps(document, sort_keys=True) + "\n"


def _name(kind: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _span(
    name: str, process: int, thread: int, start: int, end: int, arguments: dict[str, Any]
) -> Event:
    if end < start:
        raise ValueError(f"end of {name!r} must be at least {start}, not {end}")
    return {
        "ph": "X", "name": name, "pid": process, "tid": thread,
        "ts": start, "dur": end - start, "args": arguments,
    }  # fmt: skip
