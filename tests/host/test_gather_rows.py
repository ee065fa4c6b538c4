"""Rows that hit, for the 16 ports of `paper`'s whole array: what the banks give per cycle."""

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.row_simulator import build_rows, rows_of, run_rows
from rpaccel.spec.accelerator import load_accelerator

READERS, ROWS, WARM, MEMORY_BYTES = 16, 4000, 2048, 1 << 19


def machine(banks):
    """The banks and ports of `paper` with beats of 8 bytes: conflicts do not depend on them."""
    return load_accelerator("paper").model_copy(
        update={
            "name": f"conflicts{banks}", "row_banks": banks, "row_cache_sets": 8192 // banks,
            "row_cache_ways": 2, "axi_data_bits": 64, "max_dim": 8, "stripe_bytes": 256,
            "axi_address_bits": 32, "row_reads": 16,
        }
    )  # fmt: skip


def cycles(program, count):
    """Every reader fetches `count` rows at random out of WARM rows that have all been read."""
    rows = np.random.default_rng(3).permutation(MEMORY_BYTES // 8)[:WARM] * 8
    traces = []
    for reader in range(READERS):
        chosen = np.random.default_rng((reader, count)).choice(rows, count)
        warm = rows[reader::READERS]
        traces.append(rows_of(np.concatenate([warm, warm, chosen]), 1, 0, 8))
    return run_rows(program, traces, MemoryTiming(), memory_bytes=MEMORY_BYTES).cycles


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("banks, least, most", [(16, 8, 10), (32, 10, 16)])
def test_random_hits(banks, least, most):
    program = build_rows(machine(banks), READERS, checks=False)
    rate = READERS * ROWS / (cycles(program, 2 * ROWS) - cycles(program, ROWS))
    print(f"{banks} banks: {rate:.2f} rows per cycle")
    assert least <= rate < most
