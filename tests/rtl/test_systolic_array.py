import numpy as np
import pytest

from rpaccel.golden.systolic_array import tile_sums
from rpaccel.rtl.systolic_array import SystolicArray
from tests.streams import simulate


def pack(row):
    return [int(value) for value in row]


async def idle_row(ctx, dut):
    ctx.set(dut.i_swap, 0)
    ctx.set(dut.i_load, 0)
    ctx.set(dut.i_row, [-1] * dut.size)
    ctx.set(dut.i_weight, [99] * dut.size)


def run_tiles(size, block, tiles, rows, period):
    """Return {cycle: sums}: tile t is loaded from t*period, its rows enter `size` cycles later."""
    dut = SystolicArray(size, block)
    log = {}
    cycles = len(tiles) * period + size + dut.latency_cycles + 2

    async def bench(ctx):
        for cycle in range(cycles):
            await idle_row(ctx, dut)
            tile, phase = divmod(cycle, period)
            if tile < len(tiles) and phase < size:
                ctx.set(dut.i_load, 1)
                ctx.set(dut.i_weight, pack(tiles[tile][size - 1 - phase]))
            tile, phase = divmod(cycle - size, period)
            if 0 <= tile < len(tiles) and phase < len(rows[tile]):
                ctx.set(dut.i_swap, int(phase == 0))
                ctx.set(dut.i_row, pack(rows[tile][phase]))
            log[cycle] = [ctx.get(dut.o_sum[c]) for c in range(size)]
            await ctx.tick()

    simulate(dut, bench, limit_cycles=cycles + 1)
    return dut, log


@pytest.mark.parametrize(("size", "block"), [(4, 2), (4, 4), (8, 4)])
@pytest.mark.parametrize("extra_rows", ["one", "few", "full", "more"])
def test_matches_golden_at_tightest_spacing(size, block, extra_rows):
    rng = np.random.default_rng(size * 10 + block)
    count = {"one": 1, "few": size - 1, "full": 2 * size, "more": 2 * size + 3}[extra_rows]
    period = max(count, 2 * size)
    tiles = [rng.integers(-128, 128, (size, size)) for _ in range(4)]
    rows = [rng.integers(-128, 128, (count, size)) for _ in range(4)]
    dut, log = run_tiles(size, block, tiles, rows, period)
    for t, (tile, block_rows) in enumerate(zip(tiles, rows, strict=True)):
        expected = tile_sums(block_rows, tile)
        first = t * period + size + dut.latency_cycles
        got = [log[first + i] for i in range(count)]
        assert got == expected.tolist(), f"tile {t}"


def test_latency_is_the_property():
    size = 4
    tile = np.ones((size, size), dtype=int)
    dut, log = run_tiles(size, 2, [tile], [np.full((1, size), 7)], 3 * size)
    # Idle rows are -1: the sums are 0 (no weights), then 4 * 7 once, then 4 * -1.
    assert [cycle for cycle, sums in log.items() if sums == [28] * size] == [
        size + dut.latency_cycles
    ]


def test_edges_of_int8():
    size = 4
    tile = np.array([[127, -128, 0, 1]] * size)
    rows = np.array([[127] * size, [-128] * size, [0] * size])
    dut, log = run_tiles(size, 4, [tile], [rows], 2 * size)
    got = [log[size + dut.latency_cycles + i] for i in range(3)]
    assert got == tile_sums(rows, tile).tolist()
