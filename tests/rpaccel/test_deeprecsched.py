import json
import re
from dataclasses import replace

import pytest

from rpaccel.main_job.deeprecsched import Options, run_deeprecsched
from rpaccel.main_job.deeprecsched_page import deeprecsched_text, deeprecsched_values
from rpaccel.results import to_json
from rpaccel.scheduler.deeprec_study import REPEATS
from rpaccel.scheduler.deeprecsched import GAIN
from rpaccel.scheduler.intervals import mean_interval

pytestmark = pytest.mark.slow  # searches of every scheme
OPTIONS = Options(cores=8, sizes="fixed:200", queries=400, seed=1)


@pytest.fixture(scope="module")
def results():
    said = []
    return run_deeprecsched(["assumed"], ["ncf"], OPTIONS, 1, said.append), said


def test_page_has_every_section(results):
    text = deeprecsched_text(*results[0])
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert heads == [
        "# DeepRecSched", "## Published service times, the missing ones assumed", "## Drift",
        "## Two models on one node", "## A cap of 200 W",
    ]  # fmt: skip
    assert "`rpaccel deeprecsched`" in text
    assert "Kairos" in text
    assert len(re.findall(r"\| +ncf +\|", text)) == 7  # three targets, twice, and the cap
    assert results[1][-1] == "drift, colocation, cap"


def test_page_has_intervals_of_gains_and_loads(results):
    text = deeprecsched_text(*results[0])
    gains, loads = text.split("Million queries")[0], text.split("Loads [queries/s] of these")[1]
    case = results[0][0][0].cases[1]
    mean, half = mean_interval(case.peaks["ours"])
    row = next(line for line in loads.splitlines() if re.match(r"\| +ncf \| +5 \|", line))
    assert f"| {mean:.0f} ± {half:.0f} |" in re.sub(" +", " ", row)
    assert len(re.findall(r"\d\.\d{3} ± \d\.\d{3}", gains)) == 7 * 3
    assert f"queries of {REPEATS} other seeds" in gains


def test_page_says_what_the_exhaustive_search_may_miss(results):
    text = deeprecsched_text(*results[0])
    assert f"below that of\nthe plain one by at most {100 * GAIN:g} %" in text
    costs = text.split("What the searches simulate")[1].split("per watt")[0]
    names = re.findall(r"^\| +cores \| +(.+?) \|", costs, re.MULTILINE)
    assert names == ["the paper's", "ours", "exhaustive", "exhaustive, plain"]
    assert "*Exhaustive*, the optimum above" in costs and "our bounds" not in text


def test_values_are_json(results):
    values = json.loads(to_json(deeprecsched_values(*results[0])))
    (cases,) = values["studies"].values()
    assert [case["level"] for case in cases] == ["low", "medium", "high"]
    assert len(values["drift"]["fixed"]) == len(values["drift"]["followed"]) == 16


def test_arrivals_may_be_others(tmp_path):
    trace = tmp_path / "even.txt"
    trace.write_text("0\n1\n2\n3\n")
    found = {}
    for keys in ({}, {"arrivals": "artifact"}, {"trace": trace}):
        results = run_deeprecsched(["assumed"], ["dien"], replace(OPTIONS, **keys), 1, lambda _: 0)
        text = " ".join(deeprecsched_text(*results).split("Published:")[0].split())
        name = {"arrivals": "arrivals: artifact;", "trace": "arrivals: trace even.txt;"}
        assert name.get(next(iter(keys), ""), "Poisson arrivals;") in text
        found[name.get(next(iter(keys), ""))] = results[0][0].cases[0].outcomes["ours"].qps
    assert len(set(found.values())) == 3
    assert max(found, key=found.__getitem__) == "arrivals: trace even.txt;"  # no gap varies


def test_unknown_names_are_errors():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        run_deeprecsched(["nowhere.json"], ["ncf"], OPTIONS, 1, print)
    with pytest.raises(ValueError, match=r"^profile must be one of .* not bert on cpu"):
        run_deeprecsched(["assumed"], ["bert"], OPTIONS, 1, print)
