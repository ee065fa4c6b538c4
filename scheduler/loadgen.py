"""MLPerf LoadGen's Server scenario as a load: Poisson arrivals, latency from the scheduled time.

Needs the extra `serve`. Ref: MLPerf inference rules, section on scenarios.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

PREFIX = ":::MLLOG "
PERCENTILES = (50, 90, 95, 99)
# A query in LoadGen's trace, whose file is not quite JSON: times in us, from its schedule on in ns.
SAMPLE = re.compile(
    r'"name":"Sample".*"ph":"b".*"ts":([0-9.]+),"args":\{"sample_seq":(\d+),.*'
    r'"sample_idx":(\d+),.*"complete_ns":(\d+)\}'
)
SWITCH_S = 1e-4  # for which a thread may keep others from Python: well below a query's time


@dataclass(frozen=True, kw_only=True)
class LoadgenReport:
    """What LoadGen measured.

    Members
    -------
    queries : int    scheduled_qps : float  Of its Poisson process, as drawn [queries/s].
    latency_ms : percentile -> from the scheduled issue to the answer [ms]
    verdict : str  VALID or INVALID by MLPerf's rules: target latency, early stopping.
    """

    queries: int
    scheduled_qps: float
    latency_ms: dict[int, float]
    mean_ms: float
    max_ms: float
    verdict: str
    version: str


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadgenTrace:
    """What LoadGen saw of every query, in the order of its schedule.

    scheduled_s : float64[queries], from the first one on. asked : int64[queries], samples.
    latency_s : float64[queries], from the scheduled time to the answer.
    """

    scheduled_s: npt.NDArray[np.float64]
    asked: npt.NDArray[np.int64]
    latency_s: npt.NDArray[np.float64]


def require_loadgen() -> ModuleType:
    """Return LoadGen. Raises ModuleNotFoundError that names the extra to install."""
    try:
        import mlperf_loadgen  # noqa: PLC0415  (optional)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "mlperf_loadgen must be installed to serve under load: pip install 'rpaccel[serve]'"
        ) from error
    loadgen: ModuleType = mlperf_loadgen
    return loadgen


def run_server(
    issue: Callable[[int, int], None],
    *,
    samples: int,
    qps: float,
    queries: int,
    sla_ms: float,
    percentile: float,
    seed: int,
    folder: Path,
) -> tuple[LoadgenReport, LoadgenTrace]:
    """Issue `queries` by a Poisson process and wait until `answer` was called for each.

    issue : (query, sample) -> None  Called on LoadGen's thread at the scheduled time; must not
        block. query : LoadGen's number, for `answer`.    sample : in 0..samples - 1, uniform.
    folder : where LoadGen writes its logs; that of every query is read and removed.
    """
    if qps <= 0 or queries < 1 or samples < 1:
        raise ValueError(
            f"qps, queries and samples must be positive, not {qps}, {queries}, {samples}"
        )
    loadgen = require_loadgen()
    folder.mkdir(parents=True, exist_ok=True)
    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.Server
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.server_target_qps = qps
    settings.server_target_latency_ns = int(sla_ms * 1e6)
    settings.server_target_latency_percentile = percentile / 100
    settings.min_duration_ms = 0
    settings.min_query_count = settings.max_query_count = queries
    settings.qsl_rng_seed = settings.accuracy_log_rng_seed = seed + 1
    settings.sample_index_rng_seed, settings.schedule_rng_seed = seed + 2, seed + 3

    def issue_all(batch: list[Any]) -> None:
        for sample in batch:
            issue(sample.id, sample.index)

    output, logs = loadgen.LogOutputSettings(), loadgen.LogSettings()
    output.outdir, output.copy_summary_to_stdout = str(folder), False
    logs.log_output, logs.enable_trace = output, True
    sut = loadgen.ConstructSUT(issue_all, lambda: None)
    qsl = loadgen.ConstructQSL(samples, samples, lambda _: None, lambda _: None)
    try:
        with _prompt_threads():
            loadgen.StartTestWithLogSettings(sut, qsl, settings, logs)
    finally:
        loadgen.DestroyQSL(qsl)
        loadgen.DestroySUT(sut)
    trace = folder / "mlperf_log_trace.json"
    found = read_trace(trace)
    trace.unlink()  # a kilobyte of each query
    return read_report(folder / "mlperf_log_detail.txt"), found


@contextmanager
def _prompt_threads() -> Iterator[None]:
    """Let no thread be kept from Python for long: by another one, or by a collection of garbage."""
    interval_s, collected = sys.getswitchinterval(), gc.isenabled()
    gc.collect()
    gc.disable()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)
        if collected:
            gc.enable()


def answer(query: int) -> None:
    """Tell LoadGen that a query is answered; from any thread."""
    loadgen = require_loadgen()
    loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query, 0, 0)])


def read_report(path: Path) -> LoadgenReport:
    """Read LoadGen's detailed log. Raises ValueError if it holds no result."""
    lines = [line for line in path.read_text().splitlines() if line.startswith(PREFIX)]
    found = {entry["key"]: entry["value"] for entry in map(_entry, lines)}
    if "result_validity" not in found:
        raise ValueError(f"{path.name} must hold a result: the run did not end")

    def ms(key: str) -> float:
        return float(found[f"result_{key}_latency_ns"]) / 1e6

    return LoadgenReport(
        queries=int(found["result_query_count"]),
        scheduled_qps=float(found["result_scheduled_samples_per_sec"]),
        latency_ms={p: ms(f"{p:.2f}_percentile") for p in PERCENTILES},
        mean_ms=ms("mean"),
        max_ms=ms("max"),
        verdict=str(found["result_validity"]),
        version=str(found["loadgen_version"]),
    )


def read_trace(path: Path) -> LoadgenTrace:
    """Read LoadGen's trace. Raises ValueError if a query is missing."""
    with path.open() as lines:
        matches = (SAMPLE.search(line) for line in lines if '"name":"Sample"' in line)
        rows = [match.groups() for match in matches if match is not None]
    found = np.asarray(rows, np.float64).reshape(-1, 4)
    found = found[np.argsort(found[:, 1], kind="stable")]
    if not found.size or not np.array_equal(found[:, 1], np.arange(len(found))):
        raise ValueError(f"{path.name} must hold every query once, not {len(found)} in a row")
    return LoadgenTrace(
        scheduled_s=1e-6 * (found[:, 0] - found[0, 0]),
        asked=found[:, 2].astype(np.int64),
        latency_s=1e-9 * found[:, 3],
    )


def _entry(line: str) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(line.removeprefix(PREFIX))
    return entry
