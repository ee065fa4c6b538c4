"""Pipelines looked at again: intervals by a closed form, verdicts, what a choice does of them."""

import re
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.scheduler.arrivals import PROCESSES
from rpaccel.scheduler.choice import choose
from rpaccel.scheduler.choice_answer import Need
from rpaccel.scheduler.choice_text import choice_json, choice_text, explanation
from rpaccel.scheduler.closed_forms import mm1_quantile_s
from rpaccel.scheduler.funnel_quality import Funnel, QualityPoint, QualityTable
from rpaccel.scheduler.peak import Verdict
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_node import HostTimes
from rpaccel.scheduler.second_look import LONGEST, look_again
from tests.scheduler.test_recpipe_search import node, quality, space

SERVICE_S = 2048e-6  # of "small" with 2048 items
LOAD_QPS = 0.6 / SERVICE_S


def one_queue(queries: int = LONGEST):
    """M/M/1: one thread, exponential ratios; its evaluator and table of one pipeline."""
    ramp = np.arange(4097) * 1e-6
    ratios = np.random.default_rng(4).exponential(size=1_000_000)
    hosts = {"cpu": HostTimes(table_s={"small": ramp}, ratios={"small": ratios})}
    given = node(servers={"cpu": 1}, hosts=hosts, scans={})
    one = next(d for d in cpu_space().designs() if d.funnel.models == ("small",) and not d.batch)
    found = Evaluator(given, quality(), queries=queries, seed=1)
    return found, found.table([one])


def cpu_space():
    return space(devices=("cpu",), retrieval=space().spec.retrieval.model_copy(update={"k": ()}))


def exact_ms(share: float) -> float:
    return 1e3 * mm1_quantile_s(LOAD_QPS, SERVICE_S, share)


def test_intervals_hold_the_closed_form() -> None:
    found, table = one_queue()
    held = dict.fromkeys((50.0, 95.0, 99.0), 0)
    for seed in range(12):
        given = Evaluator(found.node, found.quality, queries=LONGEST, seed=seed)
        look = look_again(given, table, 0, LOAD_QPS)
        assert (look.queries, look.verdict) == (LONGEST, None)
        for share, (value, low, high) in look.spread_ms.items():
            assert low < value < high < 2 * low
            held[share] += low < exact_ms(share / 100) < high
    assert min(held.values()) >= 9  # of 12, at 95 %


@pytest.mark.parametrize(
    ("factor", "verdict"), [(2.0, Verdict.PASSES), (0.5, Verdict.FAILS), (1.0, Verdict.OPEN)]
)
def test_verdict_is_sure_or_open(factor, verdict) -> None:
    look = look_again(*one_queue(), 0, LOAD_QPS, factor * exact_ms(0.99))
    assert look.verdict is verdict
    # far from the target a short look will do; at it even the longest one is not enough
    assert (look.judged < LONGEST) == (verdict is not Verdict.OPEN)


def test_a_short_run_is_open() -> None:
    assert look_again(*one_queue(400), 0, LOAD_QPS, 2 * exact_ms(0.99)).verdict is Verdict.OPEN


def asked(**changes) -> Need:
    made = Need(load_qps=400.0, sla_ms=20.0, quality=0.6, metric="NDCG@64")
    return replace(made, **changes)


def answer(need: Need, queries: int = 2000, seed: int = 0):
    found = cpu_space()
    return choose(found, Evaluator(found.node, quality(), queries=queries, seed=seed), need)


def test_choice_gives_intervals_of_the_first_two() -> None:
    choice = answer(asked())
    values, text = choice_json(choice), choice_text(choice)
    for name in ("chosen", "runner_up"):
        look, written = choice.again[name], values["again"][name]
        assert written["queries"] == LONGEST and written["verdict"] == "passes"
        for share, (value, low, high) in look.spread_ms.items():
            assert low <= value <= high
            assert f"{value:.4g} [{low:.4g}, {high:.4g}]" in text
            assert written["quantiles_ms"][f"p{share:g}"]["low"] == pytest.approx(low, rel=1e-5)
    assert f"p99 within 20 ms is surely met ({choice.again['chosen'].judged:,}" in text
    low, high = choice.sure_qps
    assert 400 <= low < choice.limit_qps < high
    said = re.search(r"surely up to (\S+), not from (\S+),", explanation(choice))
    assert said is not None
    assert 0.999 * low < float(said[1]) <= low < high <= float(said[2]) < 1.001 * high


def test_open_verdict_is_said() -> None:
    at_limit = answer(asked(load_qps=answer(asked()).limit_qps))
    assert at_limit.again["chosen"].verdict is Verdict.OPEN
    assert "p99 within 20 ms is open: no verdict is sure after" in explanation(at_limit)
    assert choice_json(at_limit)["again"]["chosen"]["verdict"] == "open"


