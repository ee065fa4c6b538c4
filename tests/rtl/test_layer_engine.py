from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring

from rpaccel.golden.systolic_array import matmul
from rpaccel.golden.vector_unit import activate, score
from rpaccel.perfmodel.layer_engine import layer_cycles, row_cycles
from rpaccel.rtl.layer_engine import LayerEngine
from rpaccel.rtl.vector_memories import VectorMemories
from rpaccel.spec.isa import PARAM, Destination, Op, Source, Target
from tests.rtl.conftest import small
from tests.streams import recorder, simulate


class Bench(Elaboratable):
    def __init__(self, config):
        self.config = config
        self.engine = LayerEngine(config)
        self.memories = VectorMemories(config)
        self.log, self.logits = [], []

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine, m.submodules.memories = self.engine, self.memories
        wiring.connect(m, self.engine.read, self.memories.read)
        wiring.connect(m, self.engine.write, self.memories.write)
        return m

    def run(self, *benches):
        write, engine = self.engine.write, self.engine
        signals = {"valid": write.valid, "act1": write.act1, "address": write.address}
        scores = {"valid": engine.o_valid, "logit": engine.o_logit}
        background = [
            recorder({**signals, "data": write.data}, self.log, "valid"),
            recorder(scores, self.logits, "valid"),
        ]
        simulate(self, *benches, background=background, limit_cycles=20_000)


def word(values):
    return int.from_bytes(np.asarray(values, dtype=np.int8).tobytes(), "little")


def words_of(rows, size):
    raw = b"".join(row["data"].to_bytes(size, "little") for row in rows)
    return np.frombuffer(raw, dtype=np.int8).reshape(-1, size).astype(np.int64)


@dataclass
class Layer:
    """A random layer: user words, item words, N folds, and how it reads and writes."""

    size: int
    user_words: int
    words: int
    n_folds: int
    items: int
    relu: int = 0
    source: int = Source.GATHERED
    destination: int = Destination.ACT0
    bank: int = 0
    weight_base: int = 0
    param_base: int = 0

    def __post_init__(self):
        self.rng = np.random.default_rng(self.user_words * 100 + self.words * 10 + self.items)
        self.k_folds = self.user_words + self.words
        shape = (self.k_folds * self.size, self.n_folds * self.size)
        self.weights = self.rng.integers(-127, 128, shape)
        channels = shape[1]
        self.bias = self.rng.integers(-2000, 2000, channels)
        self.multiplier = self.rng.integers(20000, 65536, channels)
        self.shift = self.rng.integers(22, 26, channels)
        self.user = self.rng.integers(-127, 128, (self.user_words, self.size))
        self.rows = self.rng.integers(-127, 128, (self.items, self.words, self.size))
        self.source_stride = self.words + 1
        self.destination_stride = self.n_folds + 1

    def instruction(self):
        names = ("relu", "source", "destination", "user_words", "words", "n_folds")
        names += ("source_stride", "destination_stride", "weight_base", "param_base")
        return {"op": Op.LAYER, **{name: int(getattr(self, name)) for name in names}}

    def sums(self):
        user = np.broadcast_to(self.user.reshape(1, -1), (self.items, self.user.size))
        inputs = np.concatenate([user, self.rows.reshape(self.items, -1)], axis=1)
        return matmul(inputs, self.weights)

    def expected(self):
        words = activate(self.sums(), self.bias, self.multiplier, self.shift, relu=bool(self.relu))
        folds = words.reshape(self.items, self.n_folds, self.size)
        return {
            item * self.destination_stride + n: folds[item, n].tolist()
            for item in range(self.items)
            for n in range(self.n_folds)
        }

    def expected_logits(self):
        first = (self.bias[0], self.multiplier[0], self.shift[0])
        return score(self.sums()[:, 0], *first).tolist()


async def load(ctx, bus, target, index, value):
    ctx.set(bus.valid, 1)
    ctx.set(bus.target, target)
    ctx.set(bus.index, index)
    ctx.set(bus.data, value)
    await ctx.tick()
    ctx.set(bus.valid, 0)


async def load_layer(ctx, bus, layer):
    size = layer.size
    tiles = layer.weights.reshape(layer.k_folds, size, layer.n_folds, size).transpose(2, 0, 1, 3)
    for index, row in enumerate(tiles.reshape(-1, size)):
        await load(ctx, bus, Target.WEIGHT, layer.weight_base + index, word(row))
    for c in range(layer.n_folds * size):
        fields = {"bias": layer.bias[c], "multiplier": layer.multiplier[c], "shift": layer.shift[c]}
        value = PARAM.pack({name: int(field) for name, field in fields.items()})
        await load(ctx, bus, Target.PARAM, layer.param_base + c, value)


