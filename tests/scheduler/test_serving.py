import threading
import time

import pytest

from rpaccel.scheduler.serving import Lanes, LaneStage, LivePipeline
from rpaccel.scheduler.workers import Served


def test_lanes_hold_a_query_as_long_as_the_model_says():
    done = []
    stage = LaneStage(name="a", lanes=2, service_s=0.05, link_s=0.02)
    lanes = Lanes(stage, lambda served: done.append((served.query, time.perf_counter())))
    start = time.perf_counter()
    for query in range(4):
        lanes.submit(Served(query=query, sample=0, ids=(), service_s=0.0, cpu_s=0.0))
    lanes.close()
    assert sorted(query for query, _ in done) == [0, 1, 2, 3]
    ends = sorted(when - start for _, when in done)
    assert ends[0] >= 0.07
    assert ends[2] >= 0.12  # the third and fourth wait for a lane


class Mortal:
    """Stands for workers of which one ends after `answers` answers."""

    def __init__(self, answers):
        self.left, self.asked = answers, []
        self.enough = threading.Semaphore(0)

    def submit(self, query, sample):
        self.asked.append((query, sample))
        self.enough.release()

    def next_answer(self):
        self.enough.acquire()
        if not self.left:
            raise RuntimeError("a worker must live")
        self.left -= 1
        query, sample = self.asked[-1]
        return Served(query=query, sample=sample, ids=(), service_s=0.0, cpu_s=0.0)


def test_every_query_is_answered_if_a_worker_ends():
    answered = []
    workers = Mortal(2)
    pipeline = LivePipeline(workers, None, answered.append)
    pipeline.start(6)
    for query in range(6):
        pipeline.submit(query, 0)
        while query < 2 and len(answered) <= query:
            time.sleep(0.001)
    with pytest.raises(RuntimeError, match=r"^a worker must live"):
        pipeline.join()
    assert sorted(answered) == list(range(6))
    assert len(pipeline.served) == 2


def test_rejects():
    with pytest.raises(ValueError, match=r"^lanes must be at least 1 and no time negative"):
        LaneStage(name="a", lanes=0, service_s=0.0, link_s=0.0)
