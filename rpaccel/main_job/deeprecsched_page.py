"""The page of DeepRecSched: gains over the static batch beside the published ones, and beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.scheduler.arrivals import POISSON
from rpaccel.scheduler.deeprec_extras import Capped, Drift, Shared
from rpaccel.scheduler.deeprec_study import (
    LEVELS,
    REPEATS,
    SCHEMES,
    Ask,
    Case,
    geomean,
    geomean_gains,
)
from rpaccel.scheduler.deeprecsched import GAIN, OUR_GAIN, SAMPLED, Outcome
from rpaccel.scheduler.intervals import mean_interval
from rpaccel.scheduler.node_power import IDLE_SHARE, NodePower
from rpaccel.scheduler.policy import NOT_OFFLOADED, Policy

__all__ = ["CAP_W", "Study", "deeprecsched_text", "deeprecsched_values"]

CAP_W = 200.0
# DeepRecSys (ISCA'20), geometric means over static at the same target: from memory of its text,
# which agrees with what its figure 11 shows.
PUBLISHED = {"paper": (1.7, 2.1, 2.7), "paper+": (4.0, 5.1, 5.8)}
NAMES = {
    "static": "static, batch 25", "paper": "the paper's climb", "ours": "ours",
    "optimum": "exhaustive", "paper+": "the paper's climbs, accelerator",
    "ours+": "ours, accelerator", "optimum+": "exhaustive, accelerator",
}  # fmt: skip
SHORT = {
    "static": "static", "paper": "paper", "ours": "ours", "optimum": "exhaustive",
    "paper+": "paper, acc.", "ours+": "ours, acc.", "optimum+": "exhaustive, acc.",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Study:
    """The cases of one set of service times. name : "measured", or of the file."""

    name: str
    ask: Ask
    cases: Sequence[Case]


def _gains(study: Study, scheme: str, level: str) -> list[float]:
    cases = [case for case in study.cases if case.level == level]
    return [case.gain(scheme) for case in cases if case.outcomes["static"].qps > 0]


def _geomeans(study: Study) -> list[list[str]]:
    rows = []
    for scheme in SCHEMES:
        row = [NAMES[scheme]]
        for place, level in enumerate(LEVELS):
            gains = _gains(study, scheme, level)
            row.append(f"{geomean(gains):.2f}" if gains and min(gains) > 0 else "-")
            row.append(f"{PUBLISHED[scheme][place]}" if scheme in PUBLISHED else "")
        cases = study.cases
        row.append(f"{100 * min(case.of_optimum(scheme) for case in cases):.1f}")
        rows.append(row)
    return rows


def _other_seeds(study: Study) -> list[list[str]]:
    rows = []
    for scheme in SCHEMES:
        row = [NAMES[scheme]]
        for level in LEVELS:
            cases = [case for case in study.cases if case.level == level]
            cases = [case for case in cases if min(case.peaks["static"]) > 0]
            held = bool(cases) and min(min(case.peaks[scheme]) for case in cases) > 0
            row.append(_middle(geomean_gains(cases, scheme), 3) if held else "-")
        rows.append(row)
    return rows


def _middle(values: Sequence[float], digits: int = 0) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def _peaks(study: Study) -> list[list[str]]:
    return [
        [case.model, f"{case.sla_ms:g}", *(_middle(case.peaks[scheme]) for scheme in SCHEMES)]
        for case in study.cases
    ]


def _costs(study: Study) -> list[list[str]]:
    rows = []
    for node, plus in (("cores", ""), ("cores and accelerator", "+")):
        ours = [case.outcomes["ours" + plus] for case in study.cases]
        searches = {
            name: [case.outcomes[scheme + plus] for case in study.cases]
            for name, scheme in (
                ("the paper's", "paper"), ("ours", "ours"), ("exhaustive", "optimum"),
            )
        }  # fmt: skip
        searches["exhaustive, plain"] = [
            replace(found, evaluations=found.settings, queries=case.plain["optimum" + plus])
            for case, found in zip(study.cases, searches["exhaustive"], strict=True)
        ]
        rows += [[node, name, *_cost(found, ours)] for name, found in searches.items()]
    return rows


def _cost(found: Sequence[Outcome], ours: Sequence[Outcome]) -> list[str]:
    tried, queries = [one.evaluations for one in found], [one.queries for one in found]
    pairs = [pair for pair in zip(ours, found, strict=True) if pair[1].queries]
    shares = (
        max((one.evaluations / other.evaluations for one, other in pairs), default=0.0),
        max((one.queries / other.queries for one, other in pairs), default=0.0),
        sum(one.queries for one in ours) / max(1, sum(queries)),
    )
    return [
        str(max(one.settings for one in found)), str(max(tried)),
        f"{sum(tried) / len(tried):.1f}", f"{sum(queries) / 1e6:.1f}",
        *(f"{100 * share:.1f}" for share in shares),
    ]  # fmt: skip


def _setting(policy: Policy) -> str:
    words = [str(policy.batch)]
    if policy.threshold != NOT_OFFLOADED:
        words.append(f">= {policy.threshold}")
    if policy.even:
        words.append("even")
    if policy.merge:
        words.append("merged" + (f" {policy.window_s * 1e3:g} ms" if policy.window_s else ""))
    if policy.merge_items and policy.threshold != NOT_OFFLOADED:
        wait = f" {policy.merge_window_s * 1e3:g} ms" if policy.merge_window_s else ""
        words.append(f"launch {policy.merge_items}{wait}")
    return " ".join(words)


def _cases(study: Study) -> list[list[str]]:
    rows = []
    for case in study.cases:
        found = case.outcomes
        row = [case.model, f"{case.sla_ms:g}", f"{found['static'].qps:.0f}"]
        for scheme in ("paper", "ours", "paper+", "ours+"):
            row += [f"{found[scheme].qps:.0f}", _setting(found[scheme].policy)]
        rows.append(row)
    return rows


def _per_watt(study: Study) -> list[list[str]]:
    rows = []
    for scheme in ("paper", "ours", "paper+", "ours+"):
        row = [NAMES[scheme]]
        for level in LEVELS:
            gains = [
                case.gain_per_watt(scheme)
                for case in study.cases
                if case.level == level and case.outcomes["static"].qps > 0
            ]
            row.append(f"{geomean(gains):.2f}" if gains and min(gains) > 0 else "-")
        rows.append(row)
    return rows


def _study_text(study: Study) -> str:
    missing = [f"{c.model} {c.level}" for c in study.cases if c.outcomes["static"].qps == 0]
    left = f" Left out, static holds no load: {', '.join(missing)}." if missing else ""
    sources = sorted({f"- {cpu.model}: {cpu.source}" for cpu, _ in study.ask.profiles})
    columns = [text for level in LEVELS for text in (level, "published")]
    return f"""## {study.name}
