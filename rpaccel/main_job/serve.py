"""`rpaccel serve`: a pipeline under LoadGen's Server scenario, beside its simulation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.memory import padded_records
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.scheduler.arrivals import Floats, poisson_arrivals_s
from rpaccel.scheduler.cpu_profile import machine_description
from rpaccel.scheduler.loadgen import LoadgenReport, answer, require_loadgen, run_server
from rpaccel.scheduler.queueing import WARM_UP
from rpaccel.scheduler.serving import LaneStage, LivePipeline
from rpaccel.scheduler.serving_model import (
    Numbers,
    ServiceTimes,
    Tail,
    capacity_qps,
    latencies_s,
)
from rpaccel.scheduler.sizes import parse_sizes
from rpaccel.scheduler.workers import (
    CpuStage,
    Part,
    WorkerAsk,
    Workers,
    parts_of,
    sample_sizes,
)
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import load_platform

GOAL = 0.15  # of the measured p99
NETWORKS = {network.name: network for network in (RM_SMALL, RM_LARGE)}
SIMULATED = 20_000  # queries of the simulation in front of the run
CALIBRATIONS = 10  # of every part


@dataclass(frozen=True, kw_only=True)
class ServeAsk:
    """What is served.

    stages : as text, "wnd:256,dlrm-rmc1:64" or "wnd:256,rmlarge@accelerator:64"; at most the last
        on the accelerator. keep : items that go on, or are served.
    batch : items of a request at most: a query is split over the workers; None: never. One CPU
        stage only: parts of a query keep other items in between than the whole would.
    load : share of the slowest station's capacity that is offered, unless `qps` is given.
    """

    stages: str
    platform: str = "paper"
    sizes: str = "heavy"
    samples: int = 64
    workers: int = 1
    batch: int | None = None
    load: float = 0.5
    qps: float | None = None
    queries: int = 1000
    scale_rows: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch is not None and len(parse_stages(self.stages)[0]) > 1:
            raise ValueError(f"batch must not be given with several CPU stages, {self.stages}")
        if not 0 < self.load < 1:
            raise ValueError(f"load must be in 0..1, not {self.load}")
        if self.qps is not None and self.qps <= 0:
            raise ValueError(f"qps must be positive, not {self.qps}")
        if self.queries < 20:
            raise ValueError(f"queries must be at least 20, not {self.queries}")


@dataclass(frozen=True, kw_only=True)
class ServeReport:
    """Prediction and measurement.

    Members
    -------
    capacity_qps : of the simulated stations.    qps : offered.
    predicted : simulation of Poisson arrivals, made before the run from idle service times.
    replayed : the same simulation on the arrivals and samples that LoadGen drew.
    explained : with the service times of the run, too: what is left is queues and transport.
    measured : by LoadGen.    lost_share : of the workers' wall time that other jobs took.
    peak_bytes : of the workers together, the tables counted once [B].
    """

    ask: ServeAsk
    sla_ms: float
    percentile: float
    lane: LaneStage | None
    service_ms: tuple[float, float]  # mean, largest sample
    transport_ms: float
    capacity_qps: float
    qps: float
    predicted: Tail
    replayed: Tail
    explained: Tail
    measured: LoadgenReport
    lost_share: float
    peak_bytes: int

    def error(self, report: Tail) -> float:
        """Return how far the p99 of a simulation is from the measured one, a signed share."""
        return report.p99_ms / self.measured.latency_ms[99] - 1


def parse_stages(text: str) -> tuple[tuple[CpuStage, ...], tuple[str, int] | None]:
    """Return the CPU stages, and (network, keep) of the stage on the accelerator or None.

    Raises ValueError for a stage that is not MODEL[@cpu|@accelerator]:KEEP, or an order that
    cannot be.
    """
    cpu: list[CpuStage] = []
    lane: tuple[str, int] | None = None
    for part in text.split(","):
        name, _, keep = part.partition(":")
        model, _, device = name.partition("@")
        if not keep.isdigit() or device not in {"", "cpu", "accelerator"}:
            raise ValueError(f"a stage must be MODEL[@cpu|@accelerator]:KEEP, not {part!r}")
        if lane is not None:
            raise ValueError("the accelerator must be the last stage")
        if device == "accelerator":
            if model not in NETWORKS:
                raise ValueError(
                    f"models of the accelerator must be one of {', '.join(NETWORKS)}, not {model!r}"
                )
            lane = (model, int(keep))
        else:
            cpu.append(CpuStage(model=load_deeprec(model).name, keep=int(keep)))
    if not cpu:
        raise ValueError("the first stage must be on the CPU")
    return tuple(cpu), lane


def lane_stage(platform_name: str, network: str, items: int, keep: int) -> LaneStage:
    """Return the accelerator's stage: cycles of the performance model, and the link both ways."""
    platform = load_platform(platform_name)
    config = load_accelerator(platform.accelerator.preset)
    shape = NETWORKS[network]
    stage = StageInput(shape=compile_shape(shape, config), items=items)
    records = padded_records(
        shape.record_bytes("user"), shape.record_bytes("item"), config.beat_bytes
    )
    cycles = predict_query(
        config, [stage], platform.accelerator.memory, records, min(keep, items)
    ).total_cycles
    link = platform.link
    return LaneStage(
        name=f"{network} on {config.name}",
        lanes=config.lanes,
        service_s=platform.accelerator.seconds(cycles) + link.seconds(keep * RESULT.bytes),
        link_s=link.seconds(items * shape.record_bytes("item")),
    )


