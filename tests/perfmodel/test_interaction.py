import pytest

from rpaccel.golden.interaction import interaction_width
from rpaccel.main_job.efficiency import MODELS
from rpaccel.perfmodel.interaction import (
    drain_cycles,
    engine_table,
    group_cycles,
    interaction_cycles,
    interaction_macs,
)
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Interaction
from rpaccel.spec.program_plan import plan_model

DOT, CONCAT, PRODUCT = Interaction.DOT, Interaction.CONCAT, Interaction.PRODUCT
EDGE = load_accelerator("edge")  # A = 16, one engine
DEFAULT = load_accelerator("default")  # A = 32, four engines
ARRAYS = [EDGE.model_copy(update={"array_size": size}) for size in (16, 32, 64, 128)]
# Array passes per item on those, layers stacked.
CRITEO = {"RMsmall": (4, (104, 29, 9, 6)), "RMlarge": (32, (862, 217, 59, 17))}
TABLES = 26


def test_dots_of_four_bytes_by_hand():
    # v0 1; rows of 1..6 dots, four a cycle: 1, 1, 1, 1, 2, 2
    assert group_cycles(EDGE, DOT, 0, 6, 4) == 1 + 8
    assert group_cycles(EDGE, DOT, 6, 0, 4) == 1 + 8


def test_dots_of_two_sides_by_hand():
    # v0 2; user rows of 1, 2, 3 dots, two a cycle: 1, 1, 2; item rows of v0 and 3: 2, and of
    # 0, 1, 2 items: 0, 1, 1
    assert group_cycles(EDGE, DOT, 3, 3, 8) == 2 + 4 + 3 * 2 + 2


def test_dots_longer_than_a_chunk_by_hand():
    # v0 8; 10 pairs of two chunks
    assert group_cycles(EDGE, DOT, 1, 3, 32) == 8 + 20


def test_copies_by_hand():
    assert group_cycles(EDGE, CONCAT, 2, 1, 8) == 4 * 2
    # v0, two products, one left over: 2 each; the user's 16 bytes are held in one cycle
    assert group_cycles(EDGE, PRODUCT, 3, 2, 8) == 4 * 2 + 1


def test_drain_by_hand():
    # address, broadcast, memory, chunk 4, operands 1, product 1, four additions 4, sum 1,
    # requantise 6, last word 1
    assert drain_cycles(EDGE) == 18


def test_items_go_in_groups():
    group = group_cycles(DEFAULT, DOT, 0, 6, 4)
    for items, groups in ((1, 1), (4, 1), (5, 2), (9, 3)):
        assert interaction_cycles(DEFAULT, DOT, items, 0, 6, 4) == groups * group + 18


def test_more_engines_are_never_slower():
    for kind in Interaction:
        for row_bytes in (4, 8, 16, 32, 64, 128):
            cycles = [interaction_cycles(c, kind, 130, 3, 5, row_bytes) for c in ARRAYS]
            assert cycles == sorted(cycles, reverse=True)


@pytest.mark.parametrize("row_bytes", [4, 8, 16, 32, 128])
def test_never_faster_than_its_macs_and_its_output(row_bytes):
    for kind in Interaction:
        for user, item in ((0, 9), (9, 0), (4, 5), (1, 1)):
            group = group_cycles(EDGE, kind, user, item, row_bytes)
            assert group * EDGE.chunk_bytes >= interaction_macs(
                EDGE, kind, 1, user, item, row_bytes
            )
            assert group * 4 >= interaction_width(kind, row_bytes, user, item)


def test_macs_by_hand():
    assert interaction_macs(EDGE, DOT, 7, 1, 1, 32) == 7 * 3 * 32
    assert interaction_macs(EDGE, PRODUCT, 7, 2, 3, 8) == 7 * 2 * 8
    assert interaction_macs(EDGE, CONCAT, 7, 2, 3, 8) == 0


def test_engines_never_wait_for_criteo():
    for row_bytes, passes in CRITEO.values():
        for config, item_passes in zip(ARRAYS, passes, strict=True):
            group = group_cycles(config, DOT, 0, TABLES, row_bytes)
            assert group <= config.engines * item_passes


@pytest.mark.parametrize("network", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_engines_never_wait_for_criteo_on_any_lane(preset, network):
    machine = load_accelerator(preset)
    for number in range(machine.lanes):
        lane = machine.lane(number)
        if lane.array_size < 16:
            continue
        plan = plan_model(network.sizes, lane)
        group = group_cycles(lane, DOT, 0, TABLES, plan.row_bytes)
        assert group <= lane.engines * plan.tiles, lane.name


def test_half_the_engines_would_wait():
    assert group_cycles(ARRAYS[1], DOT, 0, TABLES, 4) > 29 * ARRAYS[1].engines // 2
    assert group_cycles(ARRAYS[2], DOT, 0, TABLES, 4) > 9 * ARRAYS[2].engines // 2


def test_engine_table():
    lines = engine_table(ARRAYS, CRITEO, TABLES).splitlines()
    print(*lines, sep="\n")
    assert len(lines) == 1 + 8
    assert lines[1].split() == ["RMsmall", "16", "1", "104", "104", "99", "5%"]
    assert lines[6].split() == ["RMlarge", "32", "4", "217", "868", "710", "18%"]
