"""README's figures are those of the shipped parameters and of the pages that commands write."""

import json
import re
from pathlib import Path

import pytest

from rpaccel.cli import app
from tests.markdown import table

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "generated"
RECORD = json.loads((ROOT / "spec" / "models" / "ml100k.json").read_text())["quality"]
LINES = (ROOT / "README.md").read_text().splitlines()
TEXT = " ".join(LINES)


def page(name):
    return (PAGES / name).read_text().splitlines()


@pytest.mark.parametrize("name", sorted(RECORD["rows"]))
def test_readme_states_the_measured_quality(name: str) -> None:
    (row,) = [line for line in LINES if line.startswith(f"| {name} |")]
    metrics = RECORD["rows"][name]
    ndcg = metrics["ndcg@10"]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == f"{ndcg['estimate']:.4f} [{ndcg['low']:.4f}, {ndcg['high']:.4f}]"
    assert cells[2] == f"{metrics['ndcg@64']['estimate']:.4f}"
    assert cells[3] == f"{metrics['hit@10']['estimate']:.4f}"


def test_readme_counts_the_users() -> None:
    assert f"{RECORD['users']} users, {RECORD['excluded_users']} without" in TEXT


def test_readme_states_the_paired_difference() -> None:
    gap = {name: f"{100 * part:+.1f}" for name, part in RECORD["large_against_small"].items()}
    assert f"large against small {gap['estimate']} % [{gap['low']}, {gap['high']}]" in TEXT


def test_units_cost_what_their_page_says() -> None:
    head, rows = table(LINES, "unit")
    assert head[3:] == ["LUT4", "FF", "DSP", "block RAM"]
    page_head, page_rows = table(page("units.md"), "unit")
    assert page_head[1:5] == ["lut", "ff", "dsp", "bram"]
    stated = {row[0].strip("`"): row[3:] for row in rows}
    assert stated == {row[0]: row[1:5] for row in page_rows}
    assert "rpaccel units --preset tiny --family ecp5" in " ".join(page("units.md"))


def assert_rows_of_page(first, name, page_first, keys):
    """Check that a table of README has the page's rows and, of its columns, those of its head."""
    head, rows = table(LINES, first)
    page_head, page_rows = table(page(name), page_first)
    columns = [page_head.index(page_first), *(page_head.index(column) for column in head[1:])]
    assert [[cell.strip("`") for cell in row] for row in rows] == [
        [row[n] for n in columns] for row in page_rows
    ]
    assert set(keys) <= set(head)


def test_routed_units_are_what_their_page_says() -> None:
    figures = ("Fmax [MHz]", "LUT/MAC", "DSP", "CPU [s]")
    assert_rows_of_page("routed unit", "fpga.md", "unit", figures)


def test_missed_goals_of_routed_units_are_named() -> None:
    head, goals = table(page("fpga.md"), "goal")
    missed = {
        f"{goal[0].split(',')[0]} by `{unit}`"
        for goal in goals
        for unit, verdict in zip(head[1:], goal[1:], strict=True)
        if verdict.endswith(": missed")
    }
    (line,) = [line for line in LINES if line.startswith("Goals of that array: ")]
    (named,) = re.findall(r"Missed: ([^.]*)\.", line)
    assert set(named.split(", ")) == missed
    assert all(re.fullmatch(r"[\d.,]+: (kept|missed)", cell) for goal in goals for cell in goal[1:])


def test_efficiency_is_what_its_page_says() -> None:
    _, rows = table(LINES, "array")
    head, page_rows = table(page("efficiency.md"), "A / block")
    columns = [head.index(name) for name in ("bound", "steady", "whole run")]
    measured = {}
    for row in page_rows:
        size = row[0].split()[0]
        measured.setdefault(f"{size} x {size}", {})[row[1]] = [row[n] for n in columns]
    assert {row[0]: row[1:] for row in rows} == {
        size: [*models["rmsmall"], *models["rmlarge"]] for size, models in measured.items()
    }


def test_the_largest_array_takes_what_its_page_says() -> None:
    head, rows = table(page("array_bench.md"), "array")
    row = dict(zip(reversed(head), reversed(rows[-1]), strict=True))
    build = f"{float(row['build [s]']):.0f}"
    assert (
        f"The {row['array']} array alone is written in {row['generate [s]']} s, built in {build} s "
        f"and simulated at {row['cycles/s']} cycles/s"
    ) in TEXT


def test_every_page_says_which_command_wrote_it() -> None:
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = sorted(PAGES.glob("*.md"))
    assert len(pages) >= 4
    for path in pages:
        tool, name = re.search(r"Written by `(rpaccel|make) ([a-z-]+)", path.read_text()).groups()
        assert name in (verbs if tool == "rpaccel" else targets), path
        assert f"docs/generated/{path.name}" in TEXT, f"README must name {path.name}"
