"""The page of `rpaccel validate`: errors by unit and machine, worst cases, speed against error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.main_job.error_cells import ERROR_HEAD, error_cells, percent, relative_errors
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.sweep_page import TOLD_NAME, level_errors, sweep_text
from rpaccel.main_job.sweep_validation import LEVELS, TOLD, LoadPoint, SweepPoint
from rpaccel.main_job.validation import (
    LATENCIES,
    MACHINES,
    MODELS,
    UNITS,
    ValidationPoint,
    errors,
    pairs_of,
    validation_config,
)

__all__ = ["draw_speeds", "machine_names", "validation_text", "validation_values"]

WORST_CASES = 10
# Design points, or layers, per second of one core: lowest and highest that are published, or, of
# SCALE-Sim 3, measured. Their errors were taken on other machines, so they are no points here.
PUBLISHED_SPEEDS = {
    "MAESTRO": (170_000.0, 170_000.0),
    "SCALE-Sim 3": (0.006, 0.4),
    "ZigZag": (0.1, 0.9),
    "LLMCompass": (0.006, 0.006),
}
WANTED_STEPS = 200_000  # events of sub-batches per second of the level `event`, three for each
PUBLISHED_ERROR = 0.0023  # ONNXim against Gemmini's RTL, mean

_TEXT = """\
# The performance model beside the netlist

Written by `rpaccel validate`.

## Tiny tables, every unit
{queries} random queries on {machines} machines, one after another, each an answer that is bit for
bit golden. Models, items, stages, k, records and the memory's latency ({least} to {most} cycles,
constant) are drawn. Compared are the counters in the completions: of the whole query, and of every
stage and unit.

* *records*: `perfmodel/traced_query.py`, which is told the query's records: gather unit, row banks
  and memory fabric a cycle at a time, in compiled code; what the banks hold stays from query to
  query.
* *means*: `perfmodel/lane.py`, which is told how many rows a record names on average, which share
  of their beats read no memory, and how unevenly the rows lie in the banks.

Error: predicted over measured, less one.

