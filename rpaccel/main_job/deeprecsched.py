"""`rpaccel deeprecsched`: service times by name, the comparison, and what goes beyond it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rpaccel.main_job.deeprecsched_page import CAP_W, Study
from rpaccel.scheduler.arrivals import find_process
from rpaccel.scheduler.deeprec_extras import (
    DRIFT_MODEL,
    PAIRS,
    Capped,
    Drift,
    Shared,
    capped,
    drift,
    shared,
)
from rpaccel.scheduler.deeprec_study import LEVELS, Ask, run_study
from rpaccel.scheduler.derived_profiles import MEASURED, PROFILES_DIR, load_speedups, sped_up
from rpaccel.scheduler.service_profile import ServiceProfile, find_profile, load_profiles
from rpaccel.scheduler.sizes import parse_sizes
from rpaccel.spec.deeprec import deeprec_names

__all__ = ["Options", "ask_of", "run_deeprecsched"]

FILES = {"measured": MEASURED, "assumed": PROFILES_DIR / "assumed.json"}
TITLES = {
    "measured": "Measured service times",
    "assumed": "Published service times, the missing ones assumed",
}
Results = tuple[list[Study], Drift, list[Shared], list[Capped]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """As the verb takes them."""

    cores: int
    sizes: str
    queries: int
    seed: int
    arrivals: str | None = None
    trace: Path | None = None


def _pair(profiles: Sequence[ServiceProfile], model: str) -> tuple[ServiceProfile, ServiceProfile]:
    cpu = find_profile(profiles, model, "cpu")
    if any(one.model == model and one.device == "gpu" for one in profiles):
        return cpu, find_profile(profiles, model, "gpu")
    return cpu, sped_up(cpu, load_speedups())


def ask_of(name: str, models: Sequence[str], options: Options) -> Ask:
    """Return what is compared. name : of FILES, or a path of service times."""
    profiles = load_profiles(FILES.get(name, Path(name)))
    return Ask(
        profiles=tuple(_pair(profiles, model) for model in models),
        sizes=parse_sizes(options.sizes),
        cores=options.cores,
        queries=options.queries,
        seed=options.seed,
        process=find_process(options.arrivals, options.trace),
    )


def run_deeprecsched(
    files: Sequence[str],
    models: Sequence[str],
    options: Options,
    jobs: int,
    progress: Callable[[str], object],
) -> Results:
    """Return the studies of every file, then drift, colocation and cap of the first.

    files : "measured", "assumed" or paths. models : of the comparison, [] for all eight; drift and
    colocation have models of their own.
    """
    wanted = list(models) or deeprec_names()
    total = len(wanted) * len(LEVELS)

    def study(name: str) -> Study:
        def say(done: int) -> None:
            progress(f"{name}: {done} of {total}")

        ask = ask_of(name, wanted, options)
        with ProcessPoolExecutor(jobs) as pool:
            cases = run_study(ask, pool, say)
        return Study(name=TITLES.get(name, name), ask=ask, cases=cases)

    studies = [study(name) for name in files]
    first = studies[0]
    every = ask_of(files[0], sorted({DRIFT_MODEL, *wanted, *_paired()}), options)
    batches = {model: 128 for model in _paired()}
    batches |= {
        case.model: case.outcomes["ours"].policy.batch
        for case in first.cases
        if case.level == "medium"
    }
    progress("drift, colocation, cap")
    return (
        studies,
        drift(every),
        shared(every, batches),
        capped(first.ask, list(first.cases), CAP_W),
    )


def _paired() -> list[str]:
    return [model for first, second, _ in PAIRS for model in (first, second)]
