"""The query dispatcher: submission ring to funnels, funnels to completion ring."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value
from amaranth.hdl import Const, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.completion_writer import CompletionWriter
from rpaccel.rtl.funnel import waiting_layout
from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort, WritePort, result_layout, struct
from rpaccel.rtl.query_check import QueryCheck
from rpaccel.rtl.retrieval_answer import STAGE_COUNTERS, merge_found
from rpaccel.rtl.retrieval_query import found_layout, passed_layout, retrieve_layout
from rpaccel.rtl.submission_queue import (
    INDEX_BITS,
    SubmissionQueue,
    fetched_layout,
    rings_layout,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, ISA_VERSION, MAX_STAGES, Opcode, StageKind, Status

__all__ = ["Dispatcher", "load_layout", "loaded_layout"]


def load_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A request to the loader."""
    return data.StructLayout({"address": unsigned(config.axi_address_bits), "bytes": unsigned(32)})


def loaded_layout() -> data.StructLayout:
    """The loader's answer (spec.isa.Status)."""
    return data.StructLayout({"status": unsigned(STATUS_BITS)})


class Dispatcher(wiring.Component):
    """Takes descriptors in order, runs them in funnels, writes completions as they finish.

    Descriptors are fetched ahead (SubmissionQueue). NOP completes at once, LOAD waits until
    nothing else is at work, QUERY goes to the free funnel of lowest number. An unknown opcode,
    then an unknown version, then what QueryCheck refuses completes with that status, and so does
    a query whose deadline passes while it waits for a funnel (LATE). Completions are served in
    turn; `cq_tail` moves when memory has acknowledged the completion. While `hold` is high no
    descriptor is fetched or taken.

    Members
    -------
    rings : In(rings_layout())
    sq_head, cq_tail : Out(16)  descriptors taken, completions written, modulo 2**16.
    completion_stb : Out(1)  a completion was written (cq_tail shows it in the next cycle).
    queries : Out(32)  completions of QUERY descriptors.
    busy : Out(1)
    clock : In(32)  for waits, and the ends of what does not reach a funnel.
    give_up : In(1)  end every QUERY with ABORTED; what is in the ring is still taken.
    hold : In(1), held : Out(1)  no descriptor is at work, funnels and lanes are idle.
    loads : Out(1)  a LOAD waits or runs. quiet : In(1)  nothing but lanes is at work: a LOAD waits.
    lane_owns : In(1) per lane  the lane owns blocks. lane_idle : In(1) per lane.
    lane_loaded : In(model_slots) per lane  see SlotTable.
    load_lanes : Out(lanes)  what the loader reads is for these lanes.
    descriptor : Out(ReadPort), port : Out(WritePort)
    load : Out(stream of load_layout()), loaded : In(stream of loaded_layout())
    query : Out(stream of waiting_layout()) per funnel
    funnel_idle : In(1) per funnel  the funnel holds no query and no results.
    retrieve : Out(stream of retrieve_layout()), passed : In(stream of passed_layout()),
    retrieved : In(stream of struct(COMPLETION)), retriever_idle : In(1)  with a retrieval engine:
        queries whose stage 0 retrieves, back when it has, or completed.
    done : In(stream of struct(COMPLETION)) per funnel
    result : In(stream of result_layout()) per funnel; `count` of them are taken after `done`.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        lanes, funnels = config.lanes, config.funnels
        super().__init__(
            {
                "rings": In(rings_layout(config)),
                "sq_head": Out(INDEX_BITS),
                "cq_tail": Out(INDEX_BITS),
                "completion_stb": Out(1),
                "queries": Out(32),
                "busy": Out(1),
                "clock": In(32),
                "give_up": In(1),
                "hold": In(1),
                "held": Out(1),
                "loads": Out(1),
                "quiet": In(1),
                "lane_owns": In(lanes),
                "lane_idle": In(lanes),
                "lane_loaded": In(config.model_slots).array(lanes),
                "load_lanes": Out(lanes),
                "descriptor": Out(ReadPort(config)),
                "port": Out(WritePort(config)),
                "load": Out(stream.Signature(load_layout(config))),
                "loaded": In(stream.Signature(loaded_layout())),
                "query": Out(stream.Signature(waiting_layout())).array(funnels),
                "funnel_idle": In(funnels),
                "done": In(stream.Signature(struct(COMPLETION))).array(funnels),
                "result": In(stream.Signature(result_layout())).array(funnels),
            }
            | (
                {
                    "retrieve": Out(stream.Signature(retrieve_layout())),
                    "passed": In(stream.Signature(passed_layout())),
                    "retrieved": In(stream.Signature(struct(COMPLETION))),
                    "retriever_idle": In(1),
                }
                if config.retrieval_queries
                else {}
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = self.queue = queue = SubmissionQueue(self.config)
        connect(m, queue.memory, flipped(self.descriptor))
        m.d.comb += [
            queue.rings.eq(self.rings),
            queue.hold.eq(self.hold),
            queue.clock.eq(self.clock),
            self.sq_head.eq(queue.sq_head),
            # Every descriptor taken becomes one completion written.
            self.busy.eq(queue.busy | (self.sq_head != self.cq_tail)),
        ]
        local = stream.Signature(struct(COMPLETION)).create(path=("local",))
        local_query = Signal()
        self._run(m, queue, local, local_query)
        self._complete(m, local, local_query)
        return m

    def _run(
        self,
        m: Module,
        queue: SubmissionQueue,
        local: wiring.PureInterface,
        local_query: Signal,
    ) -> None:
        """Run the oldest descriptor to the point where a funnel or a completion has it."""
        config = self.config
        fetched = Signal(fetched_layout())
        descriptor = fetched.descriptor
        error = Signal(STATUS_BITS)
        cycles, waited = Signal(32), Signal(32)
        asked = Mux(descriptor.stage0_lanes == 0, ~0, descriptor.stage0_lanes[: config.lanes])
        m.submodules.check = check = QueryCheck(config)
        m.d.comb += [
            check.descriptor.eq(descriptor),
            check.lane_owns.eq(self.lane_owns),
            *(check.loaded[i].eq(loaded) for i, loaded in enumerate(self.lane_loaded)),
            self.load_lanes.eq(asked),
            self.load.payload.address.eq(descriptor.user_address),
            self.load.payload.bytes.eq(descriptor.items),
            local.payload.tag.eq(descriptor.tag),
            local.payload.version.eq(ISA_VERSION),
            local.payload.status.eq(error),
            local.payload.total_cycles.eq(cycles),
            local.payload.ended_at.eq(self.clock),
            local.payload.queue_cycles.eq(waited),
            waited.eq(self.clock - fetched.fetched_at),
        ]
        self.result_address = [
            Signal(config.axi_address_bits, name=f"result_address{f}")
            for f in range(config.funnels)
        ]
        for query, address in zip(self.query, self.result_address, strict=True):
            with m.If(query.valid & query.ready):
                m.d.sync += address.eq(query.payload.descriptor.result_address)
            m.d.comb += [query.payload.descriptor.eq(descriptor), query.payload.waited.eq(waited)]
        passing, retrieves = self._retrieve(m, fetched)
        m.d.sync += cycles.eq(cycles + 1)
        idle = self.funnel_idle.all() & self.lane_idle.all()
        if config.retrieval_queries:
            idle &= self.retriever_idle
        late = (descriptor.deadline_cycles != 0) & (waited >= descriptor.deadline_cycles)

        with m.FSM(name="run") as run:
            m.d.comb += self.held.eq(run.ongoing("IDLE") & idle)
            with m.State("IDLE"):
                m.d.comb += queue.fetched.ready.eq(~self.hold)
                with m.If(queue.fetched.valid & ~self.hold):
                    m.d.sync += [
                        fetched.eq(queue.fetched.payload),
                        error.eq(queue.fetched.payload.error),
                        cycles.eq(0),
                        local_query.eq(0),
                    ]
                    m.next = "DECODE"
            with m.State("DECODE"):
                self._decode(m, descriptor, error, local_query)
            with m.State("CHECK"):
                m.d.sync += error.eq(check.status)
                m.next = "LOCAL"
                with m.If(check.status == Status.OK):
                    m.next = "CHOOSE"
            with m.State("CHOOSE"):
                with m.If(late | self.give_up):
                    m.d.sync += error.eq(Mux(late, Status.LATE, Status.ABORTED))
                    m.next = "LOCAL"
                with m.Elif(retrieves):
                    m.d.comb += self._offer.eq(1)
                    with m.If(self._taken):
                        m.next = "IDLE"
                with m.Elif(~passing), m.If(self._to_funnel(m)):
                    m.next = "IDLE"
            self._load_states(m, local, error, cycles, idle)

    def _to_funnel(self, m: Module) -> Value:
        """Offer a query to the idle funnel of lowest number, which takes it; return if it is."""
        for f in reversed(range(self.config.funnels)):
            with m.If(self.funnel_idle[f]):
                m.d.comb += [
                    *(query.valid.eq(0) for query in self.query),
                    self.query[f].valid.eq(1),
                ]
        return self.funnel_idle.any()

    def _retrieve(self, m: Module, fetched: data.View) -> tuple[Value, Value]:
        """Connect the retriever; return whether a query comes from it, and whether one goes to it.

        What comes from it goes first: a funnel gets it with its stages that are left.
        """
        self._offer, self._taken = Signal(name="offer"), Signal(name="taken")
        self.found: list[data.View] = []  # per funnel, of its query's stage that went before
        if not self.config.retrieval_queries:
            return Const(0), Const(0)
        out, back = self.retrieve, self.passed
        m.d.comb += [
            out.valid.eq(self._offer),
            self._taken.eq(out.ready),
            out.payload.descriptor.eq(fetched.descriptor),
            out.payload.fetched_at.eq(fetched.fetched_at),
            out.payload.accepted_at.eq(self.clock),
        ]
        accepted = Signal(name="accepted")
        with m.If(back.valid):
            m.d.comb += back.ready.eq(self._to_funnel(m))
            for query in self.query:
                m.d.comb += [
                    query.payload.descriptor.eq(back.payload.descriptor),
                    query.payload.waited.eq(self.clock - back.payload.found.fetched_at),
                ]
        m.d.comb += accepted.eq(back.valid & back.ready)
        kept = data.StructLayout({"valid": 1, "cycles": 32, "found": found_layout()})
        for f, query in enumerate(self.query):
            found = Signal(kept, name=f"found{f}")
            with m.If(query.valid & query.ready):
                m.d.sync += [
                    found.valid.eq(accepted),
                    found.cycles.eq(self.clock - back.payload.found.accepted_at),
                    found.found.eq(back.payload.found),
                ]
            self.found.append(found)
        return back.valid, fetched.descriptor.stage0_kind == StageKind.RETRIEVE

    def _whole(self, m: Module, f: int, completion: data.View) -> data.View:
        """Return the completion of funnel f, with the stage that went before if there was one."""
        if not self.config.retrieval_queries:
            return completion
        whole = Signal(struct(COMPLETION), name=f"whole{f}")
        kept = self.found[f]
        before = kept.found
        m.d.comb += whole.eq(completion)
        with m.If(kept.valid):
            m.d.comb += [
                whole.queue_cycles.eq(before.accepted_at - before.fetched_at),
                whole.total_cycles.eq(completion.total_cycles + kept.cycles),
                whole.flags.eq(completion.flags | before.flags),
                whole.overshoot.eq(completion.overshoot + before.overshoot),
            ]
            for name in STAGE_COUNTERS:
                for stage in range(1, MAX_STAGES):
                    m.d.comb += whole[f"{name}{stage}"].eq(completion[f"{name}{stage - 1}"])
            merge_found(m, whole, before, kept.cycles)
        return whole

    def _load_states(
        self,
        m: Module,
        local: wiring.PureInterface,
        error: Signal,
        cycles: Signal,
        idle: Value,
    ) -> None:
        """Run the loader while nothing else is at work; then, or at once, complete."""
        with m.State("QUIESCE"):
            m.d.sync += cycles.eq(0)
            m.d.comb += self.loads.eq(1)
            with m.If(idle & self.quiet):
                m.next = "LOAD"
        with m.State("LOAD"):
            m.d.comb += [self.load.valid.eq(1), self.loads.eq(1)]
            with m.If(self.load.ready):
                m.next = "LOADING"
        with m.State("LOADING"):
            m.d.comb += [self.loaded.ready.eq(1), self.loads.eq(1)]
            with m.If(self.loaded.valid):
                m.d.sync += error.eq(self.loaded.payload.status)
                m.next = "LOCAL"
        with m.State("LOCAL"):
            m.d.comb += local.valid.eq(1)
            m.d.sync += cycles.eq(cycles)
            with m.If(local.ready):
                m.next = "IDLE"

    def _decode(self, m: Module, descriptor: data.View, error: Signal, local_query: Signal) -> None:
        """Leave DECODE: an error that came with the fetch goes first."""
        m.next = "LOCAL"
        with m.If(error == 0):
            with m.If(descriptor.opcode > max(Opcode)):
                m.d.sync += error.eq(Status.BAD_OPCODE)
            with m.Elif(descriptor.version != ISA_VERSION):
                m.d.sync += error.eq(Status.BAD_VERSION)
            with m.Elif(descriptor.opcode == Opcode.QUERY):
                m.d.sync += local_query.eq(1)
                m.next = "CHECK"
            with m.Elif(descriptor.opcode == Opcode.LOAD):
                m.next = "QUIESCE"
                with m.If((descriptor.user_address >> self.config.axi_address_bits) != 0):
                    m.d.sync += error.eq(Status.REGION)
                    m.next = "LOCAL"

    def _complete(self, m: Module, local: wiring.PureInterface, local_query: Signal) -> None:
        """Visit the funnels and the dispatcher itself in turn; write what is done."""
        config, rings = self.config, self.rings
        m.submodules.writer = writer = CompletionWriter(config)
        connect(m, writer.port, flipped(self.port))
        sources = [*self.done, local]
        if config.retrieval_queries:
            sources.append(self.retrieved)
        turn = Signal(range(len(sources)))
        start = writer.start.payload
        writing, is_query = Signal(), Signal()
        m.d.comb += start.completion_address.eq(
            rings.cq_base + (self.cq_tail & (rings.cq_size - 1)) * COMPLETION.bytes
        )
        for i, source in enumerate(sources):
            funnel = i < config.funnels
            with m.If(turn == i):
                m.d.comb += [
                    start.completion.eq(
                        self._whole(m, i, source.payload) if funnel else source.payload
                    ),
                    start.written.eq(not funnel),
                    writer.start.valid.eq(source.valid & ~writing),
                    source.ready.eq(writer.start.ready & ~writing),
                    is_query.eq(local_query if source is local else 1),
                ]
                if funnel:
                    m.d.comb += [
                        start.result_address.eq(self.result_address[i]),
                        writer.result.payload.eq(self.result[i].payload),
                        writer.result.valid.eq(self.result[i].valid & writing),
                        self.result[i].ready.eq(writer.result.ready & writing),
                    ]

        m.d.comb += self.completion_stb.eq(writer.done_stb)
        with m.If(writer.start.valid & writer.start.ready):
            m.d.sync += [writing.eq(1), self.queries.eq(self.queries + is_query)]
        with m.Elif(writer.done_stb):
            m.d.sync += [writing.eq(0), self.cq_tail.eq(self.cq_tail + 1)]
        with m.If(~writing & ~writer.start.valid | writer.done_stb):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == len(sources) - 1):
                m.d.sync += turn.eq(0)
