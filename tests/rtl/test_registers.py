import random

import pytest

from rpaccel.rtl.registers import Registers
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.registers import (
    ADDRESS,
    COUNTER_UNITS,
    COUNTER_WORDS,
    DEVICE_ID,
    FUNNEL_COUNTER_UNITS,
    PORT_COUNTER_BASE,
    REGIONS,
    REGISTERS,
    Irq,
    Permission,
    config_registers,
    counter_address,
    funnel_counter_address,
    partition_word,
)
from tests.streams import plain, simulate

CONFIG = load_accelerator("tiny").model_copy(
    update={"lanes": 2, "memory_ports": 2, "axi_address_bits": 40}
)
LIMIT_CYCLES = 50


async def handshake(ctx, valid, ready, delay=0):
    await ctx.tick().repeat(delay) if delay else None
    ctx.set(valid, 1)
    for _ in range(LIMIT_CYCLES):
        _, _, done = await ctx.tick().sample(ready)
        if done:
            ctx.set(valid, 0)
            return
    raise AssertionError("no ready")


async def answer(ctx, valid, ready, payload, delay=0):
    await ctx.tick().repeat(delay) if delay else None
    ctx.set(ready, 1)
    for _ in range(LIMIT_CYCLES):
        _, _, done, value = await ctx.tick().sample(valid, payload)
        if done:
            ctx.set(ready, 0)
            return value
    raise AssertionError("no answer")


async def write(ctx, axil, address, value, strobe=0xF, data_first=False, delay=0):
    ctx.set(axil.awaddr, address)
    ctx.set(axil.wdata, value)
    ctx.set(axil.wstrb, strobe)
    channels = [(axil.awvalid, axil.awready), (axil.wvalid, axil.wready)]
    for valid, ready in reversed(channels) if data_first else channels:
        await handshake(ctx, valid, ready, delay)
    assert await answer(ctx, axil.bvalid, axil.bready, axil.bresp, delay) == 0


async def read(ctx, axil, address, delay=0):
    ctx.set(axil.araddr, address)
    await handshake(ctx, axil.arvalid, axil.arready, delay)
    return await answer(ctx, axil.rvalid, axil.rready, axil.rdata, delay)


def run(bench):
    dut = Registers(CONFIG)

    async def main(ctx):
        await bench(ctx, dut)

    simulate(dut, main)


def writable_bits(register):
    if register.name.endswith("_HI"):
        return 8
    if register.name.endswith("_LO"):
        return 32
    if register.name.endswith("_PERMISSION"):
        return 2
    if register.name == "IRQ_ENABLE":
        return 3
    return {"CONTROL": 3, "WATCHDOG": 32, "IRQ_COALESCE": 32}.get(register.name, 16)


def storage():
    """Return the registers that only keep what the host writes."""
    acting = ("PARTITION", "LANE_RESET")
    return [r for r in REGISTERS if r.access == "rw" and not r.name.startswith(acting)]


def test_constants():
    async def bench(ctx, dut):
        assert await read(ctx, dut.axil, ADDRESS["ID"]) == DEVICE_ID
        for name, value in config_registers(CONFIG).items():
            assert await read(ctx, dut.axil, ADDRESS[name]) == value
            await write(ctx, dut.axil, ADDRESS[name], 0)
            assert await read(ctx, dut.axil, ADDRESS[name]) == value

    run(bench)


@pytest.mark.parametrize("data_first", [False, True])
@pytest.mark.parametrize("delay", [0, 3])
def test_every_register_keeps_its_own_value(data_first, delay):
    rng = random.Random(1)
    values = {r.name: rng.getrandbits(32) for r in storage()}

    async def bench(ctx, dut):
        for name, value in values.items():
            await write(ctx, dut.axil, ADDRESS[name], value, data_first=data_first, delay=delay)
        for register in storage():
            mask = (1 << writable_bits(register)) - 1
            got = await read(ctx, dut.axil, register.address, delay)
            assert got == values[register.name] & mask, register.name
        regions = plain(ctx.get(dut.regions))
        for i in range(REGIONS):
            high = values[f"REGION{i}_LIMIT_HI"] & 0xFF
            assert regions[i]["limit"] == high << 32 | values[f"REGION{i}_LIMIT_LO"]
            assert regions[i]["permission"] == values[f"REGION{i}_PERMISSION"] & 3
        rings = plain(ctx.get(dut.rings))
        low = values["CQ_BASE_LO"] & ~127
        assert rings["cq_base"] == (values["CQ_BASE_HI"] & 0xFF) << 32 | low
        assert rings["sq_tail"] == values["SQ_TAIL"] & 0xFFFF
        assert rings["enable"] == values["CONTROL"] & 1

    run(bench)


