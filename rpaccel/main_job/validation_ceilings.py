"""Sizes of errors that the model must not exceed beside the netlist: figures reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.main_job.error_cells import percent, relative_errors
from rpaccel.main_job.sweep_page import level_errors
from rpaccel.main_job.sweep_validation import LEVELS, OWN, TOLD, LoadPoint, SweepPoint
from rpaccel.main_job.validation import MODELS, ValidationPoint, errors

__all__ = [
    "CEILINGS", "DEFAULTS", "FEW", "FEW_CEILINGS", "error_sizes", "exceeded", "require_defaults",
]  # fmt: skip

Floats = npt.NDArray[np.float64]
Sizes = Mapping[str, tuple[float, float]]  # mean and worst

DEFAULTS = {"machines": "", "queries": 42, "sessions": 12, "seed": 1}  # of `rpaccel validate`
# Reached by `rpaccel validate` with DEFAULTS, rounded up (docs/generated/validation.md): of a
# query, by who predicts it. loads : all of a load, by `event`. told : perfmodel.traced_machine.
CEILINGS: Sizes = {
    "records": (0.0, 0.0),
    "means": (0.040, 0.254),
    "analytic": (0.013, 0.088),
    "event": (0.012, 0.083),
    "loads": (0.014, 0.094),
    "told": (0.0, 0.0),
    "told loads": (0.0, 0.0),
}
FEW = ("quarters", 2)  # machine, sessions: what the slow suite runs, with the same seed
FEW_CEILINGS: Sizes = {
    "analytic": (0.016, 0.032),
    "event": (0.010, 0.023),
    "loads": (0.011, 0.015),
    "told": (0.0, 0.0),
    "told loads": (0.0, 0.0),
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
    found |= {name: level_errors(alone, name) for name in (*LEVELS, *OWN.values(), TOLD)}
    spans = [load.measured for load in loads]
    found["loads"] = relative_errors([load.event for load in loads], spans)
    found["told loads"] = relative_errors([load.traced for load in loads], spans)
    sizes = {name: np.abs(each) for name, each in found.items() if len(each)}
    return {name: (float(each.mean()), float(each.max())) for name, each in sizes.items()}


def require_defaults(asked: Mapping[str, object]) -> None:
    """Raise ValueError if an option of `rpaccel validate` is not of DEFAULTS."""
    for name, default in DEFAULTS.items():
        if asked[name] != default:
            raise ValueError(
                f"{name} must be {default!r}, the default, with --check, not {asked[name]!r}"
            )


def exceeded(sizes: Sizes, ceilings: Sizes = CEILINGS) -> list[str]:
    """Return a line for each ceiling that a size exceeds, or that nothing was compared with."""
    lines = []
    for name, limits in ceilings.items():
        if name not in sizes:
            lines.append(f"{name}: errors must be compared with the ceiling, not none")
            continue
        for part, size, ceiling in zip(("mean", "worst"), sizes[name], limits, strict=True):
            if size > ceiling:
                lines.append(
                    f"{name}: the {part} error must be at most {percent(ceiling)} %, "
                    f"not {percent(size)} %"
                )
    return lines
