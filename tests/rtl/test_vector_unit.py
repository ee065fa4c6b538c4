import numpy as np
import pytest

from rpaccel.golden.vector_unit import activate, score
from rpaccel.rtl.vector_unit import VectorUnit
from rpaccel.spec.isa import PARAM, Target
from tests.streams import recorder, simulate


def random_params(rng, count):
    return {
        "bias": rng.integers(-(1 << 20), 1 << 20, count),
        "multiplier": rng.integers(0, 65536, count),
        "shift": rng.integers(16, 32, count),
    }


async def load_params(ctx, dut, params, base):
    ctx.set(dut.load.target, Target.PARAM)
    for i in range(len(params["bias"])):
        ctx.set(dut.load.valid, 1)
        ctx.set(dut.load.index, base + i)
        ctx.set(dut.load.data, PARAM.pack({name: int(params[name][i]) for name in params}))
        await ctx.tick()
    ctx.set(dut.load.valid, 0)


def run(config, sums, params, *, relu=0, logit=0, base=3):
    """Stream the folds sums[n][B][A] back to back, parameters fetched at the tightest time."""
    dut, log = VectorUnit(config), []
    size, (folds, items, _) = config.array_size, sums.shape
    start = size - 1 + dut.fetch_cycles + 1  # first word, one after the swap
    fetches = [0] + [start + items * n for n in range(folds - 1)]

    async def bench(ctx):
        await load_params(ctx, dut, params, base)
        ctx.set(dut.relu, relu)
        ctx.set(dut.logit, logit)
        for cycle in range(start + folds * items + dut.latency_cycles + 2):
            fetch = [(n, cycle - at) for n, at in enumerate(fetches) if 0 <= cycle - at < size]
            ctx.set(dut.fetch, bool(fetch))
            if fetch:
                ctx.set(dut.address, base + fetch[0][0] * size + fetch[0][1])
            fold, item = divmod(cycle + 1 - start, items)
            ctx.set(dut.swap, int(0 <= fold < folds and item == 0))
            fold, item = divmod(cycle - start, items)
            ctx.set(dut.i_valid, 0 <= fold < folds)
            if 0 <= fold < folds:
                ctx.set(dut.i_sum, [int(x) for x in sums[fold, item]])
            await ctx.tick()

    signals = {"valid": dut.o_valid, "word": dut.o_word, "logit": dut.o_logit}
    simulate(dut, bench, background=[recorder(signals, log, "valid")])
    assert len(log) == folds * items
    assert log[0]["cycle"] == folds * size + start + dut.latency_cycles
    return log


@pytest.mark.parametrize("relu", [0, 1])
def test_matches_golden_with_folds_back_to_back(config, relu):
    rng = np.random.default_rng(relu)
    size, folds = config.array_size, 3
    items = size + VectorUnit.fetch_cycles  # a fetch just fits
    sums = rng.integers(-(1 << 20), 1 << 20, (folds, items, size))
    params = random_params(rng, folds * size)
    log = run(config, sums, params, relu=relu)
    fold = {name: values.reshape(folds, 1, size) for name, values in params.items()}
    expected = activate(sums, **fold, relu=bool(relu)).reshape(-1, size)
    raw = b"".join(row["word"].to_bytes(size, "little") for row in log)
    assert np.frombuffer(raw, dtype=np.int8).reshape(-1, size).tolist() == expected.tolist()


def test_logit_matches_golden(config):
    rng = np.random.default_rng(9)
    size = config.array_size
    sums = rng.integers(-(1 << 31), 1 << 31, (1, 40, size))
    params = random_params(rng, size)
    log = run(config, sums, params, logit=1)
    expected = score(sums[0, :, 0], *(params[name][0] for name in params))
    assert [row["logit"] for row in log] == expected.tolist()
