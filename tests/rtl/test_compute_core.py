from dataclasses import replace

import numpy as np
import pytest

from rpaccel.host.core_workload import Workload, program_shape
from rpaccel.perfmodel.sequencer import core_times
from rpaccel.rtl.compute_core import ComputeCore
from rpaccel.spec.isa import Interaction
from rpaccel.workloads.random_models import random_ranker
from tests.rtl.conftest import small
from tests.streams import (
    STALL_CASES,
    STALLS,
    expect_silence,
    receive,
    recorder,
    send,
    simulate,
    slow_but,
    stalls,
)


def core_config(size=8, **update):
    sizes = {
        "block_size": 4, "weight_words": 512 * size, "param_entries": 64 * size,
        "act_words": 512, "cross_words": 512, "dense_words": 128, "feature_words": 1024,
        "pair_entries": 128, "user_words": 64, "max_dim": 32,
    }  # fmt: skip
    return small(size, **(sizes | update))


async def write(ctx, ports, writes):
    for one in writes:
        bus = ports[one.port]
        for name in ("user", "vector", "address", "data", "mask"):
            ctx.set(getattr(bus, name), getattr(one, name))
        ctx.set(bus.valid, 1)
        await ctx.tick()
        ctx.set(bus.valid, 0)


async def load(ctx, core, workload):
    bus = core.load
    ctx.set(core.slot, {name: workload.slot[name] for name, _ in core.slot.shape()
                        if not name.startswith("_")} | {"_padding": 0})  # fmt: skip
    ctx.set(bus.valid, 1)
    for target, index, value in workload.entries():
        ctx.set(bus.target, target)
        ctx.set(bus.index, index)
        ctx.set(bus.data, value)
        await ctx.tick()
    ctx.set(bus.valid, 0)


class Run:
    """Feed batches as the gather unit does (banks are filled while others are read)."""

    def __init__(self, workload):
        self.core, self.workload = ComputeCore(workload.config), workload
        self.scores, self.released, self.transfers = [], [], []
        self.logits, self.array, self.crossing = [], [], []

    async def feed(self, ctx, idle):
        core, workload = self.core, self.workload
        await load(ctx, core, workload)
        await write(ctx, core.vectors, workload.user_writes())
        for number, items in enumerate(workload.counts):
            while number - len(self.released) >= workload.banks:
                await ctx.tick()
            await write(ctx, core.vectors, workload.batch_writes(number))
            last = number == len(workload.counts) - 1
            batch = {"bank": workload.bank(number), "items": items, "last": last}
            await send(ctx, core.batch, [batch], idle)

    def execute(self, kind, limit_cycles=30_000):
        core, expected = self.core, self.workload.expected
        source, sink = stalls(kind, 3)

        async def feed(ctx):
            await self.feed(ctx, source)

        async def drain(ctx):
            self.scores += await receive(
                ctx, core.score, len(expected), sink, limit_cycles=limit_cycles
            )
            await expect_silence(ctx, core.score, 60)
            assert ctx.get(core.array_stalled_input)

        background = [
            recorder({"stb": core.release_stb}, self.released, "stb"),
            recorder({"go": core.batch.valid & core.batch.ready}, self.transfers, "go"),
            recorder({"busy": core.array_busy}, self.array, "busy"),
            recorder({"busy": core.interaction_busy}, self.crossing, "busy"),
        ]
        simulate(
            core, feed, drain,
            monitors=[core.score], background=background, limit_cycles=limit_cycles,
        )  # fmt: skip
        assert self.scores == expected
        assert len(self.released) == len(self.transfers) == len(self.workload.counts)

    def check_cycles(self):
        """Hold transfers, releases and busy cycles to the model, given when batches came."""
        workload, counts = self.workload, self.workload.counts
        begin = self.transfers[0]["cycle"]
        times = core_times(workload.config, program_shape(workload.compiled), counts)
        if len(counts) == 1:
            assert self.released[0]["cycle"] - begin == int(times.released[0, 0])
        assert len(self.array) == int(times.array_busy[0])
        assert len(self.crossing) == int(times.interaction_busy[0])


