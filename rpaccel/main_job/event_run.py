"""One load on one machine, event by event: what becomes of it, and a picture for Perfetto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.main_job.markdown import markdown_table
from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.point_events import point_machine, point_query
from rpaccel.perfmodel.timeline import machine_events
from rpaccel.perfmodel.trace_events import trace_json
from rpaccel.results import to_json
from rpaccel.spec.sweep import SweepAxes, SweepSpec

__all__ = ["EventLoad", "axes_of", "event_run", "event_text"]

PERCENTILES = (50, 95, 99)
PARALLEL = ("arrival", "begun", "end")  # of a query's row


@dataclass(frozen=True, kw_only=True)
class EventLoad:
    """Queries of a sweep's workload, all alike.

    gap_cycles : between arrivals. random : gaps are exponential, of that mean, by `seed`.
    """

    queries: int
    gap_cycles: float = 0.0
    random: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError(f"queries must be at least 1, not {self.queries}")
        if not self.gap_cycles >= 0:
            raise ValueError(f"gap_cycles must be at least 0, not {self.gap_cycles}")

    @property
    def arrivals(self) -> list[int]:
        """Return the cycle in which each query comes; the first one in cycle 0."""
        gaps = np.full(self.queries - 1, self.gap_cycles)
        if self.random:
            gaps = np.random.default_rng(self.seed).exponential(self.gap_cycles, self.queries - 1)
        return [0, *np.rint(gaps.cumsum()).astype(np.int64).tolist()]


def axes_of(choices: Sequence[str]) -> dict[str, int | str]:
    """Return values of axes by name, of `AXIS=VALUE` each. Raises ValueError for anything else."""
    found: dict[str, int | str] = {}
    for choice in choices:
        name, _, value = choice.partition("=")
        if name not in SweepAxes.model_fields or not value:
            names = ", ".join(SweepAxes.model_fields)
            raise ValueError(f"axis must be like k=512, of {names}, not {choice!r}")
        if name == "split":
            found[name] = value
        elif value.isdecimal():
            found[name] = int(value)
        else:
            raise ValueError(f"{name} must be an integer, not {value!r}")
    return found


def _space(spec: SweepSpec, chosen: Mapping[str, int | str]) -> DesignSpace:
    """Return the space of one point: the chosen values, and the first one of every other axis."""
    axes = {name: [chosen.get(name, values[0])] for name, values in spec.axes}
    kept = spec.model_dump() | {"axes": axes}
    return DesignSpace(SweepSpec.model_validate(kept))


def event_run(
    spec: SweepSpec, chosen: Mapping[str, int | str], load: EventLoad, out: Path
) -> dict[str, Any]:
    """Simulate a load on the level `event`; write event.json and trace.json into `out`.

    spec : a sweep; its base, its workload and the first value of every axis that is not `chosen`
    say what the machine is, and how a query is dealt out on it. Returns what event.json says:
    cycles, and shares of them. Raises ValueError for layers, or if there is no such machine.
    """
    if spec.is_gemm:
        raise ValueError(f"spec must be a sweep of rankers, not of the layers of {spec.workload}")
    space = _space(spec, chosen)
    point = space.point(0)
    machine, query = point_machine(space, point), point_query(space, point)
    queries = [replace(query, arrival=arrival) for arrival in load.arrivals]
    report = simulate(machine, queries, sub_batches=True)
    summary = _summary(spec, space, load, report)
    out.mkdir(parents=True, exist_ok=True)
    (out / "event.json").write_text(to_json(summary))
    (out / "trace.json").write_text(trace_json(machine_events(report)))
    return summary


def _summary(
    spec: SweepSpec, space: DesignSpace, load: EventLoad, report: MachineReport
) -> dict[str, Any]:
    latencies = [query.latency_cycles for query in report.queries]
    span = report.cycles
    return {
        "spec": spec.name,
        "point": {name: str(value) for name, value in vars(space.point(0)).items()},
        "queries": load.queries,
        "gap_cycles": load.gap_cycles,
        "random": load.random,
        "seed": load.seed,
        "cycles": span,
        "latency_cycles": {
            f"p{each}": float(np.percentile(latencies, each)) for each in PERCENTILES
        }
        | {"mean": float(np.mean(latencies)), "most": max(latencies)},
        "queries_per_cycle": report.queries_per_cycle,
        "array_share": {
            str(lane): cycles / span for lane, cycles in sorted(report.array_cycles.items())
        },
        "memory_share": report.memory_cycles / span,
        "tasks": len(report.tasks),
        "events": report.steps,
        "each": [
            dict(zip(PARALLEL, (each.arrival, each.accepted, each.end), strict=True))
            for each in report.queries
        ],
    }


def event_text(summary: Mapping[str, Any], out: Path) -> str:
    """Return what is printed: times, and what is how busy. out : where the files are."""
    latency = summary["latency_cycles"]
    rows = [
        ["latency, mean [cycles]", f"{latency['mean']:,.0f}"],
        *([f"latency, p{each} [cycles]", f"{latency[f'p{each}']:,.0f}"] for each in PERCENTILES),
        ["all queries [cycles]", f"{summary['cycles']:,}"],
        ["memory busy [%]", f"{100 * summary['memory_share']:.1f}"],
        *(
            [f"array of lane {lane} busy [%]", f"{100 * share:.1f}"]
            for lane, share in summary["array_share"].items()
        ),
        ["tasks", f"{summary['tasks']:,}"],
        ["events of sub-batches", f"{summary['events']:,}"],
    ]
    point = ", ".join(f"{name} {value}" for name, value in summary["point"].items())
    return (
        f"{summary['queries']} queries of `{summary['spec']}` on: {point}\n\n"
        f"{markdown_table(('figure', 'value'), rows)}\n"
        f"{out / 'event.json'}; {out / 'trace.json'} for https://ui.perfetto.dev (1 us is a cycle)"
    )
