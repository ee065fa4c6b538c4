"""Measured service times of the models of DeepRecInfra on this machine's CPU or GPU.

One worker is measured, in a process of its own, as it would serve: tables mapped and touched,
fresh ids for every request. The clock is the CPU time of its thread, which other jobs on the
machine lengthen far less than the time of day. With several threads or a GPU it is the time of
day; on a GPU the batch's way there and the logits' way back are in it.

Batch sizes take turns over several rounds, and the quietest round's median counts: neighbours on
the machine slow caches and memory down, never up.
"""

from __future__ import annotations

import multiprocessing
import re
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from rpaccel.golden.deeprec import DeeprecInputs
from rpaccel.golden.dlrm import Float
from rpaccel.host.gpu_timing import gpu_name
from rpaccel.scheduler.cpu_profile import machine_description
from rpaccel.scheduler.deeprec_models import DeeprecModel, require_runtime
from rpaccel.scheduler.deeprec_tables import (
    PEAK_LIMIT_BYTES,
    MappedTables,
    check_memory,
    open_tables,
)
from rpaccel.scheduler.service_profile import ServiceProfile
from rpaccel.spec.deeprec import DeeprecConfig, load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights

BATCHES = (1, 4, 16, 64, 256, 1024)  # where DeepRecSys measures its GPU
LIBRARIES = {"cpu": ("onnxruntime", "numba", "numpy"), "gpu": ("torch", "numpy")}
WARM_UPS = 2
CITED = "scheduler/profiles/cited.json"


class Runnable(Protocol):
    """A model that a request can be sent to."""

    def run(self, inputs: DeeprecInputs) -> Float:
        """Return the logits of a batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProfileAsk:
    """What is measured.

    model : name or YAML file.    batches : items of a request.    repeats : requests of each in a
        round.    rounds : of which the one with the least median counts.
    scale_rows : float in (0, 1]  Rows of a table over those of its configuration.
    threads : int  Threads inside one operator of a CPU.
    """

    model: str
    device: Literal["cpu", "gpu"] = "cpu"
    batches: tuple[int, ...] = BATCHES
    repeats: int = 9
    rounds: int = 5
    scale_rows: float = 1.0
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or max(self.batches) > 1 << 16:
            raise ValueError(f"batch must be in 1..65536, not {list(self.batches)}")
        if list(self.batches) != sorted(set(self.batches)):
            raise ValueError(f"batches must ascend, not {list(self.batches)}")
        if min(self.repeats, self.rounds) < 1:
            raise ValueError(
                f"repeats and rounds must be at least 1, not {self.repeats} and {self.rounds}"
            )
        if not 0 < self.scale_rows <= 1:
            raise ValueError(f"scale_rows must be above 0 and at most 1, not {self.scale_rows}")

    @property
    def command(self) -> str:
        """What a reader types to measure again."""
        batches = ",".join(str(items) for items in self.batches)
        threads = f" --threads {self.threads}" if self.device == "cpu" else ""
        return (
            f"rpaccel profile {self.device} --model {self.model} --batch {batches} "
            f"--repeats {self.repeats} --rounds {self.rounds} "
            f"--scale-rows {self.scale_rows:g}{threads} --seed {self.seed}"
        )

    @property
    def by_cpu_time(self) -> bool:
        """Whether the clock is the CPU time of the one thread at work."""
        return self.device == "cpu" and self.threads == 1


@dataclass(frozen=True, kw_only=True)
class BatchTimes:
    """Times of one batch size in its quietest round, and the range over all.

    median_ms, low_ms, high_ms : by the clock of the profile.    wall_ms : median by the day's.
    """

    items: int
    median_ms: float
    low_ms: float
    high_ms: float
    wall_ms: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A profile and what it cost to measure.

    Members
    -------
    times : one per batch size.    table_bytes : int  Tables, mapped once [B].
    tables_created : bool  Whether they had to be written.    scale_rows : float
    peak_bytes : int  Most that the measuring process held, its mapped pages included [B].
    """

    profile: ServiceProfile
    times: tuple[BatchTimes, ...]
    table_bytes: int
    tables_created: bool
    scale_rows: float
    peak_bytes: int

    @property
    def text(self) -> str:
        """The measurement for people."""
        lines = [f"{self.profile.model}: {self.profile.source}"]
        for row in self.times:
            lines.append(
                f"  {row.items:5d} items {row.median_ms:9.3f} ms "
                f"({row.low_ms:.3f} to {row.high_ms:.3f}; wall {row.wall_ms:.3f})"
            )
        lines.append(
            f"  tables {self.table_bytes / 1e9:.3f} GB mapped once, peak memory "
            f"{self.peak_bytes / 1e9:.2f} GB of at most {PEAK_LIMIT_BYTES / 1e9:.0f} GB"
        )
        return "\n".join(lines)


