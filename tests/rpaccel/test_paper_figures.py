import math

import pytest

from rpaccel.main_job.cache_study import AS_PUBLISHED, PUBLISHED_AMAT_CYCLES, Curve
from rpaccel.main_job.paper_figure import (
    OURS,
    PAPER,
    Panel,
    PaperFigure,
    Series,
    figure_text,
    plot_paper_figure,
)
from rpaccel.main_job.paper_figures import figure_10c, paper_page
from rpaccel.main_job.paper_loads import (
    artifact_curve,
    baseline_service_s,
    figure_12,
    figure_13,
    figure_14,
    neumf_pipelines,
    scaled_hits,
)
from rpaccel.main_job.paper_points import FIGURE_10A, FIGURE_12
from rpaccel.main_job.paper_static import (
    core_point,
    dram_miss,
    figure_1c,
    figure_5,
    figure_10a,
    figure_13_ssd,
    hidden_percent,
    query_work,
    work_behind_s,
)
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.spec.ssd import SsdTier, load_ssd


def points(figure, label, source=OURS, panel=0):
    """Return the points of one series."""
    (found,) = [
        each for each in figure.panels[panel].series if (each.label, each.source) == (label, source)
    ]
    return dict(found.points)


def test_figure_1c_is_arithmetic():
    work = query_work()
    listed = 13 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 32 + 96
    assert work["listed layers"][0] == pytest.approx(4096 * listed / 1e6)
    assert work["listed layers"][1] == pytest.approx((512 * listed + 4096 * 1152) / 1e6)
    assert work["memory"] == pytest.approx((3.407872, 0.851968))
    figure = figure_1c()
    assert points(figure, "rows", panel=1)["one stage"] == work["memory"][0]
    assert "7.61 times" in figure.notes[1]


def test_figure_5_adds_up():
    figure = figure_5(("base", "O.1 to O.2"))
    totals = points(figure, "total")
    assert list(totals) == ["base", "O.1 to O.2"]
    assert totals["base"] == 1 > totals["O.1 to O.2"]
    parts = [points(figure, label, panel=1) for label in ("link", "host's sort", "card")]
    base_ms = float(figure.panels[1].y.split()[2])
    for name, share in totals.items():
        assert sum(part[name] for part in parts) == pytest.approx(share * base_ms, rel=2e-3)
    assert parts[1]["O.1 to O.2"] == 0
    assert all(part["base"] > 0 for part in parts)


def test_figure_10a():
    figure = figure_10a(sides=(32, 128), items=64)
    assert set(points(figure, "rmsmall")) == {32, 128}
    assert points(figure, "rmmed", PAPER) == {
        side: FIGURE_10A["rmmed"][side][0] for side in (32, 128)
    }
    cycles, share = core_point(RM_LARGE, 128, 4096)
    # 17 tiles: no schedule is shorter; weights' places by hand: 217,600 of 17 x 128 x 128.
    assert 17 * 4096 <= cycles < 1.1 * 17 * 4096
    assert share == pytest.approx(217_600 / (17 * 128 * 128))
    assert core_point(RM_SMALL, 128, 1)[0] > 0


def test_figure_10c_compares_where_both_have_points():
    (total, ratio), known = next(iter(PUBLISHED_AMAT_CYCLES.items()))
    shares = sorted(known)
    curve = Curve(
        variant=AS_PUBLISHED.name,
        total_mb=total,
        ratio=ratio,
        shares=shares,
        amat_cycles=[known[share] + 2 for share in shares],
        front_hit_rates=[0.0] * len(shares),
        back_hit_rates=[0.0] * len(shares),
    )
    figure = figure_10c([curve])
    assert "at most 2.0 cycles away" in figure.notes[1]
    assert points(figure, f"{total} MB, 1/{ratio}", PAPER) == known


@pytest.mark.slow
def test_figure_12_small():
    figure = figure_12(60, 0, loads=(100, 500, 2000), split_loads=(250, 2000))
    base = points(figure, "baseline")
    assert set(base) == {100, 500}  # 2000 is more than it can
    assert base[100] > 1e3 * baseline_service_s()
    tails = [points(figure, name) for name in ("one stage", "two stages", "three stages")]
    for tail in tails:
        assert set(tail) == {100, 500, 2000}
        assert tail[100] <= tail[2000]
    assert tails[1][500] < tails[0][500] < base[500]
    assert points(figure, "two stages", PAPER) == FIGURE_12["two stages"]
    for load in (250, 2000):
        tails = [points(figure, name, panel=1)[load] for name in ("8,2", "8,8", "8,16")]
        assert tails == sorted(tails)  # fewer, larger arrays for the back end: shorter
    assert "Sub-batches of the back end: 64, 64, 32 items" in figure.notes[3]


