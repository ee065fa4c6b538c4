"""A bench around Gather: random tables and records in memory, expected vectors from golden."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rpaccel.golden.gather import gather_feature
from rpaccel.golden.quantised import QuantisedFeature
from rpaccel.rtl.gather import Gather
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import FEATURE, Pooling, Target
from tests.memory_model import MemoryModel
from tests.streams import plain, send, simulate, stalls


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
        self.vector_words = -(-self.dim // self.config.array_size)
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
        self.user_address = 0x5000 - beat if self.user_bytes > beat else 0x5000
        self.place(self.user_record, self.user_address)
        self.features_address = self.place(self.table, 0x6000)
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
        assert self.next_address <= 0x4F00
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
        size = self.config.array_size
        return -(-self.user_dense // size), -(-self.item_dense // size)

    @property
    def item_words(self) -> int:
        return self.dense_words[1] + len(self.item) * self.vector_words

    @property
    def slot(self) -> dict[str, int]:
        user_dense_words, item_dense_words = self.dense_words
        return {
            "valid": 1,
            "sub_batch": self.sub_batch,
            "feature_base": self.feature_base,
            "user_features": len(self.user),
            "item_features": len(self.item),
            "user_dense_words": user_dense_words,
            "item_dense_words": item_dense_words,
            "item_words": self.item_words,
            "vector_words": self.vector_words,
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

    def words(self, side: str, record: np.ndarray) -> list[tuple[bytes, int]]:
        """Return (bytes, how many of them matter) of each word of a side's vectors."""
        size = self.config.array_size
        features = self.user_features if side == "user" else self.item_features
        dense = self.user_dense if side == "user" else self.item_dense
        words = []
        for first in range(0, dense, size):
            part = record[first : min(dense, first + size)].tobytes()
            words.append((part.ljust(size, b"\0"), len(part)))
        for feature in features:
            vector = gather_feature(feature, record.view("<u4")[None, :])[0][0].astype(np.int8)
            raw = vector.tobytes().ljust(self.vector_words * size, b"\0")
            words += [(raw[i : i + size], size) for i in range(0, len(raw), size)]
        return words

    def reads(self) -> int:
        """Return the row reads of a stage without errors."""

        def of(features: list[QuantisedFeature], record: np.ndarray) -> int:
            words = record.view("<u4")
            return sum(int(words[f.word]) if f.multi_hot else 1 for f in features)

        items = sum(of(self.item_features, self.table[i]) for i in self.ids)
        return items + of(self.user_features, self.user_record[0])


@dataclass
class Outcome:
    """What the bench saw."""

    batches: list[dict[str, Any]] = field(default_factory=list)
    item_ids: list[int] = field(default_factory=list)
    words: list[dict[int, bytes]] = field(default_factory=list)  # FEATURE at each batch
    user: dict[int, bytes] = field(default_factory=dict)
    status: int = 0
    cycles: int = 0  # from start to the last batch
    counters: dict[str, int] = field(default_factory=dict)


