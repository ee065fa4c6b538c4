import pytest

from rpaccel.spec.workload import WorkloadConfig, load_workload, workload_names


@pytest.mark.parametrize("name", workload_names())
def test_presets_load(name):
    workload = load_workload(name)
    assert workload.name == name
    assert workload.top_n <= workload.stages[-1].items


def test_unknown_preset():
    with pytest.raises(ValueError, match=r"^workload must be one of criteo, movielens, not 'x'"):
        load_workload("x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_n": 200}, r"top_n must be at most 64 \(last stage\), not 200"),
        (
            {"stages": [{"model": "a", "items": 10}, {"model": "b", "items": 64}]},
            r"items must not grow from stage to stage, not 10 -> 64",
        ),
        ({"load": 3}, r"load\n  Extra inputs are not permitted"),
        ({"search": {"models": ["a"], "first_items": [0]}}, r"first_items must be in 1\.\.16384"),
        (
            {"search": {"models": ["a"], "first_items": [1], "devices": ["gpu"]}},
            r"devices must be of cpu, accelerator, not \['gpu'\]",
        ),
    ],
)
def test_rejects(change, message):
    good = {
        "name": "w",
        "stages": [{"model": "a", "items": 100}, {"model": "b", "items": 64}],
        "top_n": 10,
        "requirement": {"load_qps": 1.0, "sla_ms": 1.0, "quality_target": 0.0},
        "search": {"models": ["a", "b"], "first_items": [100], "later_items": [64]},
    }
    assert WorkloadConfig.model_validate(good).top_n == 10
    with pytest.raises(ValueError, match=message):
        WorkloadConfig.model_validate(good | change)
