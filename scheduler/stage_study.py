"""What merged requests and later stages first bring RecPipe's two-stage pipelines under load.

Service times are the published ones of its CPU and GPU (`criteo_node.cited_hosts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.criteo_node import cited_hosts
from rpaccel.scheduler.intervals import quantile_intervals, quantiles_of
from rpaccel.scheduler.peak import WARM_UP
from rpaccel.scheduler.queueing import MOST_LOAD
from rpaccel.scheduler.stage_queues import Stage, StageNode, serve_stages
from rpaccel.spec.recpipe import RecPipeSpec

__all__ = ["ITEMS", "KEPT", "PARTS", "WAYS", "StageTail", "Way", "stage_tails", "stages_of"]

ITEMS, KEPT = 4096, 256  # RecPipe section 5.1
PARTS = 512  # items of a request to the CPU, of the search's values


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the stages take their queries. later_first : the second goes before the first.

    merged : requests of the second stage hold items of several queries.
    """

    name: str
    later_first: bool = False
    merged: bool = False


WAYS = (
    Way(name="first come, first served"),
    Way(name="later stage first", later_first=True),
    Way(name="merged", merged=True),
)


@dataclass(frozen=True, kw_only=True)
class StageTail:
    """p99 of a pipeline at a load, with its 95 % interval [ms]; infinite: it does not settle.

    requests : of the second stage, per query.
    """

    device: str
    way: str
    load_qps: float
    p99_ms: float
    interval_ms: tuple[float, float]
    requests: float


def stages_of(spec: RecPipeSpec, device: str, way: Way) -> list[Stage]:
    """Return rmsmall on the CPU and rmlarge on `device`."""
    hosts = cited_hosts(spec)
    first = Stage(
        pool="cpu", table_s=hosts["cpu"].table_s["rmsmall"], batch=PARTS, split=True,
        priority=1 if way.later_first else 0,
    )  # fmt: skip
    table_s = hosts[device].table_s["rmlarge"]
    second = Stage(pool=device, table_s=table_s, most_items=KEPT)
    if way.merged:
        # A core takes two queries at most, so that neither waits long; the GPU all that it knows.
        batch = PARTS if device == "cpu" else table_s.size - 1
        second = replace(second, batch=batch, merge=True)
    return [first, second]


def _most_qps(stages: Sequence[Stage], node: StageNode) -> float:
    """Return a load at which a pool saturates if its requests are as full as they can be."""
    busy = dict.fromkeys(node.servers, 0.0)
    for stage in stages:
        items = min(ITEMS, stage.most_items)
        full = max(stage.batch, items) if stage.merge else min(stage.batch, items)
        slowed = 1 + node.slowdown.get(stage.pool, 0.0) * (node.servers[stage.pool] - 1)
        busy[stage.pool] += slowed * float(stage.table_s[full]) * items / full
    return min(node.servers[pool] / time for pool, time in busy.items() if time > 0)


def stage_tails(
    spec: RecPipeSpec,
    loads_qps: Sequence[float],
    *,
    queries: int = 60_000,
    seed: int = 0,
) -> list[StageTail]:
    """Return the tail of every way at every load, with the second stage on the CPU and the GPU."""
    node = StageNode(
        servers={device: spec.servers[device] for device in ("cpu", "gpu")},
        slowdown={device: spec.slowdown.get(device, 0.0) for device in ("cpu", "gpu")},
    )
    sizes = np.full(queries, ITEMS, np.int32)
    found = []
    for device in ("cpu", "gpu"):
        for way in WAYS:
            if device == "gpu" and way.later_first:
                continue  # the stages share no server
            stages = stages_of(spec, device, way)
            for load in loads_qps:
                tail, interval, requests = np.inf, (np.inf, np.inf), np.nan
                if load <= MOST_LOAD * _most_qps(stages, node):
                    arrivals = poisson_arrivals_s(queries, load, seed)
                    run = serve_stages(node, [stages], arrivals, sizes)
                    kept = (run.finish_s - arrivals)[int(queries * WARM_UP) :] * 1e3
                    tail = quantiles_of(kept, [0.99])[0]
                    (interval,) = quantile_intervals(kept, [0.99])
                    requests = run.counts[0][1].requests / queries
                found.append(
                    StageTail(
                        device=device,
                        way=way.name,
                        load_qps=load,
                        p99_ms=tail,
                        interval_ms=interval,
                        requests=requests,
                    )
                )
    return found
