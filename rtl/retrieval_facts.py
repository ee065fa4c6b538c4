"""What is told of a scan."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["ScanFacts", "report_layout"]


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


class ScanFacts(wiring.Component):
    """Counts what a scan does, from `clear` on; a count is right `latency_cycles` later.

    Members
    -------
    clear : In(1)
    taken : In(1) per port  a beat is scored. stalled : In(1)  one waits.
    qualified : In(lanes) per query place  rows that qualify.
    errors : In(8) per port  Status of a beat of rows, 0: none. bitmap_status : In(8) per place.
    scan_cycles : In(32)
    failed : Out(1)  a read of rows has failed.
    report : Out(report_layout()) per place
    """

    latency_cycles = 2

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        ports, places = config.memory_ports, config.retrieval_queries
        super().__init__(
            {
                "clear": In(1),
                "taken": In(ports),
                "stalled": In(1),
                "qualified": In(config.retrieval.lanes).array(places),
                "errors": In(STATUS_BITS).array(ports),
                "bitmap_status": In(STATUS_BITS).array(places),
                "scan_cycles": In(32),
                "failed": Out(1),
                "report": Out(report_layout()).array(places),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        taken, beats, stalled = Signal(range(len(self.taken) + 1)), Signal(32), Signal(32)
        m.d.sync += [
            taken.eq(sum(self.taken)),
            beats.eq(beats + taken),
            stalled.eq(stalled + self.stalled),
        ]
        error = Signal(STATUS_BITS)  # of rows: of all queries
        for status in self.errors:
            with m.If((error == 0) & (status != 0)):
                m.d.sync += error.eq(status)
        m.d.comb += self.failed.eq(error != 0)
        for place, report in enumerate(self.report):
            rows = self.qualified[place]
            here, found = Signal(range(len(rows) + 1)), Signal(32)
            m.d.sync += [here.eq(sum(rows)), found.eq(found + here)]
            with m.If(self.clear):
                m.d.sync += [here.eq(0), found.eq(0)]
            m.d.comb += [
                report.status.eq(Mux(error != 0, error, self.bitmap_status[place])),
                report.found.eq(found),
                report.scan_cycles.eq(self.scan_cycles),
                report.beats.eq(beats),
                report.stalled_cycles.eq(stalled),
            ]
        with m.If(self.clear):
            m.d.sync += [error.eq(0), taken.eq(0), beats.eq(0), stalled.eq(0)]
        return m
