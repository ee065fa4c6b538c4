import pytest

from rpaccel.perfmodel.energy import (
    CELL_BITS,
    clock_watts,
    energy_uj,
    queries_per_joule,
    query_activity,
)
from rpaccel.perfmodel.energy_tables import NODE_7, NODE_12, NODE_45, NODES, between
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.spec.accelerator import load_accelerator

CONFIG = load_accelerator("paper")
RECORDS = RecordSizes(user_bytes=64, item_bytes=256)


def activity(stages, hits=None, **changes):
    """Return the activity of (network, items, lane) stages."""
    asked = [
        (network, compile_shape(network, CONFIG.lane(lane)), items, lane)
        for network, items, lane in stages
    ]
    sizes = {"bytes_in": 1000, "bytes_out": 512, "served": 64} | changes
    return query_activity(CONFIG, asked, RECORDS, hits or {}, **sizes)


def test_tables():
    assert NODE_45.mac_pj == pytest.approx(0.3)
    assert NODE_7.mac_pj == pytest.approx(0.1)
    # log(45 / 12) / log(45 / 7) = 0.7103
    assert NODE_12.multiply_int8_pj == pytest.approx(0.2 * 0.35**0.7103, rel=1e-4)
    assert between(45.0).sram_pj == NODE_45.sram_pj
    assert between(7.0).mac_pj == pytest.approx(NODE_7.mac_pj)
    for table in NODES:
        sizes = [1, 8 << 10, 16 << 10, 32 << 10, 512 << 10, 1 << 20, 1 << 30]
        access = [table.sram_access_pj(size) for size in sizes]
        assert access == pytest.approx(sorted(access))
        assert access[0] == access[1] == table.sram_pj[8 << 10]
        assert access[-1] == table.sram_pj[1 << 20]
        assert access[2] == pytest.approx((access[1] * access[3]) ** 0.5)


def test_macs_and_bytes_by_hand():
    query = activity([(RM_SMALL, 4096, 6), (RM_LARGE, 512, 2)])
    small, large = query.stages
    assert (small.macs, large.macs) == (4096 * 23_872, 512 * 217_600)
    assert (small.pair_macs, large.pair_macs) == (4096 * 351 * 4, 512 * 351 * 32)
    # 26 rows of a beat each, records of 256 bytes, a user record, the list, all from DRAM.
    assert large.dram_bytes == 512 * (26 * 64 + 256) + 64 + 64 * 8
    assert small.dram_bytes == 4096 * (26 * 64 + 256 + 4) + 64 + 1000
    assert query.link_bytes == 1512
    assert query.macs == sum(s.macs + s.pair_macs for s in query.stages)


def test_hits_save_dram_only():
    cold = activity([(RM_LARGE, 512, 0)])
    warm = activity([(RM_LARGE, 512, 0)], {"rmlarge": 1.0})
    assert cold.dram_bytes - warm.dram_bytes == 512 * 26 * 64
    parts = [energy_uj(query) for query in (cold, warm)]
    changed = {name for name in parts[0] if parts[0][name] != parts[1][name]}
    assert changed == {"DRAM", "row caches"}  # a miss is written, too


def test_parts_add_up_and_grow_with_items():
    one, two = (energy_uj(activity([(RM_LARGE, n, 0)], bytes_in=n)) for n in (512, 4096))
    assert list(one) == [
        "MACs", "row caches", "vectors", "crossed", "activations", "partial sums", "weights",
        "DRAM", "link",
    ]  # fmt: skip
    assert all(0 < one[name] < two[name] for name in one)
    macs = 512 * (217_600 + 351 * 32)
    assert one["MACs"] == pytest.approx(1e-6 * macs * NODE_12.mac_pj)
    query = activity([(RM_LARGE, 1, 0)])
    assert energy_uj(query, dram="hbm2")["DRAM"] < energy_uj(query)["DRAM"]
    assert sum(energy_uj(query, NODE_7).values()) < sum(energy_uj(query, NODE_45).values())


def test_queries_per_joule():
    assert queries_per_joule(500.0, 1000.0, 0.5) == pytest.approx(1000.0)
    watts = clock_watts(CONFIG, 250e6)
    assert watts == pytest.approx(128 * 128 * CELL_BITS * 0.002e-12 * 250e6)
    loads = [queries_per_joule(500.0, qps, watts) for qps in (1.0, 100.0, 1e4)]
    assert loads == sorted(loads)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NODE_45.sram_access_pj(0), "memory_bytes must be at least 1, not 0"),
        (lambda: between(90), r"node_nm must be in 7\.\.45, not 90"),
        (lambda: queries_per_joule(1.0, 0.0, 1.0), r"qps must be above 0, not 0\.0"),
        (
            lambda: energy_uj(activity([(RM_LARGE, 1, 0)]), dram="edo"),
            "dram must be one of ddr4, hbm2, not 'edo'",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
