import json

import pytest
from typer.testing import CliRunner

from rpaccel.cli import app
from rpaccel.main_job.fpga_page import GOALS, routed_text
from rpaccel.main_job.synth_page import estimates_text
from tests.markdown import table


def routed(**changes):
    """Return a report of place and route of an array that keeps every goal, all at the limit."""
    report = {
        "unit": "cells", "preset": "tiny", "device": "LFE5U-85F", "target_mhz": 120.0, "seed": 1,
        "macs": 64, "fmax_mhz": 120.0, "lut_per_mac": 46.0, "comb": 2944, "ff": 4562, "dsp": 64,
        "bram": 0, "synthesis_cpu_seconds": 400.0, "route_cpu_seconds": 500.0,
    }  # fmt: skip
    return report | changes


def estimated(**changes):
    """Return an estimate that fits a part with its memories in URAM, not in block RAM."""
    report = {
        "preset": "tiny", "macs_per_dsp": 1, "distinct_modules": 130, "instances": 1234,
        "cpu_seconds": 61.4, "part": "ZU4EV", "verdict": "fits ZU4EV", "memories": "uram",
        "uram": {"lut": 40_001, "ff": 40_002, "dsp": 116, "bram36": 5, "uram": 40},
        "block_ram": {"lut": 50_001, "ff": 50_002, "dsp": 116, "bram36": 217, "uram": 0},
    }  # fmt: skip
    return report | changes


def rows(text, first):
    """Return a table's rows by their first cell, each by its head."""
    head, cells = table(text.splitlines(), first)
    return {row[0]: dict(zip(head, row, strict=True)) for row in cells}


def test_every_unit_has_its_figures():
    core = routed(unit="core", comb=13_662, ff=12_536, dsp=108, bram=29, fmax_mhz=83.94)
    found = rows(routed_text([routed(), core]), "unit")
    assert list(found) == ["cells", "core"]
    assert found["core"] == {
        "unit": "core", "preset": "tiny", "Fmax [MHz]": "83.9", "LUT": "13,662", "FF": "12,536",
        "DSP": "108", "block RAM": "29", "LUT/MAC": "46.0", "CPU [s]": "900",
    }  # fmt: skip


def test_a_verdict_has_the_digits_that_it_takes():
    goals = rows(routed_text([routed(dsp=63, lut_per_mac=46.1)]), "goal")
    assert goals["DSP/MAC, at least 1"]["cells"] == "0.98: missed"
    assert goals["LUT/MAC, at most 46"]["cells"] == "46.1: missed"


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, None),
        ({"fmax_mhz": 119.9}, "Fmax [MHz], at least 120"),
        ({"lut_per_mac": 46.1}, "LUT/MAC, at most 46"),
        ({"dsp": 57}, "DSP/MAC, at least 1"),
        ({"route_cpu_seconds": 500.1}, "CPU [s], at most 900"),
    ],
)
def test_a_goal_is_kept_up_to_its_limit(change, missed):
    goals = rows(routed_text([routed(), routed(unit="core") | change]), "goal")
    assert len(goals) == len(GOALS)
    assert all(row["cells"].endswith(": kept") for row in goals.values())
    assert [goal for goal, row in goals.items() if row["core"].endswith(": missed")] == (
        [missed] if missed else []
    )


def test_a_unit_without_an_array_has_no_goal_per_mac():
    other = routed(unit="gather", macs=None, lut_per_mac=None)
    text = routed_text([other])
    assert rows(text, "unit")["gather"]["LUT/MAC"] == "-"
    goals = rows(text, "goal")
    assert goals["LUT/MAC, at most 46"]["gather"] == goals["DSP/MAC, at least 1"]["gather"] == "-"


def test_the_top_has_figures_and_no_goal():
    text = routed_text([routed(), routed(unit="top", preset="ecp5", fmax_mhz=31.3)])
    assert rows(text, "unit")["top"]["Fmax [MHz]"] == "31.3"
    assert all(list(row) == ["goal", "cells"] for row in rows(text, "goal").values())


def test_a_preset_needs_what_its_part_is_chosen_by():
    short = estimated(preset="huge", verdict="fits none: 16,384 of 12,288 DSP (VU13P)")
    text = estimates_text([estimated(), short | {"memories": "block_ram", "macs_per_dsp": 2}])
    found = rows(text, "preset")
    assert found["tiny"]["LUT"] == "40,001" and found["tiny"]["URAM"] == "40"
    assert found["huge"]["LUT"] == "50,001" and found["huge"]["BRAM36"] == "217"
    assert found["huge"]["MACs per DSP"] == "2"
    assert found["huge"]["smallest part"] == "fits none: 16,384 of 12,288 DSP (VU13P)"
    assert "rpaccel synth-page --presets tiny,huge`" in text


@pytest.fixture
def page(monkeypatch, tmp_path):
    """Run a verb whose reports are made up; return its page's text and what it printed."""
    monkeypatch.setattr(
        "rpaccel.host.fpga.fpga_report",
        lambda config, unit, **_: routed(preset=config.name, unit=unit),
    )
    monkeypatch.setattr(
        "rpaccel.host.part_choice.estimate",
        lambda config, **_: estimated(preset=config.name, macs_per_dsp=config.macs_per_dsp),
    )

    def run(*asked):
        path = tmp_path / "page.md"
        result = CliRunner().invoke(app, [*asked, "--out", str(path)])
        assert result.exit_code == 0, result.output
        return path.read_text(), result.stdout

    return run


def test_the_units_asked_for_are_routed(page):
    text, printed = page("fpga-page", "--units", "edge.array,spec/presets/tiny.yaml.gather")
    assert printed == text + "\n"
    found = rows(text, "unit")
    assert [(unit, row["preset"]) for unit, row in found.items()] == [
        ("array", "edge"),
        ("gather", "tiny"),
    ]
    assert json.loads(page("fpga-page", "--units", "ecp5.core", "--json")[1]) == [
        routed(unit="core", preset="ecp5")
    ]


def test_the_presets_asked_for_are_estimated_with_and_without_packing(page):
    text, printed = page("synth-page", "--presets", "edge,tiny")
    assert printed == text + "\n"
    _, cells = table(text.splitlines(), "preset")
    assert [row[:2] for row in cells] == [
        ["edge", "1"],
        ["edge", "2"],
        ["tiny", "1"],
        ["tiny", "2"],
    ]
