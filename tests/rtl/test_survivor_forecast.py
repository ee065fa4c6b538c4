"""SurvivorForecast: the filter's rule on the scores so far."""

import numpy as np
import pytest

from rpaccel.rtl.survivor_forecast import IDS_WAITING, SurvivorForecast
from rpaccel.spec.accelerator import load_accelerator
from tests.streams import simulate

TINY = load_accelerator("tiny")


def expected(bins, stored, k):
    """Return the positions that are named: no more than k * j / n before in higher bins."""
    named, above, n = [], np.zeros(TINY.bins, dtype=int), len(bins)
    for j, (number, kept) in enumerate(zip(bins, stored, strict=True)):
        if kept:
            if above[number] <= (j + 1) * k // n:
                named.append(j)
            above[:number] += 1
    return named


def run(bins, stored, k, *, ready=lambda cycle: True, active=lambda cycle: True, stages=1):
    """Return the ids that are named: positions, of each of `stages` equal stages."""
    dut = SurvivorForecast(TINY)
    got = []

    async def bench(ctx):
        for _ in range(stages):
            await stage(ctx)

    async def stage(ctx):
        ctx.set(dut.k, k)
        ctx.set(dut.items, len(bins))
        ctx.set(dut.start_stb, 1)
        await ctx.tick()
        ctx.set(dut.start_stb, 0)
        steps = [*zip(bins, stored, strict=True)]
        for cycle in range(2 * len(bins) + 3 * IDS_WAITING):
            # as the bucket filter: a score is stored the cycle after it is taken
            ctx.set(dut.scored_stb, cycle < len(steps))
            stored_now = 1 <= cycle <= len(steps) and steps[cycle - 1][1]
            ctx.set(dut.stored_stb, int(stored_now))
            if stored_now:
                ctx.set(dut.stored_bin, int(steps[cycle - 1][0]))
                ctx.set(dut.stored_id, cycle - 1)
            ctx.set(dut.active, int(active(cycle)))
            ctx.set(dut.id.ready, int(ready(cycle)))
            _, _, valid, payload = await ctx.tick().sample(dut.id.valid, dut.id.payload)
            if valid and ready(cycle):
                got.append(payload)

    simulate(dut, bench)
    return got


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 3, 16, 60])
def test_names_those_that_would_pass(seed, k):
    rng = np.random.default_rng([seed, k])
    bins = rng.integers(0, TINY.bins, 60)
    stored = rng.random(60) < 0.9
    assert run(bins, stored, k) == expected(bins, stored, k)


def test_orders():
    up = np.arange(64) * TINY.bins // 64
    for bins in (up, up[::-1], np.full(64, 5)):
        stored = np.ones(64, dtype=bool)
        assert run(bins, stored, 8) == expected(bins, stored, 8)
    assert len(run(up[::-1], np.ones(64, dtype=bool), 8)) < 24  # the best come first
    assert len(run(up, np.ones(64, dtype=bool), 8)) == 64  # each is the best so far


def test_survivors_are_named_but_for_those_that_came_too_early():
    """Of random scores most that survive in the end are named, and few others."""
    rng = np.random.default_rng(3)
    bins = rng.integers(0, TINY.bins, 64)
    named = run(bins, np.ones(64, dtype=bool), 16)
    cut = np.sort(bins)[-16]
    survivors = set(np.flatnonzero(bins >= cut).tolist())
    assert len(survivors & set(named)) >= 0.8 * len(survivors)
    assert len(named) <= 2 * len(survivors)


def test_a_full_queue_drops_and_an_inactive_one_empties():
    bins, stored = np.full(60, 3), np.ones(60, dtype=bool)
    got = run(bins, stored, 60, ready=lambda cycle: cycle > 70)
    assert len(got) < 60 and got == list(range(len(got)))
    got = run(bins, stored, 60, ready=lambda cycle: cycle > 40, active=lambda cycle: cycle < 30)
    assert got == []


def test_the_next_stage_begins_anew():
    bins, stored = np.arange(40) % TINY.bins, np.ones(40, dtype=bool)
    assert run(bins, stored, 8, stages=2) == 2 * expected(bins, stored, 8)
