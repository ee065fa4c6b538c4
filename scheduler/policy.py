"""A node that serves queries of many items: cores that split them, an accelerator that may merge.

What DeepRecSys schedules (a query is split over cores, or runs whole on an accelerator if it is
large), and what it leaves out: requests merged over queries up to a deadline, priorities, earliest
deadline first, a link of its own, several models on one node.

Ref: U. Gupta et al., "DeepRecSys", ISCA'20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.policy_kernels import advance
from rpaccel.scheduler.policy_state import (
    COUNTERS,
    NONE,
    SETTING,
    STATE,
    Lists,
    Queries,
    Tables,
)

__all__ = ["NOT_OFFLOADED", "Node", "Policy", "PolicyRun", "Served", "run_policy"]

NOT_OFFLOADED = 1 << 30  # a threshold that no query reaches
Sizes = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a node treats one kind of queries.

    batch : items of a request to a core, at most
    threshold : queries of so many items or more run on the accelerator, whole
    even : a query's parts are of equal size, instead of full ones and a rest
    merge : a request to a core may hold items of several queries of the kind
    window_s : a request that is not full waits so long for more, after its first query is ready [s]
    merge_items : items of several queries in one launch of the accelerator, at most; 0: one query
    merge_window_s : as window_s, of the accelerator
    priority : the lower goes first; a running request is never put aside
    deadline_s : among equal priorities, the least arrival plus deadline_s goes first [s]
    table : row of the node's service times
    """

    batch: int
    threshold: int = NOT_OFFLOADED
    even: bool = False
    merge: bool = False
    window_s: float = 0.0
    merge_items: int = 0
    merge_window_s: float = 0.0
    priority: int = 0
    deadline_s: float = 0.0
    table: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.threshold < 1:
            raise ValueError(
                f"batch and threshold must be at least 1, not {self.batch} and {self.threshold}"
            )
        if min(self.window_s, self.merge_window_s, self.merge_items, self.table) < 0:
            raise ValueError("windows, merge_items and table must not be negative")
        if self.window_s > 0 and not self.merge:
            raise ValueError("window_s must be 0 unless requests are merged")
        if self.merge_window_s > 0 and self.merge_items == 0:
            raise ValueError("merge_window_s must be 0 unless launches are merged")


@dataclass(frozen=True, kw_only=True)
class Node:
    """Servers and their times [s] by table and items: float64[tables, items + 1] each.

    cpu_s : of a request on one core, up to the largest batch in use
    accelerator_s : of a launch, up to the largest query or merge_items; input loading included
        unless it is in link_s
    link_s : of a query's transfer, one at a time, before its launch; None: none
    """

    cores: int
    cpu_s: Floats
    accelerators: int = 0
    accelerator_s: Floats | None = None
    link_s: Floats | None = None

    def __post_init__(self) -> None:
        if self.cores < 1 or self.accelerators < 0:
            raise ValueError(
                f"cores must be at least 1 and accelerators not negative, not {self.cores} and "
                f"{self.accelerators}"
            )
        if self.accelerators and self.accelerator_s is None:
            raise ValueError("accelerator_s must be given for an accelerator")
        for table in (self.cpu_s, self.accelerator_s, self.link_s):
            if table is not None and (table.ndim != 2 or not np.all(table >= 0)):
                raise ValueError("service times must be tables of times that are not negative")


@dataclass(frozen=True, kw_only=True)
class Served:
    """What became of the queries: float64[n] ends [s], and the work that was done."""

    finish_s: Floats
    cpu_busy_s: float
    accelerator_busy_s: float
    link_busy_s: float
    cpu_requests: int
    accelerator_requests: int
    cpu_items: int
    accelerator_items: int