def run(  # noqa: PLR0915
    stage: Stage,
    stall: str = "none",
    latency: tuple[int, int] = (5, 30),
    failing: dict[int, int] | None = None,
    hold_cycles: int = 0,
    repeats: int = 1,
    sub_batch: int = 0,
    lists: list[list[int]] | None = None,
    limit_cycles: int = 20_000,
) -> tuple[list[Outcome], MemoryModel, MemoryModel]:
    """Run `stage` on a Gather `repeats` times; a batch's bank is released after `hold_cycles`."""
    config = stage.config
    dut = Gather(config)
    chance = 0.3 if stall in ("source", "both") else 0.0
    records = MemoryModel(stage.contents, config.beat_bytes, latency, chance, 7, failing or {})
    rows = MemoryModel(stage.contents, config.beat_bytes, latency, chance, 8, failing or {})
    source, _ = stalls(stall, 5)
    memories: dict[int, dict[int, bytes]] = {0: {}, 1: {}}
    outcomes = [Outcome() for _ in range(repeats)]
    now = {"cycle": 0, "banks": 0}

    async def main(ctx: Any) -> None:
        for index, word in enumerate(stage.descriptors):
            ctx.set(dut.load.valid, 1)
            ctx.set(dut.load.target, Target.FEATURE)
            ctx.set(dut.load.index, stage.feature_base + index)
            ctx.set(dut.load.data, word)
            await ctx.tick()
        ctx.set(dut.load.valid, 0)
        ctx.set(dut.slot, stage.slot)
        for outcome in outcomes:
            await send(ctx, dut.start, [stage.start | {"sub_batch": sub_batch}])
            begin = now["cycle"]
            now["outcome"] = outcome
            await collect(ctx, outcome)
            outcome.cycles = now["cycle"] - begin
            for _ in range(3):
                await ctx.tick()
            assert not ctx.get(dut.busy) and ctx.get(dut.start.ready)
            assert not ctx.get(dut.batch.valid) and not ctx.get(dut.item_ids.valid)
            outcome.status = ctx.get(dut.status)

    async def collect(ctx: Any, outcome: Outcome) -> None:
        last = False
        _, sink = stalls(stall, 9)
        while not last:
            for _ in range(next(sink)):
                await ctx.tick()
            ctx.set(dut.batch.ready, 1)
            (batch,) = await ctx.tick().sample(dut.batch.payload).until(dut.batch.valid)
            ctx.set(dut.batch.ready, 0)
            outcome.batches.append(plain(batch))
            outcome.words.append(dict(memories[0]))
            outcome.user = dict(memories[1])
            last = batch.last
            ctx.set(dut.item_ids.ready, 1)
            for _ in range(batch.items):
                _, _, valid, item = await ctx.tick().sample(
                    dut.item_ids.valid, dut.item_ids.payload
                )
                assert valid, "an item's id must be there before its batch"
                outcome.item_ids.append(item)
            ctx.set(dut.item_ids.ready, 0)
            for _ in range(hold_cycles):
                await ctx.tick()
            ctx.set(dut.release_stb, 1)
            await ctx.tick()
            ctx.set(dut.release_stb, 0)

    async def ids(ctx: Any) -> None:
        for candidates in lists or [stage.ids] * repeats:
            await send(ctx, dut.ids, candidates, source)

    async def watch(ctx: Any) -> None:
        size, beat = config.array_size, config.beat_bytes
        async for _, _, valid, user, address, word, mask, *flags in ctx.tick().sample(
            dut.vectors.valid, dut.vectors.user, dut.vectors.address, dut.vectors.data,
            dut.vectors.mask, dut.busy, dut.stalled_input, dut.stalled_output, dut.item_stb,
        ):  # fmt: skip
            now["cycle"] += 1
            if valid:
                old = bytearray(memories[user].get(address, b"\xa5" * size))
                new = word.to_bytes(size, "little")
                for i in range(size):
                    if mask >> (i // beat) & 1:
                        old[i] = new[i]
                memories[user][address] = bytes(old)
            if "outcome" in now:
                counters = now["outcome"].counters
                for name, flag in zip(("busy", "input", "output", "items"), flags, strict=True):
                    counters[name] = counters.get(name, 0) + flag

    simulate(
        dut, main, ids, monitors=[dut.batch, dut.item_ids, dut.record.request, dut.row.request],
        background=[records.serve(dut.record), rows.serve(dut.row), watch],
        limit_cycles=limit_cycles,
    )  # fmt: skip
    return outcomes, records, rows


def check(stage: Stage, outcome: Outcome, first_bank: int = 0, sub_batch: int = 0) -> None:
    """Compare every word of every batch with golden."""
    size = min(sub_batch or stage.sub_batch, stage.sub_batch)
    sizes = [min(size, stage.items - i) for i in range(0, stage.items, size)]
    assert [b["items"] for b in outcome.batches] == sizes
    assert [b["last"] for b in outcome.batches] == [0] * (len(sizes) - 1) + [1]
    banks = [(first_bank + i) % 2 for i in range(len(sizes))]
    assert [b["bank"] for b in outcome.batches] == banks
    assert outcome.item_ids == stage.ids
    for address, (word, used) in enumerate(stage.words("user", stage.user_record[0])):
        assert outcome.user[address][:used] == word[:used], f"USER word {address}"
    ids = iter(stage.ids)
    for number, (bank, items) in enumerate(zip(banks, sizes, strict=True)):
        for item in range(items):
            base = bank * stage.config.feature_words + item * stage.item_words
            record = stage.table[next(ids)]
            for index, (word, used) in enumerate(stage.words("item", record)):
                got = outcome.words[number][base + index]
                assert got[:used] == word[:used], f"batch {number} item {item} word {index}"
    assert outcome.counters["items"] == stage.items
