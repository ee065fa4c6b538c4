"""Pipelines of the paper's figures on our machine: any stages, items and lanes.

Ref: RecPipe (MICRO'21), figures 12 to 14. `scheduler.ablation` has the designs of figure 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from rpaccel.host.partition import split_8_2
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.memory import padded_records
from rpaccel.perfmodel.networks import ONE, RM_LARGE, RM_SMALL
from rpaccel.perfmodel.shapes import ModelShape, NetworkShape, compile_shape
from rpaccel.scheduler.ablation import (
    CANDIDATES,
    FEATURES,
    KEPT,
    SERVED,
    SPLIT_SUB_BATCH,
    SPLIT_TASKS,
    WHOLE_TASKS,
)
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import RESULT, Interaction, StageMode
from rpaccel.spec.platform import PlatformConfig, load_platform
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.spec.sweep import LaneSplit

__all__ = [
    "FINE_BLOCK", "PROVISIONED", "THIRD_ITEMS", "Pipeline", "PipelineSetup", "PipelineStage",
    "config_8_8", "lanes_of_shape", "neumf", "neumf_macs", "provisioned", "quarters", "split",
    "whole_array",
]  # fmt: skip

THIRD_ITEMS = 128  # of three stages, RMlarge: RecPipe's artifact, best of its three-stage runs
MOST_DIM = 128  # of an embedding row of our machine
FILM_BYTES = 8  # of a MovieLens candidate over the link: user and item id
FINE_BLOCK = 16  # cells of a block's side that 8,16 needs; the preset's blocks have 32
# Figure 12, bottom -> lanes of both stages in such blocks: arrays of 1,024 MACs in front, of 4,096,
# 1,024 or 512 behind them. Half of the array each.
PROVISIONED = {
    name: LaneSplit.model_validate(text)
    for name, text in (
        ("8,2", "8*2x2+2*4x4"), ("8,8", "8*2x2+8*2x2"), ("8,16", "8*2x2+16*1x2"),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PipelineStage:
    """A stage. lanes : that may run it. task_items : of a task, 0: one task. sub_batch : 0: any."""

    network: NetworkShape
    items: int
    lanes: tuple[int, ...]
    task_items: int = 0
    sub_batch: int = 0


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Stages on a machine; filters and the served list are on the card (O.2).

    row_hits : network -> share of rows' beats that read no memory. item_bytes : over the link.
    """

    name: str
    stages: tuple[PipelineStage, ...]
    row_hits: Mapping[str, float] = field(default_factory=dict)
    served: int = SERVED
    item_bytes: int = 4 * FEATURES

    def __post_init__(self) -> None:
        items = [stage.items for stage in self.stages]
        if not items or sorted(items, reverse=True) != items or items[-1] < 1:
            raise ValueError(f"items must be at least 1 and must not grow, not {items}")


@cache
def _shape(network: NetworkShape, config: AcceleratorConfig) -> ModelShape:
    return compile_shape(network, config)


