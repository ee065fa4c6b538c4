"""A corpus over several devices: shards that divide its rows, each held by one or more of them.

Ref: the certificate of short queues: the K best of all need no more than k' < K of each part if no
part that gave all of its k' may hide a row that belongs to them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rpaccel.golden.corpus import CorpusQuery, Found, answer
from rpaccel.golden.retrieval import top_k
from rpaccel.host.corpus import Change, Corpus
from rpaccel.host.driver import Completion, Driver
from rpaccel.spec.isa import Status
from rpaccel.spec.retrieval import Metric

__all__ = ["ShardChange", "ShardedAnswer", "ShardedCorpus"]

Int8 = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ShardChange:
    """A change of a row on its way to every device that holds it. row : of the whole corpus."""

    row: int
    shard: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardedAnswer:
    """What a query found in all shards. ids of the whole corpus.

    pages : of each shard, how many times it was asked. epochs : at which each shard was scanned.
    restarts : a shard changed between two pages, so that all were asked again.
    """

    found: Found
    pages: tuple[int, ...]
    epochs: tuple[int, ...]
    restarts: int


@dataclass
class _Part:
    """What one shard has given to a query so far: ids of the whole corpus, in order."""

    corpus: Corpus
    shard: int
    ids: list[Ints] = field(default_factory=list)
    scores: list[Ints] = field(default_factory=list)
    page: tuple[int, int] | None = None  # the last row given, as the shard knows it
    found: int = 0
    hidden: int = 0  # rows that qualify and were not given
    pages: int = 0
    epoch: int = 0


class ShardedCorpus:
    """Rows over the devices of several drivers, and the merge of their answers, exact.

    Row i lies in shard i mod shards, as row i // shards there: appends go to the shards in turn,
    and the order of equal scores is that of one corpus. Device d holds shard d mod shards.

    Any number of threads may change it. A query sees each shard at one epoch of the device that
    answers for it, not all shards at one moment.

    Parameters
    ----------
    rows, metric, live : of the whole corpus; see host.corpus.Corpus.
    replicas : devices that hold a shard; it divides the number of drivers.
    capacity : rows that there is room for in all; None: those given.

    Raises ValueError for devices that cannot be divided so.
    """

    def __init__(
        self,
        drivers: Sequence[Driver],
        rows: Int8,
        metric: Metric = Metric.INNER_PRODUCT,
        *,
        replicas: int = 1,
        live: npt.NDArray[np.bool_] | None = None,
        capacity: int | None = None,
    ) -> None:
        if not drivers:
            raise ValueError("drivers must be at least 1, not 0")
        if replicas < 1 or len(drivers) % replicas:
            raise ValueError(f"replicas must divide {len(drivers)} drivers, not {replicas}")
        self.shards, self.replicas = len(drivers) // replicas, replicas
        self.count = len(rows)
        room = self.count if capacity is None else capacity
        if room < self.count:
            raise ValueError(f"capacity must be at least {self.count} rows, not {room}")
        self._lock = threading.Lock()
        self._asked = 0
        self.parts: list[list[Corpus]] = [[] for _ in range(self.shards)]
        for number, driver in enumerate(drivers):
            shard = number % self.shards
            share = slice(shard, None, self.shards)
            self.parts[shard].append(
                Corpus(
                    driver,
                    rows[share],
                    metric,
                    live=None if live is None else live[share],
                    capacity=len(range(room)[share]),
                )
            )

    # Changes

    def append(self, values: Int8) -> ShardChange:
        """Queue a row behind the last one on every device of its shard, int8[dim]."""
        with self._lock:
            row, shard = self.count, self.count % self.shards
            changes = tuple(part.append(values) for part in self.parts[shard])
            self.count += 1
        return ShardChange(row=row, shard=shard, changes=changes)

    def overwrite(self, row: int, values: Int8) -> ShardChange:
        """Queue new values of a row, int8[dim], on every device of its shard."""
        with self._lock:
            place, shard = self._locate(row)
            changes = tuple(part.overwrite(place, values) for part in self.parts[shard])
        return ShardChange(row=row, shard=shard, changes=changes)

    def delete(self, row: int) -> ShardChange:
        """Queue a row's deletion on every device of its shard."""
        with self._lock:
            place, shard = self._locate(row)
            changes = tuple(part.delete(place) for part in self.parts[shard])
        return ShardChange(row=row, shard=shard, changes=changes)

    def wait(self, change: ShardChange) -> Status:
        """Return what a change came to on all its devices, once: OK, or the first error."""
        found = [
            part.wait(each)
            for part, each in zip(self.parts[change.shard], change.changes, strict=True)
        ]
        return next((status for status in found if status is not Status.OK), Status.OK)

    def _locate(self, row: int) -> tuple[int, int]:
        if not 0 <= row < self.count:
            raise ValueError(f"row must be in 0..{self.count - 1}, not {row}")
        return divmod(row, self.shards)

    # Queries

    def retrieve(
        self, vectors: Sequence[Int8] | Int8, k: int, *, per_shard: int | None = None
    ) -> list[ShardedAnswer]:
        """Return the k best rows of all shards for each of `vectors`, int8[dim].

        per_shard : rows asked of each shard at a time; None: k. With fewer than k the answer is the
        same: a shard that may hide one of the k is asked for its next page. k may be larger than
        what a device gives at a time. If a shard has changed between two pages, the query begins
        anew with k rows of each: one page then, unless k is larger.
        Raises ValueError for sizes that a device does not have, RuntimeError with the status of a
        query that failed.
        """
        limit = min(corpus.driver.config.retrieval_k_max for part in self.parts for corpus in part)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        share = min(k, limit) if per_shard is None else per_shard
        if not 1 <= share <= min(k, limit):
            raise ValueError(f"per_shard must be in 1..{min(k, limit)}, not {share}")
        queries = [self._parts() for _ in vectors]
        answers: list[ShardedAnswer | None] = [None] * len(queries)
        restarts, shares = [0] * len(queries), [share] * len(queries)
        while open_queries := [place for place, got in enumerate(answers) if got is None]:
            asked = [
                (place, part, self._submit(part, vectors[place], shares[place]))
                for place in open_queries
                for part in self._unsure(queries[place], k)
            ]
            pages = [(place, part, part.corpus.driver.wait(tag)) for place, part, tag in asked]
            moved = {place for place, part, page in pages if not self._take(part, page)}
            for place in open_queries:
                if place in moved:
                    queries[place], shares[place] = self._parts(), min(k, limit)
                    restarts[place] += 1
                elif not self._unsure(queries[place], k):
                    answers[place] = _merged(queries[place], k, restarts[place])
        return [got for got in answers if got is not None]

    def _parts(self) -> list[_Part]:
        """Return what a query has of each shard: nothing yet. Replicas are asked in turn."""
        replica = self._asked % self.replicas
        self._asked += 1
        return [_Part(part[replica], shard) for shard, part in enumerate(self.parts)]

    def _submit(self, part: _Part, vector: Int8, k: int) -> int:
        return part.corpus.driver.submit(part.corpus.query(vector, k, page=part.page))

    def _take(self, part: _Part, page: Completion) -> bool:
        """Add a shard's page; return whether the shard is as it was at its first page."""
        if not page.ok:
            raise RuntimeError(f"a shard's query ended with {page.status.name}")
        if part.pages and page.epoch != part.epoch:
            return False
        _add(part, page, self.shards)
        return True

    def _unsure(self, parts: list[_Part], k: int) -> list[_Part]:
        """Return the shards that may hide a row of the k best: those not asked yet, at first.

        The rows that a shard hides are behind its last one; they matter only if that one is before
        the k-th of all, or there is no k-th.
        """
        if not parts[0].pages:
            return parts
        ids, scores = _best(parts, k)
        unsure = [part for part in parts if part.hidden]
        if len(ids) < k:
            return unsure
        kth = (-int(scores[-1]), int(ids[-1]))
        return [part for part in unsure if (-int(part.scores[-1][-1]), int(part.ids[-1][-1])) < kth]


def _add(part: _Part, page: Completion, shards: int) -> None:
    part.ids.append(page.ids.astype(np.int64) * shards + part.shard)
    part.scores.append(page.scores.astype(np.int64))
    part.hidden = page.overshoot
    part.page = page.next_page or part.page
    part.found = part.found if part.pages else page.found
    part.epoch = page.epoch
    part.pages += 1


def _best(parts: list[_Part], k: int) -> tuple[Ints, Ints]:
    """Return ids and scores of the k best rows that the shards gave."""
    ids = np.concatenate([page for part in parts for page in part.ids])
    scores = np.concatenate([page for part in parts for page in part.scores])
    order = top_k(scores, k, ids)
    return ids[order], scores[order]


def _merged(parts: list[_Part], k: int, restarts: int) -> ShardedAnswer:
    ids, scores = _best(parts, k)
    asked = CorpusQuery(vector=np.zeros(0, dtype=np.int8), k=k)
    return ShardedAnswer(
        found=answer(asked, ids, scores, sum(part.found for part in parts)),
        pages=tuple(part.pages for part in parts),
        epochs=tuple(part.epoch for part in parts),
        restarts=restarts,
    )
