"""The guards before a lane's ports: nothing withdrawn, nothing left behind."""

import random

import pytest

from rpaccel.rtl.guarded_lane import GuardedLane, ReadGuard
from rpaccel.spec.accelerator import load_accelerator
from tests.streams import expect_silence, receive, simulate

CONFIG = load_accelerator("tiny")


@pytest.mark.parametrize("seed", range(3))
def test_a_closed_guard_keeps_its_offer_and_takes_what_is_owed(seed):
    dut = ReadGuard(CONFIG)
    rng = random.Random(seed)
    asked, answered, seen = [], [], []
    state = {"owed": 0}

    async def memory(ctx):
        """Take requests now and then, answer them beat by beat."""
        beats = []
        while True:
            ctx.set(dut.o.request.ready, rng.random() < 0.4)
            offer = bool(beats) and rng.random() < 0.5
            ctx.set(dut.o.response.valid, offer)
            ctx.set(dut.o.response.payload.data, beats[0] if beats else 0)
            _, _, took, payload, gone = await ctx.tick().sample(
                dut.o.request.valid & dut.o.request.ready,
                dut.o.request.payload,
                dut.o.response.ready,
            )
            if took:
                asked.append(payload.address)
                beats += [payload.address + i for i in range(payload.beats)]
            if offer and gone:
                answered.append(beats.pop(0))
            state["owed"] = len(beats)

    async def lane(ctx):
        """Ask all the time; take answers now and then."""
        address = 0
        while True:
            ctx.set(dut.i.request.valid, 1)
            ctx.set(dut.i.request.payload, {"address": address, "beats": 1 + address % 3})
            ctx.set(dut.i.response.ready, rng.random() < 0.5)
            _, _, sent, valid, ready, payload = await ctx.tick().sample(
                dut.i.request.ready,
                dut.i.response.valid,
                dut.i.response.ready,
                dut.i.response.payload,
            )
            address += 8 * sent
            if valid and ready:
                seen.append(payload.data)

    async def bench(ctx):
        for _ in range(6):
            ctx.set(dut.close, 0)
            await ctx.tick().repeat(rng.randrange(5, 60))
            ctx.set(dut.close, 1)
            given = len(seen)
            await ctx.tick().repeat(2)
            before = len(asked)
            for _ in range(400):
                if not ctx.get(dut.pending):
                    break
                await ctx.tick()
            assert not ctx.get(dut.pending)
            await ctx.tick()
            assert state["owed"] == 0
            await ctx.tick().repeat(20)
            assert len(asked) <= before + 1  # what was offered when it closed
            assert len(seen) <= given + 1

    simulate(dut, bench, monitors=[dut.o.request], background=[memory, lane], limit_cycles=5000)
    assert len(answered) > len(seen) > 10
    assert asked == sorted(asked)


def test_a_task_that_comes_as_the_lane_closes_is_lost_and_said_to_be():
    """The grant takes a cycle: the lane was ready when it was chosen."""
    dut = GuardedLane(CONFIG)

    async def bench(ctx):
        await ctx.tick()
        assert ctx.get(dut.task.ready)
        ctx.set(dut.reset_stb, 1)
        await ctx.tick()
        ctx.set(dut.reset_stb, 0)
        assert not ctx.get(dut.task.ready)
        ctx.set(dut.task.payload, {"owner": {"funnel": 1, "stage": 2}})
        ctx.set(dut.task.valid, 1)
        await ctx.tick()
        ctx.set(dut.task.valid, 0)
        (done,) = await receive(ctx, dut.done, 1)
        assert done["lost"] and done["owner"] == {"funnel": 1, "stage": 2}
        assert done["items"] == done["gather_cycles"] == 0
        await expect_silence(ctx, dut.done)
        for _ in range(dut.flush_cycles + 10):
            await ctx.tick()
        assert ctx.get(dut.idle) and ctx.get(dut.task.ready)

    simulate(dut, bench, limit_cycles=2000)


def test_the_watchdog_counts_cycles_without_progress():
    dut, limit = GuardedLane(CONFIG), 300
    still = []

    async def bench(ctx):
        ctx.set(dut.watchdog_cycles, limit)
        await ctx.tick()
        ctx.set(dut.task.payload, {"listed": 1, "gather": {"items": 4}})
        ctx.set(dut.task.valid, 1)
        await ctx.tick()
        ctx.set(dut.task.valid, 0)  # its list never comes
        count = 0
        for _ in range(3 * limit):
            _, _, moves, resets = await ctx.tick().sample(dut.moves, dut.resets_stb)
            if resets:
                still.append(count)
                return
            count = 0 if moves else count + 1

    simulate(dut, bench, limit_cycles=10 * limit)
    assert still == [limit]
