"""The design space of a sweep: its points by number, and the machine that each of them is.

Points are numbered like the elements of an array with an axis per field of spec.sweep.SweepAxes,
the last one fastest. Machines that differ in memory ports and beat only are a bandwidth family;
all points of a family that are alike otherwise follow each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rpaccel.perfmodel.memory import RecordSizes, padded_records
from rpaccel.perfmodel.networks import WORKLOADS, SweepWorkload
from rpaccel.perfmodel.row_hits import split_hits
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.sweep import LaneSplit, SweepAxes, SweepSpec

__all__ = [
    "BANDWIDTH_AXES", "MACHINE_AXES", "TASK_AXES", "AxisSpace", "DesignPoint",
    "DesignSpace", "HitKey", "HitRates", "HitSource", "dealt", "machine_config",
]  # fmt: skip

Ints = NDArray[np.int64]
HitKey = tuple[int, int, int, int, int]  # beat, static KiB, percent of it, look-ahead KiB, banks
HitRates = tuple[float, float]  # of both stages

BANDWIDTH_AXES = ("memory_ports", "beat_bytes")
TASK_AXES = ("front_sub_batch", "back_sub_batch", "front_task_items", "back_task_items", "k")
MACHINE_AXES = tuple(
    name for name in SweepAxes.model_fields if name not in BANDWIDTH_AXES + TASK_AXES
)
MEMORIES = ("weight_words", "dense_words", "feature_words", "act_words", "cross_words")
MOST_TASKS = 1024  # of a stage
MOST_POINTS = 10**11
CACHE_WAYS = 4  # of the look-ahead caches, as in the presets with large ones


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """One machine and how a query's items are dealt out on it; fields: spec.sweep.SweepAxes."""

    array_size: int
    split: LaneSplit
    memory_latency_cycles: int
    static_cache_kib: int
    static_front_percent: int
    look_ahead_kib: int
    front_sub_batch: int
    back_sub_batch: int
    front_task_items: int
    back_task_items: int
    k: int
    memory_ports: int
    beat_bytes: int


