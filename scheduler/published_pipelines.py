"""RecPipe's pipelines as queues of its published service times: CPU, GPU, accelerator.

CPU and GPU: mean times of its artifact's logs (`profiles/recpipe.json`). A stage has engines behind
one queue and then one process that sorts; CPU engines are dealt out evenly to the stages on the
CPU; there is one GPU engine. Accelerator: the artifact's closed form, arrays of a stage behind one
queue. Times are constant: the logs give means.
Ref: RecPipe (MICRO 2021), sections 3 and 5, and its artifact (2daff5b).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from rpaccel.perfmodel.recpipe_artifact import ARTIFACT_RANKERS, half_block_phases, stage_phases
from rpaccel.scheduler.arrivals import artifact_arrivals_s, poisson_arrivals_s
from rpaccel.scheduler.derived_profiles import PROFILES_DIR
from rpaccel.scheduler.queueing import MOST_LOAD, Station, capacity_qps, simulate
from rpaccel.scheduler.service_profile import find_profile, load_profiles
from rpaccel.workloads.criteo_published import ONE_STAGE

__all__ = [
    "CPU_ENGINES", "GPU", "LEAST_KEPT", "MOST_LOAD", "PUBLISHED", "SPLITS", "Contention", "ndcg",
    "published_pipeline", "queue_curve", "split_stations",
]  # fmt: skip

PUBLISHED = PROFILES_DIR / "recpipe.json"
# One thread each; Table 2: 64 cores (the artifact's scripts: 32). The searches of Criteo's space,
# spec/presets/recpipe/, have as many.
CPU_ENGINES = 64
GPU, GPU_BUSY, CPU = "t4", "t4 inference", "cpu"
LEAST_KEPT = 128  # items of a last stage behind others, the fewest in the log of NDCG
HOST_WORKERS = 4  # that prepare a GPU's queries while it works; assumed

Stages = Sequence[tuple[str, int, str]]  # ranker, items, device


def ndcg(last: str, items: Sequence[int]) -> float:
    """Return NDCG@64 of a pipeline that ends with a ranker; items : of its stages.

    What goes into the first stage decides it: cuts to LEAST_KEPT cost below 0.1 in the log, cuts
    to fewer are not in it. Raises ValueError for those, and for a ranker or items that it lacks.
    """
    if len(items) > 1 and items[-1] < LEAST_KEPT:
        raise ValueError(f"items must keep at least {LEAST_KEPT}, not {items[-1]}")
    known = ONE_STAGE.get(last, {})
    if items[0] not in known:
        raise ValueError(
            f"last and items must be of the log, not {last!r} and {items[0]}; it has "
            f"{', '.join(map(str, known)) or ', '.join(ONE_STAGE)}"
        )
    return known[items[0]]


@cache
def _ms(model: str, device: str, items: int) -> float:
    return find_profile(load_profiles(PUBLISHED), model, device).ms(items)


@dataclass(frozen=True, kw_only=True)
class Contention:
    """CPU stages take longer the more engines are busy: 1 + per_engine x busy engines."""

    per_engine: float

    def stretch(self, engine_s: float, load_qps: float, engines: int) -> float:
        """Return the factor on service times at a load, at most that of all engines busy.

        engine_s : time of all CPU engines for a query alone [s]. Busy engines are the load times
        the stretched time, which solves to load x time / (1 - per_engine x load x time).
        """
        alone = load_qps * engine_s
        room = 1 - self.per_engine * alone
        busy = min(alone / room, engines) if room > 0 else engines
        return 1 + self.per_engine * busy


def published_pipeline(
    stages: Stages,
    *,
    engines: int = CPU_ENGINES,
    prepared: bool = False,
    load_qps: float = 0.0,
    contention: Contention | None = None,
) -> tuple[Station, ...]:
    """Return the queues of a pipeline on the paper's CPU and GPU.

    stages : (ranker, items, "cpu" or "t4") of each. prepared : the host prepares a GPU's queries
    while the GPU works, instead of before it, in the engine. contention : of the CPU at `load_qps`.
    Raises ValueError for no stage, another device, or fewer engines than stages on the CPU.
    """
    on_cpu = [items for _, items, device in stages if device == CPU]
    devices = {device for _, _, device in stages}
    if not stages or not devices <= {CPU, GPU}:
        raise ValueError(f"stages must be on {CPU} or {GPU}, not {sorted(devices)}")
    if on_cpu and engines < len(on_cpu):
        raise ValueError(f"engines must be at least {len(on_cpu)}, not {engines}")
    share = engines // max(1, len(on_cpu))
    found: list[Station] = []
    for number, (model, items, device) in enumerate(stages):
        sort_s = 1e-3 * _ms("sort", CPU, items)
        total_s = 1e-3 * _ms(model, device, items) - sort_s
        if device == GPU and prepared:
            busy_s = 1e-3 * _ms(model, GPU_BUSY, items)
            found.append(
                Station(name=f"host {number}", servers=HOST_WORKERS, service_s=total_s - busy_s)
            )
            total_s = busy_s
        found.append(
            Station(
                name=f"{device} {number}",
                servers=share if device == CPU else 1,
                service_s=total_s,
            )
        )
        found.append(Station(name=f"sort {number}", servers=1, service_s=sort_s))
    if contention is None:
        return tuple(found)
    cpu_s = sum(float(np.max(s.service_s)) for s in found if s.name.startswith(CPU))
    factor = contention.stretch(cpu_s, load_qps, engines)
    return tuple(
        replace(s, service_s=factor * s.service_s) if s.name.startswith(CPU) else s for s in found
    )


# Split of the array -> (size class, arrays) of each stage. Class 1, 4, 16: squares of 128, 64, 32;
# class 32: 16 x 32, which no configuration of the artifact has. Three stages: a third of the arrays
# of a class, rounded down, each, as the artifact deals them out.
SPLITS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "whole": ((1, 1),),
    "2,2": ((4, 2), (4, 2)),
    "8,2": ((16, 8), (4, 2)),
    "8,8": ((16, 8), (16, 8)),
    "8,16": ((16, 8), (32, 16)),
    "1,1,1": ((4, 1), (4, 1), (4, 1)),
}
_RANKERS = {1: ("rmlarge",), 2: ("rmsmall", "rmlarge"), 3: ("rmsmall", "rmmed", "rmlarge")}


def split_stations(split: str, items: Sequence[int]) -> tuple[Station, ...]:
    """Return the queues of a pipeline on a split of the array, by the artifact's closed form.

    split : of SPLITS. items : of each stage. One to three stages end with RMlarge and begin with
    RMsmall, RMmed between. Raises ValueError for another split or a wrong number of items.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    arrays = SPLITS[split]
    if len(items) != len(arrays):
        raise ValueError(f"items must be of {len(arrays)} stages for {split}, not {len(items)}")
    found = []
    for name, count, (size_class, servers) in zip(
        _RANKERS[len(arrays)], items, arrays, strict=True
    ):
        ranker = ARTIFACT_RANKERS[name]
        phases = (
            half_block_phases(ranker, count)
            if size_class == 32
            else stage_phases(ranker, count, size_class)
        )
        found.append(Station(name=name, servers=servers, service_s=1e-3 * phases.total_ms))
    return tuple(found)


def queue_curve(
    stations_at: Callable[[float], Sequence[Station]],
    loads: Sequence[float],
    queries: int,
    seed: int,
    *,
    released: bool = False,
) -> dict[float, float]:
    """Return tail latencies by load, of those loads that the queues sustain [ms].

    stations_at : load -> the queues at it. released : as the artifact's scripts do, gaps of whole
    milliseconds and the 95th percentile; else Poisson arrivals and the 99th, as the paper says.
    """
    arrivals = artifact_arrivals_s if released else poisson_arrivals_s
    found = {}
    for load in loads:
        stations = stations_at(load)
        if load <= MOST_LOAD * capacity_qps(stations):
            report = simulate(arrivals(queries, load, seed), stations)
            found[load] = report.p95_ms if released else report.p99_ms
    return found
