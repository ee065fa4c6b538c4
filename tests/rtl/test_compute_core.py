import pytest

from rpaccel.perfmodel.sequencer import program_cycles, unit_cycles
from rpaccel.rtl.compute_core import ComputeCore
from rpaccel.spec.isa import SLOT, Destination
from tests.rtl.conftest import small
from tests.rtl.programs import RandomProgram, pack_word
from tests.streams import STALLS, expect_silence, receive, recorder, send, simulate, stalls


def slot_value(program):
    return {field.name: program.slot().get(field.name, 0) for field in SLOT}


async def load(ctx, core, program):
    bus = core.load
    ctx.set(core.slot, slot_value(program))
    ctx.set(bus.valid, 1)
    for target, index, value in program.entries:
        ctx.set(bus.target, target)
        ctx.set(bus.index, index)
        ctx.set(bus.data, value)
        await ctx.tick()
    ctx.set(bus.valid, 0)


async def write_words(ctx, core, words, *, user, base):
    """Write words into USER or FEATURE, a beat at a time."""
    bus, config = core.vectors, core.config
    ctx.set(bus.user, user)
    ctx.set(bus.valid, 1)
    for address, values in enumerate(words, base):
        for beat in range(config.beats_per_word):
            ctx.set(bus.address, address)
            ctx.set(bus.mask, 1 << beat)
            keep = ((1 << config.axi_data_bits) - 1) << beat * config.axi_data_bits
            ctx.set(bus.data, pack_word(values) & keep)
            await ctx.tick()
    ctx.set(bus.valid, 0)


class Run:
    """Feed batches as the gather unit does (two banks, filled while the other one computes)."""

    def __init__(self, config, program, counts):
        self.core, self.program, self.counts = ComputeCore(config), program, counts
        self.user = program.random_words(program.user_words)
        self.items = [program.random_words(count, program.item_words) for count in counts]
        self.scores, self.released, self.transfers, self.busy = [], [], [], []
        self.expected = [row for items in self.items for row in program.scores(self.user, items)]

    async def feed(self, ctx, idle):
        core, words = self.core, self.program.item_words
        await load(ctx, core, self.program)
        await write_words(ctx, core, self.user, user=1, base=0)
        for number, items in enumerate(self.items):
            while number - len(self.released) >= 2:
                await ctx.tick()
            bank = number % 2
            rows = items.reshape(-1, items.shape[-1])
            assert len(rows) == len(items) * words
            await write_words(ctx, core, rows, user=0, base=bank * core.config.feature_words)
            batch = {"bank": bank, "items": len(items), "last": number == len(self.items) - 1}
            await send(ctx, core.batch, [batch], idle)

    def execute(self, kind):
        core = self.core
        source, sink = stalls(kind, self.program.seed)

        async def feed(ctx):
            await self.feed(ctx, source)

        async def drain(ctx):
            self.scores += await receive(ctx, core.score, len(self.expected), sink)
            await expect_silence(ctx, core.score, 30)

        batch = {"valid": core.batch.valid & core.batch.ready}
        busy = {
            "valid": core.array_busy | core.interaction_busy | core.score_stalled,
            "array": core.array_busy,
            "interaction": core.interaction_busy,
            "stalled": core.score_stalled,
        }
        background = [
            recorder({"stb": core.release_stb}, self.released, "stb"),
            recorder(batch, self.transfers, "valid"),
            recorder(busy, self.busy, "valid"),
        ]
        simulate(core, feed, drain, monitors=[core.score], background=background)
        assert self.scores == self.expected
        assert len(self.released) == len(self.transfers) == len(self.counts)

    def check_cycles(self, config):
        code = self.program.instructions
        stalled = {cycle["cycle"] for cycle in self.busy if cycle["stalled"]}
        for count, begin, end in zip(self.counts, self.transfers, self.released, strict=True):
            waited = sum(begin["cycle"] <= cycle <= end["cycle"] for cycle in stalled)
            cycles = end["cycle"] - begin["cycle"] + 1
            assert cycles == program_cycles(config, code, count) + waited
        for unit in ("array", "interaction"):
            expected = sum(unit_cycles(config, code, count)[unit] for count in self.counts)
            assert sum(row[unit] for row in self.busy) == expected


@pytest.mark.parametrize("kind", STALLS)
def test_matches_golden(kind):
    config = small(4)
    run = Run(config, RandomProgram(config, STALLS.index(kind)), [5, 16, 1])
    run.execute(kind)
    run.check_cycles(config)


@pytest.mark.parametrize(("size", "seed"), [(4, 4), (4, 5), (4, 6), (4, 7), (8, 8), (8, 9)])
def test_random_programs(size, seed):
    config = small(size)
    program = RandomProgram(config, 100 + seed)
    counts = [int(count) for count in program.rng.integers(1, 17, 2)]
    run = Run(config, program, counts)
    run.execute(STALLS[seed % 4])
    run.check_cycles(config)


def test_beats_of_a_word_are_written_apart():
    config = small(8, axi_data_bits=32)
    run = Run(config, RandomProgram(config, 7), [3])
    run.execute("none")


def test_score_layer_waits_for_room():
    config = small(4)
    program = RandomProgram(config, 5)
    run = Run(config, program, [16, 16])
    core = run.core

    async def feed(ctx):
        await run.feed(ctx, None)

    async def drain(ctx):
        await ctx.tick().repeat(1500)  # the second batch must wait for all of this time
        assert len(run.released) == 1
        assert ctx.get(core.score_stalled)
        run.scores += await receive(ctx, core.score, len(run.expected))
        await expect_silence(ctx, core.score, 30)

    background = [recorder({"stb": core.release_stb}, run.released, "stb")]
    simulate(core, feed, drain, monitors=[core.score], background=background)
    assert run.scores == run.expected
    assert program.instructions[-1]["destination"] == Destination.SCORE


def test_empty_program_releases_its_batch():
    config = small(4)
    core, released, transfers = ComputeCore(config), [], []

    async def feed(ctx):
        await send(ctx, core.batch, [{"bank": 0, "items": 3, "last": 1}] * 2)
        await expect_silence(ctx, core.score, 20)

    background = [
        recorder({"stb": core.release_stb}, released, "stb"),
        recorder({"go": core.batch.valid & core.batch.ready}, transfers, "go"),
    ]
    simulate(core, feed, background=background)
    assert len(released) == len(transfers) == 2
    assert released[0]["cycle"] - transfers[0]["cycle"] + 1 == program_cycles(config, [], 3)
