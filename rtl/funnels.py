"""Funnels and lanes: tasks, ids, scores and edges between them."""

from __future__ import annotations

from amaranth import Array, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.funnel import FILTERS, SINKS, Funnel, waiting_layout
from rpaccel.rtl.interfaces import result_layout, struct
from rpaccel.rtl.lane import ahead_layout
from rpaccel.rtl.registers import counters_layout
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.task import (
    TASK_TIMES,
    edges_note_layout,
    lane_score_layout,
    owner_layout,
    task_done_layout,
    task_layout,
)
from rpaccel.rtl.task_grant import TaskGrant
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, TASK_LOG
from rpaccel.spec.registers import FUNNEL_COUNTER_UNITS

__all__ = ["Funnels", "LanePort"]


class LanePort(wiring.Signature):
    """What a lane and the funnels say to each other; see Lane. Seen from the funnels."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "task": Out(stream.Signature(task_layout(config))),
                "ids": Out(stream.Signature(32)),
                "ids_from": In(owner_layout(config)),
                "ids_wanted": In(1),
                "edges": In(stream.Signature(edges_note_layout(config))),
                "score": In(stream.Signature(lane_score_layout(config))),
                "done": In(stream.Signature(task_done_layout(config))),
                "to_read": Out(ahead_layout(config)),
                "ahead_ids": Out(stream.Signature(32)),
            }
        )


class Funnels(wiring.Component):
    """config.funnels queries at work on config.lanes lanes.

    A lane's end of a task and its edges are passed on in a cycle each, those of the lane of lowest
    number first. A lane reads ahead for one query at a time, until that query is answered.

    Members
    -------
    query : In(stream of waiting_layout()) x funnels
    idle : Out(1) per funnel
    completion : Out(stream of struct(COMPLETION)), result : Out(stream) per funnel; see Funnel.
    lane : Out(LanePort()) per lane
    lane_owns : In(lanes), prefetch, give_up : In(1), clock : In(32)  see Funnel.
    counters : Out per funnel; see Funnel.
    log_stb : Out(1), log : Out(struct(TASK_LOG))  a task has ended.
    epochs : Out(2) per lane  one more with every query that the lane has read ahead for.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        count = config.funnels
        super().__init__(
            {
                "query": In(stream.Signature(waiting_layout())).array(count),
                "idle": Out(count),
                "completion": Out(stream.Signature(struct(COMPLETION))).array(count),
                "result": Out(stream.Signature(result_layout())).array(count),
                "lane": Out(LanePort(config)).array(config.lanes),
                "lane_owns": In(config.lanes),
                "prefetch": In(1),
                "give_up": In(1),
                "clock": In(32),
                "epochs": Out(2).array(config.lanes),
                "log_stb": Out(1),
                "log": Out(struct(TASK_LOG)),
                "counters": Out(counters_layout(FUNNEL_COUNTER_UNITS)).array(count),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.grant = grant = TaskGrant(config)
        funnels = [Funnel(config) for _ in range(config.funnels)]
        for f, funnel in enumerate(funnels):
            m.submodules[f"funnel{f}"] = repeated(funnel) if len(funnels) > 1 else funnel
            connect(m, flipped(self.query[f]), funnel.query)
            connect(m, funnel.completion, flipped(self.completion[f]))
            connect(m, funnel.result, flipped(self.result[f]))
            m.d.comb += [
                funnel.number.eq(f),
                self.idle[f].eq(funnel.idle),
                self.counters[f].eq(funnel.counters),
                funnel.lane_owns.eq(self.lane_owns),
                funnel.prefetch.eq(self.prefetch),
                funnel.give_up.eq(self.give_up),
                funnel.clock.eq(self.clock),
                grant.accepted_stb[f].eq(funnel.accepted_stb),
                grant.offer[f].eq(funnel.offer),
                funnel.grant_stb.eq(grant.grant_stb[f]),
                funnel.grant_lane.eq(grant.lane),
            ]
        for i, lane in enumerate(self.lane):
            m.d.comb += [
                grant.lane_ready[i].eq(lane.task.ready),
                lane.task.valid.eq(grant.task_stb[i]),
                lane.task.payload.eq(grant.task),
            ]
        self._pass_ids(m, funnels)
        self._pass_scores(m, funnels)
        self._pass_notes(m, funnels)
        for i in range(config.lanes):
            self._read_ahead(m, funnels, i)
        return m

    def _pass_ids(self, m: Module, funnels: list[Funnel]) -> None:
        """Survivors to the lanes that have the tasks."""
        sources = [ids for funnel in funnels for ids in funnel.ids]
        for i, lane in enumerate(self.lane):
            number = Signal(range(max(2, len(sources))), name=f"source_of_{i}")
            before = lane.ids_from.stage - 1
            m.d.comb += number.eq(lane.ids_from.funnel * FILTERS + before[0])
            mine = Array(
                ids.valid & (funnel.ids_lane[x] == i)
                for funnel in funnels
                for x, ids in enumerate(funnel.ids)
            )
            m.d.comb += [
                lane.ids.valid.eq(lane.ids_wanted & mine[number]),
                lane.ids.payload.eq(Array(ids.payload for ids in sources)[number]),
            ]
            for f, funnel in enumerate(funnels):
                for x, ids in enumerate(funnel.ids):
                    with m.If(
                        (number == f * FILTERS + x) & lane.ids_wanted & (funnel.ids_lane[x] == i)
                    ):
                        m.d.comb += ids.ready.eq(lane.ids.ready)

    def _pass_scores(self, m: Module, funnels: list[Funnel]) -> None:
        """Scores to the sinks whose turn it is, or nowhere."""
        scores = Array(lane.score.payload for lane in self.lane)
        valid = Array(lane.score.valid for lane in self.lane)
        for f, funnel in enumerate(funnels):
            for x in range(SINKS):
                port, lane = funnel.score[x], funnel.sink_lane[x]
                payload = scores[lane]
                match = Signal(name=f"match_{f}_{x}")
                m.d.comb += [
                    port.payload.eq(payload),
                    match.eq(
                        valid[lane]
                        & (payload.owner.funnel == f)
                        & (payload.owner.stage == funnel.sink_stage[x])
                    ),
                    port.valid.eq(match),
                ]
                for i, source in enumerate(self.lane):
                    with m.If(match & port.ready & (lane == i)):
                        m.d.comb += source.score.ready.eq(1)
            for source in self.lane:
                with m.If(funnel.discard & (source.score.payload.owner.funnel == f)):
                    m.d.comb += source.score.ready.eq(1)

    def _pass_notes(self, m: Module, funnels: list[Funnel]) -> None:
        """Ends of tasks and edges, of one lane at a time, to the funnels; a register between."""
        for name in ("done", "edges"):
            ports = [getattr(lane, name) for lane in self.lane]
            turn = Signal(len(ports), name=f"{name}_turn")
            shape = ports[0].payload.shape()
            note, valid = Signal(shape, name=f"{name}_note"), Signal(name=f"{name}_valid")
            m.d.sync += valid.eq(turn.any())
            for i in reversed(range(len(ports))):
                with m.If(ports[i].valid):
                    m.d.comb += turn.eq(1 << i)
            for i, port in enumerate(ports):
                m.d.comb += port.ready.eq(turn[i])
                with m.If(turn[i]):
                    m.d.sync += note.eq(port.payload)
            for f, funnel in enumerate(funnels):
                m.d.comb += [
                    getattr(funnel, name).eq(note),
                    getattr(funnel, f"{name}_stb").eq(valid & (note.owner.funnel == f)),
                ]
            if name == "done":
                lane = Signal(8)
                for i in range(len(ports)):
                    with m.If(turn[i]):
                        m.d.sync += lane.eq(i)
                m.d.comb += [
                    self.log_stb.eq(valid),
                    self.log.tag.eq(Array(funnel.tag for funnel in funnels)[note.owner.funnel]),
                    self.log.lane.eq(lane),
                    self.log.stage.eq(note.owner.stage),
                    self.log.lost.eq(note.lost),
                    *(self.log[word].eq(note[word]) for word in ("items", *TASK_TIMES)),
                ]

    def _read_ahead(self, m: Module, funnels: list[Funnel], i: int) -> None:
        """Let a lane read ahead for one query, the lowest funnel's that asks it to."""
        lane, epoch = self.lane[i], self.epochs[i]
        owned = Signal(name=f"ahead_owned_{i}")
        owner = Signal(range(max(2, len(funnels))), name=f"ahead_owner_{i}")
        # of the lanes that may, the lowest
        asks = Array(
            funnel.to_read.active
            & funnel.to_read_lanes[i]
            & ((funnel.to_read_lanes & ((1 << i) - 1)) == 0)
            for funnel in funnels
        )
        to_read = Array(funnel.to_read for funnel in funnels)[owner]
        ids = [funnel.ahead_ids for funnel in funnels]
        with m.If(~owned):
            for f in reversed(range(len(funnels))):
                with m.If(asks[f]):
                    m.d.sync += [owned.eq(1), owner.eq(f)]
        with m.Elif(Array(funnel.idle for funnel in funnels)[owner]):
            m.d.sync += [owned.eq(0), epoch.eq(epoch + 1)]
        m.d.comb += [
            lane.to_read.eq(to_read),
            lane.to_read.active.eq(owned & asks[owner]),
            lane.ahead_ids.valid.eq(owned & asks[owner] & Array(each.valid for each in ids)[owner]),
            lane.ahead_ids.payload.eq(Array(each.payload for each in ids)[owner]),
        ]
        for f, funnel in enumerate(funnels):
            with m.If(owned & (owner == f) & asks[f]):
                m.d.comb += funnel.ahead_ids.ready.eq(lane.ahead_ids.ready)
