import numpy as np

from rpaccel.golden.sigmoid import ctr
from rpaccel.rtl.sigmoid import Sigmoid
from tests.streams import recorder, simulate


def run(logits, gap=0):
    dut, log = Sigmoid(), []

    async def bench(ctx):
        for logit in logits:
            ctx.set(dut.i_logit, int(logit))
            ctx.set(dut.i_valid, 1)
            await ctx.tick()
            ctx.set(dut.i_valid, 0)
            for _ in range(gap):
                await ctx.tick()
        await ctx.tick().repeat(dut.latency_cycles + 1)

    signals = {"valid": dut.o_valid, "logit": dut.o_logit, "ctr": dut.o_ctr}
    simulate(dut, bench, background=[recorder(signals, log, "valid")])
    return dut, log


def test_matches_golden():
    rng = np.random.default_rng(1)
    edges = [i * 256 + d for i in range(-128, 128, 3) for d in (0, 1, 255)]
    logits = np.concatenate([[-32768, 32767, 0, -1], edges, rng.integers(-32768, 32768, 500)])
    _, log = run(logits)
    assert [row["logit"] for row in log] == logits.tolist()
    assert [row["ctr"] for row in log] == ctr(logits).tolist()


def test_is_monotone():
    logits = np.arange(-32768, 32768, 37)
    values = [row["ctr"] for row in run(logits)[1]]
    assert len(values) == len(logits)
    assert values == sorted(values)


def test_latency_is_the_property():
    dut, log = run([5, 6], gap=4)
    assert [row["cycle"] for row in log] == [dut.latency_cycles, dut.latency_cycles + 5]
