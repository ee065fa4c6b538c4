import random

import pytest

from rpaccel.rtl.region_check import RegionCheck
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.registers import REGIONS, Permission
from tests.streams import STALL_CASES, receive, send, simulate, stalls

CONFIG = load_accelerator("tiny")
TOP = 1 << CONFIG.axi_address_bits
NONE, READ, WRITE = 0, Permission.READ, Permission.WRITE
# base, limit (excluded), permission; the second joins the first, the last is empty
TABLE = [
    (0x1000, 0x2000, READ),
    (0x2000, 0x3000, READ | WRITE),
    (0x8000, 0x9000, WRITE),
    (0xA000, 0xB000, NONE),
    (TOP - 0x1000, TOP - 64, READ),
    (0xC000, 0xC000, READ | WRITE),
]


def allowed(burst, permission):
    first, end = burst["address"], burst["address"] + burst["beats"] * CONFIG.beat_bytes
    return any(base <= first and end <= limit and have & permission for base, limit, have in TABLE)


def bursts():
    """Return bursts that touch every edge of every region from both sides, and random ones."""
    step = CONFIG.beat_bytes
    found = []
    for edge in sorted({edge for base, limit, _ in TABLE for edge in (base, limit)} | {0, TOP}):
        for beats in (1, 2, 16):
            for offset in (-beats, -beats + 1, -1, 0, 1):
                address = edge + offset * step
                if 0 <= address < TOP:  # bursts past the end of the address space included
                    found.append({"address": address, "beats": beats})
    generator = random.Random(1)
    for _ in range(60):
        address = generator.randrange(0, 0xD000, step)
        found.append({"address": address, "beats": generator.randint(1, 16)})
    generator.shuffle(found)
    return [burst | {"tag": index % 8} for index, burst in enumerate(found)]


def check(permission, stall="none"):
    dut = RegionCheck(CONFIG, permission, tag_bits=3)
    source, sink = stalls(stall)
    asked, got, cycles = bursts(), [], []

    async def feed(ctx):
        for index, (base, limit, have) in enumerate(TABLE):
            value = {"base": base, "limit": limit, "permission": int(have)}
            ctx.set(dut.regions[index], value)
        await send(ctx, dut.i, asked, source)

    async def drain(ctx):
        got.extend(await receive(ctx, dut.o, len(asked), sink))

    async def count(ctx):
        async for _ in ctx.tick():
            cycles.append(None)

    simulate(dut, feed, drain, monitors=[dut.o], background=[count])
    assert got == [burst | {"allowed": int(allowed(burst, permission))} for burst in asked]
    answers = [answer["allowed"] for answer in got]
    assert len(answers) // 10 < sum(answers) < len(answers)
    return len(asked), len(cycles)


@pytest.mark.parametrize("permission", [READ, WRITE])
@pytest.mark.parametrize("stall", STALL_CASES)
def test_every_edge(permission, stall):
    assert len(TABLE) <= REGIONS
    check(permission, stall)


def test_one_burst_per_cycle():
    count, cycles = check(READ)
    assert cycles == count + RegionCheck.latency_cycles
