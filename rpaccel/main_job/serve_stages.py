"""The stages of a pipeline that serves, from a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.shapes import NetworkShape
from rpaccel.scheduler.workers import CpuStage
from rpaccel.spec.deeprec import load_deeprec

__all__ = ["Stages", "parse_stages"]

NETWORKS = {network.name: network for network in (RM_SMALL, RM_LARGE)}


@dataclass(frozen=True, kw_only=True)
class Stages:
    """A pipeline: CPU stages, and one on the accelerator behind or in front of them, or none.

    lane : its network and what it keeps.
    """

    cpu: tuple[CpuStage, ...]
    lane: tuple[NetworkShape, int] | None = None
    lane_first: bool = False

    def to_workers(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the items that samples of these sizes bring to the workers."""
        if self.lane is None or not self.lane_first:
            return tuple(sizes)
        return tuple(min(size, self.lane[1]) for size in sizes)

    def to_lanes(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the items that samples of these sizes bring to the lanes."""
        if self.lane_first:
            return tuple(sizes)
        return tuple(min(size, self.cpu[-1].keep) for size in sizes)


def parse_stages(text: str) -> Stages:
    """Return the stages of a text.

    Raises ValueError for a stage that is not MODEL[@cpu|@accelerator]:KEEP, or an order that
    cannot be.
    """
    cpu: list[CpuStage] = []
    lane: tuple[NetworkShape, int] | None = None
    parts = text.split(",")
    for place, part in enumerate(parts):
        name, _, keep = part.partition(":")
        model, _, device = name.partition("@")
        if not keep.isdigit() or device not in {"", "cpu", "accelerator"}:
            raise ValueError(f"a stage must be MODEL[@cpu|@accelerator]:KEEP, not {part!r}")
        if device != "accelerator":
            cpu.append(CpuStage(model=load_deeprec(model).name, keep=int(keep)))
            continue
        if model not in NETWORKS:
            raise ValueError(
                f"models of the accelerator must be one of {', '.join(NETWORKS)}, not {model!r}"
            )
        if lane is not None or place not in {0, len(parts) - 1}:
            raise ValueError(f"the accelerator must be the first or the last stage, not {text!r}")
        lane = (NETWORKS[model], int(keep))
    if not cpu:
        raise ValueError(f"a stage must be on the CPU, not {text!r}")
    first = lane is not None and parts[0].partition(":")[0].endswith("@accelerator")
    return Stages(cpu=tuple(cpu), lane=lane, lane_first=first)
