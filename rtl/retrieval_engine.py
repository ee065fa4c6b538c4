"""Retrieval engine: scans a corpus over all memory ports for several queries at once.

Ref: FAERY (OSDI 2022): a corpus is streamed past the queries; a filter before one selector each.
"""

from __future__ import annotations

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.rtl.retrieval_filter import start_layout
from rpaccel.rtl.retrieval_score import ROW_SIZES
from rpaccel.rtl.retrieval_selector import scored_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.retrieval import MAX_ROW_BYTES, Metric

__all__ = ["RetrievalEngine", "asked_layout", "guard_layout", "report_layout", "scan_layout"]


def asked_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What one query of a scan asks for. valid : 0: there is no query in this place."""
    sizes = config.retrieval
    score = signed(sizes.score_bits)
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "filter": start_layout(sizes),
            "bitmap": unsigned(config.axi_address_bits),  # 0: all rows are looked at
            "floor": data.StructLayout({"valid": unsigned(1), "score": score}),
            "page": data.StructLayout(
                {"valid": unsigned(1), "score": score, "id": unsigned(sizes.id_bits)}
            ),
        }
    )


def scan_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A scan: rows of 16 << row_size bytes at `base`, for one query or several."""
    address = unsigned(config.axi_address_bits)
    return data.StructLayout(
        {
            "rows": unsigned(32),
            "row_size": range(ROW_SIZES),
            "metric": Metric,
            "base": address,
            "live": address,
            "scales": address,
            "queries": data.ArrayLayout(asked_layout(config), config.retrieval_queries),
        }
    )


def report_layout() -> data.StructLayout:
    """Of one query, when its scan is over. status : Status of its first failed read.

    found : rows that qualify. scan_cycles : from the scan's start to its last row. beats : scored.
    stalled_cycles : a beat waits for a filter.
    """
    return data.StructLayout(
        {
            "status": unsigned(STATUS_BITS),
            "found": unsigned(32),
            "scan_cycles": unsigned(32),
            "beats": unsigned(32),
            "stalled_cycles": unsigned(32),
        }
    )


def guard_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Addresses low..high-1 that a scan has yet to read; low = high: none."""
    address = unsigned(config.axi_address_bits + 1)
    return data.StructLayout({"low": address, "high": address})


class RetrievalEngine(wiring.Component):
    """The k best rows of a corpus for each query of a scan, exact, in order.

    `start` is taken when the scan before has asked for all it reads; its query words are loaded
    before, while the scan before runs. An answer leaves while the next scan runs. With a failed
    read a query's list means nothing, and its status says so.

    Members
    -------
    word : In(stream of {query, index, data})  word `index` of a query's vector, a beat each; a
        vector shorter than a beat is repeated to fill word 0. For the next `start`.
    start : In(stream of scan_layout())
    give_up : In(1)  the scan ends early: what it finds means nothing.
    report : Out(stream of report_layout()) per query place, one per valid query of a scan, offered
        before the first row of its result.
    result : Out(stream of scored_layout()) per query place: rows, best first, then the end.
    memory : Out(ReadPort) per memory port  rows and their scales.
    bitmap : Out(ReadPort)
    rows_guard, live_guard : Out(guard_layout())  of rows, and of the bitmap of live rows. Both
        hold from the cycle in which `start` is taken.
    idle : Out(1)  no scan and no result is inside.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        sizes = config.retrieval
        queries = config.retrieval_queries
        self.words = MAX_ROW_BYTES // config.beat_bytes
        word = data.StructLayout(
            {
                "query": range(queries),
                "index": range(self.words),
                "data": unsigned(8 * config.beat_bytes),
            }
        )
        super().__init__(
            {
                "word": In(stream.Signature(word)),
                "start": In(stream.Signature(scan_layout(config))),
                "give_up": In(1),
                "report": Out(stream.Signature(report_layout())).array(queries),
                "result": Out(stream.Signature(scored_layout(sizes))).array(queries),
                "memory": Out(ReadPort(config)).array(config.memory_ports),
                "bitmap": Out(ReadPort(config)),
                "rows_guard": Out(guard_layout(config)),
                "live_guard": Out(guard_layout(config)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError
