import random

import pytest

from rpaccel.rtl.task_grant import TaskGrant
from rpaccel.spec.accelerator import load_accelerator
from tests.streams import simulate

CYCLES = 500
BASE = load_accelerator("tiny")


class Surroundings:
    """Funnels and lanes: offers and free lanes come at random and stay until they are used."""

    def __init__(self, config, seed, offers, ready):
        self.random = random.Random(seed)
        self.config, self.offers, self.ready = config, offers, ready
        self.order = []  # funnels that hold a query, oldest first
        self.offer = {}  # funnel -> (lanes, tag)
        self.free = set()
        self.tag = 0

    def choose(self):
        """Return (funnel, lane, tag): the oldest query that can, its lowest free lane."""
        for funnel in self.order:
            lanes, tag = self.offer.get(funnel, (0, 0))
            able = [lane for lane in sorted(self.free) if lanes >> lane & 1]
            if able:
                return funnel, able[0], tag
        return None

    def step(self):
        """Go on by a cycle; return the funnel that accepts a query, if one does."""
        chance, config = self.random.random, self.config
        for funnel in list(self.order):
            if funnel in self.offer:
                continue
            if chance() < self.offers:
                self.tag += 1
                self.offer[funnel] = self.random.randrange(1, 1 << config.lanes), self.tag
            elif chance() < 0.1:
                self.order.remove(funnel)  # its query is answered
        self.free |= {lane for lane in range(config.lanes) if chance() < self.ready}
        empty = [funnel for funnel in range(config.funnels) if funnel not in self.order]
        accepts = self.random.choice(empty) if empty and chance() < 0.1 else None
        if accepts is not None:
            self.order.append(accepts)
        return accepts


def show(ctx, dut, around):
    """Set what the grant sees of `around`."""
    for f in range(dut.config.funnels):
        lanes, tag = around.offer.get(f, (0, 0))
        task = {"list_address": tag, "owner": {"funnel": f}}
        ctx.set(dut.offer[f], {"valid": f in around.offer, "lanes": lanes, "task": task})
    ctx.set(dut.lane_ready, sum(1 << lane for lane in around.free))


@pytest.mark.parametrize("lanes, funnels", [(1, 1), (1, 4), (3, 2), (4, 5)])
@pytest.mark.parametrize("offers, ready", [(0.9, 0.9), (0.9, 0.1), (0.2, 0.9)])
def test_matches_the_model(lanes, funnels, offers, ready):
    config = BASE.model_copy(update={"lanes": lanes, "funnels": funnels})
    dut, around = TaskGrant(config), Surroundings(config, lanes * funnels, offers, ready)
    granted = []

    async def bench(ctx):
        now = None  # what was chosen in the cycle before
        for _ in range(CYCLES):
            accepts = around.step()
            ctx.set(dut.accepted_stb, 0 if accepts is None else 1 << accepts)
            show(ctx, dut, around)
            stbs = ctx.get(dut.grant_stb), ctx.get(dut.task_stb)
            if now is None:
                assert stbs == (0, 0)
                now = around.choose()
                await ctx.tick()
                continue
            funnel, lane, tag = now
            assert stbs == (1 << funnel, 1 << lane)
            assert ctx.get(dut.lane) == lane
            assert ctx.get(dut.task.list_address) == tag
            assert ctx.get(dut.task.owner.funnel) == funnel
            await ctx.tick()
            granted.append(tag)
            del around.offer[funnel]
            around.free.remove(lane)
            now = None

    simulate(dut, bench, limit_cycles=CYCLES + 10)
    assert len(set(granted)) == len(granted) > CYCLES // 20
    assert set(range(1, around.tag + 1)) - set(granted) == {t for _, t in around.offer.values()}


def test_a_query_waits_only_for_those_before_it():
    config = BASE.model_copy(update={"lanes": 2, "funnels": 3})
    dut, around = TaskGrant(config), Surroundings(config, 1, 0, 0)
    order, tasks = [2, 0, 1], 4
    served = []

    async def bench(ctx):
        for funnel in order:
            ctx.set(dut.accepted_stb, 1 << funnel)
            await ctx.tick()
        ctx.set(dut.accepted_stb, 0)
        left = dict.fromkeys(order, tasks)
        around.free = {0, 1}  # a lane that is given a task is free again at once
        while any(left.values()):
            around.offer = {f: (0b11, left[f]) for f in order if left[f]}
            show(ctx, dut, around)
            await ctx.tick()
            for funnel in order:
                if ctx.get(dut.grant_stb) >> funnel & 1:
                    served.append((funnel, ctx.get(dut.lane)))
                    left[funnel] -= 1
        around.offer = {}
        show(ctx, dut, around)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.grant_stb)

    simulate(dut, bench)
    assert served == [(funnel, 0) for funnel in order for _ in range(tasks)]
