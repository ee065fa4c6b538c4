"""Queries of a source without lanes as tracks of a timeline: retrievals, what a host does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rpaccel.main_job.run_trace import write_events
from rpaccel.perfmodel.trace_events import Event, QuerySpan, query_span, trace_events

__all__ = ["QueryTracks", "write_tracks"]


@dataclass(frozen=True, kw_only=True)
class QueryTracks:
    """A source, whose queries are given one by one. queries : number of its process."""

    source: str
    queries: int
    _spans: list[QuerySpan] = field(default_factory=list)
    _parts: list[Event] = field(default_factory=list)

    def add(self, query: QuerySpan) -> None:
        """Add a query."""
        self._spans.append(query)

    def add_part(self, what: str, tag: int, begin: int, end: int, **facts: int) -> None:
        """Add what becomes of a query, in a track of its own."""
        self.extend(query_span(what, tag, begin, end, process=self.queries, facts=facts))

    def extend(self, events: Iterable[Event]) -> None:
        """Add events of the process `queries`."""
        self._parts.extend(events)

    def events(self) -> list[Event]:
        """Return the events of all that was added."""
        queries = trace_events([], self._spans, source=self.source, process=self.queries - 1)
        return queries + self._parts


def write_tracks(path: Path, tracks: Iterable[QueryTracks]) -> None:
    """Write a picture of several sources."""
    write_events(path, *(each.events() for each in tracks))
