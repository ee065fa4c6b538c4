"""Interrupts for several completions at once, against a small model."""

import itertools
import random

import pytest

from rpaccel.rtl.registers import Registers
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.registers import ADDRESS, Irq
from tests.rtl.test_registers import write
from tests.streams import simulate

TINY = load_accelerator("tiny")
CYCLES = 1500
CLEARED = 8  # cycles in which an interrupt is cleared: the next one comes later


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


def drawn(count, cycles):
    """Return completions, now close to each other, now far apart; no two at once of one each."""
    rng = random.Random(count + cycles)
    near = 1 if count > 1 else CLEARED
    at = CLEARED
    completions = [0] * CYCLES
    while at < CYCLES:
        completions[at] = 1
        at += (
            near if completions[at - near] == 0 and rng.random() < 0.4 else rng.choice((13, 20, 60))
        )
    return completions


@pytest.mark.parametrize("count, cycles", [(0, 0), (1, 0), (3, 0), (4, 45), (200, 30), (2, 13)])
def test_raises_for_as_many_completions_or_after_as_many_cycles(count, cycles):
    dut = Registers(TINY)
    completions = drawn(count, cycles)
    raised = []

    async def clear(ctx):
        while True:
            await ctx.posedge(dut.irq)
            await write(ctx, dut.axil, ADDRESS["IRQ_STATUS"], Irq.COMPLETION)

    async def bench(ctx):
        await write(ctx, dut.axil, ADDRESS["IRQ_ENABLE"], Irq.COMPLETION)
        await write(ctx, dut.axil, ADDRESS["IRQ_COALESCE"], count | cycles << 8)
        for cycle, came in enumerate(completions):
            before = ctx.get(dut.irq)
            ctx.set(dut.completion_stb, came)
            await ctx.tick()
            if ctx.get(dut.irq) and not before:
                raised.append(cycle)

    simulate(dut, bench, background=[clear], limit_cycles=2 * CYCLES)
    wanted = expected(completions, count, cycles)
    assert raised == wanted and len(wanted) > 5
    assert min(b - a for a, b in itertools.pairwise(wanted)) >= CLEARED
