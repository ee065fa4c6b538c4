import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.scheduler.lane_ranker import LaneRanker
from tests.scheduler.test_lane_machine import CONFIG, lane_machine


@pytest.mark.parametrize("network", [RM_SMALL, RM_LARGE], ids=lambda network: network.name)
def test_answers_are_golden(network):
    ranker = LaneRanker(lane_machine(keep=8, network=network), 60, seed=3)
    rng = np.random.default_rng(0)
    found = []
    for sample, count in ((0, 60), (1, 20), (5, 20), (2, 3)):
        items = rng.permutation(60)[:count].tolist()
        found.append(ranker.rank(sample, items))
        golden = run_query(ranker.query(sample, items), [ranker.ranker], CONFIG)
        assert found[-1] == golden.ids.tolist()
        assert len(found[-1]) == min(8, count)
        assert set(found[-1]) <= set(items)
        logits = dict(zip(golden.stages[0].ids.tolist(), golden.stages[0].logits, strict=True))
        best = sorted(items, key=lambda item: (-logits[item], item))
        assert [logits[item] for item in found[-1]] == [logits[item] for item in best[:8]]
    assert ranker.asked == 4


def test_an_answer_is_computed_once():
    ranker = LaneRanker(lane_machine(keep=4, network=RM_SMALL), 20, seed=0)
    first = ranker.rank(0, [3, 1, 2, 7, 9])
    taken_s = ranker.seconds
    assert ranker.rank(0, [3, 1, 2, 7, 9]) is first
    assert (ranker.asked, ranker.seconds) == (1, taken_s)
    assert ranker.rank(1, [3, 1, 2, 7, 9]) != first  # of another user
    assert ranker.asked == 2
