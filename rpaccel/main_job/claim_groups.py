"""How each of RecPipe's claims is computed from our models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.main_job import paper_points as published
from rpaccel.main_job.area_page import AreaReport
from rpaccel.main_job.cache_study import AS_PUBLISHED, CacheStudy
from rpaccel.main_job.claims import Claim, Status, compare, out_of_reach
from rpaccel.main_job.criteo_models import quantise_criteo
from rpaccel.main_job.criteo_quality import criteo_quality
from rpaccel.main_job.energy_page import EnergyRow
from rpaccel.main_job.paper_figure import ARTIFACT, OURS, PaperFigure
from rpaccel.main_job.paper_static import SSD, core_point, figure_13_ssd, query_work
from rpaccel.perfmodel.bucket_filter import first_survivor_cycles, tail_cycles
from rpaccel.perfmodel.networks import CRITEO_TABLES, RM_LARGE, RM_SMALL
from rpaccel.perfmodel.recpipe_artifact import ARTIFACT_RANKERS, array_point
from rpaccel.perfmodel.row_hits import cache_bytes
from rpaccel.scheduler.ablation import CANDIDATES, KEPT, Setup, designs, measure, saturated_qps
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.ssd import load_ssd
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload

__all__ = [
    "LoadFigures", "ablation_claims", "arithmetic_claims", "array_claims", "cache_claims",
    "load_claims", "quality_claims", "silicon_claims",
]  # fmt: skip

LOG = "needs Criteo's log of 46 million lines, which is not shipped; our rankers learn MovieLens"
ID_ENTRY_BYTES = 8  # of the paper's id buffer, from its 12 % and 3 % of a bank of 256 KB
BANK_BYTES = 256 << 10


def arithmetic_claims() -> list[Claim]:
    """Claims that need no model: C1, C2, C16, C19."""
    work = query_work()
    ratio = {name: one / two for name, (one, two) in work.items()}
    buffers = [100 * count * ID_ENTRY_BYTES / BANK_BYTES for count in (4096, 1024)]
    look_ahead = cache_bytes(load_accelerator("paper"))[1]
    sets = look_ahead / (KEPT * CRITEO_TABLES * RM_LARGE.dim)
    return [
        compare(
            1, "compute, one stage over two", [("", 7.5, ratio["listed layers"])], unit="x",
            why=f"layers of table 1; all layers, as trained: {ratio['all layers']:.2f}x",
        ),
        compare(2, "embedding traffic, one stage over two", [("", 4.0, ratio["memory"])], unit="x"),
        compare(
            16, "id buffer: all ids, ids above 0.5, of a weight bank",
            [("all", 12.0, buffers[0]), ("above", 3.0, buffers[1])], unit=" %",
            why="8 bytes an id in a bank of 256 KB; ours keeps ids in the filter's own memory",
        ),
        compare(
            19, "look-ahead cache", [("", 4.0, look_ahead / 2**20)], unit=" MiB",
            why=f"the preset's; it holds the back end's rows of {sets:.1f} queries in int8",
        ),
    ]  # fmt: skip


def quality_claims(queries: int = 8, seed: int = 0) -> list[Claim]:
    """Claims on quality: C6 on planted clicks, the others out of reach.

    queries : Criteo-shaped, `rpaccel criteo`.
    """
    models = quantise_criteo(CriteoWorkload(CriteoConfig(seed=seed)))
    mean = {row.name: float(np.mean(row.clicks)) for row in criteo_quality(models, queries)}
    one, two = mean["int8 one-stage large"], mean["int8 two-stage, PROPORTIONAL"]
    return [
        out_of_reach(3, "test error of the three rankers", "21.36, 21.26, 21.13 %", LOG),
        out_of_reach(4, "NDCG of RMsmall by items", "60, 71, 80, 87, 91.3", LOG),
        out_of_reach(5, "best NDCG", "92.25", LOG),
        Claim(
            number=6,
            text="two stages keep the quality of one (4096 -> 512)",
            paper="92.25 = 92.25",
            ours=f"NDCG@64 {100 * two:.2f} of {100 * one:.2f}",
            status=Status.REPRODUCED if abs(two / one - 1) < 0.01 else Status.DIFFERS,
            distance=f"{100 * (two / one - 1):+.2f} %",
            why=f"the ratio only: {queries} Criteo-shaped queries with planted clicks and rankers, "
            "int8, through the golden model; ours = two stages of one",
        ),
    ]


def array_claims() -> list[Claim]:
    """Claims on the array: C13, C14."""
    pairs, off = [], 0.0
    for network in (RM_SMALL, RM_LARGE):
        for side in (128, 64, 32):
            paper = published.FIGURE_10A[network.name][side][1]
            ours = core_point(network, side, CANDIDATES)[1]
            pairs.append((f"{network.name} {side}", paper, 100 * ours))
            oracle = array_point(ARTIFACT_RANKERS[network.name], side)[1]
            off = max(off, abs(100 * oracle / paper - 1))
    whole = [core_point(RM_SMALL, 128, CANDIDATES), core_point(RM_LARGE, 128, KEPT)]
    mono = sum(c * u for c, u in whole) / sum(c for c, _ in whole)
    split = (core_point(RM_SMALL, 32, CANDIDATES)[1] + core_point(RM_LARGE, 64, KEPT)[1]) / 2
    theirs = [array_point(ARTIFACT_RANKERS[name], 128, n)
              for name, n in (("rmsmall", CANDIDATES), ("rmlarge", KEPT))]  # fmt: skip
    closed = sum(c * u for c, u in theirs) / sum(c for c, _ in theirs)
    rates = [saturated_qps(Setup(d)) for d in designs() if d.name in ("O.1 to O.2", "O.1 to O.3")]
    return [
        compare(
            13, "array utilisation, 4096 items", pairs, unit=" %",
            why="trained networks on our core (dot products fill more rows); SCALE-Sim's closed "
            f"form on the artifact's layers is at most {100 * off:.1f} % away (figures.md)",
        ),
        compare(
            14, "mean utilisation of two stages, whole array and split; throughput",
            [("whole", 30.0, 100 * mono), ("split", 60.0, 100 * split),
             ("gain", 2.0, rates[1] / rates[0])],
            why="trained networks on our core (dot products fill more rows); the closed form gives "
            f"{100 * closed:.0f} % whole; the split's gain ends at lanes that wait for their data",
        ),
    ]  # fmt: skip


def cache_claims(samples: int = 1 << 19, seed: int = 0) -> list[Claim]:
    """Claims on caches and SSD: C17, C18, C31."""
    study = CacheStudy(samples, seed)
    eighth, sixteenth = (study.curve(AS_PUBLISHED, 12, ratio) for ratio in (8, 16))
    ssd = figure_13_ssd((0.744, 0.968))
    miss, hidden = _points(ssd, "DRAM misses"), _points(ssd, "hidden", panel=1)
    best = min(eighth.amat_cycles)
    return [
        compare(
            17, "mean access time with 12 MB; less than without",
            [("cycles", 56.0, best), ("less %", 40.0, 100 - best)],
            why="the artifact's own numbers give 44 %, not 40 %",
        ),
        compare(
            18, "best front-end share of 12 MB, 1 in 8 and 1 in 16 going on",
            [("1/8", 50.0, 100 * eighth.best_share), ("1/16", 70.0, 100 * sixteenth.best_share)],
            unit=" %", why="a flat minimum: neighbouring shares are within a cycle",
        ),
        compare(
            31, "tables x 4 to x 32: DRAM misses, SSD time hidden",
            [("miss", 18.1, miss[0.744]), ("to", 26.5, miss[0.968]),
             ("hidden", 45.3, hidden[0.744]), ("to", 32.2, hidden[0.968])], unit=" %",
            why="26 tables of one popularity law, the hottest rows kept in DRAM; table 3's drive. "
            f"{load_ssd(SSD).page_bytes} bytes a read are not the paper's: its figure 13's hidden "
            "times need them. The directions hold: more misses, less hidden",
        ),
    ]  # fmt: skip


def _points(
    figure: PaperFigure, label: str, panel: int = 0, source: str = OURS
) -> Mapping[float | str, float]:
    return next(
        dict(each.points)
        for each in figure.panels[panel].series
        if (each.label, each.source) == (label, source)
    )


def _split_tails(figure: PaperFigure, load: int, source: str) -> dict[str, float]:
    """Return figure 12's tails of 8,2, 8,8 and 8,16 at a load that all of them sustain [ms]."""
    return {name: _points(figure, name, 1, source)[load] for name in ("8,2", "8,8", "8,16")}


