"""The part of `rpaccel validate`'s page about points of a sweep, and about queries at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.main_job.error_cells import ERROR_HEAD, error_cells, percent, relative_errors
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.sweep_machines import BASE, sweep_machine
from rpaccel.main_job.sweep_queries import (
    DIMS,
    ITEM_TABLES,
    MOST_IDS,
    MOST_ROWS,
    UNIFORM,
    USER_TABLES,
)
from rpaccel.main_job.sweep_session import (
    BACK_TASKS,
    FRONT_TASKS,
    ITEMS,
    KEPT,
    LATENCIES,
    LOAD_QUERIES,
    SUB_BATCHES,
)
from rpaccel.main_job.sweep_validation import LEVELS, LoadPoint, SweepPoint

__all__ = ["level_errors", "sweep_text"]

Floats = npt.NDArray[np.float64]
WORST_CASES = 10
CLOSE = 0.03  # of a share of hits
FEW_ITEMS = 256
# Mean and worst size of the error that are wanted end to end.
_GOALS = {"analytic": (0.02, 0.10), "event": (0.0025, 0.02)}

_TEXT = """\
## Points of a sweep
`rpaccel sweep`'s level `analytic` (`perfmodel/analytic.py`) and the level `event`
(`perfmodel/machine.py`) beside the netlist: {points} queries of two stages, each alone on one of
{machines} machines with the sizes of `{base}`. A query is a point of a sweep: the models are told
sizes, means, shares of hits and of the banks' reads, these from other queries of the same law; they
see no record.
Of the query itself they are told its candidates and how many left the filter, which lets whole bins
pass. Drawn, log-uniform or each as often: {least} to {most} candidates, of which {low:.0%} to
{high:.0%} are asked for; two rankers with {item_tables} item tables, {user_tables} user tables,
lists of up to {ids} ids, rows of {rows} bytes, tables of up to {table} rows, ids popular as
Criteo's, of one model in {uniform} uniform; sub-batches {batches} (0: the compiler's); items of a
task {front} and {back} (0: one task); a latency of {short} to {long} cycles, constant. The caches
are warm.

{table_of_levels}
{goals}

### Where the error comes from
{parts}
### Worst cases of `analytic`
Shares: of the rows' beats that read no memory, as counted and as told.

{reasons}

{cases}
The models serve the task that asked first, at its full rate; the netlist takes turns.

## Queries at once
{loads} loads of {each} such queries, all asked at once, on machines of several lanes: all of their
time, and each query's from when it was begun. One that overtakes another changes both.