{table}
Cycles of difference in all: {difference} of {cycles} by *records*. The published figure next to it
is a mean of {published:.2f} % (ONNXim against Gemmini's RTL).

### By machine
Mean and worst of the magnitude of a query's error.

{by_machine}
### Worst cases of *means*
*means* knows no runs of hits, and no row that is on its way already. {reasons}

{worst}
{sweep}## Speed
Per second of one core, when this page was written: queries by *records* {records_rate:,.0f}
({cycles_rate:.1f} million cycles per second), by *means* {means_rate:,.0f}{sweep_rates}.
Published speeds, that of SCALE-Sim 3 measured: {speeds}. Their errors were
taken on other machines: they are bands, not points.

![Speed against error]({figure})
"""
_HEAD = ("unit", "model", *ERROR_HEAD)
_MACHINE_HEAD = (
    "machine", "array", "block", "ports", "banks", "gather ports", "beat [B]", "reads", "queries",
    "records, mean [%]", "worst [%]", "means, mean [%]", "worst [%]",
)  # fmt: skip
_WORST_HEAD = (
    "machine", "session", "query", "latency", "items", "measured", "means", "error [%]"
)  # fmt: skip


def validation_text(
    points: Sequence[ValidationPoint],
    sweep: Sequence[SweepPoint | LoadPoint],
    rates: Mapping[str, float],
    figure: str,
) -> str:
    """Return the page.

    rates : "records", "means" [queries/s], "cycles" [1/s] of *records*, and those of
    sweep_validation.sweep_rates.
    figure : name of the picture beside the page.
    """
    alone = [point for point in sweep if isinstance(point, SweepPoint)]
    loads = [point for point in sweep if isinstance(point, LoadPoint)]
    queries = [point for point in points if point.unit == "query"]
    names = list(dict.fromkeys(point.machine for point in points))
    return _TEXT.format(
        queries=len(queries),
        machines=len(names),
        least=LATENCIES[0],
        most=LATENCIES[1] - 1,
        table=markdown_table(_HEAD, [_row(points, unit, model) for unit, model in _cases()]),
        difference=sum(abs(point.records - point.measured) for point in points),
        cycles=sum(point.measured for point in queries),
        published=100 * PUBLISHED_ERROR,
        by_machine=markdown_table(_MACHINE_HEAD, [_machine(points, name) for name in names]),
        worst=markdown_table(_WORST_HEAD, _worst(queries)),
        records_rate=rates["records"],
        cycles_rate=rates["cycles"] / 1e6,
        means_rate=rates["means"],
        reasons=_reasons(queries),
        sweep=sweep_text(alone, loads, errors(points, "records", "query")) if alone else "",
        speeds=", ".join(
            f"{name} {low:,g}" if low == high else f"{name} {low:,g} to {high:,g}"
            for name, (low, high) in PUBLISHED_SPEEDS.items()
        ),
        sweep_rates=_sweep_rates(rates),
        figure=figure,
    )


def validation_values(
    points: Sequence[ValidationPoint],
    sweep: Sequence[SweepPoint | LoadPoint],
    rates: Mapping[str, float],
) -> dict[str, Any]:
    """Return what the page says, and every point, for machines."""
    return {
        "points": [asdict(point) for point in points],
        "sweep": [asdict(point) for point in sweep if isinstance(point, SweepPoint)],
        "loads": [asdict(point) for point in sweep if isinstance(point, LoadPoint)],
        "rates": dict(rates),
    }


def _sweep_rates(rates: Mapping[str, float]) -> str:
    """Return the rates of points of a sweep."""
    said = [f"; points by `{level}` {rates[level]:,.0f}" for level in LEVELS if level in rates]
    if TOLD in rates:
        steps = rates[f"{TOLD} steps"]
        said.append(
            f"; points by {TOLD_NAME} {rates[TOLD]:,.0f}, which is "
            f"{rates[f'{TOLD} cycles'] / 1e6:.1f} million cycles and {steps:,.0f} events of "
            f"sub-batches ({'kept' if steps >= WANTED_STEPS else 'missed'}: {WANTED_STEPS:,})"
        )
    return "".join(said)


def _cases() -> list[tuple[str, str]]:
    return [(unit, model) for unit in UNITS for model in MODELS]


def _row(points: Sequence[ValidationPoint], unit: str, model: str) -> list[str]:
    return [unit, model, *error_cells(*pairs_of(points, model, unit))]


def _machine(points: Sequence[ValidationPoint], name: str) -> list[str]:
    config = validation_config(name)
    mine = [point for point in points if point.machine == name]
    cells = [
        name, config.array_size, config.block_size, config.memory_ports, config.banks,
        config.gather_ports, config.beat_bytes, config.reads_in_flight,
        len(errors(mine, "records", "query")),
    ]  # fmt: skip
    sizes = [np.abs(errors(mine, model, "query")) for model in MODELS]
    figures = [percent(float(each)) for size in sizes for each in (size.mean(), size.max())]
    return [*map(str, cells), *figures]


def _worst_points(queries: Sequence[ValidationPoint]) -> list[ValidationPoint]:
    known = [point for point in queries if point.means is not None]
    known.sort(key=lambda point: -abs(_means_error(point)))
    return known[:WORST_CASES]


def _means_error(point: ValidationPoint) -> float:
    return float(relative_errors([point.means or 0], [point.measured])[0])


def _worst(queries: Sequence[ValidationPoint]) -> list[list[str]]:
    return [
        [
            point.machine, str(point.session), str(point.query), str(point.latency),
            str(point.items), str(point.measured), str(point.means),
            percent(_means_error(point)),
        ]
        for point in _worst_points(queries)
    ]  # fmt: skip


def _reasons(queries: Sequence[ValidationPoint]) -> str:
    """Return what the worst cases have in common: sign, machines."""
    worst = _worst_points(queries)
    short = sum(_means_error(point) < 0 for point in worst)
    where = Counter(point.machine for point in worst).most_common()
    said = ", ".join(f"{count} on *{name}*" for name, count in where)
    return f"Of these {len(worst)}, {short} are too short; {said or 'none is known'}."


def draw_speeds(
    path: Path,
    points: Sequence[ValidationPoint],
    sweep: Sequence[SweepPoint | LoadPoint],
    rates: Mapping[str, float],
) -> None:
    """Draw speed against error: our models, the published models' speeds, ONNXim's error."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    ours = {model: errors(points, model, "query") for model in MODELS}
    alone = [point for point in sweep if isinstance(point, SweepPoint)]
    if alone:
        ours |= {level: level_errors(alone, level) for level in (*LEVELS, TOLD)}
    for model, found in ours.items():
        error = 100 * float(np.abs(found).mean())
        axes.plot(rates[model], error, "o")
        axes.annotate(f"ours, {model}", (rates[model], error), xytext=(-4, 7),
                      textcoords="offset points", ha="right")  # fmt: skip
    for number, (name, (low, high)) in enumerate(PUBLISHED_SPEEDS.items()):
        axes.axvspan(low, high * 1.02, color=f"C{number + 2}", alpha=0.3)
        axes.annotate(
            name,
            ((low * high) ** 0.5, 0.98),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="top",
        )
    axes.axhline(100 * PUBLISHED_ERROR, color="grey", linestyle="--")
    axes.annotate("ONNXim against Gemmini", (0.4, 100 * PUBLISHED_ERROR),
                  xycoords=("axes fraction", "data"), va="bottom")  # fmt: skip
    axes.set_xscale("log")
    axes.set_title("Speed against error; bands: published speeds")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(-0.01, 100)
    axes.set_xlabel("queries, design points or layers per second of one core")
    axes.set_ylabel("mean size of the error against RTL [%]")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def machine_names(text: str) -> list[str]:
    """Return the machines of a comma-separated list; "" : all."""
    names = [name.strip() for name in text.split(",") if name.strip()] or list(MACHINES)
    for name in names:
        validation_config(name)
    return names
