"""What a query adds to all its scores where two products share a multiplier."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.retrieval_products import OFFSET
from rpaccel.rtl.retrieval_score import ROW_SIZES, SUM_BITS
from rpaccel.spec.retrieval import MAX_ROW_BYTES, MIN_ROW_BYTES, Metric, RetrievalConfig

__all__ = ["QueryTerms"]


class QueryTerms(wiring.Component):
    """Sums up the words of queries while they are loaded.

    With v = row + 128 and u = query + 128, row . query = sum of u v - 128 v - 128 query, and
    -||row - query||^2 = sum of 2 u v - v^2 - u^2: `ScoreUnit` has all but the query's own part.

    Members
    -------
    word : In(struct {valid, query, first, data})  first : it begins a query's vector.
    take : In(1)  the words of a scan have come, the last one `latency_cycles` ago or earlier.
    row_size, metric : In  of that scan.
    terms : Out(signed(SUM_BITS)) per query  of the scan, from the cycle after `take` to the next.
    """

    latency_cycles = 4  # word, products, sums, totals

    def __init__(self, config: RetrievalConfig, queries: int) -> None:
        self.config, self.queries = config, queries
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
                "take": In(1),
                "row_size": In(range(ROW_SIZES)),
                "metric": In(Metric),
                "terms": Out(signed(SUM_BITS)).array(queries),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.word
        stages = [Signal(word.shape(), name=f"word{i}") for i in range(self.latency_cycles - 1)]
        m.d.sync += stages[0].eq(word)
        for stage, before in zip(stages[1:], stages, strict=False):
            m.d.sync += [stage[name].eq(before[name]) for name in ("valid", "query", "first")]
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

    def _sums(self, m: Module, word: Signal) -> tuple[Signal, Signal]:
        """Return the sums of u^2 and of the query's bytes, two cycles after `word`."""
        squares, plain = [], []
        for index in range(self.config.beat_bytes):
            byte = word.word_select(index, 8)
            square = Signal(16, name=f"square_of{index}")
            m.d.sync += square.eq((byte ^ OFFSET) * (byte ^ OFFSET))
            squares.append(square)
            plain.append(byte.as_signed())
        sums = []
        for name, values in (("squares", squares), ("plain", plain)):
            value = sum(values)
            total = Signal.like(value, name=name)
            m.d.sync += total.eq(value)
            sums.append(total)
        later = Signal.like(sums[1], name="plain_later")
        m.d.sync += later.eq(sums[1])
        return sums[0], later
