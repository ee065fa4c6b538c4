import json
from collections import Counter
from dataclasses import replace
from math import inf, nan

import pytest

from rpaccel.main_job.paper_figure import OURS, PAPER, Panel, PaperFigure, Series
from rpaccel.main_job.paper_points import FIGURE_7, FIGURE_8, FIGURE_14_COMMODITY
from rpaccel.main_job.serving_curves import (
    CONTENDED,
    DEPTHS,
    NODE,
    RELEASED,
    fit_contention,
    node_stations,
    served_figure_7,
    served_figure_8,
    served_figure_12,
    served_figure_14,
    within,
)
from rpaccel.main_job.serving_page import (
    ratios_of,
    run_serving_figures,
    serving_text,
    write_serving,
)
from rpaccel.main_job.serving_shapes import (
    AHEAD,
    BUSY,
    HARNESSES,
    HOLDS,
    SCRIPTS,
    STEADY,
    curve_of,
    depth_shape,
    order_shape,
    overtaking_shape,
    ratio_shape,
)
from rpaccel.results import to_json

QUERIES = 2000


@pytest.fixture(scope="module")
def study():
    return run_serving_figures(QUERIES, 1, progress=lambda _: None)


def by_what(study):
    return {(shape.figure, shape.what, shape.harness): shape for shape in study.shapes}


def test_all_points_of_the_paper_are_there(study):
    seven, eight = study.figures[:2]
    for name, curve in FIGURE_7.items():
        assert curve_of(seven, name, PAPER) == curve
    for name, curve in FIGURE_8.items():
        assert curve_of(eight, name, PAPER) == curve
    bars = curve_of(study.figures[3], "one stage", PAPER)
    assert bars["CPU 500"] == FIGURE_14_COMMODITY["CPU"][500][0] == 222.0
    assert "CPU 2000" not in bars  # not met


def test_figure_7_in_shape(study):
    seven = study.figures[0]
    one, two, three = (curve_of(seven, depth + CONTENDED) for depth in DEPTHS)
    plain = curve_of(seven, "one stage")
    assert plain[500] < one[500]
    assert two[333] < three[333] < one[333]
    assert plain[10] == pytest.approx(54.8, rel=0.02)
    shape = by_what(study)["7", "one stage over two stages at 500 queries/s", BUSY.name]
    assert shape.paper == "3.96x"
    assert float(shape.ours.rstrip("x")) > 2
    depth = "depth with the shortest tail, of loads with two or more"
    assert by_what(study)["7", depth, BUSY.name].holds == "size"


def test_contention_is_of_one_curve_below_the_knee():
    found = fit_contention(QUERIES, 1)
    assert 0.01 < found.per_engine < 0.03
    # What it gives at a low load is the logs' time, and it grows with the load.
    stations = node_stations(NODE["CPU"][0], found)
    assert stations(1.0)[0].service_s < 1.01 * stations(0.0)[0].service_s
    assert stations(500)[0].service_s > 1.5 * stations(0.0)[0].service_s


def test_figure_8_in_shape(study):
    eight = study.figures[1]
    cpu = curve_of(eight, "CPU, two stages" + RELEASED)
    front = curve_of(eight, "GPU-CPU, two stages" + RELEASED)
    alone = curve_of(eight, "GPU, one stage" + RELEASED)
    assert cpu[50] / front[50] == pytest.approx(36.6 / 16.4, rel=0.02)
    assert alone[25] == pytest.approx(12.2)
    assert max(alone) < max(front) < max(cpu)
    assert within("GPU", 70, 25, QUERIES, 1, released=True) == 92.47
    assert 85 < within("CPU", 70, 25, QUERIES, 1, released=True) < 92
    assert within("CPU", 70, 1, QUERIES, 1, released=True) == 0


