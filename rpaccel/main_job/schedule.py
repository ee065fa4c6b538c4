"""`rpaccel schedule`: which pipeline, where, for a load, an SLA and a quality target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rpaccel.cache import cached, source_digest
from rpaccel.host.records import padded_record_bytes
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.inputs import JobInputs, load_inputs
from rpaccel.main_job.quality import cached_quality, quality_points
from rpaccel.main_job.rankers import CompiledJob, compile_job
from rpaccel.main_job.three_stages import item_vectors
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.scheduler import ablation, paper_pipelines, recpipe_card
from rpaccel.scheduler.arrivals import POISSON, Process, find_process
from rpaccel.scheduler.choice import QUERIES, choose
from rpaccel.scheduler.choice_answer import Choice, Need
from rpaccel.scheduler.cpu_profile import MERGE, CpuProfile, load_profile
from rpaccel.scheduler.criteo_node import criteo_node
from rpaccel.scheduler.float_runner import profile_rankers
from rpaccel.scheduler.funnel_quality import QualityTable, criteo_quality
from rpaccel.scheduler.recpipe_card import CardTimes
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_film import Corpus, FilmCard, card_scans, cpu_hosts, cpu_scans
from rpaccel.scheduler.recpipe_node import Node
from rpaccel.scheduler.recpipe_space import RecPipeSpace
from rpaccel.scheduler.shapes import compiled_shape
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.platform import load_platform
from rpaccel.spec.recpipe import RecPipeSpec, load_recpipe
from rpaccel.spec.sweep import LaneSplit
from rpaccel.workloads.quality import FLOAT_LARGE

__all__ = [
    "CACHE", "ScheduleAsk", "criteo_space", "film_space", "measure_cpu", "movielens_job",
    "on_devices", "plan_job", "profile_inputs", "schedule_command",
]  # fmt: skip

CACHE = BUILD_DIR / "cache"
DEFAULT_QUALITY_SHARE = 0.97  # of the float large ranker's NDCG@10
DATA, PRESET = "ml-100k", "edge"
CARD_MODULES = (ablation, paper_pipelines, recpipe_card)  # that the card's times depend on
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ScheduleAsk:
    """What `rpaccel schedule` is asked; quality None: the workload's own target.

    workload : a search of spec/presets/recpipe, or a YAML file; None: criteo, or movielens if data
    or preset is given. devices : of its; (): all.
    data, preset : of movielens; None: the default. profile : of its CPU, None: measured.
    arrivals : of scheduler.arrivals.PROCESSES, None: Poisson; trace : a file of times instead.
    """

    workload: str | None
    qps: float
    sla_ms: float
    quality: float | None = None
    devices: tuple[str, ...] = ()
    data: str | None = None
    preset: str | None = None
    profile: Path | None = None
    seed: int = 0
    arrivals: str | None = None
    trace: Path | None = None

    @property
    def search(self) -> str:
        """Name or path of the search."""
        films = self.data is not None or self.preset is not None
        return self.workload or ("movielens" if films else "criteo")


def measure_cpu(data: str, out: Path | None = None, seed: int = 0) -> CpuProfile:
    """Measure both float rankers of `data` on this machine's CPU; write the profile to `out`."""
    return profile_inputs(load_inputs(data, seed), data, out)


