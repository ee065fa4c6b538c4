import numpy as np
import pytest

from rpaccel.golden.cache_sim import Event
from rpaccel.golden.look_ahead import Operation, operate, set_of
from rpaccel.rtl.look_ahead_cache import COUNTERS, LookAheadCache
from rpaccel.rtl.look_ahead_step import CacheEvent, CacheOperation
from tests.rtl.look_ahead_bench import (
    FILL,
    PREFETCH,
    READ,
    RELEASE,
    check,
    config_of,
    drive,
    golden_of,
    line_of,
    random_trace,
)
from tests.streams import STALLS, receive, send, simulate, stalls


def test_numbers_are_those_of_golden():
    assert {e.name: int(e) for e in CacheEvent} == {e.name: int(e) for e in Event}
    for operation in Operation:
        assert CacheOperation[operation.name] == operation


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(
    ("sets", "ways", "references"),
    [(1, 1, 9), (1, 2, 2), (1, 3, 1), (4, 1, 2), (4, 2, 1), (8, 4, 9)],
)
def test_matches_golden(sets, ways, references, stall):
    config = config_of(sets, ways, references)
    run = check(config, random_trace(config, STALLS.index(stall), 600), stall)
    assert run.hits and run.merged and run.misses and run.evictions


@pytest.mark.parametrize("key_bits", [1, 5, 40, 63])
def test_every_event_at_other_key_widths(key_bits):
    config = config_of(4, 3, 2, key_bits)
    check(config, random_trace(config, key_bits, 300))


@pytest.mark.parametrize("stall", ["none", "both"])
@pytest.mark.parametrize(("sets", "ways"), [(1, 1), (1, 2), (4, 2)])
def test_updates_between_operations(sets, ways, stall):
    config = config_of(sets, ways, references=4)
    keys = list(range(20, 20 + 2 * config.rows))
    check(config, random_trace(config, 11, 300, keys), stall, updates=keys)


def test_colliding_keys_share_a_set():
    config = config_of(16, 2)
    keys = [key for key in range(1 << 12) if set_of(key, 16) == 5][:7]
    assert len({key & 15 for key in keys}) > 1
    run = check(config, random_trace(config, 3, 400, keys, crowding=0.2))
    assert set(run.lines[run.lines >= 0] // 2) == {5}
    assert run.evictions > 20 and run.refused


@pytest.mark.parametrize(("sets", "ways"), [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4)])
def test_held_lines_never_stop_the_cache(sets, ways):
    """Every line held for ever: all later operations are answered at full rate."""
    config = config_of(sets, ways, references=3)
    rng = np.random.default_rng(ways)
    keys = rng.permutation(64)[:40]
    kinds = [READ if i % 2 else PREFETCH for i in range(200)]
    operands = [int(rng.choice(keys)) for _ in kinds]
    trace = (kinds, operands, operate(golden_of(config), np.array(kinds), np.array(operands)))
    run = check(config, trace)
    assert run.misses == config.rows and run.evictions == 0
    assert run.refused > 100


def test_back_to_back_on_one_line():
    config = config_of(2, 1)
    kinds, operands = [], []
    for number in range(20):  # miss, fill, hit, release, release; the next key replaces it at once
        first = len(kinds)
        kinds += [READ, FILL, READ, RELEASE, RELEASE]
        operands += [2 * number, first, 2 * number, first, first + 2]
    even = [key for key in range(200) if set_of(key, 2) == 0]
    operands = [
        even[operand] if kind == READ else operand
        for kind, operand in zip(kinds, operands, strict=True)
    ]
    trace = (kinds, operands, operate(golden_of(config), np.array(kinds), np.array(operands)))
    run = check(config, trace)
    assert run.misses == 20 and run.hits == 20 and run.evictions == 19


def test_latency_and_throughput():
    config = config_of(4, 2)
    dut = LookAheadCache(config)
    count, cycles = 50, {"taken": [], "answered": []}

    async def watch(ctx):
        number = 0
        async for _, _, valid, ready, answered in ctx.tick().sample(
            dut.request.valid, dut.request.ready, dut.answer.valid
        ):
            cycles["taken"] += [number] * (valid & ready)
            cycles["answered"] += [number] * answered
            number += 1

    async def bench(ctx):
        ctx.set(dut.answer.ready, 1)
        await send(ctx, dut.request, [{"operation": int(READ), "key": 1}] * count)
        await ctx.tick().repeat(dut.latency_cycles + 1)

    simulate(dut, bench, background=[watch])
    assert cycles["taken"] == list(range(dut.clear_cycles, dut.clear_cycles + count))
    assert cycles["answered"] == [cycle + dut.latency_cycles for cycle in cycles["taken"]]


