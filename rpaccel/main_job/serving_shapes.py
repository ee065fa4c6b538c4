"""What RecPipe's figures 7, 8, 12 and 14 show, and whether the curves of `serving_curves` show it.

Every row is of one harness; "no" is possible in each: what a queue of ours never reaches is no
ratio, and what goes the other way is no direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, isfinite

from rpaccel.main_job.paper_figure import OURS, PAPER, PaperFigure
from rpaccel.main_job.serving_curves import (
    CONTENDED,
    DEPTHS,
    NODE,
    PREPARED,
    RELEASED,
    SLA_MS,
    SLA_QPS,
    node_stations,
    split_capacity_qps,
)
from rpaccel.scheduler.published_pipelines import Contention
from rpaccel.scheduler.queueing import capacity_qps

__all__ = [
    "AHEAD", "ALIKE", "BUSY", "HARNESSES", "HOLDS", "SCRIPTS", "STEADY", "Curve", "Harness",
    "Shape", "card_shapes", "cpu_shapes", "curve_of", "depth_shape", "gpu_shapes", "machine_shapes",
    "order_shape", "overtaking_shape", "ratio_shape",
]  # fmt: skip

Curve = Mapping[float | str, float]
ALIKE = 1.5  # factor within which something of ours is the paper's in size
HOLDS = ("size", "direction", "no")
LIMIT_MS = 6.0  # RecPipe's abstract and section 7.1


@dataclass(frozen=True, kw_only=True)
class Harness:
    """How a curve of ours is measured. suffix : of its label in a figure."""

    name: str
    suffix: str


STEADY = Harness(name="Poisson, p99", suffix="")
BUSY = Harness(name="Poisson, p99, contention", suffix=CONTENDED)
SCRIPTS = Harness(name="released", suffix=RELEASED)
AHEAD = Harness(name="released, host prepares", suffix=RELEASED + PREPARED)
HARNESSES = (STEADY, BUSY, SCRIPTS, AHEAD)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Something that a figure shows. holds : one of HOLDS. why : of the distance, or empty."""

    figure: str
    what: str
    harness: str
    paper: str
    ours: str
    holds: str
    why: str = ""


def curve_of(figure: PaperFigure, label: str, source: str = OURS, panel: int = 0) -> Curve:
    """Return one series. Raises ValueError if the panel has none of that label and source."""
    for each in figure.panels[panel].series:
        if (each.label, each.source) == (label, source):
            return dict(each.points)
    raise ValueError(f"{figure.stem} must have {source}: {label}")


def _alike(paper: float, ours: float) -> bool:
    return 1 / ALIKE <= ours / paper <= ALIKE


def ratio_shape(
    figure: str, what: str, harness: Harness, paper: float, ours: float, why: str = ""
) -> Shape:
    """Return a shape that is a ratio above or below 1. ours : infinite or nan if it is not met."""
    met = isfinite(ours) and ours > 0
    same = met and (paper > 1) == (ours > 1) and ours != 1
    return Shape(
        figure=figure,
        what=what,
        harness=harness.name,
        paper=f"{paper:.2f}x",
        ours=f"{ours:.2f}x" if met else "not met",
        holds="size" if same and _alike(paper, ours) else "direction" if same else "no",
        why=why,
    )


def _over(one: Curve, two: Curve, load: float) -> float:
    """Return the ratio of two tails; infinite if one of them does not settle."""
    return one[load] / two[load] if load in one and load in two else inf


def order_shape(
    figure: str, what: str, harness: Harness, paper: Sequence[float], ours: Sequence[float],
    why: str = "",
) -> Shape:  # fmt: skip
    """Return a shape that is numbers in falling order. Size: each alike; direction: the order."""
    falls = all(a > b for a, b in pairwise(ours))
    close = all(_alike(a, b) for a, b in zip(paper, ours, strict=True))
    return Shape(
        figure=figure,
        what=what,
        harness=harness.name,
        paper=", ".join(f"{each:.0f}" for each in paper),
        ours=", ".join(f"{each:.0f}" for each in ours),
        holds="size" if falls and close else "direction" if falls else "no",
        why=why,
    )


def _overtaken(first: Curve, second: Curve) -> float:
    """Return the least load at which the second is faster after the first was; infinite: none."""
    ahead = False
    for load in sorted({float(x) for x in (*first, *second)}):
        one, two = first.get(load, inf), second.get(load, inf)
        if ahead and two < one:
            return load
        ahead = ahead or one < two
    return inf


