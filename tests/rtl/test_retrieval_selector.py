import numpy as np
import pytest

from rpaccel.golden.retrieval import top_k
from rpaccel.rtl.retrieval_selector import Selector
from rpaccel.spec.retrieval import RetrievalConfig
from rpaccel.workloads.score_orders import score_orders
from tests.rtl.retrieval_bench import receive_answers
from tests.streams import STALL_CASES, send, simulate, slow_but, stalls

ORDERS = tuple(score_orders(8, 2, 2, 16, 0))
FEW_ORDERS = ("ascending", "equal", "extremes", "random", "ties")
SMALL = RetrievalConfig(lanes=1, k_max=40, score_bits=12, id_bits=10)


def query(order, count, k, seed=1, bits=12, ids=None):
    scores = score_orders(max(count, 4), 4, k, bits, seed)[order][:count]
    return scores, np.arange(count) if ids is None else ids, k


def run(config, queries, stall="none", limit_cycles=20_000):
    """Return the answer [(score, id)] of every query and how many candidates entered."""
    dut = Selector(config)
    source, sink = stalls(stall)
    answers, entered = [], [0]

    async def feed(ctx):
        for scores, ids, k in queries:
            await send(ctx, dut.start, [{"k": k}])
            rows = [
                {"score": int(score), "id": int(name), "end": 0}
                for score, name in zip(scores, ids, strict=True)
            ]
            await send(ctx, dut.candidate, [*rows, {"score": 0, "id": 0, "end": 1}], source)

    async def drain(ctx):
        answers.extend(await receive_answers(ctx, dut, len(queries), sink, limit_cycles))

    async def watch(ctx):
        async for _, _, enters in ctx.tick().sample(dut.enters):
            entered[0] += enters

    simulate(dut, feed, drain, monitors=[dut.result], background=[watch], limit_cycles=limit_cycles)
    return answers, entered[0]


def expected(scores, ids, k):
    places = top_k(scores, k, ids)
    return [(int(scores[place]), int(ids[place])) for place in places]


def check(queries, answers):
    assert len(answers) == len(queries)
    for one, answer in zip(queries, answers, strict=True):
        assert answer == expected(*one)


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("order", slow_but(FEW_ORDERS, ORDERS, nightly=ORDERS))
def test_matches_golden(order, stall):
    queries = [query(order, count, k, seed=count) for count, k in ((150, 13), (90, 40), (5, 17))]
    check(queries, run(SMALL, queries, stall)[0])


@pytest.mark.parametrize("stall", STALL_CASES)
def test_ids_in_any_order(stall):
    rng = np.random.default_rng(4)
    queries = [
        query("ties", 200, k, ids=rng.choice(1024, 200, replace=False)) for k in (1, 16, 17, 40)
    ]
    queries[0][1][:2] = 1023, 0  # the numeric ends of an id
    queries[0][1][2:] = rng.choice(np.arange(1, 1023), 198, replace=False)
    check(queries, run(SMALL, queries, stall)[0])


@pytest.mark.parametrize("k", slow_but([1, 16, 33, 40], [1, 2, 15, 16, 17, 31, 32, 33, 39, 40]))
def test_any_k_and_count(k):
    counts = (0, 1, k - 1, k, k + 1, 2 * k + 1, 64, 65, 129)
    queries = [query("random", count, k, seed=count) for count in counts]
    check(queries, run(SMALL, queries)[0])


@pytest.mark.parametrize("stall", ["none", "both"])
def test_many_short_queries(stall):
    rng = np.random.default_rng(8)
    queries = [
        query("normal", int(rng.integers(0, 6)), int(rng.integers(1, 41)), seed)
        for seed in range(40)
    ]
    check(queries, run(SMALL, queries, stall)[0])


@pytest.mark.slow
def test_k_max_4096():
    config = RetrievalConfig(lanes=1, k_max=4096, score_bits=26, id_bits=16)
    queries = [query("ascending", 4100, 4096, bits=26), query("random", 700, 600, bits=26)]
    check(queries, run(config, queries, limit_cycles=30_000)[0])


def test_losers_do_not_enter():
    queries = [query("descending", 400, 32)]
    answers, entered = run(SMALL, queries)
    check(queries, answers)
    assert entered < 140  # two runs, and what came while they were merged


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lanes": 3}, "lanes must be a power of two, not 3"),
        ({"lanes": 64}, r"lanes must be in 1\.\.32, not 64"),
        ({"k_max": 0}, r"k_max must be in 1\.\.4096, not 0"),
        ({"k_max": 4097}, r"k_max must be in 1\.\.4096, not 4097"),
        ({"score_bits": 33}, r"score_bits must be in 8\.\.32, not 33"),
        ({"fifo_depth": 24}, "fifo_depth must be a power of two, not 24"),
        ({"beat_bytes": 8}, r"beat_bytes must be in 16\.\.512, not 8"),
    ],
)
def test_rejects(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        RetrievalConfig(**{"lanes": 4, "k_max": 16, **wrong})


def test_run_levels():
    levels = [SMALL.run_levels(k) for k in (1, 16, 17, 32, 33, 40)]
    assert levels == [4, 4, 5, 5, 6, 6] and SMALL.levels == 6
    with pytest.raises(ValueError, match=r"^k must be in 1\.\.40, not 41$"):
        SMALL.run_levels(41)
