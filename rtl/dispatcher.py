"""The query dispatcher: submission ring to lanes, lanes to completion ring."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.completion_writer import CompletionWriter
from rpaccel.rtl.interfaces import (
    STATUS_BITS,
    ReadPort,
    WritePort,
    descriptor_layout,
    result_layout,
    struct,
)
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, DESCRIPTOR, ISA_VERSION, Opcode, Status

__all__ = ["Dispatcher", "load_layout", "loaded_layout", "rings_layout"]

INDEX_BITS = 16  # ring indices count modulo 2**16


def rings_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the host says about both rings; sizes are powers of two, 0 keeps a ring closed."""
    return data.StructLayout(
        {
            "enable": unsigned(1),
            "sq_base": unsigned(config.axi_address_bits),
            "sq_size": unsigned(INDEX_BITS),
            "sq_tail": unsigned(INDEX_BITS),
            "cq_base": unsigned(config.axi_address_bits),
            "cq_size": unsigned(INDEX_BITS),
            "cq_head": unsigned(INDEX_BITS),
        }
    )


def load_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A request to the loader."""
    return data.StructLayout({"address": unsigned(config.axi_address_bits), "bytes": unsigned(32)})


def loaded_layout() -> data.StructLayout:
    """The loader's answer (spec.isa.Status)."""
    return data.StructLayout({"status": unsigned(STATUS_BITS)})


