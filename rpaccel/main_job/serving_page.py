"""`rpaccel serving-figures`: draws figures 7, 8, 12 and 14, docs/generated/serving_figures.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.paper_figure import (
    OURS,
    PAPER,
    PaperFigure,
    figure_text,
    plot_paper_figure,
)
from rpaccel.main_job.serving_curves import (
    fit_contention,
    served_figure_7,
    served_figure_8,
    served_figure_12,
    served_figure_14,
)
from rpaccel.main_job.serving_shapes import (
    ALIKE,
    HARNESSES,
    HOLDS,
    Shape,
    card_shapes,
    cpu_shapes,
    curve_of,
    gpu_shapes,
    machine_shapes,
)

__all__ = [
    "Ratio", "ServingStudy", "ratios_of", "run_serving_figures", "serving_text", "write_serving",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Ours over the paper's at the loads that both have: least, geometric mean, largest."""

    figure: str
    curve: str
    points: int
    least: float
    mean: float
    most: float


@dataclass(frozen=True, kw_only=True)
class ServingStudy:
    """The figures and what they come to."""

    figures: tuple[PaperFigure, ...]
    ratios: tuple[Ratio, ...]
    shapes: tuple[Shape, ...]
    queries: int
    seed: int


def ratios_of(figure: PaperFigure) -> list[Ratio]:
    """Return ours over the paper's of every curve of ours whose name begins like one of these."""
    found = []
    for number, panel in enumerate(figure.panels):
        papers = [each.label for each in panel.series if each.source == PAPER]
        for each in panel.series:
            names = [name for name in papers if each.label.startswith(name)]
            if each.source != OURS or not names:
                continue
            paper = curve_of(figure, max(names, key=len), PAPER, number)
            parts = [y / paper[x] for x, y in each.points if x in paper]
            if parts:
                found.append(
                    Ratio(
                        figure=figure.title.split(":")[0],
                        curve=each.label,
                        points=len(parts),
                        least=min(parts),
                        mean=exp(sum(map(log, parts)) / len(parts)),
                        most=max(parts),
                    )
                )
    return found


def run_serving_figures(
    queries: int = 20_000, seed: int = 0, progress: Callable[[str], None] = print
) -> ServingStudy:
    """Compute all figures. queries : arrivals of each load. Raises ValueError below 1000."""
    if queries < 1000:
        raise ValueError(f"queries must be at least 1000, not {queries}")
    makers = (served_figure_7, served_figure_8, served_figure_12, served_figure_14)
    figures = []
    for make in makers:
        progress(f"{make.__name__.removeprefix('served_').replace('_', ' ')} ...")
        figures.append(make(queries, seed))
    seven, eight, twelve, fourteen = figures
    shapes = [
        *cpu_shapes(seven, fit_contention(queries, seed)),
        *gpu_shapes(eight),
        *card_shapes(twelve),
        *machine_shapes(fourteen),
    ]
    return ServingStudy(
        figures=tuple(figures),
        ratios=tuple(ratio for figure in figures for ratio in ratios_of(figure)),
        shapes=tuple(shapes),
        queries=queries,
        seed=seed,
    )


def serving_text(study: ServingStudy) -> str:
    """Return docs/generated/serving_figures.md."""
    shapes = markdown_table(
        ["figure", "what", "harness", "paper", "ours", "holds", "beside"],
        [[s.figure, s.what, s.harness, s.paper, s.ours, s.holds, s.why] for s in study.shapes],
    )
    ratios = markdown_table(
        ["figure", "ours / paper", "points", "least", "geometric mean", "largest"],
        [[r.figure.removeprefix("Figure "), r.curve, str(r.points), f"{r.least:.2f}",
          f"{r.mean:.2f}", f"{r.most:.2f}"] for r in study.ratios],
    )  # fmt: skip
    sections = "\n".join(figure_text(figure) for figure in study.figures)
    count = markdown_table(
        ["harness of ours", *HOLDS],
        [
            [
                each.name,
                *(str(sum((s.harness, s.holds) == (each.name, kind) for s in study.shapes))
                  for kind in HOLDS),
            ]
            for each in HARNESSES
        ],
    )  # fmt: skip
    return f"""# RecPipe under load, with its own service times

Written by `rpaccel serving-figures` (`make serving-figures`), {study.queries} arrivals of each
load, seed {study.seed}; plots in `results/serving_figures/` (PNG and SVG). Service times are the
paper's (`scheduler/profiles/recpipe.json`, `perfmodel/recpipe_artifact.py`); the queues are ours.
Our own machine in figures 12 and 14: [figures.md](figures.md).

## Shape
Size: same direction and within {ALIKE:g} times of the paper's; direction: that alone; what does not
settle in ours is no ratio and holds not. The paper does not say how its figures were measured, so
a row is there once for each harness that has its curves: released, gaps of whole milliseconds and
p95, as the artifact's scripts do; host prepares: queries, beside the GPU.

{count}
{shapes}
## Points
Ours over the paper's at the loads that both have.

{ratios}
{sections}"""


def write_serving(study: ServingStudy, folder: Path) -> list[Path]:
    """Draw every figure into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for figure in study.figures for path in plot_paper_figure(figure, folder)]
