"""Blocks of a corpus: which bursts of rows a scan reads, from which memory port."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import BURST_BITS
from rpaccel.rtl.retrieval_bitmaps import chunk_layout
from rpaccel.rtl.retrieval_score import ROW_SIZES
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.retrieval import MIN_ROW_BYTES
from rpaccel.spec.stripe import port_of

__all__ = ["BlockScheduler", "block_layout", "rows_layout"]


def rows_layout(config: AcceleratorConfig) -> data.StructLayout:
    """The rows of a scan: 16 << row_size bytes each, at `base`; scales if `scaled`."""
    address = unsigned(config.axi_address_bits)
    return data.StructLayout(
        {
            "rows": unsigned(32),
            "row_size": range(ROW_SIZES),
            "scaled": unsigned(1),
            "base": address,
            "scales": address,
        }
    )


def block_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A burst of rows; `end`: none, the scan is over.

    address, beats : of the burst. id : of its first row. scale : address of that row's scale, if
    `scaled`. masks : per query, which of its rows are looked at.
    """
    masks = data.ArrayLayout(unsigned(config.beat_bytes), config.retrieval_queries)
    address = unsigned(config.axi_address_bits)
    return data.StructLayout(
        {
            "end": unsigned(1),
            "row_size": range(ROW_SIZES),
            "scaled": unsigned(1),
            "address": address,
            "beats": unsigned(BURST_BITS),
            "id": unsigned(32),
            "scale": address,
            "masks": masks,
        }
    )


class BlockScheduler(wiring.Component):
    """Cuts chunks of rows into bursts and gives each to the port of its address.

    A burst per cycle, in order; one in which no query looks at a row costs a cycle. A port that is
    full holds up the others. The end goes to all ports.

    Members
    -------
    rows : In(rows_layout())  constant from a scan's first chunk to its end.
    chunk : In(stream of chunk_layout())
    block : Out(stream of block_layout()) per memory port
    next : Out(address)  all bursts below it have been given or passed over.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "rows": In(rows_layout(config)),
                "chunk": In(stream.Signature(chunk_layout(config))),
                "block": Out(stream.Signature(block_layout(config))).array(config.memory_ports),
                "next": Out(config.axi_address_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, rows = self.config, self.rows
        block_shift = config.retrieval_block_bytes.bit_length() - 1
        beat_shift = config.beat_bytes.bit_length() - 1
        queries = range(config.retrieval_queries)

        # a chunk is 2**row_size bursts
        masks = [Signal(config.beat_bytes, name=f"masks{query}") for query in queries]
        have, index, left = Signal(), Signal(32), Signal(range(1 << ROW_SIZES - 1))
        here, rest = Signal(), Signal()
        shifted = [Signal(config.beat_bytes, name=f"shifted{query}") for query in queries]
        current = [Signal(config.beat_bytes, name=f"current{query}") for query in queries]
        of_block = Signal(range(config.beat_bytes + 1))  # rows
        with m.Switch(rows.row_size):
            for size in range(ROW_SIZES):
                count = max(1, config.beat_bytes >> size)
                with m.Case(size):
                    m.d.comb += of_block.eq(count)
                    for query in queries:
                        m.d.comb += [
                            shifted[query].eq(masks[query] >> count),
                            current[query].eq(masks[query][:count]),
                        ]
        m.d.comb += [here.eq(Cat(current).any()), rest.eq(Cat(shifted).any())]

        # the burst, in a register
        block, port = Signal(block_layout(config)), Signal(range(config.memory_ports))
        valid, space = Signal(), Signal()
        ending = Signal(config.memory_ports)  # ports that have yet to get the end
        address = Signal(config.axi_address_bits)
        first = Signal(32)
        bytes_left = Signal(32 + 10)
        m.d.comb += [
            address.eq(rows.base + (index << block_shift)),
            self.next.eq(Mux(valid, block.address, address)),
            space.eq((~valid | Array(one.ready for one in self.block)[port]) & (ending == 0)),
        ]
        with m.Switch(rows.row_size):
            for size in range(ROW_SIZES):
                row_shift = (MIN_ROW_BYTES << size).bit_length() - 1
                with m.Case(size):
                    m.d.comb += first.eq(index << max(0, block_shift - row_shift))
                    m.d.comb += bytes_left.eq((rows.rows - first)[:32] << row_shift)
        with m.If(space):
            m.d.sync += [
                valid.eq(have & here),
                port.eq(port_of(config, address)),
                block.row_size.eq(rows.row_size),
                block.scaled.eq(rows.scaled),
                block.address.eq(address),
                block.id.eq(first),
                block.scale.eq(rows.scales + (first << 1)),
                block.beats.eq(
                    Mux(
                        bytes_left >= config.retrieval_block_bytes,
                        config.retrieval_block_bytes >> beat_shift,
                        (bytes_left + config.beat_bytes - 1) >> beat_shift,
                    )
                ),
                *(block.masks[query].eq(one) for query, one in enumerate(current)),
            ]
            with m.If(have):
                m.d.sync += [index.eq(index + 1), left.eq(left - 1)]
                m.d.sync += [mask.eq(one) for mask, one in zip(masks, shifted, strict=True)]
        done = Signal()
        m.d.comb += done.eq(have & space & ((left == 0) | ~rest))

        # chunks, and the end
        chunk = self.chunk.payload
        with m.If(done):
            m.d.sync += have.eq(0)
        with m.If(~have | done):
            m.d.comb += self.chunk.ready.eq(~chunk.end | ~have & ~valid & (ending == 0))
            with m.If(self.chunk.valid & self.chunk.ready):
                with m.If(chunk.end):
                    m.d.sync += [ending.eq(~0), index.eq(0)]
                with m.Else():
                    m.d.sync += [
                        have.eq(1),
                        index.eq(chunk.index << rows.row_size),
                        left.eq((1 << rows.row_size) - 1),
                        *(mask.eq(chunk.masks[query]) for query, mask in enumerate(masks)),
                    ]
        for number, out in enumerate(self.block):
            m.d.comb += [
                out.payload.eq(block),
                out.payload.end.eq(ending[number]),
                out.valid.eq(ending[number] | valid & (port == number)),
            ]
            with m.If(ending[number] & out.ready):
                m.d.sync += ending[number].eq(0)
        return m
