"""SCALE-Sim 3 itself beside the closed forms, layer by layer, and how fast each answers.

Ref: scalesim 3.0.0 (the extra `scalesim`). Its compute simulation alone: the cycles in which the
array asks for operands. Its memory simulation needs an older NumPy; it only adds stalls and time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rpaccel.main_job.markdown import markdown_table
from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.perfmodel.recpipe_artifact import ARTIFACT_RANKERS
from rpaccel.perfmodel.scale_sim import scale_sim_3_cycles, scale_sim_cycles
from rpaccel.perfmodel.sweep_chunks import CHUNK_POINTS
from rpaccel.spec.sweep import load_sweep

__all__ = ["LayerRow", "ScaleSimStudy", "package_cycles", "run_scale_sim", "scale_sim_text"]

LEAST_S = 0.2  # CPU time over which a rate of ours is measured
SWEEP = "criteo_10m"  # spec/presets/sweeps
QUERY = ("rmsmall", "rmlarge")  # the rankers of RecPipe's two-stage queries


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer on an array of `size` x `size` [cycles].

    package : SCALE-Sim 3. version_3, plain, stacked : closed forms, of version 3, of version 1,
    and of version 1 with groups of columns one above the other.
    """

    ranker: str
    inputs: int
    outputs: int
    size: int
    package: int
    version_3: int
    plain: int
    stacked: int


@dataclass(frozen=True, kw_only=True)
class ScaleSimStudy:
    """All layers, and answers per CPU second of the package and of the closed form of version 1.

    queries_rate : answers for all layers of RMsmall and RMlarge on one size, by the package.
    points_rate : whole two-stage queries (gathers, interaction and filters too) that
    `perfmodel.analytic` predicts per CPU second, a chunk of the sweep SWEEP at a time.
    """

    items: int
    rows: tuple[LayerRow, ...]
    package_rate: float
    closed_rate: float
    queries_rate: float
    points_rate: float

    @property
    def agreeing(self) -> int:
        """Layers in which the closed form of version 3 is the package's number."""
        return sum(row.package == row.version_3 for row in self.rows)

    @property
    def speed_up(self) -> float:
        """Closed form's answers per second over the package's."""
        return self.closed_rate / self.package_rate

    @property
    def points_speed_up(self) -> float:
        """Design points per second of our model over the package's."""
        return self.points_rate / self.queries_rate

    def to_json(self) -> dict[str, Any]:
        """Return everything that is printed."""
        return asdict(self) | {
            "agreeing": self.agreeing,
            "speed_up": self.speed_up,
            "points_speed_up": self.points_speed_up,
        }


def package_cycles(items: int, inputs: int, outputs: int, size: int) -> int:
    """Return SCALE-Sim 3's last cycle of a layer, weight stationary, without stalls.

    Raises ModuleNotFoundError if the extra `scalesim` is not installed.
    """
    try:
        from scalesim.compute.systolic_compute_ws import systolic_compute_ws  # noqa: PLC0415
        from scalesim.scale_config import scale_config  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"no module named {error.name!r}: `pip install -e .[scalesim]` brings it"
        ) from None

    config = scale_config()
    config.set_arr_dims(size, size)
    config.force_valid()
    array = systolic_compute_ws()
    array.set_params(
        config_obj=config,
        ifmap_op_mat=np.arange(items * inputs).reshape(items, inputs),
        filter_op_mat=np.arange(inputs * outputs).reshape(inputs, outputs) + 10_000_000,
        ofmap_op_mat=np.arange(items * outputs).reshape(items, outputs) + 20_000_000,
    )
    array.get_prefetch_matrices()
    demands = array.get_demand_matrices()
    lines = {matrix.shape[0] for matrix in demands}
    assert len(lines) == 1, "operands are asked for in as many cycles as results leave"
    return int(lines.pop()) - 1  # its last cycle, counted from 0


