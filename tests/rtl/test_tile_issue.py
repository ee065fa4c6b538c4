import numpy as np
import pytest

from rpaccel.perfmodel.layer_engine import ArrayState, LayerShape, dependency_cycles, place_layer
from rpaccel.rtl.tile_issue import TileIssue
from rpaccel.spec.isa import Destination, Op, Source
from tests.rtl.conftest import small
from tests.streams import no_idle_cycles, recorder, simulate, stalls

SOURCES = (Source.USER, Source.DENSE, Source.ACT0, Source.ACT1, Source.CROSS)


def random_layer(rng, config):
    words_a = int(rng.integers(0, 3))
    words_b = int(rng.integers(0 if words_a else 1, 4))
    single = words_a + words_b == 1
    return {
        "op": Op.LAYER,
        "relu": int(rng.integers(2)),
        "destination": int(rng.choice([Destination.ACT0, Destination.ACT1, Destination.BOTTOM])),
        "stack": int(rng.integers(0, config.blocks.bit_length())) if single else 0,
        "source_a": int(rng.choice(SOURCES)),
        "source_b": int(rng.choice(SOURCES)),
        "words_a": words_a,
        "words_b": words_b,
        "stride_a": int(rng.integers(0, 4)),
        "stride_b": int(rng.integers(0, 4)),
        "offset_a": int(rng.integers(0, 4)),
        "offset_b": int(rng.integers(0, 4)),
        "n_steps": int(rng.integers(1, 4)),
        "destination_stride": int(rng.integers(1, 5)),
        "weight_base": config.block_size * int(rng.integers(0, 8)),
        "param_base": int(rng.integers(0, 8)),
    }


class Bench:
    """Offers layers to TileIssue and records every step."""

    def __init__(self, config, layers, idle):
        self.config, self.layers = config, layers
        self.dut = TileIssue(config)
        self.offered, self.taken, self.steps, self.busy = [], [], [], []
        self._run(idle)

    def _run(self, idle):
        dut = self.dut

        async def feed(ctx):
            cycle = 0
            for code, items, bank in self.layers:
                for _ in range(next(idle)):
                    await ctx.tick()
                    cycle += 1
                payload = {
                    "code": full(code), "items": items, "bank": bank,
                    "item_bank": item_bank(items, bank),
                }  # fmt: skip
                ctx.set(dut.job.payload, payload)
                ctx.set(dut.job.valid, 1)
                self.offered.append(cycle)
                ready = False
                while not ready:
                    _, _, ready = await ctx.tick().sample(dut.job.ready)
                    cycle += 1
                self.taken.append(cycle - 1)
                ctx.set(dut.job.valid, 0)
            tail = max(items for _, items, _ in self.layers) + 40 * self.config.array_size
            await ctx.tick().repeat(tail)

        flags = {name: dut.step[name] for name, _ in dut.step.shape()}
        active = {"active": dut.step.row | dut.step.load | dut.step.fetch, **flags}
        background = [
            recorder(active, self.steps, "active"),
            recorder({"busy": dut.busy}, self.busy, "busy"),
        ]
        simulate(dut, feed, background=background, limit_cycles=200_000)

    def rows(self, what="row"):
        return [step for step in self.steps if step[what]]

    def firsts(self):
        """Return the cycles of the first rows of each layer's tiles."""
        cycles = iter([step["cycle"] for step in self.rows("first")])
        return [
            [next(cycles) for _ in range(LayerShape.of(code).tiles)] for code, _, _ in self.layers
        ]


def full(code):
    from rpaccel.spec.isa import INSTRUCTION  # noqa: PLC0415

    return {field.name: int(code.get(field.name, 0)) for field in INSTRUCTION}


def random_layers(config, seed, count):
    rng = np.random.default_rng(seed)
    sizes = [1, 2, config.sub_batch_max - 1, config.sub_batch_max]
    sizes += [int(x) for x in rng.integers(1, config.sub_batch_max + 1, 4)]
    return [
        (random_layer(rng, config), int(rng.choice(sizes)), int(rng.integers(2)))
        for _ in range(count)
    ]


def expected_places(config, bench):
    state, places = ArrayState.idle(), []
    for (code, items, _), offered in zip(bench.layers, bench.offered, strict=True):
        times = place_layer(
            config, LayerShape.of(code), np.array([items]), np.array([offered]), state
        )
        places.append(times)
        state = times.after
    return places


