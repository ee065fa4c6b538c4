"""The performance of whole design spaces: every point a machine, a split and a two-stage query.

What depends on few axes is looked up (`perfmodel.machine_tables`): chains of layers by lane and
sub-batch, gathers by machine, tasks alone on a lane by both. What is left per point is to deal a
query's tasks out to the lanes (`perfmodel.point_kernels`). Formulas and constants are those of the
event model: a point with one task per stage takes what perfmodel.lane.predict_query says, any other
about what perfmodel.machine.simulate says; see tests/perfmodel/test_analytic.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel import point_kernels as kernels
from rpaccel.perfmodel.design_space import MOST_TASKS, TASK_AXES, DesignSpace, dealt
from rpaccel.perfmodel.machine_tables import GATHER_WAIT, MachineTables, machine_tables
from rpaccel.perfmodel.shared_memory import READ_FIELDS
from rpaccel.spec.stage_tasks import StageTasks

__all__ = ["ANOMALY", "Evaluation", "check_gathers", "evaluate"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ANOMALY = 2.0  # Graham's bound of a list schedule; see `_compare`
ROUNDING = 1e-9
CYCLES = {
    "latency_cycles": kernels.LATENCY,
    "front_cycles": kernels.FRONT,
    "back_cycles": kernels.BACK,
    "memory_cycles": kernels.DEMAND,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Points of a design space, and how often more bandwidth made one slower.

    columns : of the points that can be, an array for each axis and each result.
        number : of the point. Axes are their values; `split`, and `bound` of kernels.BOUNDS, are
        places. front_hits, back_hits : share of the beats of rows that read no memory.
        latency_cycles : of a query alone: control (perfmodel.lane), front_cycles until the filter
        has counted, back_cycles until the list is whole. interval_cycles : between queries, if
        there are always more: what the scarcest of lanes, memory, funnels and task grant allows.
        memory_cycles : of all ports, or row banks if those are more. query_macs : on real rows,
        padding of folds included. array_macs : cells. sram_bytes : perfmodel.sram.
    pairs : of neighbours in ports or beat whose hit rates are no lower, and records no longer, with
        more. slower : pairs in which a query takes longer with more. worst : the largest ratio, at
        least 1.
    """

    columns: dict[str, NDArray[Any]]
    pairs: int
    slower: int
    worst: float


