"""`rpaccel online`: days of load, on-line against every static choice, as a page and plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.main_job.cache_plots import new_axes, save_figure
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.online_machine import Check, check, machine_options
from rpaccel.main_job.online_splits import SPLIT_PEAKS, SplitDay, run_split_days, split_days_text
from rpaccel.scheduler.online import Hysteresis, build_ladder, refusing
from rpaccel.scheduler.online_ladder import Ladder
from rpaccel.scheduler.online_options import (
    CHANGE_CYCLES,
    OptionSet,
    accelerator_options,
    commodity_options,
)
from rpaccel.scheduler.online_study import (
    BURST_QUERIES,
    BURST_RATIO,
    BURST_SHARE,
    EVENING,
    KNOWN,
    ON_LINE,
    QUARTERS_OF_HOURS,
    SWING,
    TUNED_SEEDS,
    Day,
    Score,
    Verdict,
    hysteresis_of,
    run_day,
    run_on_line,
    verdict,
)
from rpaccel.scheduler.published_pipelines import LEAST_KEPT
from rpaccel.workloads.criteo_published import largest_cut

__all__ = [
    "PEAKS", "Case", "OnlineStudy", "draw_online", "online_text", "online_values", "run_online",
]  # fmt: skip

PEAKS = (0.1, 0.3, 0.6, 0.9, 1.1)  # of the load that the largest option carries
BURST_PEAK = 0.9  # of the day whose mean the bursts have
SHOWN = 0.9  # the peak whose choices are all listed


@dataclass(frozen=True, kw_only=True)
class Case:
    """A machine, a limit and a kind of day, see `Day`. first : all scores of the first seed's."""

    machine: str
    sla_ms: float
    peak: float
    bursts: bool
    shed: bool
    verdict: Verdict
    first: tuple[Score, ...]

    @property
    def largest(self) -> float:
        """Largest rate over the largest load carried."""
        return Day(peak=self.peak, bursts=self.bursts).largest


@dataclass(frozen=True, kw_only=True)
class OnlineStudy:
    """All cases. ladders : by (machine, limit [ms]); checks : of the queues of our machine.

    splits : days at one quality.
    """

    ladders: dict[tuple[str, float], Ladder]
    cases: tuple[Case, ...]
    checks: tuple[Check, ...]
    splits: tuple[SplitDay, ...]
    queries: int
    days: int
    seed: int


def run_online(
    sets: Sequence[OptionSet] | None = None,
    *,
    queries: int = 1_000_000,
    days: int = 3,
    seed: int = 200,
    peaks: Sequence[float] = PEAKS,
    split_peaks: Sequence[float] = SPLIT_PEAKS,
    progress: Callable[[str], None] = print,
) -> OnlineStudy:
    """Run every case. sets : of machines; None: the paper's node and card, and ours.

    queries : of a day. days : of each case, seeds from `seed` on.
    Raises ValueError for days below 1.
    """
    if days < 1:
        raise ValueError(f"days must be at least 1, not {days}")
    checks: tuple[Check, ...] = ()
    if sets is None:
        ours = machine_options(progress=progress)
        progress("queues against the model ...")
        checks = tuple(check(seed=seed))
        sets = (commodity_options(), accelerator_options(), ours)
    ladders: dict[tuple[str, float], Ladder] = {}
    cases = []
    for each in sets:
        for sla_ms in each.sla_ms:
            progress(f"{each.name}, {sla_ms:g} ms: loads of its options ...")
            # Their seed is none of the days'.
            ladder = build_ladder(each.options, 1e-3 * sla_ms, seed=TUNED_SEEDS[0])
            ladders[each.name, sla_ms] = ladder
            nodes = (ladder, refusing(ladder, seed=TUNED_SEEDS[0]))
            kinds = [(peak, False) for peak in peaks] + [(BURST_PEAK, True)]
            for peak, bursts in kinds:
                what = "bursts" if bursts else "a day"
                progress(f"{each.name}, {sla_ms:g} ms: {what}, peak {peak:g} ...")
                for node in nodes:
                    found = [
                        run_day(
                            node,
                            Day(peak=peak, queries=queries, seed=seed + number, bursts=bursts),
                        )
                        for number in range(days)
                    ]
                    cases.append(
                        Case(
                            machine=each.name,
                            sla_ms=sla_ms,
                            peak=peak,
                            bursts=bursts,
                            shed=node.shed,
                            verdict=verdict(found),
                            first=tuple(found[0]),
                        )
                    )
    splits = run_split_days(
        queries=queries, days=days, seed=seed, peaks=split_peaks, progress=progress
    )
    return OnlineStudy(
        ladders=ladders,
        cases=tuple(cases),
        checks=checks,
        splits=tuple(splits),
        queries=queries,
        days=days,
        seed=seed,
    )


