"""Addresses on their way through the array."""

import pytest

from rpaccel.rtl.tokens import address_bits
from rpaccel.spec.accelerator import load_accelerator, preset_names
from tests.host.split_machine import NARROW


@pytest.mark.parametrize(
    "config", [*map(load_accelerator, preset_names()), NARROW], ids=lambda config: config.name
)
def test_the_array_carries_the_addresses_of_all_its_lanes(config):
    lanes = [config.lane(number) for number in range(config.lanes)]
    assert address_bits(config) == max(map(address_bits, lanes))
    for lane in lanes:
        last = 2 * lane.engine_bottom_words * lane.engines - 1  # of BOTTOM, in bank 1
        assert last < 1 << address_bits(config)


def test_words_of_a_narrow_lane_are_more_than_the_whole_arrays():
    whole = NARROW.model_copy(update={"lanes": 1, "lane_blocks": ()})
    assert address_bits(whole) < address_bits(NARROW) == address_bits(NARROW.lane(0))
