from collections import OrderedDict, deque

import numpy as np
import pytest

from rpaccel.golden.cache_sim import (
    LINE_BYTES,
    CacheConfig,
    Event,
    pinned_rows,
    rows_of,
    simulate,
)
from rpaccel.golden.look_ahead import LookAheadConfig, read_window

SEEDS = range(6)


def trace(seed, size=3000, rows=60):
    rng = np.random.default_rng(seed)
    scale = rows ** rng.uniform(0.3, 1.0)
    return np.minimum(rng.pareto(0.8, size) * scale / 8, 1e9).astype(np.int64) * 977


def oracle(policy, rows, outstanding, keys, pinned=()):
    """Events and victims from an ordered dictionary: key -> number of its fetch."""
    lines, fetches, out = OrderedDict(), 0, []
    flying = deque(maxlen=outstanding)
    for key in keys.tolist():
        victim = -1
        if policy == "pinned":
            event = Event.HIT if key in pinned else Event.MERGED if key in flying else Event.REFUSED
            if event == Event.REFUSED:
                flying.append(key)
        elif key in lines:
            event = Event.MERGED if lines[key] >= fetches - outstanding else Event.HIT
            if policy == "lru":
                lines.move_to_end(key)
        elif rows == 0:
            event = Event.REFUSED
        else:
            event = Event.MISS
            if len(lines) == rows:
                victim = lines.popitem(last=False)[0]
            lines[key] = fetches
            fetches += 1
        out.append((event, victim))
    return out


def recorded(run):
    return list(zip(map(Event, run.events.tolist()), run.victims.tolist(), strict=True))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", ["fifo", "lru"])
