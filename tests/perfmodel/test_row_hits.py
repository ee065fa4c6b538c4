import numpy as np
import pytest

from rpaccel.perfmodel.row_hits import bank_skew, cache_bytes, machine_hits, split_hits, static_hits
from rpaccel.spec.accelerator import load_accelerator

PAPER = load_accelerator("paper")
STAGES = [("small", 4, 256), ("large", 32, 64)]


def test_the_published_sizes():
    assert cache_bytes(PAPER) == (12 << 20, 4 << 20)


def test_larger_caches_hit_more():
    rates = [static_hits(STAGES, size << 10) for size in (1, 16, 256)]
    for name, _, _ in STAGES:
        hits = [rate[name] for rate in rates]
        assert hits == sorted(hits)
        assert 0 < hits[0] < hits[-1] < 1


def test_packed_beats_hit_more_than_vectors_in_lines():
    static = static_hits(STAGES, sum(cache_bytes(PAPER)))
    ours = machine_hits(PAPER, STAGES)
    assert all(ours[name] > static[name] for name in static)
    assert ours["small"] > ours["large"]  # 16 rows in a beat, not 2


def test_without_caches_only_the_look_ahead_is_left():
    small = PAPER.model_copy(update={"static_cache_lines": 0, "row_cache_sets": 1})
    ours = machine_hits(small, STAGES)
    assert all(ours[name] < rate for name, rate in machine_hits(PAPER, STAGES).items())


@pytest.mark.parametrize("kib", [64, 512, 4096])
def test_one_full_cache_stands_for_sets_of_four_ways(kib):
    """Hit rates of sweeps: within half a point of first in, first out in four ways."""
    beats = (kib << 10) // 64
    stages = [("small", 4, 4096), ("large", 32, 512)]
    full, sets = (split_hits(stages, 64, [beats // 2] * 2, beats, ways=w) for w in (None, 4))
    assert full == pytest.approx(sets, abs=0.005)
    assert full != sets


def test_same_seed_same_rates():
    assert machine_hits(PAPER, STAGES, seed=3) == machine_hits(PAPER, STAGES, seed=3)
    assert machine_hits(PAPER, STAGES, seed=3) != pytest.approx(machine_hits(PAPER, STAGES, seed=4))


def test_the_skew_of_banks_by_hand():
    """Two banks, stripes of 4 KiB: a stripe's number, its bits combined, is its bank."""
    config = load_accelerator("tiny").model_copy(update={"row_banks": 2, "stripe_bytes": 4096})
    stripe = np.array([0, 1, 2, 3])  # banks 0, 1, 1, 0
    assert bank_skew(config, 4096 * stripe) == 1.0
    assert bank_skew(config, 4096 * stripe[:3]) == pytest.approx(4 / 3)
    assert bank_skew(config, np.arange(0, 4096, 8)) == 2.0
    assert bank_skew(config, np.arange(0)) == 1.0
    alone = config.model_copy(update={"row_banks": 1})
    assert bank_skew(alone, 4096 * stripe) == 1.0