{load_table}
"""
_HEAD = ("machine", "level", *ERROR_HEAD)
_CASE_HEAD = (
    "machine", "session", "query", "latency", "items", "k", "sub-batches", "tasks", "measured",
    "analytic", "error [%]", "event [%]", "shares",
)  # fmt: skip
_PART_HEAD = ("points", "number", "analytic, mean size [%]", "worst [%]", "event, mean size [%]")


def level_errors(points: Sequence[SweepPoint], level: str) -> Floats:
    """Return predicted / measured - 1 of one of LEVELS, float64[n]."""
    return relative_errors(
        [getattr(point, level) for point in points], [point.measured for point in points]
    )  # fmt: skip


def sweep_text(points: Sequence[SweepPoint], loads: Sequence[LoadPoint], records: Floats) -> str:
    """Return the sections. points : at least one. records : errors of queries that are known."""
    names = list(dict.fromkeys(point.machine for point in points))
    rows = [_level_row(points, name, level) for name in ("all", *names) for level in LEVELS]
    return _TEXT.format(
        points=len(points),
        machines=len(names),
        base=BASE,
        least=ITEMS[0],
        most=ITEMS[1],
        low=KEPT[0],
        high=KEPT[1],
        item_tables=_between(ITEM_TABLES),
        user_tables=_between(USER_TABLES),
        ids=max(MOST_IDS),
        rows=_between(sum(DIMS, ())),
        table=max(MOST_ROWS),
        uniform=UNIFORM,
        batches=_listed(SUB_BATCHES),
        front=_listed(FRONT_TASKS),
        back=_listed(BACK_TASKS),
        short=LATENCIES[0],
        long=LATENCIES[1] - 1,
        table_of_levels=markdown_table(_HEAD, rows) + "\n" + _machines(names),
        goals=_goals(points, records),
        parts=markdown_table(_PART_HEAD, _parts(points)),
        cases=markdown_table(_CASE_HEAD, _cases(points)),
        reasons=_reasons(points),
        loads=len(_several(loads)),
        each=LOAD_QUERIES,
        load_table=markdown_table(_HEAD, _load_rows(_several(loads))),
    )


def _between(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _goals(points: Sequence[SweepPoint], records: Floats) -> str:
    """Return which goals are kept, by level; by *records* those of the last one."""
    found = {f"`{level}`": (level, level_errors(points, level)) for level in LEVELS}
    said = []
    for name, (level, errors) in (found | {"*records* above": ("event", records)}).items():
        sizes = np.abs(errors)
        if not len(sizes):
            continue
        mean, worst = _GOALS[level]
        parts = (("mean", float(sizes.mean()), mean), ("worst", float(sizes.max()), worst))
        verdicts = [
            f"{percent(size)} % {part} ({'kept' if size <= goal else 'missed'}: {100 * goal:g} %)"
            for part, size, goal in parts
        ]  # fmt: skip
        said.append(f"* {name}: {' and '.join(verdicts)}")
    return "Sizes of the error end to end, and what is wanted:\n\n" + "\n".join(said)


def _machines(names: Sequence[str]) -> str:
    lines = []
    for name in names:
        machine = sweep_machine(name)
        lines.append(
            f"* *{name}*: array {machine.array_size}, split `{machine.split}`, "
            f"{machine.memory_ports} ports of {machine.beat_bytes} bytes, caches of "
            f"{machine.static_cache_kib} KiB (static) and {machine.look_ahead_kib} KiB"
        )
    return "\n".join(lines) + "\n"


def _level_row(points: Sequence[SweepPoint], name: str, level: str) -> list[str]:
    mine = [point for point in points if name in ("all", point.machine)]
    said, real = [getattr(point, level) for point in mine], [point.measured for point in mine]
    return [name, level, *error_cells(said, real)]


def _parts(points: Sequence[SweepPoint]) -> list[list[str]]:
    """Return a row of errors per group of points."""
    groups = {
        "each stage one task": [p for p in points if _tasks(p) == (1, 1)],
        "several tasks": [p for p in points if _tasks(p) != (1, 1)],
        f"told share of hits within {CLOSE}": [p for p in points if _share_error(p) <= CLOSE],
        "told share of hits further off": [p for p in points if _share_error(p) > CLOSE],
        f"fewer than {FEW_ITEMS} candidates": [p for p in points if p.items < FEW_ITEMS],
        f"{FEW_ITEMS} candidates or more": [p for p in points if p.items >= FEW_ITEMS],
    }
    rows = []
    for name, mine in groups.items():
        if not mine:
            continue
        first, second = (np.abs(level_errors(mine, level)) for level in LEVELS)
        sizes = (first.mean(), first.max(), second.mean())
        rows.append([name, str(len(mine)), *(percent(float(size)) for size in sizes)])
    return rows


def _tasks(point: SweepPoint) -> tuple[int, int]:
    """Return the tasks of both stages."""
    pairs = ((point.items, point.front_task), (point.k, point.back_task))
    front, back = (-(-items // size) if size else 1 for items, size in pairs)
    return front, back


def _share_error(point: SweepPoint) -> float:
    counted, told = point.shares
    return abs(told - counted)


def _error(point: SweepPoint, level: str) -> float:
    return float(level_errors([point], level)[0])


def _worst(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    return sorted(points, key=lambda point: -abs(_error(point, "analytic")))[:WORST_CASES]


def _cases(points: Sequence[SweepPoint]) -> list[list[str]]:
    return [
        [
            p.machine, str(p.session), str(p.query), str(p.latency), str(p.items), str(p.k),
            f"{p.front_sub_batch}, {p.back_sub_batch}", "{}, {}".format(*_tasks(p)),
            str(p.measured), str(p.analytic), percent(_error(p, "analytic")),
            percent(_error(p, "event")), "{:.2f}, {:.2f}".format(*p.shares),
        ]
        for p in _worst(points)
    ]  # fmt: skip


def _reasons(points: Sequence[SweepPoint]) -> str:
    """Return what the worst cases have in common."""
    worst = _worst(points)
    counts = {
        "too short": sum(_error(p, "analytic") < 0 for p in worst),
        "of several tasks": sum(_tasks(p) != (1, 1) for p in worst),
        "on machines of several lanes": sum(_is_split(p.machine) for p in worst),
        f"told a share of hits within {CLOSE}": sum(_share_error(p) <= CLOSE for p in worst),
        "as far off or farther by `event`": sum(
            abs(_error(p, "event")) >= abs(_error(p, "analytic")) for p in worst
        ),
    }  # fmt: skip
    said = ", ".join(f"{count} are {what}" for what, count in counts.items())
    return f"Of these {len(worst)}, {said}."


def _is_split(machine: str) -> bool:
    """Return whether a machine has several lanes."""
    return len(sweep_machine(machine).split.lanes) > 1


def _several(loads: Sequence[LoadPoint]) -> list[LoadPoint]:
    """Return the loads of machines with several lanes."""
    return [load for load in loads if _is_split(load.machine)]


def _load_rows(loads: Sequence[LoadPoint]) -> list[list[str]]:
    rows = []
    for name in dict.fromkeys(load.machine for load in loads):
        mine = [load for load in loads if load.machine == name]
        totals = [pair for load in mine for pair in load.totals]
        whole = error_cells([load.event for load in mine], [load.measured for load in mine])
        each = error_cells([pair[1] for pair in totals], [pair[0] for pair in totals])
        rows += [[name, "event, all", *whole], [name, "event, each", *each]]
    return rows
