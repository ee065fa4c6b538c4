"""Random queries on a whole device, whatever simulates it, compared with the golden model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rpaccel.golden.lane import Query, run_query
from rpaccel.host.bus import Bus
from rpaccel.host.compile import compile_models
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Status
from tests import factories

__all__ = ["MEMORY_BYTES", "Session"]

MEMORY_BYTES = 1 << 20


class Session:
    """A driver with two random rankers loaded, and queries for them.

    Parameters
    ----------
    device : Bus
    config : AcceleratorConfig
    seed : int
    depth : entries of the rings.
    """

    def __init__(self, device: Bus, config: AcceleratorConfig, seed: int, depth: int = 4) -> None:
        self.rng = np.random.default_rng(seed)
        self.config = config
        small = factories.random_ranker(self.rng, config, name="small")
        large = factories.shared_schema(self.rng, config, small, name="large", dim=config.max_dim)
        self.rankers = [small, large]
        self.compiled = compile_models(self.rankers, config)
        self.driver = Driver(device, config, MEMORY_BYTES, depth=depth, limit_cycles=2_000_000)
        self.driver.load_models(self.compiled)

    def query(self, **sizes: Any) -> tuple[Query, Request]:
        """Return a random query and the request that asks it."""
        query = factories.random_query(self.rng, self.config, self.rankers, **sizes)
        return query, self.request(query)

    def request(self, query: Query, **changes: Any) -> Request:
        """Return the request of `query`; registers its feature table."""
        fields: dict[str, Any] = {
            "user_record": query.user_record,
            "candidates": query.candidates,
            "features": self.driver.register_feature_table(query.features),
            "stages": [(self.rankers[slot].name, k) for slot, k in query.stages],
            "top_n": query.top_n,
        }
        return Request(**(fields | changes))

    def ask(self, request: Request, **options: Any) -> Completion:
        """Submit one request and wait for it."""
        return self.driver.wait(self.driver.submit(request, **options))

    def check(self, completion: Completion, query: Query) -> None:
        """Fail unless `completion` is, bit for bit, what the golden model says."""
        expected = run_query(query, self.rankers, self.config)
        assert completion.status is expected.status, completion.status
        assert completion.flags == expected.flags
        assert completion.ids.tolist() == expected.ids.tolist()
        assert completion.logits.tolist() == expected.logits.tolist()
        assert completion.ctr.tolist() == expected.ctr.tolist()
        assert completion.items == expected.items

    def run(self, items: Sequence[int]) -> list[Completion]:
        """Ask one query per entry of `items`, all in flight together; check every answer."""
        pairs = [self.query(items=count) for count in items]
        completions = list(self.driver.run(request for _, request in pairs))
        assert len(completions) == len(pairs)
        for completion, (query, _) in zip(completions, pairs, strict=True):
            self.check(completion, query)
            assert completion.total_cycles > 0
        assert self.driver.poll() == []
        return completions

    def recover(self) -> None:
        """Ask a query that must be right, whatever happened before."""
        query, request = self.query(items=12)
        completion = self.ask(request)
        assert completion.status is Status.OK
        self.check(completion, query)