def test_what_is_not_there_is_ignored():
    operation = {o.name: int(o) for o in CacheOperation}
    config = config_of(1, 2)
    read = {"operation": operation["READ"], "key": 7}
    line = {"kept": 1, "line": 0}
    asked = [
        ({"operation": operation["FILL"], **line}, Event.IGNORED),
        ({"operation": operation["RELEASE"], **line}, Event.IGNORED),
        (read, Event.MISS),
        ({"operation": operation["CANCEL"], "key": 7, **line}, Event.IGNORED),
        ({"operation": operation["FILL"], **line}, Event.DONE),
        ({"operation": operation["FILL"], **line}, Event.IGNORED),
        ({"operation": operation["RELEASE"], "line": 0}, Event.IGNORED),
        ({"operation": operation["RELEASE"], **line}, Event.DONE),
        ({"operation": operation["RELEASE"], **line}, Event.IGNORED),
        ({"operation": operation["PREFETCH"], "key": 7}, Event.HIT),
        ({"operation": operation["RELEASE"], **line}, Event.IGNORED),
        ({"operation": operation["CANCEL"], "key": 8, **line}, Event.IGNORED),
        ({"operation": operation["CANCEL"], "key": 7, **line}, Event.DONE),
        ({"operation": operation["CANCEL"], "key": 7, **line}, Event.IGNORED),
        ({"operation": operation["UPDATE"], "key": 8}, Event.IGNORED),
        ({"operation": operation["UPDATE"], "key": 7}, Event.DONE),
    ]
    got, _ = drive(config, [request for request, _ in asked])
    assert [answer["event"] for answer in got] == [event for _, event in asked]


def test_a_look_holds_nothing_and_an_abort_empties():
    operation = {o.name: int(o) for o in CacheOperation}
    config, line = config_of(1, 1), {"kept": 1, "line": 0}
    asked = [
        ("PREFETCH", {"key": 7}, Event.MISS),
        ("PREFETCH", {"key": 8}, Event.REFUSED),  # 7 is flying
        ("FILL", {**line, "row": 70}, Event.DONE),
        ("PREFETCH", {"key": 8}, Event.REFUSED),  # and then held for its read
        ("LOOK", {"key": 7}, Event.HIT),  # which this is
        ("CANCEL", {"key": 7, **line}, Event.IGNORED),
        ("LOOK", {"key": 8}, Event.MISS),
        ("LOOK", {"key": 9}, Event.REFUSED),
        ("LOOK", {"key": 8}, Event.MERGED),
        ("ABORT", line, Event.DONE),
        ("LOOK", {"key": 8}, Event.MISS),  # it was not kept
        ("FILL", {**line, "row": 80}, Event.DONE),
        ("ABORT", line, Event.IGNORED),
        ("LOOK", {"key": 8}, Event.HIT),
        ("LOOK", {"key": 9}, Event.MISS),  # nothing holds 8
        ("ABORT", line, Event.DONE),
        ("LOOK", {"key": 10}, Event.MISS),  # in place of nothing
    ]
    got, counters = drive(config, [{"operation": operation[o], **f} for o, f, _ in asked])
    assert [answer["event"] for answer in got] == [event for _, _, event in asked]
    looks = [a for a, (name, _, _) in zip(got, asked, strict=True) if name == "LOOK"]
    assert [a["kept"] for a in looks] == [a["event"] == Event.MISS for a in looks]
    assert [a["row"] for a in looks if a["present"]] == [70, 80]
    assert counters["evictions"] == 2 and counters["used"] == 1
    assert [a["victim"] for a in got if a["evicted"]] == [7, 8]


class Memory:
    """Versions of rows: what a READ may deliver is what memory held at or after its fetch."""

    def __init__(self):
        self.version, self.count = {}, 0

    def write(self, key):
        self.count += 1
        self.version[key] = self.count
        return self.count

    def read(self, key):
        return self.version.get(key, 0)


