"""The page of `rpaccel ablation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.scheduler.ablation import CANDIDATES, KEPT, SERVED
from rpaccel.scheduler.ablation_study import POINT, AblationStudy, DesignRow

__all__ = ["ablation_text", "ablation_values"]

# Ref: RecPipe (MICRO'21), figure 5 (label, and gain from the lengths of its bars), and the closed
# forms of its artifact at 125 MHz, unloaded. Gains over the step before.
PUBLISHED = {
    "O.1": ("2.5x latency (2.58 by its bars)", "1.89x latency"),
    "O.2": ("1.5x latency (1.24)", "1.74x latency"),
    "O.3": ("2x throughput", "1.92x throughput, 0.58x latency"),
    "O.4, O.5": ("1.3x latency (1.15)", "at best 1.23x latency"),
    "all": ("5x latency (3.67), 10x throughput; at scale (figure 12) 3x, 6x", "-"),
}
GOALS = {"p99 at A's load": 4.0, "queries per second within A's p99": 8.0}

_TEXT = """\
# What each idea brings

Written by `rpaccel ablation` (`make ablation`): `perfmodel/machine.py`, an event model of funnels,
tasks, lanes, filters and shared memory that is compared with the netlist in
`tests/perfmodel/test_machine_rtl.py`, on the `paper` preset at 250 MHz. Criteo: RMlarge on
{candidates} candidates (one stage), or RMsmall on {candidates} and RMlarge on {kept} (two);
{served} are served. Poisson arrivals, {queries} queries per load, the first tenth left out, seed
{seed}.

*Base*: one model, the whole array as one lane, a static cache, the host sorts; weights stay, gather
and compute overlap. O.1 two stages; O.2 filter and list on the chip; O.3 8 + 2 lanes (a single
stage: four quarters); O.4 pinned beats of both models and look-ahead caches; O.5 tasks over all
lanes of a stage, the next one begins with the first survivors. *A*: the baseline as published.
*B*: the base with O.2.

## Designs
Unloaded: one query. Capacity: of machine, 32 queries in flight, and link. Bound: what the scarcest
resource allows if nothing else binds; a capacity that the link binds reaches 100 % of it. p99 at
A's load: at {point_qps:.0f} queries/s, {point:.0%} of A's capacity. Within A's p99: the
largest of the loads 30, 50, 70, 80, 90, 95 and 98 % of the capacity with a p99 of at most
{p99:.2f} ms.

{designs}
## Beside the paper
Gain of each step over the one before, unloaded latency and capacity; the paper's and its
artifact's (closed forms, 125 MHz).

{steps}
## Baseline A, as published
One phase after the other; the card serves one query at a time: {a_ms:.3f} ms, {a_qps:.0f}
queries/s; at {point:.0%} of that p50 {a_p50:.2f} ms, p99 {p99:.2f} ms.

{phases}
## Goals
{goals}{fair}
## What binds the whole
All ideas, 8 + 2. Of the machine's resources, the queries per second that each allows:

{bounds}
{stages}

## Caches
Hit rates on the Criteo-like trace, and what memory (ports and row banks) then allows 8 + 2 lanes:

