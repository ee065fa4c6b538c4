"""A lane: runs tasks, parts of a query's stage, one after the other."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.compute_core import LaneCompute
from rpaccel.rtl.gather import Gather
from rpaccel.rtl.interfaces import STATUS_BITS, LoadBus, ReadPort, burst_layout
from rpaccel.rtl.list_reader import ListReader
from rpaccel.rtl.prefetcher import Prefetcher, prefetch_start_layout
from rpaccel.rtl.registers import counters_layout
from rpaccel.rtl.slot_table import SlotTable
from rpaccel.rtl.task import (
    TASK_COUNTERS,
    TASK_TIMES,
    edges_note_layout,
    lane_score_layout,
    owner_layout,
    task_done_layout,
    task_layout,
)
from rpaccel.rtl.tokens import tile_input_layout, tile_output_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["Lane", "ahead_layout", "lane_members"]

TASKS = 4  # given to a lane and not done: a power of two
TASK_BITS = TASKS.bit_length() - 1
USER_BANKS = 2  # of them are gathered or computed


def ahead_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What a lane reads ahead for: a model slot and where a query's item records are."""
    return data.StructLayout(
        {
            "active": unsigned(1),
            "model": range(max(2, config.model_slots)),
            "records": prefetch_start_layout(config),
        }
    )


def lane_members(config: AcceleratorConfig) -> dict[str, wiring.Member]:
    """Return the members of a lane; see Lane."""
    ports = config.gather_ports
    outs = data.ArrayLayout(tile_output_layout(config), config.block_cols)
    return {
        "load": In(LoadBus(config)),
        "task": In(stream.Signature(task_layout(config))),
        "ids": In(stream.Signature(32)),
        "ids_from": Out(owner_layout(config)),
        "ids_wanted": Out(1),
        "edges": Out(stream.Signature(edges_note_layout(config))),
        "score": Out(stream.Signature(lane_score_layout(config))),
        "done": Out(stream.Signature(task_done_layout(config))),
        "clock": In(32),
        "idle": Out(1),
        "moves": Out(1),
        "loaded": Out(config.model_slots),
        "list": Out(ReadPort(config)),
        "record": Out(ReadPort(config)).array(ports),
        "row": Out(ReadPort(config, rows=True)).array(ports),
        "ahead": Out(ReadPort(config)),
        "to_read": In(ahead_layout(config)),
        "ahead_ids": In(stream.Signature(32)),
        "prefetched": Out(stream.Signature(burst_layout(config, rows=True))),
        "tokens": Out(tile_input_layout(config)).array(config.block_rows),
        "outs": In(outs).array(config.block_rows),
        "counters": Out(counters_layout()),
    }


