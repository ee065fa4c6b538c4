"""Worst points of a sweep and worst queries of loads, each with what its error comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rpaccel.main_job.error_cells import percent, relative_errors
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.sweep_machines import sweep_machine
from rpaccel.main_job.sweep_validation import LEVELS, OWN, LoadPoint, SweepPoint

__all__ = [
    "STAGES",
    "cause",
    "is_split",
    "load_cases",
    "load_cause",
    "point_error",
    "tasks_of",
    "worst_text",
]  # fmt: skip

WORST_CASES = 10
STAGES = ("front", "back")
_HEAD = (
    "machine", "session", "query", "latency", "items", "k", "sub-batches", "tasks", "measured",
    "analytic [%]", "own hits [%]", "event [%]", "own hits [%]", "shares", "cause",
)  # fmt: skip
_LOAD_HEAD = (
    "machine", "session", "query", "latency", "measured", "event", "error [%]", "place", "cause"
)  # fmt: skip


def point_error(point: SweepPoint, level: str) -> float:
    """Return predicted / measured - 1 of one of LEVELS or OWN."""
    return float(relative_errors([getattr(point, level)], [point.measured])[0])


def tasks_of(point: SweepPoint) -> tuple[int, int]:
    """Return the tasks of both stages."""
    pairs = ((point.items, point.front_task), (point.k, point.back_task))
    front, back = (-(-items // size) if size else 1 for items, size in pairs)
    return front, back


def is_split(machine: str) -> bool:
    """Return whether a machine has several lanes."""
    return len(sweep_machine(machine).split.lanes) > 1


def _lanes_of(machine: str) -> tuple[int, int]:
    """Return the lanes of both stages."""
    split = sweep_machine(machine).split
    return split.front[0], (split.back or split.front)[0]


def cause(point: SweepPoint, level: str) -> str:
    """Return what most of a level's error comes from, in a few words.

    The share of hits, if half of the error is gone with the query's own; `analytic`'s way to follow
    tasks, if half is gone on the level `event`; else the stage that is off by more cycles, and how
    many of its lanes share the memory.
    """
    size = abs(point_error(point, level))
    if abs(point_error(point, OWN[level])) <= size / 2:
        return "told share of hits"
    if level == "analytic" and abs(point_error(point, "event")) <= size / 2:
        return "tasks as `analytic` follows them"
    place = 1 + LEVELS.index(level)
    off = [abs(stage[place] - stage[0]) for stage in (point.front, point.back)]
    stage = int(off[1] > off[0])
    lanes = min(tasks_of(point)[stage], _lanes_of(point.machine)[stage])
    if lanes == 1:
        return f"{STAGES[stage]}: gather of one lane"
    return f"{STAGES[stage]}: {lanes} lanes at once"


def _worst(points: Sequence[SweepPoint], level: str) -> list[SweepPoint]:
    return sorted(points, key=lambda point: -abs(point_error(point, level)))[:WORST_CASES]


def worst_text(points: Sequence[SweepPoint], level: str) -> str:
    """Return what a level's worst points have in common, and their table."""
    worst = _worst(points, level)
    counts = Counter(cause(point, level) for point in worst).most_common()
    said = ", ".join(f"{count} by *{what}*" for what, count in counts)
    short = sum(point_error(point, level) < 0 for point in worst)
    rows = [
        [
            p.machine, str(p.session), str(p.query), str(p.latency), str(p.items), str(p.k),
            f"{p.front_sub_batch}, {p.back_sub_batch}", "{}, {}".format(*tasks_of(p)),
            str(p.measured),
            *(percent(point_error(p, name)) for each in LEVELS for name in (each, OWN[each])),
            "{:.2f}, {:.2f}".format(*p.shares), cause(p, level),
        ]
        for p in worst
    ]  # fmt: skip
    head = f"Of these {len(worst)}, {short} are too short; by cause: {said}."
    return f"{head}\n\n{markdown_table(_HEAD, rows)}"


def _places(load: LoadPoint) -> list[tuple[int, int]]:
    """Return each query's place in the order of ends, (measured, event)."""
    measured, event = (
        [sorted(each).index(end) for end in each] for each in zip(*load.ends, strict=True)
    )
    return list(zip(measured, event, strict=True))


def load_cause(load: LoadPoint, query: int) -> str:
    """Return what a query's error in a load comes from: who overtakes whom, or how fast all are."""
    real, said = _places(load)[query]
    if real != said:
        return "ends earlier in its turn" if real < said else "is overtaken"
    moved = sum(one != other for one, other in _places(load))
    return f"{moved} others change places" if moved else "no other order"


def load_cases(loads: Sequence[LoadPoint]) -> str:
    """Return the table of the worst queries of loads. Place: of its end, measured and `event`."""
    found = [
        (float(relative_errors([said], [real])[0]), load, query)
        for load in loads
        for query, (real, said) in enumerate(load.totals)
    ]
    worst = sorted(found, key=lambda each: -abs(each[0]))[:WORST_CASES]
    rows = [
        [
            load.machine, str(load.session), str(query), str(load.latency),
            *map(str, load.totals[query]), percent(error), "{}, {}".format(*_places(load)[query]),
            load_cause(load, query),
        ]
        for error, load, query in worst
    ]  # fmt: skip
    return markdown_table(_LOAD_HEAD, rows)
