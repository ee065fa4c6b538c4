"""Bytes of on-chip memory of a machine: what its sizes ask for, without tags and queues."""

from __future__ import annotations

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import PARAM

__all__ = ["sram_bytes"]

BANKS = 2  # of dense words, item vectors and interaction outputs; and two activation memories


def sram_bytes(config: AcceleratorConfig) -> int:
    """Return the bytes of all lanes' memories and of the caches of the row banks.

    Lanes have memories of their own: one that shares no blocks with another costs no more than its
    part of the whole array. Both hold what spec.accelerator says of the fields.
    """
    caches = config.static_cache_lines + config.row_cache_sets * config.row_cache_ways
    lanes = (config.lane(number) for number in range(config.lanes))
    return config.banks * caches * config.beat_bytes + sum(map(_lane_bytes, lanes))


def _lane_bytes(lane: AcceleratorConfig) -> int:
    words = BANKS * (lane.dense_words + lane.feature_words + lane.act_words + lane.cross_words)
    weights = lane.tile_weight_rows * lane.block_size * lane.block_rows * lane.block_cols
    params = lane.tile_params * lane.block_rows * lane.block_cols * PARAM.bytes
    return weights + params + (words + lane.user_words) * lane.array_size
