"""What a retrieval can be refused for once its structures have been read."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, struct
from rpaccel.rtl.retrieval_score import ROW_SIZES
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import CORPUS, ISA_VERSION, RETRIEVAL, Status
from rpaccel.spec.retrieval import MIN_ROW_BYTES, Metric

__all__ = ["RetrievalCheck"]


class RetrievalCheck(wiring.Component):
    """BAD_CORPUS: a version, the row size, metric, an alignment. REGION: bits that the bus has not.

    Members
    -------
    record : In(struct(RETRIEVAL)), corpus : In(struct(CORPUS))
    corpus_status : Out(8)  of the corpus's address.
    status : Out(8)  of all else; REGION too if the rows end behind the last address.
    row_size : Out  of the corpus: 16 << row_size bytes, if the row size is one.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "record": In(struct(RETRIEVAL)),
                "corpus": In(struct(CORPUS)),
                "corpus_status": Out(STATUS_BITS),
                "status": Out(STATUS_BITS),
                "row_size": Out(range(ROW_SIZES)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, record, corpus = self.config, self.record, self.corpus
        bits, stripes = config.axi_address_bits, config.memory_ports * config.stripe_bytes
        fits, end = Signal(), Signal(bits + 1 + len(corpus.rows))
        for size in range(ROW_SIZES):
            row_bytes = MIN_ROW_BYTES << size
            if row_bytes <= config.retrieval_row_bytes_max:
                with m.If(corpus.row_bytes == row_bytes):
                    m.d.comb += [fits.eq(1), self.row_size.eq(size)]
        m.d.comb += end.eq(corpus.base[:bits] + ((corpus.rows * MIN_ROW_BYTES) << self.row_size))
        places = [corpus.live, corpus.scales, record.vector, record.list, record.bitmap]
        wrong = (
            (corpus.version != ISA_VERSION)
            | (record.version != ISA_VERSION)
            | ~fits
            | (corpus.metric > max(Metric))
            | (corpus.base & (stripes - 1)).any()
            | self._unaligned(*places)
        )
        outside = self._outside(corpus.base, *places) | (end > 1 << bits)
        address = record.corpus
        m.d.comb += [
            self.status.eq(self._first(wrong, outside)),
            self.corpus_status.eq(self._first(self._unaligned(address), self._outside(address))),
        ]
        return m

    @staticmethod
    def _first(wrong: Value, outside: Value) -> Value:
        return Mux(wrong, Status.BAD_CORPUS, Mux(outside, Status.REGION, Status.OK))

    def _unaligned(self, *addresses: Value) -> Value:
        return Cat(address & (self.config.beat_bytes - 1) for address in addresses).any()

    def _outside(self, *addresses: Value) -> Value:
        return Cat(address >> self.config.axi_address_bits for address in addresses).any()
