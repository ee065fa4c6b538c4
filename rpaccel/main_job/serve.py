"""`rpaccel serve`: a pipeline under LoadGen's Server scenario, beside its simulation."""

from __future__ import annotations

import functools
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
    Served,
    WorkerAsk,
    Workers,
    parts_of,
    sample_sizes,
)
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.deeprec import SlaTargets, load_deeprec
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import load_platform

GOAL = 0.15  # of the measured p99
NETWORKS = {network.name: network for network in (RM_SMALL, RM_LARGE)}
SIMULATED = 20_000  # queries of the simulation in front of the run
CALIBRATIONS = 30  # of every sample, on average
OTHER_SEED = 1000  # of the calibration, beyond the run's


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
    predicted : simulation of Poisson arrivals, made before the run from the calibration's times.
    replayed : the same simulation on the arrivals and samples that LoadGen drew.
    explained : with the service times of the run, too: what is left is queues and transport.
    measured : by LoadGen.    lost_share : of the workers' wall time that other jobs took.
    most_lost_ms : of one request.
    peak_bytes : of the workers together, the tables counted once [B].
    """

    ask: ServeAsk
    sla_ms: float
    percentile: float
    lane: LaneStage | None
    service_ms: tuple[float, float]  # mean, largest sample
    hold_ms: float
    transport_ms: float
    capacity_qps: float
    qps: float
    predicted: Tail
    replayed: Tail
    explained: Tail
    measured: LoadgenReport
    lost_share: float
    most_lost_ms: float
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """A run of LoadGen's: what it says, when it issued which sample, what the workers then took.

    issued_s : from the first one on. service_s : of every part, in order.
    """

    measured: LoadgenReport
    issued_s: Floats
    asked: Numbers
    service_s: Floats
    served: list[Served]


class _Bench:
    """The workers of a pipeline and its lanes, asked by LoadGen."""

    def __init__(
        self,
        workers: Workers,
        parts: tuple[tuple[Part, ...], ...],
        keep: int,
        lane: LaneStage | None,
        ask: ServeAsk,
        sla: SlaTargets,
    ) -> None:
        self.workers, self.parts, self.lane = workers, parts, lane
        self._keep, self._ask, self._sla = keep, ask, sla

    def run(self, qps: float, queries: int, seed: int, folder: Path) -> _Run:
        """Serve `queries`. folder : of LoadGen's logs."""
        log: list[tuple[float, int, int]] = []
        pipeline = LivePipeline(self.workers, self.parts, self._keep, self.lane, answer)
        pipeline.start(queries)

        def issue(query: int, sample: int) -> None:
            log.append((time.perf_counter(), query, sample))
            pipeline.submit(query, sample)

        measured = run_server(
            issue,
            samples=len(self.parts),
            qps=qps,
            queries=queries,
            sla_ms=self._sla.medium_ms,
            percentile=self._sla.percentile,
            seed=seed,
            folder=folder,
        )
        pipeline.join()
        took = {(served.query, served.part): served.service_s for served in pipeline.served}
        same = [took[query, part] for _, query, sample in log for part in self.parts[sample]]
        issued = np.asarray([when for when, _, _ in log])
        return _Run(
            measured=measured,
            issued_s=issued - issued[0],
            asked=np.asarray([sample for _, _, sample in log]),
            service_s=np.asarray(same),
            served=pipeline.served,
        )

    def calibrate(self, rng: np.random.Generator, folder: Path) -> ServiceTimes:
        """Measure parts at the load that will be offered, as far as a short run tells it.

        LoadGen and what answers it take memory and cores of the workers, so it is one of LoadGen's.
        Parts that it does not ask for are measured alone.
        """
        ask, every = self._ask, [part for all_of in self.parts for part in all_of]
        alone = self.workers.run_alone(every)
        mean_s = sum(served.service_s for served in alone) / len(self.parts)
        qps = ask.load * self.workers.count / mean_s if ask.qps is None else ask.qps
        run = self.run(qps, CALIBRATIONS * len(self.parts), ask.seed + OTHER_SEED, folder)
        asked = {served.part for served in run.served}
        served = [*run.served, *(one for one in alone if one.part not in asked)]
        order = rng.permutation(len(every))
        waiting, taken_s = self.workers.run_at_once([every[i] for i in order])
        hold_s = max(0.0, taken_s - sum(one.service_s for one in waiting) / len(waiting))
        service = ServiceTimes.of(self.parts, served, hold_s, 0.0)
        short = self.simulated(service, run.issued_s, run.asked, run.service_s + hold_s)
        transport_ms = max(0.0, run.measured.latency_ms[50] - short.p50_ms)
        return replace(service, transport_s=1e-3 * transport_ms)

    def simulated(
        self,
        service: ServiceTimes,
        arrivals_s: Floats,
        asked: Numbers,
        service_s: Floats,
        warm_up: float = 0.0,
    ) -> Tail:
        """Return the latencies of queries of samples `asked`; service_s : of every part."""
        counts, count = service.counts(asked), self.workers.count
        found = latencies_s(arrivals_s, counts, service_s, count, self.lane, service.transport_s)
        return Tail.of(found, warm_up)


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
        bench = _Bench(workers, parts, cpu[-1].keep, lane, ask, sla)
        service = bench.calibrate(rng, out / "calibration")
        capacity = capacity_qps(float(service.query_s.mean()), ask.workers, lane)
        qps = ask.load * capacity if ask.qps is None else ask.qps
        drawn = rng.integers(0, ask.samples, SIMULATED)
        arrivals = poisson_arrivals_s(SIMULATED, qps, ask.seed)
        predicted = bench.simulated(service, arrivals, drawn, service.draw(drawn, rng), WARM_UP)
        say(f"{qps:.1f} of {capacity:.1f} queries/s; predicted p99 {predicted.p99_ms:.2f} ms")
        run = bench.run(qps, ask.queries, ask.seed, out)
    same = functools.partial(bench.simulated, service, run.issued_s, run.asked)
    wall = sum(served.service_s for served in run.served)
    return ServeReport(
        ask=replace(ask, qps=qps),
        sla_ms=sla.medium_ms,
        percentile=sla.percentile,
        lane=lane,
        service_ms=(1e3 * float(service.query_s.mean()), 1e3 * float(service.query_s.max())),
        hold_ms=1e3 * service.hold_s,
        transport_ms=1e3 * service.transport_s,
        capacity_qps=capacity,
        qps=qps,
        predicted=predicted,
        replayed=same(service.draw(run.asked, rng)),
        explained=same(run.service_s + service.hold_s),
        measured=run.measured,
        lost_share=1 - sum(served.cpu_s for served in run.served) / wall,
        most_lost_ms=1e3 * max(served.service_s - served.cpu_s for served in run.served),
        peak_bytes=workers.peak_bytes,
    )