@pytest.mark.parametrize("kind", STALL_CASES)
def test_matches_golden(kind):
    config = core_config()
    ranker = random_ranker(np.random.default_rng(STALLS.index(kind)), config)
    run = Run(Workload(config, ranker, [5, 16, 1, 9]))
    run.execute(kind)


@pytest.mark.parametrize("kind", ["none", "both"])
@pytest.mark.slow
def test_four_banks(kind):
    config = core_config()
    ranker = random_ranker(np.random.default_rng(8), config)
    run = Run(Workload(config, ranker, [5, 8, 1, 7, 3, 6], four_banks=True))
    run.execute(kind)
    if kind == "none":
        run.check_cycles()


@pytest.mark.parametrize(
    "interaction", slow_but([Interaction.PRODUCT], Interaction, nightly=[Interaction.CONCAT])
)
@pytest.mark.parametrize(
    "size", [8, pytest.param(16, marks=[pytest.mark.slow, pytest.mark.nightly])]
)
def test_kinds_and_sizes(size, interaction):
    config = core_config(size)
    rng = np.random.default_rng(size + interaction)
    ranker = random_ranker(rng, config, interaction=interaction, dim=4 << int(rng.integers(3)),
                           user_tables=2, item_tables=3, bottom=(19, 7), top=(21,))  # fmt: skip
    run = Run(Workload(config, ranker, [3, 7], seed=size))
    run.execute("none")
    run.check_cycles()


@pytest.mark.slow
@pytest.mark.parametrize(
    "dense", [3, pytest.param(7, marks=[pytest.mark.slow, pytest.mark.nightly])]
)
def test_stacked_layers(dense):
    """Groups of block rows give words of their own; the layers around use the whole array."""
    config = core_config(16)
    ranker = random_ranker(np.random.default_rng(dense), config, user_dense=0, item_dense=dense,
                           bottom=(60, 9), top=(18,), dim=4, user_tables=0)  # fmt: skip
    run = Run(Workload(config, ranker, [9, 16]))
    assert {layer.stack for layer in program_shape(run.workload.compiled).bottom} > {0}
    run.execute("none")
    run.check_cycles()


@pytest.mark.parametrize("macs", slow_but([1], [1, 2], nightly=[2]), ids=["cells", "pairs"])
@pytest.mark.parametrize("items", slow_but([16], [1, 2, 15, 16], nightly=[2]))
def test_cycles_equal_the_model(items, macs):
    config = core_config(macs_per_dsp=macs)
    ranker = random_ranker(np.random.default_rng(items), config, bottom=(12, 20), top=(16, 30))
    run = Run(Workload(config, ranker, [items]))
    run.execute("none")
    run.check_cycles()


@pytest.mark.slow
def test_score_layer_waits_for_room():
    config = core_config(8)
    ranker = random_ranker(np.random.default_rng(5), config)
    run = Run(Workload(config, ranker, [16, 16, 16]))
    core = run.core

    async def feed(ctx):
        await run.feed(ctx, None)

    async def drain(ctx):
        await ctx.tick().repeat(4000)  # the second batch's scores wait for all of this time
        assert ctx.get(core.score_stalled)
        run.scores += await receive(ctx, core.score, len(run.workload.expected))
        await expect_silence(ctx, core.score, 30)

    background = [recorder({"stb": core.release_stb}, run.released, "stb")]
    simulate(core, feed, drain, monitors=[core.score], background=background)
    assert run.scores == run.workload.expected


