"""Bitmaps of a scan: which rows each of its queries looks at."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, ReadPort
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["BitmapReader", "bitmaps_layout", "chunk_layout"]

BURST = 8  # beats
DEPTH = 2 * BURST  # beats of a bitmap


def bitmaps_layout(config: AcceleratorConfig) -> data.StructLayout:
    """The rows of a scan, and for each query place whether it has one and its bitmap; 0: none."""
    address = unsigned(config.axi_address_bits)
    queries = config.retrieval_queries
    return data.StructLayout(
        {
            "rows": unsigned(32),
            "live": address,
            "bitmaps": data.ArrayLayout(address, queries),
            "valid": unsigned(queries),
        }
    )


def chunk_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Rows index * beat_bytes and those behind them; masks : per query, those that it looks at.

    `end` : no rows, the scan is over.
    """
    masks = data.ArrayLayout(unsigned(config.beat_bytes), config.retrieval_queries)
    return data.StructLayout({"end": unsigned(1), "index": unsigned(32), "masks": masks})


class BitmapReader(wiring.Component):
    """Gives the rows that some query of a scan looks at, beat_bytes of them at a time, in order.

    A row counts if it is below `rows`, live, and in the query's bitmap. A chunk per cycle; one in
    which no query looks at a row is passed over in a cycle, and so is what is left of a beat of
    the bitmaps if it is empty. Bitmaps are read ahead, in bursts.

    Members
    -------
    start : In(stream of bitmaps_layout())  taken when the scan before has been given.
    give_up : In(1)  the scan ends early.
    chunk : Out(stream of chunk_layout())
    memory : Out(ReadPort)
    live_read : Out(address)  the bitmap of live rows has been read below it. live_end : its end.
    status : Out(8) per query  of the first failed read of this scan.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        queries = config.retrieval_queries
        address = unsigned(config.axi_address_bits + 1)
        super().__init__(
            {
                "start": In(stream.Signature(bitmaps_layout(config))),
                "give_up": In(1),
                "chunk": Out(stream.Signature(chunk_layout(config))),
                "memory": Out(ReadPort(config)),
                "live_read": Out(address),
                "live_end": Out(address),
                "status": Out(STATUS_BITS).array(queries),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bits = 8 * config.beat_bytes
        scan = Signal(bitmaps_layout(config))
        begin, ending = Signal(), Signal()
        m.d.comb += begin.eq(self.start.valid & self.start.ready)
        with m.If(begin):
            m.d.sync += scan.eq(self.start.payload)
        # place 0: live rows; behind it those of the queries
        used = [scan.live != 0] + [
            scan.valid[query] & (scan.bitmaps[query] != 0)
            for query in range(config.retrieval_queries)
        ]
        idle = Signal()
        heads, ready, pop, quiet, empty = self._read(m, used, begin, ending, idle)

        # a beat of all bitmaps together
        beats_left = Signal(33 - (bits - 1).bit_length())
        beat = [Signal(bits, name=f"beat{query}") for query in range(config.retrieval_queries)]
        have, left, index = Signal(), Signal(range(8)), Signal(32)
        rest, low = Signal(), Signal()
        masks = self._masks(m, beat, scan.rows, index)
        m.d.comb += [
            rest.eq(Cat(one[config.beat_bytes :] for one in beat).any()),
            low.eq(Cat(masks).any()),
        ]
        next_beat = Signal()
        with m.FSM() as fsm:
            m.d.comb += [idle.eq(fsm.ongoing("IDLE")), self.start.ready.eq(idle & empty)]
            with m.State("IDLE"):
                m.d.sync += [have.eq(0), index.eq(0), ending.eq(0)]
                m.d.sync += beats_left.eq(
                    (self.start.payload.rows + bits - 1) >> bits.bit_length() - 1
                )
                with m.If(begin):
                    m.next = "RUN"
            with m.State("RUN"):
                payload = self.chunk.payload
                m.d.comb += [
                    payload.index.eq(index),
                    *(payload.masks[query].eq(mask) for query, mask in enumerate(masks)),
                    self.chunk.valid.eq(have & low),
                ]
                with m.If(have & (~low | self.chunk.ready)):
                    m.d.sync += [one.eq(one >> config.beat_bytes) for one in beat]
                    m.d.sync += [index.eq(index + 1), left.eq(left - 1)]
                    with m.If((left == 0) | ~rest):
                        m.d.sync += [have.eq(0), index.eq(index + left + 1)]
                        m.d.comb += next_beat.eq(1)
                with m.If((~have | next_beat) & (beats_left != 0) & ready & ~ending):
                    m.d.comb += pop.eq(1)
                    m.d.sync += [have.eq(1), left.eq(7), beats_left.eq(beats_left - 1)]
                    for query, one in enumerate(beat):
                        look = Mux(used[0], heads[0], -1) & Mux(
                            used[query + 1], heads[query + 1], -1
                        )
                        m.d.sync += one.eq(Mux(scan.valid[query], look, 0))
                with m.If(self.give_up):
                    m.d.sync += ending.eq(1)
                with m.If(~have & ((beats_left == 0) | ending & quiet)):
                    m.next = "END"
                with m.If(ending):
                    m.d.sync += have.eq(have & low & ~self.chunk.ready)
            with m.State("END"):
                m.d.comb += [self.chunk.valid.eq(1), self.chunk.payload.end.eq(1)]
                with m.If(self.chunk.ready):
                    m.next = "IDLE"
        return m

    def _masks(self, m: Module, beat: list[Signal], rows: Signal, index: Signal) -> list[Signal]:
        """Return the lowest bits of each query, but for rows that are none."""
        size = self.config.beat_bytes
        behind, inside = Signal(signed(40)), Signal(size)  # rows from this chunk on
        m.d.comb += behind.eq(rows - index * size)
        with m.If(behind >= size):
            m.d.comb += inside.eq(~0)
        with m.Elif(behind > 0):
            m.d.comb += inside.eq(~(~0 << behind[: (size - 1).bit_length()]))
        masks = [Signal(size, name=f"mask{query}") for query, _ in enumerate(beat)]
        m.d.comb += [mask.eq(one[:size] & inside) for mask, one in zip(masks, beat, strict=True)]
        return masks

    def _read(
        self, m: Module, used: list[Value], begin: Signal, ending: Signal, idle: Signal
    ) -> tuple[list[Value], Value, Signal, Value, Value]:
        """Read the bitmaps in turn.

        Returns heads; all are there; take them; nothing is on its way; nothing is left of a scan
        that was given up, as soon as `idle`.
        """
        config = self.config
        beat_shift = config.beat_bytes.bit_length() - 1
        bits_shift = beat_shift + 3
        start = self.start.payload
        total = Signal(33 - bits_shift)  # beats of a bitmap
        m.d.comb += total.eq((start.rows + (1 << bits_shift) - 1) >> bits_shift)
        places = range(len(used))
        queues, nexts, lefts, rooms = [], [], [], []
        pop = Signal()
        for place in places:
            m.submodules[f"queue{place}"] = queue = SyncFIFOBuffered(
                width=config.axi_data_bits, depth=DEPTH + 1
            )
            queues.append(queue)
            nexts.append(Signal(config.axi_address_bits, name=f"next{place}"))
            lefts.append(Signal(total.shape(), name=f"left{place}"))
            rooms.append(Signal(range(DEPTH + 1), init=DEPTH, name=f"room{place}"))

        # a burst of each in turn; it ends at a multiple of its longest length
        m.submodules.tags = tags = SyncFIFOBuffered(width=max(1, (len(used) - 1).bit_length()),
                                                    depth=2 * len(used) + 1)  # fmt: skip
        turn = Signal(range(len(used)))
        request, response = self.memory.request, self.memory.response
        asked = Signal()
        m.d.comb += asked.eq(request.valid & request.ready)
        wanted = Signal()
        with m.Switch(turn):
            for place in places:
                with m.Case(place):
                    to_edge = BURST - nexts[place][beat_shift : beat_shift + 3]
                    beats = Mux(lefts[place] < to_edge, lefts[place], to_edge)
                    m.d.comb += [
                        wanted.eq(
                            used[place]
                            & (lefts[place] != 0)
                            & (rooms[place] >= BURST)
                            & ~ending
                            & tags.w_rdy
                        ),
                        request.payload.address.eq(nexts[place]),
                        request.payload.beats.eq(beats),
                    ]
                    with m.If(asked):
                        m.d.sync += [
                            nexts[place].eq(nexts[place] + (beats << beat_shift)),
                            lefts[place].eq(lefts[place] - beats),
                        ]
        # a request stays until it is taken
        held = Signal()
        m.d.sync += held.eq(request.valid & ~request.ready)
        m.d.comb += [
            request.valid.eq(wanted | held),
            tags.w_en.eq(asked),
            tags.w_data.eq(turn),
            response.ready.eq(tags.r_rdy),
            tags.r_en.eq(response.valid & response.ready & response.payload.last),
        ]
        with m.If(asked | ~request.valid):
            m.d.sync += turn.eq(Mux(turn == len(used) - 1, 0, turn + 1))

        for place in places:
            came = response.valid & response.ready & (tags.r_data == place)
            m.d.comb += [
                queues[place].w_data.eq(response.payload.data),
                queues[place].w_en.eq(came),
                queues[place].r_en.eq(pop & used[place] | idle),
            ]
            m.d.sync += rooms[place].eq(
                rooms[place]
                - Mux(asked & (turn == place), request.payload.beats, 0)
                + (pop & used[place])
            )
            hit = came & (response.payload.error != 0)
            for query, status in enumerate(self.status):
                if place in (0, query + 1):
                    with m.If(hit & (status == 0)):
                        m.d.sync += status.eq(response.payload.error)
            if place == 0:
                with m.If(came):
                    m.d.sync += self.live_read.eq(self.live_read + config.beat_bytes)
        with m.If(begin):
            m.d.sync += [
                self.live_read.eq(start.live),
                self.live_end.eq(Mux(start.live == 0, 0, start.live + (total << beat_shift))),
                *(status.eq(0) for status in self.status),
                *(left.eq(total) for left in lefts),
                *(room.eq(DEPTH) for room in rooms),
                nexts[0].eq(start.live),
                *(
                    nexts[query + 1].eq(start.bitmaps[query])
                    for query in range(config.retrieval_queries)
                ),
            ]
        heads = [queue.r_data for queue in queues]
        ready = Cat(~use | queue.r_rdy for use, queue in zip(used, queues, strict=True)).all()
        empty = ~Cat(queue.r_rdy for queue in queues).any()
        return heads, ready, pop, ~tags.r_rdy & ~request.valid, empty