class PipelineSetup:
    """A pipeline on a machine: what the model is asked (`scheduler.ablation.Measured`).

    config : with lanes, `paper` by default; platform : of the same clock and memory.
    """

    def __init__(self, pipeline: Pipeline, config: AcceleratorConfig | None = None) -> None:
        self.pipeline = pipeline
        self.config = config or load_accelerator("paper")
        self.platform: PlatformConfig = load_platform("paper")
        stages = pipeline.stages
        held = {
            lane: {
                stage.network.name: _shape(stage.network, self.config.lane(lane))
                for stage in stages
                if lane in stage.lanes
            }
            for lane in sorted({lane for stage in stages for lane in stage.lanes})
        }
        self.machine = Machine(
            config=self.config,
            memory=self.platform.accelerator.memory,
            lanes=held,
            row_hits=pipeline.row_hits,
        )
        largest = max((stage.network for stage in stages), key=lambda n: n.record_bytes("item"))
        self.records = padded_records(
            largest.record_bytes("user"), largest.record_bytes("item"), self.config.beat_bytes
        )
        self.stages = tuple(self._stage(number) for number in range(len(stages)))

    def _stage(self, number: int) -> StageLoad:
        stage, *later = self.pipeline.stages[number:]
        keep = later[0].items if later else 0
        tasks = StageTasks(task_items=stage.task_items)
        if later and stage.task_items:
            mode = StageMode.PROPORTIONAL
            tasks = StageTasks.shared(stage.task_items, keep, stage.items, mode)
        return StageLoad(
            model=stage.network.name,
            k=keep,
            tasks=tasks,
            lanes=stage.lanes,
            sub_batch=stage.sub_batch,
        )

    def loads(self, arrivals: Sequence[int]) -> list[QueryLoad]:
        """Return what the machine is asked by queries that it gets at `arrivals` [cycles]."""
        return [
            QueryLoad(
                arrival=int(arrival),
                items=self.pipeline.stages[0].items,
                stages=self.stages,
                records=self.records,
                top_n=self.pipeline.served,
            )
            for arrival in arrivals
        ]

    @property
    def link_s(self) -> float:
        """Time of the link that a query takes on its way in [s]."""
        first = self.pipeline.stages[0].items
        return first * self.pipeline.item_bytes / self.platform.link.bytes_per_s

    @property
    def last_s(self) -> float:
        """Time from the machine's answer to the host's [s]."""
        return self.platform.link.seconds(self.pipeline.served * RESULT.bytes)


def lanes_of_shape(config: AcceleratorConfig, shape: tuple[int, int]) -> tuple[int, ...]:
    """Return the lanes of so many blocks down and across."""
    return tuple(lane for lane in range(config.lanes) if config.lane_shape(lane) == shape)


def whole_array(
    network: NetworkShape = RM_LARGE,
    items: int = CANDIDATES,
    *,
    hits: Mapping[str, float],
    item_bytes: int = 4 * FEATURES,
) -> Pipeline:
    """Return one stage on the whole array, served from the card: one-stage RPAccel, baseline B."""
    return Pipeline(
        name="one stage",
        stages=(PipelineStage(network=network, items=items, lanes=(0,)),),
        row_hits=hits,
        item_bytes=item_bytes,
    )


def split(
    config: AcceleratorConfig,
    *,
    hits: Mapping[str, float],
    candidates: int = CANDIDATES,
    kept: int = KEPT,
    back_blocks: bool = False,
) -> Pipeline:
    """Return two stages of Criteo on lanes of their own: 8 + 2, or 8 + 8 with `back_blocks`."""
    if back_blocks:
        ones = lanes_of_shape(config, (1, 1))
        if len(ones) < 16:
            raise ValueError(f"config must have 16 lanes of one block for 8 + 8, not {len(ones)}")
        front, back = ones[:8], ones[8:16]
    else:
        owners = split_8_2(config)
        front, back = (
            tuple(lane for lane in owners if lane in lanes_of_shape(config, shape))
            for shape in ((1, 1), (2, 2))
        )
    return _two_stages(
        "two stages, 8 + 8" if back_blocks else "two stages, 8 + 2",
        ((RM_SMALL, candidates, front), (RM_LARGE, kept, back)),
        config,
        hits,
    )


def _two_stages(
    name: str,
    stages: Sequence[tuple[NetworkShape, int, tuple[int, ...]]],
    config: AcceleratorConfig,
    hits: Mapping[str, float],
) -> Pipeline:
    """Return a pipeline in SPLIT_TASKS and SPLIT_SUB_BATCH, or in what a lane holds.

    stages : network, items, lanes.
    """
    return Pipeline(
        name=name,
        stages=tuple(
            PipelineStage(
                network=network,
                items=items,
                lanes=lanes,
                task_items=min(task_items, items),
                sub_batch=min(
                    SPLIT_SUB_BATCH, _shape(network, config.lane(lanes[0])).slot["sub_batch"]
                ),
            )
            for (network, items, lanes), task_items in zip(stages, SPLIT_TASKS, strict=True)
        ),
        row_hits=hits,
    )


