import pytest
from amaranth.hdl import unsigned

from rpaccel.rtl import (
    retrieval_arbiter,
    retrieval_fifo,
    retrieval_histogram,
    retrieval_keeper,
    retrieval_lane,
    retrieval_lane_histogram,
    retrieval_recent,
    retrieval_threshold,
)
from rpaccel.spec.retrieval import RetrievalConfig
from tests.formal.mutants import mutant
from tests.formal.retrieval_kept_properties import KeeperProperties, LaneProperties
from tests.formal.retrieval_properties import (
    ArbiterProperties,
    BoundProperties,
    FifoProperties,
    ThresholdProperties,
)
from tests.formal.sby import run
from tests.streams import slow_but

FIFO_DEPTH = 8
SMALL = RetrievalConfig(lanes=2, k_max=2, score_bits=8, id_bits=2, generation_bits=2)


def fifo(module=retrieval_fifo):
    return FifoProperties(module.HeadFifo(unsigned(2), FIFO_DEPTH))


def arbiter(module=retrieval_arbiter, count=5):
    return ArbiterProperties(module.Arbiter(unsigned(4), count), 3)


def recent(module=retrieval_recent):
    return BoundProperties(module.RecentBound(SMALL))


def histogram(module=None, *bug):
    """Four buckets in place of 256: the proof's memories stay small."""
    few = "from rpaccel.spec.retrieval import BUCKETS, RetrievalConfig"
    small = "from rpaccel.spec.retrieval import RetrievalConfig\nBUCKETS = 4"
    changed = mutant(retrieval_histogram, few, small, *bug)
    changed.LaneHistogram = mutant(retrieval_lane_histogram, few, small).LaneHistogram
    return BoundProperties(changed.Histogram(SMALL))


def lane(module=None, *bug):
    """A queue of eight keys in place of 16 or more."""
    deep, shallow = "config.fifo_depth)", f"{FIFO_DEPTH})"
    return LaneProperties(mutant(retrieval_lane, deep, shallow, *bug).FilterLane(SMALL))


class ShortRuns(RetrievalConfig):
    """Runs of two keys in place of 16 or more."""

    def run_levels(self, k):
        return 1


def keeper(module=retrieval_keeper):
    return KeeperProperties(module.Keeper(ShortRuns(lanes=2, k_max=2, score_bits=8, id_bits=1)))


def threshold(module=retrieval_threshold):
    return ThresholdProperties(module.Threshold(SMALL))


@pytest.mark.parametrize(
    ("make", "depth"),
    [(fifo, 14), (arbiter, 9), pytest.param(histogram, 21, marks=pytest.mark.slow), (recent, 12),
     (threshold, 8), (lane, 10), pytest.param(lane, 12, marks=pytest.mark.slow),
     pytest.param(keeper, 10, marks=pytest.mark.slow)],
)  # fmt: skip
def test_proved(make, depth):
    found = run(make(), depth)
    assert found.passed, found


def test_the_threshold_for_ever():
    found = run(threshold(), 6, "prove")
    assert found.passed, found


@pytest.mark.parametrize(
    ("make", "depth"),
    [
        (fifo, 14),
        (arbiter, 9),
        (histogram, 21),
        (recent, 12),
        (threshold, 8),
        (lane, 12),
        (keeper, 10),
    ],
)
def test_what_is_proved_is_reachable(make, depth):
    found = run(make(), depth, "cover")
    assert found.passed, found


BUGS = {
    "a pop moves nothing": (
        fifo, retrieval_fifo, "next_first.eq(first + self.pop)", "next_first.eq(first)"),
    "the head of the cycle before": (
        fifo, retrieval_fifo, "read.addr.eq(next_first)", "read.addr.eq(first)"),
    "a node that is full takes a token": (
        arbiter, retrieval_arbiter, "space = ~node.valid | node.ready", "space = ~node.valid | 1"),
    "two sources at once": (
        arbiter, retrieval_arbiter, "source.ready.eq(space & (choice == number))",
        "source.ready.eq(space & (number <= choice))"),
    "a source first, always": (
        arbiter, retrieval_arbiter, "turn.eq(choice + 1)", "turn.eq(0)"),
    "a trial counts itself too early": (
        recent, retrieval_recent, "enough.eq(total >= self.k)", "enough.eq(total + 2 >= self.k)"),
    "scores of the trial before": (
        recent, retrieval_recent, "total.eq(0), rows.eq(0)", "rows.eq(0)"),
    "a bucket that holds too few": (
        histogram, retrieval_histogram, "so_far >= self.k", "so_far + 1 >= self.k"),
    "the edge above": (
        histogram, retrieval_histogram, "(edge << self.shift)", "((edge + 1) << self.shift)"),
    "ties are dropped": (
        threshold, retrieval_threshold, "below.eq(bound.score - 1)", "below.eq(bound.score)"),
    "the threshold of the query before": (
        threshold, retrieval_threshold,
        "[self.threshold.valid.eq(0), self.floor.valid.eq(0), turn.eq(0)]", "[turn.eq(0)]"),
    "a head is dropped without a threshold": (
        lane, retrieval_lane, "stale.eq(self.threshold.valid & (queue.head",
        "stale.eq((queue.head"),
    "a head leaves for an output that waits": (
        lane, retrieval_lane, "queue.valid & (stale | space)", "queue.valid"),
    "a head is not checked again": (
        lane, retrieval_lane, "leaves.eq(queue.valid & ~stale & space)",
        "leaves.eq(queue.valid & space)"),
    "a row on its way is not inside": (
        lane, retrieval_lane, "self.empty.eq(~reaches & queue.empty", "self.empty.eq(queue.empty"),
    "a row at the floor is dropped": (
        lane, retrieval_lane, "self.row.score >= self.floor", "self.row.score > self.floor"),
    "the threshold of a list of one": (
        keeper, retrieval_keeper, "left.eq(Mux(total < self.k, total, self.k))", "left.eq(1)"),
    "a list without its last": (
        keeper, retrieval_keeper, "list_size.eq(at + 1)", "list_size.eq(at)"),
    "the lesser head first": (
        keeper, retrieval_keeper, "(lists_read.data > runs_read.data)",
        "(lists_read.data < runs_read.data)"),
    "a threshold outlives its query": (
        keeper, retrieval_keeper, "[list_size.eq(0), self.threshold.valid.eq(0)]",
        "[list_size.eq(0)]"),
    "a list outlives its query": (
        keeper, retrieval_keeper, "[list_size.eq(0), self.threshold.valid.eq(0)]",
        "[self.threshold.valid.eq(0)]"),
}  # fmt: skip


@pytest.mark.parametrize("bug", slow_but(list(BUGS)[:1], BUGS, nightly=list(BUGS)[3:]))
def test_planted_bug_is_found(bug):
    make, module, old, new = BUGS[bug]
    depth = {fifo: 14, arbiter: 14, histogram: 21, recent: 16, threshold: 8, lane: 12, keeper: 12}
    whole = make in (histogram, lane)  # they change the module themselves
    changed = make(module, old, new) if whole else make(mutant(module, old, new))
    found = run(changed, depth[make])
    assert not found.passed
    assert found.broken, found