def _case_rows(cases: Sequence[Case]) -> list[list[str]]:
    return [
        [
            c.machine, f"{c.sla_ms:g}", "bursts" if c.bursts else "day", f"{c.largest:.3g}",
            f"{c.verdict.online:.3f}", f"{c.verdict.static:.3f}", c.verdict.best_static,
            f"{min(c.verdict.gains):+.3f}", _word(c.verdict),
            f"{c.verdict.known:.3f}", f"{100 * c.verdict.late:.3f}",
            f"{100 * c.verdict.static_late:.3f}", f"{c.verdict.changes:.0f}",
        ]
        for c in cases
    ]  # fmt: skip


def _word(verdict: Verdict) -> str:
    return "yes" if verdict.wins else "equals" if verdict.equals else "no"


CASE_HEAD = [
    "machine", "SLA [ms]", "load", "peak", "on-line", "best static", "which", "least gain", "wins",
    "knows the rate", "late [%]", "static late [%]", "changes",
]  # fmt: skip


def _ladder_table(ladder: Ladder) -> str:
    return markdown_table(
        ["option", "NDCG", "alone [ms]", "limit [queries/s]"],
        [[r.option.name, f"{r.option.quality:g}", f"{1e3 * r.option.idle_s:.2f}",
          f"{r.limit_qps:,.0f}"] for r in ladder.rungs],
    )  # fmt: skip


def _score_table(scores: Sequence[Score]) -> str:
    statics = sorted(scores[2:], key=lambda each: -each.quality)
    return markdown_table(
        ["choice", "NDCG in time", "late [%]", "late quarter hours [%]", "p99 [ms]", "changes"],
        [[s.choice, f"{s.quality:.3f}", f"{100 * s.late:.3f}", f"{100 * s.late_windows:.1f}",
          f"{s.p99_ms:,.2f}", str(s.changes)] for s in (*scores[:2], *statics)],
    )  # fmt: skip


def online_text(study: OnlineStudy) -> str:
    """Return docs/generated/online.md."""
    served, refused = (
        f"{_losses(cases)}\n\n{markdown_table(CASE_HEAD, _case_rows(cases))}"
        for cases in ([c for c in study.cases if c.shed == shed] for shed in (False, True))
    )
    parts = []
    for (machine, sla_ms), ladder in study.ladders.items():
        chosen = [
            c
            for c in study.cases
            if (c.machine, c.sla_ms) == (machine, sla_ms) and not (c.shed or c.bursts)
        ]
        case = min(chosen, key=lambda c: abs(c.peak - SHOWN))
        dropped = ", ".join(option.name for option in ladder.dropped) or "none"
        parts.append(
            f"### {machine}, {sla_ms:g} ms\nBest first; too slow even alone: {dropped}.\n\n"
            f"{_ladder_table(ladder)}\nA day with peak {case.peak:g}, every choice:\n\n"
            f"{_score_table(case.first)}\n"
        )
    return f"""{_head(study)}
## All queries served
{served}
## Late queries refused
A query that would be late when it could start is not served, by any choice. An option goes on to
serve its capacity above its limit, and on-line stays with it while that is worth more.
{refused}
{split_days_text(study.splits)}
## Options and choices
{"".join(parts)}{_check_text(study.checks)}"""


