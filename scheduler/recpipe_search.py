"""The joint search: all candidates, or NSGA-II where they are too many; fronts and slices.

Three objectives: quality up, tail latency down, load up. A front is exact (moocore); two searches
are compared by the hypervolume of their fronts.
Ref: K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans.
Evol. Comp. 6, 2002, as pymoo has it; E. Zitzler and L. Thiele, the hypervolume, PPSN 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.recpipe_evaluate import Evaluator, Measures
from rpaccel.scheduler.recpipe_node import Design
from rpaccel.scheduler.recpipe_space import RecPipeSpace
from rpaccel.spec.recpipe import SliceSpec

__all__ = [
    "Genetic", "Searched", "Slices", "exhaustive", "front_of", "genetic",
    "hypervolume_ratio", "look_at", "restricted", "slices",
]  # fmt: skip

Ints = NDArray[np.int64]
MARGIN = 1.1  # corner of the hypervolume, of the reference's range


@dataclass(frozen=True, kw_only=True, eq=False)
class Searched:
    """What a search has looked at. front : places in `measures` that no other one beats."""

    designs: tuple[Design, ...]
    measures: Measures
    front: Ints

    def design(self, place: int) -> Design:
        """Return the pipeline of a candidate."""
        return self.designs[int(self.measures.row[place])]


@dataclass(frozen=True, kw_only=True)
class Genetic:
    """NSGA-II: individuals of a generation, generations, seed."""

    population: int = 200
    generations: int = 60
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Places of candidates on the three slices, in the order of their first axis.

    quality : at least the spec's; front of (load up, tail down).
    latency : tail within the spec's; front of (load up, quality up).
    throughput : at the spec's load; front of (tail down, quality up).
    """

    quality: tuple[int, ...]
    latency: tuple[int, ...]
    throughput: tuple[int, ...]


def exhaustive(space: RecPipeSpace, evaluator: Evaluator) -> Searched:
    """Return every candidate of a space.

    Raises ValueError if there are more than the spec allows, or none.
    """
    designs, loads = tuple(space.designs()), space.spec.loads_qps
    count = len(designs) * len(loads)
    if count > space.spec.exhaustive_most:
        raise ValueError(
            f"candidates must be at most {space.spec.exhaustive_most:,} (exhaustive_most), "
            f"not {count:,}: `rpaccel recpipe --wide` searches them with NSGA-II"
        )
    if not designs:
        raise ValueError("the space must hold at least one pipeline of known quality, not 0")
    row = np.repeat(np.arange(len(designs)), len(loads))
    return look_at(evaluator, designs, row, np.tile(np.array(loads, np.float64), len(designs)))


def look_at(
    evaluator: Evaluator, designs: Sequence[Design], row: Ints, load_qps: Floats
) -> Searched:
    """Measure candidates, each a place in `designs` and a load."""
    table = evaluator.table(designs)
    measures = evaluator.measure(table, row, load_qps, evaluator.qualities(designs))
    return Searched(designs=tuple(designs), measures=measures, front=front_of(measures))


def _objectives(measures: Measures) -> Floats:
    return np.stack([-measures.quality, measures.tail_ms, -measures.load_qps], axis=1)


def _nondominated(points: Floats, places: Ints) -> Ints:
    """Return those of `places` whose points no other one beats; of equal points the first."""
    import moocore  # noqa: PLC0415  (slow import)

    if not places.size:
        return places
    kept: Ints = places[moocore.is_nondominated(points[places])]
    return kept


def front_of(measures: Measures) -> Ints:
    """Return the places of the Pareto front of (quality, tail, load), by load, quality, tail."""
    points = _objectives(measures)
    kept = _nondominated(points, np.flatnonzero(measures.stable))
    order = np.lexsort((points[kept, 1], points[kept, 0], -points[kept, 2]))
    return kept[order]


def restricted(searched: Searched, devices: Sequence[str]) -> Searched:
    """Return the candidates whose stages, retrieval included, are on some of `devices`."""
    allowed = {*devices, ""}
    able = np.array([{*d.devices, d.retrieval} <= allowed for d in searched.designs])
    every = searched.measures
    places = np.flatnonzero(able[every.row])
    names = ("row", "load_qps", "quality", "tail_ms", "p50_ms", "p95_ms", "mean_ms")
    kept = replace(every, **{name: getattr(every, name)[places] for name in names})
    kept = replace(kept, simulated=int(kept.stable.sum()))
    return Searched(designs=searched.designs, measures=kept, front=front_of(kept))


def hypervolume_ratio(searched: Searched, reference: Searched) -> float:
    """Return the hypervolume of a front over that of a reference front.

    In quality, log tail and load, scaled so that the reference's best is 0 and its worst 1 in each;
    up to MARGIN behind the worst. An objective in which the reference has one value does not count.
    """
    import moocore  # noqa: PLC0415  (slow import)

    fronts = []
    for each in (reference, searched):
        points = _objectives(each.measures)[each.front]
        points[:, 1] = np.log(points[:, 1])
        fronts.append(points)
    best, worst = fronts[0].min(axis=0), fronts[0].max(axis=0)
    varies = worst > best
    if not varies.any():
        return 1.0
    volumes = []
    for points in fronts:
        scaled = ((points - best) / np.where(varies, worst - best, 1))[:, varies]
        inside = scaled[np.all(scaled < MARGIN, axis=1)]
        corner = np.full(int(varies.sum()), MARGIN)
        volumes.append(float(moocore.hypervolume(inside, ref=corner)) if len(inside) else 0.0)
    return volumes[1] / volumes[0]


