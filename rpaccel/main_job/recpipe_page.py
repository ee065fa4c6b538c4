"""The page of `rpaccel recpipe`: spaces, slices, fronts, NSGA-II beside all candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rpaccel.main_job import paper_points
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.recpipe import Study
from rpaccel.main_job.serving_curves import FITTED_QPS
from rpaccel.scheduler.peak import WARM_UP, Verdict
from rpaccel.scheduler.recpipe_film import FilmCard
from rpaccel.scheduler.recpipe_search import Searched
from rpaccel.scheduler.second_look import LONGEST
from rpaccel.scheduler.slowed import SHARES
from rpaccel.spec.recpipe import RecPipeSpec

__all__ = ["recpipe_text", "recpipe_values"]

WORDS: dict[Verdict | None, str] = {
    Verdict.PASSES: "surely", Verdict.FAILS: "surely not", Verdict.OPEN: "open",
}  # fmt: skip
SLICES = {
    "quality": "Iso-quality",
    "latency": "Iso-latency",
    "throughput": "Iso-throughput",
}


def recpipe_text(studies: Sequence[Study], wide: Study | None, command: str) -> str:
    """Return docs/generated/recpipe.md. wide : a space that only NSGA-II searched."""
    parts = [_head(command)]
    for study in studies:
        parts += [_space(study), _slices(study), _front(study), _genetic(study)]
        if study.slowed:
            parts.append(_slowed(study))
        if study.checks:
            parts.append(_checks(study))
    if wide is not None:
        parts.append(_wide(wide, studies))
    parts.append(_not_covered(studies))
    return "\n".join(parts)


def _head(command: str) -> str:
    return f"""# RecPipe: a joint search over pipelines and where they run

