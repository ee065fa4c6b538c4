"""The part of `rpaccel validate`'s page about points of a sweep, and about queries at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.main_job.error_cells import ERROR_HEAD, error_cells, percent, relative_errors
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.sweep_causes import STAGES, is_split, load_cases, tasks_of, worst_text
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
from rpaccel.main_job.sweep_validation import LEVELS, OWN, TOLD, LoadPoint, SweepPoint
from rpaccel.perfmodel.report import UNIT_FIELDS

__all__ = ["TOLD_NAME", "level_errors", "sweep_text"]

Floats = npt.NDArray[np.float64]
TOLD_NAME = "`event`, told its records"
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

### Told its own hits
Another question: how far off are the models if the share of hits is right? Here they are told the
share of the query's own beats that read no memory, as the banks counted it, both stages' misses in
proportion. A sweep that looks for a machine does not know it.

{own_table}
{own_goals}

### Told its records
`perfmodel/traced_machine.py` beside the same counters: the events of `event`, whose gathers are not
means but those of the query's records. All lanes' gather units, row banks, memory fabric and memory
go on a cycle at a time; what leaves the filters, and when, is golden's. What the banks hold stays
from query to query, from the load of the rankers and the query that warms the caches on.

{told_table}
{told_goals}

### Stages and units
Cycles of each stage, and in which its units are busy, of all its tasks: the completion's counters.
Filters are taken to look at all bins.

{unit_table}

### Where the error comes from
{parts}
### Worst cases of `analytic`
Shares: of the rows' beats that read no memory, as counted and as told. Own hits: the level's error
if it is told the share as counted. Cause: the share of hits if half of the error is gone with it;
what `analytic` simplifies of tasks if half is gone on `event`; else the stage that is off by more
cycles, and how many of its lanes read at once.

{analytic_cases}
### Worst cases of `event`
{event_cases}
{turns}

## Queries at once
{loads} loads of {each} such queries, all asked at once, on machines of several lanes: all of their
time, and each query's from when it was begun. One that overtakes another changes both. Who is told
the records fetches the descriptors itself and writes the completions
(`perfmodel/dispatcher_kernels.py`).

{load_table}
{load_goals}

### Worst queries of loads
Place: in the order in which the load's queries end, from 0 on, measured and by `event`.

{load_cases}
"""
_HEAD = ("machine", "level", *ERROR_HEAD)
_UNIT_HEAD = ("cycles of", "level", *ERROR_HEAD)
_TOLD_HEAD = ("machine", "counter", *ERROR_HEAD, "difference in all")
_PART_HEAD = (
    "points", "number", "analytic, mean size [%]", "worst [%]", "event, mean size [%]", "worst [%]"
)  # fmt: skip


def level_errors(points: Sequence[SweepPoint], level: str) -> Floats:
    """Return predicted / measured - 1 of one of LEVELS or OWN, or of TOLD, float64[n]."""
    return relative_errors(
        [getattr(point, level) for point in points], [point.measured for point in points]
    )  # fmt: skip


def sweep_text(points: Sequence[SweepPoint], loads: Sequence[LoadPoint], records: Floats) -> str:
    """Return the sections. points : at least one. records : errors of queries that are known."""
    names = list(dict.fromkeys(point.machine for point in points))
    every = ("all", *names)
    rows = [_level_row(points, name, level, level) for name in every for level in LEVELS]
    own = [
        _level_row(points, name, field, f"{level}, told its own hits")
        for name in every
        for level, field in OWN.items()
    ]
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
        goals=_goals(_sizes(points, records)),
        own_table=markdown_table(_HEAD, own),
        own_goals=_goals(
            {
                f"`{level}`, told its own hits": (level, level_errors(points, OWN[level]))
                for level in LEVELS
            }
        ),
        told_table=markdown_table(_TOLD_HEAD, _told_rows(points, every)),
        told_goals=_goals({TOLD_NAME: ("event", level_errors(points, TOLD))}),
        unit_table=markdown_table(_UNIT_HEAD, _unit_rows(points)),
        parts=markdown_table(_PART_HEAD, _parts(points)),
        analytic_cases=worst_text(points, "analytic"),
        event_cases=worst_text(points, "event"),
        turns=_turns(points),
        loads=len(_several(loads)),
        each=LOAD_QUERIES,
        load_table=markdown_table(_HEAD, _load_rows(_several(loads))),
        load_goals=_goals({f"{TOLD_NAME}, all": ("event", _told_errors(_several(loads)))}),
        load_cases=load_cases(_several(loads)),
    )


