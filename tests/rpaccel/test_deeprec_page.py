from pathlib import Path

from rpaccel.main_job.deeprec_page import (
    deeprec_tables,
    deeprec_text,
    deeprec_values,
    ssd_reads,
)
from rpaccel.scheduler.derived_profiles import MEASURED
from rpaccel.scheduler.service_profile import find_profile, load_profiles
from rpaccel.spec.deeprec import deeprec_names
from rpaccel.spec.ssd import load_ssd

PAGE = Path(__file__).parents[2] / "docs" / "generated" / "deeprec.md"


def test_the_page_is_what_the_command_prints():
    assert PAGE.read_text() == deeprec_text(deeprec_tables())


def test_every_model_was_measured_at_full_size():
    profiles = load_profiles(MEASURED)
    assert sorted(profile.model for profile in profiles) == deeprec_names()
    for profile in profiles:
        assert profile.device == "cpu"
        assert profile.batch == (1, 4, 16, 64, 256, 1024)
        assert "scale_rows 1;" in profile.source
        assert f"`rpaccel profile cpu --model {profile.model} " in profile.source
        assert list(profile.latency_ms) == sorted(profile.latency_ms)


def test_tables_for_machines():
    values = deeprec_values(deeprec_tables())
    assert [row["model"] for row in values["sizes"]] == deeprec_names()
    measured = {row["model"]: row for row in values["measured"]}
    profile = find_profile(load_profiles(MEASURED), "dien", "cpu")
    assert measured["dien"]["1024"] == f"{profile.ms(1024):.3f}"
    assert {row["model"]: row["first batch"] for row in values["gpu"]}["din"] == "285"


def test_link_table_by_hand():
    # DLRM-RMC2: 3840 ids and 256 dense values of 4 bytes there, one logit back.
    rows = {row["model"]: row for row in deeprec_values(deeprec_tables())["link"]}
    assert rows["dlrm-rmc2"]["bytes per item"] == f"{4 * (3840 + 256):,}"
    moved_ms = 2 * 0.040 + 1024 * (4 * (3840 + 256) + 4) / 6.67e9 * 1e3
    assert rows["dlrm-rmc2"]["1024 items [ms]"] == f"{moved_ms:.3f}"


def test_ssd_table_by_hand():
    # 64 items of 200 rows; misses of 18.1 % are 2317 reads of 128 B at 0.1 GB/s behind 80 us.
    (first, *_) = deeprec_values(deeprec_tables())["ssd"]
    idle_ms = find_profile(load_profiles(MEASURED), "dlrm-rmc3", "cpu").ms(64)
    reads_ms = 0.080 + 2316 * 128 / 0.1e9 * 1e3
    exposed = reads_ms - min(0.453 * reads_ms, idle_ms)
    assert load_ssd("recpipe").seconds(2317) * 1e3 - reads_ms < 1e-9
    assert first["recpipe, a row [ms]"] == f"{idle_ms + exposed:.2f}"


def test_what_a_read_brings_matters_by_the_drive():
    """Pages keep `recpipe`'s 0.1 GB/s busy; `nvme` reads 64 at a time, or 3.2 GB/s of pages."""
    rates = {name: tier.reads_per_s for name, tier in ssd_reads().items()}
    assert rates == {
        "recpipe, a row": 0.1e9 / 128, "recpipe, a page": 0.1e9 / 4096,
        "nvme, a row": 64 / 80e-6, "nvme, a page": 3.2e9 / 4096,
    }  # fmt: skip
    (first, *_) = deeprec_values(deeprec_tables())["ssd"]
    idle_ms = find_profile(load_profiles(MEASURED), "dlrm-rmc3", "cpu").ms(64)
    reads_ms = 0.080 + 2316 * 4096 / 0.1e9 * 1e3
    assert first["recpipe, a page [ms]"] == f"{idle_ms + reads_ms - idle_ms:.2f}"
