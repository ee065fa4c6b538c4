"""What a model's time goes to: fully connected layers, lookups, recurrent layers, the rest.

Ref: U. Gupta et al., "DeepRecSys", ISCA 2020, figure 3.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from rpaccel.scheduler.deeprec_models import DeeprecModel, require_runtime
from rpaccel.scheduler.deeprec_tables import check_memory, open_tables
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights

KINDS = ("fc", "lookup", "recurrent", "other")
FULLY_CONNECTED = {"MatMul", "Gemm", "FusedMatMul", "FusedGemm"}
RECURRENT = {"GRU", "Scan"}
WARM_UPS = 3
# Shares on a CPU at 64 items, fc and lookup, as the artifact's plot has them [%].
PUBLISHED = {
    "dlrm-rmc1": (20.0, 78.0), "dlrm-rmc2": (6.5, 92.0), "dlrm-rmc3": (94.0, 5.0),
    "ncf": (90.0, 3.0), "wnd": (96.0, 2.0), "mt-wnd": (95.0, 2.5), "din": (79.0, 6.0),
    "dien": (16.0, 2.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OperatorMix:
    """Shares of one model's time at `items`; `share` by KINDS, sums to 1."""

    model: str
    items: int
    repeats: int
    scale_rows: float
    share: dict[str, float]

    @property
    def largest(self) -> str:
        """The kind that takes the most."""
        return max(KINDS, key=lambda kind: self.share[kind])


def measure_mix(
    model: str, folder: Path, *, items: int = 64, repeats: int = 50, scale_rows: float = 1.0
) -> OperatorMix:
    """Measure one model in a fresh process. folder : of the tables.

    The runtime's own trace times its operators; lookups are timed around. Wall time, one thread.
    """
    if min(items, repeats) < 1:
        raise ValueError(f"items and repeats must be at least 1, not {items} and {repeats}")
    require_runtime()
    check_memory([load_deeprec(model)], scale_rows=scale_rows)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, model, folder, items, repeats, scale_rows).result()


def _measure(name: str, folder: Path, items: int, repeats: int, scale_rows: float) -> OperatorMix:
    config = load_deeprec(name)
    tables = open_tables(config, folder, scale_rows=scale_rows)
    tables.touch()
    rng = np.random.default_rng(6)
    lookup_s = 0.0
    with tempfile.TemporaryDirectory() as place:
        weights = random_weights(config, 0)
        model = DeeprecModel(config, weights, tables.groups, trace=Path(place) / "trace")
        for number in range(WARM_UPS + repeats):
            inputs = random_inputs(config, items, rng, scale_rows)
            start = time.perf_counter()
            vectors = model.pooled(inputs)
            if number >= WARM_UPS:
                lookup_s += time.perf_counter() - start
            model.infer(inputs, vectors)
        events = json.loads(model.end_trace().read_text())
    times = {"lookup": lookup_s, **operator_times_s(events, repeats)}
    total = sum(times.values())
    return OperatorMix(
        model=config.name,
        items=items,
        repeats=repeats,
        scale_rows=scale_rows,
        share={kind: round(times[kind] / total, 4) for kind in KINDS},
    )


def operator_times_s(events: Sequence[Mapping[str, Any]], runs: int) -> dict[str, float]:
    """Return the time of each kind of operator in the last `runs` runs of a trace [s].

    events : of ONNX Runtime's profiler. Operators inside a Scan are part of it.
    Raises ValueError if the trace holds fewer runs.
    """
    starts = sorted(int(event["ts"]) for event in events if event["name"] == "model_run")
    if len(starts) < runs:
        raise ValueError(f"a trace must hold {runs} runs, not {len(starts)}")
    nodes = [
        (int(event["ts"]), int(event["dur"]), str(event["args"]["op_name"]))
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    scans = [(ts, ts + dur) for ts, dur, operator in nodes if operator == "Scan"]
    times = dict.fromkeys(("fc", "recurrent", "other"), 0.0)
    for ts, dur, operator in nodes:
        inside = any(begin <= ts < end for begin, end in scans) and operator != "Scan"
        if ts >= starts[-runs] and not inside:
            times[_kind(operator)] += dur * 1e-6
    return times


def _kind(operator: str) -> str:
    if operator in FULLY_CONNECTED:
        return "fc"
    return "recurrent" if operator in RECURRENT else "other"


_MIXES = TypeAdapter(list[OperatorMix])


def save_mixes(path: Path, mixes: Sequence[OperatorMix]) -> None:
    """Write mixes as JSON, sorted by model."""
    ordered = sorted(mixes, key=lambda mix: mix.model)
    path.write_text(
        json.dumps(_MIXES.dump_python(ordered, mode="json"), indent=1, sort_keys=True) + "\n"
    )


def load_mixes(path: Path) -> list[OperatorMix]:
    """Read mixes; ValueError at a wrong value."""
    return _MIXES.validate_json(path.read_text())


def measure_mixes(
    models: Sequence[str],
    folder: Path,
    progress: Callable[[str], None],
    *,
    items: int,
    repeats: int,
    scale_rows: float,
) -> list[OperatorMix]:
    """Measure one model after another; each is said to `progress` as it is known."""
    found = []
    for model in models:
        mix = measure_mix(model, folder, items=items, repeats=repeats, scale_rows=scale_rows)
        found.append(mix)
        shares = ", ".join(f"{kind} {100 * mix.share[kind]:.1f} %" for kind in KINDS)
        progress(f"{mix.model}, {items} items: {shares}")
    return found
