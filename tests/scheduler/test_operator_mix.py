import pytest

from rpaccel.scheduler.derived_profiles import OPERATORS
from rpaccel.scheduler.operator_mix import (
    KINDS,
    PUBLISHED,
    load_mixes,
    measure_mix,
    operator_times_s,
    save_mixes,
)

# DeepRecSys table II: what bounds each model.
BOTTLENECK = {
    "dlrm-rmc1": "lookup", "dlrm-rmc2": "lookup", "dlrm-rmc3": "fc", "ncf": "fc", "wnd": "fc",
    "mt-wnd": "fc", "din": "lookup", "dien": "recurrent",
}  # fmt: skip


def node(ts, dur, operator):
    name = f"{operator}_{ts}_kernel_time"
    return {"cat": "Node", "name": name, "ts": ts, "dur": dur, "args": {"op_name": operator}}


def run(ts):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": 90}


def test_times_of_a_trace():
    events = [
        run(0), node(10, 50, "MatMul"),  # a warm-up
        run(100), node(110, 5, "Gemm"), node(120, 40, "Scan"), node(130, 20, "MatMul"),
        node(165, 3, "Softmax"),
        run(200), node(210, 7, "MatMul"), node(220, 11, "GRU"), node(231, 1, "Relu"),
    ]  # fmt: skip
    found = operator_times_s(events, 2)
    assert found == pytest.approx({"fc": 12e-6, "recurrent": 51e-6, "other": 4e-6})
    with pytest.raises(ValueError, match=r"^a trace must hold 4 runs, not 3"):
        operator_times_s(events, 4)


def test_measures_a_model(tmp_path):
    mix = measure_mix("dien", tmp_path, items=8, repeats=4, scale_rows=1e-4)
    assert sum(mix.share.values()) == pytest.approx(1, abs=1e-3)
    assert mix.largest == "recurrent"
    assert all(mix.share[kind] > 0 for kind in KINDS)
    save_mixes(tmp_path / "m.json", [mix])
    assert load_mixes(tmp_path / "m.json") == [mix]


def test_every_model_is_bound_by_what_the_paper_says():
    mixes = load_mixes(OPERATORS)
    assert {mix.model: mix.largest for mix in mixes} == BOTTLENECK
    assert all((mix.items, mix.scale_rows) == (64, 1.0) for mix in mixes)
    assert sorted(PUBLISHED) == sorted(BOTTLENECK)


def test_rejects(tmp_path):
    with pytest.raises(ValueError, match=r"^items and repeats must be at least 1, not 0 and 50"):
        measure_mix("ncf", tmp_path, items=0)
