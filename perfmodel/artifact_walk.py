"""From the artifact's latency of a two-stage query to ours, one term at a time.

Serial phases of RMsmall on 4096 and RMlarge on 512 items, 128 x 128 MACs. Each step changes one
thing and keeps the others; the last two leave the serial sum for the event model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.recpipe_artifact import (
    ARTIFACT,
    ARTIFACT_RANKERS,
    PAPER,
    ArtifactRanker,
    StagePhases,
    layers_cycles,
    stage_phases,
)
from rpaccel.perfmodel.task_profile import TaskProfile
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.program_plan import plan_model

__all__ = ["PHASES", "WalkStep", "serial_walk"]

STAGES = ((RM_SMALL, 4096), (RM_LARGE, 512))
PHASES = ("link", "rows", "weights", "layers", "interaction", "filter and control")


@dataclass(frozen=True, kw_only=True)
class WalkStep:
    """A step. change : what is different from the one before. phases_us : by PHASES [us]."""

    change: str
    phases_us: Mapping[str, float]

    @property
    def total_ms(self) -> float:
        """The phases, one after the other [ms]."""
        return 1e-3 * sum(self.phases_us.values())


def _phases(stages: list[StagePhases]) -> dict[str, float]:
    return {
        "link": sum(stage.link_in_us + stage.link_out_us for stage in stages),
        "rows": sum(stage.rows_dram_us + stage.rows_sram_us for stage in stages),
        "weights": sum(stage.weights_us for stage in stages),
        "layers": sum(stage.bottom_us + stage.top_us for stage in stages),
        "interaction": 0.0,
        "filter and control": sum(stage.filter_us for stage in stages),
    }


def _trained(ranker: ArtifactRanker, pairs: int) -> list[tuple[int, int]]:
    """Return the layers of the trained network: dot products and the dense vector enter the top."""
    top = ranker.top_layers
    return [*ranker.bottom_layers, (pairs + ranker.dim, top[0][1]), *top[1:]]


def serial_walk(
    config: AcceleratorConfig,
    profiles: Mapping[str, TaskProfile],
    *,
    clock_hz: float,
    link_us: float,
    filter_cycles: float,
) -> list[WalkStep]:
    """Return the steps whose phases follow each other.

    config : the machine, one lane. profiles : of each network as one task (gathers as our caches,
    row banks and ports have them, layers and interaction as our array and engines).
    link_us : both ways, once, with our link. filter_cycles : of both stages' filters and control.
    """
    period_us = 1e6 / clock_hz
    rankers = [ARTIFACT_RANKERS[network.name] for network, _ in STAGES]
    asked = [(ranker, items, 1) for ranker, (_, items) in zip(rankers, STAGES, strict=True)]
    artifact = _phases([stage_phases(*stage, ARTIFACT) for stage in asked])
    faster = _phases([stage_phases(*stage, PAPER) for stage in asked])
    steps = [WalkStep(change="the artifact: 125 MHz, 32 GiB/s", phases_us=artifact)]

    def step(change: str, **phases: float) -> None:
        names = {name.replace("_", " "): value for name, value in phases.items()}
        steps.append(WalkStep(change=change, phases_us=dict(steps[-1].phases_us) | names))

    steps.append(
        WalkStep(
            change="250 MHz and 64 GB/s; the link keeps its time",
            phases_us=faster | {"link": artifact["link"]},
        )
    )
    step("the link once a query, with our sizes (156 B a candidate in)", link=link_us)
    quarter = [
        replace(stage, rows_dram_us=stage.rows_dram_us / 4, rows_sram_us=stage.rows_sram_us / 4,
                weights_us=stage.weights_us / 4)
        for stage in (stage_phases(*each, PAPER) for each in asked)
    ]  # fmt: skip
    int8 = _phases(quarter)
    step("int8: a byte a weight and a dimension", rows=int8["rows"], weights=int8["weights"])
    step(
        "our caches, row banks and ports; records are read, too",
        rows=period_us * sum(walk for p in profiles.values() for _, walk, _ in p.batches),
    )
    step("weights stay on the card", weights=0.0)
    trained = sum(
        layers_cycles(_trained(ranker, network.pairs), items, config.array_size)
        for ranker, (network, items) in zip(rankers, STAGES, strict=True)
    )
    crossing = sum(work.crossing for p in profiles.values() for work, _, _ in p.batches)
    step("the trained networks: dot products", layers=trained * period_us,
         interaction=crossing * period_us)  # fmt: skip
    tiles = sum(plan_model(network.sizes, config).tiles * items for network, items in STAGES)
    step("our array: tiles follow each other, weights load behind", layers=tiles * period_us)
    step("our filters, list and control", filter_and_control=filter_cycles * period_us)
    return steps
