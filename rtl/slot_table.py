"""A lane's copies of the SLOT and EDGES sections of loaded images."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import LoadBus, struct
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import EDGES, SLOT, Target

__all__ = ["SlotTable"]


class SlotTable(wiring.Component):
    """One SLOT and one EDGES entry per model slot, filled by the load bus. Read latency 1 cycle.

    Members
    -------
    load : In(LoadBus)
    model : In  the slot to read.
    slot : Out(struct(SLOT)), edges : Out(struct(EDGES))  of `model` in the cycle before.
    next_model : In, next_slot : Out(struct(SLOT))  of another slot, in the same way.
    loaded : Out(model_slots)  which slots are valid and have sub-batches of at least 1 item.
    """

    latency_cycles = 1

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "model": In(range(config.model_slots)),
                "slot": Out(struct(SLOT)),
                "next_model": In(range(config.model_slots)),
                "next_slot": Out(struct(SLOT)),
                "edges": Out(struct(EDGES)),
                "loaded": Out(config.model_slots),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        load, slots = self.load, self.config.model_slots
        for name, target, layout in (("slot", Target.SLOT, SLOT), ("edges", Target.EDGES, EDGES)):
            table = Memory(shape=struct(layout), depth=slots, init=[])
            m.submodules[name] = table
            write, read = table.write_port(), table.read_port()
            m.d.comb += [
                write.en.eq(load.valid & (load.target == target) & (load.index < slots)),
                write.addr.eq(load.index),
                write.data.as_value().eq(load.data),
                read.addr.eq(self.model),
                getattr(self, name).eq(read.data),
            ]
            if target is Target.SLOT:
                following = table.read_port()
                m.d.comb += [
                    following.addr.eq(self.next_model),
                    self.next_slot.eq(following.data),
                ]
                loaded = Signal(slots, reset_less=True)  # images outlive a lane's reset
                m.d.comb += self.loaded.eq(loaded)
                # A sub-batch of 0 items would never end: such a slot counts as not loaded.
                usable = write.data.valid & write.data.sub_batch.any()
                with m.If(write.en):
                    m.d.sync += loaded.bit_select(load.index[:4], 1).eq(usable)
        return m
