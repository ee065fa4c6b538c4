"""bucket_filter and ordered_top_n against plain sorting."""

import numpy as np
import pytest

from rpaccel.golden.bucket_filter import bin_of, bucket_filter, filter_sub_batches
from rpaccel.golden.ordered_top_n import ordered_top_n

EDGES = np.arange(-700, 800, 100)


def plain_filter(ids, logits, edges, threshold, k):
    kept = [(i, x) for i, x in zip(ids, logits, strict=True) if x >= threshold]
    bins = [[] for _ in range(16)]
    for i, x in kept:
        bins[sum(edge <= x for edge in edges)].insert(0, i)
    out = []
    for content in reversed(bins):
        out += content
        if len(out) >= k:
            return out, False
    return out, len(out) < k


def test_bins_by_hand():
    logits = [-32768, -701, -700, -699, -601, -600, 0, 699, 700, 32767]
    assert bin_of(np.array(logits), EDGES).tolist() == [0, 0, 1, 1, 1, 2, 8, 14, 15, 15]


def test_newest_first_inside_a_bin():
    result = bucket_filter(
        np.array([10, 11, 12, 13, 14]), np.array([5, 150, 7, 160, -500]), EDGES, -32768, 3
    )
    assert result.ids.tolist() == [13, 11, 12, 10]
    assert result.logits.tolist() == [160, 150, 7, 5]
    assert result.cut_bin == 8
    assert not result.underfill
    assert int(result.bins.sum()) == 5


@pytest.mark.parametrize("seed", range(30))
def test_matches_plain_sorting(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    ids, logits = rng.permutation(1000)[:n], rng.integers(-1000, 1000, size=n)
    edges = np.sort(rng.integers(-1000, 1000, size=15))
    threshold, k = int(rng.integers(-1000, 500)), int(rng.integers(1, n + 1))
    result = bucket_filter(ids, logits, edges, threshold, k)
    expected, underfill = plain_filter(ids.tolist(), logits.tolist(), edges, threshold, k)
    assert result.ids.tolist() == expected
    assert result.underfill == underfill
    assert np.array_equal(ids[result.positions], result.ids)
    if not underfill:
        best = ids[np.argsort(-logits, kind="stable")[:k]]
        missed = set(best.tolist()) - set(expected)
        lowest = min(result.logits.tolist())
        assert all(logits[ids.tolist().index(i)] <= lowest for i in missed)


def test_everything_below_threshold():
    result = bucket_filter(np.arange(4), np.array([-9, -8, -7, -6]), EDGES, 0, 2)
    assert result.ids.size == 0
    assert result.underfill


def test_threshold_itself_is_kept():
    result = bucket_filter(np.arange(3), np.array([-1, 0, 1]), EDGES, 0, 2)
    assert sorted(result.ids.tolist()) == [1, 2]
    assert not result.underfill


def test_equal_edges_leave_empty_bins():
    result = bucket_filter(np.arange(3), np.array([4, 5, 6]), np.full(15, 5), -32768, 1)
    assert result.ids.tolist() == [2, 1]
    assert result.cut_bin == 15


def random_query(seed, most=200):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, most))
    spread = int(rng.choice([2, 50, 1000]))
    ids, logits = rng.integers(0, 1 << 32, n), rng.integers(-spread, spread, size=n)
    edges = np.sort(rng.integers(-spread, spread, size=int(rng.integers(3, 64))))
    return rng, ids, logits, edges, int(rng.integers(1, n + 1))


