"""A funnel: one query on its way through its stages, from the list of candidates to the best."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import Assert, ResetInserter, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.bucket_filter import BucketFilter
from rpaccel.rtl.interfaces import descriptor_layout, result_layout, struct
from rpaccel.rtl.lane import TASKS, ahead_layout
from rpaccel.rtl.ordered_top_n import OrderedTopN
from rpaccel.rtl.registers import counters_layout
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
    StageOption,
    Status,
    StatusFlag,
)
from rpaccel.spec.registers import FUNNEL_COUNTER_UNITS

__all__ = ["FILTERS", "SINKS", "Funnel", "offer_layout", "waiting_layout"]

FILTERS = 2  # boundary s has filter s modulo 2
SINKS = FILTERS + 1  # where scores go: the filters, then the ordered list
TOP_N = FILTERS
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
    idle, accepted_stb : Out(1)
    abort : In(1)  give the query up.
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
        ids that will probably reach stage 1, for one of these lanes to read ahead.
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
                "abort": In(1),
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

        def cleared(unit: wiring.Component | SyncFIFOBuffered) -> object:
            return ResetInserter(self.clear)(unit)

        self.filters = [BucketFilter(config) for _ in range(FILTERS)]
        self.survivors = [
            SyncFIFOBuffered(width=32, depth=config.max_items + 1) for _ in range(FILTERS)
        ]
        self.top_n = OrderedTopN(config)
        self.forecast = SurvivorForecast(config)
        self._turn = data.StructLayout(
            {"lane": self.grant_lane.shape(), "final": 1, "after": range(config.max_items + 1)}
        )
        self.turns = [
            SyncFIFOBuffered(width=self._turn.size, depth=TASKS * config.lanes + 1)
            for _ in range(SINKS)
        ]
        for i, (bucket_filter, queue) in enumerate(zip(self.filters, self.survivors, strict=True)):
            m.submodules[f"bucket_filter_{i}"] = cleared(bucket_filter)
            m.submodules[f"survivors_{i}"] = cleared(queue)
        m.submodules.ordered_top_n = cleared(self.top_n)
        for i, turns in enumerate(self.turns):
            m.submodules[f"turns_{i}"] = cleared(turns)
        m.submodules.forecast = self.forecast

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
        self.sinks = [
            SimpleNamespace(
                busy=Signal(name=f"sink_busy_{x}"),  # a stage's scores come here
                stage=Signal(range(MAX_STAGES), name=f"stage_of_{x}"),
                open=Signal(name=f"release_open_{x}"),
                first=Signal(name=f"first_release_{x}"),
                final=Signal(name=f"final_release_{x}"),
                counting=Signal(name=f"counting_{x}"),  # the release has all its scores
                edges_known=Signal(name=f"edges_known_{x}"),
                head=data.View(self._turn, self.turns[x].r_data),
                taken=Signal(name=f"taken_{x}"),
                last=Signal(name=f"last_{x}"),  # `taken` is the release's last
            )
            for x in range(SINKS)
        ]
        self._open(m)
        self._offer(m)
        self._pass_ids(m)
        for x in range(SINKS):
            self._take_scores(m, x)
        for x in range(FILTERS):
            self._release(m, x)
        self._list(m)
        self._read_ahead(m)
        self._account(m)
        self._count(m)
        self._control(m)
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
                mine = last if x == TOP_N else ~last & (stage[0] == x) & emptied
                with m.If(mine & ~sink.busy):
                    m.d.sync += [
                        stage.eq(stage + 1),
                        self._of("opened", number).eq(1),
                        sink.busy.eq(1),
                        sink.stage.eq(number),
                        sink.first.eq(1),
                        sink.edges_known.eq(0),
                    ]
        for x, sink in enumerate(self.sinks):
            m.d.comb += self.sink_stage[x].eq(sink.stage)
            with m.If(self.clear):
                m.d.sync += [
                    getattr(sink, name).eq(0)
                    for name in ("busy", "open", "counting", "final", "edges_known")
                ]
        with m.If(self.clear):
            for state in self.stages:
                m.d.sync += [value.eq(0) for value in vars(state).values()]

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
        for sink, turns in zip(self.sinks, self.turns, strict=True):
            written = data.View(self._turn, turns.w_data)
            m.d.comb += [
                turns.w_en.eq(self.grant_stb & sink.busy & (sink.stage == given)),
                written.lane.eq(self.grant_lane),
                written.final.eq(offer.final),
                written.after.eq(after),
            ]
            with m.If(turns.w_en):
                m.d.sync += Assert(turns.w_rdy)

    def _pass_ids(self, m: Module) -> None:
        """Give a filter's survivors to the lane that got the last task of the stage after it."""
        task = self.offer.task
        for x, (bucket_filter, queue) in enumerate(zip(self.filters, self.survivors, strict=True)):
            ids, due = self.ids[x], self.receiving[x]
            mine = (task.owner.stage != 0) & ((task.owner.stage - 1)[0] == x)
            m.d.comb += [
                queue.w_en.eq(bucket_filter.id.valid),
                queue.w_data.eq(bucket_filter.id.payload.id),
                bucket_filter.id.ready.eq(queue.w_rdy),
                # a query that is given up: whatever id lets the lane go on
                ids.valid.eq((due != 0) & (queue.r_rdy | self.aborting)),
                ids.payload.eq(Mux(queue.r_rdy, queue.r_data, 0)),
                queue.r_en.eq(ids.valid & ids.ready),
            ]
            with m.If(self.grant_stb & mine):
                m.d.sync += [due.eq(task.gather.items), self.ids_lane[x].eq(self.grant_lane)]
            with m.Elif(ids.valid & ids.ready):
                m.d.sync += due.eq(due - 1)
            with m.If(self.clear):  # a lane that was reset has taken no more
                m.d.sync += due.eq(0)

    def _take_scores(self, m: Module, x: int) -> None:
        """Let the scores of the task whose turn it is into the sink, while a release is open."""
        sink, turns, score = self.sinks[x], self.turns[x], self.score[x]
        unit = self.top_n if x == TOP_N else self.filters[x]
        whole = self._field("mode", sink.stage) == StageMode.WHOLE
        go = Signal(name=f"go_{x}")
        m.d.comb += [
            self.sink_lane[x].eq(sink.head.lane),
            go.eq(sink.open & turns.r_rdy & ~self.aborting),
            unit.score.valid.eq(score.valid & go),
            score.ready.eq(unit.score.ready & go),
            *(unit.score.payload[n].eq(score.payload[n]) for n in ("id", "logit", "ctr")),
            unit.score.payload.last.eq(sink.last),
            sink.taken.eq(score.valid & score.ready),
            turns.r_en.eq(sink.taken & score.payload.last),
            sink.last.eq(
                score.payload.last & (sink.head.final if x == TOP_N else ~whole | sink.head.final)
            ),
        ]
        with m.If(unit.start.valid & unit.start.ready):
            m.d.sync += [sink.open.eq(1), sink.first.eq(0), sink.final.eq(0)]
        with m.If(sink.taken & sink.last):
            m.d.sync += [sink.open.eq(0), sink.counting.eq(1), sink.final.eq(sink.head.final)]

    def _release(self, m: Module, x: int) -> None:
        """Open a filter's releases; note what comes of each."""
        sink, unit, turns = self.sinks[x], self.filters[x], self.turns[x]
        stage = sink.stage
        mode, k = self._field("mode", stage), self._field("k", stage)
        options = self._field("options", stage)
        following = (stage + 1)[: len(stage)]
        counts = range(self.config.max_items + 1)
        wanted, wants = Signal(16, name=f"wanted_{x}"), Signal(17, name=f"wants_{x}")
        share = Signal(16, name=f"share_{x}")
        to_come = Signal(counts, name=f"to_come_{x}")
        start = unit.start.payload
        held = Signal(16, name=f"held_{x}")
        final = sink.head.final
        so_far = Mux(sink.first, 0, wanted)
        sum_of = so_far + self._field("task_k", stage)
        m.d.comb += [
            # what should have left after the release: a share, in the end all
            wants.eq(Mux(final | (sum_of > k), k, sum_of)),
            share.eq(Mux(wants > so_far, wants - so_far, 1)),
            to_come.eq(Mux(stage == 0, self.stages[0].there - sink.head.after, k)),
            unit.start.valid.eq(
                sink.busy & ~sink.open & ~sink.counting & ~sink.final & sink.edges_known
                & turns.r_rdy & self.running
            ),
            start.k.eq(Mux(mode == StageMode.LOCAL, share, k)),
            start.held.eq(held),
            start.limit.eq(self.descriptor.survivor_limit),
            start.exact.eq((options & StageOption.EXACT) != 0),
            start.adaptive.eq((options & StageOption.ADAPTIVE) != 0),
            start.carry.eq(
                ~sink.first
                & ((mode == StageMode.GLOBAL) | (mode == StageMode.PROPORTIONAL))
            ),
        ]  # fmt: skip
        with m.Switch(mode):
            with m.Case(StageMode.GLOBAL):
                m.d.comb += held.eq(Mux(final, 0, to_come))
            with m.Case(StageMode.PROPORTIONAL):
                m.d.comb += held.eq(k - wants)
        with m.If(unit.start.valid & unit.start.ready):
            m.d.sync += wanted.eq(wants)

        mine = self.edges.owner.stage == stage
        edges = Signal.like(unit.edges, name=f"edges_{x}")
        m.d.comb += unit.edges.eq(edges)
        with m.If(self.edges_stb & sink.busy & mine):
            m.d.sync += [edges.eq(self.edges.edges), sink.edges_known.eq(1)]

        with m.If(sink.counting & unit.counted):
            there = self._of("there", following)
            m.d.sync += [
                sink.counting.eq(0),
                there.eq(there + unit.emitted),
                self._of("known", following).eq(sink.final),
                self._of("closed", stage).eq(sink.final),
            ]
        # its survivors have left: the filter is free for the boundary after the next
        with m.If(sink.busy & sink.final & ~sink.counting & unit.idle):
            m.d.sync += [sink.busy.eq(0), sink.final.eq(0)]

    def _list(self, m: Module) -> None:
        """Open the list of the best with the last stage's first task; end with its last score."""
        sink, unit = self.sinks[TOP_N], self.top_n
        m.d.comb += [
            unit.start.valid.eq(sink.busy & sink.first & self.turns[TOP_N].r_rdy & self.running),
            unit.start.payload.top_n.eq(self.descriptor.top_n),
        ]
        with m.If(sink.counting & unit.draining):
            m.d.sync += [sink.counting.eq(0), self._of("closed", sink.stage).eq(1)]

    def _read_ahead(self, m: Module) -> None:
        """While stage 0 is scored: those that will probably reach stage 1."""
        query, forecast, sink, unit = self.descriptor, self.forecast, self.sinks[0], self.filters[0]
        lanes = query.stage1_lanes[: self.config.lanes]
        active = Signal()
        m.d.comb += [
            active.eq(self.prefetch & self.running & sink.busy & (sink.stage == 0)),
            forecast.active.eq(active),
            forecast.start_stb.eq(sink.first & unit.start.valid & unit.start.ready),
            forecast.k.eq(query.stage0_k),
            forecast.items.eq(self.stages[0].there),
            forecast.scored_stb.eq(sink.taken),
            forecast.stored_stb.eq(unit.stored_stb),
            forecast.stored_id.eq(unit.stored_id),
            forecast.stored_bin.eq(unit.stored_bin),
            self.to_read.active.eq(active),
            self.to_read.model.eq(query.stage1_model),
            self.to_read.records.features_address.eq(query.features_address),
            self.to_read.records.features_rows.eq(query.features_rows),
            self.to_read.records.item_record_bytes.eq(query.item_record_bytes),
            self.to_read_lanes.eq(Mux(query.stage1_lanes == 0, ~0, lanes) & self.lane_owns),
        ]
        connect(m, forecast.id, flipped(self.ahead_ids))

    def _account(self, m: Module) -> None:
        """Fill in the completion: items, cycles, the first error, flags, lanes."""
        record, done = self.record, self.done
        for s, state in enumerate(self.stages):
            active = state.begun & ~state.closed
            filters = [
                sink.busy & (sink.stage == s) & unit.busy
                for sink, unit in zip(self.sinks, (*self.filters, self.top_n), strict=True)
            ]
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
        for port, sink in zip(self.score, self.sinks, strict=True):
            score = port.payload
            first = (record.status == 0) | (sink.stage < failed_in)
            with m.If(sink.taken & score.last & (score.status != 0) & first):
                m.d.sync += [record.status.eq(score.status), failed_in.eq(sink.stage)]
        for sink, unit in zip(self.sinks, self.filters, strict=False):
            local = self._field("mode", sink.stage) == StageMode.LOCAL
            with m.If(sink.counting & unit.counted):
                with m.If(unit.underfill & (local | sink.final)):
                    m.d.sync += record.flags[StatusFlag.UNDERFILL.bit_length() - 1].eq(1)
                with m.If(unit.overfill):
                    m.d.sync += record.flags[StatusFlag.OVERFILL.bit_length() - 1].eq(1)
                with m.If(local | sink.final):
                    m.d.sync += record.overshoot.eq(record.overshoot + unit.overshoot)

    def _count(self, m: Module) -> None:
        """Count what the filters and the list do, since reset."""
        of_unit = {"filter": range(FILTERS), "ordered_top_n": (TOP_N,)}
        units: tuple[Any, ...] = (*self.filters, self.top_n)
        for name, numbers in of_unit.items():
            for word, signal in (
                ("busy_cycles", "busy"),
                ("stalled_input_cycles", "stalled_input"),
                ("stalled_output_cycles", "stalled_output"),
            ):
                counter = self.counters[name][word]
                m.d.sync += counter.eq(counter + sum(getattr(units[n], signal) for n in numbers))
            items = self.counters[name]["items"]
            m.d.sync += items.eq(items + sum(self.sinks[n].taken for n in numbers))

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
                                                    self.top_n.count, 0))  # fmt: skip
                    m.next = "DONE"
                with m.Elif(late | lost | self.abort):
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
            with m.State("RESULTS"), m.If((record.count == 0) | self.top_n.idle):
                m.d.comb += self.clear.eq(1)
                m.next = "IDLE"
        offered = fsm.ongoing("DONE") | fsm.ongoing("RESULTS")
        m.d.comb += [
            self.running.eq(fsm.ongoing("RUN")),
            self.aborting.eq(fsm.ongoing("ABORT")),
            self.result.payload.eq(self.top_n.result.payload),
            self.result.valid.eq(self.top_n.result.valid & offered & (record.count != 0)),
            self.top_n.result.ready.eq(self.result.ready & offered & (record.count != 0)),
        ]
        with m.If(self.running | self.aborting):
            m.d.sync += record.total_cycles.eq(record.total_cycles + 1)
