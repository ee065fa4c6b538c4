"""The kept list: merges sorted runs into the K best so far, gives them out at a query's end."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Elaboratable, Format, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, PureInterface

from rpaccel.rtl.retrieval_merge import token_layout
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["Keeper", "kept_layout"]


def kept_layout(config: RetrievalConfig) -> data.StructLayout:
    """A key of the answer; `end`: no key, the answer is complete."""
    return data.StructLayout({"key": unsigned(config.key_bits), "end": unsigned(1)})


class Keeper(Component):
    """Keeps the best `k` of runs that are sorted, largest first.

    A run is written into one of two banks while the one before is merged with the list, in
    min(k, list + run) + `merge_cycles` cycles; the rest of a run is never read. A run that ends
    with a mark ends the query: its merge leaves as the answer instead of becoming the list.

    Members
    -------
    k : In(count)  of the query whose runs are being merged; constant until its answer is complete.
    run : In(stream of token_layout(key_bits))  at most 2**levels real elements per run.
    kept : Out(stream of kept_layout())  the answer, best first, then the end.
    threshold : Out(struct {valid, key})  the k-th best of all runs merged.
    end_stb : Out(1)  the answer is complete: the next query's k counts from the next cycle on.
    """

    merge_cycles = 1  # first read

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        threshold = data.StructLayout({"valid": unsigned(1), "key": unsigned(config.key_bits)})
        super().__init__(
            {
                "k": In(config.count_bits),
                "run": In(stream.Signature(token_layout(config.key_bits))),
                "kept": Out(stream.Signature(kept_layout(config))),
                "threshold": Out(threshold),
                "end_stb": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        config = self.config
        m = Module()
        key, depth = unsigned(config.key_bits), 2 << config.levels
        m.submodules.runs = runs = Memory(shape=key, depth=depth, init=[])
        m.submodules.lists = lists = Memory(shape=key, depth=depth, init=[])
        runs_read, lists_read = runs.read_port(), lists.read_port()

        bank, free_stb = Signal(), Signal()
        ready, final, size = self._fill(m, runs.write_port(), bank, free_stb)

        # heads of list and run, read one step ahead
        count = size.shape()
        half, list_size, run_size = Signal(), Signal(count), Signal(count)
        list_at, run_at, at = Signal(count), Signal(count), Signal(count)
        list_next, run_next = Signal(count), Signal(count)
        takes_list, fire, restart = Signal(), Signal(), Signal()
        best = Mux(takes_list, lists_read.data, runs_read.data)
        m.d.comb += [
            takes_list.eq(
                (list_at != list_size) & ((run_at == run_size) | (lists_read.data > runs_read.data))
            ),
            list_next.eq(list_at + (fire & takes_list)),
            run_next.eq(run_at + (fire & ~takes_list)),
            lists_read.addr.eq(Cat(list_next[: config.levels], half)),
            runs_read.addr.eq(Cat(run_next[: config.levels], bank)),
        ]
        m.d.sync += [list_at.eq(list_next), run_at.eq(run_next), at.eq(at + fire)]
        with m.If(restart):
            m.d.sync += [list_at.eq(0), run_at.eq(0), at.eq(0), bank.eq(~bank)]
        m.d.comb += free_stb.eq(restart)

        # a merge that is not the query's last becomes the list, in the other half
        total, left = Signal(range(depth + 1)), Signal(config.count_bits)
        write = lists.write_port()
        m.d.comb += [
            total.eq(list_size + size),
            write.addr.eq(Cat(at[: config.levels], ~half)),
            write.data.eq(best),
        ]
        with m.If(self.kept.ready):
            m.d.sync += self.kept.valid.eq(0)

        with m.FSM():
            with m.State("WAIT"):  # the first entries of both are read
                m.d.sync += [run_size.eq(size), left.eq(Mux(total < self.k, total, self.k))]
                with m.If(ready):
                    m.next = "MERGE"
                    with m.If(final):
                        m.next = "ANSWER"
            with m.State("MERGE"):
                m.d.comb += [fire.eq(1), write.en.eq(1)]
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.d.comb += restart.eq(1)
                    m.d.sync += [
                        list_size.eq(at + 1),
                        half.eq(~half),
                        self.threshold.valid.eq(1),  # a whole run holds k or more
                        self.threshold.key.eq(best),
                    ]
                    m.next = "WAIT"
            with m.State("ANSWER"), m.If(~self.kept.valid | self.kept.ready):
                m.d.sync += [self.kept.valid.eq(1), self.kept.payload.end.eq(left == 0)]
                with m.If(left == 0):
                    m.d.comb += [restart.eq(1), self.end_stb.eq(1)]
                    m.d.sync += [list_size.eq(0), self.threshold.valid.eq(0)]
                    m.next = "WAIT"
                with m.Else():
                    m.d.comb += fire.eq(1)
                    m.d.sync += [self.kept.payload.key.eq(best), left.eq(left - 1)]
        return m

    def _fill(
        self, m: Module, write: PureInterface, bank: Value, free_stb: Value
    ) -> tuple[Value, Value, Signal]:
        """Write runs into the banks in turn; return (whole, the query's last, size) of `bank`."""
        entries = 1 << self.config.levels
        fill, taken = Signal(), Signal()
        ready, final = Signal(2), Signal(2)
        sizes = Signal(data.ArrayLayout(range(entries + 1), 2))
        written, size = Signal(range(entries + 1)), Signal(range(entries + 1))
        element = self.run.payload
        m.d.comb += [
            self.run.ready.eq(~ready.bit_select(fill, 1)),
            taken.eq(self.run.valid & self.run.ready),
            write.en.eq(taken & element.real),
            write.addr.eq(Cat(written[: self.config.levels], fill)),
            write.data.eq(element.key),
            size.eq(sizes[bank]),
        ]
        with m.If(free_stb):
            m.d.sync += ready.bit_select(bank, 1).eq(0)
        with m.If(taken):
            m.d.sync += written.eq(written + element.real)
            m.d.sync += Assert(
                ~element.real | (written != entries), Format("a run of more than {}", entries)
            )
            with m.If(element.last):
                m.d.sync += [
                    ready.bit_select(fill, 1).eq(1),
                    final.bit_select(fill, 1).eq(~element.real),
                    sizes[fill].eq(written + element.real),
                    written.eq(0),
                    fill.eq(~fill),
                ]
        return ready.bit_select(bank, 1), final.bit_select(bank, 1), size