@pytest.mark.parametrize(("rows", "outstanding"), [(0, 0), (1, 0), (1, 1), (7, 3), (64, 16)])
def test_matches_the_oracle(policy, rows, outstanding, seed):
    keys = trace(seed)
    config = CacheConfig(policy=policy, rows=rows, outstanding=outstanding)
    run = simulate(config, keys, record=True)
    expected = oracle(policy, rows, outstanding, keys)
    assert recorded(run) == expected
    counts = [sum(e == event for e, _ in expected) for event in list(Event)[:4]]
    assert [run.hits, run.merged, run.misses, run.refused] == counts
    assert sum(counts) == run.accesses == keys.size
    assert run.evictions == sum(v != -1 for _, v in expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("outstanding", [0, 1, 8])
def test_pinned_matches_the_oracle(outstanding, seed):
    keys = trace(seed)
    pinned = pinned_rows(trace(seed + 100), 20)
    config = CacheConfig(policy="pinned", rows=20, outstanding=outstanding)
    run = simulate(config, keys, pinned=pinned, record=True)
    expected = oracle("pinned", 20, outstanding, keys, set(pinned.tolist()))
    assert recorded(run) == expected
    assert run.misses == run.evictions == 0


@pytest.mark.parametrize("policy", ["fifo", "lru"])
def test_warm_up_is_the_first_part_of_one_run(policy):
    keys = trace(3)
    config = CacheConfig(policy=policy, rows=16, outstanding=4)
    whole = simulate(config, keys, record=True)
    warm = simulate(config, keys[1000:], warm_up=keys[:1000], record=True)
    assert recorded(warm) == recorded(whole)[1000:]
    assert warm.accesses == 2000


@pytest.mark.parametrize("policy", ["fifo", "lru"])
def test_a_cycle_longer_than_the_cache_never_hits(policy):
    keys = np.tile(np.arange(11), 50)
    assert simulate(CacheConfig(policy=policy, rows=10), keys).hits == 0
    fits = simulate(CacheConfig(policy=policy, rows=11), keys)
    assert (fits.misses, fits.hits, fits.evictions) == (11, 11 * 49, 0)


def test_fifo_forgets_what_lru_keeps():
    keys = np.array([1, 2, 1, 3, 1])  # 1 is the oldest and the most used
    assert simulate(CacheConfig(policy="fifo", rows=2), keys).hits == 1
    assert simulate(CacheConfig(policy="lru", rows=2), keys).hits == 2


def test_pinned_share_of_a_uniform_trace():
    keys = np.tile(np.arange(100), 30)
    run = simulate(CacheConfig(policy="pinned", rows=25), keys, pinned=np.arange(25))
    assert run.hit_rate == pytest.approx(0.25)
    assert run.reads == 75 * 30


def test_equal_keys_in_flight_are_fetched_once():
    keys = np.repeat(np.arange(50), 4)
    none = simulate(CacheConfig(policy="pinned", rows=0), keys, pinned=[])
    one = simulate(CacheConfig(policy="pinned", rows=0, outstanding=1), keys, pinned=[])
    assert none.reads == 200
    assert (one.reads, one.merged) == (50, 150)


def test_a_fifo_cache_is_the_merge_window():
    keys = trace(5)
    cache = simulate(CacheConfig(policy="fifo", rows=12), keys)
    merge = simulate(CacheConfig(policy="pinned", rows=0, outstanding=12), keys, pinned=[])
    assert cache.misses == merge.reads > 100


def test_one_set_with_all_ways_is_a_fifo_cache():
    keys = trace(1)
    look_ahead = read_window(LookAheadConfig(sets=1, ways=24), keys, 1, record=True)
    fifo = simulate(CacheConfig(policy="fifo", rows=24), keys, record=True)
    assert look_ahead.events.tolist() == fifo.events.tolist()
    assert look_ahead.victims.tolist() == fifo.victims.tolist()


def test_capacity_in_rows():
    megabyte = 1 << 20
    assert rows_of(12 * megabyte, LINE_BYTES, 0.5) == 49152
    assert rows_of(12 * megabyte, 16, 0.5) == 8 * 49152
    assert rows_of(12 * megabyte, LINE_BYTES, 0.0) == 0
    assert rows_of(12 * megabyte, LINE_BYTES, 0.7) == 68812  # RecPipe's own count


def test_pinned_rows_are_the_most_frequent():
    profile = np.array([5, 5, 5, 9, 9, 2, 2, 7])
    assert pinned_rows(profile, 2).tolist() == [2, 5]  # 2 and 9 tie: the smaller key
    assert pinned_rows(profile, 10).tolist() == [2, 5, 7, 9]
    assert pinned_rows(profile, 0).tolist() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "random"}, r"policy must be fifo, lru or pinned, not 'random'"),
        ({"rows": -1}, r"rows must be at least 0, not -1"),
        ({"outstanding": -1}, r"outstanding must be at least 0, not -1"),
        ({"outstanding": 9}, r"outstanding must be at most rows 8, not 9"),
    ],
)
def test_rejects_sizes(change, message):
    with pytest.raises(ValueError, match=message):
        CacheConfig(**{"policy": "fifo", "rows": 8} | change)


def test_rejects_keys():
    fifo, pinned = CacheConfig(policy="fifo", rows=8), CacheConfig(policy="pinned", rows=2)
    with pytest.raises(ValueError, match=r"keys must be at least 0, not -3"):
        simulate(fifo, np.array([1, -3]))
    with pytest.raises(ValueError, match=r"pinned must be left out for the policy 'fifo'"):
        simulate(fifo, np.array([1]), pinned=[1])
    with pytest.raises(ValueError, match=r"pinned must be given"):
        simulate(pinned, np.array([1]))
    with pytest.raises(ValueError, match=r"pinned must be at most rows 2, not 3"):
        simulate(pinned, np.array([1]), pinned=[1, 2, 3])
    with pytest.raises(ValueError, match=r"share must be in 0..1, not 1.5"):
        rows_of(100, 4, 1.5)
    with pytest.raises(ValueError, match=r"row_bytes must be at least 1, not 0"):
        rows_of(100, 0)
