from rpaccel.main_job.paper_gather import gather_rates


def test_ten_rows_per_cycle_from_banked_caches():
    """All 16 ports of the whole array, with their records; 13: the dense values' port."""
    rates = list(gather_rates())
    assert {(rate.row_bytes, rate.pinned) for rate in rates} == {
        (32, False), (32, True), (4, False), (4, True)
    }  # fmt: skip
    for rate in rates:
        assert rate.ports == 16 and rate.read_share == 0
        assert 10 <= rate.rows_per_cycle < 13.1, rate


def test_sixteen_banks_are_too_few():
    (ahead, pinned) = gather_rates((32,), (4096,), banks=16)
    assert ahead.rows_per_cycle < 10 and pinned.rows_per_cycle < 10
