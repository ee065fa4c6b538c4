import numpy as np
import pytest

from rpaccel.golden.vector_unit import activate, score
from rpaccel.rtl.vector_unit import VectorUnit
from rpaccel.spec.isa import PARAM
from tests.streams import simulate


def random_params(rng, count):
    return {
        "bias": rng.integers(-(1 << 20), 1 << 20, count),
        "multiplier": rng.integers(0, 65536, count),
        "shift": rng.integers(16, 32, count),
    }


async def load_params(ctx, dut, params, base):
    for i in range(len(params["bias"])):
        entry = PARAM.pack({name: int(params[name][i]) for name in params})
        ctx.set(dut.load, {"param": 1, "address": base + i, "data": entry})
        await ctx.tick()
    ctx.set(dut.load, {})


def run(config, sums, params, *, relu, logit, base=3):
    """Return [(data, logit)] of the folds sums[n][rows][b] back to back, fetched just in time.

    relu, logit : by fold and row.
    """
    dut, got = VectorUnit(config), []
    size, (folds, items, _) = config.block_size, sums.shape
    start = size - 1 + dut.fetch_cycles + 1  # first row, one after the swap
    fetches = [0] + [start + items * n for n in range(folds - 1)]

    async def bench(ctx):
        await load_params(ctx, dut, params, base)
        for cycle in range(start + folds * items + dut.latency_cycles):
            fetch = [(n, cycle - at) for n, at in enumerate(fetches) if 0 <= cycle - at < size]
            ctx.set(dut.fetch, bool(fetch))
            if fetch:
                ctx.set(dut.address, base + fetch[0][0] * size + fetch[0][1])
            fold, item = divmod(cycle + 1 - start, items)
            ctx.set(dut.swap, int(0 <= fold < folds and item == 0))
            fold, item = divmod(cycle - start, items)
            if 0 <= fold < folds:
                ctx.set(dut.i_sum, [int(x) for x in sums[fold, item]])
                ctx.set(dut.relu, int(relu[fold, item]))
                ctx.set(dut.logit, int(logit[fold, item]))
            if cycle >= start + dut.latency_cycles:
                got.append((ctx.get(dut.o_data), ctx.get(dut.o_logit)))
            await ctx.tick()

    simulate(dut, bench)
    assert len(got) == folds * items
    return got


def int8(words, size):
    raw = b"".join(word.to_bytes(size, "little") for word in words)
    return np.frombuffer(raw, dtype=np.int8).reshape(-1, size)


def test_matches_golden_with_folds_back_to_back(config):
    rng = np.random.default_rng(0)
    size, folds = config.block_size, 3
    items = size + VectorUnit.fetch_cycles  # a fetch just fits
    sums = rng.integers(-(1 << 20), 1 << 20, (folds, items, size))
    params = random_params(rng, folds * size)
    relu = rng.integers(0, 2, (folds, items))
    got = run(config, sums, params, relu=relu, logit=0 * relu)
    fold = {name: values.reshape(folds, 1, size) for name, values in params.items()}
    expected = [activate(sums, **fold, relu=bool(flag)).reshape(-1, size) for flag in (0, 1)]
    expected = np.where(relu.reshape(-1, 1), expected[1], expected[0])
    assert int8([data for data, _ in got], size).tolist() == expected.tolist()


@pytest.mark.parametrize("relu", [0, 1])
def test_logit_matches_golden(config, relu):
    rng = np.random.default_rng(9)
    size = config.block_size
    sums = rng.integers(-(1 << 31), 1 << 31, (1, 40, size))
    params = random_params(rng, size)
    logit = rng.integers(0, 2, (1, 40))
    got = run(config, sums, params, relu=0 * logit + relu, logit=logit)
    channel = [params[name][0] for name in params]
    narrow = activate(sums[0, :, 0], *channel, relu=bool(relu))
    expected = np.where(logit[0], score(sums[0, :, 0], *channel), narrow)
    assert [value for _, value in got] == expected.tolist()