def overtaking_shape(
    figure: str, what: str, harness: Harness, paper: tuple[Curve, Curve], ours: tuple[Curve, Curve]
) -> Shape:
    """Return whether the second curve of ours gets below the first, as the paper's does.

    Of the paper the loads that both curves show; of ours one that does not settle is the slower.
    """
    both = set(paper[0]) & set(paper[1])
    known = _overtaken(*({x: curve[x] for x in both} for curve in paper))
    if not isfinite(known):
        raise ValueError(f"curves of the paper must cross for {what!r}")
    found = _overtaken(*ours)
    met = isfinite(found)
    return Shape(
        figure=figure,
        what=what,
        harness=harness.name,
        paper=f"{known:.0f} queries/s",
        ours=f"{found:.0f} queries/s" if met else "never",
        holds="size" if met and _alike(known, found) else "direction" if met else "no",
        why="the first of the figure's loads at which it is faster",
    )


def _winners(figure: PaperFigure, harness: Harness) -> dict[str, tuple[str, str]]:
    """Return load -> depth with the least tail, the paper's and ours, of those the paper shows.

    A depth that does not settle in ours loses, "none" if none does; loads with one depth in the
    paper are left out.
    """
    paper = {depth: curve_of(figure, depth, PAPER) for depth in DEPTHS}
    ours = {depth: curve_of(figure, depth + harness.suffix) for depth in DEPTHS}
    found = {}
    for x in dict.fromkeys(x for curve in paper.values() for x in curve):
        shown = [depth for depth in DEPTHS if x in paper[depth]]
        if len(shown) > 1:
            theirs = {depth: paper[depth][x] for depth in shown}
            mine = {depth: ours[depth][x] for depth in shown if x in ours[depth]}
            name = x if isinstance(x, str) else f"{x:g}"
            best = min(mine, key=mine.__getitem__) if mine else "none"
            found[name] = (min(theirs, key=theirs.__getitem__), best)
    return found


def depth_shape(figure: PaperFigure, name: str, harness: Harness, why: str = "") -> Shape:
    """Return at how many loads the best depth is the paper's. Direction: at more than half."""
    best = _winners(figure, harness)
    other = [
        f"{x}: {paper.split()[0]}, ours {ours.split()[0]}"
        for x, (paper, ours) in best.items()
        if paper != ours
    ]
    same = len(best) - len(other)
    return Shape(
        figure=name,
        what="depth with the shortest tail, of loads with two or more",
        harness=harness.name,
        paper=f"{len(best)} loads",
        ours=f"the same at {same} of {len(best)}" + (f" ({'; '.join(other)})" if other else ""),
        holds="size" if not other else "direction" if 2 * same > len(best) else "no",
        why=why,
    )


def cpu_shapes(seven: PaperFigure, contention: Contention) -> list[Shape]:
    """What figure 7 shows, without and with contention of the CPU."""
    paper = [curve_of(seven, depth, PAPER) for depth in DEPTHS]
    found = []
    for harness, slowed in ((STEADY, None), (BUSY, contention)):
        ours = [curve_of(seven, depth + harness.suffix) for depth in DEPTHS]
        for first, second, load in ((0, 1, 500), (0, 1, 200), (2, 1, 333), (2, 1, 500)):
            stations = node_stations(NODE["CPU"][first], slowed)(load)
            busy = 100 * load / capacity_qps(stations)
            found.append(
                ratio_shape(
                    "7", f"{DEPTHS[first]} over {DEPTHS[second]} at {load} queries/s", harness,
                    _over(paper[first], paper[second], load),
                    _over(ours[first], ours[second], load),
                    f"{DEPTHS[first]}: its busiest engines are asked for {busy:.0f} %",
                )
            )  # fmt: skip
        found.append(depth_shape(seven, "7", harness))
    return found


def _settle(curves: Sequence[Curve]) -> list[float]:
    return [max(map(float, curve), default=0.0) for curve in curves]


def gpu_shapes(eight: PaperFigure) -> list[Shape]:
    """What figure 8 shows."""
    names = ("CPU, two stages", "GPU-CPU, two stages", "GPU, one stage")
    paper = [curve_of(eight, name, PAPER) for name in names]

    def gain(curves: Sequence[Curve], place: int) -> float:
        base, front = curves[0], curves[place]
        return max((base[x] / front[x] for x in base if x in front), default=inf)

    found = []
    for harness in (STEADY, SCRIPTS, AHEAD):
        tails = (harness.suffix.removesuffix(PREPARED), harness.suffix, harness.suffix)
        ours = [curve_of(eight, name + tail) for name, tail in zip(names, tails, strict=True)]
        found += [
            ratio_shape("8", "CPU over GPU-CPU, two stages, the most of any load", harness,
                        gain(paper, 1), gain(ours, 1), "the text says up to 3x"),
            ratio_shape("8", "CPU two stages over GPU one stage, the most of any load", harness,
                        gain(paper, 2), gain(ours, 2)),
            order_shape("8", "largest load: CPU, GPU-CPU, GPU", harness, _settle(paper),
                        _settle(ours), "of the figure's loads; ours: those that settle"),
        ]  # fmt: skip
    label = f"within {SLA_MS:g} ms"
    known = curve_of(eight, label, PAPER, 1)
    for harness in (STEADY, SCRIPTS):
        found.append(
            _quality_shape(known, curve_of(eight, label + harness.suffix, OURS, 1), harness)
        )
    return found


