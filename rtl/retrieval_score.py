"""Scores of int8 rows against several queries, at the rate at which memory gives the rows."""

from __future__ import annotations

from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_lane import row_layout
from rpaccel.rtl.retrieval_products import (
    OFFSET,
    PAIR_CYCLES,
    SINGLE_CYCLES,
    Beat,
    pair_sums,
    single_sums,
)
from rpaccel.spec.retrieval import MAX_ROW_BYTES, MIN_ROW_BYTES, Metric, RetrievalConfig

__all__ = ["ROW_SIZES", "SUM_BITS", "ScoreUnit", "beat_layout", "set_layout"]

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
    With products_per_dsp = 2 the scores are the same, of half the multipliers.

    Members
    -------
    row_size, metric : In  of the rows inside: change only while `idle`.
    bank : In(1)  of the query words that scores are made with; as above.
    word : In(struct {valid, query, bank, index, data})  writes a word of a query.
    terms : In(signed(SUM_BITS)) per query  with products_per_dsp = 2: what `QueryTerms` says of the
        queries; it may come with the first beat.
    beat : In(stream of beat_layout())
    sets : Out(stream of set_layout())
    idle : Out(1)  no beat is inside.
    """

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
        self.pairs = config.products_per_dsp == 2
        terms = {"terms": In(signed(SUM_BITS)).array(queries)} if self.pairs else {}
        super().__init__(
            {
                **terms,
                "row_size": In(range(ROW_SIZES)),
                "metric": In(Metric),
                "bank": In(1),
                "word": In(word),
                "beat": In(stream.Signature(beat_layout(config, queries))),
                "sets": Out(stream.Signature(set_layout(config, queries))),
                "idle": Out(1),
            }
        )

    @property
    def latency_cycles(self) -> int:
        """7; 10 with products_per_dsp = 2."""
        return self.latency_of(self.config.products_per_dsp)

    @staticmethod
    def latency_of(products_per_dsp: int) -> int:
        """Return the cycles of beat, operands to sums of 16, sums of rows, totals, scores."""
        return 4 + (PAIR_CYCLES if products_per_dsp == 2 else SINGLE_CYCLES)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.sets.valid | self.sets.ready),
            self.beat.ready.eq(advance),
        ]

        # what travels with a beat; stage 1 is the beat itself
        inside = self.latency_cycles - 1
        stages = [Signal(self.beat.p.shape(), name=f"beat{i}") for i in range(inside)]
        valid = Signal(inside)  # of stage 1 on
        with m.If(advance):
            m.d.sync += valid.eq((valid << 1) | (self.beat.valid & self.beat.ready))
            m.d.sync += stages[0].eq(self.beat.payload)
            for stage, before in zip(stages[1:], stages, strict=False):
                for name in ("id", "ends", "masks", "scales"):
                    m.d.sync += stage[name].eq(before[name])
        parts, totals = stages[-2:]  # travel with sums of rows, and with totals
        m.d.comb += self.idle.eq(~valid.any() & ~self.sets.valid)
        with m.If(advance):
            m.d.sync += self.sets.valid.eq(valid[-1] & totals.ends)

        beat = Beat(
            data=stages[0].data,
            words=[self._words(m, query, advance) for query in range(self.queries)],
            l2=self.metric == Metric.L2,
            advance=advance,
        )
        begins = Signal(init=1)  # a row, with the part that is added to the total
        with m.If(advance & valid[-2]):
            m.d.sync += begins.eq(parts.ends)
        for query, sums in enumerate((pair_sums if self.pairs else single_sums)(m, beat)):
            part = self._parts(m, query, sums, advance)
            total = self._totals(m, query, part, begins, valid[-2] & advance, advance)
            self._scores(m, query, total, totals, advance)
        return m

    def _words(self, m: Module, query: int, advance: Signal) -> Signal:
        """Return the query's word that belongs to the beat of stage 1."""
        m.submodules[f"words{query}"] = words = Memory(
            shape=unsigned(8 * self.config.beat_bytes), depth=2 * self.words, init=[]
        )
        load, read = words.write_port(), words.read_port()
        offset = Const(OFFSET, 8).replicate(self.config.beat_bytes) if self.pairs else 0
        m.d.comb += [
            load.addr.eq(self.word.index + self.word.bank * self.words),
            load.data.eq(self.word.data ^ offset),
            load.en.eq(self.word.valid & (self.word.query == query)),
            read.addr.eq(self.beat.payload.word + self.bank * self.words),
            read.en.eq(advance),
        ]
        return read.data

    def _parts(self, m: Module, query: int, sums: list[Value], advance: Signal) -> list[Signal]:
        """Return the sums of the rows of a beat, by lane."""
        levels = [sums]
        while len(levels[-1]) > 1:
            below = levels[-1]
            levels.append([a + b for a, b in zip(below[::2], below[1::2], strict=True)])
        part = [
            Signal(signed(SUM_BITS), name=f"part{query}_{lane}") for lane in range(self.segments)
        ]
        with m.If(advance), m.Switch(self.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    level = levels[min(size, len(levels) - 1)]
                    m.d.sync += [part[lane].eq(value) for lane, value in enumerate(level)]
        return part

    def _totals(
        self,
        m: Module,
        query: int,
        part: list[Signal],
        begins: Signal,
        counts: Value,
        advance: Signal,
    ) -> list[Signal]:
        """Return the sums of rows; a beat of a long one is added to those before it."""
        term = self.terms[query] if self.pairs else Const(0, signed(SUM_BITS))
        total = [Signal.like(each, name=f"total{query}_{n}") for n, each in enumerate(part)]
        so_far = Signal(signed(SUM_BITS), name=f"so_far{query}")
        first = Signal(signed(SUM_BITS), name=f"first{query}")
        m.d.comb += first.eq(Mux(begins, term, so_far) + part[0])
        with m.If(advance):
            m.d.sync += [
                total[0].eq(first),
                *(t.eq(p + term) for t, p in zip(total[1:], part[1:], strict=True)),
            ]
        with m.If(counts):
            m.d.sync += so_far.eq(first)
        return total

    def _scores(
        self, m: Module, query: int, total: list[Signal], token: Signal, advance: Signal
    ) -> None:
        """Make scores of the rows that the query looks at."""
        in_beat = Signal(range(self.segments + 1), name=f"in_beat{query}")
        with m.Switch(self.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    m.d.comb += in_beat.eq(max(1, self.segments >> size))
        for lane in range(self.segments):
            out = self.sets.payload.queries[query][lane]
            scaled = Signal(signed(SUM_BITS + SCALE_BITS), name=f"scaled{query}_{lane}")
            m.d.comb += scaled.eq(total[lane] * token.scales[lane])
            with m.If(advance):
                m.d.sync += [
                    out.valid.eq(token.masks[query][lane] & (lane < in_beat)),
                    out.id.eq(token.id + lane),
                    out.score.eq(total[lane]),
                ]
                if not self.pairs:  # whose sums of squares are below 0 already
                    with m.If(self.metric == Metric.L2):
                        m.d.sync += out.score.eq(-total[lane])
                with m.If(self.metric == Metric.COSINE):
                    m.d.sync += out.score.eq(scaled >> SCALE_BITS // 2)
