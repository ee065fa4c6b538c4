import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming, ReadSchedule
from rpaccel.host.dram_timing import DDR4, HBM2

PRESETS = {"ddr4": DDR4, "hbm2": HBM2}
FACTS_NS = {"ddr4": ("73.3", "89.9", "106.6"), "hbm2": ("106.7", "122.2", "137.8")}
MANY_CHANNELS = dataclasses.replace(DDR4, channels=3, stripe_bytes=256, window=8)
NO_REFRESH = {"t_refi_ns": 0.0}
READ, WRITE = 1, 2


def schedule_of(dram, beat_bytes=None, **options):
    timing = MemoryTiming(in_order=False, dram=dram)
    return ReadSchedule(timing, 0, beat_bytes=beat_bytes or dram.atom_bytes, **options)


def row_stride(dram):
    return dram.page_bytes * dram.banks


@pytest.mark.parametrize("clock_hz", [200e6, 250e6, 300e6, 450e6])
@pytest.mark.parametrize("name", PRESETS)
def test_idle_latencies(name, clock_hz):
    dram = dataclasses.replace(PRESETS[name], clock_hz=clock_hz)
    schedule = schedule_of(dram)
    hit, closed, miss = (
        math.ceil(Fraction(ns) * Fraction(int(clock_hz), 10**9)) for ns in FACTS_NS[name]
    )
    second = dram.atom_bytes * 4  # another column of the page
    refreshed = round(2.2 * dram.t_refi_ns * 1e-9 * clock_hz)
    accesses = [(0, 0, closed), (150, second, hit), (300, row_stride(dram), miss)]
    for start, address, latency in [*accesses, (refreshed, row_stride(dram), closed)]:
        assert schedule.accept(start, 1, address, 1) - start == latency


def test_switch_delays_every_answer():
    dram = dataclasses.replace(HBM2, switch_ns=15.6)  # 7 cycles of 450 MHz
    assert schedule_of(dram).accept(0, 0, 0, 1) == math.ceil((122.2 + 15.6) / 4)


def broken_rules(dram, commands):
    """Return the rules that `commands` break, worked out from the data sheet's point of view."""
    fs = {field: round(getattr(dram, field) * 1e6) for field in dir(dram) if field.startswith("t_")}
    broken = []
    ordered = np.sort(commands, order="time_fs")
    for channel in range(dram.channels):
        mine = ordered[ordered["channel"] == channel]
        times = mine["time_fs"].astype(np.int64)
        activates = mine["kind"] == 0
        broken += activate_rules(fs, times[activates], mine["group"][activates])
        broken += column_rules(fs, times[~activates], mine["group"][~activates], mine["kind"])
        for bank in np.unique(mine["bank"]):
            broken += bank_rules(fs, mine[mine["bank"] == bank], refresh_phase(fs, channel))
    return broken


def activate_rules(fs, times, groups):
    gaps, same = np.diff(times), np.diff(groups.astype(int)) == 0
    if (gaps < np.where(same, fs["t_rrd_l_ns"], fs["t_rrd_s_ns"])).any():
        yield "tRRD"
    if (times[4:] - times[:-4] < fs["t_faw_ns"]).any():
        yield "tFAW"


def column_rules(fs, times, groups, kinds):
    kinds = kinds[kinds != 0]
    gaps, same = np.diff(times), np.diff(groups.astype(int)) == 0
    least = np.where(same, fs["t_ccd_l_ns"], fs["t_ccd_s_ns"])
    least = np.where((kinds[:-1] == READ) & (kinds[1:] == WRITE), fs["t_rtw_ns"], least)
    least = np.where((kinds[:-1] == WRITE) & (kinds[1:] == READ), fs["t_wtr_ns"], least)
    if (gaps < least).any():
        yield "column to column"


def refresh_phase(fs, channel):
    return fs["t_refi_ns"] + fs["t_refi_ns"] // 16 * (channel * 7 % 16)


def bank_rules(fs, commands, first_refresh):
    row, activated, precharge, last = None, None, 0, 0
    for command in commands:
        time = int(command["time_fs"])
        done = refreshes(fs, first_refresh, time)
        if done and time < first_refresh + (done - 1) * fs["t_refi_ns"] + fs["t_rfc_ns"]:
            yield "command in a refresh"
        if done != last:  # all banks were closed in time
            if (
                row is not None
                and precharge + fs["t_rp_ns"] > first_refresh + last * fs["t_refi_ns"]
            ):
                yield "row open in a refresh"
            row, precharge, last = None, 0, done
        if command["kind"] == 0:
            if row is not None and time < precharge + fs["t_rp_ns"]:
                yield "tRP, tRAS, tRTP or tWTP"
            row, activated, precharge = command["row"], time, time + fs["t_ras_ns"]
            continue
        if row is None or row != command["row"]:
            yield "column of a closed row"
        elif time < activated + fs["t_rcd_ns"]:
            yield "tRCD"
        recovery = "t_wtp_ns" if command["kind"] == WRITE else "t_rtp_ns"
        precharge = max(precharge, time + fs[recovery])


