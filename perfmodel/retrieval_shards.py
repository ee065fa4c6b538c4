"""Several devices: a corpus that is copied, or cut in shards whose answers the host merges.

Rows are in random shards. A shard that gives only its k' best may hide winners: the certificate
says when. Ref: the queue-length argument of Chameleon (VLDB 2025), made exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Scaled", "kept_rows", "replicate", "second_round", "shard", "simulate_second_rounds"]


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Devices together: latency of a query that waits for no other [s], and rate with full scans.

    merged_rows : that the host merges per query, on the mean.
    """

    devices: int
    latency_s: float
    queries_per_s: float
    merged_rows: float


def replicate(devices: int, latency_s: float, queries_per_s: float) -> Scaled:
    """Return devices that each hold the corpus: rates add up, nothing is merged."""
    return Scaled(
        devices=devices,
        latency_s=latency_s,
        queries_per_s=devices * queries_per_s,
        merged_rows=0,
    )


def shard(
    devices: int,
    scan_s: float,
    constant_s: float,
    queries: int,
    kept: int,
    k: int,
    merge_s_per_row: float,
    again: float = 0.0,
) -> Scaled:
    """Return devices that each hold a shard and give their `kept` best.

    scan_s, constant_s : of one device with the whole corpus. again : probability of a second round,
    which scans once more and merges k rows of each. merge_s_per_row : host time; the host merges
    one query while the devices scan for the next, and is the limit where it is slower.
    """
    scan = scan_s / devices
    first, second = (merge_s_per_row * devices * rows for rows in (kept, k))
    rounds = 1 + again
    busy = max(rounds * scan / queries, first + again * second)
    return Scaled(
        devices=devices,
        latency_s=rounds * (scan + constant_s) + first + again * second,
        queries_per_s=1 / busy,
        merged_rows=devices * (kept + again * k),
    )


def second_round(rows: int, k: int, shards: int, kept: int) -> float:
    """Return the probability that `kept` rows per shard do not prove the merged answer exact.

    The certificate: no shard's last row, if it gave `kept`, is better than the merged k-th. It
    fails exactly if some shard holds `kept` or more of the best k - 1 rows. These fall into equal
    shards without replacement: the chance that all shards have fewer is a convolution of binomial
    laws cut at `kept`, over that of all of them together (a multivariate hypergeometric law). Exact
    up to rounding, about 1e-12.
    """
    if rows % shards or not 1 <= k <= rows:
        raise ValueError(
            f"rows must be a multiple of {shards} shards and at least k, not {rows} and {k}"
        )
    if kept < 1:
        raise ValueError(f"kept must be at least 1, not {kept}")
    winners = k - 1
    if kept > winners:
        return 0.0
    share = winners / rows
    law = _binomial(rows // shards, share, winners)
    law[kept:] = 0
    together, power, left = np.ones(1), law, shards
    while left:
        if left & 1:
            together = np.convolve(together, power)[: winners + 1]
        power, left = np.convolve(power, power)[: winners + 1], left >> 1
    if len(together) <= winners:
        return 1.0
    certain = together[winners] / _binomial(rows, share, winners)[winners]
    return float(min(1.0, max(0.0, 1 - certain)))


def _binomial(trials: int, share: float, most: int) -> npt.NDArray[np.float64]:
    """Return the probabilities of 0..most successes, float64[most + 1]."""
    counts = np.arange(most + 1)
    with np.errstate(divide="ignore"):
        steps = np.log(np.maximum(trials - counts[:-1], 0)) - np.log(counts[1:])
    ratio = np.log(share) - np.log1p(-share)
    return np.exp(trials * np.log1p(-share) + np.concatenate(([0.0], np.cumsum(steps + ratio))))


def kept_rows(rows: int, k: int, shards: int, again: float) -> int:
    """Return the fewest rows per shard with a second round in at most `again` of the queries."""
    low, high = 1, k
    while low < high:
        middle = (low + high) // 2
        if second_round(rows, k, shards, middle) <= again:
            high = middle
        else:
            low = middle + 1
    return low


def simulate_second_rounds(
    rows: int, k: int, shards: int, kept: int, trials: int, seed: int = 1
) -> float:
    """Return the share of `trials` random cuts in which the certificate fails, by its own words."""
    rng = np.random.default_rng(seed)
    failed = 0
    each = np.full(shards, rows // shards)
    for _ in range(trials):
        # ranks of a shard's rows among the k best: who holds rank r, in random order
        counts = rng.multivariate_hypergeometric(each, k)
        holders = rng.permutation(np.repeat(np.arange(shards), counts))
        order = np.argsort(holders, kind="stable")
        place = np.empty(k, dtype=np.int64)
        place[order] = np.arange(k) - np.repeat(np.cumsum(counts) - counts, counts)
        given = place < kept
        # rank of the merged k-th: behind all ranks below k if one of the winners is missing
        merged = k - 1 if given.all() else k
        last = np.flatnonzero(place == kept - 1)  # the last row of shards that gave `kept` winners
        failed += bool((last < merged).any())
    return failed / trials
