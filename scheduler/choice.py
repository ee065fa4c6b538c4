"""The scheduler's answer: the best pipeline and why, or what stands in the way of any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import POISSON, Floats
from rpaccel.scheduler.choice_answer import Asked, Candidate, Choice, Need, WhatIf
from rpaccel.scheduler.peak import Peak, Verdict, find_peak
from rpaccel.scheduler.recpipe_evaluate import Evaluator, Measures, PipelineTable
from rpaccel.scheduler.recpipe_node import Design
from rpaccel.scheduler.recpipe_space import RecPipeSpace
from rpaccel.scheduler.second_look import LONGEST, SecondLook, look_again, make_sla

__all__ = ["LOADS", "QUERIES", "choose"]

QUERIES = 20_000  # of a simulation: near saturation queues take thousands to build up
LOADS = (0.5, 2.0)  # of the load asked: what would change
STEPS = tuple(0.85**step for step in range(30))  # of the load: where the nearest point is sought
NEAR = 0.1  # of the SLA: a tail that is longer by less may meet it in a longer run
CLOSEST = 24  # pipelines whose largest load is searched for, those of the largest capacity
RESOLUTION = 1e-3  # of a largest load, relative
Ints = NDArray[np.int64]


class _Chooser:
    def __init__(self, space: RecPipeSpace, evaluator: Evaluator, need: Need) -> None:
        self.space, self.evaluator, self.need = space, evaluator, need
        self.designs = tuple(space.designs())
        if not self.designs:
            raise ValueError("the space must hold at least one pipeline of known quality, not 0")
        most = space.spec.exhaustive_most
        if len(self.designs) > most:
            raise ValueError(f"pipelines must be at most {most:,}, not {len(self.designs):,}")
        self.table: PipelineTable = evaluator.table(self.designs)
        self.quality = evaluator.qualities(self.designs)
        self.measured: dict[float, Measures] = {}
        self.longer = evaluator.longer(LONGEST)
        self.looks: dict[tuple[int, float], SecondLook] = {}  # by row and load

    def at(self, load_qps: float) -> Measures:
        """Return the measures of all pipelines at a load."""
        if load_qps not in self.measured:
            row = np.arange(len(self.designs))
            loads = np.full(row.size, load_qps)
            self.measured[load_qps] = self.evaluator.measure(self.table, row, loads, self.quality)
        return self.measured[load_qps]

    def option(self, row: int, load_qps: float) -> Candidate:
        """Return a pipeline at a load."""
        found, design = self.at(load_qps), self.designs[row]
        point = self.space.quality.find(design.funnel, design.devices)
        assert point is not None  # legal
        misses = []
        if point.quality < self.need.quality:
            misses.append("quality")
        if not found.stable[row]:
            misses.append("load")
        elif found.tail_ms[row] > self.need.sla_ms:
            misses.append("latency")
        return Candidate(
            design=design,
            quality=point,
            load_qps=load_qps,
            tail_ms=float(found.tail_ms[row]),
            p50_ms=float(found.p50_ms[row]),
            p95_ms=float(found.p95_ms[row]),
            mean_ms=float(found.mean_ms[row]),
            idle_ms=1e3 * float(self.table.idle_s[row]),
            transfer_ms=1e3 * float(self.table.transfer_s[row]),
            capacity_qps=float(self.table.capacity_qps[row]),
            misses=tuple(misses),
        )

    def placements(self, load_qps: float) -> list[list[Candidate]]:
        """Return the options of every placement, each best first: see `_rank`."""
        groups: dict[tuple[object, ...], list[Candidate]] = {}
        for row, design in enumerate(self.designs):
            groups.setdefault(design.placed, []).append(self.option(row, load_qps))
        return [sorted(group, key=_rank) for group in groups.values()]

    def binding(self, load_qps: float, best: Candidate) -> str | None:
        """Return the first requirement, in this order, that empties what the others left.

        None if the best is feasible; longer runs that refuse all leave nothing to the latency.
        """
        if best.feasible:
            return None
        left = self.quality >= self.need.quality
        if not left.any():
            return "quality"
        return "latency" if (left & self.at(load_qps).stable).any() else "load"

    def found(self, load_qps: float) -> bool:
        """Whether a pipeline meets the need by the queries that chose, refused or not."""
        measures, need = self.at(load_qps), self.need
        return bool(((self.quality >= need.quality) & (measures.tail_ms <= need.sla_ms)).any())

    def reach(self, relaxed: Mapping[str, Asked]) -> dict[str, float]:
        """Return what each requirement could be at best, those before it kept."""
        found, good = self.at(self.need.load_qps), self.quality >= self.need.quality
        least_ms = float(np.min(found.tail_ms[good], initial=math.inf))
        return {
            "quality": float(self.quality.max()),
            "load": float(np.max(self.table.settled_qps[good], initial=0.0)),
            "latency": relaxed["latency"].tail_ms if "latency" in relaxed else least_ms,
        }

    def what_if(self, load_qps: float, chosen: Candidate) -> WhatIf:
        """Return what would be chosen at another load."""
        best = self.judged(load_qps)[0]
        kept = self.option(self.designs.index(chosen.design), load_qps)
        return WhatIf(
            load_qps=load_qps,
            best=best if best.feasible else None,
            kept=self.seen(kept),
            binding=self.binding(load_qps, best),
        )

    def limit(self, row: int, evaluator: Evaluator) -> Peak:
        """Return the largest load within the SLA, by looks of up to all the queries."""

        def latencies(load_qps: float, count: int) -> Floats:
            load = np.array([load_qps])
            return evaluator.latencies(self.table, np.array([row]), load, count)[0]

        sla = make_sla(self.need.sla_ms, evaluator)
        limit = float(self.table.settled_qps[row])
        return find_peak(latencies, sla, limit_qps=limit, resolution=RESOLUTION)

    def look(self, option: Candidate) -> SecondLook | None:
        """Return a longer run of a pipeline at its load; None where it does not settle."""
        if "load" in option.misses:
            return None
        return self.look_at(self.designs.index(option.design), option.load_qps)

    def look_at(self, row: int, load_qps: float) -> SecondLook:
        """Return a longer run of a row at a load that settles."""
        key = row, load_qps
        if key not in self.looks:
            self.looks[key] = look_again(self.longer, self.table, row, load_qps, self.need.sla_ms)
        return self.looks[key]

    def refuses(self, row: int, load_qps: float) -> bool:
        """Whether a longer run of a row at a load that settles surely misses the SLA."""
        look = self.look_at(row, load_qps)
        return look.verdict is Verdict.FAILS and self._tail(look) > self.need.sla_ms

    def seen(self, option: Candidate) -> Candidate:
        """Return an option as a longer run sees it, if that refuses it or lets it through."""
        row, most_ms = self.designs.index(option.design), self.need.sla_ms * (1 + NEAR)
        if not {*option.misses} <= {"latency"} or option.tail_ms > most_ms:
            return option
        if self.passes(row, option.load_qps, option.tail_ms) == option.feasible:
            return option
        misses = ("latency",) if option.feasible else ()
        return replace(
            option, tail_ms=self._tail(self.look_at(row, option.load_qps)), misses=misses
        )

    def passes(self, row: int, load_qps: float, tail_ms: float) -> bool:
        """Whether a row of this tail meets the SLA, or misses it by little, not in a longer run."""
        if tail_ms > self.need.sla_ms * (1 + NEAR) or self.refuses(row, load_qps):
            return False
        return min(tail_ms, self._tail(self.look_at(row, load_qps))) <= self.need.sla_ms

    def least_sla_ms(self, row: int, load_qps: float, tail_ms: float) -> float:
        """Return an SLA that a row of this tail at a load meets, and a longer run, too."""
        return max(tail_ms / (1 + NEAR), self._tail(self.look_at(row, load_qps)))

    def _tail(self, look: SecondLook) -> float:
        return look.spread_ms[self.need.percentile][0]

    def poisson(self, option: Candidate) -> SecondLook | None:
        """Return a longer run of an option that settles, of Poisson arrivals; None if all are."""
        if self.longer.process is POISSON:
            return None
        row, evaluator = self.designs.index(option.design), self.longer.longer(LONGEST, POISSON)
        return look_again(evaluator, self.table, row, option.load_qps, self.need.sla_ms)

    def most_qps(self, chosen: Candidate) -> tuple[float, Peak]:
        """Return the largest load within the SLA, and the search for it by longer runs.

        What was asked is met on the queries that chose: no less, unless a longer run refuses it.
        """
        limit, look = self.limit(self.designs.index(chosen.design), self.longer), self.look(chosen)
        asked = self.need.load_qps
        refused = look is not None and look.verdict is Verdict.FAILS
        return (limit.qps if refused or limit.high_qps < asked else max(asked, limit.qps)), limit

    def judged(self, load_qps: float) -> list[Candidate]:
        """Return the best of every placement in order, the first one not refused by a longer run.

        Of a placement that is refused in one way another way counts. If all feasible ones are,
        they come first, by the tails of their longer runs; but before them one that misses the SLA
        by little, not in a longer run.
        """
        groups = self.placements(load_qps)
        lost: dict[tuple[object, ...], list[Candidate]] = {}

        def head(group: list[Candidate]) -> Candidate:
            refused = lost.get(group[0].design.placed)
            return min(refused, key=_rank) if refused and not group[0].feasible else group[0]

        while True:
            group = min(groups, key=lambda each: _rank(head(each)))
            best = head(group)
            found = self.seen(best)
            if not best.feasible or found.feasible:
                break
            lost.setdefault(best.design.placed, []).append(found)
            group[0] = found
            group.sort(key=_rank)
        if not best.feasible:
            best = self._near(groups) or best
        return sorted(map(head, groups), key=lambda option: (
            not option.feasible, not best.feasible and option.design.placed not in lost,
            _rank(option)))  # fmt: skip

    def _near(self, groups: list[list[Candidate]]) -> Candidate | None:
        """Put the first option that a longer run lets through before the others of its group."""
        every = [(option, group) for group in groups for option in group]
        for option, group in sorted(every, key=lambda each: _rank(each[0])):
            found = self.seen(option)
            if found.feasible:
                group.insert(0, found)
                group.remove(option)
                return found
        return None

    def meets(self, row: int, load_qps: float) -> bool:
        """Whether a pipeline meets the SLA at a load, in a longer run, too."""
        measures = self.evaluator.measure(
            self.table, np.array([row]), np.array([load_qps]), self.quality
        )
        return self.passes(row, load_qps, float(measures.tail_ms[0]))

    def asked(self, row: int, load_qps: float, tail_ms: float) -> Asked:
        """Return a feasible point: no more load, no shorter tail, no better quality than asked."""
        need = self.need
        quality = min(float(self.quality[row]), need.quality)
        changes = {
            "quality": float(_below(need.quality, np.array([quality]))[0]),
            "load": max(math.log(need.load_qps / load_qps), 0.0),
            "latency": max(math.log(tail_ms / need.sla_ms), 0.0),
        }
        return Asked(
            load_qps=min(load_qps, need.load_qps),
            tail_ms=max(tail_ms, need.sla_ms),
            quality=quality,
            design=self.designs[row],
            moved=tuple(name for name, change in changes.items() if change > 0),
            distance=sum(changes.values()),
        )

    def relaxations(self) -> dict[str, Asked]:
        """Return the least change of each requirement alone that lets a pipeline through.

        None of them is refused by a longer run.
        """
        need, found = self.need, self.at(self.need.load_qps)
        good, settled = self.quality >= need.quality, found.stable
        relaxed = {}
        worse = np.flatnonzero(~good & settled)
        for row in worse[np.lexsort((found.tail_ms[worse], -self.quality[worse]))].tolist():
            if self.passes(row, need.load_qps, float(found.tail_ms[row])):
                relaxed["quality"] = self.asked(row, need.load_qps, need.sla_ms)
                break
        able = np.flatnonzero(good & settled)
        if able.size:
            row, tail_ms = self._least_tail(able, need.load_qps)
            relaxed["latency"] = self.asked(row, need.load_qps, tail_ms)
        load = self._less_load(np.flatnonzero(good))
        if load is not None:
            relaxed["load"] = load
        return relaxed

    def _least_tail(self, rows: Ints, load_qps: float) -> tuple[int, float]:
        """Return the row of the least SLA that is met at a load, and that."""
        tails = self.at(load_qps).tail_ms
        best, found = math.inf, -1
        for row in rows[np.lexsort((-self.quality[rows], tails[rows]))].tolist():
            if tails[row] / (1 + NEAR) >= best:
                break  # see `least_sla_ms`
            tail_ms = self.least_sla_ms(row, load_qps, float(tails[row]))
            if tail_ms < best:
                best, found = tail_ms, row
        return found, best

    def _less_load(self, rows: Ints) -> Asked | None:
        """Return the largest load at which one of the pipelines meets the SLA."""
        idle_ms = 1e3 * self.table.idle_s[rows]
        rows = rows[idle_ms <= self.need.sla_ms]
        # By what each could do at most: its capacity is looked at before anything is simulated.
        most = self.table.settled_qps
        order = rows[np.argsort(-most[rows], kind="stable")]
        best, found = 0.0, -1
        for row in order[:CLOSEST].tolist():
            if most[row] <= best:
                break
            if self.limit(row, self.evaluator).qps * (1 + NEAR) <= best:
                continue  # no longer run is so much kinder
            limit = min(self.limit(row, self.longer).qps, self.need.load_qps)
            while limit > best and not self.meets(row, limit):  # `find_peak` is surer of less
                limit *= 1 - RESOLUTION
            if limit > best:
                best, found = limit, row
        return self.asked(found, best, self.need.sla_ms) if found >= 0 else None

    def nearest(self, relaxed: Sequence[Asked]) -> Asked | None:
        """Return the feasible point of the least distance; None: nothing settles."""
        need, points = self.need, list(relaxed)
        less = _below(need.quality, self.quality)
        alone = np.maximum(np.log(1e3 * self.table.idle_s / need.sla_ms), 0)
        for share in STEPS:
            least = -math.log(share) + float(np.min(less + alone))
            if points and least >= min(point.distance for point in points):
                break  # no queue makes it shorter
            load = share * need.load_qps
            found = self.at(load)
            far = less + np.maximum(np.log(found.tail_ms / need.sla_ms), 0)
            row = int(np.argmin(far))
            if found.stable[row]:
                tail_ms = self.least_sla_ms(row, load, float(found.tail_ms[row]))
                points.append(self.asked(row, load, tail_ms))
        return min(points, key=lambda point: point.distance) if points else None


def _below(asked: float, quality: Floats) -> Floats:
    """Return the logarithms of the factors by which qualities are below one; infinite of 0."""
    if asked == 0:
        return np.zeros_like(quality)
    share = np.minimum(quality / asked, 1.0)
    return -np.log(share, where=share > 0, out=np.full_like(share, -np.inf))


def _rank(option: Candidate) -> tuple[bool, int, float, float, Design]:
    return (
        not option.feasible,
        len(option.misses),
        option.tail_ms,
        -option.quality.quality,
        option.design,
    )


def choose(space: RecPipeSpace, evaluator: Evaluator, need: Need) -> Choice:
    """Return the pipeline of the lowest tail that meets a need, or what binds.

    Every pipeline of the space is simulated at the load, and at LOADS of it; the first two of them
    once more, and one that surely misses the SLA then is not chosen while another is feasible. If
    all that are feasible miss it then, the one of the lowest tail is chosen, as not feasible. One
    that misses it by little is feasible if a longer run meets it, and no other one is.
    evaluator : with enough queries for a tail near saturation, QUERIES.
    """
    chooser = _Chooser(space, evaluator, need)
    options = chooser.judged(need.load_qps)
    best = options[0] if options[0].feasible or chooser.found(need.load_qps) else None
    second = options[1] if best and len(options) > 1 else None
    measures = chooser.at(need.load_qps)
    binding = chooser.binding(need.load_qps, options[0])
    relaxed = chooser.relaxations() if binding else {}
    most, limit = chooser.most_qps(best) if best is not None else (None, None)
    pairs = {"chosen": best, "runner_up": second}
    looks = {name: chooser.look(option) for name, option in pairs.items() if option is not None}
    return Choice(
        need=need,
        looked_at=len(chooser.designs),
        settled=measures.simulated,
        reach=chooser.reach(relaxed),
        options=tuple(options),
        chosen=best,
        runner_up=second,
        binding=binding,
        what_ifs=tuple(chooser.what_if(share * need.load_qps, best) for share in LOADS)
        if best
        else (),
        relaxations=relaxed,
        nearest=chooser.nearest(tuple(relaxed.values())) if binding else None,
        limit_qps=most,
        sure_qps=(limit.low_qps, limit.high_qps) if limit else None,
        arrivals=evaluator.process.name,
        poisson=chooser.poisson(best) if best else None,
        again={name: look for name, look in looks.items() if look is not None},
    )