Geometric mean over the models of the load over that of static at the same target; the worst load in
% of the exhaustive optimum of the same node.{left}

{markdown_table(["", *columns, "of optimum [%]"], _geomeans(study))}
The same of these settings on the queries of {REPEATS} other seeds, each peak by a search of its
own: mean, and half of its interval at 95 %.

{markdown_table(["", *LEVELS], _other_seeds(study))}
What the searches simulate. *Exhaustive, plain* finds the peak of every setting of the space by runs
of its own; its queries are those of {SAMPLED} settings spread over the space, times what the space
is of them. *Exhaustive*, the optimum above, asks each setting for one load first, {100 * GAIN:g} %
above the best so far, and skips it if its saturation is no higher: its answer is below that of
the plain one by at most {100 * GAIN:g} %. Ours passes over what is less than {100 * OUR_GAIN:g} %
better. Settings simulated of one model and target: most, and on average. Million queries: of all
models and targets. Ours in % of each search: settings and queries of the worst model and target,
queries of all.

{
        markdown_table(
            [
                "node",
                "search",
                "space",
                "most",
                "mean",
                "queries [M]",
                "settings [%]",
                "queries [%]",
                "of all [%]",
            ],
            _costs(study),
        )
    }
The same per watt, at the power of each load (CPU {NodePower().cpu_w:g} W, accelerator
{NodePower().accelerator_w:g} W; {IDLE_SHARE:g} of it idle is assumed):

{markdown_table(["", *LEVELS], _per_watt(study))}
Loads [queries/s] that the searches found, and settings: items of a part, threshold, parts even,
requests merged, items of a merged launch; ms: the longest wait to be merged.

{
        markdown_table(
            [
                "model",
                "SLA [ms]",
                "static",
                "paper",
                "setting",
                "ours",
                "setting",
                "paper, acc.",
                "setting",
                "ours, acc.",
                "setting",
            ],
            _cases(study),
        )
    }
Loads [queries/s] of these settings on the queries of the other seeds: mean, and half of its
interval at 95 %.

