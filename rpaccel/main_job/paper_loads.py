"""Data of RecPipe's figures 12, 13 bottom and 14: our machine under Poisson arrivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from rpaccel.main_job import paper_points as published
from rpaccel.main_job.paper_figure import ARTIFACT, OURS, PAPER, Panel, PaperFigure, Series
from rpaccel.perfmodel.networks import RM_LARGE, RM_MED, RM_SMALL
from rpaccel.perfmodel.row_hits import cache_bytes, machine_hits, static_hits
from rpaccel.perfmodel.shapes import NetworkShape
from rpaccel.scheduler.ablation import (
    CANDIDATES,
    KEPT,
    SERVED,
    Design,
    Setup,
    host_sort_s,
    measure,
    saturated_qps,
)
from rpaccel.scheduler.ablation_study import serial_load
from rpaccel.scheduler.paper_pipelines import (
    FILM_BYTES,
    FINE_BLOCK,
    PROVISIONED,
    THIRD_ITEMS,
    Pipeline,
    PipelineSetup,
    neumf,
    provisioned,
    quarters,
    split,
    whole_array,
)
from rpaccel.scheduler.published_baseline import published_phases
from rpaccel.scheduler.published_pipelines import MOST_LOAD, SPLITS, queue_curve, split_stations
from rpaccel.scheduler.queueing import Station
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.workloads.criteo_fit import pinned_hit_rate
from rpaccel.workloads.criteo_trace import ALL_TABLES, FITTED

__all__ = [
    "MOST_LOAD", "NEUMF", "STAGE_ITEMS", "artifact_curve", "artifact_stations",
    "baseline_service_s", "capacity_qps", "criteo_pipelines", "figure_12", "figure_13", "figure_14",
    "neumf_pipelines", "scaled_hits", "serial_load_within", "split_setups", "tail_curve",
]  # fmt: skip

Curve = dict[float, float]

PAPER_LOADS = (100, 200, 250, 333, 400, 500, 667, 1000, 1333, 1538, 2000, 2500)
LARGER_LOADS = (3300, 5000, 7500, 10000)  # where ours end
SPLIT_LOADS = (250, 500, 1000, 1538, 2000, 5000, 10000)
FIGURE_14_LOADS = (100, 500, 2000)
FIGURE_13_LOAD = 500

# MovieLens: candidates of each stage, then MF width and MLP of small, medium and large NeuMF.
# RecPipe's artifact, configs/model_configs and its MovieLens pipelines.
NEUMF: Mapping[str, tuple[tuple[int, int, int], tuple[tuple[int, tuple[int, ...]], ...]]] = {
    "ML-1M": (
        (1000, 400, 256),
        (
            (128, (64, 32, 1)),
            (16, (800, 512, 256, 128, 64, 32, 1)),
            (128, (1024, 512, 256, 128, 1)),
        ),
    ),
    "ML-20M": (
        (4000, 400, 250),
        (
            (1, (32, 1)),
            (16, (16, 512, 256, 128, 64, 32, 1)),
            (64, (64, 2048, 512, 256, 128, 64, 1)),
        ),
    ),
}


@cache
def _config() -> AcceleratorConfig:
    return load_accelerator("paper")


@cache
def _hits(stages: tuple[tuple[str, int, int], ...], ours: bool = True) -> Mapping[str, float]:
    """Return hit rates of our caches, or of the static one, by (name, dim, items)."""
    if ours:
        return machine_hits(_config(), stages)
    return static_hits(stages, sum(cache_bytes(_config())))


def _stages(*stages: tuple[NetworkShape, int]) -> tuple[tuple[str, int, int], ...]:
    return tuple((network.name, network.dim, items) for network, items in stages)


@cache
def criteo_pipelines() -> dict[str, PipelineSetup]:
    """Return one, two and three stages of Criteo on `paper`, filters and list on the card."""
    one = _hits(_stages((RM_LARGE, CANDIDATES)), ours=False)
    two = _hits(_stages((RM_SMALL, CANDIDATES), (RM_LARGE, KEPT)))
    three = ((RM_SMALL, CANDIDATES), (RM_MED, KEPT), (RM_LARGE, THIRD_ITEMS))
    return {
        "one stage": PipelineSetup(whole_array(hits=one)),
        "two stages": PipelineSetup(split(_config(), hits=two)),
        "three stages": PipelineSetup(quarters(_config(), three, hits=_hits(_stages(*three)))),
    }


@cache
def capacity_qps(setup: PipelineSetup) -> float:
    """Return what machine and link sustain [queries/s]."""
    return min(saturated_qps(setup), 1 / setup.link_s)


def baseline_service_s() -> float:
    """Return the time of a query on the baseline as published: `scheduler.published_baseline`."""
    base = Setup(Design(name="base", ideas=frozenset()))
    model = base.stages[0].model
    phases = published_phases(
        base.config,
        base.platform,
        base.machine.lanes[0][model],
        base.records,
        items=CANDIDATES,
        bytes_in=base.design.bytes_in,
        row_hits=base.machine.row_hits[model],
        sort_s=host_sort_s(CANDIDATES),
    )
    return sum(phase.seconds for phase in phases)


def tail_curve(setup: PipelineSetup, loads: Sequence[float], queries: int, seed: int) -> Curve:
    """Return the p99 latency at those loads that the pipeline sustains [ms]."""
    most = MOST_LOAD * capacity_qps(setup)
    return {load: measure(setup, load, queries, seed).p99_ms for load in loads if load <= most}


def serial_load_within(service_s: float, p99_ms: float, queries: int, seed: int) -> float:
    """Return the largest load of one server whose p99 is within a limit, to 1 % [queries/s].

    0 if a query alone takes longer.
    """
    if 1e3 * service_s > p99_ms:
        return 0.0
    low, high = 0.0, 1 / service_s
    while high - low > 0.01 / service_s:
        middle = (low + high) / 2
        met = serial_load(service_s, middle, queries, seed).p99_ms <= p99_ms
        low, high = (middle, high) if met else (low, middle)
    return low


# Design of figure 12 -> split of the array in the artifact's terms.
ARTIFACT_SPLITS = {
    "one stage": "whole", "two stages": "2,2", "three stages": "1,1,1",
    "8,2": "8,2", "8,8": "8,8", "8,16": "8,16",
}  # fmt: skip
STAGE_ITEMS = (CANDIDATES, KEPT, THIRD_ITEMS)


def artifact_stations(design: str) -> tuple[Station, ...]:
    """Return the queues of a design of figure 12 in the artifact's terms."""
    split = ARTIFACT_SPLITS[design]
    return split_stations(split, STAGE_ITEMS[: len(SPLITS[split])])


