import csv
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from rpaccel.perfmodel.sweep import (
    DesignPoint,
    design_points,
    evaluate_points,
    mark_pareto,
    run_sweep,
    sweep_rows,
)

CLOCK_HZ = 250e6


def point(**changes):
    keys = {
        "workload": "movielens", "array_size": 32, "sub_batch": 128, "beat_bytes": 16,
        "latency_cycles": 100,
    }  # fmt: skip
    return DesignPoint(**(keys | changes))


@pytest.mark.parametrize("workload", ["movielens", "criteo"])
def test_more_bandwidth_is_never_slower(workload):
    totals = [
        row.total_cycles
        for row in evaluate_points(
            [point(workload=workload, beat_bytes=b) for b in (8, 16, 32)], CLOCK_HZ
        )
    ]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize("workload", ["movielens", "criteo"])
def test_more_latency_is_never_faster(workload):
    totals = [
        row.total_cycles
        for row in evaluate_points(
            [point(workload=workload, latency_cycles=n) for n in (25, 100, 200)], CLOCK_HZ
        )
    ]
    assert totals == sorted(totals)


def test_utilisation_is_a_share():
    rows = sweep_rows([p for p in design_points() if p.latency_cycles == 100][::7], CLOCK_HZ)
    assert all(0 < row.mac_utilisation < 1 for row in rows)
    assert all(row.total_cycles > row.stage0_cycles + row.stage1_cycles for row in rows)


def test_front_is_not_dominated():
    points = [p for p in design_points() if p.latency_cycles == 100 and p.workload == "movielens"]
    rows = sweep_rows(points[::3], CLOCK_HZ)
    for row in rows:
        better = [
            r
            for r in rows
            if r.total_cycles <= row.total_cycles
            and r.macs <= row.macs
            and r.beat_bytes <= row.beat_bytes
            and (r.total_cycles, r.macs, r.beat_bytes)
            != (row.total_cycles, row.macs, row.beat_bytes)
        ]
        assert bool(row.pareto) == (not better)


def test_executor_gives_the_same_rows():
    points = design_points()[:150:3]
    with ThreadPoolExecutor(2) as executor:
        assert sweep_rows(points, CLOCK_HZ, executor) == sweep_rows(points, CLOCK_HZ)


def test_marks_equal_points_alike():
    (row,) = evaluate_points([point()], CLOCK_HZ)
    assert len({r.pareto for r in mark_pareto([row, row])}) == 1


def test_rejects_mixed_points():
    with pytest.raises(ValueError, match=r"^points must be of one workload and one array size"):
        evaluate_points([point(), point(array_size=64)], CLOCK_HZ)


def test_run_writes_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("rpaccel.perfmodel.sweep.SUB_BATCHES", (64, 256))
    for name in ("a", "b"):
        report = run_sweep(tmp_path / name, seed=3)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(
        [*report["files"], "summary.json"]
    )
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    rows = list(csv.DictReader((tmp_path / "a" / "sweep.csv").read_text().splitlines()))
    assert len(rows) == report["points"]
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["seed"] == 3
    assert "latency [ms]" in report["text"]
