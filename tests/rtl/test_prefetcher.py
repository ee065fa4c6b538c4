"""Prefetcher: the rows of item records, asked for ahead."""

import numpy as np
import pytest

from rpaccel.rtl.prefetcher import Prefetcher
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import FEATURE, SLOT, Target
from tests.memory_model import MemoryModel
from tests.streams import STALL_CASES, plain, receive, send, simulate, stalls

TINY = load_accelerator("tiny")
TABLE = 0x1000  # of item records
RECORD = 32
ROWS = 40
FEATURES = [
    {"table_address": 0x4000, "rows": 50, "word": 1, "max_ids": 1},
    {"table_address": 0x5000, "rows": 30, "word": 2, "max_ids": 4, "multi_hot": 1},
    {"table_address": 0x6000, "rows": 9, "word": 0, "max_ids": 1},
]
USER_FEATURES, BASE = 2, 3  # in front of the item's: not read


def records(seed):
    """Return uint32[ROWS, 8]: some ids and counts are out of range."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 60, (ROWS, RECORD // 4), dtype=np.uint32)
    words[:, 2] = rng.integers(0, 6, ROWS)
    words[:, 0] = rng.integers(0, 11, ROWS)
    return words


def rows_of(words, ids, row_bytes):
    """Return the addresses of the rows that are asked for."""
    found = []
    for number in ids:
        if number >= ROWS:
            continue
        record = words[number]
        for feature in FEATURES:
            listed = [record[feature["word"]]]
            if feature.get("multi_hot"):
                count = int(record[feature["word"]])
                count = 0 if count > feature["max_ids"] else count
                listed = record[feature["word"] + 1 : feature["word"] + 1 + count]
            found += [
                feature["table_address"] + int(i) * row_bytes for i in listed if i < feature["rows"]
            ]
    return found


def slot_of(row_bytes):
    return {"feature_base": BASE, "user_features": USER_FEATURES,
            "item_features": len(FEATURES), "row_bytes": row_bytes}  # fmt: skip


async def load(ctx, dut):
    """Load the features; say where the records lie."""
    for index, feature in enumerate(FEATURES):
        ctx.set(dut.load.target, Target.FEATURE)
        ctx.set(dut.load.index, BASE + USER_FEATURES + index)
        ctx.set(dut.load.data, FEATURE.pack(feature))
        ctx.set(dut.load.valid, 1)
        await ctx.tick()
    ctx.set(dut.load.valid, 0)
    ctx.set(dut.stage, {"features_address": TABLE, "features_rows": ROWS,
                        "item_record_bytes": RECORD})  # fmt: skip


def run(words, groups, row_bytes, stall="none", latency=(3, 9), gap=400):
    """Ask for the ids of each group while active; pause, inactive, in between."""
    contents = bytearray(0x8000)
    contents[TABLE : TABLE + words.nbytes] = words.tobytes()
    memory = MemoryModel(contents=contents, beat_bytes=TINY.beat_bytes, latency=latency)
    dut, got = Prefetcher(TINY), []
    source, sink = stalls(stall)
    slot = slot_of(row_bytes)

    async def feed(ctx):
        await load(ctx, dut)
        ctx.set(dut.slot, {name: slot.get(name, 0) for name in dut.slot.shape().members})
        assert set(slot) <= set(SLOT.fields)
        for ids in groups:
            ctx.set(dut.active, 1)
            await send(ctx, dut.ids, ids, source)
            await ctx.tick().repeat(max(1, gap))
            ctx.set(dut.active, 0)
            await ctx.tick().repeat(60)

    async def drain(ctx):
        for _ in range(10**6):
            got.extend(await receive(ctx, dut.row, 1, sink, limit_cycles=10**6))

    simulate(
        dut, feed, monitors=[dut.row, dut.record.request],
        background=[drain, memory.serve(dut.record)], limit_cycles=100_000,
    )  # fmt: skip
    return got, memory


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("row_bytes", [4, 8, 16])
def test_asks_for_the_rows_of_every_record(row_bytes, stall):
    words = records(row_bytes)
    ids = np.random.default_rng(5).integers(0, ROWS + 3, 30).tolist()
    got, memory = run(words, [ids], row_bytes, stall, gap=2000)
    assert [row["address"] for row in got] == rows_of(words, ids, row_bytes)
    assert len(memory.reads) == sum(number < ROWS for number in ids)
    for row in got:
        assert row["beats"] == max(1, row_bytes // TINY.beat_bytes)
        assert row["row"] == {"stage": 1, "size": (row_bytes // 4).bit_length() - 1}


def test_what_is_late_is_dropped_and_the_next_stage_is_whole():
    """A stage ends with records on their way: none of their rows is asked for afterwards."""
    words = records(1)
    first, second = list(range(12)), list(range(20, 32))
    got, _ = run(words, [first, second], 8, latency=(30, 60), gap=1000)
    assert [row["address"] for row in got] == rows_of(words, first + second, 8)
    short, _ = run(words, [first, second], 8, latency=(50, 60), gap=0)
    asked = [row["address"] for row in short]
    whole = rows_of(words, first, 8)
    prefix = next(n for n in range(len(asked) + 1) if n == len(asked) or asked[n] != whole[n])
    assert prefix < len(whole)
    later = rows_of(words, second, 8)
    assert asked[prefix:] == later[: len(asked) - prefix]


def test_a_row_that_is_offered_stays_when_the_next_slot_comes():
    words = records(1)
    contents = bytearray(0x8000)
    contents[TABLE : TABLE + words.nbytes] = words.tobytes()
    memory = MemoryModel(contents=contents, beat_bytes=TINY.beat_bytes, latency=(3, 9))
    dut = Prefetcher(TINY)

    async def bench(ctx):
        await load(ctx, dut)
        ctx.set(dut.slot, slot_of(16))
        ctx.set(dut.active, 1)
        await send(ctx, dut.ids, [0, 1, 2])
        while not ctx.get(dut.row.valid):
            await ctx.tick()
        before = plain(ctx.get(dut.row.payload))
        assert before["beats"] == 2
        ctx.set(dut.active, 0)
        ctx.set(dut.slot, slot_of(4))  # nobody has taken the row
        await ctx.tick()
        assert ctx.get(dut.row.valid) and plain(ctx.get(dut.row.payload)) == before
        ctx.set(dut.row.ready, 1)
        await ctx.tick().repeat(20)

    simulate(dut, bench, monitors=[dut.row], background=[memory.serve(dut.record)])
