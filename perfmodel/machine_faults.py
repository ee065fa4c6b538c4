"""What must hold of every run of a machine, looked at when it is over: `perfmodel.machine`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.lane import END_CYCLES
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.sequencer import SCORE_CYCLES

__all__ = ["FAULTS", "check_report"]

Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]

FAULTS = (
    "nothing may be negative",
    "no end may be before what it ends",
    "items must sum: those of tasks to their stage's, those of a stage to what it was given",
    "a query must end END_CYCLES after its last stage, and later only if a task's end has waited",
    "lanes and memory must not be busy for longer than the load takes",
)
NEGATIVE, EARLY, ITEMS, TOTAL, BUSY = range(len(FAULTS))
ROUNDING = 1e-6  # of sums of parts of cycles
# What follows what, in cycles. A task's data may come while its first layers are computed.
QUERY_ORDER = (("arrival", "accepted"), ("accepted", "end"))
TASK_ORDER = (("start", "gathered"), ("start", "computing"), ("gathered", "end"),
              ("computing", "end"))  # fmt: skip
BATCH_ORDER = (("gathering", "gathered"), ("gathered", "taken"), ("taken", "crossed"),
               ("taken", "chosen"), ("chosen", "logit"))  # fmt: skip


def check_report(report: MachineReport) -> None:
    """Raise RuntimeError that names a rule of FAULTS and a query, lane or memory that breaks it."""
    if not len(report.query_records):
        return
    for rule, queries in _broken(report):
        if len(queries):
            raise RuntimeError(f"{FAULTS[rule]}: {len(queries)} times, one in query {queries[0]}")
    span = report.cycles - int(report.query_records["accepted"].min())
    busy = {f"lane {lane}": float(cycles) for lane, cycles in report.array_cycles.items()}
    busy["memory"] = report.memory_cycles
    below = [name for name, cycles in busy.items() if cycles < 0]
    if below:
        raise RuntimeError(f"{FAULTS[NEGATIVE]}: {', '.join(below)}")
    late = [name for name, cycles in busy.items() if cycles > span * (1 + ROUNDING)]
    if late:
        raise RuntimeError(f"{FAULTS[BUSY]}, {span} cycles: {', '.join(late)}")


def _broken(report: MachineReport) -> Iterator[tuple[int, Ints]]:
    """Yield rules with the query of each time that they are broken."""
    queries, stages = report.query_records, report.stage_records
    tasks, batches = report.task_log, report.batch_log
    place = queries["stage"][tasks["query"]] + tasks["stage"]  # of a task's stage
    for records in (tasks, batches):
        yield NEGATIVE, records["query"][_negative(records, records.dtype.names or ())]
    yield NEGATIVE, np.flatnonzero(_negative(queries, ("arrival", "accepted", "end")))
    yield EARLY, np.flatnonzero(_unordered(queries, QUERY_ORDER))
    yield EARLY, batches["query"][_unordered(batches, BATCH_ORDER)]
    early = _unordered(tasks, TASK_ORDER) | (tasks["end"] + SCORE_CYCLES > tasks["scored"])
    early |= tasks["start"] < np.maximum(
        stages["start"][place], queries["accepted"][tasks["query"]]
    )
    yield EARLY, tasks["query"][early | (tasks["scored"] > stages["end"][place])]
    yield ITEMS, stages["query"][_uneven(report, place)]
    last = np.maximum.reduceat(stages["end"], queries["stage"])
    yield TOTAL, np.flatnonzero(last + END_CYCLES + queries["late"] != queries["end"])


def _negative(records: NDArray[np.void], names: tuple[str, ...]) -> Masks:
    found = np.zeros(len(records), np.bool_)
    for name in names:
        found |= records[name] < 0
    return found


def _unordered(records: NDArray[np.void], pairs: tuple[tuple[str, str], ...]) -> Masks:
    found = np.zeros(len(records), np.bool_)
    for before, after in pairs:
        found |= records[before] > records[after]
    return found


def _uneven(report: MachineReport, place: Ints) -> Masks:
    """Return of which stages items do not sum. place : of each task's stage."""
    queries, stages = report.query_records, report.stage_records
    asked = np.concatenate([[0], stages["left"][:-1]])  # of the stage before
    asked[queries["stage"]] = queries["items"]
    dealt = np.bincount(place, report.task_log["items"], len(stages))
    found: Masks = (asked != stages["given"]) | (dealt != stages["given"])
    if len(report.batch_log):
        batches = report.batch_log
        where = queries["stage"][batches["query"]] + batches["stage"]
        found |= np.bincount(where, batches["items"], len(stages)) != dealt
    return found
