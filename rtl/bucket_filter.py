"""Between two stages: keeps about the k best of a scored list, one score per cycle.

Ref: RecPipe (MICRO 2021), section 6.2: bucketed filtering by counters over score bins.
"""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Format, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.bucket_scan import BucketScan
from rpaccel.rtl.bucket_split import BucketSplit, link_layout
from rpaccel.rtl.interfaces import score_layout, struct
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.layout import PackedLayout

__all__ = ["BucketFilter", "edges_layout", "filter_start_layout", "id_layout"]

MIN_BINS, MAX_BINS = 4, 64


def id_layout() -> data.StructLayout:
    """A survivor: its candidate id; `last` marks the last one of the release."""
    return data.StructLayout({"id": unsigned(32), "last": unsigned(1)})


def edges_layout(bins: int) -> data.StructLayout:
    """Threshold and ascending edges of `bins` bins; of 16 bins struct(spec.isa.EDGES)."""
    fields = [("threshold", -16), *[(f"edge{i}", -16) for i in range(bins - 1)]]
    return struct(PackedLayout("edges", fields, 16 * bins))


def filter_start_layout() -> data.StructLayout:
    """What opens a release of the filter; 0 in all but `k` is the plain filter.

    k : survivors of the whole query. held : release for k - held only, see BucketFilter.
    limit : most ids that leave, 0: as many as are chosen. exact : exactly k.
    adaptive : do not store what cannot be chosen, in place of the threshold.
    carry : goes on with the query of the release before, with its k and adaptive.
    """
    words = {name: unsigned(32) for name in ("k", "held", "limit")}
    return data.StructLayout(words | {"exact": 1, "adaptive": 1, "carry": 1})


