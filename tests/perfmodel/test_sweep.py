import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from rpaccel.perfmodel import sweep as module
from rpaccel.perfmodel.sweep import Sweep, run_sweep
from rpaccel.perfmodel.sweep_chunks import chunk_bounds, run_chunk, space_of
from rpaccel.perfmodel.sweep_front import front_mask
from rpaccel.spec.sweep import FrontSpec, SweepSpec

AXES = {
    "array_size": [64, 128],
    "split": ["8*1x1+2*2x2", "1*2x4+1*2x4"],
    "front_sub_batch": [32, 64, 96],
    "back_task_items": [0, 64],
    "k": [128, 512],
    "memory_ports": [1, 2],
    "beat_bytes": [32, 64],
}
SPEC = SweepSpec.model_validate({"name": "test", "axes": AXES})
NUMBERS = 2 * 2 * 3 * 2 * 2 * 2 * 2
CHUNK = 20


class InterruptedSweepError(Exception):
    pass


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".png" and path.name != "summary.json"
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_sweep(SPEC, folder, chunk_points=CHUNK)


def test_every_point_is_there_once(whole):
    folder, summary = whole
    table = pl.read_parquet(folder / "parts" / "*.parquet")
    assert table["number"].is_sorted() and table["number"].n_unique() == len(table)
    assert len(table) == summary["points"]
    assert summary["numbers"] == NUMBERS
    # 96 items fit a half of the array, not a block
    assert len(table) == NUMBERS - NUMBERS // 2 // 3
    assert set(table["split"].unique()) == {"8*1x1+2*2x2", "1*2x4+1*2x4"}
    assert set(table["bound"].unique()) <= {"front lanes", "back lanes", "memory", "funnels"}


def test_chunks_are_whole_families():
    space = space_of(SPEC.model_dump_json())
    bounds = chunk_bounds(space, CHUNK)
    assert space.family == 4
    assert [stop - first for first, stop in bounds] == [20] * 9 + [12]
    assert bounds[0][0] == 0 and bounds[-1][1] == NUMBERS
    assert all(before[1] == after[0] for before, after in pairwise(bounds))
    with pytest.raises(ValueError, match=r"^chunk_points must be at least 1, not 0$"):
        chunk_bounds(space, 0)


def test_front_is_what_no_point_beats(whole):
    folder, summary = whole
    table = pl.read_parquet(folder / "parts" / "*.parquet")
    front = pl.read_parquet(folder / "front.parquet")
    points = table.select(
        "latency_cycles", "interval_cycles", "array_macs", "sram_bytes", -pl.col("k")
    ).to_numpy()
    beaten = [
        ((points <= point).all(axis=1) & (points < point).any(axis=1)).any() for point in points
    ]
    assert set(front["number"]) == set(table["number"].to_numpy()[~np.array(beaten)])
    assert len(front) == summary["front"]
    assert 1 < len(front) < len(table) / 2


@pytest.mark.parametrize("seed", range(4))
def test_front_of_fronts_is_the_front(seed):
    rng = np.random.default_rng(seed)
    columns = {
        name: rng.integers(0, 12, 400)
        for name in ("latency_cycles", "sram_bytes", "k", "memory_latency_cycles")
    }
    front = FrontSpec(minimise=("latency_cycles", "sram_bytes"))
    every = np.flatnonzero(front_mask(columns, front))
    chunks = np.array_split(np.arange(400), 7)
    left = np.concatenate(
        [part[front_mask({n: c[part] for n, c in columns.items()}, front)] for part in chunks]
    )
    again = left[front_mask({n: c[left] for n, c in columns.items()}, front)]
    assert len(every) >= 12
    np.testing.assert_array_equal(again, every)
    group = columns["memory_latency_cycles"] == 3
    alone = {name: column[group] for name, column in columns.items()}
    alone_front = np.flatnonzero(group)[front_mask(alone, FrontSpec(
        minimise=("latency_cycles", "sram_bytes"), within=()))]  # fmt: skip
    assert set(alone_front) == {n for n in every if group[n]}
    assert not front_mask({name: column[:0] for name, column in columns.items()}, front).size


