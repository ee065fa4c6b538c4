"""TileIssue beside a model that only counts: jobs, tiles, items, loads."""

from __future__ import annotations

from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Elaboratable,
    Fragment,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.tile_issue import TileIssue, step_layout
from rpaccel.spec.isa import Destination, Source
from tests.formal.tile_issue_lemmas import lemmas
from tests.formal.weight_rule import WeightRule

SAME = ("relu", "destination", "stack", "source_a", "source_b", "words_a", "words_b", "n_steps",
        "stride_a", "stride_b", "offset_a", "offset_b", "destination_stride",
        "param_base")  # fmt: skip
ROW_FIELDS = ("relu", "destination", "stack")


def small_job(items: int) -> data.StructLayout:
    """A job of 1..items rows, 1..2 K folds, 1..2 N steps: the fields that are free."""
    return data.StructLayout(
        {
            "items": range(items + 1), "item_bank": 2, "bank": 1, "relu": 1,
            "destination": 2, "stack": 1,
            "source_a": 3, "source_b": 3, "words_a": 2, "words_b": 2, "n_steps": 2,
            "stride_a": 2, "stride_b": 2, "offset_a": 2, "offset_b": 2,
            "destination_stride": 2, "tile_base": 2, "param_base": 2,
        }
    )  # fmt: skip


