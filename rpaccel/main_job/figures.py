"""`rpaccel figures`: the cache study of the embedding rows, as tables, plots and JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rpaccel.main_job.cache_plots import plot_hit_rates, plot_merging, plot_split, plot_variants
from rpaccel.main_job.cache_study import PUBLISHED_AMAT_CYCLES, VARIANTS, CacheStudy, Curve
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.merge_study import MergeReport, criteo_merging, log_merging
from rpaccel.main_job.rankers import compile_job
from rpaccel.main_job.table_study import TableRow, table_study
from rpaccel.perfmodel.report import format_table
from rpaccel.results import to_json
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.criteo_fit import PUBLISHED_HIT_RATES, PUBLISHED_SMALL
from rpaccel.workloads.criteo_trace import FITTED

SAMPLES = 1 << 20
PRESET = "edge"  # its int8 rankers choose the survivors of the log's queries
PLOTTED_MB = 12  # of the variants


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """Everything that the figures show.

    hit_rates : lines of 128 bytes -> hit rate [%] of the Criteo-like trace
    """

    samples: int
    seed: int
    hit_rates: dict[int, float]
    curves: list[Curve]
    tables: list[TableRow]
    merging: list[MergeReport]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers with the published ones beside them."""
        published = PUBLISHED_HIT_RATES | PUBLISHED_SMALL
        return {
            "samples": self.samples,
            "seed": self.seed,
            "law": asdict(FITTED),
            "hit_rates": [
                {"lines": n, "published": published[n], "ours": rate, "fitted": n >= 4096}
                for n, rate in self.hit_rates.items()
            ],
            "curves": [
                asdict(curve)
                | {
                    "best_share": curve.best_share,
                    "worst_difference_cycles": curve.worst_difference_cycles,
                }
                for curve in self.curves
            ],
            "published_amat_cycles": [
                {"total_mb": total_mb, "ratio": ratio, "share": share, "amat_cycles": amat}
                for (total_mb, ratio), points in PUBLISHED_AMAT_CYCLES.items()
                for share, amat in points.items()
            ],
            "tables": [asdict(row) for row in self.tables],
            "merging": [asdict(report) for report in self.merging],
        }


def compute_figures(
    data: str, samples: int, queries: int, seed: int, progress: Callable[[str], None]
) -> FigureData:
    """Return the numbers of all figures.

    data : the click log of the merging study, as `load_inputs` takes it
    samples : candidates of the Criteo-like traces; queries : of each merging stream
    """
    progress("FIFO caches of the published sizes, and their splits ...")
    study = CacheStudy(samples, seed)
    hit_rates = study.published_hit_rates(sorted(PUBLISHED_HIT_RATES | PUBLISHED_SMALL))
    curves = study.curves()
    progress("all 26 tables ...")
    tables = table_study(samples // 2, seed)
    progress("equal ids ...")
    job = compile_job(load_inputs(data, seed), load_accelerator(PRESET))
    merging = [*log_merging(job, queries, seed), *criteo_merging(queries, seed)]
    return FigureData(
        samples=samples,
        seed=seed,
        hit_rates=hit_rates,
        curves=curves,
        tables=tables,
        merging=merging,
    )


def figures_text(figures: FigureData) -> str:
    """Return the tables that the command prints."""
    parts = [
        f"Popularity law: shift {FITTED.shift}, exponent {FITTED.exponent}; "
        f"{figures.samples} candidates, seed {figures.seed}",
        "Hit rate [%] of FIFO caches of 128 B lines, 5 largest tables x 4 copies",
        _hit_rate_table(figures.hit_rates),
        "Mean access time [cycles] against the front-end share; in brackets RecPipe's",
        *(_split_table(figures.curves, variant.name) for variant in VARIANTS),
        "26 tables, 12 MB in halves, 1 candidate in 8 goes on (reported, not fitted)",
        format_table(
            ["rows", "cache", "front hit [%]", "back hit [%]", "AMAT [cycles]", "refused [%]"],
            [
                [r.rows, r.cache, f"{100 * r.front:.2f}", f"{100 * r.back:.2f}",
                 f"{r.amat_cycles:.2f}", f"{100 * r.refused:.3f}"]
                for r in figures.tables
            ],
        ),
        "Row fetches saved [%] by fetching equal ids once",
        _merge_table(figures.merging),
    ]  # fmt: skip
    return "\n\n".join(parts)


def _hit_rate_table(hit_rates: dict[int, float]) -> str:
    rows = []
    for lines, rate in hit_rates.items():
        fitted = lines in PUBLISHED_HIT_RATES
        target = PUBLISHED_HIT_RATES[lines] if fitted else PUBLISHED_SMALL[lines]
        rows.append([str(lines), f"{target:.2f}", f"{rate:.2f}", f"{rate - target:+.2f}",
                     "yes" if fitted else "no"])  # fmt: skip
    return format_table(["lines", "RecPipe", "ours", "difference [points]", "fitted"], rows)


def _split_table(curves: list[Curve], variant: str) -> str:
    chosen = [curve for curve in curves if curve.variant == variant]
    rows = []
    for curve in chosen:
        shown = variant == VARIANTS[0].name
        published = PUBLISHED_AMAT_CYCLES[curve.total_mb, curve.ratio] if shown else {}
        cells = [
            f"{amat:.1f}" + (f" ({published[share]})" if share in published else "")
            for share, amat in zip(curve.shares, curve.amat_cycles, strict=True)
        ]
        rows.append([f"{curve.total_mb} MB 1/{curve.ratio}", *cells, f"{curve.best_share:.0%}"])
    return format_table([variant, *(f"{share:.0%}" for share in chosen[0].shares), "best"], rows)


def _merge_table(reports: list[MergeReport]) -> str:
    windows = [f"{window} in flight" for window in reports[0].windows]
    rows = [
        [r.stream, f"{r.rows_per_query:.0f}", f"{100 * r.once_per_query:.1f}",
         *(f"{100 * share:.1f}" for share in r.windows.values())]
        for r in reports
    ]  # fmt: skip
    return format_table(["stream", "rows/query", "once per query", *windows], rows)


def write_figures(figures: FigureData, out: Path) -> list[Path]:
    """Write figures.json, figures.txt and every plot (PNG, SVG); return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    numbers, text = out / "figures.json", out / "figures.txt"
    numbers.write_text(to_json(figures.to_json()))
    text.write_text(figures_text(figures) + "\n")
    published = PUBLISHED_HIT_RATES | PUBLISHED_SMALL
    return [
        numbers,
        text,
        *plot_hit_rates(published, figures.hit_rates, list(PUBLISHED_SMALL), out),
        *plot_split(figures.curves, out),
        *plot_variants(figures.curves, PLOTTED_MB, out),
        *plot_merging(figures.merging, out),
    ]


def run_figures(
    out: Path,
    *,
    data: str = "ml-100k",
    samples: int = SAMPLES,
    queries: int = 50,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> FigureData:
    """Compute and write all figures of the embedding caches; return their numbers."""
    figures = compute_figures(data, samples, queries, seed, progress)
    for path in write_figures(figures, out):
        progress(f"wrote {path}")
    return figures
