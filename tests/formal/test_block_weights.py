import pytest

from rpaccel.rtl import block, pair_pe, pe, tile
from tests.formal.mutants import mutant
from tests.formal.sby import run
from tests.formal.weight_properties import WeightProperties
from tests.rtl.conftest import small
from tests.streams import slow_but

SIZE = 4
CONFIG = small(
    SIZE, block_size=SIZE, sub_batch_max=4, weight_words=2 * SIZE, param_entries=SIZE
)  # the bank holds two tiles
PAIRS = CONFIG.model_copy(update={"macs_per_dsp": 2})
CONFIGS = pytest.mark.parametrize("config", [CONFIG, PAIRS], ids=["cells", "pairs"])
BROKEN = ("the row meets the weight of its tile",)
BUGS = {
    "active weight takes every shadow": (
        CONFIG,
        pe,
        "m.If(self.swap)",
        "m.If(self.swap | self.load)",
    ),
    "active pair takes every shadow": (
        PAIRS,
        pair_pe,
        "m.If(self.swap)",
        "m.If(self.swap | self.load)",
    ),
    "pair shifts without a load": (PAIRS, pair_pe, "m.If(self.load)", "m.If(1)"),
    "swap a cell early": (
        CONFIG,
        block,
        "cell.swap.eq(swap[r + c])",
        "cell.swap.eq(swap[r + c - (r > 0)])",
    ),
    "pair swaps with its second column": (
        PAIRS,
        block,
        "cell.swap.eq(swap[r + c])",
        "cell.swap.eq(swap[min(r + c + 1, 2 * size - 2)])",
    ),
    "columns load together": (CONFIG, block, "cell.load.eq(load[c])", "cell.load.eq(load[0])"),
    "pair loads with its second column": (
        PAIRS,
        block,
        "cell.load.eq(load[c])",
        "cell.load.eq(load[c + 1])",
    ),
}


def tile_with(config, module, old, new):
    """Return a Tile whose cells or block have a planted bug."""
    changed = {m: m for m in (pe, pair_pe)} | {module: mutant(module, old, new)}
    cells = changed.get(block) or mutant(block, "__all__", "__all__")
    cells.PE, cells.PairPE = changed[pe].PE, changed[pair_pe].PairPE
    tiles = mutant(tile, "__all__", "__all__")
    tiles.Block = cells.Block
    return tiles.Tile(config)


@CONFIGS
@pytest.mark.parametrize("cell", [(r, c) for r in range(SIZE) for c in range(SIZE)], ids=str)
@pytest.mark.nightly
@pytest.mark.slow
def test_row_meets_the_weights_of_its_tile(config, cell):
    found = run(WeightProperties(tile.Tile(config), cell), 24)  # two tiles out of every column
    assert found.passed, found


@CONFIGS
@pytest.mark.nightly
@pytest.mark.slow
def test_two_swaps_are_reachable(config):
    found = run(WeightProperties(tile.Tile(config), (3, 3)), 34, "cover")
    assert found.passed, found


@pytest.mark.parametrize("bug", slow_but([], BUGS, nightly=list(BUGS)[3:]))
def test_planted_bug_is_found(bug):
    found = run(WeightProperties(tile_with(*BUGS[bug]), (1, 2)), 24)
    assert not found.passed
    assert found.broken == BROKEN, found


@pytest.mark.slow
@CONFIGS
@pytest.mark.parametrize("rule", [{"early": 1}, {"settle": 1}], ids=["early", "unsettled"])
def test_rule_has_no_slack(config, rule):
    """A load one cycle earlier, or a first row one cycle earlier, meets wrong weights."""
    cell = (SIZE - 1, 0) if "early" in rule else (0, 0)
    found = run(WeightProperties(tile.Tile(config), cell, **rule), 24)
    assert not found.passed
    assert found.broken == BROKEN, found