{markdown_table(["model", "SLA [ms]", *(SHORT[scheme] for scheme in SCHEMES)], _peaks(study))}
Service times of a core; those of the accelerator are these, divided by the published speed-ups of a
GTX 1080 Ti, where the file has none of an accelerator:
{chr(10).join(sources)}
"""


def _beyond(drift: Drift, pairs: Sequence[Shared], cap: Sequence[Capped]) -> str:
    windows = [
        [str(place), f"{100 * one.late:.1f}", f"{100 * other.late:.1f}", other.action,
         _setting(other.policy)]
        for place, (one, other) in enumerate(zip(drift.fixed, drift.followed, strict=True))
    ]  # fmt: skip
    shares = [
        [f"{pair.models[0]} {100 * pair.share:.0f} %, {pair.models[1]}", f"{pair.divided_qps:.0f}",
         f"{pair.in_order_qps:.0f}", f"{pair.by_deadline_qps:.0f}", f"{pair.tuned_qps:.0f}",
         " and ".join(map(str, pair.batches))]
        for pair in pairs
    ]  # fmt: skip
    power = [
        [one.model, *(f"{load:.0f}" for load in one.qps), *(f"{q:.2f}" for q in one.per_joule),
         _setting(one.policy)]
        for one in cap
    ]  # fmt: skip
    return f"""## Drift
{drift.model}, medium target: tuned on lognormal sizes ({drift.light_qps:.0f} queries/s), the first
setting holds {drift.kept_qps:.0f} of the sizes that come after a quarter of the stream, one tuned
for them {drift.tuned_qps:.0f}. The stream comes at {drift.load_qps:.0f} queries/s. Late queries [%]
of each window with the first setting kept, and re-tuned (at most 5 are allowed):

{markdown_table(["window", "kept", "re-tuned", "then", "setting"], windows)}
## Two models on one node
Load [queries/s] of both together that meets both medium targets, cores alone: each on cores of its
own, divided best; all cores shared, first come first served; shared, the earliest deadline first;
the last with batches searched for each other, from those that are best alone.

{markdown_table(["models", "divided", "in order", "by deadline", "tuned", "batches"], shares)}
## A cap of {CAP_W:g} W
Load [queries/s] and queries per joule at the medium target within the cap: of our settings above,
on cores and with the accelerator, and of a search of that whole space (+ acc.) whose target is the
cap, too (at a cap that binds, the most load is the most queries per joule). 0: the node draws more
when idle.

{
        markdown_table(
            [
                "model",
                "cores",
                "+ acc.",
                "searched",
                "queries/J, cores",
                "+ acc.",
                "searched",
                "setting",
            ],
            power,
        )
    }"""


def deeprecsched_text(
    studies: Sequence[Study], drift: Drift, pairs: Sequence[Shared], cap: Sequence[Capped]
) -> str:
    """Return the page. drift, pairs, cap : of the first study's service times."""
    ask = studies[0].ask
    name = ask.process.name
    arrivals = "Poisson\narrivals" if ask.process is POISSON else f"arrivals:\n{name}"
    head = f"""# DeepRecSched

Written by `rpaccel deeprecsched` (`make deeprecsched`): the eight models of DeepRecInfra on
{ask.cores} cores, each alone on a request, and one accelerator; sizes: {ask.sizes.name}; \
{arrivals}; p95 within the target by the sequential test of `scheduler/peak.py`, \
at most {ask.queries}
queries a look, seed {ask.seed}. Every number is simulated; nothing of it ran on such a machine.
Published: DeepRecSys (ISCA 2020), 40 cores of a Skylake and a GTX 1080 Ti.

What bounds the gains here: a batch can only save the part of a core's time that does not grow with
the items, and an accelerator that is S times one core adds S cores to {ask.cores} that do not
disturb each other. Contention of cores for memory, which larger batches and an accelerator relieve,
is in no service time.

"""
    return head + "\n".join(map(_study_text, studies)) + "\n" + _beyond(drift, pairs, cap)


def deeprecsched_values(
    studies: Sequence[Study], drift: Drift, pairs: Sequence[Shared], cap: Sequence[Capped]
) -> dict[str, Any]:
    """Return the same for machines."""
    return {
        "studies": {study.name: [asdict(case) for case in study.cases] for study in studies},
        "drift": asdict(drift),
        "colocation": [asdict(pair) for pair in pairs],
        "cap": [asdict(one) for one in cap],
    }