@pytest.mark.parametrize("stall", ["none", "both"])
def test_a_refill_never_overwrites_a_newer_version(stall):
    """A writer and a reader at random; the fetch reads memory when its READ is answered."""
    config = config_of(2, 2, references=4)
    dut, rng, memory = LookAheadCache(config), np.random.default_rng(5), Memory()
    source, sink = stalls(stall)
    seen = {"stale fills": 0, "rows": 0}

    async def one(ctx, request):
        ctx.set(dut.request.valid, 0)
        await send(ctx, dut.request, [request], source)
        return (await receive(ctx, dut.answer, 1, sink))[0]

    async def bench(ctx):
        flying, held = [], []
        for _ in range(1500):
            choice = rng.random()
            key = int(rng.integers(12))
            if choice < 0.2:
                answer = await one(ctx, {"operation": int(CacheOperation.READ), "key": key})
                use = (key, answer["line"])
                if answer["event"] == Event.MISS:
                    flying.append((*use, memory.read(key)))
                if answer["kept"]:
                    held.append(use)
                if answer["present"]:
                    assert answer["row"] == memory.read(key)
                    seen["rows"] += 1
            elif choice < 0.45:
                version = memory.write(key)
                request = {"operation": int(CacheOperation.UPDATE), "key": key, "row": version}
                await one(ctx, request)
            elif choice < 0.6 and flying:
                key, line, row = flying.pop(int(rng.integers(len(flying))))
                seen["stale fills"] += row != memory.read(key)
                request = {"operation": int(CacheOperation.FILL), "kept": 1, "line": line}
                await one(ctx, {**request, "row": row})
            elif held:
                key, line = held.pop(int(rng.integers(len(held))))
                request = {"operation": int(CacheOperation.RELEASE), "kept": 1, "line": line}
                answer = await one(ctx, request)
                assert answer["event"] == Event.DONE
                if answer["present"]:
                    assert answer["row"] == memory.read(key)
                    seen["rows"] += 1

    simulate(dut, bench, monitors=[dut.answer], limit_cycles=40_000)
    assert seen["stale fills"] > 20 and seen["rows"] > 100


def test_rows_are_written_whole():
    config = config_of(4, 2, row_bytes=128, key_bits=20)
    rows = [int.from_bytes(np.random.default_rng(i).bytes(128), "little") for i in range(8)]
    requests, wanted = [], []
    for key, row in enumerate(rows):
        line = line_of(config, set_of(key, 4) * 2 + key // 4)
        named = {"kept": 1, "line": line}
        requests += [
            {"operation": int(READ), "key": key},
            {"operation": int(FILL), "row": row, **named},
            {"operation": int(RELEASE), **named},
        ]
        wanted += [None, None, row]
    requests += [{"operation": int(READ), "key": key} for key in range(8)]
    got, _ = drive(config, requests)
    found = [answer["row"] if answer["present"] else None for answer in got]
    assert found == wanted + rows


def test_clear_empties_the_cache():
    config = config_of(4, 2)
    dut = LookAheadCache(config)

    async def bench(ctx):
        read = [{"operation": int(READ), "key": key} for key in range(8)]
        await send(ctx, dut.request, read[:2])
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        got = await receive(ctx, dut.answer, 2)
        assert [answer["event"] for answer in got] == [Event.MISS] * 2  # taken before: answered
        await ctx.tick().until(dut.idle)
        assert [ctx.get(dut.counters[name]) for name in COUNTERS] == [0] * len(COUNTERS)
        for request in read:
            await send(ctx, dut.request, [request])
            answer = (await receive(ctx, dut.answer, 1))[0]
            assert (answer["event"], answer["evicted"]) == (Event.MISS, 0)
        assert ctx.get(dut.counters.misses) == 8

    simulate(dut, bench, monitors=[dut.answer])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sets": 3}, "sets must be a power of two, not 3"),
        ({"ways": 0}, "ways must be at least 1, not 0"),
        ({"row_bytes": 256}, "row_bytes must be a power of two in 4..128, not 256"),
        ({"row_bytes": 24}, "row_bytes must be a power of two in 4..128, not 24"),
        ({"key_bits": 0}, "key_bits must be in 1..64, not 0"),
        ({"references": 0}, "references must be at least 1, not 0"),
    ],
)
def test_rejects(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        config_of(**{"sets": 2, "ways": 2, **wrong})