def measure_model(ask: ProfileAsk, folder: Path) -> Measurement:
    """Measure in a fresh process. folder : where the tables of one model are kept.

    Raises ModuleNotFoundError without the extra that the device needs, RuntimeError without a GPU,
    ValueError if the tables do not fit on the disk or into PEAK_LIMIT_BYTES.
    """
    require_runtime() if ask.device == "cpu" else require_gpu()
    check_memory([load_deeprec(ask.model)], scale_rows=ask.scale_rows)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, ask, folder).result()


def require_gpu() -> str:
    """Return the name of the GPU that PyTorch sees.

    Raises ModuleNotFoundError without PyTorch, RuntimeError without a GPU: both say what to do.
    """
    return gpu_name(f"; without a GPU, schedule with the cited ones of {CITED}")


def _model(ask: ProfileAsk, config: DeeprecConfig, tables: MappedTables) -> Runnable:
    weights = random_weights(config, ask.seed)
    if ask.device == "cpu":
        return DeeprecModel(config, weights, tables.groups, ask.threads)
    from rpaccel.scheduler.deeprec_torch import TorchModel  # noqa: PLC0415  (imports torch)

    return TorchModel(config, weights, tables.groups)


def _measure(ask: ProfileAsk, folder: Path) -> Measurement:
    config = load_deeprec(ask.model)
    tables = open_tables(config, folder, scale_rows=ask.scale_rows, seed=ask.seed)
    tables.touch()
    model = _model(ask, config, tables)
    rng = np.random.default_rng([ask.seed, 3])

    def request(items: int) -> tuple[float, float]:
        inputs = random_inputs(config, items, rng, ask.scale_rows)
        start, start_cpu = time.perf_counter(), time.thread_time()
        model.run(inputs)
        return time.thread_time() - start_cpu, time.perf_counter() - start

    rounds = [[_batch_times(request, items, ask) for items in ask.batches]
              for _ in range(ask.rounds)]  # fmt: skip
    times = tuple(quietest(tries) for tries in zip(*rounds, strict=True))
    return Measurement(
        profile=ServiceProfile(
            model=config.name,
            device=ask.device,
            batch=ask.batches,
            latency_ms=tuple(row.median_ms for row in times),
            cores=ask.threads if ask.device == "cpu" else 1,
            scale_rows=ask.scale_rows,
            source=_source(ask),
        ),
        times=times,
        table_bytes=tables.bytes,
        tables_created=tables.created,
        scale_rows=ask.scale_rows,
        peak_bytes=peak_bytes(),
    )


def _batch_times(
    request: Callable[[int], tuple[float, float]], items: int, ask: ProfileAsk
) -> BatchTimes:
    for _ in range(WARM_UPS):
        request(items)
    pairs = [request(items) for _ in range(ask.repeats)]
    wall = [day for _, day in pairs]
    own = [cpu for cpu, _ in pairs] if ask.by_cpu_time else wall
    return BatchTimes(
        items=items,
        median_ms=_ms(float(np.median(own))),
        low_ms=_ms(min(own)),
        high_ms=_ms(max(own)),
        wall_ms=_ms(float(np.median(wall))),
    )


def quietest(tries: Sequence[BatchTimes]) -> BatchTimes:
    """Return the round of the least median, with the range over all rounds."""
    best = min(tries, key=lambda one: one.median_ms)
    return replace(
        best,
        low_ms=min(one.low_ms for one in tries),
        high_ms=max(one.high_ms for one in tries),
    )


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 4)


def _source(ask: ProfileAsk) -> str:
    machine = machine_description()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES[ask.device])
    clock = "CPU time of its thread" if ask.by_cpu_time else "wall time"
    place = f"{machine['cpu']}, {machine['cores']} cores shared"
    if ask.device == "gpu":
        place = f"{require_gpu()}, loading included, host {place}"
    return (
        f"measured by `{ask.command}`: {clock}, median of {ask.repeats} requests in the quietest "
        f"of {ask.rounds} rounds; "
        f"scale_rows {ask.scale_rows:g}; {place}; "
        f"{versions}, Python {machine['python']}, {machine['system']}; "
        f"{datetime.now(UTC).date().isoformat()}"
    )


def peak_bytes() -> int:
    """Return the most memory that this process has held, its mapped pages included [B].

    On Linux from `/proc/self/status`: `ru_maxrss` is inherited over fork and exec, so that a
    worker would report what its parent held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_models(
    asks: Sequence[ProfileAsk], folder: Path, progress: Callable[[str], None]
) -> list[Measurement]:
    """Measure one model after another; each text goes to `progress` as it is known."""
    found = []
    for ask in asks:
        found.append(measure_model(ask, folder))
        progress(found[-1].text)
    return found
