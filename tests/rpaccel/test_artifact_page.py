from itertools import pairwise

import pytest

from rpaccel.main_job.artifact_page import STAGES, artifact_text, artifact_values, walk_steps
from rpaccel.perfmodel.artifact_walk import PHASES


def test_the_walk_begins_at_the_artifact_and_ends_at_ours():
    steps, events = walk_steps()
    # RMsmall 4096 and RMlarge 512 of class 1: 0.4466 + 0.3994 ms.
    assert steps[0].total_ms == pytest.approx(0.8460, abs=1e-4)
    # Row and weight bytes, layers and latencies halve; the link does not.
    for phase in ("rows", "weights", "layers"):
        assert steps[1].phases_us[phase] == pytest.approx(steps[0].phases_us[phase] / 2)
    assert steps[1].phases_us["link"] == steps[0].phases_us["link"]
    for before, after in pairwise(steps[1:]):
        changed = {name for name in PHASES if before.phases_us[name] != after.phases_us[name]}
        assert changed, after.change
        assert len(changed) <= 2, after.change
    assert steps[3].phases_us["rows"] == pytest.approx(steps[2].phases_us["rows"] / 4)
    serial, (_, overlapped), (_, split) = steps[-1].total_ms, *events
    assert overlapped < serial
    assert overlapped > 1e-3 * (steps[-1].phases_us["link"] + steps[-1].phases_us["layers"])
    assert split == pytest.approx(0.337, abs=2e-3)  # docs/generated/ablation.md
    text = artifact_text(steps, events)
    values = artifact_values(steps, events)
    assert len(values["stages"]) == len(STAGES) == 9
    for row in values["walk"]:
        assert row["change"] in text
        assert sum(row[phase] for phase in PHASES) == pytest.approx(1e3 * row["total_ms"])
    assert "2.0907" in text