def evaluate(space: DesignSpace, first: int, stop: int) -> Evaluation:
    """Return the points first..stop - 1.

    Raises RuntimeError that names a point if it breaks a rule: see `kernels.FAULTS`; if a gather or
    its memory takes longer with more ports or a wider beat, hit rates being no lower; or if a query
    takes more than ANOMALY times as long then.
    """
    if not 0 <= first < stop <= space.points:
        raise ValueError(f"points must be in 0..{space.points}, not {first} to {stop}")
    families = range(first // space.family_points, (stop - 1) // space.family_points + 1)
    tables = machine_tables(space, families)
    check_gathers(space, families.start, tables)
    results = np.empty((stop - first, kernels.RESULTS))
    _run(space, tables, first, results)
    machine = _machines(space, first, stop, families.start)
    _check(space, first, results)
    pairs, slower, worst = _compare(space, first, results, tables.hits[:, machine])
    kept = np.flatnonzero(results[:, kernels.FAULT] == 0)
    every = len(kept) == len(results)
    if not every:
        results, machine = results[kept], machine[kept]
    columns = space.columns(first, stop)
    columns["number"] = np.arange(first, stop)
    if not every:
        columns = {name: column[kept] for name, column in columns.items()}
    for name, place in CYCLES.items():
        columns[name] = results[:, place].astype(np.int32)
    columns["interval_cycles"] = results[:, kernels.INTERVAL].astype(np.float32)
    columns["bound"] = results[:, kernels.BOUND].astype(np.uint8)
    front, back = tables.item_macs
    columns["query_macs"] = (front * space.candidates)[machine] + back[machine] * columns["k"]
    columns["array_macs"] = tables.array_macs.astype(np.int32)[machine]
    columns["sram_bytes"] = tables.sram_bytes[machine]
    for name, rates in zip(("front_hits", "back_hits"), tables.hits, strict=True):
        columns[name] = rates.astype(np.float32)[machine]
    return Evaluation(columns=columns, pairs=pairs, slower=slower, worst=worst)


def _machines(space: DesignSpace, first: int, stop: int, family: int) -> Ints:
    """Return the place of each point's machine in the tables."""
    numbers = np.arange(first, stop)
    return (numbers // space.family_points - family) * space.family + numbers % space.family


def _run(space: DesignSpace, tables: MachineTables, first: int, results: Floats) -> None:
    axes = space.axes
    lengths = [len(getattr(axes, name)) for name in TASK_AXES]
    front, back = _deals(space)
    kernels.query_points(
        first,
        np.array([*lengths, space.family]),
        tables.machines,
        tables.tasks,
        tables.front_rows,
        tables.back_rows,
        front,
        back,
        np.empty((MOST_TASKS, 2), np.int64),
        np.empty((2, MOST_TASKS, kernels.GIVEN_FIELDS), np.int64),
        np.empty((kernels.MAX_LANES, kernels.LANE_FIELDS), np.int64),
        np.empty((kernels.MAX_LANES, READ_FIELDS)),
        results,
    )


def _deals(space: DesignSpace) -> tuple[Ints, Ints]:
    """Return how items are dealt out in every case: int64[task items, k, DEAL_FIELDS], twice."""
    axes = space.axes
    found = []
    for stage, tasks in enumerate((axes.front_task_items, axes.back_task_items)):
        sizes = space.task_sizes[stage]
        table = np.zeros((len(tasks), len(axes.k), kernels.DEAL_FIELDS), np.int64)
        for t, k in np.ndindex(len(tasks), len(axes.k)):
            items = space.candidates if stage == 0 else axes.k[k]
            count, size, last = dealt(items, tasks[t])
            share = StageTasks.shared(size, axes.k[k], space.candidates).task_k
            table[t, k] = (
                count, size, last, sizes.index((size, size)), sizes.index((last, size)), share,
                items,
            )  # fmt: skip
        found.append(table)
    return found[0], found[1]


def _check(space: DesignSpace, first: int, results: Floats) -> None:
    faults = results[:, kernels.FAULT]
    wrong = np.flatnonzero(faults > 0)
    if len(wrong):
        rule = kernels.FAULTS[int(faults[wrong[0]]) - 1]
        raise RuntimeError(f"{rule}: {len(wrong)} points, one is {space.point(first + wrong[0])}")


def check_gathers(space: DesignSpace, family: int, tables: MachineTables) -> None:
    """Raise RuntimeError if part of a gather takes longer with more ports or a wider beat.

    Not looked at where hit rates are lower with more, or records longer: they fill whole beats.
    family : number of the first family in the tables.
    """
    longer = _longer_records(space)
    for gathers in tables.gathers:
        cycles = gathers[..., :GATHER_WAIT]
        parts = cycles.reshape(-1, *space.shape[-2:], *cycles.shape[1:])
        shares = tables.hits.reshape(2, -1, *space.shape[-2:])
        for axis, (less, more) in enumerate(_neighbours()):
            fair = np.all(shares[:, *more] >= shares[:, *less], axis=0)[..., None, None]
            if axis == 1:
                fair = fair & ~longer[:, None, None]
            grows = parts[more] > parts[less] * (1 + ROUNDING)  # NaN: there is no such machine
            wrong = np.argwhere(fair & grows)
            if len(wrong):
                number = (family + int(wrong[0][0])) * space.family_points
                raise RuntimeError(
                    "a gather must not take longer with more bandwidth: one in the family of "
                    f"{space.point(number)} does"
                )


def _longer_records(space: DesignSpace) -> NDArray[np.bool_]:
    """Return between which beats item records become longer: bool[beats - 1]."""
    return np.diff([space.records(beat).item_bytes for beat in space.axes.beat_bytes]) > 0


def _neighbours() -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Return the places of less and of more bandwidth in [family, ports, beats] by either axis."""
    every, but_last, but_first = slice(None), slice(0, -1), slice(1, None)
    return [
        ((every, but_last, every), (every, but_first, every)),
        ((every, every, but_last), (every, every, but_first)),
    ]


def _compare(
    space: DesignSpace, first: int, results: Floats, hits: Floats
) -> tuple[int, int, float]:
    """Return (pairs, slower ones, worst ratio): neighbours in ports or beat; see Evaluation.

    The sequencer takes a sub-batch's first layers as soon as its data are there, before the last
    layers of the one before: data that come earlier can make a query later, as in any list schedule
    (R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969). Raises RuntimeError if one
    is more than ANOMALY times as late. Looks at bandwidth families that lie inside.
    """
    skip = -first % space.family
    count = (len(results) - skip) // space.family
    if count < 1:
        return 0, 0, 1.0
    part, shape = slice(skip, skip + count * space.family), (count, *space.shape[-2:])
    able = (results[part, kernels.FAULT] == 0).reshape(shape)
    shares = hits[:, part].reshape(2, *shape)
    cycles = results[part, kernels.LATENCY].reshape(shape)
    pairs, slower, worst = 0, 0, 1.0
    for axis, (less, more) in enumerate(_neighbours()):
        fair = able[less] & able[more] & np.all(shares[:, *more] >= shares[:, *less], axis=0)
        if axis == 1:
            fair &= ~_longer_records(space)
        late = fair & (cycles[more] > cycles[less])
        pairs, slower = pairs + int(fair.sum()), slower + int(late.sum())
        if late.any():
            worst = max(worst, float((cycles[more][late] / cycles[less][late]).max()))
    if worst > ANOMALY:
        raise RuntimeError(
            f"a query must not take more than {ANOMALY} times as long with more bandwidth, "
            f"not {worst:.3f}: one of points {first} to {first + len(results) - 1}"
        )
    return pairs, slower, worst