def _head(study: OnlineStudy) -> str:
    guard = Hysteresis(tick_s=1.0)
    seeds = set(range(study.seed, study.seed + study.days)) & set(TUNED_SEEDS)
    among = "some of this page's" if seeds else "none of this page's"
    wins = []
    for name in ("days", "bursts"):
        verdicts = [c.verdict for c in study.cases if c.bursts == (name == "bursts")]
        won, equal = sum(v.wins for v in verdicts), sum(v.equals for v in verdicts)
        wins.append(f"{won} of {len(verdicts)} cases of {name} (and equals the best in {equal})")
    return f"""# Pipelines and splits that follow the load

Written by `rpaccel online` (`make online`): {study.queries:,} queries a day, {study.days} days of
each case, seeds from {study.seed} on; plots in `results/online/`.

What counts: mean NDCG@64 over all queries that came, one beyond the SLA counts 0. Open loop,
latency from the scheduled arrival. All choices get the same arrivals. A day's rate is a sine from
{1 - SWING:g} to {1 + SWING:g} of its mean. Bursts: Poisson bursts of {BURST_RATIO:g} times the calm
rate, of {BURST_QUERIES:,} queries on average, {100 * BURST_SHARE:g} % of the time, with the mean of
a day of peak {BURST_PEAK:g}. Peak: the largest rate behind the arrivals over the largest load that
any option carries within the SLA.

On-line (`scheduler/online.py`) sees the rate of the last {guard.window:,} arrivals and how many
queries wait. What a query is worth under an option at a load is the NDCG times the share of queries
in time, measured beforehand with Poisson arrivals; if all queries are served, it is nothing above
the option's limit, where p99 misses the SLA. On-line goes to an option that carries more at once if
that is worth more at a load {100 * guard.up:g} % above the rate, and to a better one if that is
worth more at {100 * guard.down:g} % above the largest rate of the last {guard.dwell:,} arrivals and
none was tried in these; but only if the change pays, within as many, for the queries that it makes
late. Until {guard.window:,} have come, both margins are wider, as the rate's sampling error is, and
the rest is as long as what was seen before the change. Queries in flight end on their old split. On
the array a change waits until all is idle and takes {CHANGE_CYCLES:,} cycles, register writes and
loads of the new lanes (measured in the netlist: paper.md); fewer candidates on the same split cost
nothing. On CPU and GPU all models are resident (assumed): a change waits for the devices that it
takes over. A day follows an evening, the last {EVENING:,} queries of another seed's day, which all
choices serve first; on-line begins it with the option that carries most. Its constants were chosen
with seeds {" and ".join(map(str, TUNED_SEEDS))}, {among}; the shares, with the first of these.

Best static: the choice that is best on average; least gain: on-line less the static choice that is
best on that very day, the worst seed. Knows the rate: the same ladder by the true rate of now and
of the next look, without margins (of bursts the mean alone); it pays for changes, too. Quality by
candidates is the artifact's log (`workloads.criteo_published`); deeper pipelines are taken to keep
it, with {LEAST_KEPT} items or more in the last stage (the log's cuts cost at most
{largest_cut():.2f}). On-line beats every static choice in {" and in ".join(wins)} below.
"""


def _losses(cases: Sequence[Case]) -> str:
    """Return what on-line does not win, and what a load beyond the largest option's costs."""
    days = [c for c in cases if not c.bursts]
    lost = [c for c in days if min(c.verdict.gains) < 0]
    equal = [c for c in days if c.verdict.equals]
    if lost:
        names = "; ".join(
            f"{c.machine}, {c.sla_ms:g} ms, peak {c.peak:g}: {min(c.verdict.gains):+.4f}"
            + (f" (it is late with {100 * c.verdict.static_late:.1f} %)"
               if c.verdict.static_late > 0.01 else "")
            for c in lost
        )  # fmt: skip
        text = f"Days on which a static choice is better, {len(lost)} of {len(days)}: {names}."
    else:
        text = f"On no day of {len(days)} is a static choice better."
    if equal:
        constant = sum(c.verdict.constant for c in equal)
        text += (
            f" On {len(equal)} one is as good; on {constant} of these the load never asks for "
            "another option: who knows the rate makes no change either."
        )
    beyond = [c.verdict for c in days if c.peak > 1]
    if beyond:
        ours, theirs = ([100 * each for each in part] for part in (
            [v.late for v in beyond], [v.static_late for v in beyond]))  # fmt: skip
        text += (
            f" With peaks above 1 on-line is late with {min(ours):.1f} to {max(ours):.1f} % of the "
            f"queries, the best static choice with {min(theirs):.1f} to {max(theirs):.1f} %."
        )
    return text


