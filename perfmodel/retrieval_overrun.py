"""Scan overrun of the score filter by lanes and by order of scores.

Usage: python -m rpaccel.perfmodel.retrieval_overrun --rows 1048576 --k 1024
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt

from rpaccel.perfmodel.retrieval import ScanReport, mean_passes, scan
from rpaccel.spec.retrieval import RetrievalConfig
from rpaccel.spec.retrieval_buckets import place_buckets, sample_places

__all__ = ["ORDERS", "main", "measure", "scores_of", "upper_tails"]

ORDERS = ("random", "ascending", "linear", "descending", "drift", "equal")
SIGMA = 1 << 18  # of a score; 26 bits hold +-128 sigma


def scores_of(order: str, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Return int64[rows] scores in `order`: normal ones, sorted or not, or a line."""
    normal = np.rint(np.random.default_rng(seed).normal(0, SIGMA, rows)).astype(np.int64)
    if order == "ascending":
        return np.sort(normal)
    if order == "descending":
        return np.sort(normal)[::-1].copy()
    if order == "linear":
        return np.arange(rows, dtype=np.int64)
    if order == "drift":  # the mean rises by 3 sigma over the scan
        return normal + np.arange(rows) * 3 * SIGMA // rows
    if order == "equal":
        return np.zeros(rows, dtype=np.int64)
    if order != "random":
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    return normal


def upper_tails(deviations: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the share of normal scores at or above so many deviations, float64[n]."""
    return np.array([0.5 * erfc(at / sqrt(2)) for at in np.asarray(deviations).ravel()])


def measure(
    config: RetrievalConfig, order: str, rows: int, k: int, seed: int = 1, *, trials: bool = True
) -> ScanReport:
    """Return the cycles of one scan, with buckets as `host.corpus` places them."""
    scores = scores_of(order, rows, seed)
    base, shift = place_buckets(scores[sample_places(rows)])
    return scan(config, scores, k, base, shift, trials=trials)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of lanes and orders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1 << 20, help="of the corpus")
    parser.add_argument("--k", type=int, default=1024)
    parser.add_argument("--lanes", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--fifo-depth", type=int, default=512, help="entries per lane")
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-trials", action="store_true", help="histogram and selector only")
    args = parser.parse_args(argv)
    ideal = mean_passes(args.rows, args.k)
    print(f"{args.rows} rows, K = {args.k}, {args.fifo_depth} entries; ideal passes {ideal:.0f}")
    print("lanes order        sets [cycles]  overrun [%]  stalls [cycles]  passes  peak [entries]")
    for lanes in args.lanes:
        config = RetrievalConfig(
            lanes=lanes, k_max=args.k, score_bits=32, fifo_depth=args.fifo_depth
        )
        for order in args.orders:
            report = measure(config, order, args.rows, args.k, args.seed, trials=not args.no_trials)
            print(
                f"{lanes:5} {order:10} {report.sets:15} {100 * report.overrun:12.3f}"
                f" {report.stalled_cycles:16} {report.passes:7} {report.peak_entries:15}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