def serve_text(report: ServeReport) -> str:
    """The report as lines for people."""
    ask, measured = report.ask, report.measured
    lines = [
        f"pipeline {ask.stages}, sizes {ask.sizes} ({ask.samples} samples), "
        f"{ask.workers} worker(s), requests of {f'at most {ask.batch}' if ask.batch else 'all'} "
        f"items, scale_rows {ask.scale_rows:g}",
        f"service {report.service_ms[0]:.2f} ms on average, {report.service_ms[1]:.2f} ms of the "
        f"largest, of it {report.hold_ms:.2f} ms to take and answer a request; transport "
        f"{report.transport_ms:.2f} ms; {report.qps:.1f} of "
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
        f"other jobs took {100 * report.lost_share:.1f} % of the workers' time, "
        f"{report.most_lost_ms:.1f} ms of a request at most; target "
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

*Simulated before the run*: Poisson arrivals, {SIMULATED} queries, service times of a short run of
LoadGen's at the same load, what else keeps a worker from requests that wait, and the transport that
made up that run's median. *On its arrivals*: the arrivals and queries that LoadGen drew. *And its
service times*: what the workers then took; what is left is queues and transport. Other jobs on the
machine change service times between calibration and run: that is the step between the last two
rows. Every query counts, but for the first tenth of those before the run.

{blocks}
"""


def _row(report: Tail) -> tuple[float, float, float, float]:
    return report.mean_ms, report.p50_ms, report.p95_ms, report.p99_ms
