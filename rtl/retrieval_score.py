"""Scores of int8 rows against a query, at the rate at which the corpus comes from memory."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Elaboratable, Format, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_lane import row_layout
from rpaccel.spec.retrieval import MAX_ROW_BYTES, MIN_ROW_BYTES, Metric, RetrievalConfig

__all__ = ["ScoreUnit", "scan_layout", "set_layout"]

ROW_SIZES = (MAX_ROW_BYTES // MIN_ROW_BYTES).bit_length()
L2_BITS = 26  # of -512 * 255**2


def scan_layout(config: RetrievalConfig) -> data.StructLayout:
    """A scan: `rows` rows of 16 << row_size bytes; ids count up from `first_id`."""
    return data.StructLayout(
        {
            "rows": unsigned(config.id_bits + 1),
            "first_id": unsigned(config.id_bits),
            "row_size": range(ROW_SIZES),
            "metric": Metric,
        }
    )


def set_layout(config: RetrievalConfig) -> data.StructLayout:
    """The scored rows of a cycle, as many as a beat may hold; `last` : the scan's last set.

    Raises ValueError if a score of 512 dimensions does not fit.
    """
    if config.score_bits < L2_BITS:
        raise ValueError(
            f"score_bits must be at least {L2_BITS} for rows of {MAX_ROW_BYTES} bytes, "
            f"not {config.score_bits}"
        )
    rows = config.beat_bytes // MIN_ROW_BYTES
    return data.StructLayout(
        {"lanes": data.ArrayLayout(row_layout(config), rows), "last": unsigned(1)}
    )


class ScoreUnit(Component):
    """Scores one beat per cycle: several short rows, or a part of a long one. Exact.

    A set leaves `latency_cycles` after its last beat came: the rows of a beat, in the first lanes,
    or one row in lane 0 when its last beat has come. The last set may be partly invalid; a scan of
    no rows gives one set without any.

    Members
    -------
    query : In(stream of {index, data})  word `index` of the query, a beat each; a query shorter
        than a beat is repeated to fill word 0. Taken while no scan is inside.
    start : In(stream of scan_layout())  begins a scan. Taken while no scan is inside.
    beat : In(stream of 8 * beat_bytes)  the rows, packed: ceil(rows * row_bytes / beat_bytes)
        beats per scan; what lies behind the last row is ignored.
    sets : Out(stream of set_layout())
    """

    latency_cycles = 6  # beat, operands, products, sums of 16, sums of rows, result

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        self.words = MAX_ROW_BYTES // config.beat_bytes
        self.segments = config.beat_bytes // MIN_ROW_BYTES
        word = data.StructLayout(
            {"index": range(self.words), "data": unsigned(8 * config.beat_bytes)}
        )
        super().__init__(
            {
                "query": In(stream.Signature(word)),
                "start": In(stream.Signature(scan_layout(config))),
                "beat": In(stream.Signature(unsigned(8 * config.beat_bytes))),
                "sets": Out(stream.Signature(set_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        advance, taken = Signal(), Signal()
        m.d.comb += advance.eq(~self.sets.valid | self.sets.ready)
        scan = Signal(scan_layout(config))

        # stage 1: a beat and its word of the query
        m.submodules.words = words = Memory(
            shape=unsigned(8 * config.beat_bytes), depth=self.words, init=[]
        )
        load, read = words.write_port(), words.read_port()
        word = Signal(range(self.words))
        m.d.comb += [
            load.addr.eq(self.query.payload.index),
            load.data.eq(self.query.payload.data),
            load.en.eq(self.query.valid & self.query.ready),
            read.addr.eq(word),
            read.en.eq(advance),
        ]
        beat = Signal(8 * config.beat_bytes)
        with m.If(advance):
            m.d.sync += beat.eq(self.beat.payload)
        sums = self._sums(m, beat, read.data, scan.metric, advance)
        flags = self._control(m, scan, word, advance, taken)
        self._results(m, sums, scan, flags, advance)
        return m

    def _sums(
        self, m: Module, beat: Signal, query: Signal, metric: Signal, advance: Signal
    ) -> list[Signal]:
        """Stages 2 to 4: return the sums of 16 products, of row . query or (row - query)^2."""
        products = []
        for index in range(self.config.beat_bytes):
            row, other = (word.word_select(index, 8).as_signed() for word in (beat, query))
            left, right = (Signal(signed(9), name=f"{side}{index}") for side in ("left", "right"))
            product = Signal(signed(18), name=f"product{index}")
            l2 = metric == Metric.L2
            with m.If(advance):
                m.d.sync += [
                    left.eq(Mux(l2, row - other, row)),
                    right.eq(Mux(l2, row - other, other)),
                    product.eq(left * right),
                ]
            products.append(product)
        sums = []
        for segment in range(self.segments):
            total = Signal(signed(22), name=f"segment{segment}")
            part = products[MIN_ROW_BYTES * segment : MIN_ROW_BYTES * (segment + 1)]
            with m.If(advance):
                m.d.sync += total.eq(_sum(part))
            sums.append(total)
        return sums

    def _control(
        self, m: Module, scan: data.View, word: Signal, advance: Signal, taken: Signal
    ) -> Signal:
        """Take scans and beats; return per stage from 1 on: the last beat of a row is there."""
        config = self.config
        per_beat = self.segments.bit_length() - 1  # log2 of the rows of 16 bytes in a beat
        rows_left = Signal(config.id_bits + 1)
        rows_of_set = Signal(range(self.segments + 1))
        last_word = Signal(range(self.words))
        with m.Switch(scan.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    m.d.comb += [
                        rows_of_set.eq(1 << max(0, per_beat - size)),
                        last_word.eq((1 << max(0, size - per_beat)) - 1),
                    ]
        whole = Signal()
        flags = Signal(self.latency_cycles - 1)
        final = self.sets.valid & self.sets.ready & self.sets.payload.last
        m.d.comb += whole.eq(word == last_word)
        with m.If(advance):
            m.d.sync += flags.eq(Cat(taken & whole, flags))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.query.ready.eq(1),
                    self.start.ready.eq(1),
                ]
                m.d.sync += [scan.eq(self.start.payload), rows_left.eq(self.start.payload.rows)]
                with m.If(self.start.valid):
                    m.next = "TAKE"
                    with m.If(self.start.payload.rows == 0):
                        m.next = "EMPTY"
                    m.d.sync += Assert(
                        self.start.payload.row_size < ROW_SIZES,
                        Format("row_size {} out of range", self.start.payload.row_size),
                    )
            with m.State("TAKE"):
                m.d.comb += [self.beat.ready.eq(advance), taken.eq(self.beat.valid & advance)]
                with m.If(taken):
                    m.d.sync += word.eq(Mux(whole, 0, word + 1))
                    with m.If(whole):
                        m.d.sync += rows_left.eq(rows_left - rows_of_set)
                        with m.If(rows_left <= rows_of_set):
                            m.next = "LEAVE"
            with m.State("EMPTY"):
                m.d.sync += flags.eq(1 << self.latency_cycles - 2)
                m.next = "LEAVE"
            with m.State("LEAVE"), m.If(final):
                m.next = "IDLE"
        return flags

    def _results(
        self, m: Module, sums: list[Signal], scan: data.View, flags: Signal, advance: Signal
    ) -> None:
        """Stages 5 and 6: sums of rows, of all beats of a long row; ids."""
        config = self.config
        levels = [sums]
        while len(levels[-1]) > 1:
            below = levels[-1]
            levels.append([a + b for a, b in zip(below[::2], below[1::2], strict=True)])
        part = [Signal(signed(L2_BITS + 1), name=f"part{lane}") for lane in range(self.segments)]
        with m.If(advance), m.Switch(scan.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    level = levels[min(size, len(levels) - 1)]
                    m.d.sync += [part[lane].eq(value) for lane, value in enumerate(level)]

        # a beat of a long row is added to those before it; `flags[4]` ends a row
        valid = Signal(5)
        with m.If(advance):
            m.d.sync += valid.eq(Cat(self.beat.valid & self.beat.ready, valid))
        so_far, total = Signal(signed(L2_BITS + 1)), Signal(signed(L2_BITS + 1))
        m.d.comb += total.eq(so_far + part[0])
        with m.If(advance & valid[4]):
            m.d.sync += so_far.eq(Mux(flags[4], 0, total))

        next_id, rows_left = Signal(config.id_bits), Signal(config.id_bits + 1)
        rows_of_set = Signal(range(self.segments + 1))
        per_beat = self.segments.bit_length() - 1
        with m.Switch(scan.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    m.d.comb += rows_of_set.eq(1 << max(0, per_beat - size))
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += [
                next_id.eq(self.start.payload.first_id),
                rows_left.eq(self.start.payload.rows),
            ]
        with m.If(advance):
            m.d.sync += self.sets.valid.eq(flags[4])
        with m.If(advance & flags[4]):
            m.d.sync += [
                next_id.eq(next_id + rows_of_set),
                rows_left.eq(rows_left - rows_of_set),
                self.sets.payload.last.eq(rows_left <= rows_of_set),
            ]
            for lane in range(self.segments):
                score = total if lane == 0 else part[lane]
                out = self.sets.payload.lanes[lane]
                m.d.sync += [
                    out.valid.eq((lane < rows_of_set) & (lane < rows_left)),
                    out.score.eq(Mux(scan.metric == Metric.L2, -score, score)),
                    out.id.eq(next_id + lane),
                ]


def _sum(values: list[Signal]) -> Signal:
    """Return the sum as a balanced tree."""
    while len(values) > 1:
        pairs = [a + b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[2 * len(pairs) :]
    return values[0]