Written by `{command}` (`make recpipe`);
plots in `results/recpipe/`. A candidate is a pipeline
(optional retrieval, one to three rankers, items of each, devices, items of a CPU request, lanes
of the card's array, sub-batches) under a Poisson load. Every candidate that a closed form lets
settle is simulated (first come, first served; the same queries for all). To a point of a front
nothing measured is at least as good in quality, tail latency and load and better in one; where all
candidates are looked at, that is exact for those queries. What is shown is simulated again with
{LONGEST:,} queries: the tail and its 95 % interval, and whether it is within the SLA of the
iso-latency slice by the sequential test of `scheduler/peak.py`: surely (99 %), surely not, or open
after as many queries. So a load that is missing below the last of a table gains
nothing there: some higher one has no longer tail (iso-quality), no lower quality (iso-latency),
neither (the front). The shards of a corpus on cards are as many cards. Of measured quality, 95 %
intervals over users: neighbours on a front overlap.
Spaces: `spec/presets/recpipe/`; `rpaccel schedule` chooses in the same spaces.
"""


def _space(study: Study) -> str:
    spec, measures = study.spec, study.searched.measures
    known = sorted({design.funnel for design in study.searched.designs})
    depth = Counter(len(funnel.models) for funnel in known)
    stages = ", ".join(f"{count} of {rankers}" for rankers, count in sorted(depth.items()))
    found = sum(bool(funnel.retrieval_k) for funnel in known)
    servers = ", ".join(
        f"{device} {count}" for device, count in study.evaluator.node.servers.items()
    )
    judged = spec.queries - int(spec.queries * WARM_UP)
    return f"""## {spec.name}

{study.pipelines:,} pipelines of {len(known)} funnels ({stages} rankers; {found} with retrieval) at
{len(spec.loads_qps)} loads of {spec.loads_qps[0]:g} to {spec.loads_qps[-1]:g} queries/s:
{study.candidates:,} candidates, of which {measures.simulated:,} settle and were simulated with
{spec.queries:,} queries each: every p{spec.percentile:g} is of the last {judged:,}. {spec.metric};
{spec.top_n} served. Servers: {servers}. The CPU's: {study.host}.
{_slowdown(study)}
"""


def _slowdown(study: Study) -> str:
    hosts = study.evaluator.node.hosts.items()
    slowed = [
        f"Of the {name} a request takes {100 * host.slowdown:g} % longer for each other that runs "
        "when it begins."
        for name, host in hosts
        if host.slowdown
    ]
    return " ".join(slowed) or "Requests that run at once do not slow each other down."


def _slowed(study: Study) -> str:
    """Return what less and more slowdown would change."""
    words = ("one stage", "two stages", "three stages")
    rows = [
        [words[each.stages - 1], "whole" if each.whole else "any", f"{each.load_qps:g}",
         *(f"{tail:.1f}" if tail < np.inf else "not met" for tail in each.tails_ms),
         str(paper_points.FIGURE_7[words[each.stages - 1]].get(each.load_qps, "-"))
         if each.whole else ""]
        for each in study.slowed
    ]  # fmt: skip
    slowdown = study.evaluator.node.hosts["cpu"].slowdown
    return f"""### Requests that slow each other down

Shortest p{study.spec.percentile:g} [ms] of pipelines on the CPU alone with {study.spec.metric} of
at least {study.spec.slices.quality:g}: without the slowdown, with half of it, as searched
({slowdown:g} for each other request that runs), and with half as much again. Requests: *whole*:
each stage is one, as in RecPipe's figure 7 (last column); *any*: split as the search likes. The
slowdown is one number, fitted to the figure's one stage up to {FITTED_QPS:g} queries/s
(`rpaccel.main_job.slowdown_fit`); two and three stages, and higher loads, follow from it. The
figure's pipelines deal their threads out to the stages and sort in a process of each; here all
stages share all threads. Nothing published says how much parts of one query slow each other down:
*any* takes them as requests like others.

{
        markdown_table(
            ["stages", "requests", "queries/s", *(f"x {share:g}" for share in SHARES), "paper"],
            rows,
        )
    }
"""


def _spread(study: Study, searched: Searched, place: int) -> str:
    value, low, high = study.look(searched, place).spread_ms[study.spec.percentile]
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _row(study: Study, searched: Searched, place: int) -> list[str]:
    found, design = searched.measures, searched.design(place)
    point = study.evaluator.quality.find(design.funnel, design.devices)
    quality = f"{found.quality[place]:.4f}"
    if point is not None and point.low is not None and point.high is not None:
        quality += f" [{point.low:.4f}, {point.high:.4f}]"
    return [f"{found.load_qps[place]:g}", quality, f"{found.tail_ms[place]:.4g}",
            _spread(study, searched, place), design.label]  # fmt: skip


def _slices(study: Study) -> str:
    fixed, tail = study.spec.slices, f"p{study.spec.percentile:g}"
    titles = {
        "quality": f"{study.spec.metric} of at least {fixed.quality:g}: tail by load",
        "latency": f"{tail} within {fixed.sla_ms:g} ms: quality by load",
        "throughput": f"{fixed.load_qps:g} queries/s: quality by tail",
    }
    text = ""
    for name, title in SLICES.items():
        rows = [
            [devices, *_row(study, part, place), WORDS[study.look(part, place).verdict]]
            for devices, (part, cut) in study.sets.items()
            for place in getattr(cut, name)
        ]
        head = ["devices", "queries/s", study.spec.metric, f"{tail} [ms]", "longer run [ms]",
                "pipeline", f"within {fixed.sla_ms:g} ms"]  # fmt: skip
        text += f"### {title}: {titles[name]}\n\n"
        text += markdown_table(head, rows) if rows else "Nothing.\n"
        text += "\n"
    return text


def _front(study: Study) -> str:
    searched, tail = study.searched, f"p{study.spec.percentile:g}"
    found, front = searched.measures, searched.front
    rows = []
    for load in study.spec.loads_qps:
        there = front[found.load_qps[front] == load]
        if not there.size:
            continue
        low, high = there[np.argmin(found.tail_ms[there])], there[np.argmax(found.quality[there])]
        rows.append(
            [f"{load:g}", str(there.size), _spread(study, searched, int(low)),
             f"{found.quality[low]:.4f}", _spread(study, searched, int(high)),
             f"{found.quality[high]:.4f}", searched.design(int(high)).label]
        )  # fmt: skip
    head = ["queries/s", "points", f"least {tail} [ms]", "its quality",
            f"{tail} of the best quality [ms]",
            "best quality", "its pipeline"]  # fmt: skip
    return (
        f"### The front\n\n{front.size} points of quality, tail and load. {_sure(study)}\n\n"
        f"{markdown_table(head, rows)}\n"
    )


def _sure(study: Study) -> str:
    """Return how many points of the front are sure of the SLA, and how many tails were right."""
    searched, limit_ms = study.searched, study.spec.slices.sla_ms
    looks = [study.look(searched, int(place)) for place in searched.front]
    count = Counter(look.verdict for look in looks)
    ends = [look.spread_ms[study.spec.percentile] for look in looks]
    held = sum(
        low <= tail <= high
        for (_, low, high), tail in zip(ends, searched.measures.tail_ms[searched.front],
                                        strict=True)
    )  # fmt: skip
    return (
        f"Tails below are of the longer run; of the search's, {held} are in its interval. Within "
        f"{limit_ms:g} ms: {count[Verdict.PASSES]} surely, {count[Verdict.FAILS]} surely not, "
        f"{count[Verdict.OPEN]} open."
    )


def _genetic(study: Study) -> str:
    rows = [
        [str(run.seed), f"{run.measured:,}", f"{100 * run.measured / study.candidates:.1f}",
         str(run.front), f"{run.ratio:.4f}"]
        for run in study.runs
    ]  # fmt: skip
    head = ["seed", "candidates measured", "% of all", "front", "hypervolume, exhaustive = 1"]
    return (
        "### NSGA-II beside all candidates\n\n"
        "Hypervolume in quality, logarithm of the tail, and load, each from the best to the worst "
        "of the exhaustive front and a tenth beyond.\n\n"
        f"{markdown_table(head, rows)}\n"
    )


def _checks(study: Study) -> str:
    worst = max(study.checks, key=lambda check: abs(check.error))
    rows = [
        [check.label, f"{check.load_qps:.0f}", f"{check.search_ms:.3f}",
         f"{check.machine_ms:.3f}", f"{100 * check.error:+.1f}"]
        for check in study.checks
    ]  # fmt: skip
    head = ["pipeline", "queries/s", "p99, search [ms]", "p99, machine [ms]", "error [%]"]
    return (
        "### The card in the search beside the model of the machine\n\n"
        "In the search a program of the card is a server that takes a query every interval, and a "
        "delay; both are the machine model's, and so is the p99 beside it. Worst: "
        f"{100 * worst.error:+.1f} %.\n\n{markdown_table(head, rows)}\n"
    )


def _wide(wide: Study, studies: Sequence[Study]) -> str:
    (run,) = wide.runs
    beside = next(study for study in studies if study.spec.workload == wide.spec.workload)
    text = f"""## {wide.spec.name}

{wide.pipelines:,} pipelines at {len(wide.spec.loads_qps)} loads: {wide.candidates:,} candidates,
more than the {wide.spec.exhaustive_most:,} that are all looked at. NSGA-II (seed {run.seed})
measured {run.measured:,}, {100 * run.measured / wide.candidates:.2f} %: {run.front} points, with
{run.ratio:.4f} of the hypervolume of the exhaustive front of {beside.spec.name} (the finer space
holds more loads, lanes and sub-batches: above 1 it found better points).

"""
    return text + _slices(wide)


def _not_covered(studies: Sequence[Study]) -> str:
    notes = [
        note
        for study in studies
        for note in (
            _criteo_notes(study) if study.spec.workload == "criteo" else _film_notes(study)
        )
    ]
    notes += [
        f"{study.spec.name}: the card hands back {study.evaluator.node.card.card.max_results} ids "
        "at most; a stage of another device that ranks more does not come behind it."
        for study in studies
        if "accelerator" in study.spec.devices
    ]
    notes.append("Loads are Poisson and steady; what follows a changing load is another verb's.")
    return "## What is not covered\n\n" + "".join(f"* {note}\n" for note in notes)


def _criteo_notes(study: Study) -> list[str]:
    funnels, card = study.evaluator.quality.funnels, study.evaluator.node.card.card
    depth = Counter(len(funnel.models) for funnel in funnels)
    stages = ", ".join(f"{count} of {rankers}" for rankers, count in sorted(depth.items()))
    tables = [t for host in study.evaluator.node.hosts.values() for t in host.table_s.values()]
    most = max(card.max_items, *(len(table) - 1 for table in tables))
    large = sorted({funnel.items[0] for funnel in funnels if funnel.items[0] > most})
    beyond = f" {large[0]} items and more have a quality, but no device a time." if large else ""
    return [
        f"Criteo's quality is what RecPipe's artifact and text publish: {stages} rankers. Nothing "
        "between these funnels is interpolated; other pairs and items are no candidates, and "
        f"neither is Criteo behind a retrieval stage: nobody published its quality.{beyond}",
        "Criteo's quality does not depend on the device: int8 on the card is taken to rank as "
        "float does (`docs/generated/calibration.md` measures what int8 costs on MovieLens).",
        "Times of Criteo's CPU and GPU are the artifact's, one request at a time; below the "
        f"smallest published request its time is taken. {_launches(study.spec)}",
    ]


def _launches(spec: RecPipeSpec) -> str:
    if not spec.launches:
        return "A stage on the GPU is one request."
    return f"A launch of the GPU holds queries that wait, up to {spec.launches['gpu']} items."


def _film_notes(study: Study) -> list[str]:
    node, spec = study.evaluator.node, study.spec
    notes = [
        f"{spec.name} has {len(spec.models)} rankers and searches {max(spec.stages)} ranking "
        "stages at most."
    ]
    card = node.card.card
    whole = {k: scan for (device, k, shards), scan in node.scans.items()
             if device == "accelerator" and shards == 1}  # fmt: skip
    if whole and isinstance(card, FilmCard):
        k = sorted(whole)[len(whole) // 2]
        cycles = whole[k].latency_s * card.platform.accelerator.clock_hz
        notes.append(
            f"Retrieval on the card is the model's scan, {cycles:,.0f} cycles for {k} rows: the "
            "netlist's stage (README) takes mask and dispatcher, too."
        )
    return notes


def recpipe_values(studies: Sequence[Study], wide: Study | None) -> dict[str, Any]:
    """Return the page's figures for machines."""
    every = [*studies, *([wide] if wide else [])]
    return {study.spec.name: _study_values(study) for study in every}


def _study_values(study: Study) -> dict[str, Any]:
    def point(searched: Searched, place: int) -> dict[str, Any]:
        found, look = searched.measures, study.look(searched, place)
        value, low, high = look.spread_ms[study.spec.percentile]
        return {
            "load_qps": float(found.load_qps[place]),
            "quality": float(found.quality[place]),
            "tail_ms": float(found.tail_ms[place]),
            "longer_ms": {"value": value, "low": low, "high": high, "queries": look.queries},
            "within_sla": look.verdict.value if look.verdict else None,
            "pipeline": searched.design(place).label,
        }

    return {
        "pipelines": study.pipelines,
        "candidates": study.candidates,
        "simulated": study.searched.measures.simulated,
        "front": [point(study.searched, int(place)) for place in study.searched.front],
        "slices": {
            devices: {name: [point(part, place) for place in getattr(cut, name)] for name in SLICES}
            for devices, (part, cut) in study.sets.items()
        },
        "slowed": [vars(each) for each in study.slowed],
        "genetic": [vars(run) for run in study.runs],
        "card": [vars(check) | {"error": check.error} for check in study.checks],
    }
