"""Interrupts for several completions at once, against a small model."""

import random

import pytest

from rpaccel.rtl.registers import Registers
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.registers import ADDRESS, Irq
from tests.rtl.test_registers import write
from tests.streams import simulate

TINY = load_accelerator("tiny")


def expected(completions, count, cycles):
    """Return the cycles in which the interrupt is raised; completions : 0 or 1 per cycle."""
    waiting, first, raised = 0, None, []
    for cycle, came in enumerate(completions):
        if came and first is None:
            first = cycle
        waiting += came
        if waiting and (waiting >= count or (cycles and cycle - first >= cycles)):
            raised.append(cycle)
            waiting, first = 0, None
    return raised


@pytest.mark.parametrize("count, cycles", [(0, 0), (1, 0), (3, 0), (4, 25), (200, 10), (2, 1)])
def test_raises_for_as_many_completions_or_after_as_many_cycles(count, cycles):
    dut = Registers(TINY)
    rng = random.Random(count + cycles)
    completions = [int(rng.random() < 0.15) for _ in range(400)]
    raised = []

    async def bench(ctx):
        await write(ctx, dut.axil, ADDRESS["IRQ_ENABLE"], Irq.COMPLETION)
        await write(ctx, dut.axil, ADDRESS["IRQ_COALESCE"], count | cycles << 8)
        # nothing clears the status: the pulse is what sets it anew, so look at the pulse's effect
        for cycle, came in enumerate(completions):
            ctx.set(dut.completion_stb, came)
            before = ctx.get(dut.irq)
            await ctx.tick()
            if ctx.get(dut.irq) and not before:
                raised.append(cycle)
                ctx.set(dut.completion_stb, 0)
                await write(ctx, dut.axil, ADDRESS["IRQ_STATUS"], Irq.COMPLETION)
                return

    simulate(dut, bench, limit_cycles=2000)
    assert raised == expected(completions, count, cycles)[:1]
