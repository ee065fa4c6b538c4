"""Between two stages: keeps about the k best of a scored list, one score per cycle.

Ref: RecPipe (MICRO 2021), section 6.2: bucketed filtering by counters over score bins.
"""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.hdl import Assert, Format, Shape, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import score_layout, struct
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import BINS, EDGES

__all__ = ["BucketFilter", "id_layout"]


def id_layout() -> data.StructLayout:
    """A survivor: its candidate id; `last` marks the last one of the stage."""
    return data.StructLayout({"id": unsigned(32), "last": unsigned(1)})


class BucketFilter(wiring.Component):
    """Bins scores, then emits all ids of the highest bins that together hold at least k.

    bin = number of edges <= logit; a logit below the threshold is dropped. Ids leave highest bin
    first, newest first inside a bin. With fewer than k kept, all of them leave (`underfill`); with
    none kept, nothing leaves. Takes one score per cycle, emits one id per cycle without gaps.
    The first id is valid `settle_cycles` + bins scanned (1..BINS) cycles after the last score.

    Members
    -------
    start : In(stream of {k: 32})  opens a stage; 1 <= k. Accepted when idle.
    edges : In(struct(EDGES))  constant from `start` until idle.
    score : In(stream of score_layout())  at most max_items per stage; `last` closes the list.
    id : Out(stream of id_layout())
    idle : Out(1)
    counted : Out(1)  the choice is made: from the cycle after the scan to the next start.
    kept, emitted, overshoot, underfill : Out  of the last stage, valid while `counted`.
    busy, stalled_input, stalled_output : Out(1)  disjoint: works, lacks a score, lacks a reader.
    """

    settle_cycles = 3  # bin register, count register, first read of the chain

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        counts = range(config.max_items + 1)
        super().__init__(
            {
                "start": In(stream.Signature(data.StructLayout({"k": unsigned(32)}))),
                "edges": In(struct(EDGES)),
                "score": In(stream.Signature(score_layout())),
                "id": Out(stream.Signature(id_layout())),
                "idle": Out(1),
                "counted": Out(1),
                "kept": Out(counts),
                "emitted": Out(counts),
                "overshoot": Out(counts),
                "underfill": Out(1),
                "busy": Out(1),
                "stalled_input": Out(1),
                "stalled_output": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pointer = range(self.config.max_items)
        link = data.StructLayout(
            {"id": unsigned(32), "previous": Shape.cast(pointer), "oldest": unsigned(1)}
        )
        m.submodules.chain = chain = Memory(shape=link, depth=self.config.max_items, init=[])
        write, read = chain.write_port(), chain.read_port()

        # Bins: newest entry and number of entries of each.
        head = Array(Signal(pointer, name=f"head{i}") for i in range(BINS))
        count = Array(
            Signal(range(self.config.max_items + 1), name=f"count{i}") for i in range(BINS)
        )
        filled = Signal(BINS)  # count != 0
        pending = Signal(BINS)  # bins to emit that the walk has not entered yet
        clear_stb = Signal()
        with m.If(clear_stb):
            m.d.sync += [filled.eq(0), pending.eq(0), self.kept.eq(0)]
            m.d.sync += [entries.eq(0) for entries in count]

        self._collect(m, write, head, count, filled)

        # Walk: along the chain of a bin, then into the highest bin that is left.
        enter = Signal()
        bin_head = Signal(pointer)
        entered = Signal(BINS)
        for i in range(BINS):
            with m.If(pending[i]):
                m.d.comb += [bin_head.eq(head[i]), entered.eq(1 << i)]
        m.d.comb += [
            read.addr.eq(Mux(enter, bin_head, read.data.previous)),
            self.id.payload.id.eq(read.data.id),
            self.id.payload.last.eq(read.data.oldest & ~pending.any()),
        ]
        with m.If(read.en & enter):
            m.d.sync += pending.eq(pending & ~entered)

        self._control(m, read, count, filled, pending, enter, clear_stb)
        return m

    def _collect(
        self, m: Module, write: wiring.PureInterface, head: Array, count: Array, filled: Signal
    ) -> None:
        """Compare with the edges in one cycle, write the entry and its bin in the next."""
        score = self.score.payload
        keep = Signal()
        entry_id = Signal(32)
        above = Signal(BINS - 1)
        edges = [self.edges[f"edge{i}"] for i in range(BINS - 1)]
        taken = Signal()
        m.d.comb += taken.eq(self.score.valid & self.score.ready)
        m.d.sync += keep.eq(taken & (score.logit >= self.edges.threshold))
        with m.If(taken):
            m.d.sync += [
                entry_id.eq(score.id),
                above.eq(Cat(edge <= score.logit for edge in edges)),
            ]

        index = Signal(range(BINS))
        m.d.comb += [
            index.eq(sum(above)),
            write.en.eq(keep),
            write.addr.eq(self.kept),
            write.data.id.eq(entry_id),
            write.data.previous.eq(head[index]),
            write.data.oldest.eq(~filled.bit_select(index, 1)),
        ]
        with m.If(keep):
            m.d.sync += [
                Assert(
                    self.kept < self.config.max_items,
                    Format("more than {} scores in a stage", self.config.max_items),
                ),
                head[index].eq(self.kept),
                count[index].eq(count[index] + 1),
                filled.bit_select(index, 1).eq(1),
                self.kept.eq(self.kept + 1),
            ]

    def _control(
        self,
        m: Module,
        read: wiring.PureInterface,
        count: Array,
        filled: Signal,
        pending: Signal,
        enter: Signal,
        clear_stb: Signal,
    ) -> None:
        """Collect, then count from the top bin down, then emit."""
        k = Signal(32)
        scanned = Signal(range(BINS), init=BINS - 1)
        total = Signal.like(self.emitted)
        m.d.comb += total.eq(self.emitted + count[scanned])

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.start.ready.eq(1)]
                with m.If(self.start.valid):
                    m.d.comb += clear_stb.eq(1)
                    m.d.sync += [
                        k.eq(self.start.payload.k),
                        scanned.eq(BINS - 1),
                        self.counted.eq(0),
                        self.emitted.eq(0),
                        self.overshoot.eq(0),
                        self.underfill.eq(0),
                    ]
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                m.d.comb += [
                    self.score.ready.eq(1),
                    self.busy.eq(self.score.valid),
                    self.stalled_input.eq(~self.score.valid),
                ]
                with m.If(self.score.valid & self.score.payload.last):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.comb += self.busy.eq(1)
                m.next = "SCAN"
            with m.State("SCAN"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += [
                    self.emitted.eq(total),
                    pending.bit_select(scanned, 1).eq(filled.bit_select(scanned, 1)),
                    scanned.eq(scanned - 1),
                ]
                with m.If(total >= k):
                    m.d.sync += [self.overshoot.eq(total - k), self.counted.eq(1)]
                    m.next = "ENTER"
                with m.Elif(scanned == 0):
                    m.d.sync += [self.underfill.eq(1), self.counted.eq(1)]
                    m.next = "ENTER"
            with m.State("ENTER"):
                m.d.comb += [self.busy.eq(1), enter.eq(1), read.en.eq(1)]
                m.next = "EMIT"
                with m.If(self.emitted == 0):
                    m.next = "IDLE"
            with m.State("EMIT"):
                m.d.comb += [
                    self.id.valid.eq(1),
                    self.busy.eq(self.id.ready),
                    self.stalled_output.eq(~self.id.ready),
                    enter.eq(read.data.oldest),
                    read.en.eq(self.id.ready & ~self.id.payload.last),
                ]
                with m.If(self.id.ready & self.id.payload.last):
                    m.next = "IDLE"