def config_of(size):
    items = 16 if size < 16 else 64
    return small(size, block_size=max(4, size // 4), sub_batch_max=items, param_entries=1024)


# 8 seeds x 4 arrays x 10 layers = 320 points (K, N, B, array, stack), exact.
@pytest.mark.parametrize("size", [4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(8))
def test_cycles_equal_the_model(size, seed):
    config = config_of(size)
    idle = no_idle_cycles() if seed % 2 else stalls("source", seed)[0]
    bench = Bench(config, random_layers(config, 100 * size + seed, 10), idle)
    places = expected_places(config, bench)
    assert bench.taken == [int(p.taken[0]) for p in places]
    ends, until, busy = [], 0, 0
    for (_, items, _), firsts, place in zip(bench.layers, bench.firsts(), places, strict=True):
        assert firsts[-1] == int(place.after.row[0])
        period = max(items, 2 * config.block_size)
        assert firsts == [firsts[-1] - period * n for n in reversed(range(len(firsts)))]
        ends += [first + n for first in firsts for n in range(items)]
        busy += firsts[-1] + items - max(int(place.taken[0]) + 1, until)
        until = firsts[-1] + items
    assert [step["cycle"] for step in bench.rows()] == ends  # no row missing, none twice
    assert len(bench.busy) == busy
    assert bench.dut.dependency_cycles == dependency_cycles(config)


def item_bank(items, bank):
    """Return any quarter or half of DENSE."""
    return (items + 2 * bank) % 4


def expected_rows(config, code, items, bank):
    """Return (source, read address, write address, flags) of every row of a layer."""
    engines = config.engines
    bases = {
        Source.USER: 2 * config.dense_words,
        Source.DENSE: item_bank(items, bank) * config.dense_words // 2,
        Source.ACT0: 0,
        Source.ACT1: 0,
        Source.CROSS: bank * config.engine_cross_words,
    }

    def place(base, word, item, stride, apart):
        if apart:
            return (base + word + item // engines * stride) * engines + item % engines
        return base + word + item * stride

    folds = code["words_a"] + code["words_b"]
    bottom = code["destination"] == Destination.BOTTOM
    write_base = bank * config.engine_bottom_words if bottom else 0
    step_words = 1 if bottom else config.groups_across << code["stack"]
    for n in range(code["n_steps"]):
        for k in range(folds):
            part = "a" if k < code["words_a"] else "b"
            source = Source(code[f"source_{part}"])
            word = code[f"offset_{part}"] + k - (0 if part == "a" else code["words_a"])
            stride = 0 if source is Source.USER else code[f"stride_{part}"]
            for item in range(items):
                yield {
                    "source": int(source),
                    "read_address": place(
                        bases[source], word, item, stride, source is Source.CROSS
                    ),
                    "address": place(
                        write_base, n * step_words, item, code["destination_stride"], bottom
                    ),
                    "first": int(item == 0),
                    "first_k": int(k == 0),
                    "last_k": int(k == folds - 1),
                    "relu": code["relu"],
                    "stack": code["stack"],
                    "destination": code["destination"],
                    "end": int(
                        bottom and item == items - 1 and k == folds - 1 and n == code["n_steps"] - 1
                    ),
                }


@pytest.mark.parametrize("size", [8, 32])
def test_every_row_weight_and_parameter_comes_once_in_order(size):
    config = config_of(size)
    bench = Bench(config, random_layers(config, size, 8), no_idle_cycles())
    rows = [row for code, items, bank in bench.layers
            for row in expected_rows(config, code, items, bank)]  # fmt: skip
    mask = (1 << len(bench.dut.step.read_address)) - 1
    for row in rows:
        row["address"] &= mask
        row["read_address"] &= mask
    got = [{name: step[name] for name in row} for step, row in zip(bench.rows(), rows, strict=True)]
    assert got == rows
    size_b = config.block_size
    weights = [code["weight_base"] + n for code, _, _ in bench.layers
               for n in range(LayerShape.of(code).tiles * size_b)]  # fmt: skip
    assert [step["weight_address"] for step in bench.rows("load")] == weights
    params = [(code["param_base"] + n) * size_b + c for code, _, _ in bench.layers
              for n in range(code["n_steps"]) for c in range(size_b)]  # fmt: skip
    assert [step["param_address"] for step in bench.rows("fetch")] == params


@pytest.mark.parametrize("size", [8, 32])
def test_weights_never_change_under_a_tile(size):
    """Loads of the next tile lie between the present tile's first row and the next one's."""
    config = config_of(size)
    bench = Bench(config, random_layers(config, 7 * size, 10), stalls("source", size)[0])
    size_b = config.block_size
    firsts = [cycle for layer in bench.firsts() for cycle in layer]
    loads = [step["cycle"] for step in bench.rows("load")]
    assert len(loads) == size_b * len(firsts)
    for number, first in enumerate(firsts):
        own = loads[number * size_b : (number + 1) * size_b]
        assert own[-1] + 3 <= first  # the last weights are in place
        if number:
            assert own[0] >= firsts[number - 1] + size_b - 2  # the swap has passed the block
