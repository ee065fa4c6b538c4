"""A tiny machine with lanes for the whole array, its quarters and its halves, in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rpaccel.golden.lane import Query, run_query
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.bus import Bus
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.driver import Completion, Driver
from rpaccel.host.partition import Rectangle
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.session import request_of
from rpaccel.main_job.soak import QUARTERS, SPLIT
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.workloads.random_models import random_query, random_ranker

UPPER = {5: Rectangle(row=0, col=0, rows=1, cols=2), 3: QUARTERS[3], 4: QUARTERS[4]}
LEFT = {6: Rectangle(row=0, col=0, rows=2, cols=1), 2: QUARTERS[2], 4: QUARTERS[4]}
# Upper and lower half: a lane's word is half of the array's, and its vectors take twice as many.
NARROW = load_accelerator("tiny").model_copy(
    update={
        "name": "narrow", "lanes": 2, "lane_blocks": ((1, 2), (1, 2)), "sub_batch_max": 32,
        "max_dim": 32, "feature_words": 512,
    }
)  # fmt: skip
HALVES = {
    0: Rectangle(row=0, col=0, rows=1, cols=2),
    1: Rectangle(row=1, col=0, rows=1, cols=2),
}
MEMORY_BYTES = 1 << 20
FAR = 0x4_0000  # where the second set of models lies


def small_ranker(seed: int, name: str, lane: AcceleratorConfig | None = None) -> QuantisedRanker:
    """Return a ranker that fits `lane`; None: a quarter of SPLIT."""
    rng = np.random.default_rng(seed)
    return random_ranker(rng, lane or SPLIT.lane(1), name=name, dim=8, bottom=(6,), top=(7,))


class Traffic:
    """Queries for rankers on a device that is split, and their golden answers."""

    def __init__(
        self,
        device: Bus,
        seed: int,
        *,
        config: AcceleratorConfig = SPLIT,
        memory_bytes: int = MEMORY_BYTES,
        depth: int = 8,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.config = config
        self.driver = Driver(device, config, memory_bytes, depth=depth)

    def load(
        self, ranker: QuantisedRanker, lanes: Sequence[int], base: int = 0x1_0000
    ) -> CompiledModels:
        """Compile `ranker` for `lanes` and load it."""
        compiled = compile_models([ranker], self.config.lane(lanes[0]), base=base)
        self.driver.load_models(compiled, lanes)
        return compiled

    def submit(self, ranker: QuantisedRanker, **changes: Any) -> tuple[int, Query, QuantisedRanker]:
        """Queue a random query for `ranker`."""
        items = int(self.rng.integers(1, 40))
        query = random_query(self.rng, self.config, [ranker], items=items, slots=(0, 0))
        request = request_of(query, [ranker], self.driver, **changes)
        return self.driver.submit(request), query, ranker

    def check(self, asked: tuple[int, Query, QuantisedRanker]) -> Completion:
        """Wait for a query; its answer must be golden's, bit for bit."""
        tag, query, ranker = asked
        completion = self.driver.wait(tag)
        wrong = difference("query", completion, run_query(query, [ranker], self.config))
        assert wrong is None, wrong
        return completion
