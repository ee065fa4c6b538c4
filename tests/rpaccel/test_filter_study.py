from pathlib import Path

import pytest

from rpaccel.main_job.filter_study import filter_text, filter_values, run_filter_study
from rpaccel.spec.isa import BINS
from rpaccel.workloads.filter_study import Choice
from tests.markdown import table

PAGE = Path(__file__).parents[2] / "docs" / "generated" / "filter.md"


@pytest.mark.slow
def test_the_page_of_a_synthetic_log():
    tables = run_filter_study("synthetic", users=8)
    values = filter_values(tables)
    assert len(values) == sum(map(len, tables.values())) > 100
    text = filter_text(tables)
    assert text == filter_text(run_filter_study("synthetic", users=8))
    assert text.count("## ") == len(tables) == 13
    at_least = [row for row in values if row["table"].endswith("at least k")]
    assert len(at_least) == 60
    assert all(row["recall"] == 1 for row in at_least)


def test_the_page_names_its_options():
    row = Choice(
        name="calibrated", bins=16, overshoot_median=1.0, overshoot_p95=2.0, recall=1.0,
        ndcg_change=0.0, underfilled=0.0, stored=0.5,
    )  # fmt: skip
    tables = {"a log: k = 4, NDCG@2, at least k": [row]}
    bare = filter_text(tables)
    opening = PAGE.read_text().split("\n## ")[0]
    assert bare.split("\n## ")[0] == opening
    named = filter_text(tables, data="synthetic", users=8, seed=3)
    assert "`rpaccel filter-study --data synthetic --users 8 --seed 3 --out docs/" in named
    assert named.replace(" --data synthetic --users 8 --seed 3", "") == bare


@pytest.mark.parametrize("verb", ["filter-study", "calibrate"])
def test_a_study_needs_a_user(rpaccel, verb):
    status, _, error = rpaccel(verb, "--users", 0)
    assert status == 2 and "Invalid value for '--users'" in error


def test_calibrated_edges_keep_the_goal_on_movielens():
    """At most 10 % above k in the median, with the bins of the machine."""
    lines = PAGE.read_text().splitlines()
    (start,) = [
        n for n, line in enumerate(lines) if line[:9] == "## ml-100" and line.endswith("at least k")
    ]
    head, rows = table(lines[start:], "choice")
    found = {
        int(row[head.index("bins")]): float(row[head.index("over k, median [%]")])
        for row in rows
        if row[0] == "calibrated"
    }
    assert sorted(found) == [4, 8, 16, 32, 64]
    assert 0 <= found[BINS] <= 10
