"""A load on a machine as tables for `perfmodel.machine_kernels`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.core_kernels import WORK_FIELDS, new_cores, work_row
from rpaccel.perfmodel.lane_core import SubBatchWork
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.machine_state import (
    BATCH,
    BATCH_LOG,
    DRAINS,
    EVENT_FIELDS,
    FLYING,
    LANE,
    NONE,
    PROFILE,
    QUERY,
    RUN,
    STAGE,
    STAGE_KIND,
    TASK,
    TASK_LOG,
    TASKS,
    MachineState,
    MachineTables,
)
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.sequencer import NEVER
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.perfmodel.shared_memory import READ_FIELDS
from rpaccel.perfmodel.task_profile import TaskProfile, task_profile, told_profile

__all__ = ["MachinePlan"]

LEAST_PLACES = 16


class MachinePlan:
    """A load as tables, to which profiles are added as tasks ask for them.

    Parameters
    ----------
    machine : Machine
    queries : Sequence[QueryLoad]
    handover : gathers are told by others, and the array may take their sub-batches so many cycles
        later; None: gathers are those of costs.

    Raises ValueError if a stage has no lane, or one without its model.
    """

    def __init__(
        self, machine: Machine, queries: Sequence[QueryLoad], handover: int | None = None
    ) -> None:
        self.machine, self.queries = machine, queries
        self._handover = handover
        self.lanes = sorted(machine.lanes)
        self._configs = [machine.config.lane(lane) for lane in self.lanes]
        self._models: dict[str, int] = {}
        self._works: dict[int, tuple[int, SubBatchWork]] = {}  # by id, which is kept
        self._asked: list[tuple[ModelShape, StageLoad, RecordSizes, int, bool]] = []
        self._profile_kinds: dict[tuple[object, ...], int] = {}
        self._kinds: list[list[int]] = []  # rows of STAGE_KIND, profile_kinds, models
        self._releases: list[tuple[int, int, int]] = []
        plans: dict[tuple[int, int, int], tuple[int, ...]] = {}
        self._plans: list[tuple[int, ...]] = []  # stage kinds of each query
        for query in queries:
            records = query.records
            key = id(query.stages), records.user_bytes, records.item_bytes
            if key not in plans:
                plans[key] = tuple(
                    self._kind(number, stage, records) for number, stage in enumerate(query.stages)
                )
            self._plans.append(plans[key])
        names, count = STAGE_KIND.names or (), len(self.lanes)
        rows = np.array(self._kinds, np.int64).reshape(-1, len(names) + 2 * count)
        kinds = np.zeros(len(rows), STAGE_KIND)
        for place, name in enumerate(names):
            kinds[name] = rows[:, place]
        self.tables = MachineTables(
            stage_kinds=kinds,
            releases=np.array(self._releases, np.int64).reshape(-1, 3),
            profile_kinds=np.ascontiguousarray(rows[:, len(names) : len(names) + count]),
            models=np.ascontiguousarray(rows[:, len(names) + count :]),
            newest=np.full(len(self._asked), NONE),
            profiles=np.zeros(LEAST_PLACES, PROFILE),
            batches=np.zeros(LEAST_PLACES, BATCH),
            works=np.zeros((LEAST_PLACES, WORK_FIELDS), np.int64),
        )
        self._profiles = self._batches = 0

    def _kind(self, number: int, stage: StageLoad, records: RecordSizes) -> int:
        """Return the place of a stage kind; it is a new one."""
        lanes = self.machine.lanes_of(stage)
        places = [self.lanes.index(lane) for lane in lanes]
        asked, models = [NONE] * len(self.lanes), [NONE] * len(self.lanes)
        for place, lane in zip(places, lanes, strict=True):
            shape = self.machine.lanes[lane][stage.model]
            models[place] = self._models.setdefault(shape.name, len(self._models))
            first = number == 0
            key = self._configs[place], id(shape), stage.model, stage.sub_batch, records, first
            if key not in self._profile_kinds:
                self._profile_kinds[key] = len(self._asked)
                self._asked.append((shape, stage, records, place, first))
            asked[place] = self._profile_kinds[key]
        tasks = stage.tasks
        row = [
            sum({1 << place for place in places}), tasks.task_items, tasks.task_k, int(tasks.mode),
            stage.k, len(self._releases), len(stage.releases),
        ]  # fmt: skip
        self._releases += [(each.ids, each.cycles, each.exact) for each in stage.releases]
        self._kinds.append([*row, *asked, *models])
        return len(self._kinds) - 1

    def add_asked(self, state: MachineState) -> None:
        """Add the profile that a run has stopped for."""
        run = state.run[0]
        kind = int(state.stages["kind"][run["asks_stage"]])
        self.add_profile(kind, int(run["asks_lane"]), int(run["asks_items"]))

    def add_profile(self, stage_kind: int, lane: int, items: int) -> None:
        """Add the profile of a task of `items` of a stage kind on a lane, given by its place."""
        kind = int(self.tables.profile_kinds[stage_kind, lane])
        profile = self._profile(kind, items)
        batches = [(self._work(work), walk, memory) for work, walk, memory in profile.batches]
        end = self._batches + len(batches)
        tables = self.tables._replace(
            profiles=_grown(self.tables.profiles, self._profiles + 1),
            batches=_grown(self.tables.batches, end),
        )
        tables.batches[self._batches : end] = batches
        tables.profiles[self._profiles] = (
            items, self._batches, len(batches), profile.start, profile.handover, profile.array,
            profile.banks, tables.newest[kind], sum(memory for _, _, memory in batches),
            profile.wait,
        )  # fmt: skip
        tables.newest[kind] = self._profiles
        self._profiles, self._batches = self._profiles + 1, end
        self.tables = tables

    def _profile(self, kind: int, items: int) -> TaskProfile:
        """Return the profile of a task of `items` of a profile kind."""
        shape, stage, records, place, first = self._asked[kind]
        config = self._configs[place]
        if self._handover is not None:
            return told_profile(config, shape, items, stage.sub_batch, self._handover)
        return task_profile(
            config,
            shape,
            items,
            stage.sub_batch,
            self.machine.memory,
            records,
            first=first,
            row_hits=self.machine.row_hits.get(stage.model, 0.0),
            bank_skew=self.machine.bank_skews.get(stage.model, 1.0),
        )

    def _work(self, work: SubBatchWork) -> int:
        """Return the place of a row of works. Works that are equal are mostly the same one."""
        if id(work) in self._works:
            return self._works[id(work)][0]
        place = len(self._works)
        self._works[id(work)] = place, work
        works = _grown(self.tables.works, place + 1)
        works[place] = work_row(work)
        self.tables = self.tables._replace(works=works)
        return place

    def new_state(self, events: int, batches: int) -> MachineState:
        """Return the machine before the first query.

        events, batches : places; of the log of sub-batches 0 if there is to be none.
        """
        lanes, funnels = len(self.lanes), self.machine.config.funnels
        run = np.zeros(1, RUN)
        run["now"], run["chosen"], run["read_due"] = NONE, 1, NONE
        run["free"], run["ready"] = funnels, (1 << lanes) - 1
        lane = np.zeros(lanes, LANE)
        lane["model"], lane["due"] = NONE, NEVER
        queries = self._query_records()
        alone = np.array([query.after is None for query in self.queries], np.bool_)
        arrivals = np.flatnonzero(alone)
        arrivals = arrivals[np.argsort(queries["arrival"][arrivals], kind="stable")]
        return MachineState(
            run=run,
            heap=np.zeros((events, EVENT_FIELDS), np.int64),
            arrivals=arrivals.astype(np.int64),
            waiting=np.zeros(len(queries), np.int64),
            working=np.zeros(funnels, np.int64),
            queries=queries,
            stages=self._stage_records(queries),
            lanes=lane,
            cores=new_cores(self._configs),
            tasks=np.zeros(lanes * TASKS, TASK),
            log=np.zeros(self._most_tasks(), TASK_LOG),
            batch_log=np.zeros(batches, BATCH_LOG),
            flying=np.zeros((lanes, FLYING), np.int64),
            drains=np.zeros((lanes, DRAINS, 2), np.int64),
            reads=np.zeros((lanes, READ_FIELDS)),
            turns=np.zeros(lanes * TASKS + 1, np.int64),
        )

    def _query_records(self) -> NDArray[np.void]:
        """Return QUERY[queries]."""
        queries = np.zeros(len(self.queries), QUERY)
        queries["arrival"] = [query.arrival for query in self.queries]
        queries["items"] = [query.items for query in self.queries]
        queries["top_n"] = [query.top_n for query in self.queries]
        queries["stages"] = [len(plan) for plan in self._plans]
        queries["stage"] = np.cumsum(queries["stages"]) - queries["stages"]
        queries["follower"] = queries["sibling"] = queries["offer"] = NONE
        for number in reversed(range(len(queries))):
            after = self.queries[number].after
            if after is not None and 0 <= after < len(queries):
                queries["sibling"][number] = queries["follower"][after]
                queries["follower"][after] = number
        return queries

    def _stage_records(self, queries: NDArray[np.void]) -> NDArray[np.void]:
        """Return STAGE[stages of all queries]."""
        stages = np.zeros(int(queries["stages"].sum()), STAGE)
        stages["kind"] = [kind for plan in self._plans for kind in plan]
        stages["query"] = np.repeat(np.arange(len(queries)), queries["stages"])
        stages["number"] = np.arange(len(stages)) - np.repeat(queries["stage"], queries["stages"])
        for name in ("first", "last", "start", "end"):
            stages[name] = NONE
        return stages

    def _most_tasks(self) -> int:
        """Return how many tasks all queries can have."""
        most: dict[tuple[int, int], int] = {}
        total = 0
        for query, plan in zip(self.queries, self._plans, strict=True):
            key = plan[0], query.items
            if key not in most:
                most[key] = _tasks_of(query)
            total += most[key]
        return total


def _tasks_of(query: QueryLoad) -> int:
    """Return how many tasks a query can have."""
    items, tasks = query.items, 0
    for stage in query.stages:
        size = stage.tasks.task_items
        tasks += 1 + (items // size if size else 0)
        items = sum(release.ids for release in stage.releases) if stage.releases else stage.k
    return tasks


def _grown(table: NDArray[Any], places: int) -> NDArray[Any]:
    """Return the table with at least so many places."""
    if places <= len(table):
        return table
    more = max(places, 2 * len(table)) - len(table)
    return np.concatenate([table, np.zeros((more, *table.shape[1:]), table.dtype)])
