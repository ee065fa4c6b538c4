import pytest

from rpaccel.rtl import block, pe, tile
from tests.formal.mutants import mutant
from tests.formal.sby import run
from tests.formal.weight_properties import WeightProperties
from tests.rtl.conftest import small

SIZE = 4
CONFIG = small(
    SIZE, block_size=SIZE, sub_batch_max=4, weight_words=2 * SIZE, param_entries=SIZE
)  # the bank holds two tiles
BROKEN = ("the row meets the weight of its tile",)
BUGS = {
    "active weight takes every shadow": (pe, "m.If(self.swap)", "m.If(self.swap | self.load)"),
    "swap a cell early": (
        block,
        "cell.swap.eq(swap[r + c])",
        "cell.swap.eq(swap[r + c - (r > 0)])",
    ),
    "columns load together": (block, "cell.load.eq(load[c])", "cell.load.eq(load[0])"),
}


def tile_with(module, old, new):
    """Return a Tile whose cells or block have a planted bug."""
    changed = {pe: pe, block: block, module: mutant(module, old, new)}
    cells = mutant(block, "__all__", "__all__") if module is pe else changed[block]
    cells.PE = changed[pe].PE
    tiles = mutant(tile, "__all__", "__all__")
    tiles.Block = cells.Block
    return tiles.Tile(CONFIG)


@pytest.mark.parametrize("cell", [(r, c) for r in range(SIZE) for c in range(SIZE)], ids=str)
@pytest.mark.slow
def test_row_meets_the_weights_of_its_tile(cell):
    found = run(WeightProperties(tile.Tile(CONFIG), cell), 24)  # two tiles out of every column
    assert found.passed, found


@pytest.mark.slow
def test_two_swaps_are_reachable():
    found = run(WeightProperties(tile.Tile(CONFIG), (3, 3)), 34, "cover")
    assert found.passed, found


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug):
    found = run(WeightProperties(tile_with(*BUGS[bug]), (1, 2)), 24)
    assert not found.passed
    assert found.broken == BROKEN, found


@pytest.mark.parametrize("rule", [{"early": 1}, {"settle": 1}], ids=["early", "unsettled"])
def test_rule_has_no_slack(rule):
    """A load one cycle earlier, or a first row one cycle earlier, meets wrong weights."""
    cell = (SIZE - 1, 0) if "early" in rule else (0, 0)
    found = run(WeightProperties(tile.Tile(CONFIG), cell, **rule), 24)
    assert not found.passed
    assert found.broken == BROKEN, found