def ablation_claims() -> list[Claim]:
    """Claims on the ideas one by one: C15, C20, C21, C22."""
    setups = {d.name: Setup(d) for d in designs() if not d.name.endswith("alone")}
    ms = {name: measure(setup, 1.0, 1).p50_ms for name, setup in setups.items()}
    qps = {name: min(saturated_qps(s), 1 / s.link_s) for name, s in setups.items()}
    base, last = ms["base"], ms["O.1 to O.5"]
    part = KEPT // 4
    last_id = tail_cycles(part)
    return [
        Claim(
            number=15,
            text="filter: cycles after a sub-batch's last score",
            paper="a couple hundred",
            ours=f"{first_survivor_cycles()} to the first id, {last_id} to the last of {part}",
            status=Status.REPRODUCED if last_id <= 200 else Status.DIFFERS,
            why=f"without sub-batches {tail_cycles(KEPT)} to the last of {KEPT}: an id a cycle, "
            "while the next stage works. Quality: filter.md",
        ),
        compare(
            20, "latency gain of O.1, O.2, O.4 and O.5",
            [("O.1", 2.5, base / ms["O.1"]), ("O.2", 1.5, ms["O.1"] / ms["O.1 to O.2"]),
             ("O.4, O.5", 1.3, ms["O.1 to O.3"] / last)], unit="x",
            why="our base keeps weights and overlaps gathers, so O.1 finds link and host's sort; "
            "O.2 takes those; whole queries on one block each (O.3) make O.5 indispensable",
        ),
        compare(
            21, "O.3: throughput at comparable latency",
            [("throughput", 2.0, qps["O.1 to O.3"] / qps["O.1 to O.2"]),
             ("latency", 1.0, ms["O.1 to O.3"] / ms["O.1 to O.2"])], unit="x",
            why="utilisation of the whole array is better than the paper's; a query on one block "
            "takes longer until O.5 deals it out",
        ),
        compare(
            22, "all ideas: latency, throughput",
            [("latency", 5.0, base / last), ("throughput", 10.0, qps["O.1 to O.5"] / qps["base"])],
            unit="x",
            why="against our own base, which has the same overlap; the link binds (bars of the "
            "paper's figure: 3.66x latency)",
        ),
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LoadFigures:
    """Figures that load claims read.

    tail_qps : of baseline and two stages within 6 ms. split_qps : of the lanes of figure 12's
    splits, without the link; the same of all, their front ends bind.
    """

    twelve: PaperFigure
    thirteen: PaperFigure
    fourteen: PaperFigure
    tail_qps: tuple[float, float]
    split_qps: float


def load_claims(figures: LoadFigures) -> list[Claim]:
    """Claims on the machine under load: C23 to C28, C32 to C34."""
    base = _points(figures.twelve, "baseline")
    one = _points(figures.twelve, "one stage")
    two = _points(figures.twelve, "two stages")
    low, high = (_split_tails(figures.twelve, load, OURS) for load in (250, 2000))
    by_terms = _split_tails(figures.twelve, 2000, ARTIFACT)
    theirs = (
        "the artifact's formulas, 125 MHz and FP32, give 2.09 ms for RMlarge on 4096 and 1.3 ms "
        "for two stages (artifact.md)"
    )
    faster = f"int8 at 250 MHz with weights that stay and units that overlap; {theirs}"
    serial = f"phase by phase as published, but int8 at 250 MHz with our caches' hits; {theirs}"
    tails = {
        name: list(_points(figures.thirteen, name).values())
        for name in ("one stage", "several stages")
    }
    return [
        compare(23, "baseline: p99 at 200, 400 queries/s",
                [("", 6.0, base[200]), ("", 21.0, base[400])], unit=" ms", why=serial),
        compare(24, "one stage: p99 at 200, 400 queries/s",
                [("", 4.5, one[200]), ("", 9.0, one[400])], unit=" ms", why=faster),
        compare(25, "several stages: p99 at 200, 1333 queries/s",
                [("", 2.1, two[200]), ("", 6.0, two[1333])], unit=" ms", why=faster),
        compare(26, "against the baseline: latency at 200, throughput within 6 ms",
                [("latency", 3.0, base[200] / two[200]),
                 ("throughput", 6.0, figures.tail_qps[1] / figures.tail_qps[0])], unit="x",
                why="more, because our several stages overlap and the baseline is as published; "
                f"against our one stage {one[200] / two[200]:.2f}x latency (ablation.md: B)"),
        compare(27, "8,2 against 8,8 at 250 queries/s",
                [("", 1.5, low["8,8"] / low["8,2"])], unit="x",
                why="tasks spread a query over all lanes of a stage, so fewer and larger matter "
                "less; same direction"),
        compare(28, "8,16 against 8,8 at 2000 queries/s: latency",
                [("", 1.4, high["8,8"] / high["8,16"])], unit="x",
                why="blocks of 16 (the preset has 32); the front end's eight lanes, the same in "
                f"both, bind at {figures.split_qps:,.0f} queries/s, so that neither queues much at "
                "2000, where the paper's saturate, and arrays of half the size take longer; the "
                f"artifact's terms give {by_terms['8,8'] / by_terms['8,16']:.2f}x"),
        compare(32, "candidates x 3, tables x 32: tail grows, one and several stages",
                [("one", 8.65 / 3.55, tails["one stage"][-1] / tails["one stage"][0]),
                 ("several", 4.44 / 3.32,
                  tails["several stages"][-1] / tails["several stages"][0])], unit="x",
                why="several stages grow less than one, as the paper's; ours grow with the work, "
                "the paper's from a floor of a few ms. NDCG: no log"),
        _depths(figures.fourteen),
        _averages(figures.fourteen),
    ]  # fmt: skip


def _tails(figure: PaperFigure, source: str) -> dict[str, list[float]]:
    """Return data set and load -> tails of one, two and three stages; inf: not met."""
    found: dict[str, list[float]] = {}
    for depth, label in enumerate(("one stage", "two stages", "three stages")):
        for each in figure.panels[0].series:
            if (each.label, each.source) == (label, source):
                for name, tail in each.points:
                    found.setdefault(str(name), [float("inf")] * 3)[depth] = tail
    return found


def _depths(figure: PaperFigure) -> Claim:
    ours, paper = _tails(figure, "ours"), _tails(figure, "paper")
    best = {
        name: (int(np.argmin(paper[name])) + 1, int(np.argmin(ours[name])) + 1)
        for name in (
            f"{data} {load}" for data, loads in published.FIGURE_14.items() for load in loads
        )
    }
    same = sum(theirs == mine for theirs, mine in best.values())
    return Claim(
        number=33,
        text="best number of stages by data set and load, accelerator",
        paper=", ".join(f"{name}: {theirs}" for name, (theirs, _) in best.items()),
        ours=", ".join(f"{name}: {mine}" for name, (_, mine) in best.items()),
        status=Status.REPRODUCED if same == len(best) else Status.DIFFERS,
        distance=f"{same} of {len(best)} the same",
        why="two and three stages are close in ours; the sizes of the MovieLens networks are the "
        "artifact's, which contradict themselves",
    )


def _averages(figure: PaperFigure) -> Claim:
    ours = _tails(figure, "ours")
    gains = [t[0] / min(t[1:]) for t in ours.values() if np.isfinite(t[0])]
    return compare(
        34, "several stages on the accelerator against earlier ones: tail, mean over data sets and "
        "loads",
        [("", 4.3, float(np.mean(gains)))], unit="x less",
        why=f"against one stage on our own accelerator, over the {len(gains)} of {len(ours)} bars "
        "that it meets. The 3.2x of CPU and GPU is not here: of the three data sets only Criteo's "
        "service times are published (C7 to C12)",
    )  # fmt: skip


def silicon_claims(area: AreaReport, energy: Sequence[EnergyRow]) -> list[Claim]:
    """Claims on area and power: C29, C30. energy : of one stage and of two."""
    one, two = energy[0], energy[1]
    load = one.capacity_qps
    return [
        compare(
            29, "area and power over the baseline",
            [("area", 7.67, area.overhead), ("power", 27.4, 100 * (two.on_chip_watts() /
              one.on_chip_watts() - 1))], unit=" %",
            why="area: gates of Yosys and the paper's macros (area.md). Power: without DRAM and "
            "link, each at its own capacity, the paper's at one activity for all; at "
            f"{load:,.0f} queries/s both, ours takes "
            f"{100 * (two.on_chip_watts(load) / one.on_chip_watts(load) - 1):+.0f} % (energy.md)",
        ),
        compare(
            30, "splitting the array, memories apart: area", [("", 6.0, area.fission)], unit=" %",
            why="scaled up from blocks of 4 x 4, with controllers of five lanes (area.md); power "
            "of that logic is not modelled",
        ),
    ]  # fmt: skip