def _between(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _sizes(points: Sequence[SweepPoint], records: Floats) -> dict[str, tuple[str, Floats]]:
    """Return (level whose goals count, errors) by name."""
    found = {f"`{level}`": (level, level_errors(points, level)) for level in LEVELS}
    return found | {"*records* above": ("event", records)}


def _goals(found: Mapping[str, tuple[str, Floats]]) -> str:
    """Return which goals are kept, by name: (level whose goals count, errors)."""
    said = []
    for name, (level, errors) in found.items():
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


def _level_row(points: Sequence[SweepPoint], name: str, field: str, label: str) -> list[str]:
    mine = [point for point in points if name in ("all", point.machine)]
    said, real = [getattr(point, field) for point in mine], [point.measured for point in mine]
    return [name, label, *error_cells(said, real)]


def _told_rows(points: Sequence[SweepPoint], names: Sequence[str]) -> list[list[str]]:
    """Return a row per machine and counter of who is told the records."""
    rows = []
    for name in names:
        mine = [point for point in points if name in ("all", point.machine)]
        counters = {
            "query, cycles": [(p.told, p.measured) for p in mine],
            "front, cycles": [(p.traced[1], p.front[0]) for p in mine],
            "back, cycles": [(p.traced[2], p.back[0]) for p in mine],
            "rows, beats read": [(p.read[1], p.read[0]) for p in mine],
        }
        for counter, pairs in counters.items():
            said, real = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            off = sum(abs(one - other) for one, other in pairs)
            rows.append([name, counter, *error_cells(said, real), f"{off} of {sum(real)}"])
    return rows


def _unit_rows(points: Sequence[SweepPoint]) -> list[list[str]]:
    """Return a row of errors per stage and level, then per unit of each stage."""
    rows = []
    for stage in STAGES:
        cycles = [getattr(point, stage) for point in points]
        for place, level in enumerate(LEVELS, start=1):
            cells = error_cells([each[place] for each in cycles], [each[0] for each in cycles])
            rows.append([stage, level, *cells])
    for name in UNIT_FIELDS:
        for number, stage in enumerate(STAGES):
            pairs = [point.units[name][number] for point in points]
            cells = error_cells([pair[1] for pair in pairs], [pair[0] for pair in pairs])
            rows.append([f"{stage}, {name.removesuffix('_cycles')}", "event", *cells])
    return rows


def _parts(points: Sequence[SweepPoint]) -> list[list[str]]:
    """Return a row of errors per group of points."""
    groups = {
        "each stage one task": [p for p in points if tasks_of(p) == (1, 1)],
        "several tasks": [p for p in points if tasks_of(p) != (1, 1)],
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
        sizes = (first.mean(), first.max(), second.mean(), second.max())
        rows.append([name, str(len(mine)), *(percent(float(size)) for size in sizes)])
    return rows


def _share_error(point: SweepPoint) -> float:
    counted, told = point.shares
    return abs(told - counted)


def _turns(points: Sequence[SweepPoint]) -> str:
    """Return how the models share the memory, and how far off the points are that need it."""
    groups: dict[str, list[SweepPoint]] = {"whose lanes may read at once": [], "on one lane": []}
    several, alone = groups.values()
    for point in points:
        at_once = is_split(point.machine) and tasks_of(point) != (1, 1)
        (several if at_once else alone).append(point)
    said = []
    for name, mine in groups.items():
        if mine:
            analytic, event = (np.abs(level_errors(mine, level)).mean() for level in LEVELS)
            said.append(
                f"{len(mine)} points {name} by {percent(float(analytic))} % (`analytic`) and "
                f"{percent(float(event))} % (`event`)"
            )
    return (
        "On both levels lanes that read at once wait for each other as in a queue "
        f"(`perfmodel/shared_memory.py`). Off on average: {'; '.join(said)}."
    )


def _several(loads: Sequence[LoadPoint]) -> list[LoadPoint]:
    """Return the loads of machines with several lanes."""
    return [load for load in loads if is_split(load.machine)]


def _told_errors(loads: Sequence[LoadPoint]) -> Floats:
    """Return predicted / measured - 1 of all of each load by who is told the records."""
    return relative_errors([load.traced for load in loads], [load.measured for load in loads])


def _load_rows(loads: Sequence[LoadPoint]) -> list[list[str]]:
    rows = []
    for name in dict.fromkeys(load.machine for load in loads):
        mine = [load for load in loads if load.machine == name]
        totals = [pair for load in mine for pair in load.totals]
        whole = error_cells([load.event for load in mine], [load.measured for load in mine])
        each = error_cells([pair[1] for pair in totals], [pair[0] for pair in totals])
        rows += [[name, "event, all", *whole], [name, "event, each", *each]]
        whole = error_cells([load.traced for load in mine], [load.measured for load in mine])
        said = [cycles for load in mine for cycles in load.traced_totals]
        each = error_cells(said, [pair[0] for pair in totals])
        rows += [[name, "told records, all", *whole], [name, "told records, each", *each]]
    return rows
