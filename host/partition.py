"""Which lane owns which blocks of the array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.rectangle import Rectangle
from rpaccel.spec.registers import partition_word

__all__ = [
    "Partition",
    "Rectangle",
    "check_partition",
    "packed",
    "partition_words",
    "split_8_2",
    "whole",
]

Partition = Mapping[int, Rectangle]  # lane -> its blocks; lanes left out own nothing


def check_partition(partition: Partition, config: AcceleratorConfig) -> None:
    """Raise ValueError that names the lane and the rule, unless `config` can be split so.

    A lane's controller is made for one rectangle (`lane_blocks`): it owns such a one, or nothing.
    """
    owner: dict[tuple[int, int], int] = {}
    for lane, rectangle in sorted(partition.items()):
        if not 0 <= lane < config.lanes:
            raise ValueError(f"lane must be in 0..{config.lanes - 1}, not {lane}")
        rows, cols = config.lane_shape(lane)
        if (rectangle.rows, rectangle.cols) != (rows, cols):
            raise ValueError(
                f"lane {lane} must own {rows} x {cols} blocks, "
                f"not {rectangle.rows} x {rectangle.cols}"
            )
        for cell in sorted(rectangle.tiles):
            if not all(0 <= place < config.blocks for place in cell):
                raise ValueError(
                    f"blocks of lane {lane} must be in 0..{config.blocks - 1}, not {cell}"
                )
            if cell in owner:
                raise ValueError(
                    f"block {cell} must have one owner, not lanes {owner[cell]} and {lane}"
                )
            owner[cell] = lane


def partition_words(partition: Partition, config: AcceleratorConfig) -> list[int]:
    """Return the PARTITION register of every lane."""
    nothing = Rectangle(row=0, col=0, rows=0, cols=0)
    taken = (partition.get(lane, nothing) for lane in range(config.lanes))
    return [partition_word(r.row, r.col, r.rows, r.cols) for r in taken]


def whole(config: AcceleratorConfig) -> dict[int, Rectangle]:
    """Return the partition at reset: lane 0 owns the whole array."""
    return {0: Rectangle.square(0, 0, config.blocks)}


def packed(config: AcceleratorConfig, lanes: Sequence[int]) -> dict[int, Rectangle]:
    """Return a partition of these lanes: the largest first, row by row, where each first fits.

    Raises ValueError if a lane is given twice, or the array has no room for one.
    """
    if len(set(lanes)) < len(lanes):
        raise ValueError(f"lanes must be given once, not {list(lanes)}")
    free = Rectangle(row=0, col=0, rows=config.block_rows, cols=config.block_cols).tiles
    found: dict[int, Rectangle] = {}
    for lane in sorted(
        lanes, key=lambda n: (-config.lane_shape(n)[0] * config.lane_shape(n)[1], n)
    ):
        rows, cols = config.lane_shape(lane)
        places = (Rectangle(row=r, col=c, rows=rows, cols=cols) for r, c in sorted(free))
        place = next((one for one in places if one.tiles <= free), None)
        if place is None:
            raise ValueError(
                f"lanes must fit into {config.block_rows} x {config.block_cols} blocks, "
                f"not {list(lanes)}: no room for lane {lane} of {rows} x {cols}"
            )
        found[lane], free = place, free - place.tiles
    check_partition(found, config)
    return found


def split_8_2(config: AcceleratorConfig) -> dict[int, Rectangle]:
    """Return the paper's 8 + 2: eight lanes of one block above, two of 2 x 2 blocks below.

    For a grid of 4 x 4 blocks. Ref: RecPipe (MICRO 2021), figure 12, RPAccel_{8,2}.
    Raises ValueError if `config` has no such lanes.
    """
    if config.blocks != 4:
        raise ValueError(f"blocks must be 4 per side for 8 + 2, not {config.blocks}")
    ones = [lane for lane in range(config.lanes) if config.lane_shape(lane) == (1, 1)]
    twos = [lane for lane in range(config.lanes) if config.lane_shape(lane) == (2, 2)]
    if len(ones) < 8 or len(twos) < 2:
        raise ValueError(
            f"lane_blocks must have eight 1s and two 2s, not {list(config.lane_blocks)}"
        )
    places = [(r, c) for r in range(2) for c in range(4)]
    split = {lane: Rectangle.square(r, c, 1) for lane, (r, c) in zip(ones[:8], places, strict=True)}
    return split | {lane: Rectangle.square(2, 2 * n, 2) for n, lane in enumerate(twos[:2])}
