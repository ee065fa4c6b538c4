"""Sets of options for the on-line controller, of RecPipe's published service times.

A node with the paper's CPU and GPU, and its accelerator in its artifact's terms: pipelines of one
to three stages, by the candidates that they rank and by their devices or split. What ranks more
answers better (`published_pipelines.ndcg`) and carries less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rpaccel.scheduler.online_ladder import Option
from rpaccel.scheduler.published_pipelines import (
    CPU,
    CPU_ENGINES,
    GPU,
    LEAST_KEPT,
    SPLITS,
    Stages,
    ndcg,
    published_pipeline,
    split_stations,
)

__all__ = [
    "CHANGE_CYCLES", "CLOCK_HZ", "NODE_ITEMS", "OptionSet", "accelerator_options",
    "commodity_options", "split_options", "stage_items",
]  # fmt: skip

# A new split of `paper` between queries with the loads of its new lanes, measured in the netlist:
# docs/generated/paper.md, "Splits of the array", the slower of its two changes.
CHANGE_CYCLES = 17_836
CLOCK_HZ = 125e6  # of the artifact's latencies
NODE_ITEMS = (1024, 1600, 2048, 3200, 4096)
CARD_ITEMS = (1024, 2048, 4096, 8192, 12288)  # the last two: figure 13's two and three times


@dataclass(frozen=True, kw_only=True)
class OptionSet:
    """Options of one machine. sla_ms : the limits that they are studied with [ms]."""

    name: str
    options: tuple[Option, ...]
    sla_ms: tuple[float, ...]


def stage_items(candidates: int, stages: int) -> tuple[int, ...]:
    """Return the items of 1 to 3 stages: an eighth goes on, then a quarter; 4096, 512, 128.

    At least LEAST_KEPT go on, whose NDCG is known. Raises ValueError for fewer candidates.
    """
    if candidates < LEAST_KEPT:
        raise ValueError(f"candidates must be at least {LEAST_KEPT}, not {candidates}")
    return tuple(max(LEAST_KEPT, candidates // part) for part in (1, 8, 32)[:stages])


def commodity_options(engines: int = CPU_ENGINES) -> OptionSet:
    """Return pipelines on CPU and GPU; all models resident, so a change costs only its wait."""
    found = []
    for items in NODE_ITEMS:
        _, kept, last = stage_items(items, 3)
        large: Stages = (("rmlarge", items, CPU),)
        two: Stages = (("rmsmall", items, CPU), ("rmlarge", kept, CPU))
        shapes: dict[str, Stages] = {
            "cpu small": (("rmsmall", items, CPU),),
            "cpu": large,
            "cpu-cpu": two,
            "cpu-cpu-cpu": (two[0], ("rmmed", kept, CPU), ("rmlarge", last, CPU)),
            "gpu": (("rmlarge", items, GPU),),
            "gpu-cpu": (("rmsmall", items, GPU), two[1]),
        }
        for name, stages in shapes.items():
            found.append(
                Option(
                    name=f"{name} {items}",
                    quality=ndcg(stages[-1][0], [count for _, count, _ in stages]),
                    partition=name.removesuffix(" small"),
                    devices=frozenset(device for _, _, device in stages),
                    stations=published_pipeline(stages, engines=engines),
                )
            )
    # 25 ms: figure 8.
    return OptionSet(name="CPU and GPU", options=tuple(found), sla_ms=(25.0,))


def accelerator_options() -> OptionSet:
    """Return one to three stages on the splits of the array, in the artifact's terms.

    A change waits until the array is idle and takes CHANGE_CYCLES at the artifact's clock.
    """
    found = []
    for items in CARD_ITEMS:
        for split, arrays in SPLITS.items():
            ranked = stage_items(items, len(arrays))
            found.append(
                Option(
                    name=f"{split} {items}",
                    quality=ndcg("rmlarge", ranked),
                    partition=split,
                    devices=frozenset({"array"}),
                    stations=split_stations(split, ranked),
                    change_s=CHANGE_CYCLES / CLOCK_HZ,
                )
            )
    # 6 ms: the abstract's and section 7.1's; 12: twice.
    return OptionSet(name="accelerator", options=tuple(found), sla_ms=(6.0, 12.0))


def split_options(sla_ms: float = 12.0) -> OptionSet:
    """Return the splits at 4096 candidates, all of one NDCG: what counts is how soon they answer.

    quality : the share of the SLA that is left when a query alone is answered.
    Raises ValueError for an SLA that the slowest split misses.
    """
    found = [o for o in accelerator_options().options if o.name.endswith(" 4096")]
    slowest_ms = 1e3 * max(option.idle_s for option in found)
    if sla_ms <= slowest_ms:
        raise ValueError(f"sla_ms must be above {slowest_ms:.4g}, the slowest split, not {sla_ms}")
    return OptionSet(
        name="splits alone",
        options=tuple(replace(o, quality=1 - 1e3 * o.idle_s / sla_ms) for o in found),
        sla_ms=(sla_ms,),
    )
