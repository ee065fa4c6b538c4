"""Bounds of the gather that the other units hide in most machines, in closed form."""

import pytest

from rpaccel.perfmodel.costs import GatherMachine, gather_cost
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.shapes import FeatureShape, ModelShape

BEAT, LIST = 8, FeatureShape(multi_hot=True, max_ids=40, ids=40)


def cost(beats, banks, row_hits=1.0):
    shape = ModelShape(
        name="lists",
        slot={"row_bytes": beats * BEAT, "user_dense_words": 1, "item_dense_words": 1},
        program=(),
        user_features=(LIST, LIST),
        item_features=(LIST,),
    )
    machine = GatherMachine(
        array_size=8, ports=1, beat_bytes=BEAT, reads_in_flight=64, ring_bytes=4096, banks=banks,
        row_groups=64, lookup_cycles=0, latency_cycles=1, row_hits=row_hits,
    )  # fmt: skip
    return gather_cost(machine, shape, RecordSizes(user_bytes=352, item_bytes=176), 64, first=True)


@pytest.mark.parametrize("row_hits", [0.5, 1.0])
@pytest.mark.parametrize("beats", [2, 4])
def test_a_row_of_several_beats_passes_a_beat_a_cycle(beats, row_hits):
    """However many banks look, and however many of the rows hit."""
    found = cost(beats, banks=16, row_hits=row_hits)
    assert found.user == 2 * 40 * beats
    assert found.share == 40 * beats


def test_rows_of_one_beat_are_as_fast_as_the_walker():
    assert cost(1, banks=16).user == 2 + 1 + 2 * (1 + 40)  # record, dense beat, lists
