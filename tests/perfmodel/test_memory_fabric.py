import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from rpaccel.host.row_pins import pin_sections
from rpaccel.perfmodel.memory_fabric import (
    lookup_cycles,
    pinned_row_cycles,
    read_cycles,
    row_cycles,
    write_cycles,
)
from rpaccel.rtl.memory_fabric import MemoryFabric
from rpaccel.rtl.row_network import RowNetwork
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import target_bits
from tests.memory_model import MemoryModel
from tests.streams import receive, send, simulate

TINY = load_accelerator("tiny")
EVERYTHING = {"base": 0, "limit": 1 << 16, "permission": 3}


def transfers(streams):
    """Return {stream: cycle of its first transfer} and the bench that fills it."""
    seen = {}

    async def watch(ctx):
        cycle = 0
        flags = [signal for stream in streams for signal in (stream.valid, stream.ready)]
        async for _, _, *values in ctx.tick().sample(*flags):
            for index in range(len(streams)):
                if values[2 * index] and values[2 * index + 1]:
                    seen.setdefault(index, cycle)
            cycle += 1

    return seen, watch


@pytest.mark.parametrize("latency", [1, 7, 40])
def test_read_latency(latency):
    dut = MemoryFabric(TINY)
    memory = MemoryModel(bytearray(1 << 12), TINY.beat_bytes, latency=(latency, latency))
    port = dut.readers[1]
    seen, watch = transfers([port.request, port.response])

    async def bench(ctx):
        ctx.set(dut.regions[0], EVERYTHING)
        await send(ctx, port.request, [{"address": 0, "beats": 4}])
        await receive(ctx, port.response, 4)

    simulate(dut, bench, background=[*memory.serve_axi(dut.axi[0]), watch])
    assert seen[1] - seen[0] == read_cycles(latency + 1)  # the model counts between samples


@pytest.mark.parametrize("latency", [1, 9])
@pytest.mark.parametrize("beats", [1, 2])
@pytest.mark.parametrize("lines", [0, 4])
def test_row_latency(latency, beats, lines):
    """Of a row that misses, on its way through bank and fabric; a hit; and one that is pinned."""
    config = TINY.model_copy(update={"static_cache_lines": lines})
    dut, fabric = RowNetwork(config, 1), MemoryFabric(config)
    m = Module()
    m.submodules += [dut, fabric]
    wiring.connect(m, dut.memory[0], fabric.banks[0])
    memory = MemoryModel(bytearray(1 << 12), TINY.beat_bytes, latency=(latency, latency))
    port = dut.readers[0]

    async def bench(ctx):
        ctx.set(fabric.regions[0], EVERYTHING)
        await ctx.tick().repeat(TINY.row_cache_sets + 1)  # the cache is cleared
        ctx.set(dut.split, lines)
        pinned = {128: bytes(8 * beats)}
        for section in pin_sections(config, lines, [pinned, {}]).sections if lines else ():
            size = target_bits(section.target, config.image_bytes) // 8
            for index in range(len(section.payload) // size):
                entry = section.payload[index * size : (index + 1) * size]
                ctx.set(dut.load.target, section.target)
                ctx.set(dut.load.index, index)
                ctx.set(dut.load.data, int.from_bytes(entry, "little"))
                ctx.set(dut.load.valid, 1)
                await ctx.tick()
        ctx.set(dut.load.valid, 0)
        note = {"stage": 0, "size": beats}
        for address in (64, 64, *pinned) if lines else (64, 64):
            await send(ctx, port.request, [{"address": address, "beats": beats, "row": note}])
            await receive(ctx, port.response, beats)

    cycles = []

    async def watch(ctx):
        cycle = 0
        async for _, _, asked, given in ctx.tick().sample(
            port.request.valid & port.request.ready,
            port.response.valid & port.response.ready,
        ):
            cycle += 1
            if asked:
                begin, first = cycle, True
            if given and first:
                cycles.append(cycle - begin)
                first = False

    simulate(m, bench, background=[*memory.serve_axi(fabric.axi[0]), watch])
    lookup = lookup_cycles(lines)
    expected = [row_cycles(latency + 1, beats, lookup), row_cycles(None, beats, lookup)]
    assert cycles == expected + [pinned_row_cycles()] * (lines > 0)


@pytest.mark.parametrize("beats", [1, 2, 16])
def test_write_latency(beats):
    dut = MemoryFabric(TINY)
    memory = MemoryModel(bytearray(1 << 12), TINY.beat_bytes)
    port = dut.writer
    seen, watch = transfers([port.request, port.response])

    async def ask(ctx):
        ctx.set(dut.regions[0], EVERYTHING)
        await send(ctx, port.request, [{"address": 0, "beats": beats}])

    async def pay(ctx):
        await send(ctx, port.payload, [{"data": i, "strobe": 255} for i in range(beats)])

    async def answer(ctx):
        await receive(ctx, port.response, 1)

    simulate(dut, ask, pay, answer, background=[*memory.serve_axi(dut.axi[0]), watch])
    assert seen[1] - seen[0] == write_cycles(beats, 1)
