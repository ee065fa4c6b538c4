import json
import re

import numpy as np
import pytest

from rpaccel.cli import main
from rpaccel.main_job import figures as figures_module
from rpaccel.main_job import paper_figures as paper_figures_module
from rpaccel.main_job.cache_study import (
    AS_PUBLISHED,
    PUBLISHED_AMAT_CYCLES,
    VARIANTS,
    CacheStudy,
    Curve,
    StageStream,
    first_of_query,
)
from rpaccel.main_job.figures import FigureData, figures_text, write_figures
from rpaccel.main_job.merge_study import log_merging, merge_report
from rpaccel.main_job.paper_static import figure_1c
from rpaccel.main_job.table_study import TableRow, table_study
from rpaccel.results import to_json
from rpaccel.workloads.criteo_fit import PUBLISHED_HIT_RATES, PUBLISHED_SMALL, pinned_hit_rate
from rpaccel.workloads.criteo_trace import ALL_TABLES, FITTED

PACKED, MERGED, PINNED, ALL_THREE = VARIANTS[1:]


@pytest.fixture(scope="module")
def study():
    return CacheStudy(1 << 18, seed=3)


@pytest.mark.parametrize(("total_mb", "ratio"), sorted(PUBLISHED_AMAT_CYCLES))
def test_figure_10c_is_reproduced(study, total_mb, ratio):
    shares = list(PUBLISHED_AMAT_CYCLES[total_mb, ratio])
    curve = study.curve(AS_PUBLISHED, total_mb, ratio, shares=shares)
    assert curve.amat_cycles == pytest.approx(
        list(PUBLISHED_AMAT_CYCLES[total_mb, ratio].values()), abs=0.5
    )
    assert curve.worst_difference_cycles < 0.5
    assert curve.best_share == (0.5 if ratio == 8 else 0.7)


def test_each_change_helps(study):
    at_half = {
        v.name: study.curve(v, 4, 8, shares=[0.5]).amat_cycles[0]
        for v in (AS_PUBLISHED, MERGED, PINNED, ALL_THREE)
    }
    base = at_half[AS_PUBLISHED.name]
    assert at_half[MERGED.name] < base - 2
    assert at_half[PINNED.name] < base - 12
    assert at_half[ALL_THREE.name] < min(at_half[MERGED.name], at_half[PINNED.name]) - 4


def test_packing_gives_the_front_end_eight_times_the_rows(study):
    packed = study.curve(PACKED, 4, 8, shares=[0.1])
    lines = study.curve(AS_PUBLISHED, 4, 8, shares=[0.8])  # 8 times the bytes
    assert packed.front_hit_rates[0] == pytest.approx(lines.front_hit_rates[0], abs=1e-3)
    assert packed.back_hit_rates == study.curve(AS_PUBLISHED, 4, 8, shares=[0.1]).back_hit_rates


def test_amat_of_known_hit_rates(study, monkeypatch):
    monkeypatch.setattr(StageStream, "hit_rate", lambda self, rows, **_: 0.5 if rows else 0.0)
    curve = study.curve(AS_PUBLISHED, 12, 16, shares=[0.0, 0.5, 1.0])
    # front 16 x 16 B, back 128 B: two thirds of the bytes and one third
    assert curve.amat_cycles == pytest.approx([100 - 99 / 6, 100 - 99 / 2, 100 - 99 / 3])


def test_first_of_query():
    keys = np.array([[1, 2], [2, 1], [1, 3], [1, 3]])
    assert first_of_query(keys, 2).tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]
    assert first_of_query(keys, 3).tolist() == [[1, 1], [0, 0], [0, 1], [1, 1]]
    with pytest.raises(ValueError, match=r"samples must be at least 1, not 0"):
        first_of_query(keys, 0)


def test_merged_hits_count_all_accesses():
    keys = np.array([[5], [5], [6], [5]] * 10)
    stream = StageStream(keys, np.array([6]), 4)
    assert stream.hit_rate(0, merged=True) == pytest.approx(0.5)
    assert stream.hit_rate(1, pinned=True) == pytest.approx(0.25)
    assert stream.hit_rate(1, pinned=True, merged=True) == pytest.approx(0.75)


def test_short_traces_are_refused(study):
    with pytest.raises(ValueError, match=r"samples must be at least 65536, not 5"):
        CacheStudy(5, seed=0)
    with pytest.raises(ValueError, match=r"samples must be more: a cache of 100 rows had 0 misses"):
        StageStream(np.zeros((9, 1), int), np.zeros(1, int), 3).hit_rate(100)
    with pytest.raises(ValueError, match=r"ratio must be one of \(8, 16\), not 4"):
        study.curve(AS_PUBLISHED, 4, 4)


def test_merging_of_a_known_stream():
    queries = [np.array([1, 2, 1, 3, 1]), np.array([1, 1])]
    report = merge_report("x", queries, windows=(1, 2, 9))
    assert report.rows_per_query == 3.5
    assert report.once_per_query == pytest.approx(1 - 4 / 7)
    # one in flight: only the last two; two: 1 2 (1) 3 1 1 1; nine: 1 2 3 and nothing again
    assert {w: round(7 * s) for w, s in report.windows.items()} == {1: 2, 2: 3, 9: 4}