class Dispatcher(wiring.Component):
    """Takes descriptors in order, runs them on lanes, writes completions as they finish.

    A descriptor is fetched when a completion slot is sure to be free for it. NOP completes at
    once, LOAD waits until every lane is idle, QUERY goes to the free lane of lowest number among
    those that it asks for and that own blocks. An unknown opcode, then an unknown version, then a
    query for lanes that own nothing (BAD_LANE) completes with that status. Completions are served
    in turn; `cq_tail` moves when memory has acknowledged the completion. While `hold` is high no
    descriptor is taken.

    Members
    -------
    rings : In(rings_layout())
    sq_head, cq_tail : Out(16)  descriptors taken, completions written, modulo 2**16.
    completion_stb : Out(1)  a completion was written (cq_tail shows it in the next cycle).
    queries : Out(32)  completions that came from lanes.
    busy : Out(1)
    hold : In(1), held : Out(1)  no descriptor is at work and every lane is idle.
    loads : Out(1)  a LOAD waits or runs. quiet : In(1)  nothing but lanes is at work: a LOAD waits.
    lane_owns : In(1) per lane  the lane owns blocks.
    load_lanes : Out(lanes)  what the loader reads is for these lanes.
    descriptor : Out(ReadPort), port : Out(WritePort)
    load : Out(stream of load_layout()), loaded : In(stream of loaded_layout())
    lane_query : Out(stream of descriptor_layout()) per lane
    lane_idle : In(1) per lane  the lane holds no query and no results.
    lane_done : In(stream of struct(COMPLETION)) per lane; `lane` is filled in here.
    lane_result : In(stream of result_layout()) per lane; `count` of them are taken after `done`.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "rings": In(rings_layout(config)),
                "sq_head": Out(INDEX_BITS),
                "cq_tail": Out(INDEX_BITS),
                "completion_stb": Out(1),
                "queries": Out(32),
                "busy": Out(1),
                "hold": In(1),
                "held": Out(1),
                "loads": Out(1),
                "quiet": In(1),
                "lane_owns": In(lanes),
                "load_lanes": Out(lanes),
                "descriptor": Out(ReadPort(config)),
                "port": Out(WritePort(config)),
                "load": Out(stream.Signature(load_layout(config))),
                "loaded": In(stream.Signature(loaded_layout())),
                "lane_query": Out(stream.Signature(descriptor_layout())).array(lanes),
                "lane_idle": In(1).array(lanes),
                "lane_done": In(stream.Signature(struct(COMPLETION))).array(lanes),
                "lane_result": In(stream.Signature(result_layout())).array(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        local = stream.Signature(struct(COMPLETION)).create(path=("local",))
        result_address = Array(
            Signal(self.config.axi_address_bits, name=f"result_address{i}")
            for i in range(self.config.lanes)
        )
        self._fetch(m, local, result_address)
        self._complete(m, local, result_address)

        return m

    def _fetch(self, m: Module, local: wiring.PureInterface, result_address: Array) -> None:
        """Fetch a descriptor, then run it to the point where a lane or a completion has it."""
        config, rings = self.config, self.rings
        descriptor = Signal(descriptor_layout())
        words = descriptor.as_value()
        error = Signal(STATUS_BITS)
        cycles = Signal(32)
        waiting, reserved = Signal(INDEX_BITS), Signal(INDEX_BITS)
        m.d.comb += [
            waiting.eq(rings.sq_tail - self.sq_head),
            reserved.eq(self.sq_head - rings.cq_head),
            self.descriptor.request.payload.beats.eq(DESCRIPTOR.bytes // config.beat_bytes),
            self.descriptor.request.payload.address.eq(
                rings.sq_base + (self.sq_head & (rings.sq_size - 1)) * DESCRIPTOR.bytes
            ),
            self.load.payload.address.eq(descriptor.user_address),
            self.load.payload.bytes.eq(descriptor.items),
            local.payload.tag.eq(descriptor.tag),
            local.payload.version.eq(ISA_VERSION),
            local.payload.status.eq(error),
            local.payload.total_cycles.eq(cycles),
        ]
        m.d.comb += [query.payload.eq(descriptor) for query in self.lane_query]
        m.d.sync += cycles.eq(cycles + 1)
        lanes = config.lanes
        asked = Mux(descriptor.stage0_lanes == 0, (1 << 32) - 1, descriptor.stage0_lanes)[:lanes]
        self.able = Signal(lanes)
        m.d.comb += [self.able.eq(asked & self.lane_owns), self.load_lanes.eq(asked)]

        with m.FSM(name="fetch") as fetch:
            # Every descriptor taken becomes one completion written.
            m.d.comb += self.busy.eq(~fetch.ongoing("IDLE") | (self.sq_head != self.cq_tail))
            m.d.comb += self.held.eq(fetch.ongoing("IDLE") & Cat(self.lane_idle).all())
            with m.State("IDLE"):
                go = ~self.hold & (waiting != 0) & (rings.sq_size != 0) & (reserved < rings.cq_size)
                with m.If(rings.enable & go):
                    m.d.sync += error.eq(0)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.descriptor.request.valid.eq(1)
                with m.If(self.descriptor.request.ready):
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                response = self.descriptor.response
                m.d.comb += response.ready.eq(1)
                with m.If(response.valid):
                    m.d.sync += words.eq(Cat(words, response.payload.data)[config.axi_data_bits :])
                    with m.If(error == 0):
                        m.d.sync += error.eq(response.payload.error)
                    with m.If(response.payload.last):
                        m.d.sync += [self.sq_head.eq(self.sq_head + 1), cycles.eq(0)]
                        m.next = "DECODE"
            with m.State("DECODE"):
                self._decode(m, descriptor, error)
            self._query(m, descriptor, result_address)
            self._load(m, local, error, cycles)

    def _query(self, m: Module, descriptor: data.View, result_address: Array) -> None:
        """Hand the descriptor to a free lane."""
        lane = Signal(range(max(2, self.config.lanes)))
        with m.State("CHOOSE"):
            for i in reversed(range(self.config.lanes)):
                with m.If(self.lane_idle[i] & self.able[i]):
                    m.d.sync += lane.eq(i)
                    m.next = "QUERY"
        with m.State("QUERY"):
            m.d.sync += result_address[lane].eq(descriptor.result_address)
            for i, query in enumerate(self.lane_query):
                with m.If(lane == i):
                    m.d.comb += query.valid.eq(1)
                    with m.If(query.ready):
                        m.next = "IDLE"

    def _load(self, m: Module, local: wiring.PureInterface, error: Signal, cycles: Signal) -> None:
        """Run the loader while every lane is idle; then, or at once, complete without a lane."""
        with m.State("QUIESCE"):
            m.d.sync += cycles.eq(0)
            m.d.comb += self.loads.eq(1)
            with m.If(Cat(self.lane_idle).all() & self.quiet):
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

    def _decode(self, m: Module, descriptor: data.View, error: Signal) -> None:
        """Leave DECODE: an error that came with the fetch goes first."""
        m.next = "LOCAL"
        with m.If(error == 0):
            with m.If(descriptor.opcode > max(Opcode)):
                m.d.sync += error.eq(Status.BAD_OPCODE)
            with m.Elif(descriptor.version != ISA_VERSION):
                m.d.sync += error.eq(Status.BAD_VERSION)
            with m.Elif((descriptor.opcode == Opcode.QUERY) & ~self.able.any()):
                m.d.sync += error.eq(Status.BAD_LANE)
            with m.Elif(descriptor.opcode == Opcode.QUERY):
                m.next = "CHOOSE"
            with m.Elif(descriptor.opcode == Opcode.LOAD):
                m.next = "QUIESCE"
                with m.If((descriptor.user_address >> self.config.axi_address_bits) != 0):
                    m.d.sync += error.eq(Status.REGION)
                    m.next = "LOCAL"

    def _complete(self, m: Module, local: wiring.PureInterface, result_address: Array) -> None:
        """Visit the lanes and the dispatcher itself in turn; write what is done."""
        config, rings = self.config, self.rings
        m.submodules.writer = writer = CompletionWriter(config)
        connect(m, writer.port, flipped(self.port))
        turn = Signal(range(config.lanes + 1))
        start = writer.start.payload
        writing = Signal()
        sources = [*self.lane_done, local]
        m.d.comb += start.completion_address.eq(
            rings.cq_base + (self.cq_tail & (rings.cq_size - 1)) * COMPLETION.bytes
        )
        for i, source in enumerate(sources):
            with m.If(turn == i):
                m.d.comb += [
                    start.completion.eq(source.payload),
                    writer.start.valid.eq(source.valid & ~writing),
                    source.ready.eq(writer.start.ready & ~writing),
                ]
                if i < config.lanes:
                    m.d.comb += [
                        start.completion.lane.eq(i),
                        start.result_address.eq(result_address[i]),
                        writer.result.payload.eq(self.lane_result[i].payload),
                        writer.result.valid.eq(self.lane_result[i].valid & writing),
                        self.lane_result[i].ready.eq(writer.result.ready & writing),
                    ]

        m.d.comb += self.completion_stb.eq(writer.done_stb)
        with m.If(writer.start.valid & writer.start.ready):
            m.d.sync += [writing.eq(1), self.queries.eq(self.queries + (turn != config.lanes))]
        with m.Elif(writer.done_stb):
            m.d.sync += [writing.eq(0), self.cq_tail.eq(self.cq_tail + 1)]
        with m.If(~writing & ~writer.start.valid | writer.done_stb):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == config.lanes):
                m.d.sync += turn.eq(0)
