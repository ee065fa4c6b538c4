"""The accelerator as a stage that serves: equal lanes of one legal partition, and their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rpaccel.host.partition import Partition, packed
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.memory import padded_records
from rpaccel.perfmodel.shapes import NetworkShape, compile_shape
from rpaccel.scheduler.recpipe_card import lanes_of_split
from rpaccel.scheduler.serving import LaneStage
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import PlatformConfig
from rpaccel.spec.sweep import LaneSplit

__all__ = ["LaneMachine"]

FULL = 4  # queries of each lane, of the shorter of the loads that fill a machine


@dataclass(frozen=True, kw_only=True)
class LaneMachine:
    """A machine split into equal lanes that all hold one ranker.

    split : "4*2x2", lanes and blocks of each down and across. keep : length of the served list.
    Raises ValueError for a split or a list that the machine does not have.
    """

    config: AcceleratorConfig
    platform: PlatformConfig
    network: NetworkShape
    split: str
    keep: int

    def __post_init__(self) -> None:
        if LaneSplit.model_validate(self.split).back is not None:
            raise ValueError(f"split must be of equal lanes, N*RxC, not {self.split!r}")
        if not 1 <= self.keep <= self.config.max_top_n:
            raise ValueError(
                f"keep must be in 1..{self.config.max_top_n} on the accelerator, not {self.keep}"
            )
        _ = self.partition

    @cached_property
    def lanes(self) -> tuple[int, ...]:
        """Numbers of the lanes."""
        return lanes_of_split(self.config, LaneSplit.model_validate(self.split))[0]

    @cached_property
    def partition(self) -> Partition:
        """The blocks of each lane: none has two owners."""
        return packed(self.config, self.lanes)

    @cached_property
    def _machine(self) -> Machine:
        shape = compile_shape(self.network, self.config.lane(self.lanes[0]))
        return Machine(
            config=self.config,
            memory=self.platform.accelerator.memory,
            lanes={lane: {self.network.name: shape} for lane in self.lanes},
        )

    def _cycles(self, items: int, queries: int) -> int:
        load = QueryLoad(
            arrival=0,
            items=items,
            stages=(StageLoad(model=self.network.name),),
            records=padded_records(
                self.network.record_bytes("user"),
                self.network.record_bytes("item"),
                self.config.beat_bytes,
            ),
            top_n=min(self.keep, items),
        )
        return simulate(self._machine, [load] * queries).cycles

    def hold_s(self, items: int) -> float:
        """Return how long a lane holds a query [s]: alone, or its share of the full machine.

        The longer of both, so that all lanes together take no more queries than the machine: of
        two loads that fill it, one twice the other, the difference.
        """
        lanes = len(self.lanes)
        short, long = (self._cycles(items, count * lanes) for count in (FULL, 2 * FULL))
        full = (long - short) / FULL
        return self.platform.accelerator.seconds(max(self._cycles(items, 1), full))

    def stage(self, items: Sequence[int], *, first: bool = False) -> LaneStage:
        """Return the stage for samples that bring so many items each; its link : there and back.

        Raises ValueError for a sample of more items than the machine takes.
        """
        if max(items) > self.config.max_items:
            raise ValueError(
                f"items must be at most {self.config.max_items} on the accelerator, "
                f"not {max(items)}"
            )
        link = self.platform.link
        hold = {count: self.hold_s(count) for count in sorted(set(items))}
        item_bytes = self.network.record_bytes("item")
        back = [link.seconds(min(self.keep, count) * RESULT.bytes) for count in items]
        return LaneStage(
            name=f"{self.network.name} on {self.config.name}, {self.split}",
            lanes=len(self.lanes),
            items=tuple(items),
            service_s=tuple(hold[count] for count in items),
            link_s=tuple(
                link.seconds(count * item_bytes) + end
                for count, end in zip(items, back, strict=True)
            ),
            first=first,
        )
