"""README's quality figures are those of the shipped parameters (which another test measures)."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "spec" / "models" / "ml100k.json").read_text())["quality"]
LINES = (ROOT / "README.md").read_text().splitlines()


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
    text = " ".join(LINES)
    assert f"{RECORD['users']} users, {RECORD['excluded_users']} without" in text