def profile_inputs(inputs: JobInputs, data: str, out: Path | None = None) -> CpuProfile:
    """Measure both float rankers of `inputs`, and retrieval in front of them."""
    profile = profile_rankers(inputs.rankers, inputs.features, f"rpaccel profile cpu --data {data}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(profile.to_text())
    return profile


def typical_items(job: CompiledJob) -> int:
    """Return the mean number of candidates of a query, a multiple of 10."""
    users = job.inputs.split.test_users
    mean = sum(len(job.inputs.split.candidates(int(user))) for user in users) / len(users)
    return round(mean / 10) * 10


def film_node(job: CompiledJob, profile: CpuProfile, spec: RecPipeSpec) -> Node:
    """Return this machine's CPU and a card with the job's preset behind the spec's link."""
    platform, schema = load_platform(spec.platform), job.inputs.features.schema
    records = RecordSizes(
        user_bytes=padded_record_bytes(schema, "user", job.config),
        item_bytes=padded_record_bytes(schema, "item", job.config),
    )
    shapes = {
        name: compiled_shape(job.compiled, name, job.user_records, job.feature_table)
        for name in job.compiled.names
    }
    card = FilmCard(config=job.config, platform=platform, shapes=shapes, records=records)
    corpus, asked = _corpus(job), spec.retrieval
    scans = cpu_scans(profile, corpus, asked.k, asked.shards)
    if scans:
        each = profile.model(MERGE).per_item_s
        scans |= card_scans(job.config, platform, corpus, asked.k, asked.shards, each)
    return Node(
        servers={device: spec.servers[device] for device in spec.devices},
        hosts=cpu_hosts(profile, job.config.max_items),
        card=CardTimes(card),
        link=platform.link,
        top_n=spec.top_n,
        scans={key: scan for key, scan in scans.items() if key[0] in spec.devices},
        user_bytes=records.user_bytes,
        item_bytes=4,  # an id: records are on the card
    )


def _corpus(job: CompiledJob) -> Corpus:
    items = item_vectors(job.inputs).items
    return Corpus(rows=items.shape[0], row_bytes=items.shape[1])


def film_space(
    job: CompiledJob, quality: dict[str, Any], profile: CpuProfile, spec: RecPipeSpec
) -> RecPipeSpace:
    """Return the space of a job's rankers; its lanes are the preset's, all of one shape."""
    return RecPipeSpace(
        spec=spec.model_copy(update={"splits": lane_splits(job.config)}),
        node=film_node(job, profile, spec),
        quality=QualityTable(quality_points(quality, typical_items(job))),
    )


def lane_splits(config: AcceleratorConfig) -> tuple[LaneSplit, ...]:
    """Return as many lanes of each shape as fit into the array, shared by all stages."""
    shapes = sorted({config.lane_shape(lane) for lane in range(config.lanes)}, reverse=True)
    blocks = config.block_rows * config.block_cols
    every = [config.lane_shape(lane) for lane in range(config.lanes)]
    return tuple(
        LaneSplit(front=(min(every.count(shape), blocks // (shape[0] * shape[1])), *shape))
        for shape in shapes
    )


def default_quality(quality: dict[str, Any]) -> float:
    """Return 97 % of the large float ranker's NDCG@10."""
    estimate: float = quality["rows"][FLOAT_LARGE]["ndcg@10"]["estimate"]
    return DEFAULT_QUALITY_SHARE * estimate


def plan_job(
    job: CompiledJob,
    quality: dict[str, Any],
    profile: CpuProfile,
    *,
    qps: float,
    sla_ms: float,
    target: float | None = None,
    seed: int = 0,
) -> Choice:
    """Return the choice for a job on this machine's CPU and the job's preset."""
    space = film_space(job, quality, profile, load_recpipe("movielens"))
    wanted = default_quality(quality) if target is None else target
    return _choose(space, _need(space.spec, qps, sla_ms, wanted), seed, POISSON)


def _need(spec: RecPipeSpec, qps: float, sla_ms: float, quality: float) -> Need:
    return Need(
        load_qps=qps,
        sla_ms=sla_ms,
        quality=quality,
        metric=spec.metric,
        percentile=spec.percentile,
    )


def _choose(space: RecPipeSpace, need: Need, seed: int, process: Process) -> Choice:
    evaluator = Evaluator(
        space.node,
        space.quality,
        percentile=need.percentile,
        queries=QUERIES,
        seed=seed,
        process=process,
    )
    return choose(space, evaluator, need)


def criteo_space(
    spec: RecPipeSpec, say: Say = print, folder: Path = CACHE, *, ahead: bool = True
) -> RecPipeSpace:
    """Return Criteo's space, with `ahead` the times of all programs of the card known.

    They are kept in `folder`, keyed by what they depend on.
    """
    space = RecPipeSpace(spec=spec, node=criteo_node(spec), quality=criteo_quality())
    if not ahead:
        return space
    programs = {
        program.key: program
        for design in space.designs()
        for device, first, end in design.groups()
        if device == "accelerator"
        for program in [space.node.program(design, first, end)]
    }
    if not programs:
        return space

    def compute() -> dict[str, tuple[float, float]]:
        say(f"{len(programs)} programs of the card by the model of the machine (minutes) ...")
        times = space.node.card
        for program in programs.values():
            times.times(program)
        return times.known

    rooms = source_digest(["golden", "perfmodel", "spec", "workloads"])
    parts = [Path(str(module.__file__)).read_bytes() for module in CARD_MODULES]
    known, _ = cached(folder, "card", [rooms, *parts, *sorted(programs)], compute)
    pairs = {key: (float(pair[0]), float(pair[1])) for key, pair in known.items()}
    return RecPipeSpace(spec=spec, node=criteo_node(spec, pairs), quality=space.quality)


def movielens_job(
    data: str, preset: str, seed: int, say: Say = print
) -> tuple[CompiledJob, dict[str, Any]]:
    """Return the compiled rankers of a click log, and their quality table."""
    config = load_accelerator(preset)
    job = compile_job(load_inputs(data, seed), config, seed)
    quality, _ = cached_quality(job, CACHE, say)
    return job, quality


def on_devices(spec: RecPipeSpec, devices: Sequence[str]) -> RecPipeSpec:
    """Return a search on some of its devices. Raises ValueError for others."""
    unknown = [device for device in devices if device not in spec.devices]
    if unknown:
        raise ValueError(f"devices must be of {', '.join(spec.devices)}, not {unknown[0]!r}")
    kept = tuple(device for device in spec.devices if device in devices)
    return spec.model_copy(update={"devices": kept})


def schedule_command(ask: ScheduleAsk, say: Say = print, kept: Path | None = None) -> Choice:
    """Return the choice. Raises ValueError for an option that the workload does not have.

    kept : file for the CPU's profile if it is measured; None: it is not written.
    """
    spec = load_recpipe(ask.search)
    if ask.devices:
        spec = on_devices(spec, ask.devices)
    if spec.workload == "criteo":
        for name in ("data", "preset", "profile"):
            if (value := getattr(ask, name)) is not None:
                raise ValueError(f"{name} must be left out for criteo, not {str(value)!r}")
    # Before anything takes long; movielens' own target is known only when its rankers are measured.
    target = spec.slices.quality if ask.quality is None else ask.quality
    need = _need(spec, ask.qps, ask.sla_ms, target)
    process = find_process(ask.arrivals, ask.trace)
    if spec.workload == "criteo":
        return _choose(criteo_space(spec, say), need, ask.seed, process)
    data, profile = ask.data or DATA, load_profile(ask.profile) if ask.profile else None
    job, quality = movielens_job(data, ask.preset or PRESET, ask.seed, say)
    space = film_space(job, quality, profile or profile_inputs(job.inputs, data, kept), spec)
    if ask.quality is None:
        need = replace(need, quality=default_quality(quality))
    return _choose(space, need, ask.seed, process)
