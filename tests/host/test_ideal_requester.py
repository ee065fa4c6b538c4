import dataclasses

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.dram_timing import DDR4, HBM2
from rpaccel.host.ideal_requester import (
    ROW_BYTES,
    main,
    pattern_addresses,
    port_peak_bytes_per_cycle,
    requester_curve,
    requester_report,
    share_table,
)

SIMPLE = MemoryTiming()
ROWS = 30_000
CLOCK_HZ = 300e6  # 64-byte beats at the peak of DDR4-2400


def memory(dram, **changes):
    return MemoryTiming(in_order=False, dram=dataclasses.replace(dram, **changes))


def report_of(dram, pattern, row_bytes, *, beat_bytes=64, clock_hz=CLOCK_HZ, **changes):
    timing = memory(dram, clock_hz=clock_hz, **changes)
    addresses = pattern_addresses(pattern, row_bytes, ROWS)
    return requester_report(timing, addresses, row_bytes, beat_bytes=beat_bytes)


def gigabytes_per_s(dram, pattern, row_bytes, beat_bytes, clock_hz, **changes):
    report = report_of(
        dram, pattern, row_bytes, beat_bytes=beat_bytes, clock_hz=clock_hz, **changes
    )
    return report.bytes_per_cycle * clock_hz / 1e9


@pytest.mark.parametrize(("dram", "beats_per_atom"), [(HBM2, 2), (DDR4, 1)])
def test_sequential_is_the_peak_without_refresh(dram, beats_per_atom):
    lost = dram.t_rtp_ns + dram.t_rp_ns + dram.t_rfc_ns + dram.t_rcd_ns  # of every tREFI
    with_refresh = report_of(dram, "sequential", 256).share_of_peak
    without = report_of(dram, "sequential", 256, t_refi_ns=0.0).share_of_peak
    assert without == pytest.approx(1, abs=1e-3)
    assert with_refresh == pytest.approx(1 - lost / dram.t_refi_ns, abs=1.5e-3)
    refresh = dram.t_rfc_ns / dram.t_refi_ns
    assert refresh < 1 - with_refresh < refresh + 50 / dram.t_refi_ns


@pytest.mark.parametrize(
    ("row_bytes", "share", "tolerance"), [(32, 0.18, 0.01), (64, 0.36, 0.01), (128, 0.72, 0.02)]
)
def test_random_rows_reach_the_planning_figures(row_bytes, share, tolerance):
    got = report_of(HBM2, "random", row_bytes).share_of_peak  # 32 B rows: half a beat
    assert got == pytest.approx(share, abs=tolerance)


@pytest.mark.parametrize("dram", [HBM2, DDR4])
@pytest.mark.parametrize("row_bytes", [256, 512, 1024])
def test_long_rows_come_at_the_sequential_rate(dram, row_bytes):
    random = report_of(dram, "random", row_bytes).share_of_peak
    assert random >= 0.9 * report_of(dram, "sequential", row_bytes).share_of_peak


# Measured on an Alveo U280 at the clocks of its memory ports (facts of HBM2 and DDR4).
@pytest.mark.parametrize(
    ("dram", "pattern", "beat_bytes", "clock_hz", "measured"),
    [
        (HBM2, "sequential", 32, 450e6, 13.27),
        (HBM2, "stride 4 KiB in 8 KiB", 32, 450e6, 6.7),
        (HBM2, "stride 4 KiB in 256 MiB", 32, 450e6, 2.4),
        (DDR4, "sequential", 64, 300e6, 18.0),
    ],
)
def test_measured_rates(dram, pattern, beat_bytes, clock_hz, measured):
    got = gigabytes_per_s(dram, pattern, beat_bytes, beat_bytes, clock_hz)
    assert got == pytest.approx(measured, rel=0.02)


def test_row_bits_below_the_banks_cost_a_row_cycle_each():
    addresses = np.arange(ROWS) * 1024  # a page each
    rates = [
        requester_report(
            memory(HBM2, clock_hz=450e6, address_map=address_map), addresses, 32, beat_bytes=32
        ).bytes_per_cycle
        for address_map in (HBM2.address_map, "2B-2G-14R-5C")
    ]
    every_row = 32 / HBM2.t_rc_ns * (1 - HBM2.t_rfc_ns / HBM2.t_refi_ns) / 0.45
    assert rates[1] == pytest.approx(every_row, rel=0.02)
    assert rates[0] > 10 * rates[1]


@pytest.mark.parametrize("in_flight", [1, 2, 4, 8, 16, 32, 33, 64])
def test_constant_latency_gives_n_per_latency(in_flight):
    report = requester_report(SIMPLE, np.arange(20_000) * 64, 64, in_flight=in_flight)
    expected = min(1, in_flight / (SIMPLE.read_latency_cycles + 1))
    assert report.beats_per_cycle == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("dram", [HBM2, DDR4])
