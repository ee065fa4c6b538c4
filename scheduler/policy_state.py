"""What the compiled policies read and write: arrays of a node, its settings, its queries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["COUNTERS", "NONE", "SETTING", "STATE", "Lists", "Queries", "Tables"]

NONE = -1  # no query

Array = Any  # of NumPy here, of the compiler there

# How one kind of queries is treated; policy.Policy explains the fields.
SETTING = np.dtype([
    ("batch", np.int32), ("threshold", np.int32), ("even", np.int32), ("merge", np.int32),
    ("window_s", np.float64), ("merge_items", np.int32), ("merge_window_s", np.float64),
    ("priority", np.int32), ("deadline_s", np.float64), ("table", np.int32),
], align=True)  # fmt: skip

# now_s : of the last event; at : next arrival; link_s : the link is free from then on
STATE = np.dtype([("now_s", np.float64), ("link_s", np.float64), ("at", np.int64)], align=True)

COUNTERS = np.dtype([
    ("cpu_busy_s", np.float64), ("accelerator_busy_s", np.float64), ("link_busy_s", np.float64),
    ("cpu_requests", np.int64), ("accelerator_requests", np.int64),
    ("cpu_items", np.int64), ("accelerator_items", np.int64),
], align=True)  # fmt: skip


class Tables(NamedTuple):
    """Service times [s]: float64[tables, items + 1] each; by setting.table and items."""

    cpu: Array
    accelerator: Array
    link: Array


class Queries(NamedTuple):
    """One run's queries, float64[n] or int32[n]; the last four are written."""

    arrival_s: Array
    size: Array
    kind: Array
    ready_s: Array  # when the queue gets it: the arrival, or the end of its transfer
    left: Array  # items that no core has taken
    following: Array  # the next query of its list
    finish_s: Array  # the latest end of its parts


class Lists(NamedTuple):
    """Waiting queries by kind, and servers."""

    head: Array  # int32[kinds]
    tail: Array
    items: Array  # int64[kinds], that wait
    free_s: Array  # float64[servers], a heap
