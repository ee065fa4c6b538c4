import json

import numpy as np
import pytest

from rpaccel.scheduler.choice import choose
from rpaccel.scheduler.cpu_profile import CpuProfile, ModelProfile, ProfilePoint
from rpaccel.scheduler.pipeline import Pipeline, route
from rpaccel.scheduler.plan import PlanInputs, plan, plan_text
from rpaccel.scheduler.plots import pareto_front, plot_quality_latency
from rpaccel.scheduler.search import QualityPoint, QualityTable, enumerate_pipelines
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import load_platform
from rpaccel.spec.workload import SearchSpace, load_workload

QUALITY = {
    (("small",), (1600,)): 0.180,
    (("large",), (1600,)): 0.200,
    (("small", "large"), (1600, 64)): 0.190,
    (("small", "large"), (1600, 128)): 0.195,
    (("small", "large"), (1600, 256)): 0.199,
    (("small", "large"), (1600, 512)): 0.200,
}


def profile(small_s=2e-6, large_s=10e-6):
    def model(per_item_s):
        point = ProfilePoint(items=100, repeats=1, median_s=1e-3, low_s=1e-3, high_s=1e-3)
        return ModelProfile(
            fixed_s=1e-4, per_item_s=per_item_s, worst_fit_error=0.0, ratios=(1.0,), points=(point,)
        )

    return CpuProfile(
        command="none", machine={}, models={"small": model(small_s), "large": model(large_s)}
    )


def cycles(models, items, top_n):
    rates = {"small": 20, "large": 100}
    return sum(500 + rates[m] * n for m, n in zip(models, items, strict=True))


def inputs(**requirement):
    workload = load_workload("movielens")
    need = {"load_qps": 50.0, "sla_ms": 25.0, "quality_target": 0.195} | requirement
    workload = workload.model_copy(
        update={"requirement": workload.requirement.model_copy(update=need)}
    )
    return PlanInputs(
        workload=workload,
        platform=load_platform("edge"),
        accelerator=load_accelerator("edge"),
        profile=profile(),
        quality=tuple(QualityPoint(models=m, items=n, quality=q) for (m, n), q in QUALITY.items()),
        cycles=cycles,
        user_bytes=1024,
        queries=4000,
    )


def test_space_of_the_preset():
    space = load_workload("movielens").search
    pipelines = enumerate_pipelines(space)
    assert len(pipelines) == 2 * 2 + 4 * 4  # one stage: models x devices; two: items x placements
    assert len(set(pipelines)) == len(pipelines)
    assert all(len(p.models) == 1 or p.items[1] < p.items[0] for p in pipelines)


def test_space_skips_growing_items():
    space = SearchSpace(models=("a", "b"), first_items=(100,), later_items=(100, 50))
    assert {p.items for p in enumerate_pipelines(space)} == {(100,), (100, 50)}


def test_chooses_the_lowest_tail_that_meets_the_target():
    choice = plan(inputs())
    # Two-stage 1600 -> 128 on the accelerator: 33,800 + 12,800 cycles at 100 MHz is 0.46 ms.
    assert choice.chosen.pipeline == Pipeline(
        models=("small", "large"), items=(1600, 128), devices=("accelerator",) * 2
    )
    assert choice.runner_up.pipeline.items == (1600, 256)
    assert "lost by" in choice.explanation
    assert "most of it service" in choice.explanation
    tails = [e.tail_ms for e in choice.evaluations if e.feasible]
    assert tails == sorted(tails)


def test_chosen_meets_the_sla_up_to_its_limit():
    choice = plan(inputs())
    assert choice.requirement.load_qps < choice.qps_under_sla < choice.chosen.capacity_qps
    assert plan(inputs(load_qps=choice.qps_under_sla * 0.9)).chosen is not None
    table = choice.to_text()
    assert table.splitlines()[0].split()[:2] == ["pipeline", "NDCG@10"]
    assert "It meets the SLA up to" in table


def test_trace_arrivals_are_used():
    wanted = inputs()
    calm = PlanInputs(**(vars(wanted) | {"arrivals_s": np.arange(500) * 0.1}))
    burst = PlanInputs(**(vars(wanted) | {"arrivals_s": np.repeat(np.arange(50) * 1.0, 10)}))
    quiet, busy = plan(calm), plan(burst)
    assert quiet.chosen.latency.max_ms == pytest.approx(quiet.chosen.latency.p50_ms)
    assert busy.chosen.tail_ms > 5 * quiet.chosen.tail_ms
    assert quiet.qps_under_sla is None


