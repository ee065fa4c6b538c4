"""What of a memory port's scored rows qualifies, a few rows per cycle."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from rpaccel.rtl.retrieval_lane import row_layout
from rpaccel.rtl.retrieval_score import ROW_SIZES, set_layout
from rpaccel.rtl.retrieval_selector import key_of
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["RowGate", "bounds_layout"]


def bounds_layout(config: RetrievalConfig) -> data.StructLayout:
    """Scores below `floor` do not qualify, nor do rows that are not behind `page` in the order."""
    score = signed(config.score_bits)
    return data.StructLayout(
        {
            "floor": data.StructLayout({"valid": unsigned(1), "score": score}),
            "page": data.StructLayout(
                {"valid": unsigned(1), "score": score, "id": unsigned(config.id_bits)}
            ),
        }
    )


class RowGate(Component):
    """Passes scored rows on, `width` of each query per cycle; marks invalid what does not qualify.

    A set of up to `width` rows takes a cycle, a larger one as many as it needs. Latency 1 cycle.

    Members
    -------
    row_size : In, bounds : In(bounds_layout()) per query  constant while rows are inside.
    sets : In(stream of set_layout())
    rows : Out(stream of {queries: [[row_layout()]]})
    """

    latency_cycles = 1

    def __init__(self, config: RetrievalConfig, queries: int, width: int) -> None:
        self.config, self.queries, self.width = config, queries, width
        rows = data.ArrayLayout(data.ArrayLayout(row_layout(config), width), queries)
        super().__init__(
            {
                "row_size": In(range(ROW_SIZES)),
                "bounds": In(bounds_layout(config)).array(queries),
                "sets": In(stream.Signature(set_layout(config, queries))),
                "rows": Out(stream.Signature(data.StructLayout({"queries": rows}))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        segments = self.config.beat_bytes // 16
        parts = segments // self.width
        part, last = Signal(range(parts)), Signal(range(parts))
        with m.Switch(self.row_size):
            for size in range(ROW_SIZES):
                with m.Case(size):
                    m.d.comb += last.eq(max(0, (segments >> size) // self.width - 1))
        space = Signal()
        m.d.comb += [
            space.eq(~self.rows.valid | self.rows.ready),
            self.sets.ready.eq(space & (part == last)),
        ]
        with m.If(space):
            m.d.sync += self.rows.valid.eq(self.sets.valid)
            with m.If(self.sets.valid):
                m.d.sync += part.eq(Mux(part == last, 0, part + 1))
        for query in range(self.queries):
            bounds, lanes = self.bounds[query], self.sets.payload.queries[query]
            page = Signal(self.config.key_bits, name=f"page{query}")
            m.d.comb += page.eq(key_of(bounds.page.score, bounds.page.id))
            for lane in range(self.width):
                row, out = Signal(row_layout(self.config)), self.rows.payload.queries[query][lane]
                choices = [lanes[p * self.width + lane].as_value() for p in range(parts)]
                m.d.comb += row.eq(Array(choices)[part])
                low = bounds.floor.valid & (row.score < bounds.floor.score)
                shown = bounds.page.valid & (key_of(row.score, row.id) >= page)
                with m.If(space):
                    m.d.sync += [out.eq(row), out.valid.eq(row.valid & ~low & ~shown)]
        return m
