"""A lane that can be reset alone, and its watchdog."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import ResetInserter, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rpaccel.rtl.interfaces import BURST_BITS, ReadPort
from rpaccel.rtl.lane import TASKS, Lane, lane_members
from rpaccel.rtl.task import owner_layout
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["GuardedLane", "ReadGuard", "RequestGuard"]


class RequestGuard(wiring.Component):
    """Lets requests through; when closed it makes none, but does not withdraw what it offers.

    Members
    -------
    i : In(stream of `shape`), o : Out(stream of `shape`)
    close : In(1)
    pending : Out(1)  closed, and still offering.
    """

    def __init__(self, shape: data.StructLayout) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "close": In(1),
                "pending": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept, offered = Signal(self.o.payload.shape()), Signal()
        m.d.comb += [
            self.o.valid.eq(Mux(self.close, offered, self.i.valid)),
            self.o.payload.eq(Mux(self.close, Value.cast(kept), Value.cast(self.i.payload))),
            self.i.ready.eq(self.o.ready & ~self.close),
            self.pending.eq(self.close & offered),
        ]
        m.d.sync += offered.eq(self.o.valid & ~self.o.ready)
        with m.If(self.o.valid & ~self.o.ready):
            m.d.sync += kept.eq(self.o.payload)
        return m


class ReadGuard(wiring.Component):
    """A RequestGuard for a read port that also takes the answers that nobody waits for any more.

    Members
    -------
    i : In(ReadPort), o : Out(ReadPort)
    close : In(1)
    pending : Out(1)  answers are on their way, or a request is offered.
    """

    def __init__(self, config: AcceleratorConfig, *, rows: bool = False) -> None:
        self.config = config
        port = ReadPort(config, rows=rows)
        super().__init__({"i": In(port), "o": Out(port), "close": In(1), "pending": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.request = request = RequestGuard(self.o.request.payload.shape())
        connect(m, flipped(self.i.request), request.i)
        connect(m, request.o, flipped(self.o.request))
        owed = Signal(BURST_BITS + 10)  # beats
        asked = request.o.valid & request.o.ready
        answer, taken = self.o.response, self.i.response
        m.d.sync += owed.eq(
            owed + Mux(asked, request.o.payload.beats, 0) - (answer.valid & answer.ready)
        )
        m.d.comb += [
            request.close.eq(self.close),
            taken.valid.eq(answer.valid & ~self.close),
            taken.payload.eq(answer.payload),
            answer.ready.eq(taken.ready | self.close),
            self.pending.eq(request.pending | (owed != 0)),
        ]
        return m


class GuardedLane(wiring.Component):
    """A Lane that is reset when it makes no progress, and alone.

    A lane that waits for the turn of its scores is not stuck. On a reset the lane's tasks, and one
    that is just being given to it, end at once with `done.lost`; it takes tasks again when all
    answers that it had asked memory for have come, and the array has nothing of it any more.
    Loaded models stay.

    Members: those of Lane, and
    -------
    watchdog_cycles : In(32)  without progress until the lane is reset, more than the layers of a
        sub-batch take; 0: never.
    reset_stb : In(1)  reset it now.
    resets_stb : Out(1)  it is reset.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            lane_members(config)
            | {"watchdog_cycles": In(32), "reset_stb": In(1), "resets_stb": Out(1)}
        )

    @property
    def flush_cycles(self) -> int:
        """Cycles after which the array has forgotten what the lane had given it."""
        return 8 * self.config.array_size + 64

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane = Lane(self.config)
        closed = Signal()
        m.submodules.lane = ResetInserter(closed)(lane)
        pending = self._guard(m, lane, closed)
        for name in ("load", "clock", "to_read", "ahead_ids", "outs", "tokens", "counters",
                     "loaded", "ids_from", "moves"):  # fmt: skip
            self._pass(m, lane, name)
        lost, owner = self._tasks(m, lane, closed)
        m.d.comb += [
            lane.task.valid.eq(self.task.valid & ~closed),
            lane.task.payload.eq(self.task.payload),
            self.task.ready.eq(lane.task.ready & ~closed),
            lane.ids.valid.eq(self.ids.valid & ~closed),
            lane.ids.payload.eq(self.ids.payload),
            self.ids.ready.eq(lane.ids.ready & ~closed),
            self.ids_wanted.eq(lane.ids_wanted & ~closed),
            self.done.valid.eq(Mux(closed, lost, lane.done.valid)),
            self.done.payload.eq(lane.done.payload),
            lane.done.ready.eq(self.done.ready & ~closed),
            self.idle.eq(lane.idle & ~closed),
        ]
        with m.If(closed):
            m.d.comb += [
                self.done.payload.eq(0),
                self.done.payload.owner.eq(owner),
                self.done.payload.lost.eq(1),
            ]
        for name in ("edges", "score"):
            mine, inner = getattr(self, name), getattr(lane, name)
            m.d.comb += [
                mine.valid.eq(inner.valid & ~closed),
                mine.payload.eq(inner.payload),
                inner.ready.eq(mine.ready & ~closed),
            ]
        self._watch(m, lane, closed, pending, lost)
        return m

    def _pass(self, m: Module, lane: Lane, name: str) -> None:
        mine, inner = getattr(self, name), getattr(lane, name)
        member = self.signature.members[name]
        if isinstance(mine, list | tuple):
            for one, other in zip(mine, inner, strict=True):
                m.d.comb += other.eq(one) if member.flow is In else one.eq(other)
        elif hasattr(mine, "signature") and isinstance(mine.signature, wiring.Signature):
            if member.flow is In:
                connect(m, flipped(mine), inner)
            else:
                connect(m, inner, flipped(mine))
        else:
            m.d.comb += inner.eq(mine) if member.flow is In else mine.eq(inner)

    def _guard(self, m: Module, lane: Lane, closed: Signal) -> Value:
        """Put a guard before every read port; return whether one has something to wait for."""
        ports = [("list", lane.list, self.list, False), ("ahead", lane.ahead, self.ahead, False)]
        for i in range(self.config.gather_ports):
            ports.append((f"record_{i}", lane.record[i], self.record[i], False))
            ports.append((f"row_{i}", lane.row[i], self.row[i], True))
        waits = []
        for name, inner, outer, rows in ports:
            m.submodules[f"guard_{name}"] = guard = ReadGuard(self.config, rows=rows)
            connect(m, inner, guard.i)
            connect(m, guard.o, flipped(outer))
            m.d.comb += guard.close.eq(closed)
            waits.append(guard.pending)
        m.submodules.guard_prefetched = guard = RequestGuard(self.prefetched.payload.shape())
        connect(m, lane.prefetched, guard.i)
        connect(m, guard.o, flipped(self.prefetched))
        m.d.comb += guard.close.eq(closed)
        return Cat(*waits, guard.pending).any()

    def _tasks(self, m: Module, lane: Lane, closed: Signal) -> tuple[Value, Value]:
        """Remember whose tasks the lane has; return whether there is one, and whose."""
        bits = TASKS.bit_length()
        given, answered = Signal(bits), Signal(bits)
        owners = Signal(data.ArrayLayout(owner_layout(self.config), TASKS))
        # A task that was on its way when the lane closed is lost with the others.
        with m.If(self.task.valid & lane.task.ready):
            m.d.sync += [
                owners[given[: bits - 1]].eq(self.task.payload.owner),
                given.eq(given + 1),
            ]
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += answered.eq(answered + 1)
        return given != answered, owners[answered[: bits - 1]]

    def _watch(self, m: Module, lane: Lane, closed: Signal, pending: Value, lost: Value) -> None:
        """Reset the lane when it stands still; let it go on when all is quiet."""
        still, flush = Signal(32), Signal(range(self.flush_cycles + 1))
        waits = lane.score.valid & ~lane.score.ready
        late = (self.watchdog_cycles != 0) & (still >= self.watchdog_cycles)
        with m.If(lane.moves | waits | closed):
            m.d.sync += still.eq(0)
        with m.Else():
            m.d.sync += still.eq(still + 1)
        with m.If(~closed):
            m.d.comb += self.resets_stb.eq(late | self.reset_stb)
            with m.If(self.resets_stb):
                m.d.sync += [closed.eq(1), flush.eq(self.flush_cycles)]
        with m.Elif(flush != 0):
            m.d.sync += flush.eq(flush - 1)
        with m.Elif(~pending & ~lost):
            m.d.sync += closed.eq(0)