def slices(searched: Searched, fixed: SliceSpec) -> Slices:
    """Return the three slices of what was searched."""
    found = searched.measures
    stable = found.stable

    def cut(able: NDArray[np.bool_], one: Floats, other: Floats) -> tuple[int, ...]:
        places = _nondominated(np.stack([one, other], axis=1), np.flatnonzero(stable & able))
        return tuple(int(place) for place in places[np.lexsort((other[places], one[places]))])

    load, tail, quality = found.load_qps, found.tail_ms, found.quality
    return Slices(
        quality=cut(quality >= fixed.quality, -load, tail)[::-1],
        latency=cut(tail <= fixed.sla_ms, -load, -quality)[::-1],
        throughput=cut(load == fixed.load_qps, tail, -quality),
    )


class _Seen:
    """Candidates that a genetic search has measured, each once."""

    def __init__(self, space: RecPipeSpace, evaluator: Evaluator) -> None:
        self.space, self.evaluator = space, evaluator
        self.place: dict[tuple[Design, float], int] = {}
        self.designs: list[Design] = []
        self.parts: list[Measures] = []

    def measure(self, genes: Ints) -> tuple[Floats, Floats]:
        """Return the objectives and how much each candidate breaks the rules (0: it does not)."""
        asked = [(self.space.design(row), float(self._load(row))) for row in genes.tolist()]
        fresh = [
            one
            for one in dict.fromkeys(asked)
            if one not in self.place and self.space.legal(one[0])
        ]
        if fresh:
            start = len(self.designs)
            for number, one in enumerate(fresh):
                self.place[one] = start + number
            designs = [design for design, _ in fresh]
            self.designs += designs
            load = np.array([load for _, load in fresh])
            part = look_at(self.evaluator, designs, np.arange(len(designs)), load).measures
            self.parts.append(part)
        every = _objectives(self.together())
        values, broken = np.zeros((len(asked), 3)), np.full(len(asked), 2.0)
        for number, one in enumerate(asked):
            at = self.place.get(one)
            if at is not None:
                values[number] = np.where(np.isfinite(every[at]), every[at], 0)
                broken[number] = 0.0 if np.isfinite(every[at, 1]) else 1.0
        return values, broken

    def _load(self, row: Sequence[int]) -> float:
        return self.space.spec.loads_qps[row[-1]]

    def together(self) -> Measures:
        """Return everything that was measured."""
        if not self.parts:
            empty = np.zeros(0)
            return Measures(
                row=np.zeros(0, np.int64), load_qps=empty, quality=empty, tail_ms=empty,
                p50_ms=empty, p95_ms=empty, mean_ms=empty, simulated=0,
            )  # fmt: skip
        if len(self.parts) > 1:
            names = ("load_qps", "quality", "tail_ms", "p50_ms", "p95_ms", "mean_ms")
            joined = {
                name: np.concatenate([getattr(part, name) for part in self.parts]) for name in names
            }
            simulated = sum(part.simulated for part in self.parts)
            self.parts = [replace(self.parts[0], simulated=simulated, **joined)]
        size = self.parts[0].load_qps.size
        self.parts[0] = replace(self.parts[0], row=np.arange(size))
        return self.parts[0]


def genetic(space: RecPipeSpace, evaluator: Evaluator, ask: Genetic) -> Searched:
    """Search a space with NSGA-II over the places of its genes (extra `search`).

    Returns everything that was measured, each candidate once.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2  # noqa: PLC0415  (an extra)
    from pymoo.core.problem import Problem  # noqa: PLC0415
    from pymoo.operators.crossover.sbx import SBX  # noqa: PLC0415
    from pymoo.operators.mutation.pm import PM  # noqa: PLC0415
    from pymoo.operators.repair.rounding import RoundingRepair  # noqa: PLC0415
    from pymoo.operators.sampling.rnd import IntegerRandomSampling  # noqa: PLC0415
    from pymoo.optimize import minimize  # noqa: PLC0415

    seen = _Seen(space, evaluator)
    last = [max(len(values), 1) - 1 for values in space.axes.values()]

    class Candidates(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=len(last), n_obj=3, n_ieq_constr=1, xl=0, xu=last, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            values, broken = seen.measure(np.asarray(x, np.int64))
            out["F"], out["G"] = values, broken[:, None]

    algorithm = NSGA2(
        pop_size=ask.population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    minimize(Candidates(), algorithm, ("n_gen", ask.generations), seed=ask.seed, verbose=False)
    measures = seen.together()
    return Searched(designs=tuple(seen.designs), measures=measures, front=front_of(measures))
