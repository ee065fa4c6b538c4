"""The part of `rpaccel validate`'s page about points of a sweep, and about queries at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.sweep_machines import BASE, sweep_machine
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

__all__ = ["GOALS", "error_cells", "level_errors", "sweep_text"]

Floats = npt.NDArray[np.float64]
WORST_CASES = 10
GOALS = {"analytic": (0.02, 0.10), "event": (0.0025, 0.02)}
"""Mean and worst size of the error that are wanted end to end."""

_TEXT = """\
## Points of a sweep
`rpaccel sweep`'s level `analytic` (`perfmodel/analytic.py`) and the level `event`
(`perfmodel/machine.py`) beside the netlist: {points} queries of two stages, each alone on one of
{machines} machines with the sizes of `{base}`. A query is a point of a sweep: the models are told
sizes, means and shares of hits, the latter from other queries of the same law; they see no record.
Of the query itself they are told its candidates and how many left the filter, which lets whole bins
pass. Drawn, log-uniform or each as often: {least} to {most} candidates, of which {low:.0%} to
{high:.0%} are asked for; two rankers with 2 to 8 item tables, 1 to 4 user tables, lists of up to 8
ids, rows of 4 to 32 bytes, tables of up to 16384 rows, ids popular as Criteo's, of one model in
four uniform; sub-batches {batches} (0: the compiler's); items of a task {front} and {back} (0: one
task); a latency of {short} to {long} cycles, constant. The caches are warm.

{table}
Wanted end to end: `analytic` a mean of {mean:g} % and {worst:g} % at worst; `event`
{event_mean:g} % and {event_worst:g} %, which *records* above keeps, of queries whose records are
known.

### Where the error comes from
{parts}
### Worst cases of `analytic`
Shares: of the rows' beats that read no memory, as counted and as told.

{cases}
{reasons}
## Queries at once
{loads} loads of {each} such queries, all asked at once, on machines of several lanes: all of their
time, and each query's from when it was begun. One that overtakes another changes both.

{load_table}
"""
_HEAD = (
    "machine", "level", "points", "mean [%]", "mean size [%]", "median size [%]", "p95 size [%]",
    "worst [%]", "correlation",
)  # fmt: skip
_CASE_HEAD = (
    "machine", "session", "query", "latency", "items", "k", "sub-batches", "tasks", "measured",
    "analytic", "error [%]", "event [%]", "shares",
)  # fmt: skip
_PART_HEAD = ("points", "number", "analytic, mean size [%]", "worst [%]", "event, mean size [%]")
_REASONS = """\
Most of them have several tasks and are too short where several lanes read rows at once. Likely, not
isolated: the models serve the task that asked first, at its full rate; the netlist takes turns, so
that lanes finish together, and what is left of the query then runs alone. `event` shares that. Told
shares of hits are close in most of them.
"""


def error_cells(predicted: Sequence[int], measured: Sequence[int]) -> list[str]:
    """Return the cells of a table: number, mean, sizes of errors [%], correlation."""
    pairs = np.array([predicted, measured], np.float64)
    found = pairs[0] / np.maximum(pairs[1], 1) - 1
    if not len(found):
        return ["0", *["-"] * 6]
    sizes = np.abs(found)
    flat = len(found) < 2 or bool((pairs == pairs[:, :1]).all(axis=1).any())
    return [
        str(len(found)),
        *(
            f"{100 * float(value):.2f}"
            for value in (
                found.mean(), sizes.mean(), np.median(sizes), np.quantile(sizes, 0.95),
                found[sizes.argmax()],
            )
        ),
        "-" if flat else f"{float(np.asarray(np.corrcoef(pairs))[0, 1]):.6f}",
    ]  # fmt: skip


def level_errors(points: Sequence[SweepPoint], level: str) -> Floats:
    """Return predicted / measured - 1 of one of LEVELS, float64[n]."""
    values = [(getattr(point, level), point.measured) for point in points]
    pairs = np.array(values, np.float64).reshape(-1, 2)
    return np.asarray(pairs[:, 0] / np.maximum(pairs[:, 1], 1) - 1, np.float64)


def sweep_text(points: Sequence[SweepPoint], loads: Sequence[LoadPoint]) -> str:
    """Return the sections. points : at least one."""
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
        batches=_listed(SUB_BATCHES),
        front=_listed(FRONT_TASKS),
        back=_listed(BACK_TASKS),
        short=LATENCIES[0],
        long=LATENCIES[1] - 1,
        table=markdown_table(_HEAD, rows) + "\n" + _machines(names),
        mean=100 * GOALS["analytic"][0],
        worst=100 * GOALS["analytic"][1],
        event_mean=100 * GOALS["event"][0],
        event_worst=100 * GOALS["event"][1],
        parts=markdown_table(_PART_HEAD, _parts(points)),
        cases=markdown_table(_CASE_HEAD, _cases(points)),
        reasons=_REASONS,
        loads=len(_several(loads)),
        each=LOAD_QUERIES,
        load_table=markdown_table(_HEAD, _load_rows(_several(loads))),
    )


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


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
        "told share of hits within 0.03": [p for p in points if _share_error(p) <= 0.03],
        "told share of hits further off": [p for p in points if _share_error(p) > 0.03],
        "fewer than 256 candidates": [p for p in points if p.items < 256],
        "256 candidates or more": [p for p in points if p.items >= 256],
    }
    rows = []
    for name, mine in groups.items():
        if not mine:
            continue
        first, second = (np.abs(level_errors(mine, level)) for level in LEVELS)
        sizes = (first.mean(), first.max(), second.mean())
        rows.append([name, str(len(mine)), *(f"{100 * float(size):.2f}" for size in sizes)])
    return rows


def _tasks(point: SweepPoint) -> tuple[int, int]:
    """Return the tasks of both stages."""
    pairs = ((point.items, point.front_task), (point.k, point.back_task))
    front, back = (-(-items // size) if size else 1 for items, size in pairs)
    return front, back


def _share_error(point: SweepPoint) -> float:
    counted, told = point.shares
    return abs(told - counted)


def _cases(points: Sequence[SweepPoint]) -> list[list[str]]:
    def error(point: SweepPoint, level: str) -> float:
        return float(level_errors([point], level)[0])

    worst = sorted(points, key=lambda point: -abs(error(point, "analytic")))[:WORST_CASES]
    return [
        [
            p.machine, str(p.session), str(p.query), str(p.latency), str(p.items), str(p.k),
            f"{p.front_sub_batch}, {p.back_sub_batch}", "{}, {}".format(*_tasks(p)),
            str(p.measured), str(p.analytic), f"{100 * error(p, 'analytic'):.2f}",
            f"{100 * error(p, 'event'):.2f}", "{:.2f}, {:.2f}".format(*p.shares),
        ]
        for p in worst
    ]  # fmt: skip


def _several(loads: Sequence[LoadPoint]) -> list[LoadPoint]:
    """Return the loads of machines with several lanes."""
    return [load for load in loads if len(sweep_machine(load.machine).split.lanes) > 1]


def _load_rows(loads: Sequence[LoadPoint]) -> list[list[str]]:
    rows = []
    for name in dict.fromkeys(load.machine for load in loads):
        mine = [load for load in loads if load.machine == name]
        totals = [pair for load in mine for pair in load.totals]
        whole = error_cells([load.event for load in mine], [load.measured for load in mine])
        each = error_cells([pair[1] for pair in totals], [pair[0] for pair in totals])
        rows += [[name, "event, all", *whole], [name, "event, each", *each]]
    return rows
