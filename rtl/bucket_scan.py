"""The choice of the bucket filter: from the top bin down to the first that makes up the target."""

from __future__ import annotations

from amaranth import Array, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BucketScan"]

MAX_SCAN_CYCLES = 16  # as many bins are looked at in a cycle as this needs


class BucketScan(wiring.Component):
    """Looks at ceil(bins / 16) bins per cycle and stops at the first with `target` from it up.

    Members
    -------
    start_stb : In(1)  forgets the scan before.
    target, exact, holds : In  constant while it scans. exact: of the last bin only what makes up
        the target leaves; if it `holds` none of that bin does.
    entries, sent : In  of each bin: in all, and those that have left before.
    en : In(1)  looks at the next bins; held until the cycle of `done_stb`.
    done_stb : Out(1)
    From the cycle after `done_stb` to the next start:
    take : Out(bins)  the bins whose entries leave.
    cuts, cut, need : Out  of bin `cut` only the best `need` leave.
    emitted, overshoot : Out  ids that leave; entries of the chosen bins above the target.
    underfill : Out(1)  all bins hold fewer than the target.
    """

    def __init__(self, bins: int, items: int) -> None:
        self.bins = bins
        self.per_cycle = -(-bins // MAX_SCAN_CYCLES)
        counts = range(items + 1)
        super().__init__(
            {
                "start_stb": In(1),
                "target": In(range(items + 2)),
                "exact": In(1),
                "holds": In(1),
                "entries": In(counts).array(bins),
                "sent": In(counts).array(bins),
                "en": In(1),
                "done_stb": Out(1),
                "take": Out(bins),
                "cuts": Out(1),
                "cut": Out(range(bins)),
                "need": Out(counts),
                "emitted": Out(counts),
                "overshoot": Out(counts),
                "underfill": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        top = Signal(range(self.bins), init=self.bins - 1)  # of the bins of this cycle
        total = Signal.like(self.emitted)  # entries of the bins above
        bottom = Signal()
        m.d.comb += bottom.eq(top < self.per_cycle)

        going, sums = self.en, (total, self.emitted)
        for place in range(self.per_cycle):
            going, sums = self._look_at(m, top, place, going, sums)

        with m.If(self.en):
            m.d.sync += [
                top.eq(top - self.per_cycle),
                total.eq(sums[0]),
                self.emitted.eq(sums[1]),
                self.underfill.eq(going),
            ]
        m.d.comb += self.done_stb.eq(self.en & (bottom | ~going))
        with m.If(self.start_stb):
            m.d.sync += [top.eq(self.bins - 1), total.eq(0), self.take.eq(0), self.cuts.eq(0)]
            m.d.sync += [self.emitted.eq(0), self.overshoot.eq(0), self.underfill.eq(0)]
        return m

    def _look_at(
        self, m: Module, top: Signal, place: int, going: Value, sums: tuple[Value, Value]
    ) -> tuple[Value, tuple[Value, Value]]:
        """Take a bin, unless the target has been made up; return the state for the one below.

        going : no bin above has made up the target. sums : entries, and ids that leave, so far.
        """
        total, leaving = sums
        index = (top - place)[: len(top)]
        exists = top >= place
        entries = Mux(exists, Array(self.entries)[index], 0)
        sent = Mux(exists, Array(self.sent)[index], 0)

        new_total, new_leaving = (Signal.like(self.emitted, name=f"{name}{place}")
                                  for name in ("total", "leaving"))  # fmt: skip
        reaches, partial, leaves = (
            Signal(name=f"{name}{place}") for name in ("reaches", "partial", "leaves")
        )
        need = Signal.like(self.need, name=f"need{place}")
        m.d.comb += [
            new_total.eq(total + entries),
            reaches.eq(going & (new_total >= self.target)),
            partial.eq(reaches & self.exact & (new_total > self.target)),
            leaves.eq(going & (self.target != 0) & ~(partial & self.holds)),
            need.eq(self.target - total),
            new_leaving.eq(leaving + Mux(leaves, Mux(partial, need, entries - sent), 0)),
        ]
        with m.If(leaves & exists):
            m.d.sync += self.take.bit_select(index, 1).eq(1)
        with m.If(reaches):
            m.d.sync += [
                self.cuts.eq(partial & leaves),
                self.cut.eq(index),
                self.need.eq(need),
                self.overshoot.eq(Mux(leaves & ~partial, new_total - self.target, 0)),
            ]
        return going & ~reaches, (new_total, new_leaving)
