"""Options of our own machine, `paper`, for the on-line controller: queues that stand for the model.

The event model of a query's tasks is too slow for a day of a million queries. A pipeline is three
queues instead: the link; the card, one server that takes a query every 1 / capacity; and the rest
of a query's time alone, beside others. `check` says how far its tails are from the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from rpaccel.main_job.paper_loads import criteo_pipelines
from rpaccel.perfmodel.networks import RM_LARGE, RM_MED, RM_SMALL
from rpaccel.scheduler.ablation import measure, saturated_qps
from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.online_ladder import Option
from rpaccel.scheduler.online_options import CHANGE_CYCLES, OptionSet, stage_items
from rpaccel.scheduler.paper_pipelines import (
    Pipeline,
    PipelineSetup,
    config_8_8,
    quarters,
    split,
    whole_array,
)
from rpaccel.scheduler.published_pipelines import ndcg
from rpaccel.scheduler.queueing import Station, capacity_qps, simulate

__all__ = [
    "MACHINE_ITEMS", "STAGES", "Check", "check", "machine_options", "machine_pipeline",
]  # fmt: skip

MACHINE_ITEMS = (1024, 2048, 4096)  # its lists hold 4096 at most
BESIDE = 256  # queries in the last queue: it never makes one wait
STAGES = {"whole": 1, "8 + 2": 2, "8 + 8": 2, "quarters": 2, "quarters, three stages": 3}
PARTITIONS = tuple(STAGES)


def machine_pipeline(partition: str, items: int) -> Pipeline:
    """Return a pipeline of so many candidates; hit rates are those of 4096."""
    whole, two, three = (setup.pipeline for setup in criteo_pipelines().values())
    first, second, third = stage_items(items, 3)
    if partition == "whole":
        return whole_array(items=items, hits=whole.row_hits)
    if partition in ("8 + 2", "8 + 8"):
        eights = partition == "8 + 8"
        return split(
            config_8_8(), hits=two.row_hits, candidates=items, kept=second, back_blocks=eights
        )
    if partition == "quarters":
        stages = ((RM_SMALL, first), (RM_LARGE, second))
        return quarters(config_8_8(), stages, hits=two.row_hits)
    ranked = ((RM_SMALL, first), (RM_MED, second), (RM_LARGE, third))
    return quarters(config_8_8(), ranked, hits=three.row_hits)


@cache
def _setup(partition: str, items: int) -> PipelineSetup:
    return PipelineSetup(machine_pipeline(partition, items), config_8_8())


@cache
def _stations(partition: str, items: int) -> tuple[Station, ...]:
    setup = _setup(partition, items)
    alone_s = 1e-3 * measure(setup, 1.0, 1).p50_ms
    between_s = 1 / saturated_qps(setup)
    rest_s = max(0.0, alone_s - setup.link_s - between_s)
    return (
        Station(name="link", servers=1, service_s=setup.link_s),
        Station(name="card", servers=1, service_s=between_s),
        Station(name="rest", servers=BESIDE, service_s=rest_s),
    )


def machine_options(
    items: Sequence[int] = MACHINE_ITEMS,
    partitions: Sequence[str] = PARTITIONS,
    progress: Callable[[str], None] = lambda _text: None,
) -> OptionSet:
    """Return one to three stages on `paper` with sixteen lanes of one block, int8 at 250 MHz.

    A change waits until the array is idle and takes CHANGE_CYCLES.
    """
    found = []
    for partition in partitions:
        progress(f"{partition} ...")
        for count in items:
            setup = _setup(partition, count)
            found.append(
                Option(
                    name=f"{partition} {count}",
                    quality=ndcg("rmlarge", stage_items(count, STAGES[partition])),
                    partition=partition,
                    devices=frozenset({"array"}),
                    stations=_stations(partition, count),
                    change_s=CHANGE_CYCLES / setup.platform.accelerator.clock_hz,
                )
            )
    # About three and six times a query of 4096 candidates alone with two stages; assumed.
    return OptionSet(name="our machine", options=tuple(found), sla_ms=(1.0, 2.0))


@dataclass(frozen=True, kw_only=True)
class Check:
    """Tail of the queues against that of the event model. share : of the capacity."""

    partition: str
    share: float
    load_qps: float
    model_ms: float
    queues_ms: float


def check(
    partitions: Sequence[str] = PARTITIONS,
    shares: Sequence[float] = (0.3, 0.6, 0.9),
    queries: int = 1500,
    seed: int = 0,
) -> list[Check]:
    """Return p99 of both at 4096 candidates."""
    found = []
    for partition in partitions:
        setup, stations = _setup(partition, 4096), _stations(partition, 4096)
        for share in shares:
            load = share * capacity_qps(stations)
            found.append(
                Check(
                    partition=partition,
                    share=share,
                    load_qps=load,
                    model_ms=measure(setup, load, queries, seed).p99_ms,
                    queues_ms=simulate(poisson_arrivals_s(queries, load, seed), stations).p99_ms,
                )
            )
    return found