def provisioned(name: str, *, hits: Mapping[str, float]) -> PipelineSetup:
    """Return two stages of Criteo on `paper` in blocks of FINE_BLOCK. name : of PROVISIONED.

    Raises ValueError for another name.
    """
    if name not in PROVISIONED:
        raise ValueError(f"name must be one of {', '.join(PROVISIONED)}, not {name!r}")
    lanes = PROVISIONED[name].lanes
    config = AcceleratorConfig.model_validate(
        load_accelerator("paper").model_dump()
        | {
            "name": f"paper {name}",
            "block_size": FINE_BLOCK,
            "lanes": len(lanes),
            "lane_blocks": lanes,
        }
    )
    first = PROVISIONED[name].front[0]
    front, back = tuple(range(first)), tuple(range(first, len(lanes)))
    stages = ((RM_SMALL, CANDIDATES, front), (RM_LARGE, KEPT, back))
    return PipelineSetup(_two_stages(f"two stages, {name}", stages, config, hits), config)


def quarters(
    config: AcceleratorConfig,
    stages: Sequence[tuple[NetworkShape, int]],
    *,
    hits: Mapping[str, float],
    item_bytes: int = 4 * FEATURES,
    served: int = SERVED,
) -> Pipeline:
    """Return stages that share four quarters of the array, in tasks."""
    lanes = lanes_of_shape(config, (2, 2))[:4]
    sizes = [WHOLE_TASKS[0], *[WHOLE_TASKS[1]] * (len(stages) - 1)]
    return Pipeline(
        name=f"{len(stages)} stages, quarters",
        stages=tuple(
            PipelineStage(network=network, items=items, lanes=lanes, task_items=min(size, items))
            for (network, items), size in zip(stages, sizes, strict=True)
        ),
        row_hits=hits,
        item_bytes=item_bytes,
        served=served,
    )


def config_8_8() -> AcceleratorConfig:
    """Return `paper` with sixteen lanes of one block instead of eight."""
    base = load_accelerator("paper")
    blocks = (*base.lane_blocks, *[1] * 8)
    return AcceleratorConfig.model_validate(
        base.model_dump() | {"name": "paper_8_8", "lanes": len(blocks), "lane_blocks": blocks}
    )


def neumf(name: str, mf_dim: int, mlp: Sequence[int]) -> NetworkShape:
    """Return a NeuMF ranker as our machine can run it; its time is meant, not its answers.

    mlp : widths, inputs first; user's and item's MLP vectors are half of the inputs each. Vectors
    are cut into rows of one width of at most MOST_DIM. All are concatenated in front of the first
    layer (NeuMF multiplies the MF vectors and joins them at the end), behind a dense layer, which
    our programs begin with: a little more work than NeuMF has.
    """
    if len(mlp) < 2 or mlp[0] % 2 or mf_dim < 1:
        raise ValueError(f"mlp must be an even width and more, mf_dim above 0, not {mlp}, {mf_dim}")
    half = mlp[0] // 2
    parts = -(-half // MOST_DIM)
    dim = -(-half // parts)
    rows = parts + -(-mf_dim // dim)
    return NetworkShape(
        name=name,
        dim=dim,
        user_dense=0,
        item_dense=4,
        user_features=(ONE,) * rows,
        item_features=(ONE,) * rows,
        bottom=(dim,),
        top=tuple(mlp[1:]),
        interaction=Interaction.CONCAT,
    )


def neumf_macs(mf_dim: int, mlp: Sequence[int]) -> int:
    """Return NeuMF's own MACs per item: its MLP, the product, the last layer."""
    hidden = sum(k * n for k, n in pairwise(mlp))
    return hidden + mf_dim + mf_dim + mlp[-1]
