"""`rpaccel recpipe`: a small search, its page and plots; measured quality behind retrieval."""

import json
import re
from collections import Counter
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest
import yaml

from rpaccel import schedule_verbs
from rpaccel.main_job.paper_points import FIGURE_7
from rpaccel.main_job.quality import make_scorers, pipeline_points, quality_points
from rpaccel.main_job.recpipe import RecPipeAsk, run_recpipe
from rpaccel.main_job.schedule import lane_splits
from rpaccel.main_job.slowdown_fit import fit_slowdown
from rpaccel.scheduler.criteo_node import criteo_node
from rpaccel.scheduler.funnel_quality import criteo_quality
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_space import RecPipeSpace
from rpaccel.scheduler.slowed import SHARES, slowed_tails
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.recpipe import load_recpipe


@pytest.fixture
def small(tmp_path):
    """Write a search without a card: nothing of it takes long."""
    spec = load_recpipe("criteo").model_dump(mode="json")
    spec |= {
        "name": "small",
        "devices": ["cpu", "gpu"],
        "splits": ["1*4x4"],
        "batch_items": [0, 1024],
        "loads_qps": [20, 70, 500],
        "queries": 400,
        "slowdown": {},
        "slices": spec["slices"] | {"sla_ms": 6.0},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def ask(path, **changes) -> RecPipeAsk:
    asked = {
        "spaces": (str(path),), "wide": None, "population": 24, "generations": 8, "seeds": 2,
        "data": "synthetic", "preset": "edge", "profile": None, "seed": 3,
    }  # fmt: skip
    return RecPipeAsk(**(asked | changes))


def test_page_has_the_fronts_and_the_slices(small, tmp_path) -> None:
    text, values = run_recpipe(ask(small), tmp_path / "out", lambda _: None)
    found = values["small"]
    assert f"{found['candidates']:,} candidates" in text
    assert set(found["slices"]) == {"cpu", "cpu + gpu"}
    for point in found["slices"]["cpu + gpu"]["throughput"]:
        assert point["load_qps"] == 500 and point["pipeline"] in text
    for point in [*found["front"], *found["slices"]["cpu + gpu"]["latency"]]:
        longer = point["longer_ms"]
        assert longer["low"] <= longer["value"] <= longer["high"]
        assert longer["queries"] == 1 << 17
        assert point["within_sla"] in ("passes", "fails", "open")
    shown = found["slices"]["cpu + gpu"]["latency"][0]["longer_ms"]
    assert f"{shown['value']:.4g} [{shown['low']:.4g}, {shown['high']:.4g}]" in text
    verdicts = Counter(point["within_sla"] for point in found["front"])
    assert (
        f"Within 6 ms: {verdicts['passes']} surely, {verdicts['fails']} surely not, "
        f"{verdicts['open']} open."
    ) in text
    assert verdicts["passes"] and verdicts["fails"]
    assert all("gpu" not in p["pipeline"] for p in found["slices"]["cpu"]["quality"])
    assert [run["seed"] for run in found["genetic"]] == [3, 4]
    for run in found["genetic"]:
        assert 0 < run["ratio"] <= 1 + 1e-12 and f"{run['ratio']:.4f}" in text
    assert found["card"] == []
    assert "What is not covered" in text
    folder = tmp_path / "out"
    names = ("front", "iso_quality", "iso_latency", "iso_throughput")
    for name in names:
        assert (folder / f"small_{name}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "fronts.json").read_text()) == values
    again, _ = run_recpipe(ask(small), tmp_path / "again", lambda _: None)
    assert again == text
    assert (folder / "small_front.png").read_bytes() == (
        tmp_path / "again" / "small_front.png"
    ).read_bytes()


def test_page_names_its_command_servers_and_queries(small, tmp_path) -> None:
    asked = ask(small)
    text, _ = run_recpipe(asked, tmp_path / "out", lambda _: None)
    assert f"`{asked.command}`" in text
    assert "every p99 is of the last 360." in text  # of 400: a tenth is warm-up
    assert "Servers: cpu 64, gpu 1." in text and "RecPipe's artifact" in text
    assert "do not slow each other down" in text
    assert "films" not in text and "ml-100k" not in text  # nothing of a space that is not there


def test_page_says_what_the_slowdown_matters(small, tmp_path) -> None:
    text, values = run_recpipe(ask(small), tmp_path / "out", lambda _: None)
    assert "### Requests that slow each other down" not in text and values["small"]["slowed"] == []
    wanted = yaml.safe_load(small.read_text()) | {"slowdown": {"cpu": 0.021}}
    small.write_text(yaml.safe_dump(wanted))
    text, values = run_recpipe(ask(small), tmp_path / "out", lambda _: None)
    assert "Of the cpu a request takes 2.1 % longer for each other" in text
    assert "do not slow each other down" not in text
    table = text.split("### Requests that slow each other down")[1]
    rows = [row for row in values["small"]["slowed"] if row["whole"] and row["load_qps"] == 500]
    assert [row["stages"] for row in rows] == [1, 2, 3]
    for row, name, paper in zip(
        rows, ("one stage", "two stages", "three stages"), ("222.0", "56.0", "83.4"), strict=True
    ):
        cells = [f"{t:.1f}" if t != float("inf") else "not met" for t in row["tails_ms"]]
        line = next(
            line for line in table.splitlines()
            if re.match(rf"\| +{name} +\| +whole +\| +500 ", line)
        )  # fmt: skip
        assert [cell.strip() for cell in line.split("|")[4:-1]] == [*cells, paper]


@pytest.mark.parametrize("name", ["criteo", "criteo_wide"])
def test_the_shipped_slowdown_is_the_one_that_is_fitted(name) -> None:
    assert load_recpipe(name).slowdown == {"cpu": pytest.approx(fit_slowdown(), abs=1e-9)}


def test_tails_of_deeper_pipelines_follow_from_the_fit() -> None:
    spec = load_recpipe("criteo").model_copy(update={"devices": ("cpu",)})
    space = RecPipeSpace(spec=spec, node=criteo_node(spec), quality=criteo_quality())
    evaluator = Evaluator(space.node, space.quality, queries=spec.queries)
    rows = slowed_tails(space, evaluator, (100.0, 333.0, 500.0))
    tails = {(row.stages, row.load_qps): row.tails_ms for row in rows if row.whole}
    at = SHARES.index(1.0)
    for stages, name in ((2, "two stages"), (3, "three stages")):
        for load in (100.0, 333.0, 500.0):
            ratio = tails[stages, load][at] / FIGURE_7[name].get(load, tails[stages, load][at])
            assert 0.8 < ratio < 1.2, (name, load, ratio)
    without = tails[2, 500.0][SHARES.index(0.0)] / FIGURE_7["two stages"][500]
    assert without < 0.7


def test_command_has_what_is_not_the_default() -> None:
    assert RecPipeAsk().command == "rpaccel recpipe"
    asked = RecPipeAsk(spaces=("movielens",), wide=None, seeds=1, profile=Path("a b.json"))
    assert (
        asked.command
        == "rpaccel recpipe --spaces movielens --wide '' --seeds 1 --profile 'a b.json'"
    )
    defaults = {
        name: parameter.default
        for name, parameter in signature(schedule_verbs.recpipe).parameters.items()
    }
    for field in fields(RecPipeAsk):
        value = ",".join(field.default) if field.name == "spaces" else field.default
        assert defaults[field.name] == value


def test_wide_needs_a_space_beside_it(small, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"^spaces must name at least one search, not none$"):
        run_recpipe(ask(small, spaces=()), tmp_path, print)
    with pytest.raises(ValueError, match=r"^search must be one of criteo, criteo_launches, "):
        run_recpipe(ask(small, spaces=("huge",)), tmp_path, print)


def test_lanes_of_a_preset_fit_into_its_array() -> None:
    assert [str(split) for split in lane_splits(load_accelerator("edge"))] == ["1*2x2"]
    paper = [str(split) for split in lane_splits(load_accelerator("paper"))]
    assert paper == ["1*4x4", "1*2x4", "4*2x2", "8*1x1"]


def test_quality_behind_retrieval_is_measured(job) -> None:
    points = pipeline_points(make_scorers(job))
    keys = [(p["models"], p["later"], p["devices"], p["retrieval"]) for p in points]
    assert len(set(keys)) == len(keys)
    behind = [point for point in points if point["retrieval"]]
    assert {point["retrieval"] for point in behind} == {64, 128, 256, 512}
    assert all(point["later"] < point["retrieval"] for point in behind)
    table = quality_points({"points": points}, 370)
    assert all(point.funnel.items[0] <= 370 for point in table)
    whole = {p["quality"] for p in points if p["models"] == ("large",) and not p["retrieval"]}
    some = {p["quality"] for p in behind if p["models"] == ("large",) and p["retrieval"] == 64}
    assert some.isdisjoint(whole)