def artifact_curve(
    design: str, loads: Sequence[float], queries: int, seed: int, *, released: bool = False
) -> Curve:
    """Return the tail of queues of the artifact's service times, at loads that they sustain [ms].

    Its arrays are servers of a stage; its own runs add 0.3 to 0.7 ms of processes that sleep.
    released : `queue_curve`; else p99 of Poisson arrivals.
    """
    stations = artifact_stations(design)
    return queue_curve(lambda _load: stations, loads, queries, seed, released=released)


def _series(label: str, source: str, curve: Mapping[float, float]) -> Series:
    return Series(label=label, source=source, points=tuple(sorted(curve.items())))


def figure_12(
    queries: int = 1500,
    seed: int = 0,
    loads: Sequence[float] = (*PAPER_LOADS, *LARGER_LOADS),
    split_loads: Sequence[float] = SPLIT_LOADS,
) -> PaperFigure:
    """Tail latency against load: one to three stages, and three splits of the array."""
    service_s = baseline_service_s()
    base = {
        load: serial_load(service_s, load, 20 * queries, seed).p99_ms
        for load in loads
        if load * service_s <= MOST_LOAD
    }
    ours = [_series("baseline", OURS, base)]
    setups = criteo_pipelines()
    most = {"baseline": 1 / service_s}
    for name, setup in setups.items():
        ours.append(_series(name, OURS, tail_curve(setup, loads, queries, seed)))
        most[name] = capacity_qps(setup)
    splits = split_setups()
    batches = ", ".join(str(setup.stages[-1].sub_batch) for setup in splits.values())
    rates = ", ".join(dict.fromkeys(f"{saturated_qps(setup):,.0f}" for setup in splits.values()))
    bottom = [
        _series(name, OURS, tail_curve(setup, split_loads, queries, seed))
        for name, setup in splits.items()
    ]
    for name in ("one stage", "two stages"):
        ours.append(_series(name, ARTIFACT, artifact_curve(name, loads, 20 * queries, seed)))
    for name in splits:
        curve = artifact_curve(name, split_loads, 20 * queries, seed)
        bottom.append(_series(name, ARTIFACT, curve))
    paper = [_series(name, PAPER, curve) for name, curve in published.FIGURE_12.items()]
    bottom += [_series(name, PAPER, curve) for name, curve in published.FIGURE_12_SPLITS.items()]
    return PaperFigure(
        stem="fig12",
        title="Figure 12: tail latency under load, Criteo",
        notes=(
            f"p99 of {queries} Poisson arrivals, the first tenth left out; records come over the "
            "link. Ours: baseline as published (one phase after the other, "
            f"{1e3 * service_s:.3f} ms a query); one stage on the whole array; two stages on "
            "8 + 2 lanes; three on four quarters (4096, 512, 128; RMsmall, RMmed, RMlarge).",
            f"Capacity [queries/s]: {_capacities(most)}; the link allows "
            f"{1 / setups['two stages'].link_s:,.0f}. Every curve is flat up to a knee, as the "
            "paper's, and the knees of one stage and of several lie in its order; ours are the "
            "larger, at int8, with weights that stay and units that overlap. Two and three stages "
            "end together: at the link.",
            "Artifact: queues of its service times (`rpaccel artifact`), exponential gaps; two "
            "stages on two arrays of 64 each. Its published runs used gaps of whole milliseconds.",
            f"8,2, 8,8 and 8,16: `paper` in blocks of {FINE_BLOCK}, which 8,16's arrays of 16 x 32 "
            f"need; the preset, on which two stages run above, has {_config().block_size}. "
            f"Sub-batches of the back end: {batches} items, what a lane holds or less. Without "
            f"the link their lanes sustain {rates} queries/s: the front end's, eight of 32 x 32 in "
            "all three, bind.",
        ),
        panels=(
            Panel(x="queries/s", y="p99 [ms]", series=(*ours, *paper), log="xy"),
            Panel(
                x="queries/s (sub-arrays of front, back)",
                y="p99 [ms]",
                series=tuple(bottom),
                log="xy",
            ),
        ),
    )


