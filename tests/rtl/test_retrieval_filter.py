import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from rpaccel.golden.retrieval import top_k
from rpaccel.rtl.retrieval_filter import ScoreFilter
from rpaccel.spec.retrieval import RetrievalConfig
from rpaccel.workloads.score_orders import score_orders
from tests.rtl.retrieval_bench import receive_answers
from tests.streams import STALL_CASES, send, simulate, slow_but, stalls

BITS = 14
ORDERS = tuple(score_orders(8, 2, 2, BITS, 0))
FEW_ORDERS = ("ascending", "equal", "extremes", "minimum", "one_lane", "random")


def config_of(**update):
    sizes = {"lanes": 4, "k_max": 40, "score_bits": BITS, "id_bits": 12, "fifo_depth": 16}
    return RetrievalConfig(**{**sizes, "generation_bits": 2, **update})


def query(order, count, k, seed=1, base=-(1 << BITS - 1), shift=BITS - 8, lanes=4, gaps=False):
    """A query over `count` places; with `gaps` a quarter of them hold no row."""
    scores = score_orders(max(count, 2 * lanes), lanes, k, BITS, seed)[order][:count]
    valid = np.ones(count, dtype=bool)
    if gaps:
        valid = np.random.default_rng(seed + 1).random(count) < 0.75
    return {"scores": scores, "valid": valid, "k": k, "base": base, "shift": shift}


def sets_of(one, lanes):
    """The query's rows by set; the last one is partly padded, or empty where nothing is scanned."""
    scores, valid = one["scores"], one["valid"]
    count = max(1, -(-len(scores) // lanes))
    rows = [
        {"valid": int(ok), "score": int(score), "id": place}
        for place, (score, ok) in enumerate(zip(scores, valid, strict=True))
    ]
    rows += [{"valid": 0, "score": 0, "id": 0}] * (count * lanes - len(rows))
    return [
        {"lanes": rows[lanes * n : lanes * (n + 1)], "last": int(n == count - 1)}
        for n in range(count)
    ]


def run(config, queries, stall="none", limit_cycles=60_000, reset_before=None):
    """Return the answer [(score, id)] of every query, and counts {passes, stalled}.

    reset_before : the query before which it is reset, when all before have been answered.
    """
    dut, reset = ScoreFilter(config), Signal()
    source, sink = stalls(stall)
    answers, counts = [], {"passes": 0, "stalled": 0}

    async def feed(ctx):
        for number, one in enumerate(queries):
            if number == reset_before:
                await ctx.tick().until(dut.idle)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
            await send(ctx, dut.start, [{name: one[name] for name in ("k", "base", "shift")}])
            await send(ctx, dut.rows, sets_of(one, config.lanes), source)

    async def drain(ctx):
        answers.extend(await receive_answers(ctx, dut, len(queries), sink, limit_cycles))

    async def watch(ctx):
        async for _, _, passes, stalled in ctx.tick().sample(dut.passes, dut.stalled):
            counts["passes"] += passes
            counts["stalled"] += stalled

    device = dut if reset_before is None else ResetInserter(reset)(dut)
    simulate(
        device, feed, drain, monitors=[dut.result], background=[watch], limit_cycles=limit_cycles
    )
    return answers, counts


def check(queries, answers):
    assert len(answers) == len(queries)
    for one, answer in zip(queries, answers, strict=True):
        ids = np.flatnonzero(one["valid"])
        scores = one["scores"][ids]
        best = top_k(scores, one["k"], ids)
        assert answer == [(int(scores[place]), int(ids[place])) for place in best]


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("order", slow_but(FEW_ORDERS, ORDERS, nightly=ORDERS))
def test_matches_golden(order, stall):
    queries = [
        query(order, 402, 13, seed=1),
        query(order, 200, 40, seed=2, gaps=True),
        query(order, 130, 5, seed=3, base=0, shift=2),
    ]
    check(queries, run(config_of(), queries, stall)[0])


@pytest.mark.parametrize("lanes", slow_but([2], [1, 2, 8, 16], nightly=[8, 16]))
def test_lanes(lanes):
    queries = [
        query(order, 300 + lanes + 1, 21, lanes=lanes, gaps=gaps)
        for order in ("normal", "ascending", "one_lane", "one_per_lane")
        for gaps in (False, True)
    ]
    check(queries, run(config_of(lanes=lanes), queries)[0])


@pytest.mark.parametrize("k", slow_but([1, 17, 40], [1, 2, 16, 17, 39, 40], nightly=[2, 16]))
def test_k_and_count(k):
    counts = (0, 1, 3, k - 1, k, k + 1, 4 * k + 2)
    queries = [query("ties", count, k, seed=count) for count in counts]
    check(queries, run(config_of(), queries, "both")[0])


@pytest.mark.parametrize(
    "order", slow_but(["normal"], ["normal", "ascending", "extremes"], nightly=["ascending"])
)
@pytest.mark.parametrize(
    ("base", "shift"),
    [(-(1 << BITS - 1), 0), ((1 << BITS - 1) - 1, 0), (0, BITS), (-100, 3), (1000, BITS - 9)],
)
def test_any_buckets(order, base, shift):
    queries = [query(order, 350, 20, base=base, shift=shift)] * 2
    check(queries, run(config_of(), queries)[0])


@pytest.mark.slow
def test_many_queries_reuse_generations():
    rng = np.random.default_rng(5)
    queries = [
        query(ORDERS[seed % len(ORDERS)], int(rng.integers(0, 120)), int(rng.integers(1, 41)), seed)
        for seed in range(26)
    ]
    for bits in (1, 2):
        check(queries, run(config_of(generation_bits=bits), queries, "source")[0])


def test_memories_outlive_a_reset():
    """What the histograms counted before is no part of the query after it."""
    queries = [query("random", 402, 20, seed=1), query("random", 402, 20, seed=2, base=0)]
    check(queries, run(config_of(), queries, reset_before=1)[0])


def test_slow_reader_stalls_the_scan():
    queries = [query("ascending", 600, 40), query("normal", 600, 40)]
    answers, counts = run(config_of(), queries, "sink")
    check(queries, answers)
    assert counts["stalled"] > 0


def test_filter_drops_what_cannot_win():
    queries = [query("descending", 1600, 8), query("equal", 1600, 8)]
    answers, counts = run(config_of(fifo_depth=64), queries)
    check(queries, answers)
    assert counts["passes"] < 120 and counts["stalled"] == 0


def test_rising_scores_in_one_bucket():
    """No histogram helps: the recent bound must."""
    queries = [query("ascending", 2400, 16, base=0, shift=BITS)]
    answers, counts = run(config_of(fifo_depth=64), queries)
    check(queries, answers)
    assert counts["passes"] < 800 and counts["stalled"] == 0