@pytest.mark.parametrize(
    "kind", ["none", pytest.param("both", marks=[pytest.mark.slow, pytest.mark.nightly])]
)
def test_two_stages_with_users_of_their_own(kind):
    config = core_config()
    ranker = random_ranker(np.random.default_rng(6), config, bottom=(12, 20), top=(16,))
    stages = [Workload(config, ranker, counts, seed=n) for n, counts in enumerate(([9, 3], [4, 9]))]
    assert stages[0].query.user_record != stages[1].query.user_record
    run = Run(stages[0])
    core, ended, worked = run.core, [], []
    source, sink = stalls(kind, 7)
    expected = [score for stage in stages for score in stage.expected]

    def second_bank(one):
        words = config.user_vector_words if one.vector else config.user_words
        return replace(one, address=one.address + words)

    async def feed(ctx):
        await load(ctx, core, stages[0])
        for number in range(4):
            stage, of_stage = divmod(number, 2)
            while number - len(run.released) >= 2:
                await ctx.tick()
            if not of_stage:  # the user before is still at work
                writes = stages[stage].user_writes()
                await write(ctx, core.vectors, map(second_bank, writes) if stage else writes)
            await write(ctx, core.vectors, stages[stage].batch_writes(of_stage))
            ctx.set(core.user_bank, stage)
            items = stages[stage].counts[of_stage]
            batch = {"bank": 2 * (number % 2), "items": items, "last": of_stage}
            await send(ctx, core.batch, [batch], source)

    async def drain(ctx):
        run.scores += await receive(ctx, core.score, len(expected), sink)
        await expect_silence(ctx, core.score, 60)

    busy = {
        "array": (core.array_busy, core.array_user_bank),
        "interaction": (core.interaction_busy, core.interaction_user_bank),
    }
    signals = {
        f"{name}{n}": level & (bank == n) for name, (level, bank) in busy.items() for n in (0, 1)
    }
    simulate(
        core, feed, drain,
        monitors=[core.score],
        background=[
            recorder({"stb": core.release_stb}, run.released, "stb"),
            recorder({"stb": core.stage_done_stb}, ended, "stb"),
            recorder(signals | {"any": core.array_busy | core.interaction_busy}, worked, "any"),
        ],
    )  # fmt: skip
    assert run.scores == expected
    assert len(ended) == 2
    for n, stage in enumerate(stages):
        times = core_times(config, program_shape(stage.compiled), stage.counts)
        assert sum(row[f"array{n}"] for row in worked) == int(times.array_busy.sum())
        assert sum(row[f"interaction{n}"] for row in worked) == int(times.interaction_busy.sum())


RECTANGLES = slow_but([], [(1, 2), (2, 4), (4, 1)], nightly=[(2, 4), (4, 1)])
OTHERS = [(1, 4), (4, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    "shape",
    [
        *RECTANGLES,
        *(pytest.param(shape, marks=[pytest.mark.slow, pytest.mark.nightly]) for shape in OTHERS),
    ],
    ids=lambda shape: f"{shape[0]}x{shape[1]}",
)
@pytest.mark.parametrize(
    "kind", [pytest.param("none", marks=[pytest.mark.slow, pytest.mark.nightly]), "both"]
)
def test_lanes_of_any_rectangle(shape, kind):
    """Rows and columns of blocks: one and several K folds, stacking, words left over."""
    size = 32 if min(shape) == 1 < shape[0] else 16  # an image's entries have 8 bytes or more
    machine = core_config(size, block_size=size // 4, lanes=1, lane_blocks=(shape,))
    config = machine.lane(0).model_copy(update={"image_word_bytes": None})  # an array of its own
    rng = np.random.default_rng(shape[0] * 8 + shape[1])
    interaction = Interaction(sum(shape) % 3)
    ranker = random_ranker(
        rng, config, interaction=interaction, dim=8, user_tables=1, item_tables=2,
        user_dense=3, item_dense=2, bottom=(19, 37, 6), top=(45, 3, 26),
    )  # fmt: skip
    run = Run(Workload(config, ranker, [3, 16, 1, 7], seed=shape[0]))
    run.execute(kind)
    run.check_cycles()
