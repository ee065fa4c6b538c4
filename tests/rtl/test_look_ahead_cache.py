import numpy as np
import pytest

from rpaccel.golden.cache_sim import Event
from rpaccel.golden.look_ahead import set_of
from rpaccel.rtl.look_ahead_cache import COUNTERS, LookAheadCache
from rpaccel.rtl.look_ahead_step import CacheEvent, CacheOperation
from tests.rtl.look_ahead_bench import (
    ABORT,
    ADVANCE,
    CHANCES,
    FILL,
    LOOK,
    PREFETCH,
    UPDATE,
    check,
    config_of,
    drive,
    line_of,
    random_trace,
    trace_of,
)
from tests.streams import STALL_CASES, STALLS, receive, send, simulate, slow_rows_but


def names(run):
    return [Event(event).name for event in run.events]


def test_numbers_are_those_of_golden():
    assert {e.name: int(e) for e in CacheEvent} == {e.name: int(e) for e in Event}
    operations = (LOOK, PREFETCH, FILL, ABORT, UPDATE)
    assert {o.name: int(o) for o in CacheOperation} == {o.name: int(o) for o in operations}


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize(
    ("sets", "ways", "owners", "free_ways"),
    slow_rows_but(
        [(1, 1, 1, 0), (1, 3, 3, 1), (8, 4, 5, 2)],
        [
            (1, 1, 1, 0), (1, 2, 2, 0), (1, 3, 3, 1), (4, 1, 1, 0), (4, 2, 64, 0), (4, 2, 3, 1),
            (8, 4, 5, 2),
        ],
    ),
)  # fmt: skip
def test_matches_golden(sets, ways, owners, free_ways, stall):
    config = config_of(sets, ways, owners, free_ways=free_ways)
    run = check(config, random_trace(config, STALLS.index(stall), 1000), stall)
    assert {name for name in COUNTERS if getattr(run, name) == 0} == set()
    assert set(names(run)) == set(CacheEvent.__members__)


@pytest.mark.parametrize("key_bits", [1, 5, 40, 63])
@pytest.mark.parametrize("row_bytes", [4, 128])
def test_other_widths(key_bits, row_bytes):
    config = config_of(4, 3, 2, key_bits, row_bytes)
    check(config, random_trace(config, key_bits, 300))


def test_colliding_keys_share_a_set():
    config = config_of(16, 2, 2)
    keys = [key for key in range(1 << 12) if set_of(key, 16) == 5][:7]
    assert len({key & 15 for key in keys}) > 1
    run = check(config, random_trace(config, 3, 600, keys, crowding=0.03))
    assert set(run.lines[run.lines >= 0] // 2) == {5}
    assert run.evictions > 20 and run.refused and run.dropped


@pytest.mark.parametrize(("sets", "ways"), [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4)])
def test_held_lines_never_stop_the_cache(sets, ways):
    """Every line held for ever: all later operations are answered at full rate."""
    config = config_of(sets, ways)
    rng = np.random.default_rng(ways)
    keys = rng.permutation(64)[:40]
    trace = trace_of(
        config, [(LOOK if i % 2 else PREFETCH, int(rng.choice(keys))) for i in range(200)]
    )
    run = check(config, trace)
    assert run.misses + run.prefetches == config.rows and run.evictions == 0
    assert run.refused + run.dropped > 100


def test_back_to_back_on_one_line():
    config, steps = config_of(2, 1), []
    even = [key for key in range(200) if set_of(key, 2) == 0]
    for key in even[:20]:  # miss, fill, hit; the next key replaces it at once
        steps += [(LOOK, key), (FILL, len(steps)), (LOOK, key)]
    run = check(config, trace_of(config, steps))
    assert run.misses == 20 and run.hits == 20 and run.evictions == 19