class BucketFilter(wiring.Component):
    """Bins scores, then emits all ids of the highest bins that together hold at least k.

    bin = number of edges <= logit; a logit below the threshold is dropped. Ids leave highest bin
    first, newest first inside a bin. With fewer than k kept, all of them leave (`underfill`); with
    none kept, nothing leaves. Takes one score per cycle, emits one id per cycle without gaps.
    The first id is valid `settle_cycles` + scan cycles after the last score: ceil(bins scanned /
    ceil(bins / 16)), at most 16.

    adaptive: no threshold. A floor rises by a bin when the bins above it hold k; entries below it
    cannot be among the chosen and are not stored. The choice is that without a threshold.
    exact: of the lowest bin only the best by (logit descending, id ascending) that make up k
    leave, in the order of `BucketSplit`, which takes its time before the first id.
    held, carry: a query in sub-batches, a release after each, bins and store carried on. Leaves
    what has not left before of the highest bins that hold at least k - held; nothing if that is
    0; if exact and held > 0, only bins that hold at most k - held in all. With held = items still
    to come, the releases together are the choice over the whole query, no more and no less. With
    less held at least that; not allowed if exact.
    limit: the first `limit` ids leave, the others of the chosen bins are gone (`overfill`).

    Parameters
    ----------
    bins : 4..64; of the configuration if left out. exact : whether the unit can.

    Members
    -------
    start : In(stream of filter_start_layout())  opens a release; 1 <= k. Accepted when idle.
    edges : In(edges_layout(bins))  constant from `start` until idle.
    score : In(stream of score_layout())  at most max_items per query; `last` closes the list.
    id : Out(stream of id_layout())
    idle : Out(1)
    counted : Out(1)  the choice is made: from the cycle after the scan to the next start.
    kept, dropped : Out  scores stored and not stored in the query so far.
    emitted, overshoot, underfill, overfill : Out  of the last release, valid while `counted`.
        overshoot: entries of the chosen bins, released before or not, above k - held.
        underfill: there are fewer than k - held. overfill: more ids were chosen than `limit`.
    stored_stb, stored_id, stored_bin : Out  a score is stored.
    busy, stalled_input, stalled_output : Out(1)  disjoint: works, lacks a score, lacks a reader.
    """

    settle_cycles = 3  # bin register, count register, first read of the chain

    def __init__(
        self, config: AcceleratorConfig, bins: int | None = None, *, exact: bool = True
    ) -> None:
        self.config = config
        self.bins = config.bins if bins is None else bins
        self.exact = exact
        if not MIN_BINS <= self.bins <= MAX_BINS:
            raise ValueError(f"bins must be in {MIN_BINS}..{MAX_BINS}, not {bins}")
        counts = range(config.max_items + 1)
        super().__init__(
            {
                "start": In(stream.Signature(filter_start_layout())),
                "edges": In(edges_layout(self.bins)),
                "score": In(stream.Signature(score_layout())),
                "id": Out(stream.Signature(id_layout())),
                "idle": Out(1),
                "counted": Out(1),
                "kept": Out(counts),
                "dropped": Out(counts),
                "emitted": Out(counts),
                "overshoot": Out(counts),
                "underfill": Out(1),
                "overfill": Out(1),
                "stored_stb": Out(1),
                "stored_id": Out(32),
                "stored_bin": Out(range(self.bins)),
                "busy": Out(1),
                "stalled_input": Out(1),
                "stalled_output": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        items = self.config.max_items
        pointer, counts = range(items), range(items + 1)

        # Entries and the chains that link those of a bin, newest first.
        entry = {"id": unsigned(32)} | ({"logit": signed(16)} if self.exact else {})
        m.submodules.entries = entries = Memory(
            shape=data.StructLayout(entry), depth=items, init=[]
        )
        m.submodules.links = links = Memory(shape=link_layout(items), depth=items, init=[])
        self._write, self._read = entries.write_port(), entries.read_port()
        self._write_link, self._read_link = links.write_port(), links.read_port()
        m.d.comb += [
            self._read_link.addr.eq(self._read.addr),
            self._read_link.en.eq(self._read.en),
        ]

        # Bins: newest entry, entries in all, entries that have left.
        self._head = Array(Signal(pointer, name=f"head{i}") for i in range(self.bins))
        self._count = Array(Signal(counts, name=f"count{i}") for i in range(self.bins))
        self._sent = Array(Signal(counts, name=f"sent{i}") for i in range(self.bins))
        self._filled = Signal(self.bins)  # has entries that have not left

        m.submodules.scan = self._chosen = BucketScan(self.bins, items)

        # What was asked for. More than max_items + 1 is the same as that.
        self._k, self._target = Signal(range(items + 2)), Signal(range(items + 2))
        self._limit = Signal(counts, init=items)
        self._is_exact, self._adaptive, self._holds = Signal(), Signal(), Signal()

        self._clear_stb, self._start_stb = Signal(), Signal()
        self._open(m)
        self._collect(m)
        self._choose(m)
        self._walk(m)
        if self.exact:
            self._refine(m)
        self._control(m)
        return m

    def _open(self, m: Module) -> None:
        """Take a start: note what is asked for, forget the query before."""
        start, most = self.start.payload, self.config.max_items
        wanted = Mux(start.k > start.held, start.k - start.held, 0)

        def clamped(value: Value) -> Value:
            return Mux(value > most, most + 1, value)

        with m.If(self._start_stb):
            m.d.sync += [
                Assert(start.k >= 1, Format("k must be at least 1")),
                self._k.eq(clamped(start.k)),
                self._target.eq(clamped(wanted)),
                self._limit.eq(Mux((start.limit == 0) | (start.limit > most), most, start.limit)),
                self._is_exact.eq(start.exact),
                self._adaptive.eq(start.adaptive),
                self._holds.eq(start.held != 0),
                self.counted.eq(0),
            ]
            if not self.exact:
                m.d.sync += Assert(~start.exact, Format("this filter has no exact k"))
        m.d.comb += self._clear_stb.eq(self._start_stb & ~start.carry)
        with m.If(self._clear_stb):
            m.d.sync += [self._filled.eq(0), self.kept.eq(0), self.dropped.eq(0)]
            m.d.sync += [value.eq(0) for value in (*self._count, *self._sent)]

    def _collect(self, m: Module) -> None:
        """Compare with the edges in one cycle, write the entry and its bin in the next."""
        score = self.score.payload
        arrived, passes = Signal(), Signal()
        above = Signal(self.bins - 1)
        entry = Signal(score_layout())
        edges = [self.edges[f"edge{i}"] for i in range(self.bins - 1)]
        taken = Signal()
        m.d.comb += taken.eq(self.score.valid & self.score.ready)
        m.d.sync += arrived.eq(taken)
        with m.If(taken):
            m.d.sync += [
                passes.eq(self._adaptive | (score.logit >= self.edges.threshold)),
                entry.eq(score),
                above.eq(Cat(edge <= score.logit for edge in edges)),
            ]

        index = Signal(range(self.bins))
        store = Signal()
        m.d.comb += [
            index.eq(sum(above)),
            store.eq(arrived & passes & self._floor(m, arrived, index)),
            self._write.en.eq(store),
            self._write.addr.eq(self.kept),
            self._write.data.id.eq(entry.id),
            self.stored_stb.eq(store),
            self.stored_id.eq(entry.id),
            self.stored_bin.eq(index),
        ]
        if self.exact:
            m.d.comb += self._write.data.logit.eq(entry.logit)
        with m.If(store):
            m.d.comb += [
                self._write_link.en.eq(1),
                self._write_link.addr.eq(self.kept),
                self._write_link.data.previous.eq(self._head[index]),
                self._write_link.data.oldest.eq(~self._filled.bit_select(index, 1)),
            ]
            m.d.sync += [
                Assert(
                    self.kept < self.config.max_items,
                    Format("more than {} scores in a stage", self.config.max_items),
                ),
                self._head[index].eq(self.kept),
                self._count[index].eq(self._count[index] + 1),
                self._filled.bit_select(index, 1).eq(1),
                self.kept.eq(self.kept + 1),
            ]
        with m.Elif(arrived):
            m.d.sync += self.dropped.eq(self.dropped + 1)

    def _floor(self, m: Module, arrived: Value, index: Value) -> Value:
        """Return whether bin `index` is at the floor or above; a score may raise the floor."""
        floor = Signal(range(self.bins))
        above = Signal(range(self.config.max_items + 1))  # stored in the bins above the floor
        climbs = Signal()
        next_floor = Signal.like(floor)
        next_count = self._count[next_floor]
        m.d.comb += [climbs.eq(above >= self._k), next_floor.eq(floor + climbs)]
        with m.If(self._clear_stb):
            m.d.sync += [floor.eq(0), above.eq(0)]
        with m.Elif(arrived & self._adaptive):
            m.d.sync += [
                floor.eq(next_floor),
                above.eq(above - Mux(climbs, next_count, 0) + (index > next_floor)),
            ]
        return index >= floor

    def _choose(self, m: Module) -> None:
        """Scan the bins."""
        scan = self._chosen
        m.d.comb += [
            scan.start_stb.eq(self._start_stb),
            scan.target.eq(self._target),
            scan.exact.eq(self._is_exact),
            scan.holds.eq(self._holds),
            self.overfill.eq(scan.emitted > self._limit),
            self.emitted.eq(Mux(self.overfill, self._limit, scan.emitted)),
            self.overshoot.eq(scan.overshoot),
            self.underfill.eq(scan.underfill),
        ]
        for i in range(self.bins):
            m.d.comb += [scan.entries[i].eq(self._count[i]), scan.sent[i].eq(self._sent[i])]
        with m.If(scan.done_stb):
            m.d.sync += self.counted.eq(1)

    def _walk(self, m: Module) -> None:
        """Along the chain of a bin, then into the highest bin that is left."""
        self._begin_stb, self._enter = Signal(), Signal()
        pending = Signal(self.bins)  # to emit, and not entered yet
        bins = Signal(self.bins)
        bin_head = Signal(range(self.config.max_items))
        entered = Signal(self.bins)
        left = Signal.like(self.emitted)
        m.d.comb += bins.eq(Mux(self._begin_stb, self._chosen.take & self._filled, pending))
        for i in range(self.bins):
            with m.If(bins[i]):
                m.d.comb += [bin_head.eq(self._head[i]), entered.eq(1 << i)]
        m.d.comb += [
            self._read.addr.eq(Mux(self._enter, bin_head, self._read_link.data.previous)),
            self.id.payload.id.eq(self._read.data.id),
            self.id.payload.last.eq(left == 1),
        ]
        with m.If(self._read.en & self._enter):
            m.d.sync += pending.eq(bins & ~entered)
        with m.If(self._begin_stb):
            m.d.sync += [left.eq(self.emitted), self._filled.eq(self._filled & ~bins)]
            for i in range(self.bins):
                with m.If(bins[i]):
                    m.d.sync += self._sent[i].eq(self._count[i])
        with m.Elif(self.id.valid & self.id.ready):
            m.d.sync += left.eq(left - 1)

    def _refine(self, m: Module) -> None:
        """Let the splitter shorten the chain of the bin that is cut."""
        m.submodules.split = self._split = split = BucketSplit(self.config.max_items)
        cut, logit = self._chosen.cut, self._read.data.logit
        m.d.comb += [
            split.head.eq(self._head[cut]),
            split.need.eq(self._chosen.need),
            split.key.eq(Cat(~self._read.data.id, logit[:15], ~logit[15])),
            split.link.eq(self._read_link.data),
        ]
        with m.If(split.start_stb):
            m.d.sync += Assert(
                self._sent[cut] == 0, Format("held must be at least the items to come if exact")
            )
        with m.If(split.write_en):
            m.d.comb += [
                self._write_link.en.eq(1),
                self._write_link.addr.eq(split.write_addr),
                self._write_link.data.eq(split.write_link),
            ]
        with m.If(split.done_stb):
            m.d.sync += self._head[cut].eq(split.first)

    def _control(self, m: Module) -> None:
        """Collect, then count from the top bin down, then emit."""
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.start.ready.eq(1)]
                with m.If(self.start.valid):
                    m.d.comb += self._start_stb.eq(1)
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
                m.d.comb += [self.busy.eq(1), self._chosen.en.eq(1)]
                with m.If(self._chosen.done_stb):
                    m.next = "REFINE" if self.exact else "ENTER"
            if self.exact:
                self._refine_states(m)
            with m.State("ENTER"):
                self._begin(m)
            with m.State("EMIT"):
                m.d.comb += [
                    self.id.valid.eq(1),
                    self.busy.eq(self.id.ready),
                    self.stalled_output.eq(~self.id.ready),
                    self._enter.eq(self._read_link.data.oldest),
                    self._read.en.eq(self.id.ready & ~self.id.payload.last),
                ]
                with m.If(self.id.ready & self.id.payload.last):
                    m.next = "IDLE"

    def _begin(self, m: Module) -> None:
        """Read the first id, if there is one."""
        m.d.comb += [self.busy.eq(1), self._begin_stb.eq(1)]
        m.d.comb += [self._enter.eq(1), self._read.en.eq(1)]
        m.next = "EMIT"
        with m.If(self.emitted == 0):
            m.next = "IDLE"

    def _refine_states(self, m: Module) -> None:
        """Without a bin to cut this is already the first read."""
        split = self._split
        with m.State("REFINE"):
            with m.If(self._chosen.cuts):
                m.d.comb += [self.busy.eq(1), split.start_stb.eq(1)]
                m.next = "SPLIT"
            with m.Else():
                self._begin(m)
        with m.State("SPLIT"):
            m.d.comb += [
                self.busy.eq(1),
                self._read.en.eq(split.read_en),
                self._read.addr.eq(split.read_addr),
            ]
            with m.If(split.done_stb):
                m.next = "ENTER"
