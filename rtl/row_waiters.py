"""Row waiters: who waits for each read that is on its way."""

from __future__ import annotations

from amaranth.hdl import Assert, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.free_list import FreeList

__all__ = ["RowWaiters"]


class RowWaiters(wiring.Component):
    """Keeps the first owner of each read, and a chain of those that joined it: newest first.

    One step per cycle: a read is opened, or joined, or gives the next of its owners. A client keeps
    the number of waiters that have joined within `waiters`.

    Members
    -------
    read : In  number of the read that the step is about
    owner : In  of open and join
    open_stb : In(1)  `owner` is the read's first; may be repeated. join_stb : In(1)  one more.
    waiter, more : Out  the next owner of the read, and whether others follow
    next_stb : In(1)  it has been served: the first owner, then along the chain
    back_stb : Out(1)  a place of `waiters` is free again
    """

    def __init__(self, owner: data.StructLayout, reads: int, waiters: int) -> None:
        self.owner_layout, self.reads, self.count = owner, reads, waiters
        super().__init__(
            {
                "read": In(range(max(2, reads))),
                "owner": In(owner),
                "open_stb": In(1),
                "join_stb": In(1),
                "waiter": Out(owner),
                "more": Out(1),
                "next_stb": In(1),
                "back_stb": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        owner = self.owner_layout
        link = data.StructLayout({"more": 1, "waiter": range(max(2, self.count))})
        joined = data.StructLayout({"owner": owner, "next": link})
        m.submodules.firsts = firsts = Memory(shape=owner, depth=self.reads, init=[])
        m.submodules.chains = chains = Memory(shape=link, depth=self.reads, init=[])
        m.submodules.nexts = nexts = Memory(shape=joined, depth=self.count, init=[])
        m.submodules.free = free = FreeList(self.count)
        set_first, first = firsts.write_port(), firsts.read_port(domain="comb")
        set_chain, chain = chains.write_port(), chains.read_port(domain="comb")
        set_next, following = nexts.write_port(), nexts.read_port(domain="comb")
        walking, at = Signal(), Signal.like(following.addr)
        after = data.View(link, Mux(walking, following.data.next.as_value(), chain.data.as_value()))
        m.d.comb += [
            set_first.en.eq(self.open_stb),
            set_first.addr.eq(self.read),
            set_first.data.eq(self.owner),
            first.addr.eq(self.read),
            chain.addr.eq(self.read),
            set_chain.en.eq(self.open_stb | self.join_stb),
            set_chain.addr.eq(self.read),
            set_chain.data.more.eq(self.join_stb),
            set_chain.data.waiter.eq(free.number.payload),
            set_next.en.eq(self.join_stb),
            set_next.addr.eq(free.number.payload),
            set_next.data.owner.eq(self.owner),
            set_next.data.next.eq(chain.data),
            free.number.ready.eq(self.join_stb),
            following.addr.eq(at),
            self.waiter.eq(Mux(walking, following.data.owner.as_value(), first.data.as_value())),
            self.more.eq(after.more),
            self.back_stb.eq(self.next_stb & walking),
            free.back_stb.eq(self.back_stb),
            free.back.eq(at),
        ]
        with m.If(self.next_stb):
            m.d.sync += [walking.eq(after.more), at.eq(after.waiter)]
        with m.If(self.join_stb):
            m.d.sync += Assert(free.number.valid)
        return m