def test_figure_12_in_shape(study):
    shapes = by_what(study)
    name = SCRIPTS.name
    assert shapes["12", "8,8 over 8,2 at 250 queries/s", name].holds == "size"
    more = "several stages over the baseline: load within 6 ms"
    assert shapes["12", more, name].ours == "6.15x"
    steady = shapes["12", more, STEADY.name]
    assert (steady.ours, steady.holds) == ("not met", "no")
    assert shapes["12", "8,16 over 8,8 at 2000 queries/s", name].holds == "no"
    twelve = study.figures[2]
    assert curve_of(twelve, "two stages")[100] == pytest.approx(1.394, abs=0.1)
    assert curve_of(twelve, "one stage" + RELEASED)[100] == pytest.approx(2.091, abs=1e-3)
    assert 500 not in curve_of(twelve, "one stage")  # saturates at 478


def test_figure_14_takes_the_same_curves(study):
    fourteen = study.figures[3]
    assert (
        curve_of(fourteen, "two stages")["CPU 500"]
        == curve_of(study.figures[0], "two stages" + CONTENDED)[500]
    )
    assert curve_of(fourteen, "one stage" + RELEASED)["accelerator 100"] == pytest.approx(
        2.091, abs=1e-3
    )


def test_ratios_by_hand():
    def series(label, source, **points):
        return Series(label=label, source=source, points=tuple((k, v) for k, v in points.items()))

    panel = Panel(x="x", y="y", series=(
        series("a", OURS, p=2.0, q=8.0, r=1.0),
        series("a, more", OURS, p=3.0),
        series("b", OURS, p=1.0),
        series("a", PAPER, p=1.0, q=1.0, s=4.0),
    ))  # fmt: skip
    figure = PaperFigure(stem="f", title="Figure 9: it", panels=(panel,))
    first, second = ratios_of(figure)
    assert (first.curve, first.points, first.least, first.most) == ("a", 2, 2.0, 8.0)
    assert first.mean == pytest.approx(4.0)
    assert (second.curve, second.mean) == ("a, more", pytest.approx(3.0))
    with pytest.raises(ValueError, match=r"^f must have paper: b"):
        curve_of(figure, "b", PAPER)


@pytest.mark.parametrize(
    ("paper", "ours", "text", "holds"),
    [
        (3.0, 2.0, "2.00x", "size"),
        (3.0, 1.9, "1.90x", "direction"),
        (3.0, 4.6, "4.60x", "direction"),
        (3.0, 0.9, "0.90x", "no"),
        (0.7, 1.1, "1.10x", "no"),
        (0.7, 0.6, "0.60x", "size"),
        (3.0, inf, "not met", "no"),
        (3.0, nan, "not met", "no"),
        (0.7, 0.0, "not met", "no"),
        (0.9, 1.0, "1.00x", "no"),
    ],
)
def test_a_ratio_holds_only_if_it_is_met_and_goes_the_same_way(paper, ours, text, holds):
    shape = ratio_shape("9", "x", STEADY, paper, ours)
    assert (shape.ours, shape.holds, shape.harness) == (text, holds, "Poisson, p99")


@pytest.mark.parametrize(
    ("second", "text", "holds"),
    [
        ({100: 3.0, 200: 2.9, 300: 2.8}, "300 queries/s", "size"),
        ({100: 3.0, 200: 1.9, 300: 2.8}, "200 queries/s", "size"),
        ({100: 3.0, 200: 3.0, 300: 3.5, 900: 4.0}, "900 queries/s", "direction"),
        ({100: 3.0, 200: 3.0, 300: 3.5}, "never", "no"),  # never faster
        ({100: 0.5, 200: 1.0, 300: 1.5}, "never", "no"),  # always faster: overtakes nothing
        ({100: 3.0}, "never", "no"),  # does not settle
    ],
)
def test_one_overtakes_the_other_or_does_not(second, text, holds):
    first = {100: 1.0, 200: 2.0, 300: 3.0}
    paper = ({100: 1.0, 250: 5.0, 400: 1.0}, {100: 2.0, 250: 4.0})
    shape = overtaking_shape("9", "x", SCRIPTS, paper, (first, second))
    assert (shape.paper, shape.ours, shape.holds) == ("250 queries/s", text, holds)
    with pytest.raises(ValueError, match=r"^curves of the paper must cross for 'x'"):
        overtaking_shape("9", "x", SCRIPTS, (first, {100: 2.0, 200: 3.0}), (first, second))


