import pytest
from amaranth.sim import Simulator

from rpaccel.rtl.slot_table import SlotTable
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import SLOT, Target

CONFIG = load_accelerator("tiny")


def load_slots(entries):
    """Return the loaded bits after writing (index, fields) entries over the load bus."""
    dut, found = SlotTable(CONFIG), []

    async def bench(ctx):
        ctx.set(dut.load.target, Target.SLOT)
        for index, fields in entries:
            ctx.set(dut.load.index, index)
            ctx.set(dut.load.data, SLOT.pack(fields))
            ctx.set(dut.load.valid, 1)
            await ctx.tick()
        ctx.set(dut.load.valid, 0)
        await ctx.tick()
        found.append(ctx.get(dut.loaded))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found[0]


@pytest.mark.parametrize(
    ("entries", "loaded"),
    [
        ([], 0b00),
        ([(0, {"valid": 1, "sub_batch": 1})], 0b01),
        ([(1, {"valid": 1, "sub_batch": 65535})], 0b10),
        ([(0, {"valid": 1, "sub_batch": 0})], 0b00),
        ([(0, {"valid": 0, "sub_batch": 4})], 0b00),
        ([(1, {"valid": 1, "sub_batch": 4}), (1, {"valid": 0})], 0b00),
        ([(2, {"valid": 1, "sub_batch": 4}), (17, {"valid": 1, "sub_batch": 4})], 0b00),
    ],
)
def test_usable_slots_count_as_loaded(entries, loaded):
    assert load_slots(entries) == loaded
