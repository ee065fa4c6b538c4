import pytest

from rpaccel.main_job.energy_page import energy_rows, energy_text


def test_page():
    rows = energy_rows(("one stage", "two stages"))
    one, two = rows
    assert one.query_uj > two.query_uj > two.hbm2_uj
    assert one.parts_uj["link"] == two.parts_uj["link"]
    for row in rows:
        values = row.to_json()
        assert values["query_uj"] == pytest.approx(sum(values["parts_uj"].values()))
        assert values["qps_per_watt"] > values["qps_per_watt_at_500"]
        at = row.capacity_qps
        assert row.qps_per_watt(at) == pytest.approx(at / row.watts(at))
    text = energy_text(rows)
    assert f"{one.query_uj / two.query_uj:.2f} times less" in text
    assert "+27.4 %" in text