def _check_text(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    table = markdown_table(
        ["split", "load", "queries/s", "model p99 [ms]", "queues p99 [ms]", "off [%]"],
        [[c.partition, f"{c.share:g}", f"{c.load_qps:,.0f}", f"{c.model_ms:.3f}",
          f"{c.queues_ms:.3f}", f"{100 * (c.queues_ms / c.model_ms - 1):+.1f}"] for c in checks],
    )  # fmt: skip
    return f"""## Queues that stand for our machine
Link, card and the rest of a query's time, against the event model of its tasks: 4096 candidates,
shares of the capacity.

{table}"""


def online_values(study: OnlineStudy) -> dict[str, Any]:
    """Return the numbers as JSON."""
    return {
        "queries": study.queries,
        "days": study.days,
        "seed": study.seed,
        "ladders": [
            {"machine": machine, "sla_ms": sla_ms,
             "options": [{"name": r.option.name, "quality": r.option.quality,
                          "alone_ms": 1e3 * r.option.idle_s, "limit_qps": r.limit_qps}
                         for r in ladder.rungs]}
            for (machine, sla_ms), ladder in study.ladders.items()
        ],
        "cases": [
            {**vars(case), "largest": case.largest,
             "verdict": {**vars(case.verdict), "wins": case.verdict.wins,
                         "equals": case.verdict.equals,
                         "constant": case.verdict.constant},
             "first": [vars(score) for score in case.first]}
            for case in study.cases
        ],
        "splits": [
            {"peak": day.peak, "wins": day.wins,
             "days": [[vars(score) for score in scores] for scores in day.scores]}
            for day in study.splits
        ],
        "checks": [vars(each) for each in study.checks],
    }  # fmt: skip


def draw_online(study: OnlineStudy, folder: Path) -> list[Path]:
    """Draw, for every ladder, a day's rate with what was chosen, and quality by peak."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ((machine, sla_ms), ladder) in enumerate(study.ladders.items()):
        figure, axes = new_axes(2, width=14, height=4.8, share=False)
        _draw_day(axes[0], ladder, study)
        cases = [
            c
            for c in study.cases
            if (c.machine, c.sla_ms) == (machine, sla_ms) and not (c.bursts or c.shed)
        ]
        for name, pick in (
            (ON_LINE, lambda v: v.online),
            (KNOWN, lambda v: v.known),
            ("best static", lambda v: v.static),
        ):  # fmt: skip
            axes[1].plot(
                [c.peak for c in cases], [pick(c.verdict) for c in cases], "o-", label=name
            )
        axes[1].set_xlabel("peak of the day over the largest load carried")
        axes[1].set_ylabel("mean NDCG of queries in time")
        axes[1].legend(fontsize="small")
        axes[1].grid(alpha=0.3)
        figure.suptitle(f"{machine}, {sla_ms:g} ms")
        paths += save_figure(figure, folder, f"online_{number}")
    return paths


def _draw_day(axes: Any, ladder: Ladder, study: OnlineStudy) -> None:
    day = Day(peak=SHOWN, queries=study.queries, seed=study.seed)
    run = run_on_line(ladder, day.trace(ladder), hysteresis_of(ladder))
    end_s = float(run.arrival_s[-1])
    hours = np.linspace(0, 24, 500)
    rate = day.rate_qps(ladder)
    axes.plot(hours, [rate(hour / 24 * end_s) for hour in hours], color="black", label="rate")
    limits = [ladder.rungs[rung].limit_qps for _, rung in run.changes]
    times = [24 * time_s / end_s for time_s, _ in run.changes]
    axes.step([*times, 24], [*limits, limits[-1]], where="post", label="what the choice carries")
    quality = [ladder.rungs[rung].option.quality for _, rung in run.changes]
    right = axes.twinx()
    right.step([*times, 24], [*quality, quality[-1]], where="post", color="#f58518", linewidth=1)
    right.set_ylabel("NDCG of the choice (orange)")
    axes.set_xlabel("hour of the day")
    axes.set_ylabel("queries/s")
    axes.legend(fontsize="small")
    axes.set_title(f"{QUARTERS_OF_HOURS // 4} hours, peak {SHOWN:g}")
