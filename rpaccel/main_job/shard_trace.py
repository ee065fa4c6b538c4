"""Devices that share a corpus as a timeline for Perfetto: host, devices, and the same by the model.

Every netlist has a clock, which stands while the host looks at another one: what is asked at once
is drawn as if all clocks began there together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.host.driver import Completion, Driver, Request, Retrieval
from rpaccel.main_job.query_tracks import QueryTracks, write_tracks
from rpaccel.main_job.run_trace import retrieval_events
from rpaccel.perfmodel.trace_events import QuerySpan

__all__ = ["PageDriver", "ScanCosts", "ShardTrace"]

MODEL = "model, "  # of whom
Page = tuple[Retrieval, Completion]


class PageDriver(Driver):
    """A driver that keeps what it was asked to retrieve, with the answers."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pages: list[Page] = []
        self._asked: dict[int, Retrieval] = {}

    def submit(self, request: Request | Retrieval, **options: Any) -> int:
        """Queue a query and return its tag; see Driver."""
        tag = super().submit(request, **options)
        if isinstance(request, Retrieval):
            self._asked[tag] = request
        return tag

    def wait(self, tag: int) -> Completion:
        """Return the completion of `tag`, once; see Driver."""
        completion = super().wait(tag)
        if tag in self._asked:
            self._pages.append((self._asked.pop(tag), completion))
        return completion

    def take_pages(self) -> list[Page]:
        """Return what was retrieved since the last call, in the order of `wait`."""
        pages, self._pages = self._pages, []
        return pages


@dataclass(frozen=True, kw_only=True)
class ScanCosts:
    """What the model says of a scan of a device's rows, and how many queries share it.

    scan_cycles : rows over bandwidth; the next scan begins then. constant_cycles : from then until
    the answer.
    """

    scan_cycles: float
    constant_cycles: float
    shared: int


class ShardTrace:
    """What devices did that share a corpus, and what the model says of it.

    Parameters
    ----------
    vectors : int8[n, dim]  Of all queries; a query is called by its place.
    devices : int
    costs : ScanCosts  Of each device.
    """

    def __init__(self, vectors: npt.NDArray[np.int8], devices: int, costs: ScanCosts) -> None:
        self._places = {vector.tobytes(): place for place, vector in enumerate(vectors)}
        self._costs, self._now = costs, 0
        own = ["host", *(f"device {number}" for number in range(devices))]
        names = [*own, *(f"{MODEL}{name}" for name in own)]
        self._tracks = {
            name: QueryTracks(source=name, queries=2 * number)
            for number, name in enumerate(names, start=1)
        }

    def add(self, pages: Sequence[Sequence[Page]], begins: Sequence[int], cycles: int) -> None:
        """Add queries that were asked at once.

        pages : of each device, in the order of its answers. begins : cycle of each device when they
        were asked. cycles : of the slowest one, until its driver had seen the last answer.
        """
        rows: Counter[int] = Counter()  # that the host merges, of each query
        for number, (taken, begin) in enumerate(zip(pages, begins, strict=True)):
            found = []
            for asked, completion in taken:
                place = self._place(asked)
                rows[place] += len(completion.ids)
                ended = self._now + completion.ended_at - begin
                found.append(replace(completion, tag=place, ended_at=ended))
            self._add_device(f"device {number}", found)
        self._merge("host", rows, self._now + cycles)
        end = self._model(pages)
        self._merge(f"{MODEL}host", rows, end)
        self._now = max(end, self._now + cycles)

    def write(self, path: Path) -> None:
        """Write the picture of all that was added."""
        write_tracks(path, self._tracks.values())

    def _place(self, asked: Retrieval) -> int:
        return self._places[np.asarray(asked.vector).tobytes()]

    def _add_device(self, name: str, completions: Sequence[Completion]) -> None:
        tracks = self._tracks[name]
        for each in completions:
            begun = each.ended_at - each.total_cycles
            tracks.add(
                QuerySpan(
                    tag=each.tag,
                    fetched_at=begun - each.queue_cycles,
                    begun_at=begun,
                    ended_at=each.ended_at,
                    status=each.status.name,
                )
            )
        tracks.extend(retrieval_events(completions, process=tracks.queries))

    def _merge(self, name: str, rows: Counter[int], end: int) -> None:
        """Add the host's view of queries, whose answers are merged at `end`, in no time."""
        tracks = self._tracks[name]
        for place, count in sorted(rows.items()):
            tracks.add(QuerySpan(tag=place, fetched_at=self._now, begun_at=self._now, ended_at=end))
            tracks.add_part("merge", place, end, end, rows=count)

    def _model(self, pages: Sequence[Sequence[Page]]) -> int:
        """Add what the model says of the same pages; return when the last answer is there.

        A round of pages begins when all answers to the one before are there.
        """
        left, begin = [list(self._rounds(taken)) for taken in pages], self._now
        while any(left):
            ends = [begin]
            for number, rounds in enumerate(left):
                if rounds:
                    ends.append(self._scans(f"{MODEL}device {number}", rounds.pop(0), begin))
            begin = max(ends)
        return begin

    def _rounds(self, pages: Sequence[Page]) -> Iterator[list[int]]:
        """Yield the queries of the first pages, of the second ones, and so on."""
        left = Counter(self._place(each) for each, _ in pages)
        while left:
            yield list(left)
            left -= Counter(list(left))

    def _scans(self, name: str, places: Sequence[int], begin: int) -> int:
        """Add scans for a round's queries, one behind the other; return the last one's end."""
        tracks, end, shared = self._tracks[name], begin, self._costs.shared
        scan, constant = self._costs.scan_cycles, self._costs.constant_cycles
        for number, first in enumerate(range(0, len(places), shared)):
            starts, scanned, end = (
                round(begin + cycles)
                for cycles in (number * scan, (number + 1) * scan, (number + 1) * scan + constant)
            )
            for place in places[first : first + shared]:
                tracks.add(QuerySpan(tag=place, fetched_at=begin, begun_at=starts, ended_at=end))
                tracks.add_part("retrieval", place, starts, end, scan_cycles=scanned - starts)
        return end