@pytest.mark.parametrize(
    ("ours", "holds"),
    [
        ((500, 300, 200), "size"),
        ((500, 100, 90), "direction"),
        ((500, 100, 100), "no"),
        ((200, 300, 250), "no"),
    ],
)
def test_an_order_is_kept_or_is_not(ours, holds):
    assert order_shape("9", "x", AHEAD, (500, 333, 201), ours).holds == holds


def figure_of_depths(paper, ours):
    """Return a figure with tails of one, two and three stages by load."""
    series = tuple(
        Series(label=depth, source=source, points=tuple(curve.items()))
        for source, curves in ((PAPER, paper), (OURS, ours))
        for depth, curve in zip(DEPTHS, curves, strict=True)
    )
    panel = Panel(x="x", y="y", series=series)
    return PaperFigure(stem="f", title="Figure 9: it", panels=(panel,))


@pytest.mark.parametrize(
    ("ours", "text", "holds"),
    [
        (({1: 2, 2: 3, 3: 9}, {1: 3, 2: 2, 3: 8}, {}), "the same at 3 of 3", "size"),
        (({1: 2, 2: 3, 3: 9}, {1: 3, 2: 2}, {}), "2 of 3 (3: two, ours one)", "direction"),
        (({1: 2, 2: 3}, {1: 3, 2: 2}, {3: 1}), "2 of 3 (3: two, ours none)", "direction"),
        (({1: 2}, {}, {}), "1 of 3 (2: two, ours none; 3: two, ours none)", "no"),
        (({}, {}, {}), "0 of 3", "no"),
    ],
)
def test_a_depth_that_does_not_settle_loses(ours, text, holds):
    paper = ({1: 1, 2: 2, 3: 3, 4: 4}, {1: 2, 2: 1, 3: 1}, {})  # at 4 one depth: no choice
    shape = depth_shape(figure_of_depths(paper, ours), "9", STEADY)
    assert text in shape.ours and shape.holds == holds


def test_every_harness_is_counted(study):
    names = [each.name for each in HARNESSES]
    assert {shape.harness for shape in study.shapes} == set(names)
    assert len(by_what(study)) == len(study.shapes)  # each thing once a harness
    found = Counter((shape.harness, shape.holds) for shape in study.shapes)
    lines = serving_text(study).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    counts = {row[0]: [int(cell) for cell in row[1:]] for row in rows if row[0] in names}
    assert counts == {name: [found[name, kind] for kind in HOLDS] for name in names}


def test_what_does_not_hold_is_explained(study):
    missed = [shape for shape in study.shapes if shape.holds == "no"]
    assert missed and all(shape.why for shape in missed)
    (gpu,) = [s.why for s in study.shapes if (s.figure, s.harness) == ("14", AHEAD.name)]
    assert "one stage on the GPU saturates at 161 queries/s, the first of two at 213" in gpu
    assert "on the accelerator two saturate at 2,389, three at 1,795" in gpu


def test_page_and_plots(study, tmp_path):
    text = serving_text(study)
    assert "Written by `rpaccel serving-figures`" in text
    assert text.count("## Figure") == 4
    last = replace(study, figures=study.figures[3:])
    assert [path.suffix for path in write_serving(last, tmp_path)] == [".png", ".svg"]
    assert study.figures[2] == served_figure_12(QUERIES, 1)  # same input, same output
    values = json.loads(to_json(study))
    assert values["queries"] == QUERIES
    assert len(values["shapes"]) == len(study.shapes)
    with pytest.raises(ValueError, match=r"^queries must be at least 1000, not 10"):
        run_serving_figures(10)


def test_figures_take_queries_and_seed():
    for make in (served_figure_7, served_figure_8, served_figure_12, served_figure_14):
        assert make(1000, 3).panels[0].series != make(1000, 4).panels[0].series