def dealt(items: int, task_items: int) -> tuple[int, int, int]:
    """Return (tasks, items of a full one, items of the last one); task_items 0: one task."""
    size = min(task_items or items, items)
    count = -(-items // size)
    return count, size, items - (count - 1) * size


class AxisSpace:
    """The points of a sweep by number, whatever the workload.

    Parameters
    ----------
    spec : SweepSpec
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.spec, self.axes = spec, spec.axes
        self.values: dict[str, tuple[Any, ...]] = {
            name: getattr(spec.axes, name) for name in (*MACHINE_AXES, *TASK_AXES, *BANDWIDTH_AXES)
        }
        self.shape = tuple(len(values) for values in self.values.values())
        self.points = math.prod(self.shape)
        if self.points > MOST_POINTS:
            raise ValueError(f"axes must have at most {MOST_POINTS:,} points, not {self.points:,}")

    @property
    def family(self) -> int:
        """Machines of a bandwidth family."""
        return math.prod(self.shape[-len(BANDWIDTH_AXES) :])

    @property
    def family_points(self) -> int:
        """Points of a bandwidth family."""
        return math.prod(self.shape[len(MACHINE_AXES) :])

    def columns(self, first: int, stop: int) -> dict[str, NDArray[Any]]:
        """Return the values of every axis at the points first..stop - 1; of `split` the places."""
        columns: dict[str, NDArray[Any]] = {}
        stride = self.points
        for name, values in self.values.items():
            stride //= len(values)
            lot = np.arange(len(values), dtype=np.uint16)
            if name != "split":
                lot = np.array(values, np.int32)
            runs = np.arange(first // stride, (stop - 1) // stride + 2)
            bounds = np.clip(runs * stride, first, stop)
            lengths = bounds[1:] - bounds[:-1]
            columns[name] = np.repeat(lot[runs[:-1] % len(values)], lengths)
        return columns

    def point(self, number: int) -> DesignPoint:
        """Return a point by its number. Raises IndexError if there is none."""
        if not 0 <= number < self.points:
            raise IndexError(f"point must be in 0..{self.points - 1}, not {number}")
        places = np.unravel_index(number, self.shape)
        pairs = zip(self.values.items(), places, strict=True)
        return DesignPoint(**{name: values[int(at)] for (name, values), at in pairs})


class DesignSpace(AxisSpace):
    """The points of a sweep of a two-stage workload.

    Parameters
    ----------
    spec : SweepSpec  Raises ValueError, with the path of the key, for what cannot be.
    workload : SweepWorkload  In place of the one that the spec names.
    hits : HitSource  Of that workload; None: from the Criteo-like trace.
    """

    def __init__(
        self,
        spec: SweepSpec,
        *,
        workload: SweepWorkload | None = None,
        hits: HitSource | None = None,
    ) -> None:
        super().__init__(spec)
        self.workload = workload or _workload(spec.workload)
        self._hits = hits
        self._check()

    def _check(self) -> None:
        candidates = self.candidates
        for value in self.axes.k:
            if not self.workload.top_n <= value <= candidates:
                raise ValueError(
                    f"axes.k: values must be in {self.workload.top_n}..{candidates} (served items, "
                    f"candidates), not {value}"
                )
        stages = (("front_task_items", candidates), ("back_task_items", max(self.axes.k)))
        for name, items in stages:
            for value in getattr(self.axes, name):
                count = dealt(items, value)[0]
                if count > MOST_TASKS:
                    raise ValueError(
                        f"axes.{name}: {items} items must be at most {MOST_TASKS} tasks, "
                        f"not {count} of {value}"
                    )
        for value in self.axes.look_ahead_kib:
            if value & (value - 1):
                raise ValueError(
                    f"axes.look_ahead_kib: values must be powers of two or 0, not {value}"
                )
        cached = max(self.axes.static_cache_kib + self.axes.look_ahead_kib)
        if cached and self._hits is None and self.workload.name != "criteo":
            raise ValueError(
                f"axes.static_cache_kib, axes.look_ahead_kib: must be 0 for {self.workload.name}: "
                "hit rates come from the Criteo-like trace"
            )

    @property
    def candidates(self) -> int:
        """Items of stage 0."""
        return self.spec.candidates or self.workload.stages[0][1]

    def records(self, beat_bytes: int) -> RecordSizes:
        """Return the sizes in memory of a query's records."""
        needs = [network.record_bytes for network, _ in self.workload.stages]
        user, item = (max(need(side) for need in needs) for side in ("user", "item"))
        return padded_records(user, item, beat_bytes)

    @cached_property
    def task_sizes(self) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
        """Items of all tasks that there are and of those before each, of each stage, ascending."""
        axes = self.axes
        stages = ((axes.front_task_items, (self.candidates,)), (axes.back_task_items, axes.k))
        front, back = (
            tuple(
                sorted(
                    {(size, dealt(n, t)[1]) for t, n in product(*pair) for size in dealt(n, t)[1:]}
                )
            )
            for pair in stages
        )
        return front, back

    def config(self, point: DesignPoint) -> AcceleratorConfig:
        """Return the machine of a point. Raises ValueError if it cannot be."""
        made = machine_config(
            self.spec.base, self.spec.blocks, point.array_size, point.split, point.memory_ports,
            point.beat_bytes,
        )  # fmt: skip
        static, sets = cache_sizes(made, point.static_cache_kib, point.look_ahead_kib)
        return AcceleratorConfig.model_validate(
            made.model_dump()
            | {
                "static_cache_lines": static,
                "row_cache_sets": max(1, sets),
                "row_cache_ways": CACHE_WAYS if sets else 1,
            }
        )

    def hit_key(self, point: DesignPoint) -> HitKey:
        """Return what `hits` is asked for by a point."""
        return (
            point.beat_bytes, point.static_cache_kib, point.static_front_percent,
            point.look_ahead_kib, self.config(point).banks,
        )  # fmt: skip

    def row_hits(self, point: DesignPoint) -> tuple[float, float]:
        """Return the share of each stage's beats of rows that read no memory."""
        return self.hits.rates(self.hit_key(point))

    def hit_keys(self, beat_bytes: int) -> list[HitKey]:
        """Return what `hits` is asked for by machines with this beat."""
        axes, row_banks = self.axes, load_accelerator(self.spec.base).row_banks
        banks = sorted({max(row_banks, ports) for ports in axes.memory_ports})
        caches = (axes.static_cache_kib, axes.static_front_percent, axes.look_ahead_kib)
        return [(beat_bytes, *sizes) for sizes in product(*caches, banks)]

    @cached_property
    def hits(self) -> HitSource:
        """The hit rates of caches; a look-up that is new takes about 0.1 s."""
        if self._hits is not None:
            return self._hits
        stages = tuple((network.name, network.dim) for network, _ in self.workload.stages)
        return HitTable(stages, self.candidates, max(self.axes.k))


class HitSource(Protocol):
    """Where the hit rates of a workload come from."""

    def rates(self, key: HitKey) -> HitRates:
        """Return both stages' rates."""
        ...

    def skews(self, key: HitKey) -> HitRates:
        """Return how unevenly the banks read, of both stages; see costs.GatherMachine."""
        ...

    def learn(self, known: Sequence[tuple[HitKey, HitRates]]) -> None:
        """Take what another one has found."""
        ...


class HitTable:
    """Hit rates on the Criteo-like trace; see perfmodel.row_hits.split_hits.

    Stage 1's are those of the largest k: how many candidates are looked at matters little.
    """

    def __init__(self, stages: tuple[tuple[str, int], ...], candidates: int, k: int) -> None:
        self._stages = [(*stages[0], candidates), (*stages[1], k)]
        self._known: dict[HitKey, HitRates] = {}

    def learn(self, known: Sequence[tuple[HitKey, HitRates]]) -> None:
        """Take what another table has found."""
        self._known.update(known)

    def rates(self, key: HitKey) -> HitRates:
        """Return both stages' rates."""
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def skews(self, key: HitKey) -> HitRates:
        """Return 1: the tables have many more stripes than there are banks."""
        return 1.0, 1.0

    def _find(
        self, beat: int, static_kib: int, percent: int, ahead_kib: int, banks: int
    ) -> HitRates:
        if not static_kib and not ahead_kib:
            return 0.0, 0.0
        lines, ahead = ((kib << 10) // (banks * beat) * banks for kib in (static_kib, ahead_kib))
        front = lines * percent // 100
        found = split_hits(self._stages, beat, [front, lines - front], ahead)
        return found[0], found[1]


def cache_sizes(config: AcceleratorConfig, static_kib: int, ahead_kib: int) -> tuple[int, int]:
    """Return (lines of a bank's static cache, sets of its look-ahead cache)."""
    bank_bytes = config.banks * config.beat_bytes
    return (static_kib << 10) // bank_bytes, (ahead_kib << 10) // (bank_bytes * CACHE_WAYS)


@lru_cache(maxsize=4096)
def machine_config(
    base: str, blocks: int, array_size: int, split: LaneSplit, ports: int, beat_bytes: int
) -> AcceleratorConfig:
    """Return `base` with another array, lanes and memory, no caches; its memories kept in bytes.

    Raises ValueError if there is no such machine.
    """
    preset = load_accelerator(base)
    lanes = split.lanes
    taken = sum(rows * cols for rows, cols in lanes)
    if taken > blocks * blocks:
        raise ValueError(f"split must have at most {blocks * blocks} blocks, not {taken}")
    scale = preset.array_size * preset.groups_across / array_size
    return AcceleratorConfig.model_validate(
        preset.model_dump()
        | {
            "name": f"{base} {array_size} {split}",
            "retrieval_queries": 0,  # ranking alone: narrow buses have no engine
            "array_size": array_size,
            "groups_down": 1,
            "groups_across": 1,
            "block_size": array_size // blocks,
            "lanes": len(lanes),
            "lane_blocks": lanes,
            "memory_ports": ports,
            "axi_data_bits": 8 * beat_bytes,
            "static_cache_lines": 0,
            "row_cache_sets": 1,
            "row_cache_ways": 1,
            **{name: int(getattr(preset, name) * scale) for name in MEMORIES},
        }
    )


def _workload(name: str) -> SweepWorkload:
    found = {workload.name: workload for workload in WORKLOADS}
    if name not in found:
        raise ValueError(
            f"workload: must be one of {', '.join(found)}, or a GEMM topology (.csv), not {name!r}"
        )
    return found[name]