async def fill(ctx, bench, layer):
    """Put the layer's inputs where it reads them; activations go by the write port's memory."""
    bus, config = bench.memories.vectors, bench.config
    ctx.set(bus.valid, 1)
    ctx.set(bus.mask, (1 << config.beats_per_word) - 1)
    ctx.set(bus.user, 1)
    for address, row in enumerate(layer.user):
        ctx.set(bus.address, address)
        ctx.set(bus.data, word(row))
        await ctx.tick()
    ctx.set(bus.user, 0)
    for item in range(layer.items):
        for k in range(layer.words):
            address = layer.bank * config.feature_words + item * layer.source_stride + k
            ctx.set(bus.address, address)
            ctx.set(bus.data, word(layer.rows[item, k]))
            await ctx.tick()
    ctx.set(bus.valid, 0)


async def execute(ctx, engine, layer):
    """Run the layer; return how many cycles the engine was busy."""
    ctx.set(engine.instruction, layer.instruction())
    ctx.set(engine.items, layer.items)
    ctx.set(engine.bank, layer.bank)
    ctx.set(engine.start, 1)
    await ctx.tick()
    ctx.set(engine.start, 0)
    for cycles in range(1, 5000):
        assert ctx.get(engine.busy)
        done = ctx.get(engine.done)
        await ctx.tick()
        if done:
            assert not ctx.get(engine.busy)
            return cycles
    raise AssertionError("the layer did not end")


def run_layers(config, layers):
    """Run layers one after the other; check results and cycles of each."""
    bench, cycles, writes, logits = Bench(config), [], [], []

    async def drive(ctx):
        for layer in layers:
            await load_layer(ctx, bench.engine.load, layer)
            await fill(ctx, bench, layer)
            before = len(bench.log), len(bench.logits)
            cycles.append(await execute(ctx, bench.engine, layer))
            await ctx.tick()
            writes.append(bench.log[before[0] :])
            logits.append([row["logit"] for row in bench.logits[before[1] :]])

    bench.run(drive)
    assert bench.engine.row_cycles == row_cycles(config)
    for layer, busy, written, scored in zip(layers, cycles, writes, logits, strict=True):
        assert busy == layer_cycles(config, layer.items, layer.k_folds, layer.n_folds), layer
        if layer.destination == Destination.SCORE:
            assert not written
            assert scored == layer.expected_logits()
            continue
        assert not scored
        assert {row["act1"] for row in written} == {int(layer.destination == Destination.ACT1)}
        words = words_of(written, config.array_size).tolist()
        assert len(words) == layer.items * layer.n_folds
        got = dict(zip((row["address"] for row in written), words, strict=True))
        assert got == layer.expected()


@pytest.mark.parametrize("items", [1, 2, 7, 8, 9, 16])
def test_matches_golden_and_cycles(config, items):
    size = config.array_size
    shapes = [(0, 1, 1), (0, 1, 3), (1, 0, 2), (2, 1, 2), (1, 3, 1), (0, 4, 3)]
    layers = [
        Layer(size, *shape, items, relu=i % 2, bank=i % 2, param_base=i, weight_base=3 * i,
              destination=(Destination.ACT0, Destination.ACT1)[i // 2 % 2])
        for i, shape in enumerate(shapes)
    ]  # fmt: skip
    run_layers(config, layers)


@pytest.mark.parametrize("items", [1, 16])
def test_logits_match_golden(config, items):
    size = config.array_size
    layers = [
        Layer(size, u, w, 1, items, destination=Destination.SCORE) for u, w in [(0, 2), (1, 1)]
    ]
    run_layers(config, layers)


def test_reads_activations_of_the_layer_before():
    config = small(8)
    first = Layer(8, 1, 1, 2, 16, relu=1, destination=Destination.ACT1)
    second = Layer(8, 0, 2, 1, 16, source=Source.ACT1, weight_base=40, param_base=16)
    second.source_stride = first.destination_stride
    hidden = first.expected()
    stride = first.destination_stride
    second.rows = np.array([[hidden[i * stride + n] for n in range(2)] for i in range(16)])
    bench = Bench(config)

    async def drive(ctx):
        await load_layer(ctx, bench.engine.load, first)
        await load_layer(ctx, bench.engine.load, second)
        await fill(ctx, bench, first)
        await execute(ctx, bench.engine, first)
        await execute(ctx, bench.engine, second)

    bench.run(drive)
    words = words_of(bench.log, 8).tolist()[32:]
    assert words == list(second.expected().values())
