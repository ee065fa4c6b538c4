import random

import pytest

from rpaccel.rtl.list_reader import ListReader
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from tests.memory_model import MemoryModel
from tests.streams import STALL_CASES, expect_silence, receive, send, simulate, stalls

TINY = load_accelerator("tiny")
WIDE = TINY.model_copy(update={"array_size": 16, "axi_data_bits": 128})


def ids_at(memory, address, items):
    raw = bytes(memory.contents[address : address + 4 * items])
    return [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 4 * items, 4)]


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("config", [TINY, WIDE], ids=["W8", "W16"])
def test_lists(config, stall):
    dut = ListReader(config)
    _, sink = stalls(stall, 3)
    memory = MemoryModel(
        bytearray(random.Random(1).randbytes(1 << 14)), config.beat_bytes, latency=(2, 40),
        stall=0.4 if stall in ("source", "both") else 0.0,
    )  # fmt: skip
    lists = [(0x1000, 1), (0x1F80, 100), (0x2010, 64), (0x0, 3), (0x1FF0, 5)]
    lists.append((0x3000, 1024 // 4))

    async def bench(ctx):
        for address, items in lists:
            await send(ctx, dut.start, [{"address": address, "items": items}])
            assert await receive(ctx, dut.ids, items, sink) == ids_at(memory, address, items)
            assert ctx.get(dut.status) == 0
        await expect_silence(ctx, dut.ids)
        assert not ctx.get(dut.busy)

    simulate(dut, bench, monitors=[dut.ids], background=[memory.serve(dut.memory)])
    beats = sum(-(-items * 4 // config.beat_bytes) for _, items in lists)
    assert memory.read_beats == beats == sum(n for _, _, n in memory.reads)


def test_failed_beat_gives_zeros_and_status():
    dut = ListReader(TINY)
    memory = MemoryModel(bytearray(b"\x01" * 4096), 8, failing={0x110: Status.MEMORY})

    async def bench(ctx):
        await send(ctx, dut.start, [{"address": 0x100, "items": 8}])
        got = await receive(ctx, dut.ids, 8)
        assert got == [0x01010101] * 4 + [0] * 2 + [0x01010101] * 2
        assert ctx.get(dut.status) == Status.MEMORY
        await send(ctx, dut.start, [{"address": 0x200, "items": 2}])
        await receive(ctx, dut.ids, 2)
        assert ctx.get(dut.status) == 0

    simulate(dut, bench, monitors=[dut.ids], background=[memory.serve(dut.memory)])


def test_one_id_per_cycle():
    dut = ListReader(WIDE)
    memory = MemoryModel(bytearray(1 << 13), 16, latency=(50, 50))
    cycles = {}

    async def bench(ctx):
        await send(ctx, dut.start, [{"address": 0, "items": 1024}])
        await receive(ctx, dut.ids, 1024)
        cycles["done"] = cycles["now"]

    async def clock(ctx):
        cycles["now"] = 0
        async for _ in ctx.tick():
            cycles["now"] += 1

    simulate(dut, bench, background=[memory.serve(dut.memory), clock])
    assert cycles["done"] <= 1024 + 50 + 10
