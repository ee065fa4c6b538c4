"""A device whose lanes run both Criteo rankers, and whose split changes while queries come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rpaccel.golden.lane import Query, QueryResult, run_query
from rpaccel.host.bus import Bus
from rpaccel.host.compile import CompiledModels
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.records import padded_record_bytes
from rpaccel.main_job.criteo_models import EIGHT_TWO, CriteoImages, CriteoModels
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.run_trace import row_totals
from rpaccel.main_job.session import request_of
from rpaccel.spec.isa import StageMode

__all__ = ["MEMORY_BYTES", "MODES", "CriteoAnswer", "CriteoMachine"]

MEMORY_BYTES = 1 << 26
MODES = tuple(StageMode)
LIMIT_CYCLES = 50_000_000  # of one wait


@dataclass(frozen=True, kw_only=True, eq=False)
class CriteoAnswer:
    """A query's answer with what was asked, and under which split."""

    number: int
    mode: StageMode
    split: str
    query: Query
    completion: Completion
    golden: QueryResult


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    number: int
    mode: StageMode
    query: Query
    request: Request
    tag: int


class CriteoMachine:
    """A driver over a device that is split 8 + 2 and holds both rankers.

    Parameters
    ----------
    device : Bus  With MEMORY_BYTES of memory.
    depth : queries in flight at most, a power of two.
    log_entries : of the device's log of tasks, a power of two; 0: none is kept.
    """

    def __init__(
        self,
        device: Bus,
        models: CriteoModels,
        images: CriteoImages,
        *,
        depth: int,
        log_entries: int = 0,
    ) -> None:
        self.models, self.images = models, images
        config = images.config
        record_bytes = padded_record_bytes(models.workload.schema, "item", config)
        self.driver = Driver(
            device,
            config,
            MEMORY_BYTES,
            depth=depth,
            prefetch=True,
            feature_bytes=depth * models.funnel.items * record_bytes,
            limit_cycles=LIMIT_CYCLES,
            task_log_entries=log_entries,
        )
        self.split = self._applied = EIGHT_TWO
        self.driver.partition(images.splits[EIGHT_TWO])
        self.driver.load_models(images.large, images.back)
        self.driver.load_models(images.first, images.front[EIGHT_TWO])

    @property
    def loaded(self) -> list[tuple[CompiledModels, tuple[int, ...]]]:
        """The images that are loaded, with their lanes."""
        images, front = self.images, self.images.front[self.split]
        return [(images.large, images.back), (images.small[self.split], front)]

    def row_counters(self) -> dict[str, int]:
        """Return the row banks' counters together, in beats."""
        return row_totals(self.driver)

    def use(self, split: str) -> None:
        """Split the machine in another way, and load the small ranker into its new lanes.

        The large ranker's lanes stay as they are; no rows are pinned from then on. An array that
        `ask` has split so is not split again.
        """
        self._apply(split)
        self.driver.load_models(self.images.small[split], self.images.front[split])
        self.split = split

    def ask(self, numbers: Sequence[int], then: str | None = None) -> Iterator[CriteoAnswer]:
        """Yield the answers to queries of the workload, at most as many as the rings have entries.

        All are in flight at once; modes take turns by the query's number. then : when half of them
        are answered the array is split so, with the others in flight; `use` loads the new lanes.
        Raises RuntimeError with the first bit that differs from the golden model.
        """
        asked = [self._submit(number) for number in numbers]
        for place, each in enumerate(asked):
            if then is not None and place == len(asked) // 2:
                self._apply(then)
            completion = self.driver.wait(each.tag)
            self.driver.release_feature_table(each.request.features)
            golden = run_query(each.query, self.models.rankers, self.images.config)
            name = f"query {each.number}, {each.mode.name}, split {self.split}"
            wrong = difference(name, completion, golden)
            if wrong is not None:
                raise RuntimeError(f"the netlist is not bit-exact: {wrong}")
            yield CriteoAnswer(
                number=each.number,
                mode=each.mode,
                split=self.split,
                query=each.query,
                completion=completion,
                golden=golden,
            )

    def _apply(self, split: str) -> None:
        """Split the array, if it is not split so."""
        if split != self._applied:
            self.driver.partition(self.images.splits[split])
            self._applied = split

    def _submit(self, number: int) -> _Asked:
        models, mode = self.models, MODES[number % len(MODES)]
        query = models.query(models.workload.query(number), mode, self.images.config)
        request = request_of(query, models.rankers, self.driver)
        tag = self.driver.submit(request)
        return _Asked(number=number, mode=mode, query=query, request=request, tag=tag)