class PolicyRun:
    """A run that can stop at an arrival, take other policies, and go on."""

    def __init__(
        self,
        node: Node,
        policies: Sequence[Policy],
        arrivals_s: Floats,
        sizes: Sizes,
        kinds: Sizes | None = None,
    ) -> None:
        count = arrivals_s.size
        if sizes.shape != (count,) or (kinds is not None and kinds.shape != (count,)):
            raise ValueError(f"sizes and kinds must be of {count} queries, not {sizes.size}")
        if count == 0 or sizes.min() < 1 or np.any(arrivals_s[1:] < arrivals_s[:-1]):
            raise ValueError("queries must be one or more, of an item or more, in order of arrival")
        self._node = node
        none = np.zeros((1, 1))
        self._largest = int(sizes.max())
        link = node.link_s
        if link is None:
            link = np.zeros((node.cpu_s.shape[0], self._largest + 1))
        self._tables = Tables(
            _table(node.cpu_s), _table(none if node.accelerator_s is None else node.accelerator_s),
            _table(link),
        )  # fmt: skip
        same = np.zeros(count, np.int32) if kinds is None else kinds
        self._queries = Queries(
            np.ascontiguousarray(arrivals_s, np.float64),
            np.ascontiguousarray(sizes, np.int32),
            np.ascontiguousarray(same, np.int32),
            np.empty(count), np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count),
        )  # fmt: skip
        self._kinds = len(policies)
        if self._queries.kind.min() < 0 or self._queries.kind.max() >= self._kinds:
            raise ValueError(f"kinds must be in 0..{self._kinds - 1}, one for each policy")
        self._cpu = _lists(self._kinds, node.cores)
        self._accelerator = _lists(self._kinds, node.accelerators)
        self._link = _lists(1, 1)
        self._state, self._counters = np.zeros(1, STATE), np.zeros(1, COUNTERS)
        self._state["now_s"] = self._state["link_s"] = -np.inf
        self.set_policies(policies)

    def set_policies(self, policies: Sequence[Policy]) -> None:
        """Treat what starts from now on by `policies`; a queue keeps what it holds."""
        if len(policies) != self._kinds:
            raise ValueError(f"policies must be {self._kinds}, not {len(policies)}")
        for policy in policies:
            self._check(policy)
        rows = [tuple(getattr(policy, name) for name in SETTING.names or ()) for policy in policies]
        self._settings = np.array(rows, SETTING)

    def _check(self, policy: Policy) -> None:
        tables, largest = self._tables, self._largest
        if policy.table >= min(tables.cpu.shape[0], tables.link.shape[0]):
            raise ValueError(f"table must be below {tables.cpu.shape[0]}, not {policy.table}")
        request = policy.batch if policy.merge else min(policy.batch, largest)
        if request >= tables.cpu.shape[1]:
            raise ValueError(f"cpu_s must hold {request} items, not {tables.cpu.shape[1] - 1}")
        if policy.threshold > largest:
            return
        if self._node.accelerators == 0:
            raise ValueError(f"threshold must be above {largest}: there is no accelerator")
        launch = max(largest, policy.merge_items)
        if launch >= tables.accelerator.shape[1] or policy.table >= tables.accelerator.shape[0]:
            raise ValueError(f"accelerator_s must hold {launch} items of table {policy.table}")
        if largest >= tables.link.shape[1]:
            raise ValueError(f"link_s must hold {largest} items, not {tables.link.shape[1] - 1}")

    def advance(self, until: int | None = None) -> None:
        """Go on until arrival `until` is next; to the end of all if None."""
        count = self._queries.size.size
        advance(
            self._queries, self._settings, self._tables, self._cpu, self._accelerator, self._link,
            self._state, self._counters, count if until is None else until,
        )  # fmt: skip

    def latencies_s(self, first: int, end: int) -> Floats:
        """Return float64[end - first] latencies; infinite where a part has not started yet [s]."""
        queries = self._queries
        begun = (np.arange(first, end) < int(self._state["at"][0])) & (queries.left[first:end] == 0)
        return np.where(begun, queries.finish_s[first:end] - queries.arrival_s[first:end], np.inf)

    @property
    def served(self) -> Served:
        """Ends and work so far."""
        counters = {name: self._counters[name][0].item() for name in COUNTERS.names or ()}
        return Served(finish_s=self._queries.finish_s, **counters)


def _table(times: Floats) -> Floats:
    return np.ascontiguousarray(times, np.float64)


def _lists(kinds: int, servers: int) -> Lists:
    return Lists(
        np.full(kinds, NONE, np.int32), np.full(kinds, NONE, np.int32), np.zeros(kinds, np.int64),
        np.full(servers, -np.inf),
    )  # fmt: skip


def run_policy(
    node: Node,
    policies: Sequence[Policy],
    arrivals_s: Floats,
    sizes: Sizes,
    kinds: Sizes | None = None,
) -> Served:
    """Serve all queries and return their ends.

    arrivals_s : float64[n], non-decreasing [s]. sizes : int32[n], items. kinds : int32[n], places
    in `policies`; None: all the first.
    """
    run = PolicyRun(node, policies, arrivals_s, sizes, kinds)
    run.advance()
    return run.served
