"""A stage for Gather: random tables and records in memory, expected writes from golden."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rpaccel.golden.gather import gather_feature, item_records
from rpaccel.golden.quantised import QuantisedFeature
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import FEATURE, Pooling

TABLES_END = 0x7000


class Write(NamedTuple):
    """A write to a word: mask of 32-bit words, its bytes, and which bits of them are known."""

    mask: int
    data: bytes
    cared: bytes


Writes = dict[tuple[bool, bool, int], list[Write]]  # {(user, vector, address): in order}


def raw_mask(mask: int, size: int = 128) -> bytes:
    """Return 0xFF for each byte that `mask` writes."""
    return bytes(255 * (mask >> i // 4 & 1) for i in range(size))


@dataclass(kw_only=True)
class Shape:
    """A feature: ids per record (0: single-hot), rows of its table, pooling."""

    max_ids: int = 0
    rows: int = 20
    pooling: Pooling = Pooling.MEAN


@dataclass(kw_only=True)
class Stage:
    """One stage's model, records and tables, laid out in memory."""

    config: AcceleratorConfig
    user: list[Shape]
    item: list[Shape]
    dim: int
    user_dense: int = 5
    item_dense: int = 3
    items: int = 10
    sub_batch: int = 4
    quarter_items: int = 0
    table_rows: int = 30
    seed: int = 1
    feature_base: int = 2
    counts: tuple[int, int] | None = None  # least and most ids of a multi-hot feature
    addresses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.contents = bytearray(1 << 16)
        self.next_address = 0x1000
        self.row_bytes = max(4, 1 << (self.dim - 1).bit_length())
        self.user_features, user_words = self._features(self.user, "user", self.user_dense)
        self.item_features, item_words = self._features(self.item, "item", self.item_dense)
        beat = self.config.beat_bytes
        self.user_bytes = -(-max(4 * user_words, 1) // beat) * beat
        self.item_bytes = max(beat, 1 << (4 * item_words - 1).bit_length())
        assert self.item_bytes <= self.config.item_record_bytes, self.item_bytes
        assert self.user_bytes <= self.config.user_record_bytes, self.user_bytes
        self.user_record = self._records(1, self.user_features, self.user_dense, self.user_bytes)
        self.table = self._records(
            self.table_rows, self.item_features, self.item_dense, self.item_bytes
        )
        # the user record crosses a 4 KiB page if it is longer than a beat
        page = TABLES_END + 0x1000
        self.user_address = page - beat if self.user_bytes > beat else page
        self.place(self.user_record, self.user_address)
        self.features_address = self.place(self.table, page + 0x1000)
        generator = random.Random(self.seed)
        self.ids = [generator.randrange(self.table_rows) for _ in range(self.items)]

    def place(self, array: np.ndarray, address: int) -> int:
        raw = array.tobytes()
        assert address + len(raw) <= len(self.contents)
        self.contents[address : address + len(raw)] = raw
        return address

    def _features(
        self, shapes: list[Shape], side: str, dense: int
    ) -> tuple[list[QuantisedFeature], int]:
        word, features = -(-dense // 4), []
        for number, shape in enumerate(shapes):
            table = self.rng.integers(-127, 128, (shape.rows, self.dim), dtype=np.int8)
            features.append(
                QuantisedFeature(
                    name=f"{side}{number}", side=side, table=table, word=word,
                    multi_hot=shape.max_ids > 0, max_ids=max(1, shape.max_ids),
                    pooling=shape.pooling, multiplier=int(self.rng.integers(1, 60000)),
                    shift=int(self.rng.integers(14, 18)),
                )
            )  # fmt: skip
            word += features[-1].words
            rows = np.zeros((shape.rows, self.row_bytes), np.int8)
            rows[:, : self.dim] = table
            align = max(self.row_bytes, self.config.beat_bytes)
            address = -(-self.next_address // align) * align
            self.addresses.append(self.place(rows, address))
            self.next_address = address + rows.size
        assert self.next_address <= TABLES_END
        return features, word

    def _records(
        self, count: int, features: list[QuantisedFeature], dense: int, size: int
    ) -> np.ndarray:
        records = np.zeros((count, size), np.uint8)
        records[:, :dense] = self.rng.integers(0, 256, (count, dense))
        words = records.view("<u4")
        for record in words:
            for feature in features:
                ids = self.rng.integers(0, feature.rows, feature.max_ids)
                if not feature.multi_hot:
                    record[feature.word] = ids[0]
                    continue
                least, most = self.counts or (0, feature.max_ids)
                used = int(self.rng.integers(least, most + 1))
                record[feature.word] = used
                record[feature.word + 1 : feature.word + 1 + used] = ids[:used]
        return records

    @property
    def dense_words(self) -> tuple[int, int]:
        step = self.config.words_per_beat
        size = step * self.config.array_size
        return -(-self.user_dense // size) * step, -(-self.item_dense // size) * step

    @property
    def vector_words(self) -> tuple[int, int]:
        size = self.config.vector_word_bytes
        return tuple(-(-len(side) * self.row_bytes // size) for side in (self.user, self.item))

    def batch_size(self, asked: int) -> int:
        """Return the items of a full sub-batch. asked : of the descriptor; 0: the slot's."""
        return min(asked or self.sub_batch, self.sub_batch)

    @property
    def slot(self) -> dict[str, int]:
        user_dense_words, item_dense_words = self.dense_words
        user_vector_words, item_vector_words = self.vector_words
        return {
            "valid": 1,
            "sub_batch": self.sub_batch,
            "quarter_items": self.quarter_items,
            "feature_base": self.feature_base,
            "user_features": len(self.user),
            "item_features": len(self.item),
            "user_dense_words": user_dense_words,
            "item_dense_words": item_dense_words,
            "user_vector_words": user_vector_words,
            "item_vector_words": item_vector_words,
            "row_bytes": self.row_bytes,
        }

    @property
    def start(self) -> dict[str, int]:
        return {
            "user_address": self.user_address,
            "features_address": self.features_address,
            "features_rows": self.table_rows,
            "item_record_bytes": self.item_bytes,
            "user_record_bytes": self.user_bytes,
            "items": self.items,
        }

    @property
    def descriptors(self) -> list[int]:
        return [
            FEATURE.pack(
                {
                    "table_address": address, "rows": f.rows, "word": f.word,
                    "max_ids": f.max_ids, "multi_hot": f.multi_hot, "pooling": f.pooling,
                    "multiplier": f.multiplier, "shift": f.shift,
                }
            )
            for address, f in zip(
                self.addresses, self.user_features + self.item_features, strict=True
            )
        ]  # fmt: skip

    def user_writes(self) -> Writes:
        """Return what the user record writes."""
        writes: Writes = defaultdict(list)
        self._dense(writes, self.user_record[0], self.user_dense, 0, user=True)
        vectors = self._vectors(self.user_features, self.user_record[0])
        for at, raw, mask in self._pieces(vectors):
            writes[True, True, at].append(Write(mask, raw, raw_mask(mask)))
        return writes

    def item_writes(self, ids: list[int], bank: int) -> Writes:
        """Return what a sub-batch of the candidates `ids` writes into `bank`."""
        config, engines = self.config, self.config.engines
        writes: Writes = defaultdict(list)
        records, errors = item_records(self.table, np.array(ids))
        for item, (record, error) in enumerate(zip(records, errors, strict=True)):
            base = bank * config.dense_words // 2 + item * self.dense_words[1]
            used = self.dense_words[1] * config.array_size if error else self.item_dense
            self._dense(writes, record, used, base, user=False)
            vectors = self._vectors(self.item_features, record)
            vectors = bytes(len(vectors)) if error else vectors
            base = bank * config.engine_vector_words // 2
            base += item // engines * self.vector_words[1]
            for word, raw, mask in self._pieces(vectors):
                address = (base + word) * engines + item % engines
                writes[False, True, address].append(Write(mask, raw, raw_mask(mask)))
        return writes

    def _dense(
        self, writes: Writes, record: np.ndarray, used: int, base: int, *, user: bool
    ) -> None:
        """Add the beats of a record's head: each one clears the rest of its word."""
        beat = self.config.beat_bytes
        size = max(beat, self.config.array_size)
        head = record[:used].tobytes()
        for at in range(0, -(-used // size) * size, beat):
            begin = at % size
            data = bytes(begin) + head[at : at + beat]
            # bytes of the last beat behind `used` may be anything, those behind the beat are zero
            cared = b"\xff" * len(data) + bytes(begin + beat - len(data))
            mask = (1 << size // 4) - (1 << begin // 4)
            write = Write(mask, data.ljust(size, b"\0"), cared.ljust(size, b"\xff"))
            address = base + at // size * self.config.words_per_beat
            writes[user, False, address].append(write)

    def _vectors(self, features: list[QuantisedFeature], record: np.ndarray) -> bytes:
        """Return a side's vectors from golden, `row_bytes` each."""
        words = record.view("<u4")[None, :]
        vectors = (gather_feature(f, words)[0][0].astype(np.int8).tobytes() for f in features)
        return b"".join(vector.ljust(self.row_bytes, b"\0") for vector in vectors)

    def _pieces(self, vectors: bytes) -> list[tuple[int, bytes, int]]:
        """Return (vector word, its bytes, mask) of each beat of packed vectors."""
        size, piece = self.config.vector_word_bytes, min(self.row_bytes, self.config.beat_bytes)
        pieces = []
        for at in range(0, len(vectors), piece):
            begin = at % size
            raw = bytes(begin) + vectors[at : at + piece]
            mask = (1 << (begin + piece) // 4) - (1 << begin // 4)
            pieces.append((at // size, raw, mask))
        return pieces

    def reads(self) -> int:
        """Return the row reads of a stage without errors."""

        def of(features: list[QuantisedFeature], record: np.ndarray) -> int:
            words = record.view("<u4")
            return sum(int(words[f.word]) if f.multi_hot else 1 for f in features)

        items = sum(of(self.item_features, self.table[i]) for i in self.ids)
        return items + of(self.user_features, self.user_record[0])