class Lane(wiring.Component):
    """Gathers a task while it computes the one before; gives scores in the order of the tasks.

    A task of another model waits until the array has done with those before it. Every task runs to
    its end, also after an error.

    Members
    -------
    load : In(LoadBus)
    task : In(stream of task_layout())  taken while no task is gathered and a user bank is free.
    ids : In(stream of 32 bits)  of a task that is not `listed`: exactly its items, in order.
    ids_from : Out(owner_layout()), ids_wanted : Out(1)  whose ids are taken.
    edges : Out(stream of edges_note_layout())  with every task.
    score : Out(stream of lane_score_layout())
    done : Out(stream of task_done_layout())  some time after the last score.
    clock : In(32)  for the times in `done`.
    idle : Out(1)  there is no task. moves : Out(1)  progress: gather works, a sub-batch's data have
        been used, a score is taken; of each there is a limited number in a task. Or idle.
    loaded : Out(model_slots)  see SlotTable.
    list, ahead : Out(ReadPort)  ahead: records of candidates that will probably reach the next
        stage. record, row : Out(ReadPort) x gather_ports  those of `row` with rows.
    to_read : In(ahead_layout()), ahead_ids : In(stream of 32 bits)  to read ahead.
    prefetched : Out(stream)  rows for them; see RowNetwork.
    tokens, outs : to and from the lane's tiles, by block row (and block column).
    counters : Out(counters_layout())  since reset; see the units for what they count. Filters
        are not the lane's.
    """

    start_cycles = 3  # from a task that is taken to the offer of the gather's start

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(lane_members(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.slots = self.slots = SlotTable(config)
        m.submodules.list_reader = self.list_reader = ListReader(config)
        m.submodules.ids = self.queue = SyncFIFOBuffered(width=32, depth=config.sub_batch_max + 1)
        m.submodules.gather = self.gather = Gather(config)
        m.submodules.core = self.core = LaneCompute(config)
        m.submodules.prefetcher = self.prefetcher = Prefetcher(config)

        # Tasks: `given` so many, of which so many are `computed`, `scored`, `answered`.
        self.now = Signal(task_layout(config))  # the last one given
        count = range(2 * TASKS)
        self.given, self.computed = Signal(count), Signal(count)
        self.scored, self.answered = Signal(count), Signal(count)
        record = {"owner": owner_layout(config), "items": 32, "status": STATUS_BITS}
        record |= dict.fromkeys((*TASK_COUNTERS, *TASK_TIMES), 32)
        self.records = Signal(data.ArrayLayout(data.StructLayout(record), TASKS))
        self.user_bank = Signal()
        self.number_of = Signal(data.ArrayLayout(range(TASKS), USER_BANKS))
        self.idle_array = Signal()
        m.d.comb += [
            self.idle_array.eq(self.computed == self.given),
            self.idle.eq(self.answered == self.given),
        ]
        m.d.sync += self.computed.eq(self.computed + self.core.stage_done_stb)

        self._connect_memory(m)
        self._take(m)
        self._connect_ids(m)
        self._score(m)
        self._answer(m)
        self._read_ahead(m)
        self._count(m)
        return m

    def _connect_memory(self, m: Module) -> None:
        """Load bus and read ports; gathered data into the core; the core's tiles."""
        gather, core, config = self.gather, self.core, self.config
        for unit in (self.slots, core, gather, self.prefetcher):
            connect(m, flipped(self.load), unit.load)
        connect(m, self.list_reader.memory, flipped(self.list))
        for i in range(config.gather_ports):
            connect(m, gather.record[i], flipped(self.record[i]))
            connect(m, gather.row[i], flipped(self.row[i]))
        connect(m, self.prefetcher.record, flipped(self.ahead))
        connect(m, self.prefetcher.row, flipped(self.prefetched))
        for i in range(config.block_rows):
            m.d.comb += [self.tokens[i].eq(core.rows[i]), core.outs[i].eq(self.outs[i])]
        for gathered, vectors in zip(gather.vectors, core.vectors, strict=True):
            connect(m, gathered, vectors)
        connect(m, gather.batch, core.batch)
        m.d.comb += [
            gather.slot.eq(self.slots.slot),
            core.slot.eq(self.slots.slot),
            core.user_bank.eq(self.user_bank),
            gather.release_stb.eq(core.release_stb),
            self.loaded.eq(self.slots.loaded),
        ]

    def _take(self, m: Module) -> None:
        """Take a task, fetch its slot, start gather and list."""
        task, now = self.task, self.now
        model = Signal.like(now.model)  # of the slot in use
        in_use = (self.given - self.computed)[: len(self.given)]
        unanswered = (self.given - self.answered)[: len(self.given)]
        starts = Signal(data.StructLayout({"list": 1, "gather": 1}))
        edges_due = Signal()
        number = self.given[:TASK_BITS]
        m.d.comb += self.slots.model.eq(model)
        with m.FSM(name="take") as take:
            with m.State("WAIT"):
                m.d.comb += task.ready.eq(
                    self.gather.start.ready & (in_use < USER_BANKS) & (unanswered < TASKS)
                )
                with m.If(task.valid & task.ready):
                    m.d.sync += now.eq(task.payload)
                    m.next = "MODEL"
            with m.State("MODEL"), m.If((now.model == model) | (self.idle_array & ~edges_due)):
                m.d.sync += model.eq(now.model)
                m.next = "FETCH"
            with m.State("FETCH"):  # the slot's entry is read
                m.d.sync += [
                    starts.list.eq(now.listed),
                    starts.gather.eq(1),
                    edges_due.eq(1),
                    self.user_bank.eq(~self.user_bank),
                    self.number_of[~self.user_bank].eq(number),
                    self.records[number].eq(0),
                    self.records[number].owner.eq(now.owner),
                    self.records[number].items.eq(now.gather.items),
                    self.records[number].given_at.eq(self.clock),
                    self.given.eq(self.given + 1),
                ]
                m.next = "START"
            with m.State("START"), m.If(starts.as_value() == 0):
                m.next = "WAIT"

        gather, listing = self.gather.start, self.list_reader.start
        m.d.comb += [
            gather.valid.eq(starts.gather),
            gather.payload.eq(now.gather),
            gather.payload.user_bank.eq(self.user_bank),
            listing.valid.eq(starts.list),
            listing.payload.address.eq(now.list_address),
            listing.payload.items.eq(now.gather.items),
        ]
        for name, start in (("gather", gather), ("list", listing)):
            with m.If(start.valid & start.ready):
                m.d.sync += starts[name].eq(0)

        edges, described = self.edges, Signal(owner_layout(self.config))
        m.d.comb += [
            edges.valid.eq(edges_due & ~take.ongoing("FETCH")),
            edges.payload.owner.eq(described),
            edges.payload.edges.eq(self.slots.edges),
        ]
        with m.If(take.ongoing("FETCH")):
            m.d.sync += described.eq(now.owner)
        with m.Elif(edges.ready):
            m.d.sync += edges_due.eq(0)

    def _connect_ids(self, m: Module) -> None:
        """Candidate list or survivors into the gather unit."""
        queue, listed, gather = self.queue, self.list_reader.ids, self.gather
        left = Signal(32)
        with m.If(gather.start.valid & gather.start.ready):
            m.d.sync += left.eq(self.now.gather.items)
        with m.Elif(queue.w_en & queue.w_rdy):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [self.ids_from.eq(self.now.owner), self.ids_wanted.eq(0)]
        with m.If(self.now.listed):
            m.d.comb += [
                queue.w_en.eq(listed.valid),
                queue.w_data.eq(listed.payload),
                listed.ready.eq(queue.w_rdy),
            ]
        with m.Else():
            m.d.comb += [
                self.ids_wanted.eq(left != 0),
                queue.w_en.eq(self.ids.valid & self.ids_wanted),
                queue.w_data.eq(self.ids.payload),
                self.ids.ready.eq(queue.w_rdy & self.ids_wanted),
            ]
        m.d.comb += [
            gather.ids.valid.eq(queue.r_rdy),
            gather.ids.payload.eq(queue.r_data),
            queue.r_en.eq(gather.ids.ready),
        ]

    def _score(self, m: Module) -> None:
        """Give every score its id, its owner and the task's end."""
        ids, scores, score = self.gather.item_ids, self.core.score, self.score
        record = self.records[self.scored[:TASK_BITS]]
        taken = score.valid & score.ready
        left, going = Signal(32), Signal()  # going: not the task's first score
        due = Mux(going, left, record.items)
        m.d.comb += [
            score.payload.owner.eq(record.owner),
            score.payload.id.eq(ids.payload),
            score.payload.logit.eq(scores.payload.logit),
            score.payload.ctr.eq(scores.payload.ctr),
            score.payload.last.eq(due == 1),
            score.payload.status.eq(record.status),
            score.valid.eq((self.scored != self.given) & ids.valid & scores.valid),
            ids.ready.eq(taken),
            scores.ready.eq(taken),
        ]
        with m.If(taken):
            m.d.sync += [left.eq(due - 1), going.eq(~score.payload.last)]
            with m.If(~going):
                m.d.sync += record.first_score_at.eq(self.clock)
            with m.If(score.payload.last):
                m.d.sync += [
                    self.scored.eq(self.scored + 1),
                    record.scored_at.eq(self.clock),
                ]
        self.taken = Signal()
        m.d.comb += self.taken.eq(taken)

        # The first error of the task that is gathered; the list's goes before the gather's.
        kept = self.records[self.number_of[self.user_bank]]
        listed = Mux(self.now.listed, self.list_reader.status, 0)
        with m.If(self.gather.busy & (kept.status == 0)):
            m.d.sync += kept.status.eq(Mux(listed != 0, listed, self.gather.status))
        with m.If(self.gather.busy):
            m.d.sync += kept.gathered_at.eq(self.clock)
        computed = self.records[self.computed[:TASK_BITS]]
        with m.If(self.core.stage_done_stb):
            m.d.sync += computed.computed_at.eq(self.clock)

    def _answer(self, m: Module) -> None:
        """Say that a task is done, with its counters."""
        done = self.done
        record = self.records[self.answered[:TASK_BITS]]
        m.d.comb += [
            done.valid.eq(self.answered != self.scored),
            done.payload.owner.eq(record.owner),
            *(done.payload[n].eq(record[n]) for n in ("items", *TASK_COUNTERS, *TASK_TIMES)),
        ]
        with m.If(done.valid & done.ready):
            m.d.sync += self.answered.eq(self.answered + 1)

    def _read_ahead(self, m: Module) -> None:
        """While a stage is scored: records and rows of those that will probably survive."""
        prefetcher = self.prefetcher
        m.d.comb += [
            self.slots.next_model.eq(self.to_read.model),
            prefetcher.active.eq(self.to_read.active),
            prefetcher.slot.eq(self.slots.next_slot),
            prefetcher.stage.eq(self.to_read.records),
        ]
        connect(m, flipped(self.ahead_ids), prefetcher.ids)

    def _count(self, m: Module) -> None:
        """Count what every unit does, since reset; and for each task."""
        gather, core = self.gather, self.core
        events = {
            "gather": (
                gather.busy,
                gather.busy & gather.stalled_input,
                gather.busy & gather.stalled_output,
                gather.items_stb,
            ),
            "array": (
                core.array_busy,
                ~self.idle & core.array_stalled_input,
                core.score_stalled,
                self.taken,
            ),
            "weights": (core.weights_busy, core.weights_exposed, 0, core.tile_stb),
            "interaction": (core.interaction_busy, 0, 0, 0),
        }
        for unit, levels in events.items():
            for word, level in zip(self.counters[unit].shape().members, levels, strict=True):
                m.d.sync += self.counters[unit][word].eq(self.counters[unit][word] + level)
        m.d.comb += self.moves.eq(
            (gather.busy & ~gather.stalled_input & ~gather.stalled_output)
            | core.release_stb
            | self.taken
            | self.idle
        )

        worked = {
            "gather_cycles": (gather.busy, self.user_bank),
            "array_cycles": (core.array_busy, core.array_user_bank),
            "interaction_cycles": (core.interaction_busy, core.interaction_user_bank),
        }
        for name, (busy, bank) in worked.items():
            for i in range(USER_BANKS):
                with m.If(busy & (bank == i)):
                    counter = self.records[self.number_of[i]][name]
                    m.d.sync += counter.eq(counter + 1)
