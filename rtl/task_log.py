"""Task log: an entry in memory for every task that ends."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.hdl import Cat, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import WritePort, struct
from rpaccel.rtl.submission_queue import INDEX_BITS
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import TASK_LOG

__all__ = ["TaskLog", "log_settings_layout"]

ENTRIES = 32  # that wait to be written


def log_settings_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where the log is: a ring of `size` entries, a power of two; 0: none is kept."""
    return data.StructLayout(
        {"base": unsigned(config.axi_address_bits), "size": unsigned(INDEX_BITS)}
    )


class TaskLog(wiring.Component):
    """Writes entries into a ring in memory, one after the other; the oldest are written over.

    An entry that finds the queue full, or that memory refuses, is counted as dropped.

    Members
    -------
    settings : In(log_settings_layout())
    stb : In(1), entry : In(struct(TASK_LOG))
    port : Out(WritePort)
    tail : Out(16)  entries written, modulo 2**16. dropped : Out(32)
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "settings": In(log_settings_layout(config)),
                "stb": In(1),
                "entry": In(struct(TASK_LOG)),
                "port": Out(WritePort(config)),
                "tail": Out(INDEX_BITS),
                "dropped": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, port, settings = self.config, self.port, self.settings
        width, beat_bytes = TASK_LOG.bits, self.config.beat_bytes
        beats = max(1, TASK_LOG.bytes // beat_bytes)
        m.submodules.queue = queue = SyncFIFOBuffered(width=width, depth=ENTRIES)
        wanted = self.stb & (settings.size != 0)
        refused, written = Signal(), Signal()
        m.d.comb += [queue.w_data.eq(self.entry), queue.w_en.eq(wanted)]
        m.d.sync += self.dropped.eq(self.dropped + ((wanted & ~queue.w_rdy) | refused))

        address = Signal(config.axi_address_bits)
        words = Signal(width)  # shifted out a beat at a time
        left = Signal(range(beats + 1))
        m.d.comb += [
            port.request.payload.address.eq(address & ~(beat_bytes - 1)),
            port.request.payload.beats.eq(beats),
        ]
        if beat_bytes <= TASK_LOG.bytes:
            m.d.comb += [
                port.payload.payload.data.eq(words[: config.axi_data_bits]),
                port.payload.payload.strobe.eq(~0),
            ]
        else:  # one of several entries in a beat
            copies = beat_bytes // TASK_LOG.bytes
            place = address[TASK_LOG.bytes.bit_length() - 1 : beat_bytes.bit_length() - 1]
            m.d.comb += [
                port.payload.payload.data.eq(Cat(words for _ in range(copies))),
                port.payload.payload.strobe.eq(
                    Cat((place == i).replicate(TASK_LOG.bytes) for i in range(copies))
                ),
            ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += queue.r_en.eq(1)
                m.d.sync += [
                    words.eq(queue.r_data),
                    address.eq(settings.base + (self.tail & (settings.size - 1)) * TASK_LOG.bytes),
                    left.eq(beats),
                ]
                with m.If(queue.r_rdy):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += port.request.valid.eq(1)
                with m.If(port.request.ready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += port.payload.valid.eq(1)
                with m.If(port.payload.ready):
                    m.d.sync += [words.eq(words >> config.axi_data_bits), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += port.response.ready.eq(1)
                with m.If(port.response.valid):
                    m.d.comb += [
                        written.eq(port.response.payload.error == 0),
                        refused.eq(~written),
                    ]
                    m.next = "IDLE"
        m.d.sync += self.tail.eq(Mux(written, self.tail + 1, self.tail))
        return m