def gpu_or_cpu(seed: int):
    """A GPU of 1.5 ms that saturates at 661 queries/s, or 40 threads of 16 ms; 200 queries."""

    def point(model, items, device):
        funnel = Funnel(models=(model,), items=(items,))
        return QualityPoint(funnel=funnel, quality=0.9, source="test", devices=(device,))

    known = QualityTable([point("small", 2048, "gpu"), point("large", 4096, "cpu")])
    given = node(servers={"cpu": 40, "gpu": 1})
    found = replace(cpu_space(), node=given, quality=known)
    found = replace(found, spec=found.spec.model_copy(update={"devices": ("cpu", "gpu"),
                                                              "batch_items": (0,)}))  # fmt: skip
    return found, Evaluator(given, known, queries=200, seed=seed)


def test_what_a_longer_run_refuses_is_not_chosen() -> None:
    # Few queries at 0.92 of the GPU's capacity may see no queue; more always do.
    need, refused = asked(load_qps=610.0, sla_ms=20.0), 0
    for seed in range(6):
        found, evaluator = gpu_or_cpu(seed)
        designs = list(found.designs())
        row = np.arange(len(designs))
        table, load = evaluator.table(designs), np.full(row.size, need.load_qps)
        tails = evaluator.measure(table, row, load, evaluator.qualities(designs)).tail_ms
        assert designs[1].devices == ("gpu",) and len(designs) == 2
        preferred = bool(tails[1] < tails[0])  # by the few queries
        refused += preferred
        choice = choose(found, evaluator, need)
        assert choice.chosen is not None and choice.chosen.design.devices == ("cpu",)
        assert choice.again["chosen"].verdict is Verdict.PASSES
        second = choice.runner_up
        assert second is not None and second.design.devices == ("gpu",)
        assert not preferred or (second.misses == ("latency",) and second.tail_ms > 20)
        assert choice.again["runner_up"].verdict is Verdict.FAILS
    assert refused > 0


def test_if_all_are_refused_the_answer_says_so() -> None:
    found, evaluator = gpu_or_cpu(0)
    alone = QualityTable([p for p in found.quality.points if p.devices == ("gpu",)])
    evaluator = Evaluator(found.node, alone, queries=200, seed=evaluator.seed)
    choice = choose(replace(found, quality=alone), evaluator, asked(load_qps=610.0, sla_ms=20.0))
    best, values = choice.chosen, choice_json(choice)
    assert best is not None and best.misses == ("latency",)
    assert best.tail_ms == choice.again["chosen"].spread_ms[99.0][0] > 20
    assert choice.options[0] == best and choice.binding == "latency"
    low, high = choice.sure_qps
    assert low <= choice.limit_qps <= high < 610
    assert values["qps_under_sla"] == pytest.approx(choice.limit_qps, rel=1e-5)
    text = explanation(choice)
    assert text.startswith(f"Longer runs refuse all; the lowest tail: {best.design.label}")
    assert "p99 within 20 ms is surely missed" in text
    said = re.search(r"It meets the SLA only up to (\S+) queries/s: surely up to", text)
    assert said is not None and 0.999 * choice.limit_qps < float(said[1]) <= choice.limit_qps
    least = choice.reach["latency"]
    assert best.tail_ms == least
    assert "So latency binds, p99 of 20 ms is asked and the best" in text
    assert f"that meets quality and load reaches {least:.4g} ms." in text
    assert set(choice.relaxations) == {"load", "latency"} and choice.nearest is not None
    assert "Nearest feasible point: NDCG@64 0.6," in text
    for point in (choice.nearest, *choice.relaxations.values()):
        again = asked(load_qps=point.load_qps, sla_ms=point.tail_ms, quality=point.quality)
        assert choose(replace(found, quality=alone), evaluator, again).chosen.feasible