@cache
def split_setups() -> dict[str, PipelineSetup]:
    """Return the splits of figure 12, bottom, with the hits of `criteo_pipelines`' two stages."""
    hits = criteo_pipelines()["two stages"].pipeline.row_hits
    return {name: provisioned(name, hits=hits) for name in PROVISIONED}


def _capacities(most: Mapping[str, float]) -> str:
    """Return capacities with how many times the paper's largest load each is."""
    return ", ".join(
        f"{name} {qps:,.0f} ({qps / max(published.FIGURE_12[name]):.1f} times the paper's last)"
        for name, qps in most.items()
    )


def scaled_hits(scale: int) -> float:
    """Return the hit rate of pinned rows with tables so many times larger.

    A stage's half of the static caches, a popular row a beat, look-ahead left out.
    """
    config = _config()
    rows = cache_bytes(config)[0] // config.beat_bytes // 2
    return pinned_hit_rate(FITTED, rows, tables=ALL_TABLES, scale=scale) / 100


def figure_13(
    queries: int = 1500,
    seed: int = 0,
    scales: Sequence[tuple[int, float]] = published.MEMORY_AND_ITEMS,
) -> PaperFigure:
    """Tail latency at 500 queries per second as tables and candidates grow."""
    tails: dict[str, dict[float | str, float]] = {"one stage": {}, "several stages": {}}
    for memory, items in scales:
        candidates = round(CANDIDATES * items)
        hits = dict.fromkeys((RM_SMALL.name, RM_LARGE.name), scaled_hits(memory))
        one = whole_array(RM_LARGE, candidates, hits=hits)
        two = split(_config(), hits=hits, candidates=candidates, kept=round(KEPT * items))
        for name, pipeline in (("one stage", one), ("several stages", two)):
            setup = PipelineSetup(pipeline)
            load = measure(setup, FIGURE_13_LOAD, queries, seed)
            tails[name][_scale_name(memory, items)] = load.p99_ms
    names = [_scale_name(*pair) for pair in scales]
    known = [_scale_name(*pair) for pair in published.MEMORY_AND_ITEMS]
    paper = {
        label: {n: v for n, v in zip(known, values, strict=True) if n in names}
        for label, values in published.FIGURE_13_TAIL.items()
    }
    return PaperFigure(
        stem="fig13",
        title="Figure 13, bottom: larger tables and more candidates",
        notes=(
            f"p99 at {FIGURE_13_LOAD} queries/s. Hits: pinned rows only, by the popularity law, "
            f"tables of 1 to 32 times the rows ({100 * scaled_hits(1):.1f} to "
            f"{100 * scaled_hits(32):.1f} % hit). No SSD in the path. Beyond 4096 candidates the "
            "model goes where `paper` cannot: its lists hold 4096 (`max_items`).",
            "The paper's NDCG (92.2 to 96.4) is out of reach without Criteo's log; its one-stage "
            "tail at 500 queries/s, 3.55 ms here, is 18.3 ms in its figure 12.",
        ),
        panels=(
            Panel(
                x="tables x, candidates x",
                y="p99 [ms]",
                series=(
                    *(_bars(label, OURS, curve) for label, curve in tails.items()),
                    *(_bars(label, PAPER, curve) for label, curve in paper.items()),
                ),
            ),
        ),
    )


