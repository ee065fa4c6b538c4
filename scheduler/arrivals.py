"""When queries come: open-loop Poisson arrivals and recorded traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def exponential_gaps(queries: int, seed: int) -> Floats:
    """Return float64[queries] independent gaps of mean 1."""
    if queries < 1:
        raise ValueError(f"queries must be at least 1, not {queries}")
    return np.random.default_rng(seed).exponential(1.0, queries)


def poisson_arrivals_s(queries: int, load_qps: float, seed: int) -> Floats:
    """Return float64[queries] arrival times of an open-loop Poisson process [s].

    One seed at two loads gives the same gaps, scaled: pipelines and loads are compared on common
    random numbers, and latency never falls as the load grows.
    """
    if load_qps <= 0:
        raise ValueError(f"load_qps must be positive, not {load_qps}")
    return np.cumsum(exponential_gaps(queries, seed)) / load_qps


def read_trace_s(path: Path) -> Floats:
    """Return the arrival times of a text file, one non-decreasing number of seconds a line [s].

    Lines that start with # are skipped. Raises ValueError that names the line.
    """
    times: list[float] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{path.name}:{number}: must be seconds, not {text!r}") from None
        if not np.isfinite(value) or (times and value < times[-1]):
            raise ValueError(f"{path.name}:{number}: arrivals must not go back, not {text!r}")
        times.append(value)
    if not times:
        raise ValueError(f"{path.name}: must hold at least one arrival")
    return np.asarray(times)
