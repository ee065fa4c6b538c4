"""The scheduler's answer: what is chosen, why, what would change, what binds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.results import to_json
from rpaccel.scheduler.choice import choose
from rpaccel.scheduler.choice_answer import Need
from rpaccel.scheduler.choice_text import choice_json, choice_text, explanation
from rpaccel.scheduler.funnel_quality import QualityTable
from rpaccel.scheduler.peak import Verdict
from rpaccel.scheduler.recpipe_evaluate import MOST_LOAD, Evaluator
from tests.scheduler.test_recpipe_search import quality, space

QUERIES = 2000


def need(**changes) -> Need:
    made = Need(load_qps=50.0, sla_ms=25.0, quality=0.85, metric="NDCG@64")
    return replace(made, **changes)


def chosen(**changes):
    found = space()
    return choose(found, Evaluator(found.node, quality(), queries=QUERIES), need(**changes))


def test_chooses_the_lowest_tail_that_meets_everything() -> None:
    choice = chosen()
    best = choice.chosen
    assert best is not None and best.feasible
    assert best.quality.quality >= 0.85
    # 2048 and 256 items at 1e-7 s on the card; the rest is the link
    assert best.design.devices == ("accelerator",)
    assert best.tail_ms == min(o.tail_ms for o in choice.options if o.feasible)
    assert choice.binding is None and choice.nearest is None
    ranked = [option.tail_ms for option in choice.options if option.feasible]
    assert ranked == sorted(ranked)
    placed = [option.design.placed for option in choice.options]
    assert len(set(placed)) == len(placed)


def test_runner_up_is_another_placement_and_the_reason_is_the_largest_part() -> None:
    choice = chosen()
    best, second = choice.chosen, choice.runner_up
    assert best is not None and second is not None
    assert second.design.placed != best.design.placed
    text = explanation(choice)
    assert f"{second.design.label} lost by {second.tail_ms - best.tail_ms:.3g} ms" in text
    assert "most of it service" in text


def test_runner_up_that_is_no_slower_on_average_lost_on_its_slowest_queries() -> None:
    choice = chosen()
    best, second = choice.chosen, choice.runner_up
    assert best is not None and second is not None
    parts = ("idle_ms", "transfer_ms", "mean_ms")
    even = replace(second, **{name: getattr(best, name) for name in parts})
    text = explanation(replace(choice, runner_up=even))
    assert f"lost by {second.tail_ms - best.tail_ms:.3g} ms" in text
    assert "not on average" in text and "most of it" not in text


def test_half_and_double_load_are_answered() -> None:
    found = space(devices=("cpu",), retrieval=space().spec.retrieval.model_copy(update={"k": ()}))
    evaluator = Evaluator(found.node, quality(), queries=QUERIES)
    choice = choose(found, evaluator, need(load_qps=400.0, sla_ms=20.0, quality=0.6))
    half, double = choice.what_ifs
    assert (half.load_qps, double.load_qps) == (200.0, 800.0)
    assert half.best is not None and double.best is not None
    alone = choose(found, evaluator, need(load_qps=800.0, sla_ms=20.0, quality=0.6))
    assert alone.chosen == double.best
    assert choice.chosen is not None
    assert double.kept.design == choice.chosen.design
    assert double.kept.tail_ms > choice.chosen.tail_ms > half.kept.tail_ms
    text = explanation(choice)
    assert "At 200 queries/s" in text and "At 800 queries/s" in text
    most = choose(found, evaluator, need(load_qps=1500.0, sla_ms=200.0, quality=0.6))
    assert most.what_ifs[1].best is None
    assert "At 3000 queries/s nothing is feasible, load binds" in explanation(most)


def test_sla_is_met_up_to_the_limit() -> None:
    choice = chosen()
    assert choice.chosen is not None and choice.limit_qps is not None
    assert 50 < choice.limit_qps <= MOST_LOAD * choice.chosen.capacity_qps
    assert chosen(load_qps=0.9 * choice.limit_qps).chosen is not None


@pytest.mark.parametrize("sla_ms", [20.0, 60.0, 1e4])
def test_limit_settles_and_is_no_less_than_what_is_met(sla_ms: float) -> None:
    """Whatever the SLA allows, nothing is promised beyond MOST_LOAD of the capacity."""
    found = space(devices=("cpu",), retrieval=space().spec.retrieval.model_copy(update={"k": ()}))
    evaluator = Evaluator(found.node, quality(), queries=QUERIES)
    table = evaluator.table(list(found.designs()))
    most = MOST_LOAD * float(table.capacity_qps.max())
    for share in (0.5, 0.9, 0.97, 0.999):
        asked = need(load_qps=share * most, sla_ms=sla_ms, quality=0.0)
        choice = choose(found, evaluator, asked)
        if choice.chosen is not None:
            assert choice.limit_qps is not None
            limit = MOST_LOAD * choice.chosen.capacity_qps
            assert choice.limit_qps <= limit
            sure = choice.again["chosen"].verdict is not Verdict.FAILS
            refused = not sure or choice.sure_qps[1] < asked.load_qps
            assert (asked.load_qps <= choice.limit_qps) or refused
            assert not refused or choice.limit_qps <= choice.sure_qps[1]
        elif "load" in choice.relaxations:
            assert choice.relaxations["load"].load_qps < asked.load_qps


@pytest.mark.parametrize("share", [0.98, 1.02])
def test_a_load_that_does_not_settle_is_above_what_is_said_to(share: float) -> None:
    found = space(devices=("cpu",), retrieval=space().spec.retrieval.model_copy(update={"k": ()}))
    evaluator = Evaluator(found.node, quality(), queries=QUERIES)
    most = float(evaluator.table(list(found.designs())).capacity_qps.max())
    choice = choose(found, evaluator, need(load_qps=share * most, sla_ms=1e4, quality=0.0))
    assert choice.binding == "load"
    assert choice.reach["load"] == pytest.approx(MOST_LOAD * most)
    assert f"settles up to {MOST_LOAD * most:.4g}" in explanation(choice)
    for option in choice.options:
        assert "load" in option.misses and option.settled_qps < option.load_qps


@pytest.mark.parametrize("sla_ms", [18.0, 1e4])
def test_distances_are_not_negative_and_points_are_feasible(sla_ms: float) -> None:
    found = space(devices=("cpu",), retrieval=space().spec.retrieval.model_copy(update={"k": ()}))
    evaluator = Evaluator(found.node, quality(), queries=QUERIES)
    seen = 0
    for load_qps in np.geomspace(1200, 1310, 12):
        asked = need(load_qps=float(load_qps), sla_ms=sla_ms, quality=0.85)
        choice = choose(found, evaluator, asked)
        for name, point in choice.relaxations.items():
            seen += 1
            assert point.distance > 0 and point.moved == (name,)
            again = replace(
                asked, load_qps=point.load_qps, sla_ms=point.tail_ms, quality=point.quality
            )
            assert choose(found, evaluator, again).chosen.feasible
    assert seen > 3


def test_quality_binds() -> None:
    choice = chosen(quality=0.99)
    assert choice.chosen is None and choice.binding == "quality"
    assert "quality binds, NDCG@64 0.99 is asked and the best known is 0.95" in explanation(choice)
    assert choice.relaxations["quality"].quality == 0.95
    assert choice.nearest is not None and choice.nearest.moved == ("quality",)
    assert chosen(quality=choice.nearest.quality).chosen is not None


def test_latency_binds() -> None:
    choice = chosen(sla_ms=0.2)
    assert choice.binding == "latency"
    point = choice.relaxations["latency"]
    assert point.tail_ms == choice.reach["latency"] > 0.2
    assert "load" not in choice.relaxations  # not even an idle system meets it
    assert chosen(sla_ms=point.tail_ms).chosen is not None


def test_load_binds() -> None:
    choice = chosen(load_qps=1e5)
    assert choice.binding == "load"
    assert "load binds, 1e+05 queries/s is asked" in explanation(choice)
    limit = choice.relaxations["load"].load_qps
    assert 1000 < limit < choice.reach["load"] < 1e5
    assert chosen(load_qps=limit).chosen is not None


def test_nearest_point_is_feasible_when_no_requirement_alone_helps() -> None:
    choice = chosen(load_qps=1e6, sla_ms=0.01, quality=0.99)
    point = choice.nearest
    assert point is not None and set(point.moved) >= {"load", "latency"}
    again = chosen(load_qps=point.load_qps, sla_ms=point.tail_ms, quality=point.quality)
    assert again.chosen is not None
    text = explanation(choice)
    assert "Nearest feasible point: NDCG@64" in text and "load" in text


@pytest.mark.parametrize("asked", [{"quality": 0.99}, {"sla_ms": 0.2}, {"load_qps": 2e4}])
def test_nearest_is_no_farther_than_any_single_change(asked) -> None:
    choice = chosen(**asked)
    assert choice.nearest is not None
    assert all(choice.nearest.distance <= p.distance for p in choice.relaxations.values())


def worthless(**changes):
    """Return a choice among pipelines of which all but one of 0.6 have quality 0."""
    table = QualityTable(
        [replace(p, quality=0.6 if p.quality == 0.6 else 0.0) for p in quality().points]
    )
    found = replace(space(), quality=table)
    return choose(found, Evaluator(found.node, table, queries=QUERIES), need(**changes))


def test_a_quality_of_nothing_is_far_from_any_that_is_asked() -> None:
    near = worthless(quality=0.7)
    assert near.nearest is not None and near.nearest.quality == 0.6
    assert near.nearest.distance == pytest.approx(np.log(0.7 / 0.6))
    anything = worthless(quality=0.0)
    assert anything.chosen is not None and anything.binding is None
    table = QualityTable([replace(p, quality=0.0) for p in quality().points])
    found = replace(space(), quality=table)
    none = choose(found, Evaluator(found.node, table, queries=QUERIES), need(quality=0.5))
    assert none.nearest is not None
    assert none.nearest.quality == 0 and none.nearest.distance == np.inf
    assert none.nearest.moved == ("quality",)
    assert "(quality moved, to 0)" in explanation(none)
    values = json.loads(to_json(choice_json(none)))
    assert values["nearest"]["distance"] is None and values["nearest"]["quality"] == 0


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^quality must be in 0\.\.1, not 92\.25: did you mean"):
        need(quality=92.25)
    with pytest.raises(ValueError, match=r"^load_qps must be positive, not 0$"):
        need(load_qps=0.0)
    with pytest.raises(ValueError, match=r"^sla_ms must be positive, not inf$"):
        need(sla_ms=float("inf"))


def test_answer_is_json_and_text_and_the_same_again() -> None:
    first, second = choice_json(chosen()), choice_json(chosen())
    assert to_json(first) == to_json(second)
    values = json.loads(to_json(first))
    assert values["chosen"]["feasible"] and values["chosen"]["quality_source"] == "test"
    assert [what_if["load_qps"] for what_if in values["what_if"]] == [25.0, 100.0]
    assert values["pipelines"][0] == values["chosen"]
    table = choice_text(chosen(), rows=3).splitlines()
    assert "pipelines at 50 queries/s" in table[0]
    assert len([line for line in table if line.startswith(("small", "large", "retrieval"))]) >= 3
    refused = choice_json(chosen(quality=0.99))
    assert refused["chosen"] is None and refused["nearest"]["moved"] == ["quality"]
    assert np.isfinite(refused["reach"]["load"])
