import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rpaccel.main_job import explorer, explorer_space
from rpaccel.main_job.area_page import GATES_EACH, area_of
from rpaccel.main_job.explorer_points import TERMS, latency_terms
from rpaccel.main_job.explorer_space import FIGURES, ItemLink, find_offer, spaces_of, stage_uj
from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.energy import energy_uj, query_activity
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.point_events import lanes_of_point, point_machine, point_query
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import RESULT
from rpaccel.spec.sweep import SweepSpec, load_sweep
from tests.rpaccel.explorer_case import CANDIDATES, SPEC, points_of

PAGES = Path(__file__).parents[2] / "docs" / "generated"
BROWSER = "tests/rpaccel/test_explorer_browser.py"
MINIMISED = [name for name, more in FIGURES.items() if not more]


def quiet(_line):
    pass


@pytest.fixture(scope="module")
def offer():
    return find_offer(SPEC, CANDIDATES, progress=quiet)


@pytest.fixture(scope="module")
def data(offer):
    return explorer.page_data(offer, step=0, progress=quiet)


def costs(points):
    """Return the figures, less is better: float[points, figures]."""
    return np.array(
        [[-row[name] if more else row[name] for name, more in FIGURES.items()] for row in points]
    )


def test_nothing_evaluated_beats_the_front(offer):
    every = []
    for space in offer.spaces.values():
        columns = evaluate(space, 0, space.points).columns
        splits = [str(split) for split in space.axes.split]
        table = pl.DataFrame(columns | {"split": np.array(splits)[columns["split"]]})
        every.append(explorer_space._figures(space, table, offer.platform))
    assert sum(map(len, every)) == offer.evaluated
    all_costs = costs(pl.concat(every).iter_rows(named=True))
    front = costs(offer.points.iter_rows(named=True))
    for point in front:
        beats = np.all(all_costs <= point, axis=1) & np.any(all_costs < point, axis=1)
        assert not beats.any()
    for point in all_costs:
        assert np.all(front <= point, axis=1).any()


@pytest.mark.parametrize("step", [0.01, 0.1])
def test_fewer_points_are_no_worse_than_a_step(offer, step):
    kept = explorer.thinned(offer.points, step)
    assert 0 < len(kept) < len(offer.points)
    shipped, front = (
        {name: table[name].to_numpy() for name in FIGURES} for table in (kept, offer.points)
    )
    for place in range(len(offer.points)):
        near = shipped["ndcg"] >= front["ndcg"][place]
        for name in MINIMISED:
            near &= shipped[name] < front[name][place] * (1 + step) * (1 + 1e-12)
        near &= shipped["qps"] > front["qps"][place] / (1 + step) / (1 + 1e-12)
        assert near.any()