def run_scale_sim(
    sizes: Sequence[int], items: int, progress: Callable[[str], None] = print
) -> ScaleSimStudy:
    """Return the study over all layers of RecPipe's rankers, as its artifact has them.

    Raises ValueError without sizes, or items below 1.
    """
    if not sizes or min(sizes) < 2:
        raise ValueError(f"sizes must be at least 2 each, not {list(sizes)}")
    if items < 1:
        raise ValueError(f"items must be at least 1, not {items}")
    rows, spent, query_s = [], 0.0, 0.0
    for ranker in ARTIFACT_RANKERS.values():
        progress(f"{ranker.name} in SCALE-Sim ...")
        for size in sizes:
            for inputs, outputs in ranker.layers:
                start = time.process_time()
                package = package_cycles(items, inputs, outputs, size)
                taken = time.process_time() - start
                spent += taken
                query_s += taken if ranker.name in QUERY else 0.0
                rows.append(
                    LayerRow(
                        ranker=ranker.name,
                        inputs=inputs,
                        outputs=outputs,
                        size=size,
                        package=package,
                        version_3=scale_sim_3_cycles(items, inputs, outputs, size),
                        plain=scale_sim_cycles(items, inputs, outputs, size, stacked=False),
                        stacked=scale_sim_cycles(items, inputs, outputs, size),
                    )
                )
    return ScaleSimStudy(
        items=items,
        rows=tuple(rows),
        package_rate=len(rows) / spent,
        closed_rate=_rate(lambda: _closed(rows, items)),
        queries_rate=len(sizes) / query_s,
        points_rate=_rate(_points()),
    )


def _rate(answers: Callable[[], int]) -> float:
    """Return answers per CPU second of `answers`, which returns how many it gave."""
    answers()
    start, done = time.process_time(), 0
    while (spent := time.process_time() - start) < LEAST_S:
        done += answers()
    return done / spent


def _closed(rows: Sequence[LayerRow], items: int) -> int:
    for row in rows:
        scale_sim_cycles(items, row.inputs, row.outputs, row.size)
    return len(rows)


def _points() -> Callable[[], int]:
    """Return what predicts two-stage Criteo queries on machines of a sweep, a chunk a call."""
    space = DesignSpace(load_sweep(SWEEP))
    middle = space.points // 2
    return lambda: len(evaluate(space, middle, middle + CHUNK_POINTS).columns["number"])


def scale_sim_text(study: ScaleSimStudy) -> str:
    """Return the page docs/generated/scale_sim.md."""
    table = markdown_table(
        ["ranker", "layer", "array", "SCALE-Sim 3", "closed form, 3", "closed form, 1",
         "1 over 3 [%]", "1, stacked"],
        [
            [row.ranker, f"{row.inputs} x {row.outputs}", str(row.size), f"{row.package:,}",
             f"{row.version_3:,}", f"{row.plain:,}", f"{100 * row.plain / row.package - 100:+.2f}",
             f"{row.stacked:,}"]
            for row in study.rows
        ],
    )  # fmt: skip
    off = [row.plain / row.package - 1 for row in study.rows]
    return f"""# SCALE-Sim beside its closed forms

Written by `rpaccel scale-sim` (`make scale-sim`), with the extra `scalesim` (scalesim 3.0.0).
Cycles of {study.items} items through each layer of RecPipe's rankers, as its artifact has them,
weight stationary. Version 3 gives every fold of weights the time of a full one, 3 A + items - 2;
version 1, of which RecPipe used a copy (figure 10(a)), the time of the rows and columns that it
fills, 2 k + c + items; stacked: `perfmodel/scale_sim.py`.

* Version 3: the closed form is the package's in {study.agreeing} of {len(study.rows)} layers.
* Version 1 is {100 * min(off):+.2f} to {100 * max(off):+.2f} % from the package.
* Answers per CPU second, a layer each, one process: package {study.package_rate:.1f} (its compute
  simulation alone), closed form of version 1 {study.closed_rate:,.0f}: {study.speed_up:,.0f} times.
* Design points per CPU second, a query of RMsmall and RMlarge: package {study.queries_rate:.2f}
  (layers only), `perfmodel/analytic.py` {study.points_rate:,.0f} (with gathers, interaction,
  filters): {study.points_speed_up:,.0f} times.

{table}"""