def test_accelerator_front_cannot_return_more_than_its_list():
    choice = plan(inputs())
    refused = [e for e in choice.evaluations if "device" in e.misses]
    assert {e.pipeline.items for e in refused} == {(1600, 128), (1600, 256), (1600, 512)}
    assert min(e.reason for e in refused) == "the accelerator returns at most 64 results, not 128"


def test_quality_binds():
    choice = plan(inputs(quality_target=0.3))
    assert choice.chosen is None
    assert choice.binding == "quality"
    assert "NDCG@10 0.3 is asked and the best reaches 0.2" in choice.explanation
    nearest = {r.constraint: r.nearest for r in choice.relaxations}
    assert nearest == {"quality": 0.2}


def test_latency_binds():
    choice = plan(inputs(sla_ms=0.3))
    assert choice.binding == "latency"
    nearest = {r.constraint: r.nearest for r in choice.relaxations}
    best = min(e.tail_ms for e in choice.evaluations if "quality" not in e.misses)
    assert nearest["latency"] == best
    assert "load" not in nearest  # not even an idle system meets it
    assert plan(inputs(sla_ms=best)).chosen is not None  # the nearest point is feasible


def test_load_binds():
    choice = plan(inputs(load_qps=1e5))
    assert choice.binding == "load"
    nearest = {r.constraint: r.nearest for r in choice.relaxations}
    assert 0 < nearest["load"] < 1e5
    assert "load binds" in choice.explanation
    assert plan(inputs(load_qps=nearest["load"] * 0.97)).chosen is not None


def test_nearest_feasible_quality_is_feasible():
    choice = plan(inputs(quality_target=0.3))
    assert plan(inputs(quality_target=choice.relaxations[0].nearest)).chosen is not None


def test_unmeasured_quality_is_never_chosen():
    wanted = inputs()
    empty = PlanInputs(**(vars(wanted) | {"quality": ()}))
    choice = plan(empty)
    assert choice.chosen is None
    assert "none was measured" in choice.explanation


def test_transfers_are_charged_where_stages_cross():
    wanted = inputs()
    judge = wanted.judge()

    def transfer(*devices):
        pipeline = Pipeline(models=("small", "large"), items=(1600, 64), devices=devices)
        return route(pipeline, judge.devices, judge.transfers, 10, 100, 0).transfer_s

    link = wanted.platform.link
    there = 1024 + 4 * 1600
    assert transfer("cpu", "cpu") == 0
    assert transfer("accelerator", "accelerator") == pytest.approx(
        link.seconds(there) + link.seconds(80)
    )
    assert transfer("cpu", "accelerator") == pytest.approx(
        link.seconds(1024 + 256) + link.seconds(80)
    )
    assert transfer("accelerator", "cpu") == pytest.approx(
        link.seconds(there) + link.seconds(64 * 8)
    )


def test_stages_of_one_device_share_its_servers():
    judge = inputs().judge()
    pipeline = Pipeline(models=("small", "large"), items=(1600, 64), devices=("cpu", "cpu"))
    path = route(pipeline, judge.devices, judge.transfers, 10, 100, 0)
    assert [s.name for s in path.stations] == ["cpu"]
    assert path.service_s == pytest.approx(2e-4 + 1600 * 2e-6 + 64 * 10e-6)


def test_same_inputs_same_bytes():
    first, second = inputs(), inputs()
    text = plan_text(first, plan(first))
    assert text == plan_text(second, plan(second))
    answer = json.loads(text)["choice"]
    assert answer["chosen"]["feasible"]
    assert len(answer["pipelines"]) == 20


def test_exact_devices_go_before_the_general_figure():
    pipeline = Pipeline(models=("a",), items=(5,), devices=("cpu",))
    general = QualityPoint(models=("a",), items=(5,), quality=0.1)
    exact = QualityPoint(models=("a",), items=(5,), quality=0.2, devices=("cpu",))
    assert QualityTable([exact, general]).find(pipeline) is exact
    assert QualityTable([general]).find(pipeline) is general
    assert QualityTable([]).find(pipeline) is None


def test_front(tmp_path):
    choice = plan(inputs())
    front = pareto_front(choice.evaluations)
    assert front
    tails = np.array([e.tail_ms for e in front])
    qualities = np.array([e.quality_value for e in front])
    assert (np.diff(tails) >= 0).all()
    assert (np.diff(qualities) > 0).all()
    for evaluation in choice.evaluations:
        if np.isfinite(evaluation.tail_ms) and evaluation.quality:
            assert any(
                e.tail_ms <= evaluation.tail_ms and e.quality_value >= evaluation.quality_value
                for e in front
            )
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        plot_quality_latency(choice, path, "test")
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match=r"^evaluations must hold at least one pipeline"):
        choose([], load_workload("movielens").requirement)
