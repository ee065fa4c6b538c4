"""`rpaccel recpipe`: the joint search on a workload, all candidates beside NSGA-II."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.cache import PACKAGE
from rpaccel.main_job.inputs import check_data
from rpaccel.main_job.schedule import criteo_space, film_space, movielens_job
from rpaccel.results import RunFolder
from rpaccel.scheduler.ablation import measure
from rpaccel.scheduler.cpu_profile import load_profile
from rpaccel.scheduler.derived_profiles import PROFILES_DIR
from rpaccel.scheduler.funnel_quality import Funnel
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_node import Design
from rpaccel.scheduler.recpipe_search import (
    Genetic,
    Searched,
    Slices,
    exhaustive,
    genetic,
    hypervolume_ratio,
    restricted,
    slices,
)
from rpaccel.scheduler.recpipe_space import RecPipeSpace
from rpaccel.scheduler.second_look import LONGEST, SecondLook, look_again
from rpaccel.scheduler.slowed import SlowedTail, slowed_tails
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.recpipe import RecPipeSpec, load_recpipe

__all__ = [
    "DEVICE_SETS", "FILM_PROFILE", "CardCheck", "GeneticRun", "RecPipeAsk", "Study", "run_recpipe",
    "run_study", "wide_study",
]  # fmt: skip

Say = Callable[[str], None]
FILM_PROFILE = PROFILES_DIR / "ml-100k.json"
DEVICE_SETS = (("cpu",), ("cpu", "gpu"), ("cpu", "gpu", "accelerator"))
CHECK_QUERIES = 2000  # of a run of the machine's model
CHECK_SHARES = (0.3, 0.6, 0.9)  # of a program's saturation
CHECKED = 3  # programs of the front
SLOWED_QPS = (100.0, 250.0, 333.0, 500.0)  # of figure 7


@dataclass(frozen=True, kw_only=True)
class RecPipeAsk:
    """What `rpaccel recpipe` is asked; wide None: no larger space; profile None: as shipped."""

    spaces: tuple[str, ...] = ("criteo", "movielens")
    wide: str | None = "criteo_wide"
    population: int = 60
    generations: int = 30
    seeds: int = 3
    data: str = "ml-100k"
    preset: str = "edge"
    profile: Path | None = None
    seed: int = 0

    @property
    def genetic(self) -> tuple[Genetic, ...]:
        """NSGA-II with every seed."""
        return tuple(
            Genetic(population=self.population, generations=self.generations, seed=seed)
            for seed in range(self.seed, self.seed + self.seeds)
        )

    @property
    def command(self) -> str:
        """The command that writes the page: every option that is not the default."""
        words = ["rpaccel", "recpipe"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text = ",".join(value) if isinstance(value, tuple) else str(value or "")
                words += [f"--{field.name}", shlex.quote(text)]
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class GeneticRun:
    """A search by NSGA-II beside all candidates. ratio : of hypervolumes."""

    seed: int
    measured: int
    simulated: int
    front: int
    ratio: float


@dataclass(frozen=True, kw_only=True)
class CardCheck:
    """A pipeline that is one program of the card: p99 of the search and of the machine's model."""

    label: str
    load_qps: float
    search_ms: float
    machine_ms: float

    @property
    def error(self) -> float:
        """Relative error of the search's."""
        return self.search_ms / self.machine_ms - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A space that was searched. sets : devices -> what is on them, and its slices.

    searched : all candidates, or what NSGA-II saw where they are too many.
    looks : a longer run of every point of the front and of the slices, by pipeline and load; the
        verdict is on the SLA of the iso-latency slice.
    slowed : what it matters that requests slow each other down.
    host : whose the CPU's servers and times are.
    """

    spec: RecPipeSpec
    pipelines: int
    candidates: int
    searched: Searched
    sets: dict[str, tuple[Searched, Slices]]
    runs: tuple[GeneticRun, ...]
    checks: tuple[CardCheck, ...]
    evaluator: Evaluator
    looks: dict[tuple[Design, float], SecondLook]
    slowed: tuple[SlowedTail, ...]
    host: str

    def look(self, searched: Searched, place: int) -> SecondLook:
        """Return the longer run of a shown candidate."""
        return self.looks[searched.design(place), float(searched.measures.load_qps[place])]


def _host(spec: RecPipeSpec, ask: RecPipeAsk) -> str:
    if spec.workload == "criteo":
        return f"times of RecPipe's artifact ({spec.profiles['cpu']})"
    path = ask.profile or FILM_PROFILE
    shipped = path.resolve().is_relative_to(PACKAGE)
    name = path.resolve().relative_to(PACKAGE).as_posix() if shipped else path.name
    return f"threads of {load_profile(path).machine.get('cpu', 'a CPU')}, measured in `{name}`"


def _space(spec: RecPipeSpec, ask: RecPipeAsk, say: Say) -> RecPipeSpace:
    if spec.workload == "criteo":
        return criteo_space(spec, say)
    job, quality = movielens_job(ask.data, ask.preset, ask.seed, say)
    return film_space(job, quality, load_profile(ask.profile or FILM_PROFILE), spec)


def run_study(name: str | Path, ask: RecPipeAsk, say: Say) -> Study:
    """Look at every candidate of a search, and search it with NSGA-II by every seed."""
    spec = load_recpipe(name)
    space = _space(spec, ask, say)
    evaluator = _evaluator(space, ask.seed)
    say(f"{spec.name}: all candidates ...")
    searched = exhaustive(space, evaluator)
    runs = []
    for each in ask.genetic:
        say(f"{spec.name}: NSGA-II, seed {each.seed} ...")
        found = genetic(space, evaluator, each)
        runs.append(
            GeneticRun(
                seed=each.seed,
                measured=len(found.designs),
                simulated=found.measures.simulated,
                front=len(found.front),
                ratio=hypervolume_ratio(found, searched),
            )
        )
    sets = _device_sets(spec, searched)
    say(f"{spec.name}: the front and the slices again, longer ...")
    return Study(
        spec=spec,
        pipelines=len(searched.designs),
        candidates=searched.measures.row.size,
        searched=searched,
        sets=sets,
        runs=tuple(runs),
        checks=tuple(_card_checks(space, searched, evaluator, ask.seed)),
        evaluator=evaluator,
        looks=_looks(spec, searched, sets, evaluator),
        slowed=slowed_tails(space, evaluator, SLOWED_QPS),
        host=_host(spec, ask),
    )


def wide_study(name: str, ask: Genetic, reference: Study, seed: int, say: Say) -> Study:
    """Search a space that holds too many candidates with NSGA-II, beside a smaller one's front."""
    spec = load_recpipe(name)
    space = criteo_space(spec, say, ahead=False)
    space.node.card.known.update(reference.evaluator.node.card.known)
    pipelines = sum(1 for _ in space.designs())
    say(
        f"{spec.name}: NSGA-II in {pipelines} pipelines, programs of the card as they are asked ..."
    )
    evaluator = _evaluator(space, seed)
    found = genetic(space, evaluator, ask)
    run = GeneticRun(
        seed=ask.seed,
        measured=len(found.designs),
        simulated=found.measures.simulated,
        front=len(found.front),
        ratio=hypervolume_ratio(found, reference.searched),
    )
    # One search of all devices: what it saw of some of them alone is no front.
    sets = {" + ".join(spec.devices): (found, slices(found, spec.slices))}
    return Study(
        spec=spec,
        pipelines=pipelines,
        candidates=pipelines * len(spec.loads_qps),
        searched=found,
        sets=sets,
        runs=(run,),
        checks=(),
        evaluator=evaluator,
        looks=_looks(spec, found, sets, evaluator),
        slowed=(),
        host=reference.host,
    )


