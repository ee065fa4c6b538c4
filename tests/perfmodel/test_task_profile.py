import pytest

from rpaccel.perfmodel.costs import GatherMachine, gather_cost
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.networks import RM_LARGE
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.task_profile import memory_cycles, task_profile
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import MemoryTiming

PAPER = load_accelerator("paper")
SHAPE = compile_shape(RM_LARGE, PAPER.lane(0))
RECORDS = RecordSizes(user_bytes=64, item_bytes=128)
MEMORY = MemoryTiming(latency_cycles=100, source="RecPipe table 3")


def cost(config, hits, latency=100, skew=1.0):
    machine = GatherMachine.of(config, latency, row_hits=hits, bank_skew=skew)
    return gather_cost(machine, SHAPE, RECORDS, 64, first=False)


def test_the_ports_share_what_is_read():
    """2 beats of a record and 26 rows of a beat per item; the banks do not bind."""
    for ports in (1, 2, 4):
        config = PAPER.model_copy(update={"memory_ports": ports})
        assert cost(config, 0.0).item == 28 / ports
        assert cost(config, 0.5).item == 15 / ports


def test_the_banks_bind_if_rows_hit():
    """A hit takes a bank 1 cycle, a miss 2."""
    config = PAPER.model_copy(update={"memory_ports": 1, "row_banks": 4})
    assert cost(config, 1.0).item == 26 / 4
    wide = PAPER.model_copy(update={"memory_ports": 16, "row_banks": 16})
    assert cost(wide, 0.0, latency=20).item == 26 * 2 / 16


def test_the_reads_of_the_banks_bind_if_memory_is_far():
    """32 rows in flight in each of 16 banks, each 100 cycles in memory and 16 in the bank."""
    wide = PAPER.model_copy(update={"memory_ports": 16, "row_banks": 16})
    assert cost(wide, 0.0).item == 26 * 116 / (16 * 32)
    assert cost(wide, 0.0, latency=500).item == 26 * 516 / (16 * 32)


@pytest.mark.parametrize("skew", [1.0, 1.5, 16.0])
def test_the_busiest_bank_binds(skew):
    """With a skew of 16 all reads of 16 banks are one bank's."""
    wide = PAPER.model_copy(update={"memory_ports": 16, "row_banks": 16})
    assert cost(wide, 0.0, skew=skew).item == pytest.approx(skew * 26 * 116 / (16 * 32))
    machine = GatherMachine.of(wide, 100, bank_skew=skew)
    taken = memory_cycles(machine, SHAPE, 64, RECORDS, first=False)
    assert taken == pytest.approx(skew * 64 * 26 * 116 / (16 * 32))
    profile = task_profile(wide, SHAPE, 64, 0, MEMORY, RECORDS, first=False, bank_skew=skew)
    even = task_profile(wide, SHAPE, 64, 0, MEMORY, RECORDS, first=False)
    walk = sum(walk for _, walk, _ in profile.batches)
    assert walk >= taken
    if skew == 16.0:  # it takes little more than the busiest bank
        assert walk == pytest.approx(taken, rel=0.02)
    assert (walk > sum(walk for _, walk, _ in even.batches)) is (skew > 1)


def test_memory_cycles_by_hand():
    def cycles(hits, first):
        machine = GatherMachine.of(PAPER, 100, row_hits=hits)
        return memory_cycles(machine, SHAPE, 64, RECORDS, first=first)

    assert cycles(0.0, False) == (1 + 64 * 28) / 4
    assert cycles(0.5, True) == (4 + 1 + 64 * 15) / 4  # 64 ids of 4 bytes are 4 beats


def test_a_profile_is_the_tasks():
    profile = task_profile(PAPER.lane(0), SHAPE, 1000, 0, MEMORY, RECORDS, first=False)
    sizes = [work.items for work, _, _ in profile.batches]
    assert sizes == [256, 256, 256, 232]
    assert profile.array == 17 * 1000
    machine = GatherMachine.of(PAPER.lane(0), 100)
    expected = memory_cycles(machine, SHAPE, 1000, RECORDS, first=False)
    assert sum(memory for _, _, memory in profile.batches) == pytest.approx(expected, rel=1e-3)


def test_rejects():
    with pytest.raises(ValueError, match=r"^row_hits must be in 0\.\.1, not 1\.5"):
        GatherMachine.of(PAPER, 100, row_hits=1.5)
    with pytest.raises(ValueError, match=r"^bank_skew must be at least 1, not 0\.9"):
        GatherMachine.of(PAPER, 100, bank_skew=0.9)
