import numpy as np
import pytest

from rpaccel.golden.cache_sim import CacheConfig, Event, by_frequency
from rpaccel.golden.cache_sim import simulate as golden
from rpaccel.host.pinned_table import pinned_table
from rpaccel.rtl.static_cache import STAGES, StaticCache, StaticCacheConfig
from tests.streams import STALL_CASES, receive, send, simulate, stalls

SIZE = {4: 0, 8: 1, 16: 2, 32: 3, 64: 4, 128: 5}


def config_of(**update):
    sizes = {"sets": 16, "ways": 3, "lines": 12, "line_bytes": 32, "key_bits": 24}
    return StaticCacheConfig(**{**sizes, **update})


def row_of(stage, key, size, version=0):
    return np.random.default_rng([stage, key, version]).bytes(size)


def rows_of(keys, row_bytes):
    """Return per stage the rows of `keys`, the most frequent first."""
    return [
        {key: row_of(stage, key, row_bytes[stage]) for key in by_frequency(keys[stage]).tolist()}
        for stage in range(STAGES)
    ]


async def load(ctx, dut, table):
    """Load every entry and every line."""
    parts = dut.config.load_parts
    lines = [line >> 64 * part & (1 << 64) - 1 for line in table.lines for part in range(parts)]
    for is_table, values in ((1, table.entries), (0, lines)):
        for index, value in enumerate(values):
            ctx.set(dut.load, {"valid": 1, "table": is_table, "index": index, "data": value})
            await ctx.tick()
    ctx.set(dut.load.valid, 0)


def lookup(stage, key, size):
    return {"update": 0, "stage": stage, "key": int(key), "size": SIZE[size], "row": 0}


def update(stage, key, row):
    number = int.from_bytes(row, "little")
    return {"update": 1, "stage": stage, "key": int(key), "size": SIZE[len(row)], "row": number}


def drive(config, table, split, requests, stall="none"):
    """Return the answers, and (lookups, hits) of each stage."""
    dut = StaticCache(config)
    source, sink = stalls(stall)
    got, counts = [], []

    async def feed(ctx):
        ctx.set(dut.split, split)
        ctx.set(dut.enable, 1)
        await load(ctx, dut, table)
        await send(ctx, dut.request, requests, source)

    async def drain(ctx):
        while not ctx.get(dut.answer.valid):
            await ctx.tick()
        got.extend(await receive(ctx, dut.answer, len(requests), sink))
        await ctx.tick()
        assert ctx.get(dut.idle)
        for stage in range(STAGES):
            counts.append((ctx.get(dut.lookups[stage]), ctx.get(dut.hits[stage])))

    cycles = len(table.entries) + config.load_parts * len(table.lines) + 20 * len(requests) + 1000
    simulate(dut, feed, drain, monitors=[dut.answer], limit_cycles=cycles)
    return got, counts


def random_keys(config, seed, count):
    """Return keys of both stages: some equal, some near, some that collide with others."""
    rng = np.random.default_rng(seed)
    near = rng.integers(0, 1 << config.key_bits) + np.arange(30)
    far = rng.integers(0, 1 << config.key_bits, 30)
    keys = np.concatenate([near, far]) % (1 << config.key_bits)
    return [rng.choice(keys, count, p=rng.dirichlet(np.ones(keys.size))) for _ in range(STAGES)]


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize(
    ("sizes", "row_bytes", "split"),
    [
        ({}, (4, 32), 2),
        ({"ways": 1}, (8, 16), 5),
        ({"sets": 1, "ways": 5}, (4, 4), 6),
        ({"sets": 64, "ways": 2, "line_bytes": 128, "key_bits": 40}, (16, 128), 3),
        ({"sets": 1, "ways": 1, "lines": 1, "line_bytes": 4}, (4, 4), 1),
        ({"sets": 32, "ways": 2, "key_bits": 6}, (4, 32), 12),
    ],
)
def test_matches_golden(sizes, row_bytes, split, stall):
    config = config_of(**sizes)
    profile = random_keys(config, 3, 400)
    table = pinned_table(config, split, row_bytes, rows_of(profile, row_bytes))
    streams = [np.concatenate([keys[:80], keys[:40] ^ 1, keys[:40] ^ 16]) for keys in profile]
    streams = [keys % (1 << config.key_bits) for keys in streams]
    order = np.random.default_rng(4).permutation(np.repeat(range(STAGES), len(streams[0])))
    asked, hits = [], [[], []]
    for stage, keys in enumerate(streams):
        pinned = np.array(table.pinned[stage], dtype=np.int64)
        cache = CacheConfig(policy="pinned", rows=len(pinned))
        run = golden(cache, keys, pinned=pinned, record=True)
        hits[stage] = (run.events == Event.HIT).tolist()
    turns = [iter(zip(keys, hit, strict=True)) for keys, hit in zip(streams, hits, strict=True)]
    for stage in order.tolist():
        key, hit = next(turns[stage])
        row = row_of(stage, int(key), row_bytes[stage]) if hit else b""
        asked.append((lookup(stage, key, row_bytes[stage]), hit, int.from_bytes(row, "little")))
    got, counts = drive(config, table, split, [request for request, _, _ in asked], stall)
    assert got == [{"hit": hit, "row": row} for _, hit, row in asked]
    assert counts == [(len(hits[stage]), sum(hits[stage])) for stage in range(STAGES)]
    assert any(map(any, hits)) and not all(map(all, hits))