def _scale_name(memory: int, items: float) -> str:
    return f"{memory}, {items:g}"


def _bars(
    label: str, source: str, values: Mapping[float | str, float] | Mapping[str, float]
) -> Series:
    return Series(label=label, source=source, points=tuple(values.items()))


def neumf_pipelines(dataset: str) -> list[PipelineSetup]:
    """Return one, two and three stages of NeuMF; all rows on the card's caches.

    Raises ValueError for a data set that is not in NEUMF.
    """
    if dataset not in NEUMF:
        raise ValueError(f"dataset must be one of {', '.join(NEUMF)}, not {dataset!r}")
    items, shapes = NEUMF[dataset]
    small, medium, large = (
        neumf(f"{dataset} {size}", mf, mlp)
        for size, (mf, mlp) in zip(("small", "medium", "large"), shapes, strict=True)
    )
    # 27,278 films of ML-20M at 128 bytes a row and two rows are 7 MB of 12: assumed to be pinned.
    hits = {network.name: 1.0 for network in (small, medium, large)}

    def of(pipeline: Pipeline) -> PipelineSetup:
        return PipelineSetup(pipeline)

    return [
        of(whole_array(large, items[0], hits=hits, item_bytes=FILM_BYTES)),
        of(quarters(_config(), ((small, items[0]), (large, items[1])), hits=hits,
                    item_bytes=FILM_BYTES)),
        of(quarters(_config(), tuple(zip((small, medium, large), items, strict=True)), hits=hits,
                    item_bytes=FILM_BYTES)),
    ]  # fmt: skip


def figure_14(
    queries: int = 1500,
    seed: int = 0,
    loads: Sequence[int] = FIGURE_14_LOADS,
    datasets: Sequence[str] = tuple(published.FIGURE_14),
) -> PaperFigure:
    """Tail latency of one, two and three stages on the accelerator, three data sets and loads."""
    ours: list[dict[float | str, float]] = [{}, {}, {}]
    paper: list[dict[float | str, float]] = [{}, {}, {}]
    for dataset in datasets:
        criteo = dataset == "Criteo"
        setups = list(criteo_pipelines().values()) if criteo else neumf_pipelines(dataset)
        for depth, setup in enumerate(setups):
            for load, tail in tail_curve(setup, loads, queries, seed).items():
                ours[depth][f"{dataset} {load:g}"] = tail
            for load in loads:
                value = published.FIGURE_14[dataset][load][depth]
                if value is not None:
                    paper[depth][f"{dataset} {load:g}"] = value
    depths = ("one stage", "two stages", "three stages")
    return PaperFigure(
        stem="fig14",
        title="Figure 14: one, two and three stages, the accelerator's part",
        notes=(
            f"p99 at {SERVED} served, {queries} arrivals; a missing bar is a load that is not "
            "met. Criteo as in figure 12.",
            "MovieLens: NeuMF as the artifact's configurations have it (1000 or 4000 candidates, "
            "then 400, then 256 or 250), latency only: vectors are concatenated in front of the "
            "first layer, all rows are pinned, ids come over the link. Its quality is out of "
            "reach: the paper gives no sizes, errors or checkpoints of these networks.",
            "CPU and GPU bars are the paper's machines: out of reach.",
        ),
        panels=(
            Panel(
                x="data set, queries/s",
                y="p99 [ms]",
                series=(
                    *(_bars(d, OURS, v) for d, v in zip(depths, ours, strict=True)),
                    *(_bars(d, PAPER, v) for d, v in zip(depths, paper, strict=True)),
                ),
                log="y",
            ),
        ),
    )
