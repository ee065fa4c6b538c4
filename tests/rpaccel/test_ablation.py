import json

import pytest

from rpaccel.main_job.ablation_page import ablation_text, ablation_values
from rpaccel.main_job.ablation_plots import write_ablation
from rpaccel.scheduler.ablation_study import run_ablation


@pytest.mark.slow
def test_page_and_folder(tmp_path):
    study = run_ablation(queries=100, progress=lambda _: None)
    values = ablation_values(study)
    text = ablation_text(study)
    assert len(values["designs"]) == 15
    for design in values["designs"]:
        assert f" {design['design']} " in text
        assert design["capacity_qps"] >= design["qps_within_p99_of_a"] > 0
        assert design["capacity_qps"] <= min(bound["qps"] for bound in design["bounds"])
    assert text.count("goal") == 4
    paths = write_ablation(study, values, tmp_path)
    assert sorted(path.name for path in paths) == [
        "ablation.json", "latency.png", "latency.svg", "steps.png", "steps.svg", "trace.json",
    ]  # fmt: skip
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert len(trace["traceEvents"]) > 100
