"""RecPipe's claims on its CPU and GPU, C7 to C12: our queues of its published service times."""

from __future__ import annotations

from math import inf

from rpaccel.main_job import paper_points as published
from rpaccel.main_job.claims import Claim, Status, compare
from rpaccel.main_job.paper_figure import OURS, PAPER, PaperFigure
from rpaccel.main_job.serving_curves import (
    CONTENDED,
    DEPTHS,
    FITTED_QPS,
    ISO_QPS,
    NODE,
    PREPARED,
    RELEASED,
    SLA_MS,
    SLA_QPS,
    alone_ms,
    fit_contention,
    node_stations,
    served_figure_7,
    served_figure_8,
    within,
)
from rpaccel.main_job.serving_shapes import Curve, curve_of
from rpaccel.scheduler.published_pipelines import CPU, queue_curve

__all__ = ["commodity_claims"]

TIMES = "the logs' service times in our queues (serving_figures.md)"


def commodity_claims(arrivals: int, seed: int) -> list[Claim]:
    """Return C7 to C12. arrivals : of each load."""
    seven, eight = served_figure_7(arrivals, seed), served_figure_8(arrivals, seed)
    return [*_cpu_claims(seven, arrivals, seed), *_gpu_claims(eight, arrivals, seed)]


def _cpu_claims(seven: PaperFigure, arrivals: int, seed: int) -> list[Claim]:
    contention = fit_contention(arrivals, seed)
    one, two, three = (curve_of(seven, depth + CONTENDED) for depth in DEPTHS)
    plain = [curve_of(seven, depth) for depth in DEPTHS]
    medium = (("rmmed", 4096, CPU), NODE["CPU"][1][1])
    front = queue_curve(node_stations(medium, contention), (ISO_QPS,), arrivals, seed)
    last = three.get(ISO_QPS, inf)
    alone = [alone_ms(node_stations(stages)(0.0)) for stages in (medium, NODE["CPU"][1])]
    return [
        compare(
            7, "CPU: tail, one stage over two at 500 queries/s",
            [("", 4.0, one.get(ISO_QPS, inf) / two[ISO_QPS])], unit="x",
            why=f"{TIMES}, engines that slow each other down, fitted to the figure's one stage up "
            f"to {FITTED_QPS:.0f} queries/s; {plain[0][ISO_QPS] / plain[1][ISO_QPS]:.2f}x without",
        ),
        compare(
            8, "CPU: RMmed instead of RMsmall in front, tail at 500 queries/s",
            [("", 1.6, front.get(ISO_QPS, inf) / two[ISO_QPS])], unit="x",
            why=f"{TIMES}: alone {alone[0]:.1f} and {alone[1]:.1f} ms, "
            f"{alone[0] / alone[1]:.2f} times; the rest is contention and queues",
        ),
        Claim(
            number=9,
            text="CPU: three stages lose to two, 500 queries/s",
            paper=f"{published.FIGURE_7['three stages'][ISO_QPS]:.0f} against "
            f"{published.FIGURE_7['two stages'][ISO_QPS]:.0f} ms",
            ours=f"{'not met' if last == inf else f'{last:.0f}'} against {two[ISO_QPS]:.0f} ms",
            status=Status.REPRODUCED if last > two[ISO_QPS] else Status.DIFFERS,
            why=f"{TIMES}; at 333 queries/s {three[333]:.0f} against {two[333]:.0f} ms "
            f"(paper {published.FIGURE_7['three stages'][333]:.0f} and "
            f"{published.FIGURE_7['two stages'][333]:.0f})",
        ),
    ]  # fmt: skip


def _gain(base: Curve, front: Curve) -> float:
    """Return the most that a tail is shortened by at a load that both have; infinite: none."""
    return max((base[load] / front[load] for load in front if load in base), default=inf)


def _gpu_claims(eight: PaperFigure, arrivals: int, seed: int) -> list[Claim]:
    names = ("CPU, two stages", "GPU-CPU, two stages", "GPU, one stage")
    cpu, front = (curve_of(eight, name + RELEASED) for name in names[:2])
    most = [max(map(float, curve_of(eight, name, OURS))) for name in names]
    early = [max(map(float, curve_of(eight, name + RELEASED + PREPARED))) for name in names[1:]]
    gain = _gain(cpu, front)
    known = _gain(*(curve_of(eight, name, PAPER) for name in names[:2]))
    alone = [alone_ms(node_stations(NODE[machine][1])(0.0)) for machine in ("CPU", "GPU")]
    quality = {
        machine: within(machine, SLA_QPS, SLA_MS, arrivals, seed, released=True) for machine in NODE
    }
    steady = {
        machine: within(machine, SLA_QPS, SLA_MS, arrivals, seed, released=False)
        for machine in NODE
    }
    return [
        compare(
            10, "GPU in front: tail", [("", 3.0, gain)], unit="x less",
            why=f"{TIMES}, gaps and percentile of the released scripts; the figure's own points "
            f"give {known:.2f}x, the logs' times alone {alone[0] / alone[1]:.2f}x",
        ),
        Claim(
            number=11,
            text="GPU saturates first",
            paper="200 queries/s, CPU beyond 500",
            ours=f"largest of the figure's loads that settles: GPU {most[2]:.0f}, in front "
            f"{most[1]:.0f}, CPU {most[0]:.0f} queries/s",
            status=Status.REPRODUCED if most[2] < most[1] < most[0] else Status.DIFFERS,
            why=f"{TIMES}; if the host prepares queries beside the GPU {early[1]:.0f} and in front "
            f"{early[0]:.0f}",
        ),
        compare(
            12, "NDCG within 25 ms at 70 queries/s: CPU, GPU",
            [("CPU", published.FIGURE_8_NDCG["CPU"], quality["CPU"]),
             ("GPU", published.FIGURE_8_NDCG["GPU"], quality["GPU"])],
            why=f"{TIMES} and NDCG, gaps and percentile of the released scripts; p99 of Poisson "
            f"arrivals: {steady['CPU']:g}, {steady['GPU']:g}, as one GPU queues",
        ),
    ]  # fmt: skip
