"""Orders of scores that a running top-K filter must survive: easy, hard and hostile ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def score_orders(count: int, lanes: int, k: int, bits: int, seed: int) -> dict[str, Ints]:
    """Return {name: int64[count]} scores of `bits` bits, by the order in which they are scanned.

    Score i is met in lane i mod lanes. Same arguments, same scores.
    """
    rng = np.random.default_rng(seed)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    spread = rng.integers(low, high, count, endpoint=True)
    lane = np.arange(count) % lanes
    best = np.sort(spread)
    one_lane = np.full(count, low)
    one_lane[lane == lanes - 1] = rng.integers(0, high, int(np.sum(lane == lanes - 1)))
    per_lane = rng.integers(low, 0, count)
    per_lane[count // 2 : count // 2 + lanes] = high - np.arange(min(lanes, count - count // 2))
    ends = rng.choice([low, low + 1, -1, 0, high - 1, high], count)
    return {
        "random": spread,
        "normal": np.clip(np.rint(rng.normal(0, high / 6, count)), low, high).astype(np.int64),
        "ascending": best,
        "descending": best[::-1].copy(),
        "equal": np.full(count, 7),
        "minimum": np.full(count, low),
        "maximum": np.full(count, high),
        "extremes": ends,
        "ties": rng.integers(-2, 3, count),
        "one_lane": one_lane,
        "one_per_lane": per_lane,
        "steps": np.arange(count) // max(1, k) - 3,
        "sawtooth": np.arange(count) % (2 * max(1, k)),
    }
