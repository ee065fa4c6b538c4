"""A lane: runs one query at a time through all of its stages."""

from __future__ import annotations

from amaranth import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.bucket_filter import BucketFilter
from rpaccel.rtl.compute_core import LaneCompute
from rpaccel.rtl.gather import Gather
from rpaccel.rtl.interfaces import (
    LoadBus,
    ReadPort,
    burst_layout,
    descriptor_layout,
    result_layout,
    struct,
)
from rpaccel.rtl.list_reader import ListReader
from rpaccel.rtl.ordered_top_n import OrderedTopN
from rpaccel.rtl.prefetcher import Prefetcher
from rpaccel.rtl.query_check import QueryCheck
from rpaccel.rtl.registers import counters_layout
from rpaccel.rtl.slot_table import SlotTable
from rpaccel.rtl.survivor_forecast import SurvivorForecast
from rpaccel.rtl.tokens import tile_input_layout, tile_output_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, ISA_VERSION, MAX_STAGES, Status, StatusFlag

__all__ = ["Lane"]

STAGE_COUNTERS = ("stage", "gather", "array", "interaction", "filter")


class Lane(wiring.Component):
    """Validates a query, runs its stages in order, answers with a completion and results.

    A stage starts `stage_start_cycles` after the one before has counted its survivors: those
    still on their way queue up before the gather unit. Every stage runs to its end, also after an
    error; the first error becomes the status, and the results are thrown away.

    Members
    -------
    load : In(LoadBus)
    query : In(stream of descriptor_layout())  accepted when idle.
    idle : Out(1)  holds no query and no results.
    done : Out(stream of struct(COMPLETION))  `lane` is 0: a lane does not know its number.
    result : Out(stream of result_layout())  `count` of them from the cycle in which `done` is
        offered on; all are taken before the next query is.
    list, ahead : Out(ReadPort)  ahead: records of candidates that will probably reach the next
        stage. record, row : Out(ReadPort) x gather_ports  those of `row` with rows.
    prefetch : In(1)  read ahead for the next stage. prefetched : Out(stream)  rows for it; see
        RowNetwork. epoch : Out(2)  one more with every query.
    tokens, outs : to and from the lane's tiles, by block row (and block column).
    counters : Out(counters_layout())  since reset; see the units for what they count. Stalls count
        while a stage runs; of the filters busy and both stalls are disjoint.
    """

    stage_start_cycles = 3  # RUN, NEXT, FETCH; then the start streams are offered

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(LoadBus(config)),
                "query": In(stream.Signature(descriptor_layout())),
                "idle": Out(1),
                "done": Out(stream.Signature(struct(COMPLETION))),
                "result": Out(stream.Signature(result_layout())),
                "list": Out(ReadPort(config)),
                "record": Out(ReadPort(config)).array(config.gather_ports),
                "row": Out(ReadPort(config, rows=True)).array(config.gather_ports),
                "ahead": Out(ReadPort(config)),
                "prefetch": In(1),
                "prefetched": Out(stream.Signature(burst_layout(config, rows=True))),
                "epoch": Out(2),
                "tokens": Out(tile_input_layout(config)).array(config.block_rows),
                "outs": In(data.ArrayLayout(tile_output_layout(config), config.block_cols)).array(
                    config.block_rows
                ),
                "counters": Out(counters_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.slots = self.slots = SlotTable(config)
        m.submodules.check = self.check = QueryCheck(config)
        m.submodules.list_reader = self.list_reader = ListReader(config)
        m.submodules.ids = self.ids = SyncFIFOBuffered(width=32, depth=config.max_items)
        m.submodules.gather = self.gather = Gather(config)
        m.submodules.core = self.core = LaneCompute(config)
        m.submodules.bucket_filter = self.filter = BucketFilter(config, exact=False)
        m.submodules.ordered_top_n = self.top_n = OrderedTopN(config)
        m.submodules.forecast = self.forecast = SurvivorForecast(config)
        m.submodules.prefetcher = self.prefetcher = Prefetcher(config)

        # The query and where it stands.
        self.descriptor = Signal(descriptor_layout())
        self.completion = Signal(struct(COMPLETION))
        self.stage = Signal(range(MAX_STAGES))
        self.items = Signal(range(config.max_items + 1))  # of this stage
        self.left = Signal(range(config.max_items + 1))  # scores of this stage to come
        self.starts = Signal(data.StructLayout({"list": 1, "gather": 1, "filter": 1, "top_n": 1}))
        self.last_stage = Signal()
        self.running = Signal()
        m.d.comb += [
            self.last_stage.eq(self.stage == self.descriptor.stages - 1),
            self.check.descriptor.eq(self.descriptor),
            self.check.loaded.eq(self.slots.loaded),
            self.slots.model.eq(self._of_stage("model")),
            self.slots.next_model.eq(self._of_stage("model", ahead=1)),
        ]

        self._connect_memory(m)
        self._start_units(m)
        self._connect_ids(m)
        self._join_scores(m)
        self._read_ahead(m)
        self._count(m)
        self._control(m)
        return m

    def _of_stage(self, name: str, ahead: int = 0) -> Value:
        """Return a field of the present stage's part of the descriptor, or of one further on."""
        last = MAX_STAGES - 1
        fields = [self.descriptor[f"stage{min(i + ahead, last)}_{name}"] for i in range(MAX_STAGES)]
        return Array(fields)[self.stage]

    def _connect_memory(self, m: Module) -> None:
        """Load bus and read ports."""
        for unit in (self.slots, self.core, self.gather, self.prefetcher):
            connect(m, flipped(self.load), unit.load)
        connect(m, self.list_reader.memory, flipped(self.list))
        for i in range(self.config.gather_ports):
            connect(m, self.gather.record[i], flipped(self.record[i]))
            connect(m, self.gather.row[i], flipped(self.row[i]))
        connect(m, self.prefetcher.record, flipped(self.ahead))
        connect(m, self.prefetcher.row, flipped(self.prefetched))

    def _start_units(self, m: Module) -> None:
        """Offer every unit of the stage its start until it takes it."""
        query, slot = self.descriptor, self.slots.slot
        units: dict[str, wiring.Component] = {
            "list": self.list_reader,
            "gather": self.gather,
            "filter": self.filter,
            "top_n": self.top_n,
        }
        for name, unit in units.items():
            m.d.comb += unit.start.valid.eq(self.starts[name])
            with m.If(self.starts[name] & unit.start.ready):
                m.d.sync += self.starts[name].eq(0)

        asked = self._of_stage("sub_batch")
        start = self.gather.start.payload
        m.d.comb += [
            self.list_reader.start.payload.address.eq(query.candidates_address),
            self.list_reader.start.payload.items.eq(self.items),
            start.user_address.eq(query.user_address),
            start.features_address.eq(query.features_address),
            start.features_rows.eq(query.features_rows),
            start.item_record_bytes.eq(query.item_record_bytes),
            start.user_record_bytes.eq(query.user_record_bytes),
            start.items.eq(self.items),
            start.later.eq(self.stage != 0),
            start.sub_batch.eq(Mux((asked != 0) & (asked < slot.sub_batch), asked, slot.sub_batch)),
            self.filter.start.payload.k.eq(self._of_stage("k")),
            self.top_n.start.payload.top_n.eq(query.top_n),
            self.gather.slot.eq(slot),
            self.core.slot.eq(slot),
            self.filter.edges.eq(self.slots.edges),
        ]

    def _connect_ids(self, m: Module) -> None:
        """Candidate list or survivors into the gather unit; gathered data into the core."""
        ids = self.ids
        listed = self.list_reader.ids
        with m.If(self.stage == 0):
            m.d.comb += [
                ids.w_en.eq(listed.valid),
                ids.w_data.eq(listed.payload),
                listed.ready.eq(ids.w_rdy),
            ]
        with m.Else():
            m.d.comb += [
                ids.w_en.eq(self.filter.id.valid),
                ids.w_data.eq(self.filter.id.payload.id),
                self.filter.id.ready.eq(ids.w_rdy),
            ]
        m.d.comb += [
            self.gather.ids.valid.eq(ids.r_rdy),
            self.gather.ids.payload.eq(ids.r_data),
            ids.r_en.eq(self.gather.ids.ready),
            self.gather.release_stb.eq(self.core.release_stb),
        ]
        for i in range(self.config.block_rows):
            m.d.comb += [self.tokens[i].eq(self.core.rows[i]), self.core.outs[i].eq(self.outs[i])]
        for gathered, vectors in zip(self.gather.vectors, self.core.vectors, strict=True):
            connect(m, gathered, vectors)
        connect(m, self.gather.batch, self.core.batch)

    def _join_scores(self, m: Module) -> None:
        """Give every score its id and the stage's `last`; send it to the stage's filter."""
        ids, scores = self.gather.item_ids, self.core.score
        for target, selected in (
            (self.filter.score, ~self.last_stage),
            (self.top_n.score, self.last_stage),
        ):
            m.d.comb += [
                target.payload.id.eq(ids.payload),
                target.payload.logit.eq(scores.payload.logit),
                target.payload.ctr.eq(scores.payload.ctr),
                target.payload.last.eq(self.left == 1),
                target.valid.eq(selected & ids.valid & scores.valid),
            ]
        taken = Signal()
        ready = Mux(self.last_stage, self.top_n.score.ready, self.filter.score.ready)
        m.d.comb += [
            taken.eq(ids.valid & scores.valid & ready),
            ids.ready.eq(scores.valid & ready),
            scores.ready.eq(ids.valid & ready),
        ]
        with m.If(taken):
            m.d.sync += self.left.eq(self.left - 1)
        self.score_taken = taken

    def _read_ahead(self, m: Module) -> None:
        """While a stage is scored: records and rows of those that will probably survive."""
        query, forecast, prefetcher = self.descriptor, self.forecast, self.prefetcher
        active = Signal()
        m.d.comb += [
            active.eq(self.prefetch & self.running & ~self.last_stage),
            forecast.active.eq(active),
            forecast.start_stb.eq(self.starts.filter & self.filter.start.ready),
            forecast.k.eq(self._of_stage("k")),
            forecast.items.eq(self.items),
            forecast.scored_stb.eq(self.score_taken & ~self.last_stage),
            forecast.stored_stb.eq(self.filter.stored_stb),
            forecast.stored_id.eq(self.filter.stored_id),
            forecast.stored_bin.eq(self.filter.stored_bin),
            prefetcher.active.eq(active),
            prefetcher.slot.eq(self.slots.next_slot),
            prefetcher.stage.features_address.eq(query.features_address),
            prefetcher.stage.features_rows.eq(query.features_rows),
            prefetcher.stage.item_record_bytes.eq(query.item_record_bytes),
        ]
        connect(m, forecast.id, prefetcher.ids)
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += self.epoch.eq(self.epoch + 1)

    def _count(self, m: Module) -> None:
        """Count what every unit does, since reset; and in this stage, for the completion."""
        gather, core = self.gather, self.core
        taken = self.score_taken
        filters: dict[str, wiring.Component] = {"filter": self.filter, "ordered_top_n": self.top_n}
        events = {
            "gather": (
                gather.busy,
                gather.busy & gather.stalled_input,
                gather.busy & gather.stalled_output,
                gather.items_stb,
            ),
            "array": (
                core.array_busy,
                self.running & core.array_stalled_input,
                core.score_stalled,
                taken,
            ),
            "weights": (core.weights_busy, core.weights_exposed, 0, core.tile_stb),
            "interaction": (core.interaction_busy, 0, 0, 0),
            "filter": (taken & ~self.last_stage,),
            "ordered_top_n": (taken & self.last_stage,),
        }
        for name, unit in filters.items():
            events[name] = (unit.busy, unit.stalled_input, unit.stalled_output, *events[name])
        for unit, levels in events.items():
            for word, level in zip(self.counters[unit].shape().members, levels, strict=True):
                m.d.sync += self.counters[unit][word].eq(self.counters[unit][word] + level)

        # The filter of a stage counts from its own start: survivors of the stage before may
        # still be leaving it.
        selecting = Mux(self.last_stage, self.top_n.busy, self.filter.busy & ~self.starts.filter)
        self.stage_cycles = {name: Signal(32, name=f"{name}_cycles") for name in STAGE_COUNTERS}
        for name, level in zip(
            STAGE_COUNTERS,
            (1, gather.busy, core.array_busy, core.interaction_busy, selecting),
            strict=True,
        ):
            m.d.sync += self.stage_cycles[name].eq(self.stage_cycles[name] + level)

    def _control(self, m: Module) -> None:
        """Accept, check, run the stages, answer."""
        completion = self.completion
        m.d.comb += self.done.payload.eq(completion)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.query.ready.eq(1)]
                with m.If(self.query.valid):
                    query = self.query.payload
                    m.d.sync += [
                        self.descriptor.eq(query),
                        self.stage.eq(0),
                        self.items.eq(query.items),
                        completion.eq(0),
                        completion.tag.eq(query.tag),
                        completion.version.eq(ISA_VERSION),
                    ]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += completion.status.eq(self.check.status)
                m.next = "FETCH"
                with m.If(self.check.status != Status.OK):
                    m.next = "DONE"
            with m.State("FETCH"):  # the slot's entry is read
                m.d.sync += [
                    self.starts.list.eq(self.stage == 0),
                    self.starts.gather.eq(1),
                    self.starts.filter.eq(~self.last_stage),
                    self.starts.top_n.eq(self.last_stage),
                    self.left.eq(self.items),
                ]
                m.d.sync += [cycles.eq(0) for cycles in self.stage_cycles.values()]
                m.next = "RUN"
            self._run_states(m)
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "RESULTS"
            with m.State("RESULTS"), m.If(self.top_n.idle):
                m.next = "IDLE"

        working = ~(fsm.ongoing("IDLE") | fsm.ongoing("DONE") | fsm.ongoing("RESULTS"))
        m.d.comb += self.running.eq(fsm.ongoing("RUN"))
        with m.If(working):
            m.d.sync += completion.total_cycles.eq(completion.total_cycles + 1)
        # Results are offered with the completion; after an error they are thrown away.
        offered = fsm.ongoing("DONE") | fsm.ongoing("RESULTS")
        m.d.comb += [
            self.result.payload.eq(self.top_n.result.payload),
            self.result.valid.eq(self.top_n.result.valid & offered),
            self.top_n.result.ready.eq(self.result.ready & offered | fsm.ongoing("DISCARD")),
        ]

    def _run_states(self, m: Module) -> None:
        """Run a stage, note its counters, go on with the next one or end the query."""
        completion = self.completion
        list_status, gather_status = self.list_reader.status, self.gather.status
        started = ~self.starts.as_value().any()
        selected = Mux(self.last_stage, self.top_n.draining, self.filter.counted)
        idle = ~self.gather.busy & ~self.list_reader.busy & self.core.array_stalled_input
        with m.State("RUN"), m.If(started & (self.left == 0) & selected & idle):
            with m.If(completion.status == 0):
                m.d.sync += completion.status.eq(Mux(list_status != 0, list_status, gather_status))
            with m.Switch(self.stage):
                for i in range(MAX_STAGES):
                    with m.Case(i):
                        m.d.sync += completion[f"items{i}"].eq(self.items)
                        m.d.sync += [
                            completion[f"{name}_cycles{i}"].eq(cycles + (name == "stage"))
                            for name, cycles in self.stage_cycles.items()
                        ]
            m.next = "NEXT"
        with m.State("NEXT"):
            with m.If(self.last_stage):
                m.d.sync += completion.count.eq(self.top_n.count)
                m.next = "DONE"
                with m.If(completion.status != 0):
                    m.d.sync += completion.count.eq(0)
                    m.next = "DISCARD"
            with m.Else():
                with m.If(self.filter.underfill):
                    m.d.sync += completion.flags.eq(StatusFlag.UNDERFILL)
                m.d.sync += [self.stage.eq(self.stage + 1), self.items.eq(self.filter.emitted)]
                m.next = "FETCH"
                with m.If(self.filter.emitted == 0):
                    m.next = "DONE"
        with m.State("DISCARD"), m.If(self.top_n.idle):
            m.next = "DONE"
