import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, Mux
from amaranth.lib import wiring

from rpaccel.golden.interaction import interact
from rpaccel.perfmodel.interaction import drain_cycles, interaction_cycles
from rpaccel.rtl.interaction import Interaction
from rpaccel.rtl.vector_memories import ActivationWrite, VectorMemories
from rpaccel.spec.isa import PAIR, Destination, Op, Source, Target
from tests.rtl.conftest import small
from tests.rtl.test_layer_engine import execute, load, word, words_of
from tests.streams import recorder, simulate

DESTINATIONS = {Source.ACT0: Destination.ACT1, Source.ACT1: Destination.ACT0}


class Bench(Elaboratable):
    """Interaction and memories; `act` writes activations while the unit is idle."""

    def __init__(self, config):
        self.config = config
        self.engine = Interaction(config)
        self.memories = VectorMemories(config)
        self.act = ActivationWrite(config).create()
        self.log = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine, m.submodules.memories = self.engine, self.memories
        wiring.connect(m, self.engine.read, self.memories.read)
        for name in self.act.signature.members:
            mine, own = getattr(self.act, name), getattr(self.engine.write, name)
            m.d.comb += getattr(self.memories.write, name).eq(Mux(self.engine.busy, own, mine))
        return m


class Case:
    """A random interaction; `order` of memory words as in docs/architecture.md."""

    def __init__(self, config, items, user, item, words, source=Source.ACT0, bank=0):
        size = config.array_size
        self.config, self.items, self.user, self.item, self.words = config, items, user, item, words
        self.source, self.bank = source, bank
        rng = np.random.default_rng(items * 1000 + user * 100 + item * 10 + words)
        self.vectors = rng.integers(-127, 128, (items, 1 + user + item, words, size))
        self.vectors[:, 1 : 1 + user] = self.vectors[:1, 1 : 1 + user]  # same user for all items
        self.pairs = self.vectors.shape[1] * (self.vectors.shape[1] - 1) // 2
        self.multiplier = rng.integers(20000, 65536, self.pairs)
        self.shift = rng.integers(22, 27, self.pairs)
        self.user_offset, self.item_offset, self.param_base = 1, 1, 2
        self.item_words = self.item_offset + item * words
        self.out_words = words - (-self.pairs // size)
        self.source_stride, self.destination_stride = words + 1, self.out_words + 1

    def instruction(self):
        return {
            "op": Op.INTERACT, "source": self.source, "destination": DESTINATIONS[self.source],
            "source_stride": self.source_stride, "destination_stride": self.destination_stride,
            "param_base": self.param_base, "vector_words": self.words,
            "user_vectors": self.user, "item_vectors": self.item,
            "user_offset": self.user_offset, "item_offset": self.item_offset,
        }  # fmt: skip

    def expected(self):
        size = self.config.array_size
        flat = self.vectors.reshape(self.items, self.vectors.shape[1], -1)
        output = interact(flat, self.multiplier, self.shift)
        padded = np.zeros((self.items, self.out_words * size), dtype=np.int64)
        padded[:, : output.shape[1]] = output
        rows = padded.reshape(self.items, self.out_words, size)
        return {
            item * self.destination_stride + n: rows[item, n].tolist()
            for item in range(self.items)
            for n in range(self.out_words)
        }

    def writes(self):
        """Yield (memory, address, word) of all inputs."""
        for item in range(self.items):
            for w in range(self.words):
                yield "act", item * self.source_stride + w, self.vectors[item, 0, w]
            base = self.bank * self.config.feature_words + item * self.item_words
            for v in range(self.item):
                for w in range(self.words):
                    address = base + self.item_offset + v * self.words + w
                    yield "feature", address, self.vectors[item, 1 + self.user + v, w]
        for v in range(self.user):
            for w in range(self.words):
                address = self.user_offset + v * self.words + w
                yield "user", address, self.vectors[0, 1 + v, w]


async def fill(ctx, bench, case):
    for p in range(case.pairs):
        fields = {"multiplier": int(case.multiplier[p]), "shift": int(case.shift[p])}
        await load(ctx, bench.engine.load, Target.PAIR, case.param_base + p, PAIR.pack(fields))
    bus, act = bench.memories.vectors, bench.act
    ctx.set(bus.mask, (1 << bench.config.beats_per_word) - 1)
    for memory, address, values in case.writes():
        port = act if memory == "act" else bus
        ctx.set(port.valid, 1)
        ctx.set(port.address, address)
        ctx.set(port.data, word(values))
        if memory == "act":
            ctx.set(act.act1, int(case.source == Source.ACT1))
        else:
            ctx.set(bus.user, int(memory == "user"))
        await ctx.tick()
        ctx.set(port.valid, 0)


def run_cases(config, cases):
    bench, cycles, writes = Bench(config), [], []

    async def drive(ctx):
        for case in cases:
            await fill(ctx, bench, case)
            before = len(bench.log)
            ctx.set(bench.engine.item_words, case.item_words)
            cycles.append(await execute(ctx, bench.engine, case))
            await ctx.tick()
            writes.append(bench.log[before:])

    write = bench.engine.write
    signals = {"valid": write.valid, "act1": write.act1, "address": write.address}
    log = recorder({**signals, "data": write.data}, bench.log, "valid")
    simulate(bench, drive, background=[log])
    assert bench.engine.word_cycles == drain_cycles(config)
    for case, busy, written in zip(cases, cycles, writes, strict=True):
        vectors = 1 + case.user + case.item
        assert busy == interaction_cycles(config, case.items, vectors, case.words)
        assert {row["act1"] for row in written} == {int(case.source == Source.ACT0)}
        words = words_of(written, config.array_size).tolist()
        assert len(words) == case.items * case.out_words
        assert dict(zip((row["address"] for row in written), words, strict=True)) == case.expected()


@pytest.mark.parametrize("items", [1, 2, 5])
def test_matches_golden_and_cycles(config, items):
    shapes = [(1, 0, 1), (0, 1, 1), (1, 1, 1), (2, 3, 1), (0, 2, 2), (3, 4, 2), (1, 0, 2)]
    cases = [
        Case(config, items, *shape, source=list(DESTINATIONS)[i % 2], bank=i // 2 % 2)
        for i, shape in enumerate(shapes)
    ]
    run_cases(config, cases)


def test_full_sub_batch_of_the_shortest_items():
    config = small(4)
    run_cases(config, [Case(config, 16, 0, 1, 1), Case(config, 16, 1, 0, 4)])


def test_longest_vectors():
    config = small(4)
    run_cases(config, [Case(config, 3, 2, 2, 4), Case(config, 2, 5, 1, 4)])
