import ctypes
import sys
import threading
import time

import numpy as np
import pytest

from rpaccel.scheduler.serving import Lanes, LaneStage, LivePipeline, fine_timer
from rpaccel.scheduler.workers import Part, Served


def lane_stage(service_s, link_s, first=False):
    return LaneStage(
        name="a", lanes=2, items=(4,) * len(service_s), service_s=service_s, link_s=link_s,
        first=first,
    )  # fmt: skip


def test_lanes_hold_a_query_as_long_as_the_model_says():
    done = []
    stage = lane_stage((0.05, 0.2), (0.02, 0.01))
    lanes = Lanes(stage, lambda *what: done.append((*what, time.perf_counter())))
    start = time.perf_counter()
    for query in range(4):
        lanes.submit(query, query == 3, [query])
    lanes.close()
    assert sorted(what[:3] for what in done) == [
        (0, 0, [0]), (1, 0, [1]), (2, 0, [2]), (3, 1, [3])
    ]  # fmt: skip
    ends = sorted(when - start for *_, when in done)
    assert ends[0] >= 0.07
    assert ends[2] >= 0.12  # the third and fourth wait for a lane
    assert ends[3] >= 0.27  # and the fourth is of another sample


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_sleeps_of_a_lane_end_when_they_are_due():
    """The slack of timers is a thread's own: 1 ns in the one that asks, as before in others."""
    get_slack, found = 30, []  # linux/prctl.h: PR_GET_TIMERSLACK

    def slack_ns():
        return ctypes.CDLL(None).prctl(get_slack, 0, 0, 0, 0)

    thread = threading.Thread(target=lambda: (fine_timer(), found.append(slack_ns())))
    before = slack_ns()
    thread.start()
    thread.join()
    assert found == [1]
    assert slack_ns() == before


WHOLE = Part(sample=0, first=0, end=4)


def answer_of(query, part, ids=(), scores=()):
    return Served(
        query=query, part=part, ids=np.array(ids, np.int64), scores=np.array(scores, np.float32),
        service_s=0.0, cpu_s=0.0,
    )  # fmt: skip


class Mortal:
    """Stands for workers of which one ends after `answers` answers."""

    def __init__(self, answers):
        self.left, self.asked, self.given = answers, [], 0
        self.items = []
        self.enough = threading.Semaphore(0)

    def submit(self, query, part, items=None):
        self.asked.append((query, part))
        self.items.append(None if items is None else items.tolist())
        self.enough.release()

    def next_answer(self):
        if not self.enough.acquire(timeout=20) or not self.left:
            raise RuntimeError("a worker must live")
        self.left -= 1
        query, part = self.asked[self.given]
        self.given += 1
        return answer_of(query, part)


def test_every_query_is_answered_if_a_worker_ends():
    answered = []
    workers = Mortal(2)
    pipeline = LivePipeline(workers, [[WHOLE]], 1, None, answered.append)
    pipeline.start(6)
    for query in range(6):
        pipeline.submit(query, 0)
        while query < 2 and len(answered) <= query:
            time.sleep(0.001)
    with pytest.raises(RuntimeError, match=r"^a worker must live"):
        pipeline.join()
    assert sorted(answered) == list(range(6))
    assert len(pipeline.served) == 2


def test_parts_meet_best_first():
    halves = [Part(sample=0, first=0, end=2), Part(sample=0, first=2, end=4)]

    class Two(Mortal):
        def next_answer(self):
            first = 2 - super().next_answer().part.first  # the later part answers first
            scores = {0: (3.0, 1.0), 2: (3.0, 2.0)}[first]
            return answer_of(7, halves[first // 2], (first + 1, first), scores)

    answered = []
    pipeline = LivePipeline(Two(2), [halves], 3, None, answered.append)
    pipeline.start(1)
    pipeline.submit(7, 0)
    pipeline.join()
    assert answered == [7]
    assert pipeline.ranked == {7: [1, 3, 2]}  # ties go to the lower number


def test_lanes_behind_rank_what_the_workers_keep():
    class One(Mortal):
        def next_answer(self):
            served = super().next_answer()
            return answer_of(served.query, served.part, (2, 0, 3, 1), (4.0, 3.0, 2.0, 1.0))

    asked, answered = [], []

    def rank(sample, items):
        asked.append((sample, list(items)))
        return sorted(items)[:2]

    stage = lane_stage((0.001,), (0.0,))
    pipeline = LivePipeline(One(2), [[WHOLE]], 3, (stage, rank), answered.append)
    pipeline.start(2)
    for query in (5, 6):
        pipeline.submit(query, 0)
    pipeline.join()
    assert sorted(answered) == [5, 6]
    assert asked == [(0, [2, 0, 3])] * 2
    assert pipeline.ranked == {5: [0, 2], 6: [0, 2]}


def test_lanes_in_front_hand_their_list_to_the_workers():
    class One(Mortal):
        def next_answer(self):
            served = super().next_answer()
            return answer_of(served.query, served.part, (3, 1), (2.0, 1.0))

    workers, answered = One(1), []
    part = Part(sample=0, first=0, end=2)
    stage = lane_stage((0.001,), (0.0,), first=True)
    pipeline = LivePipeline(
        workers, [[part]], 1, (stage, lambda _, items: list(items)[3:0:-2]), answered.append
    )
    pipeline.start(1)
    pipeline.submit(7, 0)
    pipeline.join()
    assert workers.asked == [(7, part)]
    assert workers.items == [[1, 3]]  # of the sample's four, 3 and 1; in order of their numbers
    assert pipeline.ranked == {7: [3]}
    assert answered == [7]


def test_queries_in_lanes_in_front_are_answered_if_a_worker_ends():
    answered = []
    stage = lane_stage((0.01,), (0.0,), first=True)
    pipeline = LivePipeline(
        Mortal(1), [[WHOLE]], 1, (stage, lambda _, items: list(items)), answered.append
    )
    pipeline.start(6)
    for query in range(6):
        pipeline.submit(query, 0)
    with pytest.raises(RuntimeError, match=r"^a worker must live"):
        pipeline.join()
    assert sorted(answered) == list(range(6))


@pytest.mark.parametrize("first", [False, True])
def test_every_query_is_answered_if_a_lane_faults(first):
    answered = []

    def rank(sample, items):
        if len(answered) == 1:
            raise RuntimeError("status must be OK")
        return list(items)

    stage = lane_stage((0.0, 0.0), (0.0, 0.0), first=first)
    pipeline = LivePipeline(Mortal(5), [[WHOLE]], 1, (stage, rank), answered.append)
    pipeline.start(5)
    for query in range(5):
        pipeline.submit(query, 0)
        waited = time.perf_counter()
        while len(answered) <= query and time.perf_counter() < waited + 2:
            time.sleep(0.001)
    with pytest.raises(RuntimeError, match=r"^status must be OK"):
        pipeline.join()
    assert answered == list(range(5))
    assert len(pipeline.served) == 5


def test_rejects():
    with pytest.raises(ValueError, match=r"^lanes must be at least 1 and no time negative"):
        LaneStage(name="a", lanes=0, items=(1,), service_s=(0.0,), link_s=(0.0,))