def run_recpipe(ask: RecPipeAsk, out: Path, say: Say) -> tuple[str, dict[str, Any]]:
    """Search every space; write plots and figures into `out`; return the page and its figures."""
    from rpaccel.main_job.recpipe_page import recpipe_text, recpipe_values  # noqa: PLC0415
    from rpaccel.main_job.recpipe_plots import plot_study  # noqa: PLC0415

    if not ask.spaces:
        raise ValueError("spaces must name at least one search, not none")
    load_accelerator(ask.preset)
    check_data(ask.data)
    studies = [run_study(name, ask, say) for name in ask.spaces]
    wide = None
    if ask.wide:
        beside = [study for study in studies if study.spec.workload == "criteo"]
        if not beside:
            raise ValueError("spaces must hold one of criteo beside wide, or --wide ''")
        wide = wide_study(ask.wide, ask.genetic[0], beside[0], ask.seed, say)
    folder, values = RunFolder(out), recpipe_values(studies, wide)
    for study in (*studies, *([wide] if wide else [])):
        for path in plot_study(study, out):
            say(f"wrote {path}")
    folder.write_json("fronts", values)
    folder.finish(ask)
    return recpipe_text(studies, wide, ask.command), values


def _evaluator(space: RecPipeSpace, seed: int) -> Evaluator:
    spec = space.spec
    return Evaluator(
        space.node, space.quality, percentile=spec.percentile, queries=spec.queries, seed=seed
    )


