"""Errors of predictions beside measurements, and how a table of them says it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["ERROR_HEAD", "error_cells", "percent", "relative_errors"]

Floats = npt.NDArray[np.float64]

ERROR_HEAD = (
    "points", "mean [%]", "mean size [%]", "median size [%]", "p95 size [%]", "worst [%]",
    "correlation",
)  # fmt: skip


def relative_errors(predicted: Sequence[int], measured: Sequence[int]) -> Floats:
    """Return predicted / measured - 1, float64[n]; a measured 0 counts as 1."""
    said, real = np.array(predicted, np.float64), np.array(measured, np.float64)
    return np.asarray(said / np.maximum(real, 1) - 1, np.float64)


def percent(value: float) -> str:
    """Return a share as a cell [%]."""
    return f"{100 * value:.2f}"


def error_cells(predicted: Sequence[int], measured: Sequence[int]) -> list[str]:
    """Return the cells below ERROR_HEAD; all but the number "-" if there is none.

    Correlation: "-", too, of one point, and where either side is the same in all.
    """
    found = relative_errors(predicted, measured)
    if not len(found):
        return ["0", *["-"] * (len(ERROR_HEAD) - 1)]
    sizes = np.abs(found)
    pairs = np.array([predicted, measured], np.float64)
    flat = bool((pairs == pairs[:, :1]).all(axis=1).any())
    values = (
        found.mean(), sizes.mean(), np.median(sizes), np.quantile(sizes, 0.95),
        found[sizes.argmax()],
    )  # fmt: skip
    return [
        str(len(found)),
        *(percent(float(value)) for value in values),
        "-" if flat else f"{float(np.asarray(np.corrcoef(pairs))[0, 1]):.6f}",
    ]
