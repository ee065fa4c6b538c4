from dataclasses import replace

import pytest

from rpaccel.host.row_simulator import COUNTS, RowRun
from rpaccel.host.row_study import StudyRow, readers_of, study_machine
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
    assert "16 readers at 4 ports" in text
    assert text.count("hbm2 |") == 2
    assert "4 ports, hbm2, 256 B: 89.0 (the ideal" in text
    assert "11.25" in text and "static caches" in text
    alone = row_study_text([ROW], [])
    assert "Several ports" not in alone and "Rows that hit" not in alone


def test_json_has_every_share():
    values = row_study_values([ROW], [], [replace(ROW, ports=4)], [RATE])
    assert values["rows"][0]["ideal_of_peak"] == pytest.approx(0.896)
    assert values["several"][0]["ports"] == 4
    assert values["gather"][0]["rows_per_cycle"] == 11.25


def test_sizes():
    assert [readers_of(ports) for ports in (1, 4, 8, 16)] == [1, 16, 16, 32]
    machine = study_machine(4, 16)
    assert (machine.memory_ports, machine.banks) == (16, 64)
    with pytest.raises(ValueError, match=r"ports must be a power of two in 1\.\.16, not 3"):
        study_machine(4, 3)
    with pytest.raises(ValueError, match="banks of all ports must be at most 64, not 128"):
        study_machine(8, 16)
