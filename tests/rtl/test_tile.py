from itertools import product

import numpy as np
import pytest

from rpaccel.golden.split_array import Pass, pass_sums
from rpaccel.rtl.tile import Tile, tile_latency_cycles
from rpaccel.spec.isa import Destination, Target
from tests.rtl.array_bench import lane_traffic, random_burst, random_pass
from tests.rtl.conftest import small
from tests.streams import recorder, simulate, slow_but, slow_rows_but

TOKEN = ("row", "first", "cut", "tap", "first_k", "last_k", "relu", "destination", "address",
         "load", "weight_address", "fetch", "param_address")  # fmt: skip
CONFIGS = {
    f"b{size}{' pairs' if macs == 2 else ''}": small(size, block_size=size, macs_per_dsp=macs)
    for size in (4, 8)
    for macs in (1, 2)
}


@pytest.fixture(params=slow_but(("b4", "b8 pairs"), CONFIGS), name="config")
def config_fixture(request):
    return CONFIGS[request.param]


def tile_load(config, load):
    """A write of the LoadBus as the tile of a grid of one sees it."""
    bank = "weight" if load["target"] is Target.WEIGHT else "param"
    return {bank: 1, "address": load["index"], "data": load["data"]}


def run(config, traffic, above=()):
    """Return ({cycle: result}, {cycle: token at o}, [sums below]) of a tile, alone."""
    dut = Tile(config)
    size, tokens = config.block_size, traffic.tokens[0]
    results, right, below = [], [], []

    async def bench(ctx):
        for cycle in range(traffic.end + 4):
            skewed = [tokens.get(cycle - n, {}).get("data", 99) >> 8 * n & 255 for n in range(size)]
            token = {name: tokens.get(cycle, {}).get(name, 0) for name in TOKEN}
            ctx.set(dut.i, token | {"data": int.from_bytes(bytes(skewed), "little")})
            load = traffic.loads.get(cycle)
            ctx.set(dut.load, tile_load(config, load) if load else {})
            ctx.set(dut.i_sum, above[cycle] if cycle < len(above) else [0] * size)
            await ctx.tick()

    background = [
        recorder({"valid": dut.out.valid, "out": dut.out}, results, "valid"),
        recorder({"row": dut.o.row, "token": dut.o}, right, "row"),
        recorder({"always": ~dut.o.row | 1, "sum": dut.o_sum}, below, "always"),
    ]
    simulate(dut, bench, background=background, limit_cycles=traffic.end + 9)
    return (
        {row["cycle"]: row["out"] for row in results},
        {row["cycle"]: row["token"] for row in right},
        [row["sum"] for row in below],
    )


def check(results, traffic):
    """Every result in its cycle, and no other."""
    expected = {cycle: result for (cycle, _, _), result in traffic.results.items()}
    assert sorted(results) == sorted(expected)
    got = {cycle: {name: results[cycle][name] for name in expected[cycle]} for cycle in expected}
    assert got == expected


def play(config, passes, **options):
    traffic = lane_traffic(config, passes, start=1, latency=tile_latency_cycles(config), **options)
    check(run(config, traffic)[0], traffic)


def test_cycles_are_those_of_the_contract(config):
    size = config.block_size
    assert tile_latency_cycles(config) == 2 * size + 8


def folds(rng, config, items, *counts, **update):
    """Passes with items[n] rows for N fold n, which has counts[n] K folds."""
    return [
        random_pass(rng, config, (1, 1), rows, 1, first_k=k == 0, last_k=k == count - 1, **update)
        for rows, count in zip(items, counts, strict=True)
        for k in range(count)
    ]


@pytest.mark.parametrize("gap", slow_but([0, 5], [0, 1, 5], nightly=[1]))
@pytest.mark.parametrize("items", slow_but([1], [1, 3, 16]))
def test_k_folds_at_tightest_spacing(config, items, gap):
    rng = np.random.default_rng(items)
    play(config, folds(rng, config, [items] * 5, 1, 3, 1, 1, 2), gap=gap)


@pytest.mark.parametrize("seed", slow_but([0], range(3), nightly=[1, 2]))
def test_layers_of_different_rows_follow_each_other(config, seed):
    play(config, random_burst(np.random.default_rng(seed), config, (1, 1), layers=6), base=seed)