def test_figures_are_those_of_the_rooms(offer):
    row = offer.points.row(len(offer.points) // 2, named=True)
    space = offer.spaces[row["candidates"]]
    point, link = space.point(row["number"]), ItemLink.of(offer.platform, row["candidates"], 64)
    cycles = evaluate(space, row["number"], row["number"] + 1).columns
    # RecPipe's artifact: 40 us each way, 23.4 ns per item in.
    assert 1e6 * link.in_s == pytest.approx(40 + 0.0234 * row["candidates"], rel=1e-3)
    seconds = cycles["latency_cycles"][0] / 250e6 + link.in_s + link.out_s
    assert row["latency_ms"] == pytest.approx(1e3 * seconds)
    rate = min(250e6 / cycles["interval_cycles"][0], 6.67e9 / 156 / row["candidates"])
    assert row["qps"] == pytest.approx(rate)
    assert row["area_mm2"] == pytest.approx(
        sum(part.mm2 for part in area_of(space.config(point), GATES_EACH).rows)
    )
    machine = point_machine(space, point)
    lanes = [lanes[0] for lanes in lanes_of_point(point)]
    networks = [network for network, _ in space.workload.stages]
    stages = [
        (network, machine.lanes[lane][network.name], items, lane)
        for network, lane, items in zip(networks, lanes, (row["candidates"], row["k"]), strict=True)
    ]
    activity = query_activity(
        machine.config, stages, space.records(point.beat_bytes), machine.row_hits,
        bytes_in=156 * row["candidates"], bytes_out=64 * RESULT.bytes, served=64,
    )  # fmt: skip
    parts = Counter(stage_uj(space, point, 0)) + Counter(stage_uj(space, point, 1))
    assert parts == pytest.approx({name: uj for name, uj in energy_uj(activity).items() if uj})
    assert row["query_uj"] == pytest.approx(sum(energy_uj(activity).values()))


def test_the_area_of_paper_is_that_of_its_page():
    lines = (PAGES / "area.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    stated = {row[0]: (row[3], float(row[4])) for row in cells if len(row) == 6 and "." in row[4]}
    for row in area_of(load_accelerator("paper"), GATES_EACH).rows:
        gates, mm2 = stated[row.name]
        assert row.mm2 == pytest.approx(mm2, abs=6e-4)
        assert gates == (f"{row.gates:,.0f}" if row.gates else "-")
    assert len(stated) == 13


def test_one_lane_splits_nothing():
    (space,) = spaces_of(SPEC, (1024,)).values()
    lone, four = (space.point(n) for n in (0, space.family_points))
    assert (str(lone.split), str(four.split)) == ("1*4x4", "4*2x2")
    one, several = (area_of(space.config(point), GATES_EACH) for point in (lone, four))
    assert one.fission == 0
    assert several.fission > 0
    assert several.mm2(ideas=False) == pytest.approx(one.mm2(ideas=False))


def test_terms_cover_every_cycle_once(offer):
    both = 0
    for row in offer.points[:: max(1, len(offer.points) // 12)].iter_rows(named=True):
        space = offer.spaces[row["candidates"]]
        point = space.point(row["number"])
        load = [point_query(space, point)]
        report = simulate(point_machine(space, point), load, sub_batches=True)
        terms = latency_terms(report)
        query = report.queries[0]
        assert sum(terms) == query.total_cycles

        def cycles(*spans, query=query):
            within = range(query.accepted, query.end)
            return {cycle for span in spans for cycle in range(*span) if cycle in within}

        layers, gathers = [], []
        for stage in (0, 1):
            mine = [batch for batch in report.sub_batches if batch.stage == stage]
            layers.append(
                cycles(*((b.taken, b.crossed) for b in mine), *((b.chosen, b.logit) for b in mine))
            )
            gathers.append(cycles(*((b.gathering, b.gathered) for b in mine)))
        both_layers = layers[0] | layers[1]
        expected = [layers[0] & layers[1], layers[0] - layers[1], layers[1] - layers[0]]
        expected += [gathers[0] - both_layers, gathers[1] - gathers[0] - both_layers]
        assert list(terms[:5]) == list(map(len, expected))
        assert dict(zip(TERMS[1:-1], terms, strict=True))["scores and filter"] > 0
        both += terms[0]
    assert both > 0


def test_the_page_holds_what_it_shows(offer, data):
    points = points_of(data)
    assert len(points) == len(offer.points) == data["front"]
    assert data["evaluated"] == offer.evaluated
    for point, row in zip(points, offer.points.iter_rows(named=True), strict=True):
        for name in FIGURES:
            assert point[name] == pytest.approx(row[name], rel=1e-5)
        assert sum(data["areas"][point["area"]]) == pytest.approx(point["area_mm2"], rel=1e-4)
        assert sum(point["energy_uj"]) == pytest.approx(point["query_uj"], rel=1e-4)
        link = point["terms_us"][0] + point["terms_us"][-1]
        assert sum(point["terms_us"]) == pytest.approx(link + point["event_cycles"] / 250, rel=1e-4)
        items = Counter()
        for stage, _, count, start, gathered, computing, end, scored, gathers, logits in point[
            "tasks"
        ]:
            items[stage] += count
            size = point["back_sub_batch" if stage else "front_sub_batch"]
            assert len(gathers) == len(logits) == -(-count // size)
            assert 0 <= start < gathered and computing < end < scored <= point["ends"][stage]
            assert [start + gathers[-1], start + logits[-1]] == [gathered, end]
        assert items == {0: point["candidates"], 1: point["k"]}
        assert point["ends"][-1] <= point["event_cycles"]
    errors = [point["latency_cycles"] / point["event_cycles"] - 1 for point in points]
    stated = data["closed_form_error"]
    assert [stated["lowest"], stated["highest"]] == pytest.approx(
        [min(errors), max(errors)], rel=1e-5
    )
    assert stated["mean"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-5)
    assert stated["mean"] < 0.05


def test_the_page_needs_nothing_else(data):
    html = explorer.page_html(data)
    assert not re.findall(r"@[A-Z]+@", html)
    outside = html.replace(explorer.SVG_NAMESPACE, "")
    for word in ("http:", "https:", "//cdn", "fetch(", "XMLHttp", "import ", "import(", "@import"):
        assert word not in outside, word
    assert re.findall(r'(?:src|href)="([^"]*)"', html) == ["data:,"]
    assert "default-src 'none'" in html
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert json.loads(text) == json.loads(json.dumps(data))
    with pytest.raises(ValueError, match="not JSON compliant"):
        explorer.page_html(data | {"step": float("nan")})
    evil = explorer.page_html(data | {"spec": "</script><b>"})
    assert evil.count("</script>") == html.count("</script>")


def test_the_target_of_the_browser_fails_without_one():
    """Not skipped, as in all tests."""
    asked = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", BROWSER]
    where = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "", "REQUIRE_BROWSER": "1"}
    done = subprocess.run(
        asked, env=os.environ | where, cwd=PAGES.parents[1], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "needs Chromium: apt-get install" in done.stdout
    target = (PAGES.parents[1] / "Makefile").read_text().split("\ntest-browser:")[1]
    assert "REQUIRE_BROWSER=1" in target.splitlines()[1]


def test_the_same_bytes_again(data, tmp_path):
    for name in ("a", "b"):
        summary = explorer.write_explorer(
            SPEC, tmp_path / name, candidates=CANDIDATES, step=0, progress=quiet
        )
    first, second = ((tmp_path / name / "report.html").read_bytes() for name in ("a", "b"))
    assert first == second == explorer.page_html(data).encode()
    assert summary["bytes"] == len(first)
    assert f"{summary['shipped']:,} on the page" in explorer.report_text(summary)


@pytest.mark.slow
def test_the_counts_of_the_default_sweep_are_those_of_the_docs(tmp_path):
    text = (PAGES.parent / "explorer.md").read_text()
    summary = explorer.write_explorer(load_sweep("criteo"), tmp_path, progress=quiet)
    html = (tmp_path / "report.html").read_text()
    error = json.loads(re.search(r'"closed_form_error":(\{[^}]*\})', html)[1])
    for fact in (
        f"{summary['evaluated']:,} points, about a minute",
        f"({summary['front']:,} points of `criteo`)",
        f"are one: {summary['shipped']:,} are on the page",
        f"off from it by {100 * error['mean']:.2f} % of the cycles on average",
        f"{100 * error['lowest']:+.1f} % to {100 * error['highest']:+.1f} %",
    ):
        assert fact in text


def changed(**axes):
    values = SPEC.model_dump(by_alias=True)
    return SweepSpec.model_validate(values | {"axes": values["axes"] | axes})


@pytest.mark.parametrize(
    ("spec", "candidates", "message"),
    [
        (SPEC.model_copy(update={"workload": "movielens"}), (4096,), "workload must be criteo"),
        (changed(memory_latency_cycles=[50, 100]), (4096,), "memory_latency_cycles must be one"),
        (SPEC, (), "candidates must be given, each once"),
        (SPEC, (4096, 4096), "candidates must be given, each once"),
        (SPEC, (256,), "k must have a value below 256 candidates"),
        (SPEC, (4000,), "candidates must be one of 256, .* not 4000"),
        (SPEC, (8192,), "candidates must be at most 4096 on paper, not 8192"),
        (changed(k=[64]), (4096,), r"k must be in 128\.\.4096, not 64"),
    ],
)
def test_rejects(spec, candidates, message):
    with pytest.raises(ValueError, match=message):
        spaces_of(spec, candidates)


def test_rejects_steps(offer):
    for step in (-0.1, 0.6, float("nan")):
        with pytest.raises(ValueError, match=r"step must be in 0\.\.0\.5, not"):
            explorer.thinned(offer.points, step)


def test_k_stays_below_the_candidates():
    spaces = spaces_of(changed(k=[256, 512, 1024]), (512, 1024, 4096))
    assert {n: space.axes.k for n, space in spaces.items()} == {
        512: (256,), 1024: (256, 512), 4096: (256, 512, 1024),
    }  # fmt: skip
    assert [space.candidates for space in spaces.values()] == [512, 1024, 4096]