@pytest.mark.parametrize("gap", [0, 1, 2, 3])
def test_marks_and_epochs_through_the_pipeline(gap):
    """All ways marked by two owners; one's epoch moves, then the other's, `gap` operations on."""
    config = config_of(1, 2, owners=2)
    fill = [(UPDATE, 99)] * gap  # of no line
    steps = [
        (PREFETCH, 1, 0), (PREFETCH, 2, 1), (FILL, 0), (FILL, 1), *fill, (LOOK, 3), (ADVANCE, 1),
        *fill, (LOOK, 4), (LOOK, 5), (ADVANCE, 0), *fill, (LOOK, 6),
    ]  # fmt: skip
    run = check(config, trace_of(config, steps))
    looks = [name for name, step in zip(names(run), steps, strict=True) if step[0] == LOOK]
    assert looks == ["REFUSED", "MISS", "REFUSED", "MISS"]
    assert run.victims[run.victims >= 0].tolist() == [2, 1] and run.unused == 2


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_mark_is_of_the_epoch_in_which_its_prefetch_is_taken(epoch):
    config = config_of(1, 1, owners=2)
    steps = [
        (PREFETCH, 1, 1), (FILL, 0), (ADVANCE, 1), (PREFETCH, 1, 1), (LOOK, 2), (ADVANCE, epoch),
        (LOOK, 3),
    ]  # fmt: skip
    run = check(config, trace_of(config, steps))
    assert names(run)[3:] == ["HIT", "REFUSED", "DONE", "MISS" if epoch else "REFUSED"]


def test_a_mark_holds_again_after_four_epochs():
    config = config_of(1, 1)
    steps = [(PREFETCH, 1), (FILL, 0), *[(ADVANCE, 0)] * 4, (LOOK, 2), (ADVANCE, 0), (LOOK, 3)]
    assert names(check(config, trace_of(config, steps)))[-3:] == ["REFUSED", "DONE", "MISS"]


def test_prefetch_of_absent_flying_and_present_rows():
    config = config_of(1, 1)
    steps = [
        (PREFETCH, 1), (PREFETCH, 1), (LOOK, 1), (PREFETCH, 2), (FILL, 0), (PREFETCH, 1),
        (LOOK, 2), (PREFETCH, 2), (LOOK, 1), (PREFETCH, 2), (FILL, 9), (ADVANCE, 0), (LOOK, 3),
    ]  # fmt: skip
    run = check(config, trace_of(config, steps))
    assert names(run) == [
        "MISS", "MERGED", "MERGED", "REFUSED", "DONE", "HIT", "REFUSED", "REFUSED", "HIT", "MISS",
        "DONE", "DONE", "MISS",
    ]  # fmt: skip
    assert (run.prefetches, run.dropped, run.used, run.late, run.unused) == (2, 2, 1, 1, 1)


def test_an_abort_empties_a_marked_line():
    config = config_of(1, 1)
    steps = [
        (PREFETCH, 1), (LOOK, 2), (ABORT, 0), (LOOK, 2), (ABORT, 3), (PREFETCH, 1), (ABORT, 5),
        (LOOK, 1), (FILL, 7), (LOOK, 1), (LOOK, 3),
    ]  # fmt: skip
    run = check(config, trace_of(config, steps))
    assert names(run) == [
        "MISS", "REFUSED", "DONE", "MISS", "DONE", "MISS", "DONE", "MISS", "DONE", "HIT", "MISS",
    ]  # fmt: skip
    assert (run.used, run.unused, run.evictions) == (0, 0, 1)


@pytest.mark.parametrize("stall", ["none", "both"])
@pytest.mark.parametrize(("sets", "ways"), [(1, 1), (1, 2), (4, 2)])
def test_updates_of_every_mask(sets, ways, stall):
    config = config_of(sets, ways, row_bytes=16)
    keys = list(range(20, 20 + config.rows))
    chances = CHANCES | {LOOK: 0.4, PREFETCH: 0.05, UPDATE: 0.5, ADVANCE: 0.05}
    trace = random_trace(config, 11, 600, keys, crowding=0.1, chances=chances)
    run = check(config, trace, stall)
    done = np.array(trace.kinds) == UPDATE
    done &= run.events == Event.DONE
    assert set(np.array(trace.masks)[done]) == set(range(16)) and run.hits > 50