def test_another_way_of_a_placement_that_is_refused_counts() -> None:
    # Requests of 64 items: 0.5 ms alone, 2000 queries/s at most; whole ones 8 ms and 4000.
    table_s = 0.258e-3 + 3.78e-6 * np.arange(4097.0)
    given = node(servers={"cpu": 32}, hosts={"cpu": HostTimes(table_s={"small": table_s})})
    one = Funnel(models=("small",), items=(2048,))
    known = QualityTable([QualityPoint(funnel=one, quality=0.9, source="test")])
    found = replace(cpu_space(), node=given, quality=known)
    found = replace(found, spec=found.spec.model_copy(update={"batch_items": (0, 64)}))
    designs, preferred = list(found.designs()), 0
    assert [design.batch for design in designs] == [0, 64]
    for seed in range(8):
        evaluator = Evaluator(given, known, queries=200, seed=seed)
        table, loads = evaluator.table(designs), np.full(2, 1850.0)
        tails = evaluator.measure(table, np.arange(2), loads, evaluator.qualities(designs)).tail_ms
        preferred += bool(tails[1] < tails[0])
        choice = choose(found, evaluator, asked(load_qps=1850.0, sla_ms=10.0))
        assert choice.chosen is not None and choice.chosen.feasible
        assert choice.chosen.design.batch == 0 and choice.binding is None
        assert choice.again["chosen"].verdict is Verdict.PASSES
    assert preferred > 0


@pytest.mark.parametrize("load_qps", [305.0, 610.0, 1220.0])
def test_what_is_said_of_another_load_is_what_asking_for_it_answers(load_qps) -> None:
    for seed in range(3):
        found, evaluator = gpu_or_cpu(seed)
        now = choose(found, evaluator, asked(load_qps=load_qps))
        for what_if in now.what_ifs:
            then = choose(found, evaluator, asked(load_qps=what_if.load_qps))
            best = then.chosen if then.chosen is not None and then.chosen.feasible else None
            assert (what_if.best, what_if.binding) == (best, then.binding)


def test_what_misses_the_sla_by_little_may_meet_it_in_a_longer_run() -> None:
    seen = 0
    for seed in range(8):
        found, _ = gpu_or_cpu(seed)
        alone = QualityTable([p for p in found.quality.points if p.devices == ("gpu",)])
        found = replace(found, quality=alone)
        evaluator = Evaluator(found.node, alone, queries=2000, seed=seed)
        wide = choose(found, evaluator, asked(load_qps=500.0, sla_ms=1e3))
        assert wide.chosen is not None
        few, many = wide.chosen.tail_ms, wide.again["chosen"].spread_ms[99.0][0]
        if not many < few < 1.1 * many:
            continue
        seen += 1
        choice = choose(found, evaluator, asked(load_qps=500.0, sla_ms=(few + many) / 2))
        assert choice.chosen is not None and choice.chosen.feasible and choice.binding is None
        assert choice.chosen.tail_ms == many
        less = choose(found, evaluator, asked(load_qps=500.0, sla_ms=0.99 * many))
        assert less.chosen is None and less.binding == "latency"
        assert less.relaxations["latency"].tail_ms == less.reach["latency"] == many
    assert seen > 0


def test_a_refused_one_comes_before_one_that_was_never_feasible() -> None:
    found, evaluator = gpu_or_cpu(0)  # its GPU's tail of 44 ms is longer than the 16 ms of the CPU
    worse = [replace(p, quality=0.9 if "gpu" in p.devices else 0.5) for p in found.quality.points]
    table = QualityTable(worse)
    evaluator = Evaluator(found.node, table, queries=200, seed=evaluator.seed)
    choice = choose(replace(found, quality=table), evaluator, asked(load_qps=610.0, sla_ms=20.0))
    assert [option.misses for option in choice.options] == [("latency",), ("quality",)]
    assert choice.options[1].tail_ms < choice.options[0].tail_ms
    assert choice.chosen == choice.options[0]
    assert "Nothing is feasible; next, large 4096 @cpu" in explanation(choice)


@pytest.mark.parametrize(("name", "shorter"), [("poisson", True), ("bursts", False)])
def test_one_long_look_where_a_short_one_may_see_calm_times(name, shorter) -> None:
    found, table = one_queue()
    found = found.longer(LONGEST, PROCESSES[name])
    look = look_again(found, table, 0, LOAD_QPS / 4, 10 * exact_ms(0.99))
    assert look.verdict is Verdict.PASSES
    assert (look.judged < LONGEST) == shorter


def test_choice_says_what_other_arrivals_change() -> None:
    found = cpu_space()
    evaluator = Evaluator(found.node, quality(), queries=2000, process=PROCESSES["artifact"])
    choice, plain = choose(found, evaluator, asked()), answer(asked())
    assert plain.poisson is None and plain.arrivals == "poisson"
    assert choice.chosen is not None and choice.chosen.design == plain.chosen.design
    assert choice.poisson == plain.again["chosen"]
    gaps = choice.again["chosen"].spread_ms[99.0]
    assert gaps != choice.poisson.spread_ms[99.0]
    assert f"Arrivals are artifact: p99 {gaps[0]:.4g} ms; Poisson ones would" in explanation(choice)
    assert choice_json(choice)["arrivals"] == "artifact"
    assert "(artifact)" in choice_text(choice)
