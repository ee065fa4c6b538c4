import random

import pytest

from rpaccel.rtl.free_list import FreeList
from rpaccel.rtl.read_order import ReadOrder
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from tests.streams import STALL_CASES, expect_silence, receive, send, simulate, stalls

TINY = load_accelerator("tiny")


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize(("slots", "slot_beats"), [(1, 1), (1, 4), (2, 2), (8, 1), (4, 16)])
def test_answers_in_the_order_of_requests(slots, slot_beats, stall):
    dut = ReadOrder(TINY, slots, slot_beats)
    generator = random.Random(slots * slot_beats)
    count = 60
    bursts = [{"address": 8 * i, "beats": generator.randint(1, slot_beats)} for i in range(count)]
    source, sink = stalls(stall, 3)
    memory, got, most = [], [], {"out": 0}

    async def feed(ctx):
        await send(ctx, dut.reader.request, bursts, source)

    async def drain(ctx):
        got.extend(await receive(ctx, dut.reader.response, sum(b["beats"] for b in bursts), sink))
        await expect_silence(ctx, dut.reader.response)

    async def answer(ctx):
        """Any beat that is asked for may come next: random places, one per cycle at most."""
        ctx.set(dut.memory.request.ready, 1)
        async for _, _, valid, ready, asked in ctx.tick().sample(
            dut.memory.request.valid, dut.memory.request.ready, dut.memory.request.payload
        ):
            if valid and ready:
                memory.extend(
                    (asked.place + i, asked.address + 1000 * i, i) for i in range(asked.beats)
                )
            places = [place for place, _, _ in memory]
            assert len(places) == len(set(places)), "a place is given out twice"
            most["out"] = max(most["out"], len(memory))
            ctx.set(dut.memory.request.ready, generator.random() < 0.8)
            send_now = bool(memory) and generator.random() < 0.6
            ctx.set(dut.memory.answer_valid, send_now)
            if send_now:
                place, value, index = memory.pop(generator.randrange(len(memory)))
                kind = value // 8 % 5
                ctx.set(
                    dut.memory.answer,
                    {
                        "place": place, "data": 0 if kind < 2 and index else value,
                        "refused": kind == 0 and index > 0, "failed": kind == 1 and index > 0,
                    },
                )  # fmt: skip

    simulate(dut, feed, drain, monitors=[dut.reader.response], background=[answer])
    want = []
    for burst in bursts:
        for i in range(burst["beats"]):
            value = burst["address"] + 1000 * i
            bad = i > 0 and (value // 8 % 5) < 2
            error = Status.OK
            if bad:
                error = Status.REGION if value // 8 % 5 == 0 else Status.MEMORY
            want.append(
                {"data": 0 if bad else value, "last": i + 1 == burst["beats"], "error": error}
            )
    assert got == want
    assert most["out"] <= slots * slot_beats


def test_latency_and_throughput():
    dut = ReadOrder(TINY, 8, 1)
    seen = {"in": [], "out": []}

    async def feed(ctx):
        ctx.set(dut.reader.response.ready, 1)
        await send(ctx, dut.reader.request, [{"address": 8 * i, "beats": 1} for i in range(40)])
        await ctx.tick().repeat(10)

    async def answer(ctx):
        ctx.set(dut.memory.request.ready, 1)
        cycle = 0
        async for _, _, valid, asked, out in ctx.tick().sample(
            dut.memory.request.valid & dut.memory.request.ready,
            dut.memory.request.payload,
            dut.reader.response.valid,
        ):
            cycle += 1
            seen["out"] += [cycle] * out
            ctx.set(dut.memory.answer_valid, valid)
            ctx.set(dut.memory.answer.place, asked.place)
            seen["in"] += [cycle + 1] * valid

    simulate(dut, feed, background=[answer])
    assert len(seen["in"]) == 40
    assert seen["out"] == [cycle + dut.latency_cycles for cycle in seen["in"]]
    assert seen["in"] == list(range(seen["in"][0], seen["in"][0] + 40))


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_numbers_are_given_out_once(count):
    dut, generator, held, seen = FreeList(count), random.Random(count), [], []

    async def bench(ctx):
        for _ in range(40 * count):
            ctx.set(dut.number.ready, generator.random() < 0.6)
            back = bool(held) and generator.random() < 0.5
            ctx.set(dut.back_stb, back)
            if back:
                ctx.set(dut.back, held.pop(generator.randrange(len(held))))
            _, _, taken, number = await ctx.tick().sample(
                dut.number.valid & dut.number.ready, dut.number.payload
            )
            if taken:
                assert number not in held and number < count
                held.append(number)
                seen.append(number)

    simulate(dut, bench)
    assert set(seen) == set(range(count)) and len(seen) > 4 * count
