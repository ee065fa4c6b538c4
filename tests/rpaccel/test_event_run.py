"""`rpaccel event`: a load on a machine of a sweep, and its picture."""

import json

import pytest
from typer.testing import CliRunner

from rpaccel.cli import app
from rpaccel.main_job.event_run import EventLoad, axes_of, event_run, event_text
from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.spec.sweep import SweepSpec

SPEC = SweepSpec.model_validate(
    {"name": "small", "base": "default", "blocks": 4, "candidates": 512,
     "axes": {"array_size": [32, 64], "split": ["2*1x1+1*2x2"], "front_sub_batch": 16,
              "back_sub_batch": 16, "k": [64, 128], "memory_ports": 1, "beat_bytes": 32}}
)  # fmt: skip


def test_one_query_takes_what_both_levels_say(tmp_path):
    chosen = {"array_size": 64, "k": 128}
    found = event_run(SPEC, chosen, EventLoad(queries=1), tmp_path)
    kept = SPEC.model_dump() | {"axes": SPEC.axes.model_dump() | {"array_size": [64], "k": [128]}}
    columns = evaluate(DesignSpace(SweepSpec.model_validate(kept)), 0, 1).columns
    accepted = found["each"][0]["begun"]
    assert found["cycles"] - accepted == columns["latency_cycles"][0]
    assert found["latency_cycles"]["mean"] == found["cycles"]  # it came in cycle 0
    assert found["point"]["array_size"] == "64" and found["point"]["memory_ports"] == "1"
    assert json.loads((tmp_path / "event.json").read_text()) == found


def test_the_picture_has_all_lanes_queries_and_sub_batches(tmp_path):
    found = event_run(SPEC, {}, EventLoad(queries=3, gap_cycles=500), tmp_path)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["pid"] for event in spans} == {1, 2, 3}
    queries = [event for event in spans if event["name"] == "query"]
    assert [event["ts"] + event["dur"] for event in queries] == [
        each["end"] for each in found["each"]
    ]
    assert [each["arrival"] for each in found["each"]] == [0, 500, 1000]
    assert found["events"] == 3 * 3 * (512 + 64) // 16


def test_random_gaps_are_the_same_for_a_seed():
    load = EventLoad(queries=200, gap_cycles=1000, random=True, seed=1)
    assert load.arrivals == EventLoad(queries=200, gap_cycles=1000, random=True, seed=1).arrivals
    assert load.arrivals != EventLoad(queries=200, gap_cycles=1000, random=True, seed=2).arrivals
    assert 160_000 < load.arrivals[-1] < 240_000
    with pytest.raises(ValueError, match=r"^queries must be at least 1, not 0$"):
        EventLoad(queries=0)
    with pytest.raises(ValueError, match=r"^gap_cycles must be at least 0, not -1$"):
        EventLoad(queries=1, gap_cycles=-1)


def test_axes_by_name():
    assert axes_of(["k=64", "split=1*2x2"]) == {"k": 64, "split": "1*2x2"}
    with pytest.raises(ValueError, match=r"^axis must be like k=512, of array_size, .*, not 'n=1'"):
        axes_of(["n=1"])
    with pytest.raises(ValueError, match=r"^k must be an integer, not 'many'$"):
        axes_of(["k=many"])


def test_the_verb(tmp_path):
    asked = ["event", "--queries", "2", "--axis", "k=256", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "event.json").read_text())
    assert found["point"]["k"] == "256" and found["queries"] == 2
    head, _, table = event_text(found, tmp_path).partition("\n\n")
    assert head.startswith("2 queries of `criteo` on: ") and "k 256" in done.output
    assert table in done.output and "trace.json" in table
    done = CliRunner().invoke(app, ["event", "--spec", "rmlarge_layers", "--out", str(tmp_path)])
    assert (
        str(done.exception)
        == "spec must be a sweep of rankers, not of the layers of rmlarge_layers.csv"
    )