def run_serve(ask: ServeAsk, out: Path, tables: Path, say: Callable[[str], None]) -> ServeReport:
    """Calibrate, simulate, serve, compare. out : folder of LoadGen's logs."""
    require_loadgen()
    cpu, on_lane = parse_stages(ask.stages)
    sla = load_deeprec(cpu[0].model).sla
    sizes = sample_sizes(parse_sizes(ask.sizes), ask.samples)
    lane = None
    if on_lane is not None:
        lane = lane_stage(ask.platform, on_lane[0], cpu[-1].keep, on_lane[1])
    worker_ask = WorkerAsk(
        stages=cpu, sizes=sizes, scale_rows=ask.scale_rows, folder=tables, seed=ask.seed
    )
    rng = np.random.default_rng([ask.seed, 5])
    parts = parts_of(sizes, ask.batch)
    with Workers(worker_ask, ask.workers) as workers:
        say(f"{ask.workers} worker(s) ready; calibration: {CALIBRATIONS} x {ask.samples} samples")
        service = _calibrate(workers, parts, ask, rng)

        def simulated(
            arrivals: Floats, counts: Numbers, service_s: Floats, warm_up: float = 0.0
        ) -> Tail:
            found = latencies_s(arrivals, counts, service_s, ask.workers, lane, service.transport_s)
            return Tail.of(found, warm_up)

        capacity = capacity_qps(float(service.query_s.mean()), ask.workers, lane)
        qps = ask.load * capacity if ask.qps is None else ask.qps
        drawn = rng.integers(0, ask.samples, SIMULATED)
        arrivals = poisson_arrivals_s(SIMULATED, qps, ask.seed)
        predicted = simulated(arrivals, service.counts(drawn), service.draw(drawn, rng), WARM_UP)
        say(f"{qps:.1f} of {capacity:.1f} queries/s; predicted p99 {predicted.p99_ms:.2f} ms")
        log: list[tuple[float, int, int]] = []
        pipeline = LivePipeline(workers, parts, cpu[-1].keep, lane, answer)
        pipeline.start(ask.queries)

        def issue(query: int, sample: int) -> None:
            log.append((time.perf_counter(), query, sample))
            pipeline.submit(query, sample)

        measured = run_server(
            issue,
            samples=ask.samples,
            qps=qps,
            queries=ask.queries,
            sla_ms=sla.medium_ms,
            percentile=sla.percentile,
            seed=ask.seed,
            folder=out,
        )
        pipeline.join()
    issued = np.asarray([when for when, _, _ in log])
    asked = np.asarray([sample for _, _, sample in log])
    issued -= issued[0]
    counts = service.counts(asked)
    took = {(served.query, served.part): served.service_s for served in pipeline.served}
    same = [took[query, part] for _, query, sample in log for part in parts[sample]]
    wall = sum(served.service_s for served in pipeline.served)
    return ServeReport(
        ask=replace(ask, qps=qps),
        sla_ms=sla.medium_ms,
        percentile=sla.percentile,
        lane=lane,
        service_ms=(1e3 * float(service.query_s.mean()), 1e3 * float(service.query_s.max())),
        transport_ms=1e3 * service.transport_s,
        capacity_qps=capacity,
        qps=qps,
        predicted=predicted,
        replayed=simulated(issued, counts, service.draw(asked, rng)),
        explained=simulated(issued, counts, np.asarray(same)),
        measured=measured,
        lost_share=1 - sum(served.cpu_s for served in pipeline.served) / wall,
        peak_bytes=workers.peak_bytes,
    )


