"""Data of RecPipe's figures 1(c), 5, 10(a) and 13 top: nothing here is simulated under load."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rpaccel.main_job import paper_points as published
from rpaccel.main_job.paper_figure import ARTIFACT, OURS, PAPER, Panel, PaperFigure, Series
from rpaccel.perfmodel.design_space import MEMORIES
from rpaccel.perfmodel.networks import CRITEO_DENSE, CRITEO_TABLES, RM_LARGE, RM_MED, RM_SMALL
from rpaccel.perfmodel.recpipe_artifact import ARTIFACT_RANKERS, array_point, design_steps
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.shapes import NetworkShape, compile_shape
from rpaccel.scheduler.ablation import CANDIDATES, KEPT, Setup, designs, host_sort_s, measure
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.program_plan import plan_model
from rpaccel.spec.ssd import SsdTier, load_ssd
from rpaccel.workloads.criteo_fit import pinned_hit_rate
from rpaccel.workloads.criteo_trace import ALL_TABLES, FITTED, LARGE_TABLES, TABLE_ROWS

__all__ = [
    "DRAM_SHARE", "SSD", "core_point", "dram_miss", "figure_1c", "figure_5", "figure_10a",
    "figure_13_ssd", "hidden_percent", "listed_macs", "query_work", "work_behind_s",
]  # fmt: skip


def square_machine(side: int) -> AcceleratorConfig:
    """Return `paper` as one lane of `side` x `side` cells, its memories kept in bytes."""
    base = load_accelerator("paper")
    scale = base.array_size / side
    return AcceleratorConfig.model_validate(
        base.model_dump()
        | {
            "name": f"paper {side}",
            "retrieval_queries": 0,  # ranking alone: narrow buses have no engine
            "array_size": side,
            "block_size": min(base.block_size, side),
            "lanes": 1,
            "lane_blocks": (),
            "axi_data_bits": min(base.axi_data_bits, 8 * side),
            **{name: int(getattr(base, name) * scale) for name in MEMORIES},
        }
    )


def listed_macs(network: NetworkShape) -> int:
    """Return the MACs of the layers that table 1 lists: without the one that the vectors enter."""
    bottom = (CRITEO_DENSE, *network.bottom)
    pairs = [
        *zip(bottom, network.bottom, strict=False),
        *zip(network.top, network.top[1:], strict=False),
    ]
    return sum(k * n for k, n in pairs)


def trained_macs(network: NetworkShape) -> int:
    """Return the MACs of all layers and of the dot products."""
    return plan_model(network.sizes, square_machine(128)).macs + network.pairs * network.dim


def query_work() -> dict[str, tuple[float, float]]:
    """Return work of one stage and of two stages: million MACs, million elements of rows."""
    found = {}
    for name, macs in (("listed layers", listed_macs), ("all layers", trained_macs)):
        one = CANDIDATES * macs(RM_LARGE)
        found[name] = (one / 1e6, (CANDIDATES * macs(RM_SMALL) + KEPT * macs(RM_LARGE)) / 1e6)
    rows = [n * CRITEO_TABLES * dim / 1e6 for n, dim in (
        (CANDIDATES, RM_LARGE.dim), (CANDIDATES, RM_SMALL.dim), (KEPT, RM_LARGE.dim))]  # fmt: skip
    return found | {"memory": (rows[0], rows[1] + rows[2])}


def figure_1c() -> PaperFigure:
    """Compute and memory of one stage and of two."""
    work = query_work()
    bars = ("one stage", "two stages")

    def series(label: str, source: str, values: tuple[float, float]) -> Series:
        return Series(label=label, source=source, points=tuple(zip(bars, values, strict=True)))

    return PaperFigure(
        stem="fig1c",
        title="Figure 1(c): compute and embedding traffic of a query",
        notes=(
            "Listed layers: those of table 1, without the one that the vectors enter, as the "
            "figure counts. All layers: the trained networks with dot products, as we run them.",
            f"Compute: {_ratio(work['listed layers'])} times less by the listed layers, "
            f"{_ratio(work['all layers'])} by all (paper: 7.5); memory: "
            f"{_ratio(work['memory'])} (paper: 4.0).",
        ),
        panels=(
            Panel(
                x="pipeline",
                y="million MACs",
                series=(
                    series("listed layers", OURS, work["listed layers"]),
                    series("all layers", OURS, work["all layers"]),
                    series("listed layers", PAPER, published.FIGURE_1C["compute"]),
                ),
            ),
            Panel(
                x="pipeline",
                y="million elements of rows",
                series=(
                    series("rows", OURS, work["memory"]),
                    series("rows", PAPER, published.FIGURE_1C["memory"]),
                ),
            ),
        ),
    )


def _ratio(pair: tuple[float, float]) -> str:
    return f"{pair[0] / pair[1]:.2f}"


def figure_5(names: Sequence[str] = tuple(published.FIGURE_5_TOTALS)) -> PaperFigure:
    """Latency of one query as the ideas are added. names : of `scheduler.ablation.designs`."""
    chosen = [design for design in designs() if design.name in names]
    totals, link, host, card = [], [], [], []
    for design in chosen:
        setup = Setup(design)
        total = measure(setup, 1.0, 1).p50_ms
        there = setup.platform.link
        sent = setup.link_s + there.fixed_s + there.seconds(design.bytes_out)
        sorting = 0.0 if design.has("O.2") else host_sort_s(design.stages[-1][1])
        if not design.has("O.2") and len(design.stages) > 1:
            sent += setup.round_trip_s - host_sort_s(CANDIDATES)
            sorting += host_sort_s(CANDIDATES)
        totals.append((design.name, total))
        link.append((design.name, 1e3 * sent))
        host.append((design.name, 1e3 * sorting))
        card.append((design.name, total - 1e3 * (sent + sorting)))
    base = totals[0][1]
    paper = [(name, published.FIGURE_5_TOTALS[name]) for name, _ in totals]
    steps = [(name, design_steps()[name][0]) for name, _ in totals]
    return PaperFigure(
        stem="fig5",
        title="Figure 5: latency of a query as the ideas are added",
        notes=(
            "One query on an idle `paper` machine at 250 MHz (`rpaccel ablation`); the artifact's "
            "terms: `rpaccel artifact`. Relative to the base of each, and ours by parts: units of "
            "the card overlap, so the card is one part.",
            "The paper's bars give 2.58x, 1.24x, 1.00x, 1.15x, 3.66x; it prints 2.5x, 1.5x, 2x "
            "throughput, 1.3x, 5x. Ours differs at O.1: our base keeps weights on the card and "
            "gathers while it computes, so that link and host's sort are most of what is left.",
        ),
        panels=(
            Panel(
                x="ideas",
                y="latency, base = 1",
                series=(
                    Series(label="total", source=OURS, points=_relative(totals)),
                    Series(label="total", source=PAPER, points=_relative(paper)),
                    Series(label="total", source=ARTIFACT, points=_relative(steps)),
                ),
            ),
            Panel(
                x="ideas",
                y=f"ms (base {base:.3f} ms)",
                series=(
                    Series(label="link", source=OURS, points=tuple(link)),
                    Series(label="host's sort", source=OURS, points=tuple(host)),
                    Series(label="card", source=OURS, points=tuple(card)),
                ),
            ),
        ),
    )


def _relative(points: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple((name, value / points[0][1]) for name, value in points)


def core_point(network: NetworkShape, side: int, items: int = 4096) -> tuple[int, float]:
    """Return cycles and utilisation of our compute core on `network`, trained with dot products.

    Cycles of `perfmodel.sequencer`, with interaction and no waiting for data; utilisation: cells
    that hold a weight of a layer, by cycles in which rows enter.
    """
    config = square_machine(side)
    shape, plan = compile_shape(network, config), plan_model(network.sizes, config)
    most = max(1, shape.slot["sub_batch"])
    sizes = [most] * (items // most) + ([items % most] if items % most else [])
    zeros = [0] * len(sizes)
    line = core_times(
        config, ProgramShape.of(shape.program, shape.slot["row_bytes"]), sizes, zeros, 0, 0
    )
    return int(np.max(line.logit)), plan.macs / (plan.tiles * config.array_macs)


def figure_10a(sides: Sequence[int] = (8, 16, 32, 64, 128), items: int = 4096) -> PaperFigure:
    """Cycles and utilisation of the array by its size, per ranker."""
    cycles, shares = [], []
    for network in (RM_SMALL, RM_MED, RM_LARGE):
        name = network.name
        ours = {side: core_point(network, side, items) for side in sides}
        oracle = {side: array_point(ARTIFACT_RANKERS[name], side, items) for side in sides}
        paper = {side: published.FIGURE_10A[name][side] for side in sides}
        for source, points, percent in ((OURS, ours, 100.0), (ARTIFACT, oracle, 100.0),
                                        (PAPER, paper, 1.0)):  # fmt: skip
            cycles.append(_by_side(name, source, points, 0, 1.0))
            shares.append(_by_side(name, source, points, 1, percent))
    return PaperFigure(
        stem="fig10a",
        title="Figure 10(a): the array's size, cycles and utilisation",
        notes=(
            f"{items} items, weight stationary. Artifact: SCALE-Sim's closed form on its networks, "
            "which concatenate: RMsmall and RMmed are the paper's points exactly (to the digits "
            "that can be read off), RMlarge within 10 % (the figure used another layer list).",
            "Ours: the trained networks with dot products, weights loaded behind the layer before, "
            "layers one after another, with the interaction beside them, for which RMmed waits "
            "on small arrays; utilisation is that of the weights' places, 100 % if no fold is "
            "partly filled.",
        ),
        panels=(
            Panel(x="array side", y="cycles", series=tuple(cycles), log="xy"),
            Panel(x="array side", y="utilisation [%]", series=tuple(shares), log="x"),
        ),
    )


def _by_side(
    label: str,
    source: str,
    points: dict[int, tuple[float, float]] | dict[int, tuple[int, float]],
    column: int,
    scale: float,
) -> Series:
    return Series(
        label=label,
        source=source,
        points=tuple((side, scale * pair[column]) for side, pair in points.items()),
    )


# DRAM over the tables as they are: what makes the figure's shares 1 - DRAM_SHARE / scale with
# scales 4, 5.33, 8, 10.67, 16 and 32.
DRAM_SHARE = 1.024
SSD, PAGE_BYTES = "recpipe", 4096  # the drive of the paper's table 3; a page of flash, assumed


def dram_miss(share_in_ssd: float, tables: Sequence[int] = ALL_TABLES) -> float:
    """Return the share of row reads that leave DRAM, the most popular rows kept in it."""
    scale = DRAM_SHARE / (1 - share_in_ssd)
    rows = int(DRAM_SHARE * sum(TABLE_ROWS[table] for table in tables))
    low, high = int(scale), int(np.ceil(scale))
    misses = [
        1 - pinned_hit_rate(FITTED, rows, tables=tables, scale=whole) / 100 for whole in (low, high)
    ]
    part = 0.0 if low == high else (scale - low) / (high - low)
    return misses[0] + part * (misses[1] - misses[0])


def back_reads(miss_percent: float) -> int:
    """Return the rows of a query's back end that miss DRAM."""
    return math.ceil(miss_percent / 100 * KEPT * CRITEO_TABLES)


