"""Random queries on a whole device, whatever simulates it, compared with the golden model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rpaccel.golden.lane import Query, QueryResult, run_query
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.bus import Bus
from rpaccel.host.compile import TABLE_BASE, RowUpdate, compile_models
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.partition import Partition
from rpaccel.host.row_pins import Pins
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.run_trace import Answered, DeviceTrace
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Status
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema

MEMORY_BYTES = 1 << 20
LIMIT_CYCLES = 20_000_000  # of one wait


def request_of(
    query: Query, rankers: Sequence[QuantisedRanker], driver: Driver, **changes: Any
) -> Request:
    """Return the request that asks `driver` a query; registers its feature table.

    rankers : of the query's slots. changes : fields of Request that are others.
    """
    fields: dict[str, Any] = {
        "user_record": query.user_record,
        "candidates": query.candidates,
        "features": driver.register_feature_table(query.features),
        "stages": [(rankers[slot].name, k) for slot, k in query.stages],
        "top_n": query.top_n,
        "tasks": query.tasks,
        "survivor_limit": query.survivor_limit,
    }
    return Request(**(fields | changes))


class Session:
    """A driver with random rankers loaded, and queries for them.

    Parameters
    ----------
    device : Bus
    config : AcceleratorConfig
    seed : int  Of rankers and queries.
    depth : entries of the rings.
    rankers : what is loaded, slot by slot; by default a small and a large one. They read the same
        records (`random_models.shared_schema`).
    memory_bytes, memory_base : device memory that the driver may use [B].
    split : which lanes own which blocks, lanes of one side; None: as after reset.
    update_depth : entries of the queue of row updates; 0: rows are not live.
    pins : rows for the static caches. prefetch : lanes read rows ahead.
    task_log_entries : of the log of tasks; 0: none is kept.
    """

    def __init__(
        self,
        device: Bus,
        config: AcceleratorConfig,
        seed: int,
        *,
        depth: int = 4,
        rankers: Sequence[QuantisedRanker] | None = None,
        memory_bytes: int = MEMORY_BYTES,
        memory_base: int = 0,
        split: Partition | None = None,
        update_depth: int = 0,
        pins: Pins | None = None,
        prefetch: bool = False,
        task_log_entries: int = 0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.config = config
        machine = config.lane(min(split)) if split else config
        if rankers is None:
            small = random_ranker(self.rng, machine, name="small")
            rankers = [
                small,
                shared_schema(self.rng, machine, small, name="large", dim=config.max_dim),
            ]
        self.rankers = list(rankers)
        self.compiled = compile_models(
            self.rankers,
            machine,
            base=memory_base + TABLE_BASE,
            live=update_depth > 0,
            pins=pins,
        )
        self.driver = Driver(
            device,
            config,
            memory_bytes,
            memory_base=memory_base,
            depth=depth,
            prefetch=prefetch,
            update_depth=update_depth,
            task_log_entries=task_log_entries,
            limit_cycles=LIMIT_CYCLES,
        )
        self._lanes = tuple(sorted(split)) if split else (0,)
        if split:
            self.driver.partition(split)
        self.driver.load_models(self.compiled)

    def query(self, **sizes: Any) -> tuple[Query, Request]:
        """Return a random query and the request that asks it; sizes : see `random_query`."""
        query = random_query(self.rng, self.config, self.rankers, **sizes)
        return query, self.request(query)

    def request(self, query: Query, **changes: Any) -> Request:
        """Return the request of `query`; registers its feature table."""
        return request_of(query, self.rankers, self.driver, **changes)

    def update_of(self, model: str, feature: str, row: int, version: int) -> RowUpdate:
        """Return an update that gives the device the row that the golden ranker has now."""
        ranker = next(each for each in self.rankers if each.name == model)
        table = next(each for each in ranker.features if each.name == feature).table
        values = table[row].astype(np.int8)
        return RowUpdate(model=model, feature=feature, row=row, values=values, version=version)

    def ask(self, request: Request, **options: Any) -> Completion:
        """Submit one request and wait for it."""
        return self.driver.wait(self.driver.submit(request, **options))

    def check(self, completion: Completion, query: Query, name: str = "query") -> QueryResult:
        """Return the golden answer; RuntimeError unless `completion` is that, bit for bit."""
        golden = run_query(query, self.rankers, self.config)
        wrong = difference(name, completion, golden)
        if wrong is not None:
            raise RuntimeError(f"the device is not bit-exact: {wrong}")
        return golden

    def run_all(self, sizes: Sequence[dict[str, Any]], name: str = "query") -> list[Completion]:
        """Ask one query per entry of `sizes`, as many in flight as fit; check every answer."""
        return [each.completion for each in self.answer_all(sizes, name)]

    def answer_all(self, sizes: Sequence[dict[str, Any]], name: str = "query") -> list[Answered]:
        """Like `run_all`, with the queries and their golden answers."""
        pairs = [self.query(**size) for size in sizes]
        completions = list(self.driver.run(request for _, request in pairs))
        answered = []
        for index, (completion, (query, _)) in enumerate(zip(completions, pairs, strict=True)):
            golden = self.check(completion, query, f"{name} {index} ({sizes[index]})")
            answered.append(Answered(query=query, golden=golden, completion=completion))
        rest = self.driver.poll()
        if rest:
            raise RuntimeError(f"completions left must be 0, not {len(rest)}")
        return answered

    def run(self, items: Sequence[int]) -> list[Completion]:
        """Ask one query per entry of `items`; see `run_all`."""
        return self.run_all([{"items": count} for count in items])

    def timeline(self, timing: MemoryTiming) -> DeviceTrace:
        """Return a timeline of what is asked from now on. timing : of the memory."""
        return DeviceTrace(self.driver, self.rankers, timing, [(self.compiled, self._lanes)])

    def recover(self) -> None:
        """Ask a query that must be right, whatever happened before."""
        query, request = self.query(items=12)
        completion = self.ask(request)
        if completion.status is not Status.OK:
            raise RuntimeError(f"status must be OK, not {completion.status.name}")
        self.check(completion, query)
