"""What travels with the data: control of a tile, from the lane and from tile to tile.

A lane gives every block row of its rectangle a TileInput per cycle. The first tile of a block row
takes it from the lane; each tile hands it to its right neighbour `block_size` cycles later, in
step with the activations. Block row i of a group of h block rows lags i * block_size cycles, in
step with the sums. So a tile never knows where it is.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = [
    "TOKEN_FLAGS",
    "address_bits",
    "tile_input_layout",
    "tile_load_layout",
    "tile_output_layout",
]

TOKEN_FLAGS = 3  # row, load, fetch


def address_bits(config: AcceleratorConfig) -> int:
    """Return the bits of a word address in any vector memory of any of the machine's lanes.

    Words of a narrow lane are shorter than the whole array's, and so more.
    """
    return max(_address_bits(config.lane(number)) for number in range(config.lanes))


def _address_bits(lane: AcceleratorConfig) -> int:
    words = max(
        2 * lane.dense_words + 2 * lane.user_words,
        lane.act_words,
        2 * lane.engine_cross_words * lane.engines,
        2 * lane.engine_bottom_words * lane.engines,
    )
    return (words - 1).bit_length()


def tile_input_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One cycle of a block row.

    row : activations are valid. first : the first row of a weight tile (the loaded one becomes
    active). cut : sums start from zero here instead of coming from above. tap : sums end here.
    first_k, last_k : K fold of the tile; after the last one the row is requantised and leaves.
    relu, destination, address : of the result (spec.isa.Destination; word address).
    load, weight_address : read that row of the weight bank and shift it into the next tile's
    weights; block_size of them make a tile, last row first.
    fetch, param_address : read those parameters; block_size of them make an N fold, channel 0
    first.
    data : int8[block_size], row n of the block in byte n; not skewed.

    The first `TOKEN_FLAGS` bits say what the others are for; reset clears them alone.
    """
    return data.StructLayout(
        {
            "row": unsigned(1),
            "load": unsigned(1),
            "fetch": unsigned(1),
            "first": unsigned(1),
            "cut": unsigned(1),
            "tap": unsigned(1),
            "first_k": unsigned(1),
            "last_k": unsigned(1),
            "relu": unsigned(1),
            "destination": unsigned(2),
            "address": unsigned(address_bits(config)),
            "weight_address": range(config.tile_weight_rows),
            "param_address": range(config.tile_params),
            "data": unsigned(8 * config.block_size),
        }
    )


def tile_output_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One row that leaves a tile: destination (SCORE: `logit` of channel 0), address, int8 data."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "destination": unsigned(2),
            "address": unsigned(address_bits(config)),
            "data": unsigned(8 * config.block_size),
            "logit": signed(16),
        }
    )


def tile_load_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A write into a tile's banks: a row of weights, or one channel's parameters (PARAM)."""
    return data.StructLayout(
        {
            "weight": unsigned(1),
            "param": unsigned(1),
            "address": range(max(config.tile_weight_rows, config.tile_params)),
            "data": unsigned(max(8 * config.block_size, 64)),
        }
    )