def refreshes(fs, first, time):
    return 0 if time < first or not fs["t_refi_ns"] else 1 + (time - first) // fs["t_refi_ns"]


def random_traffic(dram, seed, *, requests=6000, places=1 << 20, gap=3, writes=0.2, ids=5):
    rng = np.random.default_rng(seed)
    reads = schedule_of(dram, 64)
    other = schedule_of(dram, 64, write=True, beside=reads)
    reads.record()
    atoms = cycle = 0
    for _ in range(requests):
        cycle += int(rng.integers(gap))
        beats = int(rng.integers(1, 9))
        address = int(rng.integers(places)) * 64
        chosen = other if rng.random() < writes else reads
        chosen.accept(cycle, int(rng.integers(ids)), address, beats)
        atoms += beats * 64 // dram.atom_bytes
    commands = reads.commands()
    assert np.count_nonzero(commands["kind"]) == atoms
    return commands


@pytest.mark.parametrize("places", [1 << 8, 1 << 22])
@pytest.mark.parametrize("window", [1, 4, 32])
@pytest.mark.parametrize("name", PRESETS)
def test_random_traffic_keeps_every_rule(name, window, places):
    dram = dataclasses.replace(PRESETS[name], window=window)
    commands = random_traffic(dram, window, places=places)
    assert broken_rules(dram, commands) == []


@pytest.mark.parametrize("name", PRESETS)
def test_slow_traffic_keeps_every_rule(name):
    commands = random_traffic(PRESETS[name], 4, gap=12, writes=0.5)
    assert broken_rules(PRESETS[name], commands) == []


def test_a_long_tfaw_does_not_reach_into_a_refresh():
    dram = dataclasses.replace(HBM2, t_faw_ns=400.0)
    assert broken_rules(dram, random_traffic(dram, 5, requests=2000)) == []


def test_beats_of_one_atom_share_it():
    schedule = schedule_of(DDR4, 32)
    schedule.record()
    schedule.accept(0, 0, 32, 4)  # bytes 32..159: half an atom, one, half of one
    assert np.count_nonzero(schedule.commands()["kind"]) == 3


def test_several_channels_keep_every_rule():
    commands = random_traffic(MANY_CHANNELS, 3)
    assert set(commands["channel"]) == {0, 1, 2}
    assert broken_rules(MANY_CHANNELS, commands) == []


TESTED_RULES = (
    *("t_rrd_l_ns", "t_faw_ns", "t_ccd_l_ns", "t_wtr_ns", "t_rtw_ns"),
    *("t_ras_ns", "t_rtp_ns", "t_wtp_ns", "t_rfc_ns"),
)


@pytest.mark.parametrize("rule", TESTED_RULES)
def test_the_check_sees_every_rule(rule):
    commands = random_traffic(DDR4, 8)
    value = getattr(DDR4, rule)
    limit = 2 * DDR4.t_rrd_s_ns if rule == "t_rrd_l_ns" else 6 * value
    longer = min(limit, 2 * DDR4.t_ccd_s_ns) if rule == "t_ccd_l_ns" else limit
    assert broken_rules(dataclasses.replace(DDR4, **{rule: longer}), commands)


def test_rows_of_one_bank_take_trc_each():
    dram = dataclasses.replace(HBM2, **NO_REFRESH)
    schedule = schedule_of(dram)
    rows = 1000
    due = [schedule.accept(0, i, i * row_stride(dram), 1) for i in range(rows)]
    last_ns = (rows - 1) * (dram.t_ras_ns + dram.t_rp_ns) + dram.page_closed_ns
    assert due[-1] == math.ceil(round(last_ns / 4, 6))


def test_address_map_places_bits():
    address = 77 << 14 | 1 << 13 | 2 << 11 | 3 << 6 | 1 << 5  # R, G, B, C, G
    schedule = schedule_of(HBM2)
    schedule.record()
    schedule.accept(0, 0, address, 1)
    activate, read = schedule.commands()
    assert activate["row"] == read["row"] == 77
    assert read["group"] == 3
    assert read["bank"] == 2 << 2 | 3
    assert (HBM2.page_bytes, HBM2.banks, HBM2.capacity_bytes) == (1024, 16, 1 << 28)
    assert (DDR4.page_bytes, DDR4.banks, DDR4.capacity_bytes) == (8192, 16, 1 << 33)


