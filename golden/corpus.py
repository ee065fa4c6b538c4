"""A corpus and what a query finds in it; a corpus under a stream of row updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rpaccel.golden.retrieval import cosine, cosine_scales, inner_product, l2, top_k
from rpaccel.spec.isa import StatusFlag
from rpaccel.spec.retrieval import Metric

__all__ = ["Corpus", "CorpusQuery", "Found", "LiveWrite", "RowWrite", "ScaleWrite", "Update",
           "after", "answer", "new_corpus", "qualifies", "retrieve", "scores_of"]  # fmt: skip

Ints = npt.NDArray[np.int64]
LIVE_BITS = 32  # of a word of the bitmap of live rows: what one update writes
SCALES = 2  # scales that one update writes: 4 bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Rows 0..count-1 of a memory that has room for more.

    rows : int8[capacity, d]. live : bool[capacity], False: the row is deleted.
    scales : int64[capacity] of `cosine_scales`, used with COSINE.
    """

    rows: npt.NDArray[np.int8]
    count: int
    metric: Metric
    live: npt.NDArray[np.bool_]
    scales: Ints

    @property
    def capacity(self) -> int:
        """Rows that there is room for."""
        return len(self.rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class CorpusQuery:
    """What is looked for.

    vector : int8[d]. floor : lower scores are not found. page : (score, id), only rows behind it
    in the order. bitmap : bool[count], the rows that are looked at; None: all.
    """

    vector: npt.NDArray[np.int8]
    k: int
    floor: int | None = None
    page: tuple[int, int] | None = None
    bitmap: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The best rows, by (score descending, id ascending), and how many there were.

    ids, scores : int64[<= k]. found : rows that qualify, those beyond k included.
    """

    ids: Ints
    scores: Ints
    found: int
    flags: StatusFlag

    @property
    def overshoot(self) -> int:
        """Rows that qualify beyond those given."""
        return self.found - len(self.ids)

    @property
    def next_page(self) -> tuple[int, int] | None:
        """The `page` of the query for what comes next; None: nothing was found."""
        return (int(self.scores[-1]), int(self.ids[-1])) if len(self.ids) else None


def new_corpus(
    rows: npt.NDArray[np.int8],
    metric: Metric = Metric.INNER_PRODUCT,
    *,
    live: npt.NDArray[np.bool_] | None = None,
    capacity: int | None = None,
) -> Corpus:
    """Return a corpus of `rows`, int8[n, d]. live : bool[n]; None: all. capacity : n or more."""
    count, width = rows.shape
    room = count if capacity is None else capacity
    if room < count:
        raise ValueError(f"capacity must be at least {count} rows, not {room}")
    memory = np.zeros((room, width), dtype=np.int8)
    memory[:count] = rows
    alive = np.ones(room, dtype=np.bool_)
    if live is not None:
        alive[:count] = live
    return Corpus(rows=memory, count=count, metric=metric, live=alive, scales=cosine_scales(memory))


def scores_of(corpus: Corpus, vector: npt.NDArray[np.int8]) -> Ints:
    """Return the score of every row, deleted ones too, int64[count]."""
    rows = corpus.rows[: corpus.count]
    if corpus.metric is Metric.L2:
        return l2(rows, vector)
    if corpus.metric is Metric.COSINE:
        return cosine(rows, vector, corpus.scales[: corpus.count])
    return inner_product(rows, vector)


def qualifies(
    scores: Ints, ids: Ints, live: npt.NDArray[np.bool_], query: CorpusQuery
) -> npt.NDArray[np.bool_]:
    """Return which rows count for `query`, bool[n]. ids : int64[n] of the rows of `scores`."""
    wanted = live.copy()
    if query.bitmap is not None:
        wanted &= query.bitmap[ids]
    if query.floor is not None:
        wanted &= scores >= query.floor
    if query.page is not None:
        score, name = query.page
        wanted &= (scores < score) | ((scores == score) & (ids > name))
    return wanted


def answer(query: CorpusQuery, ids: Ints, scores: Ints, found: int) -> Found:
    """Return the answer of the best rows, in order, of `found` that qualify."""
    flags = StatusFlag(0)
    if found < query.k:
        flags |= StatusFlag.UNDERFILL
    if query.floor is not None and found > len(ids):
        flags |= StatusFlag.OVERFILL
    return Found(ids=ids, scores=scores, found=found, flags=flags)


def retrieve(corpus: Corpus, query: CorpusQuery) -> Found:
    """Return what `query` finds: the definition, a sort of all rows that qualify.

    `golden.block_retrieval` gives the same for large corpora.
    """
    scores, ids = scores_of(corpus, query.vector), np.arange(corpus.count)
    ids = ids[qualifies(scores, ids, corpus.live[: corpus.count], query)]
    best = ids[top_k(scores[ids], query.k, ids)]
    return answer(query, best, scores[best], len(ids))


@dataclass(frozen=True, kw_only=True, eq=False)
class RowWrite:
    """An update of a row's bytes from `offset` on: of all, or of a piece of a long row.

    values : int8[<= d - offset]. count : append: of rows, with this one.
    """

    row: int
    values: npt.NDArray[np.int8]
    offset: int = 0
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScaleWrite:
    """An update of the scales of rows 2 * word and 2 * word + 1."""

    word: int
    scales: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class LiveWrite:
    """An update of the live bits of rows 32 * word and on; bit i: row 32 * word + i."""

    word: int
    bits: int


Update = RowWrite | ScaleWrite | LiveWrite


def after(corpus: Corpus, updates: Sequence[Update], epoch: int) -> Corpus:
    """Return the corpus after the first `epoch` of `updates`, which a scan of that epoch sees.

    An append whose count is not greater than the corpus' is stale and changes nothing.
    Raises ValueError for an epoch outside 0..len(updates).
    """
    if not 0 <= epoch <= len(updates):
        raise ValueError(f"epoch must be in 0..{len(updates)}, not {epoch}")
    rows, live, scales = corpus.rows.copy(), corpus.live.copy(), corpus.scales.copy()
    count = corpus.count
    for update in updates[:epoch]:
        match update:
            case RowWrite():
                if update.count is not None and update.count <= count:
                    continue
                rows[update.row, update.offset :][: len(update.values)] = update.values
                count = count if update.count is None else update.count
            case ScaleWrite():
                part = scales[SCALES * update.word :][:SCALES]
                part[:] = update.scales[: len(part)]
            case LiveWrite():
                bits = live[LIVE_BITS * update.word :][:LIVE_BITS]
                bits[:] = [update.bits >> place & 1 for place in range(len(bits))]
    return replace(corpus, rows=rows, live=live, scales=scales, count=count)
