"""Read crossbar: readers to the ports or banks that their addresses belong to, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import PlacedReadPort, SharedReadPort
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["ReadCrossbar", "round_robin"]


def round_robin(m: Module, valid: Value, moves: Value, name: str) -> Signal:
    """Return one of the set bits of `valid`: the first after the choice of the last `moves`."""
    after, later, pick = (
        Signal(len(valid), name=f"{name}_{n}") for n in ("after", "later", "pick")
    )
    m.d.comb += later.eq(valid & after)
    m.d.comb += pick.eq(Mux(later.any(), later & -later, valid & -valid))
    with m.If(moves):
        m.d.sync += after.eq(~((pick << 1) - 1))
    return pick


def _copy(m: Module, to: data.View, origin: data.View) -> None:
    """Assign field by field: the places of the two need not be as wide."""
    for name, _ in to.shape():
        m.d.comb += to[name].eq(origin[name])


class ReadCrossbar(wiring.Component):
    """Per target one request per cycle, per reader one answer; both round-robin, 0 cycles.

    A target's request may change from cycle to cycle until it is taken: a target registers it. An
    answer for a reader that takes another target's in this cycle waits, and what is behind it too.

    Parameters
    ----------
    places : of each reader.
    targets : how many.
    target_of : address to the number of its target.
    rows : requests are rows.

    Members:
      readers  In   PlacedReadPort each
      targets  Out  SharedReadPort each
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        places: Sequence[int],
        targets: int,
        target_of: Callable[[Value], Value | int],
        *,
        rows: bool = False,
    ) -> None:
        self.config, self.places, self.target_of = config, tuple(places), target_of
        self.count = targets
        shared = SharedReadPort(config, len(places), max(places), rows=rows)
        members = {
            f"reader_{i}": In(PlacedReadPort(config, size, rows=rows))
            for i, size in enumerate(self.places)
        }
        super().__init__(members | {"targets": Out(shared).array(targets)})

    @property
    def readers(self) -> list[wiring.PureInterface]:
        """The readers' ports, in order."""
        return [getattr(self, f"reader_{i}") for i in range(len(self.places))]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readers, targets = self.readers, list(range(self.count))
        asks = [Signal(len(readers), name=f"asks_{t}") for t in targets]
        for i, reader in enumerate(readers):
            chosen = self.target_of(reader.request.payload.address)
            for t in targets:
                m.d.comb += asks[t][i].eq(reader.request.valid & (chosen == t))

        taken = []
        for t in targets:
            request = self.targets[t].request
            moves = request.valid & request.ready
            pick = round_robin(m, asks[t], moves, f"request_{t}")
            m.d.comb += request.valid.eq(asks[t].any())
            for i, reader in enumerate(readers):
                with m.If(pick[i]):
                    m.d.comb += request.payload.reader.eq(i)
                    _copy(m, request.payload.burst, reader.request.payload)
            taken.append(Mux(request.ready, pick, 0))
        for i, reader in enumerate(readers):
            m.d.comb += reader.request.ready.eq(Cat(taken[t][i] for t in targets).any())

        accepted = [Signal(len(readers), name=f"accepted_{t}") for t in targets]
        for i, reader in enumerate(readers):
            heads = [self.targets[t].answer for t in targets]
            mine = Cat(head.valid & (head.payload.reader == i) for head in heads)
            pick = mine if self.count == 1 else round_robin(m, mine, mine.any(), f"answer_{i}")
            m.d.comb += reader.answer_valid.eq(mine.any())
            for t in targets:
                m.d.comb += accepted[t][i].eq(pick[t])
                with m.If(pick[t]):
                    _copy(m, reader.answer, heads[t].payload.beat)
        for t in targets:
            m.d.comb += self.targets[t].answer.ready.eq(accepted[t].any())
        return m