def test_strobes_write_bytes():
    async def bench(ctx, dut):
        address = ADDRESS["REGION3_BASE_LO"]
        await write(ctx, dut.axil, address, 0x11223344)
        await write(ctx, dut.axil, address, 0xAABBCCDD, strobe=0b0101)
        assert await read(ctx, dut.axil, address) == 0x11BB33DD
        await write(ctx, dut.axil, address, 0, strobe=0)
        assert await read(ctx, dut.axil, address) == 0x11BB33DD

    run(bench)


def test_unmapped_addresses_read_zero_and_ignore_writes():
    async def bench(ctx, dut):
        for address in (0x044, 0x0FC, 0x114, 0x3FC, 0x450, 0xFFFC):
            await write(ctx, dut.axil, address, 0xFFFFFFFF)
            assert await read(ctx, dut.axil, address) == 0
        assert plain(ctx.get(dut.regions))[0]["permission"] == Permission(0)

    run(bench)


async def pulse(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


def test_interrupt_is_write_one_to_clear():
    async def bench(ctx, dut):
        status = ADDRESS["IRQ_STATUS"]
        await pulse(ctx, dut.completion_stb)
        assert await read(ctx, dut.axil, status) == Irq.COMPLETION
        assert not ctx.get(dut.irq)
        await write(ctx, dut.axil, ADDRESS["IRQ_ENABLE"], Irq.COMPLETION)
        assert ctx.get(dut.irq)
        await write(ctx, dut.axil, status, Irq.ERROR)
        assert ctx.get(dut.irq)
        await write(ctx, dut.axil, status, Irq.COMPLETION, strobe=0b1110)
        assert ctx.get(dut.irq)
        await write(ctx, dut.axil, status, Irq.COMPLETION)
        assert not ctx.get(dut.irq)
        assert await read(ctx, dut.axil, status) == 0
        # An event in the cycle of the clear is not lost.
        ctx.set(dut.completion_stb, 1)
        await write(ctx, dut.axil, status, Irq.COMPLETION)
        ctx.set(dut.completion_stb, 0)
        assert ctx.get(dut.irq)

    run(bench)


def test_first_error_is_kept_until_cleared():
    async def error(ctx, dut, address, status, is_write, requester):
        ctx.set(dut.error_address, address)
        ctx.set(dut.error_status, status)
        ctx.set(dut.error_write, is_write)
        ctx.set(dut.error_requester, requester)
        await pulse(ctx, dut.error_stb)

    async def captured(ctx, dut):
        names = ("ERROR_LO", "ERROR_HI", "ERROR_INFO", "STATUS")
        return [await read(ctx, dut.axil, ADDRESS[name]) for name in names]

    async def bench(ctx, dut):
        assert (await captured(ctx, dut))[3] == 0
        await error(ctx, dut, 0x7512345678, 10, 0, 5)
        await error(ctx, dut, 0x1, 11, 1, 6)
        assert await captured(ctx, dut) == [0x12345678, 0x75, 10 | 5 << 16, 2]
        assert await read(ctx, dut.axil, ADDRESS["IRQ_STATUS"]) == Irq.ERROR
        await write(ctx, dut.axil, ADDRESS["IRQ_STATUS"], Irq.ERROR)
        ctx.set(dut.busy, 1)
        assert await captured(ctx, dut) == [0, 0, 0, 1]
        await error(ctx, dut, 0x88, 11, 1, 6)
        assert await captured(ctx, dut) == [0x88, 0, 11 | 1 << 8 | 6 << 16, 3]

    run(bench)


def test_counters_and_status():
    async def bench(ctx, dut):
        for lane in range(2):
            words = {w: 100 * lane + j for j, w in enumerate(COUNTER_WORDS)}
            counters = {
                unit: {w: v + 10 * i for w, v in words.items()}
                for i, unit in enumerate(COUNTER_UNITS)
            }
            ctx.set(dut.counters[lane], counters)
        for lane in range(2):
            for i, unit in enumerate(COUNTER_UNITS):
                for j, word in enumerate(COUNTER_WORDS):
                    got = await read(ctx, dut.axil, counter_address(lane, unit, word))
                    assert got == 100 * lane + 10 * i + j
        for beats, port in ((3, 0), (5, 1)):
            ctx.set(dut.read_beat_stb, 1 << port)
            ctx.set(dut.write_beat_stb, 2 >> port)
            await ctx.tick().repeat(beats)
        ctx.set(dut.read_beat_stb, 0)
        ctx.set(dut.write_beat_stb, 0)
        got = [await read(ctx, dut.axil, PORT_COUNTER_BASE + 4 * i) for i in (0, 1, 4, 5)]
        assert got == [3, 5, 5, 3]
        for name, signal, value in (
            ("SQ_HEAD", dut.sq_head, 0xFFFF),
            ("CQ_TAIL", dut.cq_tail, 0x1234),
            ("QUERIES", dut.queries, 0xFFFFFFFF),
        ):
            ctx.set(signal, value)
            assert await read(ctx, dut.axil, ADDRESS[name]) == value

    run(bench)


def test_counters_of_funnels():
    async def bench(ctx, dut):
        words = {}
        for funnel in range(CONFIG.funnels):
            for i, unit in enumerate(FUNNEL_COUNTER_UNITS):
                for j, word in enumerate(COUNTER_WORDS):
                    value = 100 * funnel + 10 * i + j
                    ctx.set(dut.funnel_counters[funnel][unit][word], value)
                    words[funnel_counter_address(funnel, unit, word)] = value
        assert len(words) == 2 * 2 * 4
        for address, value in words.items():
            assert await read(ctx, dut.axil, address) == value

    run(bench)


def test_cycles_count_and_do_not_tear():
    async def bench(ctx, dut):
        first = await read(ctx, dut.axil, ADDRESS["CYCLES_LO"])
        await ctx.tick().repeat(10)
        second = await read(ctx, dut.axil, ADDRESS["CYCLES_LO"])
        assert second - first == 10 + 1 + Registers.read_latency_cycles
        assert await read(ctx, dut.axil, ADDRESS["CYCLES_HI"]) == 0

    run(bench)


def test_partition_waits_until_the_lanes_are_idle():
    whole = {"row": 0, "col": 0, "rows": CONFIG.blocks, "cols": CONFIG.blocks}
    quarter = {"row": 1, "col": 0, "rows": 1, "cols": 1}

    async def bench(ctx, dut):
        axil = dut.axil
        assert plain(ctx.get(dut.partition[0])) == whole  # at reset lane 0 owns everything
        await write(ctx, axil, ADDRESS["PARTITION0"], partition_word(1, 0, 1, 1))
        assert plain(ctx.get(dut.partition[0])) == whole
        await write(ctx, axil, ADDRESS["PARTITION_APPLY"], 1)
        for _ in range(20):
            await ctx.tick()
            assert ctx.get(dut.partition_wanted)
            assert plain(ctx.get(dut.partition[0])) == whole
        assert await read(ctx, axil, ADDRESS["PARTITION_APPLY"]) == 1
        ctx.set(dut.lanes_idle, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.lanes_idle, 0)
        assert plain(ctx.get(dut.partition[0])) == quarter
        assert not ctx.get(dut.partition_wanted)
        assert await read(ctx, axil, ADDRESS["PARTITION_APPLY"]) == 0
        assert await read(ctx, axil, ADDRESS["PARTITION0"]) == partition_word(1, 0, 1, 1)

    run(bench)
