"""Splits that follow the load at one quality: what is gained is latency (figure 12, bottom)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.main_job.markdown import markdown_table
from rpaccel.scheduler.online import build_ladder
from rpaccel.scheduler.online_options import split_options
from rpaccel.scheduler.online_study import TUNED_SEEDS, Day, Score, run_day

__all__ = ["SPLIT_PEAKS", "SplitDay", "run_split_days", "split_days_text"]

SPLIT_PEAKS = (0.3, 0.6, 0.8, 0.95)


@dataclass(frozen=True, kw_only=True)
class SplitDay:
    """Days of one peak. scores : of each seed, on-line first, then who knows, then statics."""

    peak: float
    scores: tuple[tuple[Score, ...], ...]

    def mean_ms(self, place: int) -> float:
        """Return a choice's latency, mean of the days [ms]."""
        return float(np.mean([scores[place].mean_ms for scores in self.scores]))

    def late(self, place: int) -> float:
        """Return a choice's share of late queries, mean of the days."""
        return float(np.mean([scores[place].late for scores in self.scores]))

    @property
    def best(self) -> int:
        """Place of the static choice with the least latency."""
        return min(range(2, len(self.scores[0])), key=self.mean_ms)

    @property
    def wins(self) -> bool:
        """Whether on-line answers sooner than every static choice on every day."""
        return all(s[0].mean_ms < min(each.mean_ms for each in s[2:]) for s in self.scores)


def run_split_days(
    *,
    queries: int,
    days: int,
    seed: int,
    peaks: Sequence[float] = SPLIT_PEAKS,
    progress: Callable[[str], None] = print,
) -> list[SplitDay]:
    """Run days of the splits at 4096 candidates; all queries are served."""
    options = split_options()
    ladder = build_ladder(options.options, 1e-3 * options.sla_ms[0], seed=TUNED_SEEDS[0])
    found = []
    for peak in peaks:
        progress(f"{options.name}: a day, peak {peak:g} ...")
        runs = [
            tuple(run_day(ladder, Day(peak=peak, queries=queries, seed=seed + number)))
            for number in range(days)
        ]
        found.append(SplitDay(peak=peak, scores=tuple(runs)))
    return found


def split_days_text(days: Sequence[SplitDay]) -> str:
    """Return a section of docs/generated/online.md."""
    names = [score.choice for score in days[0].scores[0]]
    rows = [
        [
            f"{day.peak:g}",
            *(_cell(day.mean_ms(place), day.late(place)) for place in range(len(names))),
            f"{day.mean_ms(day.best) / day.mean_ms(0):.2f}x",
            "yes" if day.wins else "no",
        ]
        for day in days
    ]
    wins = [f"{day.peak:g}" for day in days if day.wins]
    return f"""## Splits alone
One quality: 4096 candidates, splits of the array in the artifact's terms, SLA
{split_options().sla_ms[0]:g} ms; a better split is here one that answers sooner. Mean latency of
the day [ms], in brackets late queries [%]; gain: of the best static choice over on-line. On-line
answers sooner than every split on all days at peaks {", ".join(wins) or "none"} of
{len(days)} peaks.

{markdown_table(["peak", *names, "gain", "wins"], rows)}
"""


def _cell(mean_ms: float, late: float) -> str:
    return f"{mean_ms:,.2f} ({100 * late:.2f})"
