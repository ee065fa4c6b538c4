import numpy as np
import pytest

from rpaccel.golden.retrieval import histogram_edge
from rpaccel.rtl.retrieval_histogram import Histogram
from rpaccel.rtl.retrieval_lane_histogram import LaneHistogram
from rpaccel.rtl.retrieval_recent import RecentBound
from rpaccel.spec.retrieval import BUCKETS, RetrievalConfig
from rpaccel.workloads.score_orders import score_orders
from tests.streams import simulate, slow_but

BITS = 14
LOW = -(1 << BITS - 1)
LANES = 4
ORDERS = tuple(score_orders(8, 2, 2, BITS, 0))
FEW_ORDERS = ("ascending", "equal", "extremes", "one_lane")
BUCKET_CHOICES = [(LOW, BITS - 8), (0, 3), (-300, 0), (LOW, BITS), (100, BITS - 9)]


def config_of(**update):
    sizes = {"lanes": LANES, "k_max": 40, "score_bits": BITS, "id_bits": 8, "generation_bits": 2}
    return RetrievalConfig(**{**sizes, **update})


def query(order, count, k, base, shift, seed=1):
    scores = score_orders(count, LANES, k, BITS, seed)[order]
    valid = np.random.default_rng(seed).random(count) < 0.9
    return {"scores": scores, "valid": valid, "k": k, "base": base, "shift": shift}


def run(dut, queries, idle_cycles=0):
    """Return per query [(rows given so far, bound or None)] by cycle, quiet cycles at the end."""
    config = dut.config
    logs = []

    async def bench(ctx):
        while hasattr(dut, "ready") and not ctx.get(dut.ready):
            await ctx.tick()
        for one in queries:
            log = []
            places = np.arange(len(one["scores"])).reshape(-1, config.lanes)
            if hasattr(dut, "base"):
                ctx.set(dut.base, one["base"])
                ctx.set(dut.shift, one["shift"])
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.k, one["k"])
            while hasattr(dut, "ready") and not ctx.get(dut.ready):
                log.append((0, bound_of(ctx, dut)))
                await ctx.tick()
            silent = [{"valid": 0, "score": LOW}] * config.lanes
            for number in range(len(places) + one.get("tail", BUCKETS + 40)):
                rows = silent
                if number < len(places):
                    rows = [
                        {"valid": int(one["valid"][place]), "score": int(one["scores"][place])}
                        for place in places[number]
                    ]
                log.append((min(number, len(places)) * config.lanes, bound_of(ctx, dut)))
                ctx.set(dut.scores, rows)
                await ctx.tick()
                for _ in range(idle_cycles * (number % 3 == 0)):
                    ctx.set(dut.scores, silent)
                    await ctx.tick()
            if hasattr(dut, "busy"):
                assert not ctx.get(dut.busy)
            logs.append(log)

    simulate(dut, bench, limit_cycles=100_000)
    return logs


def bound_of(ctx, dut):
    return ctx.get(dut.bound.score) if ctx.get(dut.bound.valid) else None


def check_lower_bound(one, log):
    """No bound is above the k-th best of what was given before it was there."""
    for given, bound in log:
        seen = one["scores"][:given][one["valid"][:given]]
        if bound is not None:
            assert np.sum(seen >= bound) >= one["k"]


@pytest.mark.parametrize("order", slow_but(FEW_ORDERS, ORDERS, nightly=ORDERS))
def test_histogram_ends_at_the_edge(order):
    queries = [
        query(order, 240, k, base, shift, seed=k)
        for (base, shift), k in zip(BUCKET_CHOICES, (1, 7, 16, 40, 33), strict=True)
    ]
    for one, log in zip(queries, run(Histogram(config_of()), queries), strict=True):
        check_lower_bound(one, log)
        scores = one["scores"][one["valid"]]
        assert log[-1][1] == histogram_edge(scores, one["k"], one["base"], one["shift"])


@pytest.mark.parametrize("generation_bits", slow_but([1], [1, 2, 3]))
def test_histogram_forgets_queries(generation_bits):
    config = config_of(generation_bits=generation_bits)
    queries = [
        query("random", 120, 1 + seed, LOW, BITS - 8, seed)
        if seed % 3
        else query("equal", 40, 5, LOW, 0, seed)
        for seed in range(10)
    ]
    for one, log in zip(queries, run(Histogram(config), queries, 1), strict=True):
        check_lower_bound(one, log)
        scores = one["scores"][one["valid"]]
        assert log[-1][1] == histogram_edge(scores, one["k"], one["base"], one["shift"])