def test_curve_over_reads_in_flight(dram):
    addresses = pattern_addresses("random", 64, ROWS)
    counts = (1, 2, 4, 8, 16, 32, 64, 256)
    timing = memory(dram, clock_hz=CLOCK_HZ)
    *curve, unlimited = requester_curve(timing, addresses, 64, (*counts, None))
    one = curve[0].beats_per_cycle
    assert one == pytest.approx(1 / (curve[0].mean_latency_cycles + 1), rel=0.01)
    for count, report in zip(counts, curve, strict=True):
        limit = min(count * one, unlimited.beats_per_cycle)
        assert report.beats_per_cycle <= 1.01 * limit
        away = count * one < 0.4 * limit or count * one > 3 * limit
        assert not away or report.beats_per_cycle >= 0.95 * limit
        # Little: reads in flight = rate x time in flight
        held = report.beats_per_cycle * (report.mean_latency_cycles + 1)
        assert held <= 1.001 * count
        assert held >= 0.98 * count or report.beats_per_cycle > 0.95 * unlimited.beats_per_cycle
    assert curve[-1].beats_per_cycle >= 0.99 * unlimited.beats_per_cycle


def test_one_id_loses_the_reordering():
    addresses = pattern_addresses("random", 64, ROWS)
    shares = [
        requester_report(memory(HBM2), addresses, 64, ids=ids).share_of_peak
        for ids in (1, 4, 64, None)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.8 * shares[-1]


def test_beats_and_bursts_are_counted():
    rng = np.random.default_rng(2)
    addresses, sizes = rng.integers(0, 1 << 20, 500), rng.integers(1, 5000, 500)
    bursts = beats = 0
    for start, size in zip(addresses.tolist(), sizes.tolist(), strict=True):
        first, last = start // 64, (start + size - 1) // 64
        beats += last - first + 1
        pages = {}
        for beat in range(first, last + 1):
            pages[beat // 64] = pages.get(beat // 64, 0) + 1
        bursts += sum(-(-count // 16) for count in pages.values())
    report = requester_report(SIMPLE, addresses, sizes)
    assert (report.beats, report.bursts, report.row_bytes) == (beats, bursts, sizes.sum())
    # beats never wait once the first has come; bursts are offered one per cycle
    assert report.cycles == SIMPLE.read_latency_cycles + beats


def test_one_burst_is_offered_per_cycle():
    report = requester_report(SIMPLE, np.arange(1000) * 64, 64)
    assert report.mean_latency_cycles == SIMPLE.read_latency_cycles
    assert report.cycles == 1000 + SIMPLE.read_latency_cycles


def test_ports_work_side_by_side():
    addresses = pattern_addresses("random", 64, ROWS)
    one = requester_report(memory(HBM2), addresses, 64)
    four = requester_report(memory(HBM2), addresses, 64, np.arange(ROWS) % 4)
    assert four.peak_bytes_per_cycle == 4 * one.peak_bytes_per_cycle
    assert four.beats == one.beats
    assert one.cycles / four.cycles == pytest.approx(4, rel=0.02)


def test_channels_of_a_port_add_up():
    addresses = pattern_addresses("random", 64, ROWS)
    rates = [
        requester_report(memory(HBM2, channels=channels), addresses, 64).bytes_per_cycle
        for channels in (1, 2)
    ]
    assert rates[1] / rates[0] == pytest.approx(2, rel=0.05)


def test_peak_is_the_port_or_the_memory():
    assert port_peak_bytes_per_cycle(SIMPLE, 32) == 32
    assert port_peak_bytes_per_cycle(memory(HBM2, clock_hz=450e6), 32) == pytest.approx(32)
    assert port_peak_bytes_per_cycle(memory(HBM2, clock_hz=300e6)) == pytest.approx(48)
    assert port_peak_bytes_per_cycle(memory(DDR4, clock_hz=250e6)) == 64


def test_same_trace_same_report():
    timing = dataclasses.replace(memory(HBM2), spike_per_million=500, hold_per_mille=50)
    addresses = pattern_addresses("random", 64, 5000)
    reports = [
        requester_report(dataclasses.replace(timing, seed=seed), addresses, 64, in_flight=16)
        for seed in (1, 1, 2)
    ]
    assert reports[0] == reports[1] != reports[2]


def test_errors_are_counted():
    timing = dataclasses.replace(SIMPLE, error_per_mille=20)
    report = requester_report(timing, np.arange(20_000) * 64, 64)
    assert report.errors == pytest.approx(400, abs=100)


def test_table_has_every_cell(capsys):
    table = share_table(("ddr4", "hbm2"), ("random",), (64, 256), rows=3000)
    assert [(row.memory, row.row_bytes) for row in table] == [
        ("ddr4", 64), ("ddr4", 256), ("hbm2", 64), ("hbm2", 256)
    ]  # fmt: skip
    assert main(["--rows", "1000"]) == 0
    text = capsys.readouterr().out
    assert text.count("| hbm2 | random |") == 1
    assert f"| {ROW_BYTES[-1]} B |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"addresses": []}, r"^addresses must name at least one row$"),
        ({"row_bytes": 0}, r"^row_bytes must be in 1\.\.2\*\*32-1, not 0\.\.0$"),
        ({"beat_bytes": 48}, r"^beat_bytes must be 8, 16, 32, 64 or 128, not 48$"),
        ({"in_flight": 0}, r"^in_flight must be None or in 1\.\."),
        ({"ids": 0}, r"^ids must be None or in 1\.\."),
    ],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        requester_report(SIMPLE, **{"addresses": [0], "row_bytes": 64, **arguments})


def test_rejects_pattern():
    with pytest.raises(ValueError, match=r"^pattern must be one of sequential, .*, not 'x'$"):
        pattern_addresses("x", 64, 1)
