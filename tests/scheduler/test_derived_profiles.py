import pytest

from rpaccel.scheduler.derived_profiles import (
    CITED,
    MEASURED,
    SpeedUps,
    across_link,
    from_ssd,
    load_speedups,
    sped_up,
)
from rpaccel.scheduler.service_profile import ServiceProfile, find_profile, load_profiles
from rpaccel.spec.platform import LinkPlatform, load_platform
from rpaccel.spec.ssd import SsdPoint, SsdTier

PROFILE = ServiceProfile(
    model="ncf", device="cpu", batch=(1, 100), latency_ms=(1.0, 3.0), cores=2, scale_rows=0.5,
    source="test",
)  # fmt: skip


def test_link_by_hand():
    # 10 us each way, 1 byte per us: 100 items of 2 bytes there, 1 byte back
    link = LinkPlatform(fixed_s=10e-6, bytes_per_s=1e6, source="a link")
    found = across_link(PROFILE, link, in_bytes=2, out_bytes=1)
    assert found.latency_ms == pytest.approx((1.0 + 0.020 + 0.003, 3.0 + 0.020 + 0.300))
    assert found.source == "test; link: a link"
    assert (found.model, found.device, found.batch, found.cores) == ("ncf", "cpu", (1, 100), 2)
    assert found.scale_rows == 0.5


def test_link_of_recpipe():
    # 4096 items of 156 B take 136 us to the card, 40 us of them fixed
    link = load_platform("paper").link
    assert link.seconds(4096 * 156) == pytest.approx(136e-6, rel=3e-3)


def test_ssd_by_hand():
    drive = SsdTier(
        name="d", latency_s=1e-3, bytes_per_s=4e9, page_bytes=4, queue_depth=1, source="a drive"
    )
    point = SsdPoint(table_share=0.9, miss_rate=0.1, hidden_share=0.5)
    found = from_ssd(PROFILE, drive, point, lookups_per_item=10)
    # one read of 1 ms, half hidden; 100 reads of 100 ms, of which the 3 ms of compute hide 3
    assert found.latency_ms == pytest.approx((1.5, 100.0), rel=1e-4)
    assert found.source == "test; 0.9 of the tables on an SSD: a drive"


def test_speedups():
    speedups = SpeedUps(
        device="gpu", over="cpu", batch=(1, 4, 16), speedup={"ncf": (0.5, 1.5, 3.0)}, source="s"
    )
    assert speedups.factor("ncf", 1) == 0.5
    assert speedups.factor("ncf", 2) == pytest.approx(1.0)  # half way from 1 to 4 in logarithms
    assert speedups.factor("ncf", 1000) == 3.0
    found = sped_up(PROFILE, speedups)
    assert found.device == "gpu"
    assert found.cores == 1
    assert found.latency_ms == pytest.approx((2.0, 1.0))
    assert speedups.crossover("ncf") == 3
    with pytest.raises(ValueError, match=r"^model must be one of ncf, not 'din'"):
        speedups.factor("din", 1)
    with pytest.raises(ValueError, match="speedup of x must be 2 positive numbers, not"):
        SpeedUps(device="g", over="c", batch=(1, 2), speedup={"x": (1.0, 0.0)}, source="s")


def test_published_crossovers():
    # First batch where the GPU wins, from small MLP models to the attention model.
    published = {
        "dlrm-rmc3": 2, "dlrm-rmc2": 15, "wnd": 22, "mt-wnd": 28, "dlrm-rmc1": 55, "ncf": 70,
        "dien": 100, "din": 285,
    }  # fmt: skip
    speedups = load_speedups()
    found = {model: speedups.crossover(model) for model in published}
    assert found == pytest.approx(published, rel=0.08, abs=1)
    assert list(speedups.speedup) == sorted(published)


def test_cited_profiles():
    profiles = load_profiles(CITED)
    t4 = find_profile(profiles, "rmlarge", "t4")
    host = find_profile(profiles, "rmlarge", "cascade-lake")
    assert (host.ms(4096), t4.ms(4096)) == pytest.approx((54.8, 12.2))
    assert all(
        profile.source.split(" ")[0] in {"RecPipe", "Kairos", "NVIDIA"} for profile in profiles
    )
    # Published speed-ups of a T4 over c5n.2xlarge at 100, 300 and 1000 items.
    for model, factors in {
        "ncf": (0.91, 1.55, 2.60), "wnd": (1.34, 2.32, 3.46), "mt-wnd": (1.21, 2.11, 3.25),
        "dlrm-rmc2": (1.35, 1.47, 1.49), "dien": (1.04, 2.28, 4.17),
    }.items():  # fmt: skip
        cpu, gpu = (find_profile(profiles, model, name) for name in ("c5n.2xlarge", "t4"))
        found = [cpu.ms(items) / gpu.ms(items) for items in (100, 300, 1000)]
        assert found == pytest.approx(factors, rel=0.13)


def test_shipped_profiles_say_how_much_of_the_tables_they_had():
    assert {profile.scale_rows for profile in load_profiles(MEASURED)} == {1.0}
    for profile in load_profiles(MEASURED):
        assert "--scale-rows 1 " in profile.source
    assert {profile.scale_rows for profile in load_profiles(CITED)} == {None}  # published times