class TileIssueProperties(wiring.Component):
    """Any stream of small jobs into `dut`; a job may be offered or not in every cycle.

    The payload is free while it waits too: what counts is the cycle in which it is taken.

    Members:
      valid, offer   the job stream.
      step           what the controller does.
      taken          a job is taken.
    """

    def __init__(
        self,
        dut: TileIssue,
        items: int,
        *,
        addresses: bool = False,
        block_rows: bool = False,
        lemmas: bool = True,
    ) -> None:
        self.dut, self.config, self.items = dut, dut.config, items
        self.addresses, self.block_rows, self.lemmas = addresses, block_rows, lemmas
        self.job = small_job(items)
        super().__init__(
            {
                "valid": In(1), "offer": In(self.job), "taken": Out(1),
                "step": Out(step_layout(dut.config)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        dut = self.dut
        m.submodules.dut = fragment = Fragment.get(dut, platform)
        statements = [s for block in fragment.statements.values() for s in block]
        signals = [signal for s in statements for signal in s._lhs_signals()]
        self.inner = {(signal.name, len(signal)): signal for signal in signals}
        self._offer(m)
        m.d.comb += [self.taken.eq(dut.job.valid & dut.job.ready), self.step.eq(dut.step)]
        self.before = Signal()  # a tile has begun since reset
        m.d.sync += self.before.eq(self.before | dut.step.first)
        self._rows(m)
        self._weights(m)
        self._parameters(m)
        self._spacing(m)
        if self.block_rows:
            self._block_rows(m)
        if self.lemmas:
            lemmas(m, self)
        return m

    def _offer(self, m: Module) -> None:
        """Widen the small job to the fields of an instruction."""
        offer, job, size = self.offer, self.dut.job, self.config.block_size
        bits = size.bit_length() - 1
        m.d.comb += [
            job.valid.eq(self.valid),
            job.payload.items.eq(offer.items),
            job.payload.item_bank.eq(offer.item_bank),
            job.payload.bank.eq(offer.bank),
            *(job.payload.code[name].eq(offer[name]) for name in SAME),
            job.payload.code.weight_base.eq(Cat(Const(0, bits), offer.tile_base)),
        ]
        m.d.comb += Assume(self.legal(offer))

    def legal(self, job: data.View) -> Value:
        """Return whether a small job is one that a compiler makes."""
        folds = job.words_a + job.words_b
        return Cat(
            (job.items >= 1) & (job.items <= self.items),
            (folds >= 1) & (folds <= 2),
            (job.n_steps >= 1) & (job.n_steps <= 2),
            (job.source_a <= Source.CROSS) & (job.source_b <= Source.CROSS),
            (1 << job.stack) <= self.config.blocks,
        ).all()

    def _rows(self, m: Module) -> None:
        """Say which row is due: item within k within n within the job that waits longest."""
        step, layout = self.step, self.job
        self.head, self.behind = Signal(layout), Signal(layout)
        self.jobs, self.n, self.k = Signal(2), Signal(2), Signal(2)
        self.item = Signal(range(self.items + 1))
        head, behind, jobs, n, k, item = (
            self.head, self.behind, self.jobs, self.n, self.k, self.item
        )  # fmt: skip
        folds = head.words_a + head.words_b
        item_ends, last_k = item + 1 == head.items, Signal()
        self.last_k = last_k
        last_n = n + 1 == head.n_steps
        ends, left = Signal(), Signal(2)
        m.d.comb += [
            last_k.eq(k + 1 == folds),
            ends.eq(step.row & (jobs != 0) & item_ends & last_k & last_n),
            left.eq(jobs - ends),
        ]
        m.d.sync += jobs.eq(left + self.taken)
        with m.If(ends):
            m.d.sync += head.eq(behind)
        with m.If(self.taken):
            with m.If(left == 0):
                m.d.sync += head.eq(self.offer)
            with m.Else():
                m.d.sync += behind.eq(self.offer)
        with m.If(step.row & (jobs != 0)):
            m.d.sync += item.eq(Mux(item_ends, 0, item + 1))
            with m.If(item_ends):
                m.d.sync += k.eq(Mux(last_k, 0, k + 1))
                with m.If(last_k):
                    m.d.sync += n.eq(Mux(last_n, 0, n + 1))

        # What the row must be.
        read, write, source = self._places(head, n, k, item)
        scores = (head.destination == Destination.SCORE) | (head.destination == Destination.BOTTOM)
        last_row = item_ends & last_k & last_n
        with m.If(step.row):
            m.d.comb += [
                Assert(jobs != 0, "a row belongs to a job"),
                Assert(step.first == (item == 0), "first is item 0"),
                Assert(step.first_k == (k == 0), "first_k is K fold 0"),
                Assert(step.last_k == last_k, "last_k is the last K fold"),
                Assert(step.source == source, "the row's source is its K fold's"),
                *(Assert(step[x] == head[x], f"{x} is the job's") for x in ROW_FIELDS),
            ]
            if self.addresses:
                self.places = read, write, source
                m.d.comb += [
                    Assert(step.end == (last_row & scores), "end is a chain's last row"),
                    Assert(step.read_address == read, "the row is the item's word of its K fold"),
                    Assert(step.address == write, "the result is the item's word of its N step"),
                ]
        self.wait = wait = Signal(range(2 * self.dut.dependency_cycles))
        m.d.sync += wait.eq(Mux(step.row | (jobs == 0), 0, wait + 1))
        m.d.comb += [
            Assert(~step.first | step.row, "first comes with a row"),
            Assert(step.row | (item == 0), "a tile's rows come one per cycle"),
            Assert(~self.taken | (left < 2), "two jobs at most are under way"),
            Assert(self.dut.busy == (jobs != 0), "busy is a job that is not done"),
            Assert(wait <= self.dut.dependency_cycles, "the next row comes in time"),
        ]
        jobs_done = Signal(2)
        m.d.sync += jobs_done.eq(jobs_done + (ends & (jobs_done != 3)))
        m.d.comb += [
            Cover((jobs_done == 2) & self.dut.job.ready, "two jobs done"),
            Cover(ends & (k == 1) & (n == 1) & (jobs == 2), "4 tiles, the next job waits"),
        ]

    def _places(self, head: data.View, n: Signal, k: Signal, item: Signal) -> tuple:
        """Return the word to read, the word to write and the source of a row; see spec.isa."""
        config = self.config
        in_a = k < head.words_a
        source = Mux(in_a, head.source_a, head.source_b)
        offset = Mux(in_a, head.offset_a + k, head.offset_b + k - head.words_a)
        stride = Mux(in_a, head.stride_a, head.stride_b)
        bottom = head.destination == Destination.BOTTOM

        def place(base: object, stride: object, apart: object) -> object:
            engines = config.engines
            spread = (base + (item // engines) * stride) * engines + item % engines
            return Mux(apart, spread, base + item * stride)

        base = Mux(
            source == Source.USER,
            2 * config.dense_words,
            Mux(
                source == Source.DENSE,
                Mux(head.item_bank[1], config.dense_words, 0)
                + Mux(head.item_bank[0], config.dense_words // 2, 0),
                Mux((source == Source.CROSS) & head.bank, config.engine_cross_words, 0),
            ),
        )
        read = place(base + offset, Mux(source == Source.USER, 0, stride), source == Source.CROSS)
        base = Mux(bottom & head.bank, config.engine_bottom_words, 0)
        is_act = (head.destination == Destination.ACT0) | (head.destination == Destination.ACT1)
        write = place(base + Mux(is_act, n << head.stack, n), head.destination_stride, bottom)
        bits = len(self.step.address)
        return read[:bits], write[:bits], source

    def _weights(self, m: Module) -> None:
        """Weights come tile by tile, in order, in time; so do the parameters."""
        step, size = self.step, self.config.block_size
        m.submodules.rule = self.rule = rule = WeightRule(size, settle=3)
        m.d.comb += [rule.load.eq(step.load), rule.first.eq(step.first)]
        job, tile = Signal(self.job), Signal(3)
        self.loading, self.tile = job, tile
        self.tiles = tiles = Mux(job.words_a + job.words_b == 2, 2, 1) * job.n_steps
        with m.If(self.taken):
            m.d.sync += [job.eq(self.offer), tile.eq(0)]
            m.d.comb += Assert(tile == tiles, "a job's tiles are loaded before the next is taken")
        with m.Elif(step.load & (rule.count == size - 1)):
            m.d.sync += tile.eq(tile + 1)
        row = (job.tile_base + tile) * size + rule.count
        m.d.comb += [
            Assert(rule.load_ok, "loads: b per tile, b - 2 cycles after first at the earliest"),
            Assert(rule.first_ok, "first comes with b rows loaded, 3 cycles after the last"),
        ]
        with m.If(step.load):
            m.d.comb += [
                Assert(tile < tiles, "a load belongs to a tile of the job"),
                Assert(step.weight_address == row[: len(step.weight_address)], "the tile's row"),
                Assert(step.load_stack == job.stack, "load_stack is the job's"),
            ]

    def _parameters(self, m: Module) -> None:
        """Parameters come in the cycles b - 2 .. 2 b - 3 of an N step's last K fold."""
        step, size, phase = self.step, self.config.block_size, self.rule.phase
        base, n, last_k = Signal(2), Signal(2), Signal()
        now = Mux(step.first, Cat(self.head.param_base, self.n, self.last_k), Cat(base, n, last_k))
        m.d.sync += Cat(base, n, last_k).eq(now)
        fold = now[:2] + now[2:4]
        self.now, self.fold = now, fold
        window = now[4] & (phase >= size - 2) & (phase < 2 * size - 2)
        entry = fold * size + phase - (size - 2)
        m.d.comb += Assert(step.fetch == window, "parameters come for an N step's last K fold")
        with m.If(step.fetch):
            m.d.comb += Assert(
                step.param_address == entry[: len(step.param_address)], "the N step's channels"
            )

    def _spacing(self, m: Module) -> None:
        """Tiles stay apart: as long as loading takes, as results take, as the array is skewed."""
        step, dut, size = self.step, self.dut, self.config.block_size
        far = dut.dependency_cycles
        since, items, stack = Signal(range(far + 1), init=far), Signal(5), Signal()
        self.spaced = since, items, stack
        with m.If(step.first):
            m.d.sync += [since.eq(1), items.eq(self.head.items), stack.eq(self.head.stack)]
        with m.Elif(since != far):
            m.d.sync += since.eq(since + 1)
        head = self.head
        begins = (self.k == 0) & (self.n == 0)
        with m.If(step.first & self.before):
            changes = head.stack != stack
            m.d.comb += [
                Assert(since >= 2 * size, "tiles are 2 b cycles apart"),
                Assert(~(begins & self.reads_acts(head)) | (since == far), "results are written"),
                Assert(
                    ~changes | (since >= items + dut.skew_cycles), "rows are through all blocks"
                ),
            ]
        m.d.comb += Cover(
            step.first & self.before & (since == 2 * size) & begins,
            "a layer follows at full speed",
        )

    def _block_rows(self, m: Module) -> None:
        """In every block row, tokens of two ways of stacking stay apart and keep the rule.

        With 2**stack groups of h block rows, row i gets the step of i mod h block rows ago.
        """
        step, config, size = self.step, self.config, self.config.block_size
        for i in range(1, config.blocks):
            loads, firsts, rows = [], [], []
            for stack in range(config.blocks.bit_length()):
                late = (i % (config.blocks >> stack)) * size
                now = Cat(
                    step.load & (step.load_stack == stack),
                    step.first & (step.stack == stack),
                    step.row & (step.stack == stack),
                )
                token = delayed(m, now, late, f"row_{i}_{stack}")
                loads.append(token[0])
                firsts.append(token[1])
                rows.append(token[2])
            rule = WeightRule(size, settle=3)
            m.submodules[f"rule_{i}"] = rule
            m.d.comb += [
                rule.load.eq(Cat(*loads).any()),
                rule.first.eq(Cat(*firsts).any()),
                Assert(sum(loads) <= 1, f"block row {i}: one load at a time"),
                Assert(sum(rows) <= 1, f"block row {i}: one row at a time"),
                Assert(rule.load_ok, f"block row {i}: loads keep the rule"),
                Assert(rule.first_ok, f"block row {i}: first keeps the rule"),
            ]

    def reads_acts(self, job: data.View) -> Value:
        """Return whether a job, or an instruction, reads what a layer wrote."""
        sources = (job.source_a, job.source_b)
        return Cat(*(s == act for s in sources for act in (Source.ACT0, Source.ACT1))).any()

    def same(self, small: data.View, job: data.View) -> Value:
        """Return whether a small job and a job are the same."""
        bits = self.config.block_size.bit_length() - 1
        base = Cat(Const(0, bits), small.tile_base)
        pairs = [(small.items, job.items), (small.bank, job.bank),
                 (small.item_bank, job.item_bank), (base, job.code.weight_base)]  # fmt: skip
        pairs += [(small[name], job.code[name]) for name in SAME]
        return Cat(*(a == b for a, b in pairs)).all()