@pytest.mark.parametrize("generation_bits", slow_but([1], [1, 2]))
def test_histogram_forgets_at_start(generation_bits):
    """Queries without rows behind one whose sweep may be anywhere: nothing may be bounded."""
    scores = np.full(40, LOW + (240 << BITS - 8))
    scores[:3] = LOW + (245 << BITS - 8)
    full = {"scores": scores, "valid": np.ones(40, bool), "k": 40, "base": LOW, "shift": BITS - 8}
    none = {**full, "scores": scores[:0], "valid": scores[:0], "k": 1}
    queries = []
    for phase in range(12):  # a sweep of 5 buckets, again and again, after one of all of them
        queries += [{**full, "tail": 2 * BUCKETS + 40 + phase}, {**none, "tail": 40}]
    logs = run(Histogram(config_of(generation_bits=generation_bits)), queries)
    for number, log in enumerate(logs):
        bounds = {bound for _, bound in log}
        assert bounds == ({None} if number % 2 else {None, LOW + (240 << BITS - 8)})


def test_start_with_a_score_inside_is_caught():
    dut = Histogram(config_of())

    async def bench(ctx):
        ctx.set(dut.scores[1].valid, 1)
        await ctx.tick()
        ctx.set(dut.scores[1].valid, 0)
        ctx.set(dut.start, 1)
        for _ in range(2):
            await ctx.tick()

    with pytest.raises(AssertionError, match="a start while busy"):
        simulate(dut, bench)


def test_lane_counts():
    """Counters of two generations: all buckets, the same one again and again, the largest count."""
    config = config_of()
    dut = LaneHistogram(config)
    rng = np.random.default_rng(7)
    runs = [np.repeat(rng.integers(0, 256, 40), rng.integers(1, 4, 40)), np.full(70, 9)]

    async def bench(ctx):
        ctx.set(dut.base, LOW)
        ctx.set(dut.shift, BITS - 8)
        for generation, buckets in enumerate(runs, start=1):
            ctx.set(dut.generation, generation)
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            assert ctx.get(dut.top) == 0
            for bucket in buckets:
                ctx.set(dut.valid, 1)
                ctx.set(dut.score, LOW + int(bucket << BITS - 8) + int(rng.integers(1 << BITS - 8)))
                await ctx.tick()
            ctx.set(dut.valid, 0)
            assert ctx.get(dut.busy)
            await ctx.tick().repeat(dut.latency_cycles - 1)
            assert not ctx.get(dut.busy) and ctx.get(dut.top) == buckets.max()
            counts = np.bincount(buckets, minlength=BUCKETS)
            for bucket in range(BUCKETS):
                ctx.set(dut.read_bucket, bucket)
                await ctx.tick()
                assert ctx.get(dut.count) == min(counts[bucket], (1 << config.count_bits) - 1)

    simulate(dut, bench)


@pytest.mark.parametrize("order", slow_but(FEW_ORDERS, ORDERS, nightly=ORDERS))
def test_recent_is_a_lower_bound(order):
    queries = [query(order, 400, k, 0, 0, seed=k) for k in (1, 5, 40)]
    for idle_cycles in (0, 2):
        logs = run(RecentBound(config_of()), queries, idle_cycles)
        for one, log in zip(queries, logs, strict=True):
            check_lower_bound(one, log)


def test_recent_counts_only_for_its_trial():
    """Sets that reach a low trial, then a high one that few reach."""
    rng = np.random.default_rng(11)
    queries = []
    for k in range(2, 14):
        low = np.sort(rng.integers(0, 50, (60, LANES)), axis=0)
        low[rng.random(60) < 0.3, LANES - 1] += 1000
        scores = low.ravel()
        queries.append({"scores": scores, "valid": np.ones(len(scores), bool), "k": k})
    logs = run(RecentBound(config_of()), queries)
    for one, log in zip(queries, logs, strict=True):
        check_lower_bound(one, log)
    assert sum(log[-1][1] is not None for log in logs) > len(logs) // 2


def test_recent_keeps_up_with_rising_scores():
    k, scores = 40, np.arange(1200)
    one = {"scores": scores, "valid": np.ones(1200, dtype=bool), "k": k}
    dut = RecentBound(config_of())
    (log,) = run(dut, [one])
    check_lower_bound(one, log)
    late = [given - bound for given, bound in log[: len(scores) // LANES] if bound is not None]
    assert len(late) > 250
    # 3/2 k, and what comes while a trial ends and its successor begins
    assert max(late) <= 3 * k // 2 + 2 * LANES * (dut.latency_cycles + 3)
