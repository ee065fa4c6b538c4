"""Score sinks of a funnel: where a stage's scores go, task after task."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.hdl import Assert, ResetInserter, ValueLike, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.bucket_filter import BucketFilter
from rpaccel.rtl.interfaces import result_layout, struct
from rpaccel.rtl.lane import TASKS
from rpaccel.rtl.ordered_top_n import OrderedTopN
from rpaccel.rtl.task import lane_score_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import EDGES, MAX_STAGES, StageMode, StageOption

__all__ = ["BestSink", "FilterSink", "filter_settings_layout", "turn_layout"]


def turn_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A task that was given to a lane. final : the stage's last; after : its items until then."""
    return data.StructLayout(
        {
            "lane": range(max(2, config.lanes)),
            "final": unsigned(1),
            "after": range(config.max_items + 1),
        }
    )


def filter_settings_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the descriptor says about the filter after a stage.

    items : of the stage, if it is the query's first, `first`.
    """
    return data.StructLayout(
        {
            "mode": unsigned(8),
            "options": unsigned(8),
            "k": unsigned(16),
            "task_k": unsigned(16),
            "limit": unsigned(16),
            "first": unsigned(1),
            "items": range(config.max_items + 1),
        }
    )


def _sink_members(config: AcceleratorConfig) -> dict[str, wiring.Member]:
    """Return what sinks have in common."""
    return {
        "clear": In(1),
        "open_stb": In(1),
        "open_stage": In(range(MAX_STAGES)),
        "running": In(1),
        "turn_stb": In(1),
        "turn": In(turn_layout(config)),
        "score": In(stream.Signature(lane_score_layout(config))),
        "lane": Out(range(max(2, config.lanes))),
        "stage": Out(range(MAX_STAGES)),
        "busy": Out(1),
        "taken": Out(1),
        "working": Out(1),
        "stalled_input": Out(1),
        "stalled_output": Out(1),
    }


class _Turns:
    """The order in which tasks' scores are taken: those of the oldest one go to `unit`."""

    def __init__(
        self, m: Module, sink: wiring.Component, unit: wiring.Component, ends_release: ValueLike
    ) -> None:
        config = sink.config
        layout = turn_layout(config)
        m.submodules.turns = queue = ResetInserter(sink.clear)(
            SyncFIFOBuffered(width=layout.size, depth=TASKS * config.lanes + 1)
        )
        self.head, self.there = data.View(layout, queue.r_data), queue.r_rdy
        self.open = Signal()  # a release takes scores
        self.first = Signal()  # the stage has had no release
        self.final = Signal()  # the release is the stage's last
        self.counting = Signal()  # it has all its scores
        score, go, last = sink.score, Signal(), Signal()
        m.d.comb += [
            queue.w_en.eq(sink.turn_stb),
            queue.w_data.eq(sink.turn),
            sink.lane.eq(self.head.lane),
            go.eq(self.open & self.there & sink.running),
            last.eq(score.payload.last & (self.head.final | ends_release)),
            unit.score.valid.eq(score.valid & go),
            score.ready.eq(unit.score.ready & go),
            *(unit.score.payload[n].eq(score.payload[n]) for n in ("id", "logit", "ctr")),
            unit.score.payload.last.eq(last),
            sink.taken.eq(score.valid & score.ready),
            queue.r_en.eq(sink.taken & score.payload.last),
            sink.working.eq(unit.busy),
            sink.stalled_input.eq(unit.stalled_input),
            sink.stalled_output.eq(unit.stalled_output),
        ]
        with m.If(sink.turn_stb):
            m.d.sync += Assert(queue.w_rdy)
        with m.If(unit.start.valid & unit.start.ready):
            m.d.sync += [self.open.eq(1), self.first.eq(0)]
        with m.If(sink.taken & last):
            m.d.sync += [self.open.eq(0), self.counting.eq(1), self.final.eq(self.head.final)]
        with m.If(sink.open_stb):
            m.d.sync += [sink.busy.eq(1), sink.stage.eq(sink.open_stage), self.first.eq(1)]

    def forget(self, m: Module, sink: wiring.Component) -> None:
        """Clear everything; to be said last."""
        with m.If(sink.clear):
            m.d.sync += [
                signal.eq(0) for signal in (sink.busy, self.open, self.final, self.counting)
            ]


