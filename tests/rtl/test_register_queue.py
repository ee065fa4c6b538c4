import numpy as np
import pytest

from rpaccel.golden.retrieval import top_k
from rpaccel.rtl.register_queue import RegisterQueue
from rpaccel.spec.retrieval import RetrievalConfig
from rpaccel.workloads.score_orders import score_orders
from tests.rtl.retrieval_bench import receive_answers
from tests.streams import STALL_CASES, send, simulate, stalls

ORDERS = tuple(score_orders(8, 2, 2, 16, 0))
SMALL = RetrievalConfig(lanes=1, k_max=16, score_bits=12, id_bits=10)


def query(order, count, k, seed=1, bits=12):
    scores = score_orders(max(count, 4), 4, k, bits, seed)[order][:count]
    ids = np.random.default_rng(seed).permutation(1024)[:count]
    return scores, ids, k


def run(config, queries, stall="none", limit_cycles=20_000):
    """Return the answer [(score, id)] of every query, what entered, and thresholds seen."""
    dut = RegisterQueue(config)
    source, sink = stalls(stall)
    answers, entered, thresholds, cycles = [], [0], [], [0]

    async def feed(ctx):
        for scores, ids, k in queries:
            await send(ctx, dut.start, [{"k": k}])
            rows = [
                {"score": int(score), "id": int(name), "end": 0}
                for score, name in zip(scores, ids, strict=True)
            ]
            await send(ctx, dut.candidate, rows, source)
            threshold = ctx.get(dut.threshold)
            thresholds.append(int(threshold.key) if threshold.valid else None)
            await send(ctx, dut.candidate, [{"score": 0, "id": 0, "end": 1}], source)

    async def drain(ctx):
        answers.extend(await receive_answers(ctx, dut, len(queries), sink, limit_cycles))

    async def watch(ctx):
        async for _, _, enters, takes in ctx.tick().sample(
            dut.enters, dut.candidate.valid & dut.candidate.ready
        ):
            entered[0] += enters
            cycles[0] += takes

    simulate(dut, feed, drain, monitors=[dut.result], background=[watch], limit_cycles=limit_cycles)
    assert cycles[0] == sum(len(scores) + 1 for scores, _, _ in queries)
    return answers, entered[0], thresholds


def expected(scores, ids, k):
    return [(int(scores[place]), int(ids[place])) for place in top_k(scores, k, ids)]


def key(config, score, name):
    """Return a row's key, larger is better."""
    lowest = 1 << config.score_bits - 1
    return (score + lowest << config.id_bits) + (1 << config.id_bits) - 1 - name


def check(queries, answers):
    assert len(answers) == len(queries)
    for one, answer in zip(queries, answers, strict=True):
        assert answer == expected(*one)


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("order", ORDERS)
def test_matches_golden(order, stall):
    queries = [query(order, count, k, seed=count) for count, k in ((80, 13), (50, 16), (5, 9))]
    check(queries, run(SMALL, queries, stall)[0])


@pytest.mark.parametrize("k", [1, 2, 15, 16])
def test_any_k_and_count(k):
    queries = [
        query("random", count, k, seed=count) for count in (0, 1, k - 1, k, k + 1, 2 * k + 1)
    ]
    check(queries, run(SMALL, queries)[0])


def test_k_64():
    config = RetrievalConfig(lanes=1, k_max=64, score_bits=26, id_bits=16)
    queries = [query(order, 300, k, bits=26) for order, k in (("ascending", 64), ("random", 33))]
    check(queries, run(config, queries)[0])


@pytest.mark.parametrize("order", ["equal", "ties"])
def test_neighbouring_ids(order):
    scores, _, k = query(order, 60, 16)
    queries = [(scores, np.random.default_rng(seed).permutation(60), k) for seed in (1, 2)]
    check(queries, run(SMALL, queries)[0])


def test_one_entry():
    config = RetrievalConfig(lanes=1, k_max=1, score_bits=12, id_bits=10)
    queries = [query("ties", 50, 1), query("random", 0, 1)]
    check(queries, run(config, queries)[0])


def test_only_winners_so_far_enter():
    one = query("descending", 200, 16)
    answers, entered, _ = run(SMALL, [one])
    check([one], answers)
    keys = [(int(score), -int(name)) for score, name in zip(one[0], one[1], strict=True)]
    best = [sum(other > key for other in keys[:at]) < 16 for at, key in enumerate(keys)]
    assert entered == sum(best)


def test_threshold_covers_all_candidates():
    queries = [query("normal", count, k, seed=k) for count, k in ((100, 16), (40, 3), (3, 4))]
    answers, _, thresholds = run(SMALL, queries)
    worst = [key(SMALL, *answer[-1]) if len(answer) == one[2] else None
             for one, answer in zip(queries, answers, strict=True)]  # fmt: skip
    assert thresholds == worst and worst[-1] is None
