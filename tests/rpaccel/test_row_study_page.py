from dataclasses import replace

import pytest

from rpaccel.host.row_bounds import BoundRow
from rpaccel.host.row_simulator import COUNTS, RowRun
from rpaccel.host.row_study import StudyRow, readers_of, reads_of, study_machine
from rpaccel.main_job.paper_gather import GatherRate
from rpaccel.main_job.row_study_page import row_study_text, row_study_values

RUN = RowRun(
    cycles=1000, rows=10, beats=890, errors=0, port_beats=(890,), **dict.fromkeys(COUNTS, 0)
)
ROW = StudyRow(
    memory="hbm2", row_bytes=256, run=RUN, ideal_beats_per_cycle=0.896, peak_beats_per_cycle=1.0
)
RATE = GatherRate(
    row_bytes=32, rows=512, pinned=True, ports=16, rows_per_cycle=11.25, read_share=0.0
)
BOUND = BoundRow(
    memory="simple", ports=8, readers=16, reads=64, rows_waiting=16, banks=4, held=192,
    beats_per_cycle=7.7, of_ideal=0.978,
)  # fmt: skip


def test_says_whose_limit_it_is():
    text = row_study_text([ROW], [])
    assert "* 95 % of ideal: kept." in text
    assert "hbm2, 256 B: 89.0 (the ideal requester itself: 89.6: it misses the goal, too)." in text
    ours = row_study_text([replace(ROW, ideal_beats_per_cycle=0.95)], [])
    assert "* 95 % of ideal: hbm2, 256 B: 93.7." in ours
    assert "hbm2, 256 B: 89.0 (the ideal requester itself: 95.0)." in ours
    small = row_study_text([replace(ROW, row_bytes=128)], [])
    assert "* 90 % of peak, rows of 256 B and more: kept." in small


def test_several_ports_and_rows_that_hit():
    text = row_study_text([ROW], [], [replace(ROW, ports=4)], [RATE])
    assert "16 readers of 32 in flight at 4 ports" in text
    assert text.count("hbm2 |") == 2
    assert "4 ports, hbm2, 256 B: 89.0 (the ideal" in text
    assert "11.25" in text and "static caches" in text
    alone = row_study_text([ROW], [])
    assert "Several ports" not in alone and "Rows that hit" not in alone
    assert "What bounds" not in alone


def test_what_bounds_several_ports():
    more = replace(BOUND, reads=128, of_ideal=0.917)
    deep = replace(more, rows_waiting=64, of_ideal=0.986)
    text = row_study_text([ROW], [], [], [], [BOUND, more, deep])
    assert (
        "A bank holds 16 rows that wait and 32 on their way; the banks of a port hold 192" in text
    )
    assert "| ports | readers of a port | 64 in flight | 128 in flight |" in text
    assert "|     8 |                 2 |         97.8 |          91.7 |" in text
    assert "| ports | 16 rows wait | 64 rows wait |" in text
    assert "|     8 |         91.7 |         98.6 |" in text


def test_json_has_every_share():
    values = row_study_values([ROW], [], [replace(ROW, ports=4)], [RATE], [BOUND])
    assert values["rows"][0]["ideal_of_peak"] == pytest.approx(0.896)
    assert values["several"][0]["ports"] == 4
    assert values["gather"][0]["rows_per_cycle"] == 11.25
    assert values["bounds"][0]["of_ideal"] == 0.978


def test_sizes():
    assert [readers_of(ports) for ports in (1, 4, 8, 16)] == [1, 16, 16, 32]
    assert [reads_of(ports) for ports in (1, 4, 8, 16)] == [128, 32, 64, 64]
    machine = study_machine(4, 16)
    assert (machine.memory_ports, machine.banks, machine.reads_in_flight) == (16, 64, 64)
    with pytest.raises(ValueError, match=r"ports must be a power of two in 1\.\.16, not 3"):
        study_machine(4, 3)
    with pytest.raises(ValueError, match="banks of all ports must be at most 64, not 128"):
        study_machine(8, 16)
