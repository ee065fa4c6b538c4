"""List reader: a stage's candidate ids out of memory."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.rtl.word_reader import WordReader, extent_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["ListReader"]

ID_BITS = 32


class ListReader(wiring.Component):
    """Reads a candidate list, one id per cycle; see WordReader.

    Members:
      start   In   stream {address, items: 32}; not ready while a list is read
      ids     Out  stream of 32-bit ids, exactly `items` of them (0 for a failed beat)
      memory  Out  ReadPort
      status  Out  first error since start
      busy    Out  a list is being read
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(extent_layout(config))),
                "ids": Out(stream.Signature(ID_BITS)),
                "memory": Out(ReadPort(config)),
                "status": Out(STATUS_BITS),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = WordReader(self.config, ID_BITS)
        wiring.connect(m, wiring.flipped(self.start), words.start)
        wiring.connect(m, words.words, wiring.flipped(self.ids))
        wiring.connect(m, words.memory, wiring.flipped(self.memory))
        m.d.comb += [self.status.eq(words.status), self.busy.eq(words.busy)]
        return m
