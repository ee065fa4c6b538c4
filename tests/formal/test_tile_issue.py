import pytest

from rpaccel.rtl import tile_issue
from rpaccel.rtl.tile_issue import TileIssue
from tests.formal.mutants import mutant
from tests.formal.sby import run
from tests.formal.tile_issue_properties import TileIssueProperties
from tests.rtl.conftest import small
from tests.streams import slow_but

# array, block, most items: rows or loading set the pace in turn.
SIZES = [(4, 2, 6), (4, 4, 12), (8, 4, 12)]
BUGS = {
    "loads a cycle early": ("free = size - 2", "free = size - 3", "loads: b per tile"),
    "first without settling": ("settle_cycles = 2 ", "settle_cycles = 1 ", "first comes with"),
    "row dropped": ("row.eq(self.phase + 1 < now.items)", "row.eq(self.phase + 2 < now.items)",
                    "a tile's rows come one per cycle"),
    "row duplicated": ("row.eq(self.phase + 1 < now.items)", "row.eq(self.phase < now.items)",
                       "first is item 0"),
    "job dropped": ("~self.held | (self.go & self.last_tile)", "~self.held | self.go",
                    "a job's tiles are loaded before the next is taken"),
}  # fmt: skip


def config_of(array, block):
    memories = ("user_words", "dense_words", "act_words", "cross_words", "feature_words")
    words = dict.fromkeys(memories, 8)
    return small(array, block_size=block, weight_words=64, param_entries=32, **words)


@pytest.mark.parametrize(("array", "block", "items"), SIZES)
def test_every_row_and_weight_comes_once_in_order_for_ever(array, block, items):
    dut = TileIssue(config_of(array, block))
    found = run(TileIssueProperties(dut, items, addresses=True), 2, "prove")
    assert found.passed, found


@pytest.mark.slow
def test_block_rows_keep_the_weight_rule():
    dut = TileIssue(config_of(4, 2))
    found = run(TileIssueProperties(dut, 3, block_rows=True), 14)
    assert found.passed, found


@pytest.mark.slow
def test_jobs_in_a_row_are_reachable():
    found = run(TileIssueProperties(TileIssue(config_of(4, 2)), 3, lemmas=False), 30, "cover")
    assert found.passed, found


@pytest.mark.parametrize("bug", slow_but(list(BUGS)[:1], BUGS, nightly=list(BUGS)[3:]))
def test_planted_bug_is_found(bug):
    old, new, broken = BUGS[bug]
    dut = mutant(tile_issue, old, new).TileIssue(config_of(4, 4))
    found = run(TileIssueProperties(dut, 2, lemmas=False), 16)
    assert not found.passed
    assert any(message.startswith(broken) for message in found.broken), found
