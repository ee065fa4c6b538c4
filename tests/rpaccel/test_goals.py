"""The goals of the multi-stage machine, kept by the pages that the commands wrote last."""

import re
from pathlib import Path

from tests.markdown import table

PAGES = Path(__file__).parents[2] / "docs" / "generated"


def text(name):
    return (PAGES / name).read_text()


def seconds(name):
    """Return (netlist, build, simulation) of a page of `rpaccel criteo` [s]."""
    found = re.search(
        r"Netlist written in (\d+) s .*built in (\d+) s .* simulated in (\d+) s", text(name)
    )
    return tuple(map(int, found.groups()))


def test_the_ablation_reaches_its_goals():
    goals = re.findall(
        r"^\* Against (.*); goal ([\d.]+) ?[x%]: (\w+)\.$", text("ablation.md"), re.M
    )
    assert [(said[:1], float(goal)) for said, goal, _ in goals] == [
        ("A", 4), ("A", 8), ("B", 90), ("B", 90),
    ]  # fmt: skip
    assert {verdict for _, _, verdict in goals} == {"reached"}
    for said, goal, _ in goals[:2]:
        assert float(re.search(r": ([\d.]+)x$", said).group(1)) >= float(goal)
    for said, goal, _ in goals[2:]:
        assert float(re.search(r": (\d+)% of it", said).group(1)) >= float(goal)


def test_criteo_is_simulated_in_five_minutes():
    page = text("criteo.md")
    assert "(32 x 32," in page and "4096 -> 512 -> 64" in page
    assert re.search(r"\d queries, every id, logit, CTR and count equal to the golden", page)
    assert seconds("criteo.md")[2] <= 300


def test_the_papers_machine_runs_in_45_minutes():
    page = text("paper.md")
    assert "(128 x 128," in page and "every id, logit, CTR and count equal to the golden" in page
    assert sum(seconds("paper.md")) <= 45 * 60
    head, rows = table(page.splitlines(), "split")
    parts = [dict(zip(head, row, strict=True)) for row in rows]
    assert [part["split"] for part in parts] == ["8 + 2", "quarters", "8 + 2"]
    assert int(parts[0]["queries"]) >= 32
    assert all(int(part["changed with"]) > 0 for part in parts[:-1])  # live


def test_the_soak_is_whole():
    page = text("soak.md")
    assert re.search(r"10,000\s+queries, no wrong answer", page)
    _, rows = table(page.splitlines(), "status")
    counts = {row[0]: int(row[1].replace(",", "")) for row in rows}
    assert sum(counts.values()) == 10_000
    assert counts["OK"] > 5000 and {"LATE", "LANE_RESET", "ABORTED", "MEMORY"} <= set(counts)
    _, rows = table(page.splitlines(), "event")
    assert {row[0] for row in rows} == {"faults", "lane resets", "soft resets", "splits"}