class FilterSink(wiring.Component):
    """A boundary between stages: a bucket filter, its releases, and the queue of survivors.

    A release is opened when the stage's edges are known and its next task has been given to a
    lane; it takes the scores of one task, or of all (WHOLE). spec.isa.StageMode says what it
    releases; golden.lane.survivors is the model.

    Members
    -------
    clear : In(1)  forget everything. running : In(1)  else nothing is begun or taken.
    open_stb, open_stage : In  a stage's scores come from now on; only while not busy.
    settings : In(filter_settings_layout())  of `stage`.
    turn_stb, turn : In(turn_layout())  a task of the stage was given to a lane.
    edges_stb, edges : In(struct(EDGES))  of the stage's model.
    lane, stage : Out  whose scores are awaited. score : In(stream of lane_score_layout())
    busy : Out(1)  from `open_stb` until all survivors are in the queue. taken : Out(1)  a score.
    survivors : Out(stream of 32 bits)
    counted_stb : Out(1)  a release has been chosen: of `emitted` ids; `final`: the stage's last;
        `overshoot`, `underfill`, `overfill` as in BucketFilter.
    begin_stb : Out(1)  the first release is opened.
    stored_stb, stored_id, stored_bin : Out  of BucketFilter.
    working, stalled_input, stalled_output : Out(1)  of BucketFilter.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        counts = range(config.max_items + 1)
        super().__init__(
            _sink_members(config)
            | {
                "settings": In(filter_settings_layout(config)),
                "edges_stb": In(1),
                "edges": In(struct(EDGES)),
                "survivors": Out(stream.Signature(32)),
                "counted_stb": Out(1),
                "emitted": Out(counts),
                "final": Out(1),
                "overshoot": Out(counts),
                "underfill": Out(1),
                "overfill": Out(1),
                "begin_stb": Out(1),
                "stored_stb": Out(1),
                "stored_id": Out(32),
                "stored_bin": Out(range(config.bins)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        settings = self.settings
        unit = BucketFilter(self.config)
        queue = SyncFIFOBuffered(width=32, depth=self.config.max_items + 1)
        m.submodules.bucket_filter = ResetInserter(self.clear)(unit)
        m.submodules.survivors = ResetInserter(self.clear)(queue)
        turns = _Turns(m, self, unit, settings.mode != StageMode.WHOLE)

        edges, edges_known = Signal(struct(EDGES)), Signal()
        with m.If(self.edges_stb & self.busy):
            m.d.sync += [edges.eq(self.edges), edges_known.eq(1)]
        with m.If(self.open_stb | self.clear):
            m.d.sync += edges_known.eq(0)
        free = self.busy & ~turns.open & ~turns.counting & ~turns.final
        m.d.comb += [
            unit.edges.eq(edges),
            unit.start.valid.eq(free & edges_known & turns.there & self.running),
            self.begin_stb.eq(turns.first & unit.start.valid & unit.start.ready),
            queue.w_en.eq(unit.id.valid),
            queue.w_data.eq(unit.id.payload.id),
            unit.id.ready.eq(queue.w_rdy),
            self.survivors.valid.eq(queue.r_rdy),
            self.survivors.payload.eq(queue.r_data),
            queue.r_en.eq(self.survivors.ready),
            self.counted_stb.eq(turns.counting & unit.counted),
            self.final.eq(turns.final),
        ]
        for name in ("emitted", "overshoot", "underfill", "overfill",
                     "stored_stb", "stored_id", "stored_bin"):  # fmt: skip
            m.d.comb += getattr(self, name).eq(getattr(unit, name))
        self._settle(m, unit, turns)
        with m.If(self.counted_stb):
            m.d.sync += turns.counting.eq(0)
        with m.If(self.busy & turns.final & ~turns.counting & unit.idle):
            m.d.sync += [self.busy.eq(0), turns.final.eq(0)]
        turns.forget(m, self)
        return m

    def _settle(self, m: Module, unit: BucketFilter, turns: _Turns) -> None:
        """Say what the next release is for."""
        settings, start, final = self.settings, unit.start.payload, turns.head.final
        mode, k = settings.mode, settings.k
        wanted, so_far, wants, held = Signal(16), Signal(16), Signal(16), Signal(16)
        # what should have left after the release: a share, in the end all
        total = so_far + settings.task_k
        to_come = Mux(settings.first, settings.items - turns.head.after, k)
        share = Mux(wants > so_far, wants - so_far, 1)
        carried = (mode == StageMode.GLOBAL) | (mode == StageMode.PROPORTIONAL)
        m.d.comb += [
            so_far.eq(Mux(turns.first, 0, wanted)),
            wants.eq(Mux(final | (total > k), k, total)),
            start.k.eq(Mux(mode == StageMode.LOCAL, share, k)),
            start.held.eq(held),
            start.limit.eq(settings.limit),
            start.exact.eq((settings.options & StageOption.EXACT) != 0),
            start.adaptive.eq((settings.options & StageOption.ADAPTIVE) != 0),
            start.carry.eq(~turns.first & carried),
        ]
        with m.Switch(mode):
            with m.Case(StageMode.GLOBAL):
                m.d.comb += held.eq(Mux(final, 0, to_come))
            with m.Case(StageMode.PROPORTIONAL):
                m.d.comb += held.eq(k - wants)
        with m.If(unit.start.valid & unit.start.ready):
            m.d.sync += wanted.eq(wants)


class BestSink(wiring.Component):
    """After the last stage: the ordered list of the best.

    Members: those of FilterSink that have to do with scores, and
    -------
    top_n : In(16)
    whole_stb : Out(1)  the list has all scores of the stage.
    count, result, idle : Out  of OrderedTopN.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            _sink_members(config)
            | {
                "top_n": In(16),
                "whole_stb": Out(1),
                "count": Out(range(config.max_top_n + 1)),
                "result": Out(stream.Signature(result_layout())),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = OrderedTopN(self.config)
        m.submodules.ordered_top_n = ResetInserter(self.clear)(unit)
        turns = _Turns(m, self, unit, 0)
        connect(m, unit.result, flipped(self.result))
        m.d.comb += [
            # with the stage's first task: without one nothing would end the list
            unit.start.valid.eq(self.busy & turns.first & turns.there & self.running),
            unit.start.payload.top_n.eq(self.top_n),
            self.whole_stb.eq(turns.counting & unit.draining),
            self.count.eq(unit.count),
            self.idle.eq(unit.idle),
        ]
        with m.If(self.whole_stb):
            m.d.sync += turns.counting.eq(0)
        turns.forget(m, self)
        return m
