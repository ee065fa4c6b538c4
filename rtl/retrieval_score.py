"""Scores of int8 rows against several queries, at the rate at which memory gives the rows."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_lane import row_layout
from rpaccel.spec.retrieval import MAX_ROW_BYTES, MIN_ROW_BYTES, Metric, RetrievalConfig

__all__ = ["ROW_SIZES", "ScoreUnit", "beat_layout", "set_layout"]

ROW_SIZES = (MAX_ROW_BYTES // MIN_ROW_BYTES).bit_length()  # a row has 16 << size bytes
SCALE_BITS = 16
L2_BITS = 26  # of -512 * 255**2
SUM_BITS = L2_BITS + 1


def beat_layout(config: RetrievalConfig, queries: int) -> data.StructLayout:
    """A beat of rows, packed, or a part of a long row.

    id : of the first row in it. word : of the queries that belongs to it. ends : it has the last
    byte of its row. masks : per query, rows of the beat that it looks at. scales : per row.
    """
    rows = config.beat_bytes // MIN_ROW_BYTES
    return data.StructLayout(
        {
            "data": unsigned(8 * config.beat_bytes),
            "id": unsigned(config.id_bits),
            "word": range(MAX_ROW_BYTES // config.beat_bytes),
            "ends": unsigned(1),
            "masks": data.ArrayLayout(unsigned(rows), queries),
            "scales": data.ArrayLayout(unsigned(SCALE_BITS), rows),
        }
    )


def set_layout(config: RetrievalConfig, queries: int) -> data.StructLayout:
    """The scored rows of a beat, in the first lanes, for each query.

    Raises ValueError if a score of 512 dimensions does not fit.
    """
    if config.score_bits < L2_BITS:
        raise ValueError(
            f"score_bits must be at least {L2_BITS} for rows of {MAX_ROW_BYTES} bytes, "
            f"not {config.score_bits}"
        )
    rows = data.ArrayLayout(row_layout(config), config.beat_bytes // MIN_ROW_BYTES)
    return data.StructLayout({"queries": data.ArrayLayout(rows, queries)})


class ScoreUnit(Component):
    """Scores one beat per cycle for all queries: short rows, or a part of a long one. Exact.

    A set leaves `latency_cycles` after the last beat of its rows came. Inner product; L2 is
    -||row - query||^2; COSINE the inner product times the row's scale, without its low 8 bits.

    Members
    -------
    row_size, metric : In  of the rows inside: change only while `idle`.
    bank : In(1)  of the query words that scores are made with; as above.
    word : In(struct {valid, query, bank, index, data})  writes a word of a query.
    beat : In(stream of beat_layout())
    sets : Out(stream of set_layout())
    idle : Out(1)  no beat is inside.
    """

    latency_cycles = 7  # beat, operands, products, sums of 16, sums of rows, totals, scores

    def __init__(self, config: RetrievalConfig, queries: int) -> None:
        self.config, self.queries = config, queries
        self.words = MAX_ROW_BYTES // config.beat_bytes
        self.segments = config.beat_bytes // MIN_ROW_BYTES
        word = data.StructLayout(
            {
                "valid": unsigned(1),
                "query": range(queries),
                "bank": unsigned(1),
                "index": range(self.words),
                "data": unsigned(8 * config.beat_bytes),
            }
        )
        super().__init__(
            {
                "row_size": In(range(ROW_SIZES)),
                "metric": In(Metric),
                "bank": In(1),
                "word": In(word),
                "beat": In(stream.Signature(beat_layout(config, queries))),
                "sets": Out(stream.Signature(set_layout(config, queries))),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.sets.valid | self.sets.ready),
            self.beat.ready.eq(advance),
        ]

        # what travels with a beat; stage 1 is the beat itself
        stages = [Signal(self.beat.p.shape(), name=f"beat{i}") for i in range(self.latency_cycles)]
        valid = Signal(self.latency_cycles)  # of stage 1 on; the last is that of `sets`
        with m.If(advance):
            m.d.sync += valid[: self.latency_cycles - 1].eq(
                (valid << 1) | (self.beat.valid & self.beat.ready)
            )
            m.d.sync += stages[0].eq(self.beat.payload)
            for stage, before in zip(stages[1:-1], stages, strict=False):
                for name in ("id", "ends", "masks", "scales"):
                    m.d.sync += stage[name].eq(before[name])
        last = stages[-2]  # travels with the totals
        m.d.comb += self.idle.eq(~valid[: self.latency_cycles - 1].any() & ~self.sets.valid)
        with m.If(advance):
            m.d.sync += self.sets.valid.eq(valid[self.latency_cycles - 2] & last.ends)

        for query in range(self.queries):
            words = self._words(m, query, advance)
            sums = self._sums(m, query, stages[0].data, words, advance)
            self._scores(m, query, sums, stages, valid, advance)
        return m

    def _words(self, m: Module, query: int, advance: Signal) -> Signal:
        """Return the query's word that belongs to the beat of stage 1."""
        m.submodules[f"words{query}"] = words = Memory(
            shape=unsigned(8 * self.config.beat_bytes), depth=2 * self.words, init=[]
        )
        load, read = words.write_port(), words.read_port()
        m.d.comb += [
            load.addr.eq(self.word.index + self.word.bank * self.words),
            load.data.eq(self.word.data),
            load.en.eq(self.word.valid & (self.word.query == query)),
            read.addr.eq(self.beat.payload.word + self.bank * self.words),
            read.en.eq(advance),
        ]
        return read.data

    def _sums(
        self, m: Module, query: int, beat: Signal, words: Signal, advance: Signal
    ) -> list[Signal]:
        """Stages 2 to 4: return the sums of 16 products, of row . query or (row - query)^2."""
        l2 = self.metric == Metric.L2
        products = []
        for index in range(self.config.beat_bytes):
            row, other = (word.word_select(index, 8).as_signed() for word in (beat, words))
            left, right = (
                Signal(signed(9), name=f"{side}{query}_{index}") for side in ("left", "right")
            )
            product = Signal(signed(18), name=f"product{query}_{index}")
            with m.If(advance):
                m.d.sync += [
                    left.eq(Mux(l2, row - other, row)),
                    right.eq(Mux(l2, row - other, other)),
                    product.eq(left * right),
                ]
            products.append(product)
        sums = []
        for segment in range(self.segments):
            total = Signal(signed(22), name=f"segment{query}_{segment}")
            part = products[MIN_ROW_BYTES * segment : MIN_ROW_BYTES * (segment + 1)]
            with m.If(advance):
                m.d.sync += total.eq(_sum(part))
            sums.append(total)
        return sums

    def _scores(
        self,
        m: Module,
        query: int,
        sums: list[Signal],
        stages: list[Signal],
        valid: Signal,
        advance: Signal,
    ) -> None:
        """Stages 5 to 7: sums of rows, of all beats of a long row, scores."""
        levels = [sums]
        while len(levels[-1]) > 1:
            below = levels[-1]
            levels.append([a + b for a, b in zip(below[::2], below[1::2], strict=True)])
        lanes = range(self.segments)
        part = [Signal(signed(SUM_BITS), name=f"part{query}_{lane}") for lane in lanes]
        total = [Signal(signed(SUM_BITS), name=f"total{query}_{lane}") for lane in lanes]
        in_beat = Signal(range(self.segments + 1), name=f"in_beat{query}")
        with m.Switch(self.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    m.d.comb += in_beat.eq(max(1, self.segments >> size))
                    level = levels[min(size, len(levels) - 1)]
                    with m.If(advance):
                        m.d.sync += [part[lane].eq(value) for lane, value in enumerate(level)]

        # a beat of a long row is added to those before it
        so_far = Signal(signed(SUM_BITS), name=f"so_far{query}")
        first = Signal(signed(SUM_BITS), name=f"first{query}")
        m.d.comb += first.eq(so_far + part[0])
        with m.If(advance):
            m.d.sync += [total[lane].eq(first if lane == 0 else part[lane]) for lane in lanes]
            with m.If(valid[4]):
                m.d.sync += so_far.eq(Mux(stages[4].ends, 0, first))

        token = stages[5]
        for lane in lanes:
            out = self.sets.payload.queries[query][lane]
            scaled = Signal(signed(SUM_BITS + SCALE_BITS), name=f"scaled{query}_{lane}")
            m.d.comb += scaled.eq(total[lane] * token.scales[lane])
            with m.If(advance):
                m.d.sync += [
                    out.valid.eq(token.masks[query][lane] & (lane < in_beat)),
                    out.id.eq(token.id + lane),
                    out.score.eq(total[lane]),
                ]
                with m.If(self.metric == Metric.L2):
                    m.d.sync += out.score.eq(-total[lane])
                with m.If(self.metric == Metric.COSINE):
                    m.d.sync += out.score.eq(scaled >> SCALE_BITS // 2)


def _sum(values: list[Signal]) -> Signal:
    """Return the sum as a balanced tree."""
    while len(values) > 1:
        pairs = [a + b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[2 * len(pairs) :]
    return values[0]