@pytest.mark.parametrize("stall", ["none", "both"])
def test_updates_are_seen_by_the_next_lookup(stall):
    config = config_of()
    row_bytes, split = (8, 32), 3
    keys = [np.arange(100, 109), np.arange(50, 56)]
    table = pinned_table(config, split, row_bytes, rows_of(keys, row_bytes))
    assert table.left_out == ((), ())
    rng = np.random.default_rng(8)
    now, requests, wanted = {}, [], []
    for version in range(400):
        stage = int(rng.integers(STAGES))
        key = int(rng.choice(np.append(keys[stage], 999)))
        old = now.get((stage, key), row_of(stage, key, row_bytes[stage]))
        hit = key != 999
        if rng.random() < 0.5:
            now[stage, key] = row_of(stage, key, row_bytes[stage], version + 1)
            requests.append(update(stage, key, now[stage, key]))
            wanted.append({"hit": hit, "row": 0})
        else:
            requests.append(lookup(stage, key, row_bytes[stage]))
            wanted.append({"hit": hit, "row": int.from_bytes(old, "little") if hit else 0})
    got, counts = drive(config, table, split, requests, stall)
    assert got == wanted
    assert sum(lookups for lookups, _ in counts) == sum(not r["update"] for r in requests)


def test_split_at_run_time():
    """A line belongs to one stage; whatever the split, no row of the other stage is given."""
    config = config_of(line_bytes=16)
    row_bytes = (16, 16)
    keys = [np.arange(12), np.arange(12)]  # the same keys in both stages, other rows
    table = pinned_table(config, 6, row_bytes, rows_of(keys, row_bytes))
    dut = StaticCache(config)
    requests = [lookup(stage, key, 16) for key in range(12) for stage in range(STAGES)]

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        await load(ctx, dut, table)
        for split in (6, 0, 3, 12, 8, 6):
            ctx.set(dut.split, split)
            for request in requests:
                await send(ctx, dut.request, [request])
                answer = (await receive(ctx, dut.answer, 1))[0]
                stage, key = request["stage"], request["key"]
                hit = key < (min(6, split) if stage == 0 else min(6, 12 - split))
                row = row_of(stage, key, 16) if hit else b""
                assert answer == {"hit": hit, "row": int.from_bytes(row, "little")}, split
        ctx.set(dut.enable, 0)
        await send(ctx, dut.request, requests[:1])
        assert (await receive(ctx, dut.answer, 1))[0] == {"hit": 0, "row": 0}

    simulate(dut, bench, monitors=[dut.answer])


def test_latency_and_throughput():
    config = config_of()
    table = pinned_table(config, 2, (4, 32), [{7: row_of(0, 7, 4)}, {}])
    dut = StaticCache(config)
    taken, answered, count = [], [], 40

    async def watch(ctx):
        cycle = 0
        async for _, _, valid, ready, out in ctx.tick().sample(
            dut.request.valid, dut.request.ready, dut.answer.valid
        ):
            taken.extend([cycle] * (valid & ready))
            answered.extend([cycle] * out)
            cycle += 1

    async def bench(ctx):
        ctx.set(dut.split, 2)
        ctx.set(dut.enable, 1)
        await load(ctx, dut, table)
        ctx.set(dut.answer.ready, 1)
        await send(ctx, dut.request, [lookup(0, 7, 4)] * count)
        await ctx.tick().repeat(dut.latency_cycles + 1)
        assert ctx.get(dut.hits[0]) == count

    simulate(dut, bench, background=[watch])
    assert taken == list(range(taken[0], taken[0] + count))
    assert answered == [cycle + dut.latency_cycles for cycle in taken]


@pytest.mark.parametrize("late", [0, 1])
def test_split_cycles(late):
    config = config_of(lines=2, line_bytes=4)
    table = pinned_table(config, 1, (4, 4), [{7: row_of(0, 7, 4)}, {}])
    dut = StaticCache(config)

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        await load(ctx, dut, table)
        await send(ctx, dut.request, [lookup(0, 7, 4)])  # ends one cycle after it is taken
        for _ in range(dut.split_cycles - 1 + late):
            await ctx.tick()
        ctx.set(dut.split, 1)
        answer = (await receive(ctx, dut.answer, 1))[0]
        assert answer["hit"] == 1 - late

    simulate(dut, bench)


def test_load_while_not_idle_is_caught():
    dut = StaticCache(config_of())

    async def bench(ctx):
        await send(ctx, dut.request, [lookup(0, 1, 4)])
        ctx.set(dut.load.valid, 1)
        for _ in range(2):
            await ctx.tick()

    with pytest.raises(AssertionError, match="a load while not idle"):
        simulate(dut, bench)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sets": 12}, "sets must be a power of two, not 12"),
        ({"ways": 0}, "ways must be at least 1, not 0"),
        ({"lines": 0}, "lines must be at least 1, not 0"),
        ({"line_bytes": 2}, r"line_bytes must be a power of two in 4\.\.128, not 2"),
        ({"key_bits": 3}, r"key_bits must be in 4\.\.64 with 16 sets, not 3"),
    ],
)
def test_rejects(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        config_of(**wrong)