def pairs(result):
    return sorted(zip((-result.logits).tolist(), result.ids.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_exact_is_the_sorted_top_k(seed):
    _, ids, logits, edges, k = random_query(seed)
    result = bucket_filter(ids, logits, edges, -32768, k, exact=True)
    assert pairs(result) == sorted(zip((-logits).tolist(), ids.tolist(), strict=True))[:k]
    assert len(result.ids) == k and result.overshoot == 0 and not result.underfill
    at_least = bucket_filter(ids, logits, edges, -32768, k)
    assert at_least.overshoot == len(at_least.ids) - k
    whole = at_least.logits >= edges[at_least.cut_bin] if at_least.cut_bin < len(edges) else []
    above = int(np.sum(whole))  # the bins above the cut leave as without exact
    assert np.array_equal(result.ids[:above], at_least.ids[:above])


def test_exact_passes_by_hand():
    # Keys that differ in the two lowest bits of the id only: the first pass, at the top digit,
    # finds nothing; the second, at the digit in which they differ, takes the lowest ids.
    result = bucket_filter(np.array([8, 11, 9, 10]), np.full(4, 7), EDGES, 0, 3, exact=True)
    assert result.ids.tolist() == [8, 9, 10]
    assert result.passes == ((4, 2), (4, 3))  # logit 7 is group 2 of 3..0


@pytest.mark.parametrize("seed", range(40))
def test_adaptive_stores_less_and_chooses_the_same(seed):
    _, ids, logits, edges, k = random_query(seed)
    plain = bucket_filter(ids, logits, edges, -32768, k)
    adaptive = bucket_filter(ids, logits, edges, 32767, k, adaptive=True)
    assert adaptive.ids.tolist() == plain.ids.tolist()
    assert not adaptive.underfill
    assert adaptive.bins.sum() + adaptive.dropped == len(ids)
    assert np.array_equal(adaptive.bins[plain.cut_bin :], plain.bins[plain.cut_bin :])


def test_adaptive_floor_by_hand():
    edges = np.array([10, 20, 30])
    logits = np.array([35, 36, 5, 5, 15, 15, 25, 25, 31])
    # The floor climbs with each score after the second: 5 is stored once, 15 not, 25 not.
    result = bucket_filter(np.arange(9), logits, edges, 0, 2, adaptive=True)
    assert result.bins.tolist() == [1, 0, 0, 3]
    assert result.dropped == 5
    assert result.ids.tolist() == [8, 1, 0]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_certain_releases_are_the_global_choice(seed, exact):
    rng, ids, logits, edges, k = random_query(seed)
    adaptive, threshold = bool(rng.integers(2)), int(rng.choice([-32768, 0]))
    ends = np.unique([len(ids), *rng.integers(1, len(ids) + 1, 5)])
    batches = list(zip(np.split(ids, ends[:-1]), np.split(logits, ends[:-1]), strict=True))
    mode = {"exact": exact, "adaptive": adaptive}
    whole = bucket_filter(ids, logits, edges, threshold, k, **mode)
    certain = filter_sub_batches(batches, edges, threshold, k, len(ids) - ends, **mode)
    together = np.concatenate([result.positions for result in certain])
    keys = sorted(zip(logits[together].tolist(), ids[together].tolist(), strict=True))
    assert keys == sorted(zip(whole.logits.tolist(), whole.ids.tolist(), strict=True))
    assert len(set(together.tolist())) == len(together)
    assert certain[-1].underfill == whole.underfill
    if exact:
        return
    for held in (np.zeros(len(ends), int), k * (len(ids) - ends) // len(ids)):
        early = filter_sub_batches(batches, edges, threshold, k, held, **mode)
        positions = np.concatenate([result.positions for result in early])
        assert set(whole.positions.tolist()) <= set(positions.tolist())
        assert len(set(positions.tolist())) == len(positions)


def test_release_by_hand():
    edges = np.array([0, 10])
    batches = [(np.array([1, 2, 3]), np.array([11, 5, -1])), (np.array([4, 5]), np.array([12, 6]))]
    first, last = filter_sub_batches(batches, edges, -32768, 3, [2, 0])
    assert first.ids.tolist() == [1]  # the best one of five is among the best three
    assert last.ids.tolist() == [4, 5, 2]  # the top bin's new one, then the next bin
    assert (first.overshoot, last.overshoot) == (0, 1)
    assert last.bins.tolist() == [1, 2, 2]


def test_exact_with_uncertain_releases_is_rejected():
    batches = [(np.array([1, 2]), np.array([5, 5])), (np.array([3, 4]), np.array([5, 5]))]
    with pytest.raises(ValueError, match=r"^held must be at least the items to come if exact$"):
        filter_sub_batches(batches, EDGES, -32768, 3, [1, 0], exact=True)


def test_limit_keeps_the_highest_bins():
    logits = np.array([150, -650, 151, -651, 152])
    result = bucket_filter(np.arange(5), logits, EDGES, -32768, 4, limit=3)
    assert result.ids.tolist() == [4, 2, 0]
    assert result.overfill and result.overshoot == 1 and not result.underfill
    enough = bucket_filter(np.arange(5), logits, EDGES, -32768, 4, limit=5)
    assert not enough.overfill and len(enough.ids) == 5


def test_order_breaks_ties_by_id():
    ids, logits = np.array([7, 3, 9, 1, 5]), np.array([10, 20, 20, 10, -5])
    assert ids[ordered_top_n(ids, logits, 4)].tolist() == [3, 9, 1, 7]
    assert len(ordered_top_n(ids, logits, 64)) == 5
    assert len(ordered_top_n(ids[:0], logits[:0], 3)) == 0


@pytest.mark.parametrize("seed", range(10))
def test_top_n_matches_sorted(seed):
    rng = np.random.default_rng(seed)
    ids, logits = rng.permutation(500)[:120], rng.integers(-32768, -32760, size=120)
    expected = sorted(zip(ids.tolist(), logits.tolist(), strict=True), key=lambda p: (-p[1], p[0]))
    got = ordered_top_n(ids, logits, 25)
    assert list(zip(ids[got].tolist(), logits[got].tolist(), strict=True)) == expected[:25]
