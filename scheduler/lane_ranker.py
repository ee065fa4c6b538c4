"""What the lanes of a serving pipeline answer: the golden software device, split as they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from rpaccel.golden.lane import Query
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.compile import compile_models
from rpaccel.host.driver import Driver, Request
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.scheduler.lane_machine import LaneMachine
from rpaccel.workloads.random_models import random_query, ranker_of_sizes

__all__ = ["LaneRanker"]

TABLE_ROWS = 1000  # of a random table at most
VARIANTS = 4  # users, each with records of its own for the items, that samples take turns with
MEMORY_BYTES = 1 << 24  # of the software device


class LaneRanker:
    """What the lanes answer: a random int8 ranker, behind a driver and the golden software device.

    Every answer is kept: the same items of a sample are ranked once. Items are records, random
    ones, of one of VARIANTS users by the sample's number.

    items : of the largest sample.

    Members
    -------
    ranker : the golden model's. asked : answers that were computed. seconds : that they took [s].
    """

    def __init__(self, machine: LaneMachine, items: int, seed: int) -> None:
        self.machine, self.asked, self.seconds = machine, 0, 0.0
        network, config = machine.network, machine.config
        rng = np.random.default_rng([seed, 7])
        self.ranker: QuantisedRanker = ranker_of_sizes(
            rng, config.lane(machine.lanes[0]), network.sizes,
            name=network.name, max_rows=TABLE_ROWS, threshold=-32768,
        )  # fmt: skip
        self._queries = [
            random_query(
                rng, config, [self.ranker], items=1, top_n=machine.keep, feature_rows=items
            )
            for _ in range(VARIANTS)
        ]
        self._driver = Driver(SoftwareDevice(config, MEMORY_BYTES), config, MEMORY_BYTES, depth=1)
        self._driver.partition(machine.partition)
        self._driver.load_models(
            compile_models([self.ranker], config.lane(machine.lanes[0])), machine.lanes
        )
        self._tables = [self._driver.register_feature_table(q.features) for q in self._queries]
        self._known: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        self._lock = threading.Lock()

    def query(self, sample: int, ids: Sequence[int]) -> Query:
        """Return the golden model's query for these items of a sample."""
        user = self._queries[sample % VARIANTS]
        top_n = min(self.machine.keep, len(ids))
        return Query(
            user_record=user.user_record,
            candidates=np.asarray(ids, np.uint32),
            features=user.features,
            stages=((0, top_n),),
            top_n=top_n,
        )

    def rank(self, sample: int, ids: Sequence[int]) -> list[int]:
        """Return the best of these items of a sample, best first. Raises RuntimeError on a fault.

        Computed once; a known answer takes no time that would count.
        """
        key = sample, tuple(ids)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._compute(sample, ids)
            return self._known[key]

    def _compute(self, sample: int, ids: Sequence[int]) -> list[int]:
        start = time.perf_counter()
        query = self.query(sample, ids)
        request = Request(
            user_record=query.user_record,
            candidates=query.candidates,
            features=self._tables[sample % VARIANTS],
            stages=[(self.ranker.name, query.top_n)],
            top_n=query.top_n,
        )
        completion = self._driver.wait(self._driver.submit(request))
        if not completion.ok:
            raise RuntimeError(f"status must be OK, not {completion.status.name}")
        self.asked += 1
        self.seconds += time.perf_counter() - start
        return [int(item) for item in completion.ids]
