import numpy as np
import pytest

from rpaccel.golden.requantise import requantise
from rpaccel.rtl.requantise import Requantise
from tests.streams import simulate

LIMITS = (0, 1, 2, 126, 127, 128, 254, 255, 256, 32766, 32767, 32768, 65535, 65536)
INT32 = (-(1 << 31), (1 << 31) - 1)


def run(cases, *, relu=0, logit=0, wide=True):
    """Stream (sum, bias, multiplier, shift) one per cycle, each field on its own cycle."""
    dut = Requantise(wide=wide)
    got = []

    async def bench(ctx):
        ctx.set(dut.relu, relu)
        if wide:
            ctx.set(dut.logit, logit)
        for cycle in range(len(cases) + dut.latency_cycles):
            if cycle < len(cases):
                ctx.set(dut.i_sum, cases[cycle][0])
                ctx.set(dut.i_bias, cases[cycle][1])
            for port, delay, field in (
                (dut.i_multiplier, dut.multiplier_cycle, 2),
                (dut.i_shift, dut.shift_cycle, 3),
            ):
                if 0 <= cycle - delay < len(cases):
                    ctx.set(port, cases[cycle - delay][field])
            if cycle >= dut.latency_cycles:
                got.append(ctx.get(dut.o))
            await ctx.tick()

    simulate(dut, bench)
    return got


def expect(cases, low, high):
    sums, bias, multiplier, shift = np.array(cases, dtype=np.int64).T
    return requantise(sums + bias, multiplier, shift, low, high).tolist()


def boundary_cases():
    cases = []
    for shift in range(48):
        for quotient in (*LIMITS, *(-1 - limit for limit in LIMITS)):
            # Around the tie at quotient + 1/2, with multiplier 1 where it fits 33 bits.
            for offset in (-1, 0, 1):
                x = (2 * quotient + 1) * (1 << shift) // 2 + offset
                if abs(x) < 1 << 31:
                    cases.append((x, 0, 1, shift))
    for total in INT32:
        for bias in INT32:
            cases += [(total, bias, m, s) for m in (0, 1, 65535) for s in (0, 1, 31, 47)]
    return cases


@pytest.mark.parametrize(
    ("mode", "low", "high"),
    [
        ({}, -127, 127),
        ({"relu": 1}, 0, 127),
        ({"logit": 1}, -32768, 32767),
        ({"logit": 1, "relu": 1}, -32768, 32767),
        ({"wide": False}, -127, 127),
        ({"wide": False, "relu": 1}, 0, 127),
    ],
)
def test_matches_golden(mode, low, high):
    rng = np.random.default_rng(3)
    cases = boundary_cases()
    for _ in range(1500):
        x, bias = rng.integers(*INT32, 2, endpoint=True) >> rng.integers(0, 31)
        cases.append((int(x), int(bias), int(rng.integers(65536)), int(rng.integers(48))))
    assert run(cases, **mode) == expect(cases, low, high)


def test_ties_go_to_even():
    cases = [(x, 0, 1, 1) for x in (-5, -3, -1, 1, 3, 5)]
    assert run(cases) == [-2, -2, 0, 0, 2, 2]


def test_latency_is_the_property():
    assert run([(0, 0, 1, 0)] * 3 + [(9, 0, 1, 0)]) == [0, 0, 0, 9]
