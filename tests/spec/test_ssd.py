import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpaccel.spec.ssd import SsdTier, load_ssd, ssd_names


def tier(**change):
    values = {
        "name": "d", "latency_s": 100e-6, "bytes_per_s": 4e9, "page_bytes": 4000,
        "queue_depth": 4, "source": "test",
    }  # fmt: skip
    return SsdTier(**{**values, **change})


def last_read_s(drive, reads):
    """Event by event: read i starts as read i - depth has come, pages leave one at a time."""
    page_s = drive.page_bytes / drive.bytes_per_s
    ends = []
    for i in range(reads):
        start = ends[i - drive.queue_depth] if i >= drive.queue_depth else 0.0
        ends.append(max(start + drive.latency_s, ends[-1] + page_s if ends else 0.0))
    return ends[-1] if ends else 0.0


@given(
    reads=st.integers(0, 300),
    depth=st.integers(1, 40),
    page=st.integers(1, 100_000),
    rate=st.floats(1e8, 1e10),
)
def test_closed_form_is_the_event_simulation(reads, depth, page, rate):
    drive = tier(queue_depth=depth, page_bytes=page, bytes_per_s=rate, latency_s=2e-3)
    assert drive.seconds(reads) == pytest.approx(last_read_s(drive, reads), rel=1e-9)


def test_by_hand():
    assert tier().seconds(0) == 0
    assert tier().seconds(1) == pytest.approx(100e-6)
    assert tier().seconds(4) == pytest.approx(103e-6)  # a page takes 1 us
    assert tier().seconds(5) == pytest.approx(200e-6)
    assert tier(bytes_per_s=4e7).seconds(5) == pytest.approx(500e-6)  # pages of 100 us


def test_rate_of_many_reads():
    assert tier().reads_per_s == pytest.approx(4 / 100e-6)
    assert tier(bytes_per_s=4e7).reads_per_s == pytest.approx(1e4)
    for drive in (tier(), tier(bytes_per_s=4e7)):
        assert 100_000 / drive.seconds(100_000) == pytest.approx(drive.reads_per_s, rel=1e-3)


def test_no_more_is_hidden_than_there_is_compute():
    drive = tier()
    assert drive.exposed_s(5, 0.25, 1.0) == pytest.approx(150e-6)
    assert drive.exposed_s(5, 1.0, 1.0) == 0
    assert drive.exposed_s(5, 1.0, 30e-6) == pytest.approx(170e-6)
    assert drive.exposed_s(0, 0.5, 1.0) == 0


@pytest.mark.parametrize("name", ssd_names())
def test_presets_load(name):
    assert load_ssd(name).name == name


def test_points_of_recpipe():
    drive = load_ssd("recpipe")
    assert (drive.latency_s, drive.reads_per_s) == (80e-6, pytest.approx(781_250))
    assert drive.at(0.968).miss_rate == 0.265
    middle = drive.at((0.936 + 0.968) / 2)
    assert middle.miss_rate == pytest.approx((0.230 + 0.265) / 2)
    assert middle.hidden_share == pytest.approx((0.366 + 0.322) / 2)
    with pytest.raises(ValueError, match=r"^table_share must be in 0\.744\.\.0\.968, not 0\.5"):
        drive.at(0.5)
    with pytest.raises(ValueError, match=r"^table_share must be in points, and there are none"):
        load_ssd("nvme").at(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queue_depth": 0}, "queue_depth"),
        ({"bytes_per_s": 1e6}, "latency_s must be at least the 0.004 s of a page, not 0.0001"),
        ({"slots": 3}, "Extra inputs are not permitted"),
        (
            {"points": [{"table_share": s, "miss_rate": 0, "hidden_share": 0} for s in (0.5, 0.5)]},
            r"points must ascend by table_share, not \[0\.5, 0\.5\]",
        ),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        tier(**change)


def test_rejects_arguments():
    with pytest.raises(ValueError, match=r"^reads must be at least 0, not -1"):
        tier().seconds(-1)
    with pytest.raises(ValueError, match=r"^hidden_share must be in 0\.\.1"):
        tier().exposed_s(1, 1.5, 0.0)
    with pytest.raises(ValueError, match=r"^ssd must be one of nvme, recpipe, not 'tape'"):
        load_ssd("tape")
