"""A funnel: one query on its way through its stages, from the list of candidates to the best."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.interfaces import descriptor_layout, result_layout, struct
from rpaccel.rtl.lane import TASKS, ahead_layout
from rpaccel.rtl.registers import counters_layout
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.score_sink import BestSink, FilterSink
from rpaccel.rtl.survivor_forecast import SurvivorForecast
from rpaccel.rtl.task import (
    TASK_COUNTERS,
    edges_note_layout,
    lane_score_layout,
    task_done_layout,
    task_layout,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import (
    COMPLETION,
    ISA_VERSION,
    MAX_STAGES,
    StageMode,
    Status,
    StatusFlag,
)
from rpaccel.spec.registers import FUNNEL_COUNTER_UNITS

__all__ = ["FILTERS", "SINKS", "Funnel", "offer_layout", "waiting_layout"]

FILTERS = 2  # boundary s has filter s modulo 2
SINKS = FILTERS + 1  # where scores go: the filters, then the list of the best
BEST = FILTERS
ABORT_CYCLES = 4  # after the last offer: its grant has come


def waiting_layout() -> data.StructLayout:
    """A checked query, and how long it has waited since it was fetched [cycles]."""
    return data.StructLayout({"descriptor": descriptor_layout(), "waited": unsigned(32)})


def offer_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A task that any of `lanes` may run. final : the last one of its stage."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "lanes": unsigned(config.lanes),
            "final": unsigned(1),
            "task": task_layout(config),
        }
    )


class Funnel(wiring.Component):
    """Cuts the stages of a query into tasks, filters their scores, keeps the best.

    Stage s's items are the candidates or the survivors of stage s - 1, in their order. They are
    dealt out in tasks of task_items, the last one with the rest; a task of a later stage is
    offered when its ids are sure to come, and it is known whether it is the last. Scores are
    taken in the order of the tasks, whichever lane is ready first: what comes out does not depend
    on time. A boundary's filter takes its scores as the stage's mode says (spec.isa.StageMode).
    The highest stage that has a task is offered first.

    A query whose deadline passes, that loses a task with a lane, or that is aborted, is given up:
    it is offered no more, its scores are thrown away, and when its tasks are done it completes
    with LATE, LANE_RESET or ABORTED and no results. Other errors: every stage runs to its end, the
    first error of the earliest stage that has one becomes the status, and there are no results.

    Members
    -------
    number : In  of the funnel; constant.
    query : In(stream of waiting_layout())  accepted when idle.
    clock : In(32)  for the query's end.
    idle, accepted_stb : Out(1). tag : Out(32)  of the query.
    give_up : In(1)  give the query up.
    lane_owns : In(lanes)  lanes that own blocks.
    offer : Out(offer_layout())  stays until it is granted or given up.
    grant_stb, grant_lane : In  the lane takes the task in this cycle.
    edges_stb, edges : In  edges_note_layout() for this funnel.
    score : In(stream of lane_score_layout()) x SINKS, from lane `sink_lane` for stage
        `sink_stage`.
    discard : Out(1)  all scores for this funnel are to be thrown away.
    ids : Out(stream of 32 bits) x FILTERS, to lane `ids_lane`.
    done_stb, done : In  task_done_layout() for this funnel.
    completion : Out(stream of struct(COMPLETION))
    result : Out(stream of result_layout())  `count` of them, from the completion's cycle on.
    counters : Out(counters_layout(FUNNEL_COUNTER_UNITS))  since reset, of all filters together.
    prefetch : In(1), to_read : Out(ahead_layout()), to_read_lanes : Out, ahead_ids : Out(stream)
        ids that will probably reach the next stage, for one of these lanes to read ahead.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        lane = range(max(2, config.lanes))
        super().__init__(
            {
                "number": In(range(max(2, config.funnels))),
                "query": In(stream.Signature(waiting_layout())),
                "idle": Out(1),
                "accepted_stb": Out(1),
                "clock": In(32),
                "tag": Out(32),
                "give_up": In(1),
                "lane_owns": In(config.lanes),
                "offer": Out(offer_layout(config)),
                "grant_stb": In(1),
                "grant_lane": In(lane),
                "edges_stb": In(1),
                "edges": In(edges_note_layout(config)),
                "score": In(stream.Signature(lane_score_layout(config))).array(SINKS),
                "sink_lane": Out(lane).array(SINKS),
                "sink_stage": Out(range(MAX_STAGES)).array(SINKS),
                "discard": Out(1),
                "ids": Out(stream.Signature(32)).array(FILTERS),
                "ids_lane": Out(lane).array(FILTERS),
                "done_stb": In(1),
                "done": In(task_done_layout(config)),
                "completion": Out(stream.Signature(struct(COMPLETION))),
                "result": Out(stream.Signature(result_layout())),
                "prefetch": In(1),
                "to_read": Out(ahead_layout(config)),
                "to_read_lanes": Out(config.lanes),
                "ahead_ids": Out(stream.Signature(32)),
                "counters": Out(counters_layout(FUNNEL_COUNTER_UNITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        self.clear = Signal()  # everything that a query leaves behind

        self.filters = [FilterSink(config) for _ in range(FILTERS)]
        self.best = BestSink(config)
        self.sinks: tuple[Any, ...] = (*self.filters, self.best)
        m.submodules.forecast = self.forecast = SurvivorForecast(config)
        for x, bucket_filter in enumerate(self.filters):
            m.submodules[f"filter_{x}"] = repeated(bucket_filter)
        m.submodules.best = self.best

        self.descriptor = Signal(descriptor_layout())
        self.record = Signal(struct(COMPLETION))
        self.running, self.aborting = Signal(), Signal()
        self.age = Signal(32)
        counts = range(config.max_items + 1)
        self.stages = [
            SimpleNamespace(
                opened=Signal(name=f"opened_{s}"),
                begun=Signal(name=f"begun_{s}"),
                closed=Signal(name=f"closed_{s}"),  # its filter has counted, its list is whole
                known=Signal(name=f"known_{s}"),  # all its items are there
                there=Signal(counts, name=f"there_{s}"),  # items so far
                given=Signal(counts, name=f"given_{s}"),
            )
            for s in range(MAX_STAGES)
        ]
        self._open(m)
        self._offer(m)
        self._pass_ids(m)
        self._connect_sinks(m)
        self._follow(m)
        self._read_ahead(m)
        self._account(m)
        self._count(m)
        self._control(m)
        self._forget(m)
        return m

    def _field(self, name: str, stage: Value) -> Value:
        """Return a field of a stage's part of the descriptor."""
        return Array(self.descriptor[f"stage{s}_{name}"] for s in range(MAX_STAGES))[stage]

    def _of(self, name: str, stage: Value) -> Array:
        """Return a stage's register."""
        return Array(getattr(state, name) for state in self.stages)[stage]

    def _open(self, m: Module) -> None:
        """Give the next stage its sink when that is free."""
        stage = Signal(range(MAX_STAGES + 1))
        number = stage[:2]
        last = Signal()
        m.d.comb += last.eq(stage == self.descriptor.stages - 1)
        # A filter's survivors wait in its queue until the stage after it has been given them.
        before = (number - 1)[:2]
        emptied = (stage < FILTERS) | (
            self._of("known", before) & (self._of("given", before) == self._of("there", before))
        )
        with m.If(self.clear):
            m.d.sync += stage.eq(0)
        with m.Elif(self.running & (stage < self.descriptor.stages)):
            for x, sink in enumerate(self.sinks):
                mine = last if x == BEST else ~last & (stage[0] == x) & emptied
                with m.If(mine & ~sink.busy):
                    m.d.comb += sink.open_stb.eq(1)
                    m.d.sync += [stage.eq(stage + 1), self._of("opened", number).eq(1)]
        for sink in self.sinks:
            m.d.comb += [
                sink.open_stage.eq(number),
                sink.clear.eq(self.clear),
                sink.running.eq(self.running),
            ]

    def _offer(self, m: Module) -> None:
        """Offer a task of the highest stage that has one."""
        offer, query = self.offer, self.descriptor
        self.receiving = [Signal(range(self.config.max_items + 1), name=f"ids_to_{x}_due")
                          for x in range(FILTERS)]  # fmt: skip
        size = Signal(range(self.config.max_items + 1))
        found, final = Signal(), Signal()
        stage = Signal(range(MAX_STAGES))
        for s, state in enumerate(self.stages):
            task_items = query[f"stage{s}_task_items"]
            rest = Signal.like(size, name=f"rest_{s}")
            full, due = Signal(name=f"full_{s}"), Signal(name=f"due_{s}")
            free = Const(1) if s == 0 else self.receiving[(s - 1) % FILTERS] == 0
            m.d.comb += [
                rest.eq(state.there - state.given),
                full.eq(
                    (task_items != 0) & ((rest > task_items) | ((rest == task_items) & state.known))
                ),
                due.eq(state.opened & free & (full | (state.known & (rest != 0)))),
            ]
            with m.If(due):
                m.d.comb += [
                    found.eq(1),
                    stage.eq(s),
                    size.eq(Mux(full, task_items, rest)),
                    final.eq(state.known & (~full | (rest == task_items))),
                ]

        task = offer.task
        lanes = self._field("lanes", stage)[: self.config.lanes]
        all_lanes = self._field("lanes", stage) == 0
        with m.If(~offer.valid & ~self.grant_stb):
            m.d.sync += [
                offer.valid.eq(found & self.running & ~self.aborting),
                offer.lanes.eq(Mux(all_lanes, ~0, lanes) & self.lane_owns),
                offer.final.eq(final),
                task.owner.funnel.eq(self.number),
                task.owner.stage.eq(stage),
                task.model.eq(self._field("model", stage)),
                task.listed.eq(stage == 0),
                task.list_address.eq(query.candidates_address + (self.stages[0].given << 2)),
                task.gather.user_address.eq(query.user_address),
                task.gather.features_address.eq(query.features_address),
                task.gather.features_rows.eq(query.features_rows),
                task.gather.item_record_bytes.eq(query.item_record_bytes),
                task.gather.user_record_bytes.eq(query.user_record_bytes),
                task.gather.items.eq(size),
                task.gather.sub_batch.eq(self._field("sub_batch", stage)),
                task.gather.later.eq(stage != 0),
            ]
        given = task.owner.stage
        after = Signal.like(size)
        m.d.comb += after.eq(self._of("given", given) + task.gather.items)
        with m.If(self.grant_stb):
            m.d.sync += [
                offer.valid.eq(0),
                self._of("given", given).eq(after),
                self._of("begun", given).eq(1),
            ]
        with m.Elif(self.aborting):
            m.d.sync += offer.valid.eq(0)
        for sink in self.sinks:
            m.d.comb += [
                sink.turn_stb.eq(self.grant_stb & sink.busy & (sink.stage == given)),
                sink.turn.lane.eq(self.grant_lane),
                sink.turn.final.eq(offer.final),
                sink.turn.after.eq(after),
            ]

    def _pass_ids(self, m: Module) -> None:
        """Give a filter's survivors to the lane that got the last task of the stage after it."""
        task = self.offer.task
        for x, bucket_filter in enumerate(self.filters):
            ids, due, survivors = self.ids[x], self.receiving[x], bucket_filter.survivors
            mine = (task.owner.stage != 0) & ((task.owner.stage - 1)[0] == x)
            m.d.comb += [
                # a query that is given up: whatever id lets the lane go on
                ids.valid.eq((due != 0) & (survivors.valid | self.aborting)),
                ids.payload.eq(Mux(survivors.valid, survivors.payload, 0)),
                survivors.ready.eq(ids.valid & ids.ready),
            ]
            with m.If(self.grant_stb & mine):
                m.d.sync += [due.eq(task.gather.items), self.ids_lane[x].eq(self.grant_lane)]
            with m.Elif(ids.valid & ids.ready):
                m.d.sync += due.eq(due - 1)
            with m.If(self.clear):  # a lane that was reset has taken no more
                m.d.sync += due.eq(0)

    def _connect_sinks(self, m: Module) -> None:
        """Scores into the sinks; what the descriptor says about them."""
        for x, sink in enumerate(self.sinks):
            connect(m, flipped(self.score[x]), sink.score)
            m.d.comb += [self.sink_lane[x].eq(sink.lane), self.sink_stage[x].eq(sink.stage)]
        for sink in self.filters:
            settings = sink.settings
            m.d.comb += [
                *(
                    settings[name].eq(self._field(name, sink.stage))
                    for name in ("mode", "options", "k", "task_k")
                ),
                settings.limit.eq(self.descriptor.survivor_limit),
                settings.first.eq(sink.stage == 0),
                settings.items.eq(self.stages[0].there),
                sink.edges_stb.eq(self.edges_stb & (self.edges.owner.stage == sink.stage)),
                sink.edges.eq(self.edges.edges),
            ]
        m.d.comb += self.best.top_n.eq(self.descriptor.top_n)

    def _follow(self, m: Module) -> None:
        """Count what a filter has chosen as items of the stage after; close stages."""
        for sink in self.filters:
            following = (sink.stage + 1)[: len(sink.stage)]
            with m.If(sink.counted_stb):
                there = self._of("there", following)
                m.d.sync += [
                    there.eq(there + sink.emitted),
                    self._of("known", following).eq(sink.final),
                    self._of("closed", sink.stage).eq(sink.final),
                ]
        with m.If(self.best.whole_stb):
            m.d.sync += self._of("closed", self.best.stage).eq(1)

    def _forget(self, m: Module) -> None:
        """Clear every stage; said last: a filter may count in this very cycle, for nobody."""
        with m.If(self.clear):
            for state in self.stages:
                m.d.sync += [value.eq(0) for value in vars(state).values()]

    def _read_ahead(self, m: Module) -> None:
        """While a stage is scored: those that will probably reach the next one.

        The filter of the lower stage is followed; when it is done, the other one.
        """
        query, forecast = self.descriptor, self.forecast
        one, other = self.filters
        second, before = Signal(), Signal()
        m.d.comb += second.eq(other.busy & ~one.busy)
        m.d.sync += before.eq(second)

        def followed(name: str) -> Value:
            return Mux(second, getattr(other, name), getattr(one, name))

        stage = followed("stage")
        following = (stage + 1)[:2]
        lanes = self._field("lanes", following)
        active = Signal()
        m.d.comb += [
            active.eq(
                self.prefetch & self.running & (second == before)
                & followed("busy") & self._of("known", stage)
            ),
            forecast.active.eq(active),
            forecast.start_stb.eq(followed("begin_stb") | (second != before)),
            forecast.k.eq(self._field("k", stage)),
            forecast.items.eq(self._of("there", stage)),
            forecast.scored_stb.eq(followed("taken")),
            forecast.stored_stb.eq(followed("stored_stb")),
            forecast.stored_id.eq(followed("stored_id")),
            forecast.stored_bin.eq(followed("stored_bin")),
            self.to_read.active.eq(active),
            self.to_read.model.eq(self._field("model", following)),
            self.to_read.records.features_address.eq(query.features_address),
            self.to_read.records.features_rows.eq(query.features_rows),
            self.to_read.records.item_record_bytes.eq(query.item_record_bytes),
            self.to_read_lanes.eq(
                Mux(lanes == 0, ~0, lanes[: self.config.lanes]) & self.lane_owns
            ),
        ]  # fmt: skip
        connect(m, forecast.id, flipped(self.ahead_ids))

    def _account(self, m: Module) -> None:
        """Fill in the completion: items, cycles, the first error, flags, lanes."""
        record, done = self.record, self.done
        for s, state in enumerate(self.stages):
            active = state.begun & ~state.closed
            filters = [sink.busy & (sink.stage == s) & sink.working for sink in self.sinks]
            with m.If(self.running):
                m.d.sync += [
                    record[f"items{s}"].eq(state.given),
                    record[f"stage_cycles{s}"].eq(record[f"stage_cycles{s}"] + active),
                    record[f"filter_cycles{s}"].eq(
                        record[f"filter_cycles{s}"] + (active & Cat(filters).any())
                    ),
                ]
            with m.If(self.done_stb & (done.owner.stage == s)):
                m.d.sync += [
                    record[f"{name}{s}"].eq(record[f"{name}{s}"] + done[name])
                    for name in TASK_COUNTERS
                ]
        with m.If(self.grant_stb):
            m.d.sync += [
                record.lane.eq(self.grant_lane),
                record.lanes.eq(record.lanes | (1 << self.grant_lane)),
            ]

        failed_in = Signal(range(MAX_STAGES))
        fails: Value = Const(0, 1)  # a task of these sinks ends with an error, the lowest stage's
        stage: Value = Const(0, 2)
        status: Value = Const(0, len(record.status))
        for port, sink in zip(self.score, self.sinks, strict=True):
            score = port.payload
            mine = sink.taken & score.last & (score.status != 0) & (~fails | (sink.stage < stage))
            stage, status = Mux(mine, sink.stage, stage), Mux(mine, score.status, status)
            fails = fails | mine
        with m.If(fails & ((record.status == 0) | (stage < failed_in))):
            m.d.sync += [record.status.eq(status), failed_in.eq(stage)]
        passed: Value = record.overshoot  # both filters may have counted in this cycle
        for sink in self.filters:
            told = sink.counted_stb & ((sink.settings.mode == StageMode.LOCAL) | sink.final)
            with m.If(told & sink.underfill):
                m.d.sync += record.flags[StatusFlag.UNDERFILL.bit_length() - 1].eq(1)
            with m.If(sink.counted_stb & sink.overfill):
                m.d.sync += record.flags[StatusFlag.OVERFILL.bit_length() - 1].eq(1)
            passed = passed + Mux(told, sink.overshoot, 0)
        with m.If(self.running):
            m.d.sync += record.overshoot.eq(passed)

    def _count(self, m: Module) -> None:
        """Count what the filters and the list do, since reset."""
        of_unit: dict[str, Any] = {"filter": self.filters, "ordered_top_n": [self.best]}
        for name, sinks in of_unit.items():
            for word, signal in (
                ("busy_cycles", "working"),
                ("stalled_input_cycles", "stalled_input"),
                ("stalled_output_cycles", "stalled_output"),
            ):
                counter = self.counters[name][word]
                m.d.sync += counter.eq(counter + sum(getattr(sink, signal) for sink in sinks))
            items = self.counters[name]["items"]
            m.d.sync += items.eq(items + sum(sink.taken for sink in sinks))

    def _control(self, m: Module) -> None:
        """Accept, run, answer, forget."""
        record, query = self.record, self.descriptor
        tasks = Signal(range(TASKS * self.config.lanes + 2))
        m.d.sync += tasks.eq(tasks + self.grant_stb - self.done_stb)
        late, lost = Signal(), Signal()
        since_abort = Signal(range(ABORT_CYCLES + 1))
        empty = Cat(state.known & (state.there == 0) for state in self.stages[1:]).any()
        listed = Cat(
            state.closed & (query.stages == s + 1) for s, state in enumerate(self.stages)
        ).any()
        m.d.sync += self.age.eq(self.age + 1)
        m.d.comb += [
            lost.eq(self.done_stb & self.done.lost),
            late.eq((query.deadline_cycles != 0) & (self.age >= query.deadline_cycles)),
            self.completion.payload.eq(record),
            self.discard.eq(self.aborting),
            self.tag.eq(query.tag),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.query.ready.eq(1)]
                with m.If(self.query.valid):
                    accepted = self.query.payload
                    m.d.comb += self.accepted_stb.eq(1)
                    m.d.sync += [
                        query.eq(accepted.descriptor),
                        self.age.eq(accepted.waited),
                        self.stages[0].there.eq(accepted.descriptor.items),
                        self.stages[0].known.eq(1),
                        record.eq(0),
                        record.tag.eq(accepted.descriptor.tag),
                        record.version.eq(ISA_VERSION),
                        record.queue_cycles.eq(accepted.waited),
                    ]
                    m.next = "RUN"
            with m.State("RUN"):
                with m.If((listed | empty) & (tasks == 0)):
                    m.d.sync += record.count.eq(Mux(listed & (record.status == 0),
                                                    self.best.count, 0))  # fmt: skip
                    m.next = "DONE"
                with m.Elif(late | lost | self.give_up):
                    reason = Mux(late, Status.LATE, Status.ABORTED)
                    m.d.sync += [
                        record.status.eq(Mux(lost, Status.LANE_RESET, reason)),
                        since_abort.eq(0),
                    ]
                    m.next = "ABORT"
            with m.State("ABORT"):
                with m.If(since_abort != ABORT_CYCLES):
                    m.d.sync += since_abort.eq(since_abort + 1)
                with m.Elif(tasks == 0):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.completion.valid.eq(1)
                with m.If(self.completion.ready):
                    m.next = "RESULTS"
            with m.State("RESULTS"), m.If((record.count == 0) | self.best.idle):
                m.d.comb += self.clear.eq(1)
                m.next = "IDLE"
        offered = fsm.ongoing("DONE") | fsm.ongoing("RESULTS")
        m.d.comb += [
            self.running.eq(fsm.ongoing("RUN")),
            self.aborting.eq(fsm.ongoing("ABORT")),
            self.result.payload.eq(self.best.result.payload),
            self.result.valid.eq(self.best.result.valid & offered & (record.count != 0)),
            self.best.result.ready.eq(self.result.ready & offered & (record.count != 0)),
        ]
        with m.If(self.running | self.aborting):
            m.d.sync += [
                record.total_cycles.eq(record.total_cycles + 1),
                record.ended_at.eq(self.clock),
            ]