def work_behind_s() -> float:
    """Return what the card does for a query anyway, and an SSD's time may lie behind [s]."""
    setup = Setup(designs()[-1])
    total_s = 1e-3 * measure(setup, 1.0, 1).p50_ms
    return total_s - setup.link_s - setup.platform.link.fixed_s - setup.last_s


def hidden_percent(drive: SsdTier, reads: int, work_s: float) -> float:
    """Return how much of the time of `reads` lies behind work of `work_s` [%]; of none 100."""
    if reads == 0:
        return 100.0
    return 100 * (1 - drive.exposed_s(reads, 1.0, work_s) / drive.seconds(reads))


def _paper_hides_ms(drive: SsdTier, shares: Iterable[float]) -> str:
    """Return from what to what time of `drive` the paper's points hide."""
    points = [published.FIGURE_13_SSD[share] for share in shares]
    times = [10 * hidden * drive.seconds(back_reads(miss)) for miss, hidden in points]
    return f"{min(times):.3g} to {max(times):.3g} ms"


def figure_13_ssd(shares: Sequence[float] = tuple(published.FIGURE_13_SSD)) -> PaperFigure:
    """DRAM misses and hidden SSD time by the share of the tables in the SSD."""
    work_s = work_behind_s()
    misses = {share: 100 * dram_miss(share) for share in shares}
    large = {share: 100 * dram_miss(share, LARGE_TABLES) for share in shares}
    drive = load_ssd(SSD)
    hidden = tuple(
        (share, hidden_percent(drive, back_reads(miss), work_s)) for share, miss in misses.items()
    )
    paper = {share: published.FIGURE_13_SSD[share] for share in shares}
    more = [paper[share][0] / miss for share, miss in misses.items()]
    pages = drive.model_copy(update={"page_bytes": PAGE_BYTES})
    return PaperFigure(
        stem="fig13_ssd",
        title="Figure 13, top: tables that spill to an SSD",
        notes=(
            f"Ours: {CRITEO_TABLES} tables of the Criteo-like trace, or the five largest alone, "
            "each so many times larger, the same popularity law; DRAM holds the most popular rows "
            f"({DRAM_SHARE} times the tables as they are). RMsmall's rows stay in DRAM. The law is "
            "fitted to hit rates of caches of up to 131,072 lines; the paper misses "
            f"{min(more):.0f} to {max(more):.0f} times as often as ours on all tables: its tail of "
            "rare rows is longer, or its DRAM not filled with the most popular ones.",
            f"SSD: `spec/presets/ssd/{SSD}.yaml`, {1e6 * drive.latency_s:.0f} us, "
            f"{drive.bytes_per_s / 1e9:g} GB/s, {drive.page_bytes} bytes a read, "
            f"{drive.queue_depth} reads at a time ({drive.source}).",
            f"Hidden: what the card does anyway, {1e3 * work_s:.3f} ms, of the drive's time for "
            "the back end's misses: at most that. The paper's hidden shares are a constant time of "
            f"its drive too, {_paper_hides_ms(drive, shares)}, about what its two "
            f"stages take (artifact.md): {drive.page_bytes} bytes a read are fitted to that, the "
            "paper names none; fewer misses leave ours less to hide. If every miss read "
            f"{PAGE_BYTES:,} bytes, that time would be {_paper_hides_ms(pages, shares)}: "
            "more than a query of the figure below takes.",
        ),
        panels=(
            Panel(
                x="share of tables in SSD",
                y="reads that miss DRAM [%]",
                series=(
                    Series(label="DRAM misses", source=OURS, points=tuple(misses.items())),
                    Series(label="five largest tables", source=OURS, points=tuple(large.items())),
                    Series(
                        label="DRAM misses",
                        source=PAPER,
                        points=tuple((share, pair[0]) for share, pair in paper.items()),
                    ),
                ),
            ),
            Panel(
                x="share of tables in SSD",
                y="SSD time hidden [%]",
                series=(
                    Series(label="hidden", source=OURS, points=hidden),
                    Series(
                        label="hidden",
                        source=PAPER,
                        points=tuple((share, pair[1]) for share, pair in paper.items()),
                    ),
                ),
            ),
        ),
    )
