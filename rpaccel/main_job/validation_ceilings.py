"""Sizes of errors that the performance model must not pass beside the netlist: figures reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.main_job.error_cells import percent, relative_errors
from rpaccel.main_job.sweep_page import level_errors
from rpaccel.main_job.sweep_validation import LEVELS, OWN, LoadPoint, SweepPoint
from rpaccel.main_job.validation import MODELS, ValidationPoint, errors

__all__ = ["CEILINGS", "FEW", "FEW_CEILINGS", "error_sizes", "passed"]

Floats = npt.NDArray[np.float64]
Sizes = Mapping[str, tuple[float, float]]  # mean and worst

# Reached by `rpaccel validate` with its defaults, rounded up (docs/generated/validation.md): of a
# query, by who predicts it. loads : all of a load, by `event`.
CEILINGS: Sizes = {
    "records": (0.0, 0.0),
    "means": (0.049, 0.192),
    "analytic": (0.018, 0.125),
    "event": (0.014, 0.113),
    "loads": (0.020, 0.057),
}
FEW = ("quarters", 2)  # machine, sessions: what the slow suite runs, with the same seed
FEW_CEILINGS: Sizes = {
    "analytic": (0.020, 0.040),
    "event": (0.011, 0.022),
    "loads": (0.007, 0.007),
}


def error_sizes(
    points: Sequence[ValidationPoint], sweep: Sequence[SweepPoint | LoadPoint]
) -> dict[str, tuple[float, float]]:
    """Return the mean and the worst size of a query's error by the names of CEILINGS, and of OWN.

    Left out: names of which nothing was compared.
    """
    alone = [point for point in sweep if isinstance(point, SweepPoint)]
    loads = [point for point in sweep if isinstance(point, LoadPoint)]
    found = {model: errors(points, model, "query") for model in MODELS}
    found |= {name: level_errors(alone, name) for name in (*LEVELS, *OWN.values())}
    found["loads"] = relative_errors(
        [load.event for load in loads], [load.measured for load in loads]
    )
    sizes = {name: np.abs(each) for name, each in found.items() if len(each)}
    return {name: (float(each.mean()), float(each.max())) for name, each in sizes.items()}


def passed(sizes: Sizes, ceilings: Sizes = CEILINGS) -> list[str]:
    """Return a line for each ceiling that a size passes."""
    lines = []
    for name, found in sizes.items():
        if name not in ceilings:
            continue
        for part, size, ceiling in zip(("mean", "worst"), found, ceilings[name], strict=True):
            if size > ceiling:
                lines.append(
                    f"{name}: the {part} error must be at most {percent(ceiling)} %, "
                    f"not {percent(size)} %"
                )
    return lines