def test_ids_overtake_and_keep_their_own_order():
    schedule = schedule_of(dataclasses.replace(HBM2, **NO_REFRESH))
    slow = [schedule.accept(0, 1, row * row_stride(HBM2), 1) for row in range(4)]
    behind = schedule.accept(0, 1, 2048, 1)  # another bank, the same id
    other = schedule.accept(0, 2, 4096, 1)
    assert slow == sorted(slow)
    assert behind > slow[-1] > slow[0] > other - 10
    assert other < slow[1]


def test_row_hit_before_an_older_conflict():
    dram = dataclasses.replace(HBM2, **NO_REFRESH)
    schedule = schedule_of(dram)
    first = schedule.accept(0, 0, 0, 1)
    conflict = schedule.accept(0, 1, row_stride(dram), 1)
    hit = schedule.accept(0, 2, 64, 1)
    assert first < hit < conflict


def test_window_of_one_is_serial():
    dram = dataclasses.replace(HBM2, window=1, **NO_REFRESH)
    schedule = schedule_of(dram)
    due = [schedule.accept(0, i, i * 2048, 1) for i in range(4)]  # four banks
    gaps = np.diff(due) * 4
    assert (abs(gaps - dram.t_rcd_ns) <= 4).all()


def test_a_write_answers_when_its_command_is_done():
    reads = schedule_of(HBM2, 64)
    writes = schedule_of(HBM2, 64, write=True, beside=reads)
    assert writes.accept(0, 0, 0, 1) == 16  # posted: the least
    for i in range(200):
        reads.accept(0, i, i * row_stride(HBM2), 1)  # 200 tRC of one bank
    assert writes.accept(0, 0, 200 * row_stride(HBM2), 1) > 200 * HBM2.t_rc_ns / 4


def test_slow_data_never_comes_before_its_beat():
    dram = dataclasses.replace(DDR4, clock_hz=100e6, **NO_REFRESH)  # 10 ns, 192 B per cycle
    slow = dataclasses.replace(dram, t_ccd_s_ns=20.0, t_ccd_l_ns=40.0)  # half a beat per cycle
    closed = math.ceil(DDR4.page_closed_ns / 10)
    assert schedule_of(dram).accept(0, 0, 0, 16) == closed
    assert schedule_of(slow).accept(0, 0, 0, 16) == math.ceil((89.9 + 15 * 20) / 10) - 15


def test_survives_json():
    timing = MemoryTiming.of("hbm2", clock_hz=300e6)
    text = json.dumps(dataclasses.asdict(timing))
    assert MemoryTiming.from_mapping(json.loads(text)) == timing
    assert MemoryTiming.from_mapping(dataclasses.asdict(MemoryTiming())) == MemoryTiming()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t_faw_ns": -1.0}, r"^t_faw_ns must be in 0\.\.1e6, not -1\.0$"),
        ({"clock_hz": 250}, r"^clock_hz must be in 1e6\.\.1e10, not 250$"),
        ({"page_hit_ns": 200.0}, r"^page_hit_ns, page_closed_ns, page_miss_ns must rise"),
        ({"t_ccd_l_ns": 9.0}, r"^t_ccd_l_ns must be in t_ccd_s_ns\.\.2 t_ccd_s_ns"),
        ({"t_refi_ns": 300.0}, r"^t_refi_ns must be 0 or leave time"),
        ({"channels": 0}, r"^channels must be in 1\.\.16, not 0$"),
        ({"window": 0}, r"^window must be in 1\.\.1024, not 0$"),
        ({"atom_bytes": 48}, r"^atom_bytes must be a power of two in 8\.\.2\*\*30, not 48$"),
        ({"stripe_bytes": 16}, r"^stripe_bytes must be a power of two in 32\.\."),
        ({"address_map": "14R,5C"}, r"^address_map must be at most 8 fields"),
        ({"address_map": "2G-5C"}, r"^address_map must have row bits"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(HBM2, **change)


def test_rejects_memory():
    with pytest.raises(ValueError, match=r"^memory must be one of simple, ddr4, hbm2, not 'x'$"):
        MemoryTiming.of("x")
    with pytest.raises(ValueError, match=r"^timing must have dram"):
        ReadSchedule(MemoryTiming(), 0).record()