@pytest.mark.parametrize("after", [0, 1, 6])
def test_goes_on_where_it_was_interrupted(whole, tmp_path, after):
    folder, _ = whole

    def interrupt(done, _total):
        if done >= after * CHUNK:
            raise InterruptedSweepError

    with pytest.raises(InterruptedSweepError):
        Sweep(SPEC, tmp_path, chunk_points=CHUNK).run(None, progress=interrupt)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert len(before) == after
    seen = []
    run_sweep(SPEC, tmp_path, chunk_points=CHUNK, progress=lambda *at: seen.append(at), plots=False)
    assert seen[0] == (after * CHUNK, NUMBERS) and seen[-1] == (NUMBERS, NUMBERS)
    assert len(seen) == 1 + 10 - after  # nothing twice
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert files(tmp_path) == files(folder)


def test_what_a_crash_tore_is_evaluated_again(whole, tmp_path):
    folder, _ = whole
    run_sweep(SPEC, tmp_path, chunk_points=CHUNK, plots=False)
    parts = tmp_path / "parts"
    (parts / "part-000003.parquet").unlink()  # no file
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:8]) + lines[8] + lines[9][:17])  # no line, but half of one
    (parts / "part-000009.parquet.tmp").write_bytes(b"PAR1")
    asked = []

    def spy(spec_json, hits, number, first, stop):
        asked.append(number)
        return run_chunk(spec_json, hits, number, first, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_chunk", spy)
        run_sweep(SPEC, tmp_path, chunk_points=CHUNK, plots=False)
    assert asked == [3, 9]
    assert files(tmp_path) == files(folder)


@pytest.mark.parametrize("in_flight", [1, 3, 50])
def test_executors_give_the_same_files(whole, tmp_path, in_flight):
    folder, _ = whole
    with ThreadPoolExecutor(2) as executor:
        run_sweep(SPEC, tmp_path, executor, chunk_points=CHUNK, in_flight=in_flight, plots=False)
    assert files(tmp_path) == files(folder)


def test_a_chunk_that_fails_stops_the_sweep_and_keeps_the_others(whole, tmp_path, monkeypatch):
    folder, _ = whole

    def fail(spec_json, hits, number, first, stop):
        if number == 7:
            raise RuntimeError("a rule is broken")
        return run_chunk(spec_json, hits, number, first, stop)

    monkeypatch.setattr(module, "run_chunk", fail)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(RuntimeError, match=r"^a rule is broken$"),
    ):
        run_sweep(SPEC, tmp_path, executor, chunk_points=CHUNK, in_flight=2)
    assert len(list((tmp_path / "parts").iterdir())) >= 6
    monkeypatch.undo()
    run_sweep(SPEC, tmp_path, chunk_points=CHUNK, plots=False)
    assert files(tmp_path) == files(folder)


@pytest.mark.parametrize("change", [{"axes": AXES | {"k": [256]}}, {"chunk": 24}, {"model": True}])
def test_parts_of_another_sweep_are_refused(tmp_path, change, monkeypatch):
    Sweep(SPEC, tmp_path, chunk_points=CHUNK)
    fields = {"name": "test", "axes": change.get("axes", AXES)}
    if "model" in change:
        monkeypatch.setattr(module, "source_digest", lambda rooms: "another model")
    with pytest.raises(ValueError, match=r"^out must be a new folder or hold the same sweep"):
        Sweep(SweepSpec.model_validate(fields), tmp_path, chunk_points=change.get("chunk", CHUNK))


def test_summary_and_plots(whole):
    folder, summary = whole
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["files"] == [
        "pareto.png", "array_size.png", "bandwidth.png", "sram.png", "k.png", "sub_batch.png",
    ]  # fmt: skip
    for name in summary["files"]:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert summary["bandwidth_pairs"] > 0 and summary["bandwidth_worst"] >= 1


def test_one_point(tmp_path):
    only = SweepSpec.model_validate({"name": "one"})
    summary = run_sweep(only, tmp_path)
    assert (summary["points"], summary["front"], summary["files"]) == (1, 1, ["pareto.png"])


def test_no_point_can_be(tmp_path):
    none = SweepSpec.model_validate({"name": "none", "axes": {"front_sub_batch": 1024}})
    with pytest.raises(ValueError, match=r"^axes must have a point that can be: none of 1 can$"):
        run_sweep(none, tmp_path)
