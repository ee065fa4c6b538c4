"""`rpaccel claims`: everything that the claims need, then the claims."""

from __future__ import annotations

from collections.abc import Callable

from rpaccel.main_job import claim_groups as groups
from rpaccel.main_job.area_page import area_report
from rpaccel.main_job.claims import CHEAP, Claim, run_claims
from rpaccel.main_job.commodity_claims import commodity_claims
from rpaccel.main_job.energy_page import energy_rows
from rpaccel.main_job.paper_loads import (
    MOST_LOAD,
    baseline_service_s,
    capacity_qps,
    criteo_pipelines,
    figure_12,
    figure_13,
    figure_14,
    serial_load_within,
    split_setups,
)
from rpaccel.main_job.paper_points import MEMORY_AND_ITEMS
from rpaccel.scheduler.ablation import measure, saturated_qps

__all__ = ["LIMIT_MS", "all_claims", "load_figures"]

LIMIT_MS = 6.0  # of C26
LOADS = (200, 400, 1333)


def load_figures(arrivals: int, seed: int) -> groups.LoadFigures:
    """Return what the load claims read: the loads that they name, nothing else."""
    two = criteo_pipelines()["two stages"]
    most = MOST_LOAD * capacity_qps(two)
    within = measure(two, most, arrivals, seed).p99_ms <= LIMIT_MS
    return groups.LoadFigures(
        twelve=figure_12(arrivals, seed, loads=LOADS, split_loads=(250, 2000)),
        thirteen=figure_13(arrivals, seed, scales=(MEMORY_AND_ITEMS[0], MEMORY_AND_ITEMS[-1])),
        fourteen=figure_14(arrivals, seed),
        tail_qps=(
            serial_load_within(baseline_service_s(), LIMIT_MS, CHEAP * arrivals, seed),
            most if within else 0.0,
        ),
        split_qps=saturated_qps(split_setups()["8,16"]),
    )


def all_claims(arrivals: int, seed: int, progress: Callable[[str], None] = print) -> list[Claim]:
    """Return C1 to C34. Minutes: loads, caches, rankers on planted clicks, gates by Yosys."""

    def under_load() -> list[Claim]:
        return groups.load_claims(load_figures(arrivals, seed))

    def commodity() -> list[Claim]:
        return commodity_claims(CHEAP * arrivals, seed)

    def silicon() -> list[Claim]:
        return groups.silicon_claims(area_report(progress=progress), energy_rows())

    return run_claims(
        (
            groups.arithmetic_claims,
            groups.array_claims,
            groups.ablation_claims,
            groups.cache_claims,
            groups.quality_claims,
            commodity,
            under_load,
            silicon,
        ),
        progress,
    )
