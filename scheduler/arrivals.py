"""When queries come, open loop: Poisson, bursts, a day's wave, the artifact's gaps, traces.

All scale with the load: one seed at two loads gives the same pattern, so pipelines and loads are
compared on common random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrivals = Callable[[int, float, int], Floats]  # (queries, load_qps, seed) -> times [s]


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


def artifact_arrivals_s(queries: int, load_qps: float, seed: int) -> Floats:
    """Return arrivals as DeepRecSys's artifact makes them: gaps of whole milliseconds [s].

    A gap is Poisson distributed about 1000 / load_qps ms, which is not a Poisson process: gaps vary
    too little and queues look short. To reproduce the artifact only. Does not scale with the load.
    """
    if load_qps <= 0:
        raise ValueError(f"load_qps must be positive, not {load_qps}")
    exponential_gaps(queries, seed)  # its checks
    gaps = np.random.default_rng(seed).poisson(1e3 / load_qps, queries)
    return np.cumsum(gaps, dtype=np.float64) * 1e-3


def burst_arrivals_s(
    queries: int,
    load_qps: float,
    seed: int,
    *,
    ratio: float = 4.0,
    share: float = 0.1,
    burst_queries: float = 1000.0,
) -> Floats:
    """Return Poisson arrivals whose rate switches between calm and burst [s].

    ratio : of a burst's rate to the calm one. share : of the time in bursts. burst_queries : of a
    burst on average; lengths of both states are exponential (a Markov-modulated Poisson process).
    The mean load over a long run is `load_qps`.
    """
    if load_qps <= 0 or ratio < 1 or not 0 < share < 1 or burst_queries <= 0:
        raise ValueError(
            f"load_qps and burst_queries must be positive, ratio at least 1 and share in 0..1, "
            f"not {load_qps}, {burst_queries}, {ratio}, {share}"
        )
    work = np.cumsum(exponential_gaps(queries, seed))
    calm = 1 / (1 - share + share * ratio)  # rate, at a mean rate of 1
    length = burst_queries / (calm * ratio)
    random = np.random.default_rng([seed, 3])
    times, done = [np.zeros(1)], 0.0
    while done <= work[-1]:  # until the states hold every query
        pair = np.stack([
            random.exponential(length * (1 - share) / share, 64), random.exponential(length, 64)
        ], axis=1)  # fmt: skip
        times.append(pair.ravel())
        done += float(pair @ np.asarray([calm, calm * ratio]) @ np.ones(64))
    lengths = np.concatenate(times)
    rates = np.concatenate([[0.0], np.tile([calm, calm * ratio], (len(lengths) - 1) // 2)])
    return np.interp(work, np.cumsum(lengths * rates), np.cumsum(lengths)) / load_qps


def diurnal_arrivals_s(
    queries: int, load_qps: float, seed: int, *, swing: float = 0.5, days: float = 1.0
) -> Floats:
    """Return Poisson arrivals whose rate follows a sine: `days` periods in all [s].

    swing : of the rate above and below its mean, in 0..1. A run of whole days has the mean load
    `load_qps`; a "day" is as long as the run makes it.
    """
    if load_qps <= 0 or not 0 <= swing < 1 or days <= 0:
        raise ValueError(
            f"load_qps and days must be positive and swing in 0..1, not {load_qps}, {days}, {swing}"
        )
    work = np.cumsum(exponential_gaps(queries, seed))
    turn = 2 * np.pi * days / queries  # of the wave per mean gap
    time = np.linspace(0, 2 * work[-1] + 2 / turn, 1 << 16)
    mass = time + swing * (1 - np.cos(turn * time)) / turn  # integral of 1 + swing * sin(turn t)
    return np.interp(work, mass, time) / load_qps


def diurnal_rate_qps(
    time_s: float, queries: int, load_qps: float, *, swing: float = 0.5, days: float = 1.0
) -> float:
    """Return the rate behind `diurnal_arrivals_s` of the same arguments at a time [queries/s]."""
    return load_qps * (1 + swing * np.sin(2 * np.pi * days / queries * load_qps * time_s))


def replay(trace_s: Floats) -> Arrivals:
    """Return a process that plays a trace's gaps at another mean load, over and over.

    trace_s : float64[n], non-decreasing, n at least 2. The seed chooses where it starts. The gaps
    that are played have the mean asked, be they a calm part of a longer trace. Raises ValueError
    if all of them are 0.
    """
    gaps = np.diff(trace_s)
    if gaps.size < 1 or gaps.sum() <= 0 or np.any(gaps < 0):
        raise ValueError("trace must hold two arrivals or more, ascending")
    return partial(_replayed_s, gaps)  # other processes can have it


def _replayed_s(gaps: Floats, queries: int, load_qps: float, seed: int) -> Floats:
    if load_qps <= 0 or queries < 1:
        raise ValueError(f"load_qps and queries must be positive, not {load_qps} and {queries}")
    first = int(np.random.default_rng(seed).integers(gaps.size)) if seed else 0
    times = np.cumsum(gaps[(first + np.arange(queries)) % gaps.size])
    if times[-1] <= 0:
        raise ValueError(f"trace must hold a gap in {queries} from number {first}, not none")
    return times / (times[-1] / queries * load_qps)


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


@dataclass(frozen=True, kw_only=True)
class Process:
    """Arrivals by name.

    scales : those of a load are those of a load of 1, divided by it.
    steady : gaps do not depend on each other; else a short run may see calm times alone.
    """

    name: str
    draw: Arrivals
    scales: bool = True
    steady: bool = True

    def look(self, first: int, most: int) -> int:
        """Return how long the first of ever longer looks must be: `most` where gaps depend."""
        return min(first, most) if self.steady else most


POISSON = Process(name="poisson", draw=poisson_arrivals_s)
PROCESSES = {
    process.name: process
    for process in (
        POISSON,
        Process(name="bursts", draw=burst_arrivals_s, steady=False),
        Process(name="diurnal", draw=diurnal_arrivals_s, steady=False),
        Process(name="artifact", draw=artifact_arrivals_s, scales=False),
    )
}


def find_process(name: str | None = None, trace: Path | None = None) -> Process:
    """Return arrivals by name, None: Poisson, or those of a trace (`read_trace_s`).

    Raises ValueError if both are given, or the name is none of PROCESSES.
    """
    if trace is not None:
        if name is not None:
            raise ValueError(f"arrivals must be left out with a trace, not {name!r}")
        return Process(name=f"trace {trace.name}", draw=replay(read_trace_s(trace)), steady=False)
    if name is None:
        return POISSON
    if name not in PROCESSES:
        raise ValueError(f"arrivals must be one of {', '.join(PROCESSES)}, not {name!r}")
    return PROCESSES[name]
