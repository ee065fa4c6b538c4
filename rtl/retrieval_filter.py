"""Score filter: lanes of scored rows in, the K best in order out, exact for every order of scores.

Ref: FAERY (OSDI 2022): filter before one K-selection unit. The threshold covers everything scanned,
not only what the selector has seen, and heads of the lanes' queues are checked against it again.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Elaboratable, Module, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from rpaccel.rtl.retrieval_arbiter import Arbiter
from rpaccel.rtl.retrieval_histogram import Histogram
from rpaccel.rtl.retrieval_lane import FilterLane, row_layout
from rpaccel.rtl.retrieval_lane_histogram import shift_bits
from rpaccel.rtl.retrieval_recent import RecentBound
from rpaccel.rtl.retrieval_selector import Selector, scored_layout
from rpaccel.rtl.retrieval_threshold import Threshold
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["ScoreFilter", "rows_layout", "start_layout"]


def rows_layout(config: RetrievalConfig) -> data.StructLayout:
    """The scored rows of a cycle, one per lane; `last` : the query's last set."""
    lanes = data.ArrayLayout(row_layout(config), config.lanes)
    return data.StructLayout({"lanes": lanes, "last": unsigned(1)})


def start_layout(config: RetrievalConfig) -> data.StructLayout:
    """A query: 1 <= k <= k_max, and its histogram's buckets. Any base and shift give the same rows.

    The K-th best should lie well above base, and 256 << shift should reach the best score.
    """
    return data.StructLayout(
        {
            "k": unsigned(config.count_bits),
            "base": signed(config.score_bits),
            "shift": shift_bits(config),
        }
    )


class ScoreFilter(Component):
    """Finds the k best of a scan by (score descending, id ascending).

    Takes a set of `lanes` rows per cycle while no lane's queue is almost full. Rows that cannot be
    among the best are dropped where they come, or as heads of their queues; the others go to the
    selector, one per cycle. When the last set has come and the queues are empty the query is closed
    and the next one may start: its scan hides the answer of this one.

    Members
    -------
    start : In(stream of start_layout())  opens a query; not for 256 cycles after reset.
    rows : In(stream of rows_layout())  ids of a query are distinct.
    result : Out(stream of scored_layout())  min(k, valid rows) rows, best first, then the end.
    passes : Out(1)  a row enters the selector's sorter.
    queued, left : Out(lanes)  a row enters the lane's queue, leaves it.
    swept : Out(1)  a sweep of the histogram is over.
    stalled : Out(1)  a set waits for a lane's queue.
    idle : Out(1)  no query is inside.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(start_layout(config))),
                "rows": In(stream.Signature(rows_layout(config))),
                "result": Out(stream.Signature(scored_layout(config))),
                "passes": Out(1),
                "queued": Out(config.lanes),
                "left": Out(config.lanes),
                "swept": Out(1),
                "stalled": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.config
        m.submodules.histogram = histogram = Histogram(config)
        m.submodules.recent = recent = RecentBound(config)
        m.submodules.threshold = threshold = Threshold(config)
        m.submodules.arbiter = arbiter = Arbiter(unsigned(config.key_bits), config.lanes)
        m.submodules.selector = selector = Selector(config)
        lanes = [FilterLane(config) for _ in range(config.lanes)]
        connect(m, flipped(self.result), selector.result)

        # every row goes to its lane's queue and to the bounds
        rows, taken = Signal(rows_layout(config)), Signal()
        m.d.sync += rows.eq(self.rows.payload)
        for number, (lane, row) in enumerate(zip(lanes, rows.lanes, strict=True)):
            m.submodules[f"lane{number}"] = lane
            came = row.valid & taken
            m.d.comb += [lane.row.eq(row), lane.row.valid.eq(came)]
            for bound in (histogram, recent):
                m.d.comb += [bound.scores[number].score.eq(row.score)]
                m.d.comb += [bound.scores[number].valid.eq(came)]
            m.d.comb += [lane.floor.eq(threshold.floor), lane.threshold.eq(threshold.threshold)]
            m.d.comb += [self.queued[number].eq(lane.queued), self.left[number].eq(lane.left)]
            connect(m, lane.key, arbiter.sources[number])

        # bounds of the K-th best
        m.d.comb += [
            threshold.swept.eq(histogram.bound),
            threshold.recent.eq(recent.bound),
            threshold.selected.eq(selector.threshold),
            self.passes.eq(selector.enters),
            self.swept.eq(histogram.swept),
        ]
        empty = Cat(lane.empty for lane in lanes).all() & arbiter.empty & ~taken & ~histogram.busy
        full = Cat(lane.almost_full for lane in lanes).any()
        m.d.sync += taken.eq(self.rows.valid & self.rows.ready)
        self._control(m, histogram, recent, threshold, selector, full, empty)

        key, candidate = arbiter.o.payload, selector.candidate
        with m.If(arbiter.o.valid):
            m.d.comb += [
                candidate.valid.eq(1),
                candidate.payload.id.eq(~key[: config.id_bits]),
                candidate.payload.score.eq(Cat(key[config.id_bits : -1], ~key[-1]).as_signed()),
                arbiter.o.ready.eq(candidate.ready),
            ]
        return m

    def _control(
        self,
        m: Module,
        histogram: Histogram,
        recent: RecentBound,
        threshold: Threshold,
        selector: Selector,
        full: Signal,
        empty: Signal,
    ) -> None:
        """Open a query, let its rows in, close it when they are gone."""
        start = Signal(start_layout(self.config))
        begin = Signal()
        m.d.comb += [
            histogram.start.eq(begin),
            recent.start.eq(begin),
            threshold.start.eq(begin),
            histogram.k.eq(start.k),
            histogram.base.eq(start.base),
            histogram.shift.eq(start.shift),
            recent.k.eq(start.k),
            selector.start.payload.k.eq(self.start.payload.k),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.idle.eq(selector.idle),
                    selector.start.valid.eq(self.start.valid & histogram.ready),
                    self.start.ready.eq(selector.start.ready & histogram.ready),
                    begin.eq(self.start.valid & self.start.ready),
                ]
                m.d.sync += start.eq(self.start.payload)
                with m.If(begin):
                    m.next = "SCAN"
            with m.State("SCAN"):
                m.d.comb += [
                    self.rows.ready.eq(histogram.ready & ~full),
                    self.stalled.eq(self.rows.valid & ~self.rows.ready),
                ]
                with m.If(self.rows.valid & self.rows.ready & self.rows.payload.last):
                    m.next = "FLUSH"
            with m.State("FLUSH"), m.If(empty):
                m.d.comb += [
                    selector.candidate.valid.eq(1),
                    selector.candidate.payload.end.eq(1),
                ]
                with m.If(selector.candidate.ready):
                    m.next = "IDLE"