{caches}
## Assumptions
* Link: 40 us each way and 6.67 GB/s (RecPipe's artifact; `spec/presets/platforms/paper.yaml`); 156
  bytes per candidate in, 8 bytes per score out. Ways in are a queue, ways out only take their
  time. *Ids only*: records are on the card, 4 bytes per candidate (assumed).
* Host top-k: 0.35 ms for 4096 scores, 0.07 ms for 1024, 0.03 ms for 512 (the artifact; no released
  configuration uses it); never a bottleneck: 32 workers. In A it is part of the one phase after the
  other.
* int8 rows and weights in all designs, A too. A's cache gives a beat per cycle and its rows from
  cache and memory take their times one after the other, as in the artifact.
* Static cache: all 16 MiB, the most frequent vectors of another trace, shared equally by the
  models. O.4: 12 MiB pinned, 4 MiB look-ahead, taken to be fully associative. Hit rates are means:
  a row that hits is no earlier than one that misses.
* Exactly {kept} survivors, evenly over the tasks (PROPORTIONAL with O.2, O.5). Quality is not
  modelled here: at iso-quality by RecPipe's figure 3 (RMsmall {candidates}, RMlarge {kept}). The
  NDCG of both stages beside that of RMlarge alone, in int8, is under *Quality* in
  [criteo](criteo.md): measured on planted rankers.
* Memory serves lanes by turns, 100 cycles, 4 x 64 bytes per cycle; DRAM banks are not modelled.
* Reconfiguration, loading weights and row updates take no time. A lane that changes its model waits
  until its array is idle.
"""


_STAGES = """\
The machine itself does {machine:.0f} queries/s. Its stages alone: RMsmall {first:.0f}, RMlarge
{second:.0f}. An item of RMsmall takes the array of a block {array:.1f} cycles, but {gathered:.1f}
in sub-batches that are gathered meanwhile; {at_once:.1f} if these were handed over at once. One of
{banks} item banks is held while a sub-batch is gathered, until its last row has come from memory,
until the array is free for its first layers, and until its interaction is done; where that takes
longer than so many sub-batches take the array, it waits."""


def ablation_text(study: AblationStudy) -> str:
    """Return the page."""
    return _TEXT.format(
        candidates=CANDIDATES,
        kept=KEPT,
        served=SERVED,
        queries=study.queries,
        seed=study.seed,
        point=POINT,
        point_qps=study.point.load_qps,
        p99=study.point.p99_ms,
        designs=_designs(study),
        steps=_steps(study),
        a_ms=study.baseline_ms,
        a_qps=study.baseline_qps,
        a_p50=study.point.p50_ms,
        phases=markdown_table(
            ("phase", "ms"), [(p.name, f"{1e3 * p.seconds:.3f}") for p in study.phases]
        ),
        goals=_goals(study),
        fair=_fair(study),
        bounds=markdown_table(
            ("resource", "queries/s"), [(b.resource, f"{b.qps:.0f}") for b in study.whole.bounds]
        ),
        stages=_stages(study),
        caches=markdown_table(
            ("cache", "RMsmall [%]", "RMlarge [%]", "memory allows [queries/s]"),
            [
                (name, f"{100 * hits['rmsmall']:.1f}", f"{100 * hits['rmlarge']:.1f}", f"{qps:.0f}")
                for name, hits, qps in study.caches
            ],
        ),
    )


def ablation_values(study: AblationStudy) -> dict[str, Any]:
    """Return the figures for JSON."""
    rows = (*study.rows, study.fair, study.quarters, study.fair_ids, study.whole_ids)
    return {
        "designs": [
            asdict(row)
            | {
                "design": row.design.name,
                "capacity_qps": row.capacity_qps,
                "qps_within_p99_of_a": row.qps_within(study.point.p99_ms),
            }
            for row in rows
        ],
        "phases": [asdict(phase) for phase in study.phases],
        "point": asdict(study.point),
        "stage_qps": study.stage_qps,
        "paces_cycles": study.paces,
        "caches": [
            {"name": name, "hits": dict(hits), "memory_qps": qps}
            for name, hits, qps in study.caches
        ],
        "queries": study.queries,
        "seed": study.seed,
    }


def _designs(study: AblationStudy) -> str:
    head = (
        "design", "unloaded [ms]", "gain", "capacity [queries/s]", "gain", "bound", "allows",
        "reached [%]", "p99 at A's load [ms]", "within A's p99 [queries/s]",
    )  # fmt: skip
    base = study.rows[0]

    def cells(row: DesignRow) -> Sequence[str]:
        bound = row.bounds[0]
        return (
            row.design.name,
            f"{row.unloaded_ms:.3f}",
            f"{base.unloaded_ms / row.unloaded_ms:.2f}",
            f"{row.capacity_qps:.0f}",
            f"{row.capacity_qps / base.capacity_qps:.2f}",
            bound.resource,
            f"{bound.qps:.0f}",
            f"{100 * row.of_bound:.1f}",
            f"{row.at_point.p99_ms:.3f}",
            f"{row.qps_within(study.point.p99_ms):.0f}",
        )

    a = (
        "A, as published", f"{study.baseline_ms:.3f}",
        f"{base.unloaded_ms / study.baseline_ms:.2f}", f"{study.baseline_qps:.0f}",
        f"{study.baseline_qps / base.capacity_qps:.2f}", "all, in turn",
        f"{study.baseline_qps:.0f}", "100.0", f"{study.point.p99_ms:.3f}",
        f"{study.point.load_qps:.0f}",
    )  # fmt: skip
    rows = (*study.rows, study.fair, study.quarters, study.fair_ids, study.whole_ids)
    return markdown_table(head, [a, *map(cells, rows)])


def _steps(study: AblationStudy) -> str:
    named = {row.design.name: row for row in study.rows}
    path = [study.rows[0], *(named[n] for n in ("O.1", "O.1 to O.2", "O.1 to O.3", "O.1 to O.5"))]
    pairs = dict(zip(PUBLISHED, pairwise(path), strict=False))
    pairs["all"] = path[0], path[-1]
    rows = [
        (
            step,
            f"{before.unloaded_ms / after.unloaded_ms:.2f}x",
            f"{after.capacity_qps / before.capacity_qps:.2f}x",
            *PUBLISHED[step],
        )
        for step, (before, after) in pairs.items()
    ]
    return markdown_table(("step", "latency", "capacity", "paper", "artifact"), rows)


def _goals(study: AblationStudy) -> str:
    whole, point = study.whole, study.point
    reached = {
        "p99 at A's load": point.p99_ms / whole.at_point.p99_ms,
        "queries per second within A's p99": whole.qps_within(point.p99_ms) / point.load_qps,
    }
    return "".join(
        f"* Against A, {name}: {reached[name]:.1f}x; goal {goal:g}x: "
        f"{'reached' if reached[name] >= goal else 'missed'}.\n"
        for name, goal in GOALS.items()
    )


def _fair(study: AblationStudy) -> str:
    lines = []
    for words, ours, fair in (
        ("records over the link", study.whole, study.fair),
        ("ids only", study.whole_ids, study.fair_ids),
    ):
        ratio = ours.capacity_qps / fair.capacity_qps
        allowed = ours.bounds[0].qps / fair.capacity_qps
        share = ratio / allowed
        lines.append(
            f"* Against B, {words}: {ratio:.2f}x its capacity; the bound is {allowed:.2f}x "
            f"({ours.bounds[0].resource}; B is bound by its {fair.bounds[0].resource}): "
            f"{share:.0%} of it (its machine without the link: {ours.machine_qps:.0f} "
            f"queries/s); goal 90 %: {'reached' if share >= 0.9 else 'missed'}.\n"
        )
    return "".join(lines)


def _stages(study: AblationStudy) -> str:
    first, second = study.stage_qps
    array, gathered, at_once = study.paces
    return _STAGES.format(
        machine=study.whole.machine_qps,
        first=first,
        second=second,
        array=array,
        gathered=gathered,
        at_once=at_once,
        banks=study.banks,
    )
