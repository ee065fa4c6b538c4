import sys

import pytest

from rpaccel.main_job.scale_sim_study import package_cycles, run_scale_sim, scale_sim_text
from rpaccel.perfmodel.scale_sim import (
    scale_sim_3_cycles,
    scale_sim_cycles,
    scale_sim_folds,
    scale_sim_utilisation,
)


def test_one_layer_by_hand():
    # 108 -> 64 on 64: folds of 64 and of 44 rows, all columns used.
    assert scale_sim_cycles(100, 108, 64, 64) == (128 + 64 + 100) + (88 + 64 + 100)
    # 13 -> 512 on 128: four groups of columns, one above the other.
    (fold,) = scale_sim_folds(4096, 13, 512, 128)
    assert (fold.cycles, fold.cells) == (4 * 13 + 13 + 128 + 4096, 13 * 512)
    # A last group that is not full: 13 -> 40 on 32, columns 32 and 8.
    (fold,) = scale_sim_folds(10, 13, 40, 32)
    assert (fold.cycles, fold.cells) == (2 * 13 + 13 + 32 + 10, 13 * 40)


def test_utilisation_is_full_only_on_full_folds():
    assert scale_sim_utilisation(7, [(64, 128), (128, 64)], 64) == 1
    assert scale_sim_utilisation(1, [(1, 1)], 1) == 1
    assert scale_sim_utilisation(7, [(1, 1)], 4, stacked=False) == 1 / 16


def test_the_package_is_the_closed_form():
    pytest.importorskip("scalesim")
    for layer in ((1, 1, 1, 2), (7, 3, 5, 4), (33, 8, 8, 8), (5, 17, 30, 8), (64, 13, 64, 32)):
        assert package_cycles(*layer) == scale_sim_3_cycles(*layer), layer


def test_study_and_page():
    pytest.importorskip("scalesim")
    study = run_scale_sim([32], 16, progress=lambda _: None)
    assert len(study.rows) == 4 + 4 + 7
    assert study.agreeing == len(study.rows)
    assert study.speed_up > 1
    assert study.to_json()["points_speed_up"] == study.points_speed_up > 1
    text = scale_sim_text(study)
    assert "in 15 of 15 layers" in text
    assert text.count("\n| ") == 16 + 1


def test_rejects(monkeypatch):
    with pytest.raises(ValueError, match=r"sizes must be at least 2 each, not \[\]"):
        run_scale_sim([], 16)
    with pytest.raises(ValueError, match="items must be at least 1, not 0"):
        run_scale_sim([32], 0)
    monkeypatch.setitem(sys.modules, "scalesim.compute.systolic_compute_ws", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e \.\[scalesim\]"):
        package_cycles(1, 1, 1, 2)
