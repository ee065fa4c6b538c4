"""A corpus in device memory: rows that queries search while rows are appended, changed, deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.golden.corpus import (
    LIVE_BITS,
    SCALES,
    LiveWrite,
    RowWrite,
    ScaleWrite,
    Update,
    new_corpus,
    scores_of,
)
from rpaccel.golden.retrieval import cosine_scales
from rpaccel.host.compile import align
from rpaccel.host.driver import Completion, Driver
from rpaccel.host.retrieval import CorpusPlace, Retrieval, RowMask
from rpaccel.host.update_queue import PlacedUpdate
from rpaccel.spec.isa import CORPUS, ISA_VERSION, Status
from rpaccel.spec.retrieval import MIN_ROW_BYTES, Metric
from rpaccel.spec.retrieval_buckets import place_buckets, sample_places

__all__ = ["Change", "Corpus"]

PAGE = 4096
Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class Change:
    """An append, overwrite or deletion on its way. updates : as the device deals with them."""

    row: int
    updates: tuple[Update, ...]
    tickets: tuple[int, ...]


class Corpus:
    """Rows in the memory of one device; see `Driver(corpus_bytes=...)`.

    Any number of threads may change it while queries run. A scan sees exactly the updates that were
    dealt with before it (its epoch). The updates of one change reach the device by one doorbell, so
    a scan sees all of them or none: a row longer than one update writes is changed by several.

    Parameters
    ----------
    rows : int8[n, dim]. A row takes a power of two of bytes in 16..retrieval_row_bytes_max.
    live : bool[n], False: the row is deleted; None: all are live.
    capacity : rows that there is room for; None: n.

    Raises ValueError for rows or a device that do not fit, MemoryError if the arena is too small.
    """

    def __init__(
        self,
        driver: Driver,
        rows: Int8,
        metric: Metric = Metric.INNER_PRODUCT,
        *,
        live: npt.NDArray[np.bool_] | None = None,
        capacity: int | None = None,
    ) -> None:
        config, held = driver.config, np.asarray(rows)
        if not config.retrieval_queries:
            raise ValueError(
                f"retrieval_queries of {config.name!r} must be at least 1 for a corpus, not 0"
            )
        if held.dtype != np.int8 or held.ndim != 2:
            raise ValueError(f"rows must be int8[n, dim], not {held.dtype}{list(held.shape)}")
        count, dim = held.shape
        widest = config.retrieval_row_bytes_max
        if not 1 <= dim <= widest:
            raise ValueError(f"rows must have 1..{widest} bytes, not {dim}")
        self.driver, self.metric, self.dim, self.count = driver, metric, dim, count
        self.row_bytes = max(MIN_ROW_BYTES, 1 << (dim - 1).bit_length())
        room = count if capacity is None else capacity
        self.capacity = max(1, room)
        padded = np.zeros((count, self.row_bytes), dtype=np.int8)
        padded[:, :dim] = held
        first = new_corpus(padded, metric, live=live, capacity=room)
        self._sample = new_corpus(padded[sample_places(count)], metric)
        self._lock = threading.Lock()
        self._place(padded)
        words = np.ones(align(self.capacity, LIVE_BITS), dtype=np.bool_)
        words[:room] = first.live
        self._live = np.packbits(words, bitorder="little").view("<u4").copy()
        self._scales = np.zeros(align(self.capacity, SCALES), dtype="<u2")
        self._scales[:room] = first.scales
        self._write()

    @property
    def place(self) -> CorpusPlace:
        """Where the device finds it."""
        return CorpusPlace(address=self._header, row_bytes=self.row_bytes, dim=self.dim)

    def _place(self, padded: Int8) -> None:
        config, arena = self.driver.config, self.driver.corpora
        stripes = max(config.memory_ports * config.stripe_bytes, PAGE)
        sizes = {
            "header": CORPUS.bytes,
            "live": align(self.capacity, LIVE_BITS) // 8,
            "scales": 2 * align(self.capacity, SCALES) if self.metric is Metric.COSINE else 0,
            "rows": self.capacity * self.row_bytes,
        }
        self._places: dict[str, int] = {}
        try:
            for name, length in sizes.items():
                if length:
                    alignment = stripes if name == "rows" else PAGE
                    padded_length = align(length, config.retrieval_block_bytes)
                    self._places[name] = arena.allocate(padded_length, alignment)
        except MemoryError:
            self.release()
            raise
        self._header, self._base = self._places["header"], self._places["rows"]
        if padded.size:
            self.driver.bus.write_memory(self._base, padded.tobytes())

    def _write(self) -> None:
        write = self.driver.bus.write_memory
        write(self._places["live"], self._live.tobytes())
        if "scales" in self._places:
            write(self._places["scales"], self._scales.tobytes())
        header = CORPUS.to_bytes(
            {
                "rows": self.count,
                "row_bytes": self.row_bytes,
                "metric": self.metric,
                "version": ISA_VERSION,
                "base": self._base,
                "live": self._places["live"],
                "scales": self._places.get("scales", 0),
            }
        )
        write(self._header, header)

    def release(self) -> None:
        """Give its memory back; no query or update in flight may use it."""
        while self._places:
            self.driver.corpora.release(self._places.popitem()[1])

    # Changes

    def append(self, values: Int8) -> Change:
        """Queue a row behind the last one, int8[dim]; queries see it from the next scan on.

        Raises ValueError if there is no room, for a row that does not fit, or a queue too short for
        the updates of one row.
        """
        row = self._padded(values)
        with self._lock:
            if self.count == self.capacity:
                raise ValueError(f"capacity must be more than {self.capacity} rows for an append")
            place = self.count
            updates = (*self._scale(place, row), *self._pieces(place, row, place + 1))
            change = self._submit(place, updates)
            self.count += 1
        return change

    def overwrite(self, row: int, values: Int8) -> Change:
        """Queue new values of a row, int8[dim]. A deleted row stays deleted."""
        new = self._padded(values)
        with self._lock:
            self._check_row(row)
            return self._submit(row, (*self._scale(row, new), *self._pieces(row, new)))

    def delete(self, row: int) -> Change:
        """Queue a row's deletion: its id is not used again."""
        with self._lock:
            self._check_row(row)
            word, bit = divmod(row, LIVE_BITS)
            bits = int(self._live[word]) & ~(1 << bit)
            return self._submit(row, (LiveWrite(word=word, bits=bits),))

    def wait(self, change: Change) -> Status:
        """Return what a change came to, once: OK, or the first error of its updates."""
        found = [self.driver.wait_update(ticket) for ticket in change.tickets]
        return next((status for status in found if status is not Status.OK), Status.OK)

    def _padded(self, values: Int8) -> Int8:
        row = np.asarray(values)
        if row.dtype != np.int8 or row.shape != (self.dim,):
            raise ValueError(f"values must be int8[{self.dim}], not {row.dtype}{list(row.shape)}")
        padded = np.zeros(self.row_bytes, dtype=np.int8)
        padded[: self.dim] = row
        return padded

    def _check_row(self, row: int) -> None:
        if not 0 <= row < self.count:
            raise ValueError(f"row must be in 0..{self.count - 1}, not {row}")

    def _scale(self, row: int, values: Int8) -> tuple[Update, ...]:
        if self.metric is not Metric.COSINE:
            return ()
        word, place = divmod(row, SCALES)
        pair = [int(scale) for scale in self._scales[SCALES * word :][:SCALES]]
        pair[place] = int(cosine_scales(values[None])[0])
        return (ScaleWrite(word=word, scales=(pair[0], pair[1])),)

    def _pieces(self, row: int, values: Int8, count: int | None = None) -> tuple[RowWrite, ...]:
        """Return the updates that write a row; the last one makes it one of `count` rows."""
        step = self.driver.config.update_bytes_max
        last = (len(values) - 1) // step * step
        return tuple(
            RowWrite(
                row=row,
                values=values[offset : offset + step],
                offset=offset,
                count=count if offset == last else None,
            )
            for offset in range(0, len(values), step)
        )

    def _submit(self, row: int, updates: tuple[Update, ...]) -> Change:
        """Queue updates, then note them; called with the lock, so that both are in one order."""
        queue = self.driver.updates
        if queue is None:
            raise ValueError("update_depth must be at least 1 for row updates, not 0")
        if len(updates) > queue.depth:
            raise ValueError(
                f"update_depth must be at least {len(updates)} for a row of {self.row_bytes} bytes "
                f"({self.driver.config.update_bytes_max} in an update), not {queue.depth}"
            )
        tickets = queue.submit_together([self._placed(update) for update in updates])
        for update in updates:
            match update:
                case ScaleWrite():
                    self._scales[SCALES * update.word :][:SCALES] = update.scales
                case LiveWrite():
                    self._live[update.word] = update.bits
        return Change(row=row, updates=updates, tickets=tuple(tickets))

    def _placed(self, update: Update) -> PlacedUpdate:
        match update:
            case RowWrite():
                return PlacedUpdate(
                    address=self._base + update.row * self.row_bytes + update.offset,
                    payload=update.values.tobytes(),
                    version=update.count or 0,
                    version_address=0 if update.count is None else self._header,
                )
            case ScaleWrite():
                return PlacedUpdate(
                    address=self._places["scales"] + 4 * update.word,
                    payload=np.array(update.scales, dtype="<u2").tobytes(),
                )
            case LiveWrite():
                return PlacedUpdate(
                    address=self._places["live"] + 4 * update.word,
                    payload=update.bits.to_bytes(4, "little"),
                )

    # Queries

    def mask(self, wanted: npt.NDArray[np.bool_]) -> RowMask:
        """Write which rows queries look at, bool[<= capacity]; rows behind are not looked at."""
        if not 1 <= len(wanted) <= self.capacity:
            raise ValueError(f"mask must have 1..{self.capacity} rows, not {len(wanted)}")
        config = self.driver.config
        length = align(-(-self.capacity // 8), config.retrieval_block_bytes)
        address = self.driver.corpora.allocate(length, PAGE)
        raw = np.packbits(np.asarray(wanted, dtype=np.bool_), bitorder="little").tobytes()
        self.driver.bus.write_memory(address, raw.ljust(length, b"\0"))
        return RowMask(address=address)

    def release_mask(self, mask: RowMask) -> None:
        """Give a mask's memory back; no query in flight may use it."""
        self.driver.corpora.release(mask.address)

    def query(
        self,
        vector: Int8,
        k: int,
        *,
        floor: int | None = None,
        page: tuple[int, int] | None = None,
        mask: RowMask | None = None,
    ) -> Retrieval:
        """Return the query for the k best rows for `vector`, int8[dim]; see `Retrieval`.

        The filter's buckets are placed by the scores of some rows as they were at first.
        """
        base, shift = self._buckets(np.asarray(vector))
        return Retrieval(
            corpus=self.place, vector=vector, k=k, floor=floor, page=page, mask=mask,
            base=base, shift=shift,
        )  # fmt: skip

    def retrieve(self, queries: Iterable[Retrieval]) -> list[Completion]:
        """Return what queries found, in their order; the driver's depth of them in flight."""
        return list(self.driver.run(queries))

    def retrieve_all(self, vectors: Sequence[Int8] | Int8, k: int) -> list[Completion]:
        """Return the k best rows for each of `vectors`, int8[q, dim]."""
        return self.retrieve(self.query(vector, k) for vector in vectors)

    def _buckets(self, vector: Int8) -> tuple[int, int]:
        if not self._sample.count or vector.dtype != np.int8 or vector.shape != (self.dim,):
            return 0, 0  # a vector that does not fit is refused later, with its reason
        padded = np.zeros(self.row_bytes, dtype=np.int8)
        padded[: self.dim] = vector
        return place_buckets(scores_of(self._sample, padded))