def test_user_rows_once_is_what_merging_saves_most(job):
    reports = {r.stream.split(", ", 1)[1]: r for r in log_merging(job, 3, seed=0)}
    assert len(reports) == 4
    again, once = (reports[f"large ranker, user {how}"] for how in ("again per item", "once"))
    assert again.once_per_query > 0.8
    assert once.rows_per_query < 0.2 * again.rows_per_query
    unique = [r.rows_per_query * (1 - r.once_per_query) for r in (again, once)]
    assert unique[0] == pytest.approx(unique[1])  # the same rows, in another order


@pytest.mark.slow
def test_all_tables_are_reported():
    rows = {(r.rows, r.cache): r for r in table_study(1 << 18, seed=0)}
    pinned = rows["fp32", PINNED.name]
    assert 100 * pinned.front == pytest.approx(
        pinned_hit_rate(FITTED, 49152, tables=ALL_TABLES), abs=1.0
    )
    assert rows["fp32", AS_PUBLISHED.name].front < pinned.front < rows["fp32", ALL_THREE.name].front
    for kind in ("fp32", "int8"):
        ahead = rows[kind, "packed, pinned, 4 MB look-ahead"]
        assert ahead.front > pinned.front
        assert ahead.refused < 1e-3


def made_up():
    """Figures without computing: the shape of what the command writes."""
    hit_rates = {n: r + 0.5 for n, r in sorted((PUBLISHED_HIT_RATES | PUBLISHED_SMALL).items())}
    curves = [
        Curve(variant=v.name, total_mb=mb, ratio=ratio, shares=(0.0, 0.5, 1.0),
              amat_cycles=(80.0, 56.25, 75.0), front_hit_rates=(0.0, 0.4, 0.5),
              back_hit_rates=(0.5, 0.4, 0.0))
        for mb in (4, 12) for ratio in (8, 16) for v in VARIANTS
    ]  # fmt: skip
    return FigureData(
        samples=1 << 16,
        seed=0,
        hit_rates=hit_rates,
        curves=curves,
        tables=[TableRow(rows="fp32", cache="c", front=0.9, back=0.8, amat_cycles=15.85)],
        merging=[merge_report("stream", [np.array([1, 1, 2])])],
    )


def test_writes_numbers_text_and_plots(tmp_path):
    figures = made_up()
    first = write_figures(figures, tmp_path / "a")
    assert {p.suffix for p in first} == {".json", ".txt", ".png", ".svg"}
    assert len(first) == 10
    for path, again in zip(first, write_figures(figures, tmp_path / "b"), strict=True):
        assert path.read_bytes() == again.read_bytes(), path.name
        assert path.stat().st_size > 300
    numbers = json.loads((tmp_path / "a" / "figures.json").read_text())
    assert numbers["law"] == {"shift": FITTED.shift, "exponent": FITTED.exponent}
    assert len(numbers["hit_rates"]) == 12
    assert numbers["curves"][0]["worst_difference_cycles"] == pytest.approx(9.35)
    assert numbers["curves"][0]["best_share"] == 0.5


def test_text_shows_ours_beside_the_paper():
    text = figures_text(made_up())
    assert re.search(r"^4096 +21\.99 +22\.49 +\+0\.50 +yes$", text, re.M)
    ours = r"80\.0 \(75\.2\) +56\.2 \(56\.0\) +75\.0 \(75\.2\)"
    assert re.search(rf"^12 MB 1/8 +{ours} +50%$", text, re.M)
    assert re.search(r"^fp32 +c +90\.00 +80\.00 +15\.85 +0\.000$", text, re.M)
    assert re.search(r"^stream +3 +33\.3 ", text, re.M)


def test_command(monkeypatch, capsys, tmp_path):
    asked = []
    monkeypatch.setattr(
        figures_module, "compute_figures", lambda *ask: asked.append(ask[:4]) or made_up()
    )
    small = [figure_1c()]
    monkeypatch.setattr(paper_figures_module, "paper_figures", lambda *_: small)
    out, page = tmp_path / "out", tmp_path / "docs" / "figures.md"
    line = ["rpaccel", "figures", "--out", str(out), "--samples", "524288", "--seed", "7", "--json",
            "--page", str(page), "--arrivals", "50"]  # fmt: skip
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    assert not end.value.code
    assert asked == [("ml-100k", 524288, 50, 7)]
    assert captured.out == to_json({"caches": made_up().to_json(), "paper": small})
    assert (out / "figures.json").read_text() == to_json(made_up().to_json())
    assert (out / "paper.json").read_text() == to_json(small)
    assert (out / "fig1c.png").stat().st_size > 300
    assert "50 arrivals of each load, seed 7" in page.read_text()
    assert "wrote" in captured.err
    monkeypatch.setattr("sys.argv", ["rpaccel", "figures", "--samples", "5"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
