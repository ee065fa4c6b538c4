import numpy as np
import pytest

from rpaccel.golden.ordered_top_n import ordered_top_n
from rpaccel.perfmodel import ordered_top_n as cycles
from rpaccel.rtl.ordered_top_n import OrderedTopN
from rpaccel.spec.accelerator import load_accelerator
from tests.streams import (
    STALL_CASES,
    expect_silence,
    receive,
    recorder,
    send,
    simulate,
    slow_but,
    stalls,
)  # fmt: skip

CONFIG = load_accelerator("tiny")


def case(seed, items, top_n, spread=32767):
    rng = np.random.default_rng(seed)
    ids = rng.choice(4 * items, items, replace=False) + ((seed & 3) << 30)
    logits = rng.integers(-spread - 1, spread, items, endpoint=True)
    return ids, logits, rng.integers(0, 65536, items), top_n


def run(cases, stall="none", config=CONFIG):
    dut = OrderedTopN(config)
    source, sink = stalls(stall)
    answers, log = [], []

    async def feed(ctx):
        for ids, logits, ctrs, top_n in cases:
            await send(ctx, dut.start, [{"top_n": top_n}])
            last = [0] * (len(ids) - 1) + [1]
            scores = [
                {"id": int(i), "logit": int(v), "ctr": int(c), "last": z}
                for i, v, c, z in zip(ids, logits, ctrs, last, strict=True)
            ]
            await send(ctx, dut.score, scores, source)

    async def drain(ctx):
        for ids, _, _, top_n in cases:
            answers.append(await receive(ctx, dut.result, min(top_n, len(ids)), sink))
            assert ctx.get(dut.count) == len(answers[-1])
        await expect_silence(ctx, dut.result)
        assert ctx.get(dut.idle)

    taken = dut.score.valid & dut.score.ready & dut.score.payload.last
    signals = {"taken": taken, "valid": dut.result.valid, "any": taken | dut.busy}
    simulate(
        dut, feed, drain, monitors=[dut.result], background=[recorder(signals, log, when="any")]
    )
    return answers, log


def check(cases, answers):
    assert len(answers) == len(cases)
    for (ids, logits, ctrs, top_n), answer in zip(cases, answers, strict=True):
        best = ordered_top_n(ids, logits, top_n)
        expected = [{"id": int(ids[i]), "logit": int(logits[i]), "ctr": int(ctrs[i])} for i in best]
        assert answer == expected


@pytest.mark.parametrize("stall", STALL_CASES)
def test_matches_golden(stall):
    cases = [case(seed, items=20 + seed, top_n=1 + 2 * seed) for seed in range(4)]
    check(cases, run(cases, stall)[0])


def test_edges():
    cases = [
        case(0, items=1, top_n=1),
        case(1, items=1, top_n=CONFIG.max_top_n),
        case(2, items=CONFIG.max_items, top_n=CONFIG.max_top_n, spread=0),  # ties: ids decide
        case(3, items=CONFIG.max_items, top_n=CONFIG.max_top_n, spread=2),
        case(3, items=CONFIG.max_top_n, top_n=CONFIG.max_top_n),
    ]
    ascending = np.arange(CONFIG.max_items)
    cases.append((ascending, ascending - 32768, ascending, 5))
    cases.append((ascending, 32767 - ascending, ascending, 5))
    twice = np.array([7, 9, 7, 9, 7])  # an id that comes again stays behind the earlier one
    cases.append((twice, np.zeros(5, dtype=int), np.arange(5), 4))
    check(cases, run(cases)[0])


@pytest.mark.parametrize("items, top_n", [(1, 1), (5, 8), (20, 3)])
def test_latency(items, top_n):
    cases = [case(1, items, top_n)]
    answers, log = run(cases)
    check(cases, answers)
    last = next(row["cycle"] for row in log if row["taken"])
    first = next(row["cycle"] for row in log if row["valid"])
    assert first - last == cycles.first_result_cycles() == OrderedTopN.latency_cycles
    assert len(log) == cycles.busy_cycles(items, min(items, top_n))
    assert log[-1]["cycle"] + 1 - last == cycles.tail_cycles(min(items, top_n))


@pytest.mark.parametrize("stall", slow_but(["none"], ["none", "both"]))
def test_longest_answer(stall):
    """256, in every order of arrival: each score passes all that are worse."""
    config = CONFIG.model_copy(update={"max_top_n": 256})
    count = np.arange(300)
    cases = [
        case(4, items=400, top_n=256),
        case(5, items=400, top_n=256, spread=1),  # ids decide
        (count, count - 150, count, 256),
        (count, 150 - count, count, 256),
        (count[::-1].copy(), np.zeros(300, dtype=int), count, 256),
        case(6, items=256, top_n=256),
        case(7, items=255, top_n=256),
    ]
    answers, log = run(cases, stall, config)
    check(cases, answers)
    assert [len(answer) for answer in answers] == [256] * 6 + [255]
    if stall == "none":
        counts = [(len(ids), min(top_n, len(ids))) for ids, _, _, top_n in cases]
        assert len(log) == sum(cycles.busy_cycles(*each) for each in counts)


def test_rejects_a_top_n_out_of_range():
    with pytest.raises(AssertionError, match="top_n 9 out of range"):
        run([case(1, items=9, top_n=9)])