def test_what_is_not_there_is_ignored():
    line = {"kept": 1, "line": 0}
    asked = [
        (FILL, line, Event.IGNORED),
        (ABORT, line, Event.IGNORED),
        (UPDATE, {"key": 7, "mask": 3}, Event.IGNORED),
        (PREFETCH, {"key": 7}, Event.MISS),
        (FILL, {"line": 0, "row": 1}, Event.IGNORED),
        (ABORT, {"line": 0}, Event.IGNORED),
        (UPDATE, {"key": 7, "mask": 3, "row": 2}, Event.IGNORED),  # on its way
        (LOOK, {"key": 7}, Event.MERGED),
        (FILL, {**line, "row": 70}, Event.DONE),
        (FILL, {**line, "row": 3}, Event.IGNORED),
        (ABORT, line, Event.IGNORED),
        (UPDATE, {"key": 8, "mask": 3, "row": 4}, Event.IGNORED),
        (UPDATE, {"key": 7, "mask": 0, "row": 5}, Event.DONE),
        (5, {"key": 8, **line, "mask": 3, "row": 6}, Event.IGNORED),
        (7, {"key": 7, **line, "mask": 3, "row": 7}, Event.IGNORED),
        (LOOK, {"key": 7}, Event.HIT),
    ]
    got, counters = drive(config_of(1, 2), [{"operation": int(o), **f} for o, f, _ in asked])
    assert [answer["event"] for answer in got] == [event for _, _, event in asked]
    assert [answer["row"] for answer in got if answer["present"]] == [70]
    assert {name: count for name, count in counters.items() if count} == {
        "hits": 1, "merged": 1, "prefetches": 1, "used": 1, "late": 1,
    }  # fmt: skip


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
        await send(ctx, dut.request, [{"operation": int(LOOK), "key": 1}] * count)
        await ctx.tick().repeat(dut.latency_cycles + 1)

    simulate(dut, bench, background=[watch])
    assert cycles["taken"] == list(range(dut.clear_cycles, dut.clear_cycles + count))
    assert cycles["answered"] == [cycle + dut.latency_cycles for cycle in cycles["taken"]]


def test_rows_are_written_whole():
    config = config_of(4, 2, row_bytes=128, key_bits=20)
    rows = [int.from_bytes(np.random.default_rng(i).bytes(128), "little") for i in range(8)]
    requests = []
    for key, row in enumerate(rows):
        line = line_of(config, set_of(key, 4) * 2 + key // 4)
        requests += [
            {"operation": int(LOOK), "key": key},
            {"operation": int(FILL), "row": row, "kept": 1, "line": line},
        ]
    requests += [{"operation": int(LOOK), "key": key} for key in range(8)]
    got, _ = drive(config, requests)
    assert [answer["row"] for answer in got if answer["present"]] == rows


def test_clear_empties_the_cache():
    config = config_of(4, 2)
    dut = LookAheadCache(config)

    async def bench(ctx):
        looks = [{"operation": int(LOOK), "key": key} for key in range(8)]
        await send(ctx, dut.request, looks[:2])
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        got = await receive(ctx, dut.answer, 2)
        assert [answer["event"] for answer in got] == [Event.MISS] * 2  # taken before: answered
        await ctx.tick().until(dut.idle)
        assert [ctx.get(dut.counters[name]) for name in COUNTERS] == [0] * len(COUNTERS)
        for request in looks:
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
        ({"owners": 0}, "owners must be in 1..64, not 0"),
        ({"owners": 65}, "owners must be in 1..64, not 65"),
    ],
)
def test_rejects(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        config_of(**{"sets": 2, "ways": 2, **wrong})