def test_queues_of_the_artifact_s_times():
    """Known values of the same queues in another simulation, p99 in ms; exponential gaps."""
    one = artifact_curve("one stage", (200, 250, 333, 400, 500), 200_000, 0)
    assert set(one) == {200, 250, 333, 400}  # 478 queries/s at most
    for load, tail in ((200, 7.7), (250, 9.9), (333, 17.0), (400, 28.8)):
        assert one[load] == pytest.approx(tail, rel=0.15)
    two = artifact_curve("two stages", (500, 1000, 1333), 200_000, 0)
    for load, tail in ((500, 2.0), (1000, 2.4), (1333, 3.0)):
        assert two[load] == pytest.approx(tail, rel=0.1)


def test_figure_13_small():
    figure = figure_13(60, 0, scales=((1, 1.0), (32, 3.0)))
    for label in ("one stage", "several stages"):
        tail = points(figure, label)
        assert list(tail) == ["1, 1", "32, 3"]
        assert tail["32, 3"] > tail["1, 1"]
    assert scaled_hits(1) > scaled_hits(32) > 0.5
    with pytest.raises(ValueError, match="scale must be at least 1, not 0"):
        scaled_hits(0)


def test_figure_13_ssd():
    figure = figure_13_ssd(shares=(0.744, 0.968))
    misses = points(figure, "DRAM misses")
    assert misses[0.744] < misses[0.968]
    hidden, drive, work_s = points(figure, "hidden", panel=1), load_ssd("recpipe"), work_behind_s()
    assert 100 > hidden[0.744] > hidden[0.968]
    for share, percent in hidden.items():  # of the drive's time, as long as the card's work
        reads = math.ceil(misses[share] / 100 * 512 * 26)
        assert percent == pytest.approx(100 * work_s / drive.seconds(reads))
    # With reads of a row's 128 bytes the paper's points hide the same time at both ends.
    assert "of its drive too, 1.43 to 1.48 ms" in figure.notes[2]
    assert "128 bytes a read are fitted to that" in figure.notes[2]
    assert dram_miss(0.872) == pytest.approx((dram_miss(0.8719) + dram_miss(0.8721)) / 2, rel=1e-3)


def test_share_hidden_by_hand():
    drive = SsdTier(
        name="d", latency_s=100e-6, bytes_per_s=4e9, page_bytes=4000, queue_depth=4, source="test"
    )
    assert hidden_percent(drive, 5, 50e-6) == pytest.approx(25)  # two waves of 100 us
    assert hidden_percent(drive, 5, 1.0) == hidden_percent(drive, 0, 0.0) == 100


def test_figure_14_small():
    figure = figure_14(60, 0, loads=(100, 2000), datasets=("ML-20M",))
    one, two = points(figure, "one stage"), points(figure, "two stages")
    assert set(one) == {"ML-20M 100"}  # 573 queries/s at most
    assert set(two) == {"ML-20M 100", "ML-20M 2000"}
    assert two["ML-20M 100"] < one["ML-20M 100"]
    with pytest.raises(ValueError, match="dataset must be one of ML-1M, ML-20M, not 'X'"):
        neumf_pipelines("X")


def test_page_and_plots(tmp_path):
    figure = PaperFigure(
        stem="x",
        title="Figure 0",
        notes=("a note",),
        panels=(
            Panel(
                x="load",
                y="ms",
                log="xy",
                series=(
                    Series(label="a", source=OURS, points=((1, 2.0), (10, 3.25))),
                    Series(label="a", source=PAPER, points=((1, 1234.5),)),
                ),
            ),
            Panel(x="bar", y="ms", series=(Series(label="b", source=OURS, points=(("n", 1.0),)),)),
        ),
    )
    text = figure_text(figure)
    assert "| load / ms | ours: a | paper: a |" in text
    assert [line for line in text.splitlines() if line.startswith("|        10 |")] == [
        "|        10 |    3.25 |        - |"
    ]
    assert "1,234" in text
    assert text in paper_page([figure], 100, 3)
    first = [path.read_bytes() for path in plot_paper_figure(figure, tmp_path)]
    assert [path.read_bytes() for path in plot_paper_figure(figure, tmp_path)] == first
    with pytest.raises(ValueError, match="source must be one of ours, paper, artifact, not 'them'"):
        Series(label="a", source="them", points=())
