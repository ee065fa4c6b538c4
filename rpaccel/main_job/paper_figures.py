"""All figures of RecPipe that our models have points for: data, plots, the page of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rpaccel.main_job.cache_study import AS_PUBLISHED, PUBLISHED_AMAT_CYCLES, Curve
from rpaccel.main_job.paper_figure import (
    OURS,
    PAPER,
    Panel,
    PaperFigure,
    Series,
    figure_text,
    plot_paper_figure,
)
from rpaccel.main_job.paper_loads import figure_12, figure_13, figure_14
from rpaccel.main_job.paper_static import figure_1c, figure_5, figure_10a, figure_13_ssd
from rpaccel.results import to_json

__all__ = ["figure_10c", "paper_figures", "paper_page", "run_paper_figures"]


def figure_10c(curves: Sequence[Curve]) -> PaperFigure:
    """Mean access time by the front end's share of the cache, as published: FIFO, padded lines."""
    ours, paper, off = [], [], 0.0
    for curve in curves:
        if curve.variant != AS_PUBLISHED.name:
            continue
        label = f"{curve.total_mb} MB, 1/{curve.ratio}"
        known = PUBLISHED_AMAT_CYCLES[curve.total_mb, curve.ratio]
        points = dict(zip(curve.shares, curve.amat_cycles, strict=True))
        ours.append(Series(label=label, source=OURS, points=tuple(points.items())))
        paper.append(Series(label=label, source=PAPER, points=tuple(known.items())))
        off = max(off, *(abs(points[x] - y) for x, y in known.items() if x in points))
    return PaperFigure(
        stem="fig10c_points",
        title="Figure 10(c): mean access time by the front end's share of the cache",
        notes=(
            "Hit 1 cycle, miss 100, weighted by bytes; FIFO with a vector per line of 128 bytes. "
            "The paper's points are its artifact's exact results; its plot has the names of the "
            "two 12 MB curves the wrong way round.",
            "Ours on a synthetic trace whose popularity law is fitted to the artifact's hit "
            "rates of one stage, not to these points (`docs/embedding_traces.md`): at most "
            f"{off:.1f} cycles away. Better caches: `variants`, `merging` beside it.",
        ),
        panels=(
            Panel(
                x="front-end share of the cache",
                y="mean access time [cycles]",
                series=(*ours, *paper),
            ),
        ),
    )


def paper_figures(
    curves: Sequence[Curve],
    arrivals: int,
    seed: int,
    progress: Callable[[str], None] = print,
) -> Iterator[PaperFigure]:
    """Yield every figure. curves : of the cache study. arrivals : of each load."""
    makers: dict[str, Callable[[], PaperFigure]] = {
        "1(c)": figure_1c,
        "5": figure_5,
        "10(a)": figure_10a,
        "10(c)": lambda: figure_10c(curves),
        "12": lambda: figure_12(arrivals, seed),
        "13, top": figure_13_ssd,
        "13, bottom": lambda: figure_13(arrivals, seed),
        "14": lambda: figure_14(arrivals, seed),
    }
    for name, make in makers.items():
        progress(f"figure {name} ...")
        yield make()


def paper_page(figures: Sequence[PaperFigure], arrivals: int, seed: int) -> str:
    """Return docs/generated/figures.md."""
    sections = "\n".join(figure_text(figure) for figure in figures)
    stems = ", ".join(f"`{figure.stem}`" for figure in figures)
    return f"""# RecPipe's figures with our points

Written by `rpaccel figures` (`make figures`), {arrivals} arrivals of each load, seed {seed}; plots
in `results/figures/`: {stems} (PNG and SVG). Ours: from our models, nothing is fitted to the
points that they stand beside. Paper: read off its figures, to about 1 % of an axis. Artifact: its
formulas (`perfmodel/recpipe_artifact.py`). Figures 2 and 3 need Criteo's log; 7, 8, and 12 and 14
with the paper's service times: [serving_figures.md](serving_figures.md); what each claim comes to:
[claims.md](claims.md).

{sections}"""


def run_paper_figures(
    out: Path,
    page: Path,
    *,
    curves: Sequence[Curve],
    arrivals: int,
    seed: int,
    progress: Callable[[str], None] = print,
) -> list[PaperFigure]:
    """Compute, draw and write all figures; return them."""
    out.mkdir(parents=True, exist_ok=True)
    figures = []
    for figure in paper_figures(curves, arrivals, seed, progress):
        figures.append(figure)
        for path in plot_paper_figure(figure, out):
            progress(f"wrote {path}")
    (out / "paper.json").write_text(to_json(figures))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(paper_page(figures, arrivals, seed))
    progress(f"wrote {page}")
    return figures