def _quality_shape(paper: Curve, ours: Curve, harness: Harness) -> Shape:
    """Return how much better the GPU is. Size: the difference is alike; direction: it is better."""
    theirs, mine = (each["GPU"] - each["CPU"] for each in (paper, ours))
    same = min(ours.values()) > 0 and mine > 0
    return Shape(
        figure="8",
        what=f"NDCG within {SLA_MS:g} ms at {SLA_QPS:g} queries/s: CPU, GPU",
        harness=harness.name,
        paper=f"{paper['CPU']:g}, {paper['GPU']:g}",
        ours=f"{ours['CPU']:g}, {ours['GPU']:g}",
        holds="size" if same and _alike(theirs, mine) else "direction" if same else "no",
        why=f"the GPU's is {theirs:+.2f} in the paper, {mine:+.2f} in ours",
    )


def _most(curve: Curve, limit_ms: float) -> float:
    """Return the largest of the loads whose tail is within a limit."""
    return max((float(x) for x, y in curve.items() if y <= limit_ms), default=0.0)


def card_shapes(twelve: PaperFigure) -> list[Shape]:
    """What figure 12 shows."""
    names, splits = ("baseline", "two stages", "three stages"), ("8,2", "8,8", "8,16")
    paper = [curve_of(twelve, name, PAPER) for name in names]
    known = [curve_of(twelve, name, PAPER, 1) for name in splits]
    knee = {name: split_capacity_qps(name) for name in (*splits, *DEPTHS)}
    found = []
    for harness in (STEADY, SCRIPTS):
        ours = [curve_of(twelve, name + harness.suffix) for name in names]
        cut = [curve_of(twelve, name + harness.suffix, OURS, 1) for name in splits]
        rate = []
        for curves in (paper, ours):
            load = [_most(curve, LIMIT_MS) for curve in curves]
            rate.append(max(load[1:]) / load[0] if load[0] else inf)
        missed = "" if isfinite(rate[1]) else "; the baseline meets it at none"
        found += [
            ratio_shape("12", "baseline over three stages at 200 queries/s", harness,
                        _over(paper[0], paper[2], 200), _over(ours[0], ours[2], 200),
                        "the text says 3x (6 over 2.1 ms)"),
            ratio_shape("12", "several stages over the baseline: load within "
                        f"{LIMIT_MS:g} ms", harness, rate[0], rate[1],
                        f"largest of the figure's loads{missed}"),
            ratio_shape("12", "8,8 over 8,2 at 250 queries/s", harness,
                        _over(known[1], known[0], 250), _over(cut[1], cut[0], 250)),
            ratio_shape("12", "8,16 over 8,8 at 2000 queries/s", harness,
                        _over(known[2], known[1], 2000), _over(cut[2], cut[1], 2000),
                        f"by the artifact's terms 8,8 saturates at {knee['8,8']:,.0f} queries/s, "
                        f"8,16 at {knee['8,16']:,.0f}"),
            overtaking_shape("12", "8,8 overtakes 8,2", harness, (known[0], known[1]),
                             (cut[0], cut[1])),
            depth_shape(twelve, "12", harness, "by the artifact's terms three stages saturate at "
                        f"{knee['three stages']:,.0f} queries/s, two at "
                        f"{knee['two stages']:,.0f}"),
        ]  # fmt: skip
    return found


def machine_shapes(fourteen: PaperFigure) -> list[Shape]:
    """What figure 14 shows of Criteo: its CPU is with contention, its released host prepares."""
    steady, scripts = replace(BUSY, suffix=""), replace(AHEAD, suffix=RELEASED)
    return [
        depth_shape(fourteen, "14", steady, _saturation(prepared=False)),
        depth_shape(fourteen, "14", scripts, _saturation(prepared=True)),
    ]


def _saturation(*, prepared: bool) -> str:
    """Return why depths that the figure has are not met: by the logs' and the artifact's times."""
    one, two = (
        capacity_qps(node_stations(stages, prepared=prepared)(SLA_QPS))
        for stages in NODE["GPU"][:2]
    )
    card = [split_capacity_qps(depth) for depth in DEPTHS[1:]]
    return (
        f"by the logs' times one stage on the GPU saturates at {one:.0f} queries/s, the first of "
        f"two at {two:.0f}; on the accelerator two saturate at {card[0]:,.0f}, three at "
        f"{card[1]:,.0f}"
    )
