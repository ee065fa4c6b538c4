"""What a query adds to all its scores where two products share a multiplier."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Const, Format, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.retrieval_products import OFFSET, tree_sums
from rpaccel.rtl.retrieval_score import ROW_SIZES, SUM_BITS
from rpaccel.spec.retrieval import MAX_ROW_BYTES, MIN_ROW_BYTES, Metric, RetrievalConfig

__all__ = ["QueryTerms"]


class QueryTerms(wiring.Component):
    """Sums up the words of queries while they are loaded.

    With v = row + 128 and u = query + 128, row . query = sum of u v - 128 v - 128 query, and
    -||row - query||^2 = sum of 2 u v - v^2 - u^2: `ScoreUnit` has all but the query's own part.

    Members
    -------
    word : In(struct {valid, query, first, data})  first : it begins a query's vector. A scan's last
        word is inside for `latency_cycles`.
    idle : Out(1)  no word is inside.
    take : In(1)  all words of a scan have come; only while `idle`.
    row_size, metric : In  of that scan.
    terms : Out(signed(SUM_BITS)) per query  of the scan, from the cycle after `take` to the next.
    """

    def __init__(self, config: RetrievalConfig, queries: int) -> None:
        self.config, self.queries = config, queries
        self.levels = (config.beat_bytes - 1).bit_length()
        word = data.StructLayout(
            {
                "valid": unsigned(1),
                "query": range(queries),
                "first": unsigned(1),
                "data": unsigned(8 * config.beat_bytes),
            }
        )
        super().__init__(
            {
                "word": In(word),
                "idle": Out(1),
                "take": In(1),
                "row_size": In(range(ROW_SIZES)),
                "metric": In(Metric),
                "terms": Out(signed(SUM_BITS)).array(queries),
            }
        )

    @property
    def latency_cycles(self) -> int:
        """Of word, products, levels of sums, totals: 8 with beats of 32 bytes."""
        return self.levels + 3

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.word
        stages = [Signal(word.shape(), name=f"word{i}") for i in range(self.latency_cycles - 1)]
        m.d.sync += stages[0].eq(word)
        for stage, before in zip(stages[1:], stages, strict=False):
            m.d.sync += [stage[name].eq(before[name]) for name in ("valid", "query", "first")]
        m.d.comb += self.idle.eq(~Cat(stage.valid for stage in stages).any())
        m.d.sync += Assert(~self.take | self.idle, Format("terms are taken while a word is inside"))
        squares, plain = self._sums(m, stages[0].data)

        last = stages[-1]
        for query in range(self.queries):
            square = Signal(range(MAX_ROW_BYTES * 255**2 + 1), name=f"square{query}")
            total = Signal(signed(MAX_ROW_BYTES.bit_length() + 7), name=f"total{query}")
            with m.If(last.valid & (last.query == query)):
                m.d.sync += [
                    square.eq(Mux(last.first, 0, square) + squares),
                    total.eq(Mux(last.first, 0, total) + plain),
                ]
            term = Signal(signed(SUM_BITS), name=f"term{query}")
            m.d.comb += term.eq(Mux(self.metric == Metric.L2, square, total * OFFSET))
            # a vector shorter than a beat has filled it
            with m.If(self.take), m.Switch(self.row_size):
                for size in range(ROW_SIZES):
                    times = max(1, self.config.beat_bytes // (MIN_ROW_BYTES << size))
                    with m.Case(size):
                        m.d.sync += self.terms[query].eq(-(term >> times.bit_length() - 1))
        return m

    def _sums(self, m: Module, word: Signal) -> tuple[Value, Value]:
        """Return the sums of u^2 and of the query's bytes, 1 + `levels` cycles after `word`."""
        squares: list[Value] = []
        plain: list[Value] = []
        for index in range(self.config.beat_bytes):
            byte = word.word_select(index, 8)
            square = Signal(16, name=f"square_of{index}")
            m.d.sync += square.eq((byte ^ OFFSET) * (byte ^ OFFSET))
            squares.append(square)
            plain.append(byte.as_signed())
        sums = []
        for name, values in (("squares", squares), ("plain", plain)):
            sums += tree_sums(m, values, Const(1), name, range(self.levels), self.levels)
        later = Signal(sums[1].shape(), name="plain_later")
        m.d.sync += later.eq(sums[1])
        return sums[0], later