def _device_sets(spec: RecPipeSpec, searched: Searched) -> dict[str, tuple[Searched, Slices]]:
    sets = {}
    for devices in DEVICE_SETS:
        there = tuple(device for device in devices if device in spec.devices)
        if there == devices or devices == DEVICE_SETS[-1]:
            part = restricted(searched, there)
            sets[" + ".join(there)] = part, slices(part, spec.slices)
    return sets


def _looks(
    spec: RecPipeSpec,
    searched: Searched,
    sets: Mapping[str, tuple[Searched, Slices]],
    evaluator: Evaluator,
) -> dict[tuple[Design, float], SecondLook]:
    """Simulate what is shown again: the front and the slices of every set."""
    shown = [(searched, int(place)) for place in searched.front]
    for part, cut in sets.values():
        shown += [(part, place) for place in (*cut.quality, *cut.latency, *cut.throughput)]
    keys = {(part.design(place), float(part.measures.load_qps[place])) for part, place in shown}
    ordered = sorted(keys)
    table, longer = evaluator.table([design for design, _ in ordered]), evaluator.longer(LONGEST)
    return {
        (design, load): look_again(longer, table, row, load, spec.slices.sla_ms)
        for row, (design, load) in enumerate(ordered)
    }


def _card_checks(
    space: RecPipeSpace, searched: Searched, evaluator: Evaluator, seed: int
) -> list[CardCheck]:
    """Compare pipelines of the front that are one program of the card with the machine's model.

    The best ones, each of another funnel.
    """
    best = searched.front[np.argsort(-searched.measures.quality[searched.front], kind="stable")]
    found: dict[Funnel, Design] = {}
    for design in map(searched.design, best.tolist()):
        if set(design.devices) == {"accelerator"} and not design.retrieval:
            found.setdefault(design.funnel, design)
    chosen = list(found.values())[:CHECKED]
    checks = []
    for design in chosen:
        setup = space.node.card.card.setup(space.node.program(design, 0, len(design.devices)))
        table = evaluator.table([design])
        for share in CHECK_SHARES:
            load = share * float(table.capacity_qps[0])
            ours = evaluator.measure(
                table, np.zeros(1, np.int64), np.array([load]), evaluator.qualities([design])
            )
            checks.append(
                CardCheck(
                    label=design.label,
                    load_qps=load,
                    search_ms=float(ours.tail_ms[0]),
                    machine_ms=measure(setup, load, CHECK_QUERIES, seed).p99_ms,
                )
            )
    return checks
