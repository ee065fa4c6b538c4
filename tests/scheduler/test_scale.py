from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from rpaccel.scheduler.closed_forms import mm1_quantile_s
from rpaccel.scheduler.many import run_many
from rpaccel.scheduler.policy import Policy
from rpaccel.scheduler.scale import (
    NodeCase,
    PipelineCase,
    evaluate,
    random_cases,
    run_scale,
)


def test_one_queue_is_mm1():
    case = PipelineCase(servers=(1,), mean_s=(0.01,), busy=0.6)
    tails, seconds = evaluate(case, 200_000, 1)
    assert seconds > 0
    assert tails.load_qps == pytest.approx(60)
    assert tails.p95_ms == pytest.approx(1e3 * mm1_quantile_s(60, 0.01, 0.95), rel=0.05)
    assert tails.p50_ms < tails.p95_ms < tails.p99_ms


def test_a_busier_node_is_slower():
    policy = Policy(batch=100, threshold=600)
    found = [evaluate(NodeCase(policy=policy, busy=busy), 5000, 1)[0] for busy in (0.3, 0.8, 0.95)]
    assert found[0].p99_ms < found[1].p99_ms < found[2].p99_ms


def test_processes_find_the_same():
    cases = random_cases(12, seed=3)
    run = partial(evaluate, queries=1000, seed=3)
    with ProcessPoolExecutor(2) as pool:
        there = run_many(run, cases, pool, chunk=5)
    assert [tails for tails, _ in there] == [tails for tails, _ in map(run, cases)]


def test_cases_differ_and_repeat():
    assert random_cases(50, 1) == random_cases(50, 1)
    assert len(set(random_cases(50, 1))) == 50
    assert {type(case) for case in random_cases(2, 1)} == {PipelineCase, NodeCase}


def test_report():
    report = run_scale(6, 500)
    assert (report.cases, report.queries) == (6, 500)
    assert report.p99_ms[0] <= report.p99_ms[1] <= report.p99_ms[2]
    assert report.queries_per_core_s == pytest.approx(3000 / report.cpu_s)


def test_rejects():
    with pytest.raises(ValueError, match=r"^configurations must be at least 1 and queries"):
        run_scale(0, 1000)