def _calibrate(
    workers: Workers, parts: Sequence[Sequence[Part]], ask: ServeAsk, rng: np.random.Generator
) -> ServiceTimes:
    """Measure every part at the load that will be offered, as far as a short run tells it."""
    every = [part for all_of in parts for part in all_of]
    alone = workers.run_alone(every)
    mean_s = sum(served.service_s for served, _ in alone) / len(alone)
    gap_s = mean_s / (ask.load * workers.count)
    if ask.qps is not None:
        gap_s = len(parts) / len(every) / ask.qps
    order = [every[i] for i in rng.permutation(np.tile(np.arange(len(every)), CALIBRATIONS))]
    served = workers.run_spaced(order, rng.exponential(gap_s, len(order)).tolist())
    transport = [latency_s - served.service_s for served, latency_s in alone]
    return ServiceTimes.of(parts, served, float(np.median(transport)))


def serve_text(report: ServeReport) -> str:
    """The report as lines for people."""
    ask, measured = report.ask, report.measured
    lines = [
        f"pipeline {ask.stages}, sizes {ask.sizes} ({ask.samples} samples), "
        f"{ask.workers} worker(s), requests of {f'at most {ask.batch}' if ask.batch else 'all'} "
        f"items, scale_rows {ask.scale_rows:g}",
        f"service {report.service_ms[0]:.2f} ms on average, {report.service_ms[1]:.2f} ms of the "
        f"largest, transport {report.transport_ms:.2f} ms; {report.qps:.1f} of "
        f"{report.capacity_qps:.1f} queries/s, {measured.queries} queries",
    ]
    if report.lane is not None:
        lane = report.lane
        lines.append(
            f"accelerator {lane.name}: {lane.lanes} lane(s), {1e3 * lane.service_s:.3f} ms, "
            f"link {1e3 * lane.link_s:.3f} ms"
        )
    lines.append(f"{'latency [ms]':30s} {'mean':>8s} {'p50':>8s} {'p95':>8s} {'p99':>8s}")
    for name, values in (
        ("measured (LoadGen)", (measured.mean_ms, *(measured.latency_ms[p] for p in (50, 95, 99)))),
        ("simulated before the run", _row(report.predicted)),
        ("simulated on its arrivals", _row(report.replayed)),
        ("... and its service times", _row(report.explained)),
    ):
        lines.append(f"{name:30s} " + " ".join(f"{value:8.2f}" for value in values))
    lines.append(
        f"error of p99: {100 * report.error(report.predicted):+.1f} % before the run, "
        f"{100 * report.error(report.replayed):+.1f} % on its arrivals, "
        f"{100 * report.error(report.explained):+.1f} % with its service times, too "
        f"(goal {100 * GOAL:.0f} %)"
    )
    lines.append(
        f"other jobs took {100 * report.lost_share:.1f} % of the workers' time; target "
        f"{report.sla_ms:g} ms at p{report.percentile:g}: {measured.verdict}; "
        f"peak memory of the workers {report.peak_bytes / 1e9:.2f} GB"
    )
    return "\n".join(lines)


def serve_page(reports: Sequence[ServeReport]) -> str:
    """The page of some pipelines."""
    machine = machine_description()
    blocks = "\n\n".join(f"```text\n{serve_text(report)}\n```" for report in reports)
    version = reports[0].measured.version.split(" ")[0]
    return f"""# Pipelines that really serve

Written by `rpaccel serve` (`make serve`): MLPerf LoadGen {version}, Server scenario, asks worker
processes that run float models; survivors hold a lane of the accelerator for as long as its
performance model says. {machine["cpu"]}, {machine["cores"]} cores shared by LoadGen, the workers
and other jobs.

*Simulated before the run*: Poisson arrivals, {SIMULATED} queries, service times calibrated at the
spacing of the load, transport on an idle worker. *On its arrivals*: the arrivals and queries that
LoadGen drew. *And its service times*: what the workers then took; what is left is queues and
transport. Other jobs on the machine change service times between calibration and run: that is
the step between the last two rows. Every query counts, but for the first tenth of those before
the run.

{blocks}
"""


def _row(report: Tail) -> tuple[float, float, float, float]:
    return report.mean_ms, report.p50_ms, report.p95_ms, report.p99_ms