def test_one_row_and_a_full_sub_batch(config):
    rng = np.random.default_rng(4)
    most = config.sub_batch_max
    play(config, folds(rng, config, [most, 1, most, 1], 2, 2, 2, 2))


@pytest.mark.parametrize(
    "relu, score", slow_rows_but([(True, False), (False, True)], product([False, True], repeat=2))
)
def test_edges_of_int8(config, relu, score):
    rng = np.random.default_rng(5)
    edges = np.array([-128, -128, 127, 127, 0])
    passes = [
        random_pass(
            rng, config, (1, 1), 6, 1, relu=relu, score=score,
            inputs=rng.choice(edges, (6, 1, config.block_size)),
            weights=rng.choice(edges, (1, 1, config.block_size, config.block_size)),
        )
        for _ in range(3)
    ]  # fmt: skip
    extreme = np.full_like(passes[0].weights, -128)
    passes.append(random_pass(rng, config, (1, 1), 1, 1, relu=relu, score=score, weights=extreme,
                              inputs=extreme[0, 0, :1][None]))  # fmt: skip
    play(config, passes)


def test_all_zero(config):
    zero = np.zeros((1, 1, config.block_size), dtype=int)
    weights = np.zeros((1, 1, config.block_size, config.block_size), dtype=int)
    one = Pass(inputs=zero, weights=weights, cuts=(True,), taps=(True,),
               bias=zero, multiplier=zero, shift=zero)  # fmt: skip
    play(config, [one, one])


def test_parameters_change_with_every_fold_and_stay_while_the_next_are_fetched(config):
    # One row a fold: fetches and results are as close as they can be.
    rng = np.random.default_rng(6)
    play(config, folds(rng, config, [1, 1, 1, 9, 1], 1, 1, 1, 1, 1))


def sums_schedule(config, traffic, one, start):
    """Sums from above for each row of the single pass `one`, and those expected below."""
    size = config.block_size
    above = np.zeros((traffic.end, size), dtype=int)
    rng = np.random.default_rng(7)
    sums = rng.integers(-1000, 1000, (len(one.inputs), size))
    for n, row in enumerate(sums):
        for c in range(size):
            above[start + n + 2 + c, c] = row[c]
    return above.tolist(), sums


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("tap", [False, True])
def test_cut_and_tap(config, cut, tap):
    rng = np.random.default_rng(8)
    size = config.block_size
    one = random_pass(rng, config, (1, 1), 5, 1, taps=(tap,))
    traffic = lane_traffic(config, [one], start=1, latency=tile_latency_cycles(config))
    start = min(cycle for cycle, token in traffic.tokens[0].items() if token.get("row"))
    for token in traffic.tokens[0].values():
        token["cut"] = cut
    above, sums = sums_schedule(config, traffic, one, start)
    results, _, below = run(config, traffic, above)
    products = pass_sums(random_pass(rng, config, (1, 1), 5, 1, inputs=one.inputs,
                                     weights=one.weights))[0][0]  # fmt: skip
    total = products + (0 if cut else sums)
    got = [[below[start + n + size + 2 + c][c] for c in range(size)] for n in range(5)]
    assert got == total.tolist()
    assert len(results) == (5 if tap else 0)
    if cut:
        check(results, traffic)


def test_tokens_reach_the_right_neighbour_with_their_activations(config):
    rng = np.random.default_rng(9)
    size = config.block_size
    one = random_pass(rng, config, (1, 1), size, 1)
    traffic = lane_traffic(config, [one], start=1, latency=tile_latency_cycles(config))
    _, right, _ = run(config, traffic)
    sent = {cycle + size: token for cycle, token in traffic.tokens[0].items() if token.get("row")}
    assert sorted(right) == sorted(sent)
    for cycle, token in sent.items():
        names = [name for name in TOKEN if name in token]
        assert {name: right[cycle][name] for name in names} == {n: token[n] for n in names}
    first = min(sent)
    skewed = [right[first + n]["data"] >> 8 * n & 255 for n in range(size)]
    assert bytes(skewed) == one.inputs[0, 0].astype(np.int8).tobytes()


def test_score_is_the_logit_of_channel_0(config):
    rng = np.random.default_rng(10)
    passes = folds(rng, config, [4], 2, score=True)
    traffic = lane_traffic(config, passes, start=1, latency=tile_latency_cycles(config))
    results, _, _ = run(config, traffic)
    check(results, traffic)
    assert all(row["destination"] == Destination.SCORE for row in results.values())
