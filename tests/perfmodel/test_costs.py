"""Bounds of the gather that the other units hide in most machines, and what it waits for."""

import numpy as np
import pytest

from rpaccel.perfmodel.costs import (
    GatherMachine,
    Service,
    gather_cost,
    group_service,
    look_service,
    queued,
    window_cycles,
)
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.row_banks import AskedRows, constant_memory, predict_rows
from rpaccel.perfmodel.shapes import FeatureShape, ModelShape
from rpaccel.spec.accelerator import load_accelerator

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
        row_groups=64, lookup_cycles=0, latency_cycles=1, row_hits=row_hits, memory_ports=banks,
    )  # fmt: skip
    return gather_cost(machine, shape, RecordSizes(user_bytes=352, item_bytes=176), 64, first=True)


@pytest.mark.parametrize("row_hits", [0.5, 1.0])
@pytest.mark.parametrize("beats", [2, 4])
def test_a_row_of_several_beats_passes_a_beat_a_cycle(beats, row_hits):
    """However many banks look, and however many of the rows hit."""
    found = cost(beats, banks=1 << 30, row_hits=row_hits)
    assert found.user == 2 * 40 * beats
    assert found.share == pytest.approx(40 * beats)
    assert cost(beats, banks=16, row_hits=row_hits).share > 40 * beats


def test_rows_of_one_beat_are_as_fast_as_the_walker():
    assert cost(1, banks=16).user == 2 + 1 + 2 * (1 + 40)  # record, dense beat, lists


def walked(window, misses, trip, walk, rows=40_000):
    """Return the cycles per row of rows that miss at random: one enters `walk` after the other."""
    missed = np.random.default_rng(1).random(rows) < misses
    left, entered, last = np.zeros(rows), 0.0, 0.0
    for row in range(rows):
        entered = max(entered + walk, left[row - window] if row >= window else 0.0)
        last = left[row] = max(last, entered + trip * missed[row])
    return last / rows


@pytest.mark.parametrize("misses", [0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("walk", [0.1, 2.0])
def test_rows_in_order_go_on_with_the_last_miss(misses, walk):
    said = window_cycles(32, misses, 200.0, walk)
    assert said == pytest.approx(walked(32, misses, 200.0, walk), rel=0.04)


def test_a_stream_waits_for_what_is_busy():
    """cycles = free + wait * work / (cycles - work)"""
    for free, work, wait in ((10.0, 4.0, 1.0), (10.0, 10.0, 2.0), (4.0, 30.0, 0.5)):
        cycles = queued(free, work, wait)
        assert cycles == pytest.approx(free + wait * work / (cycles - work))
        assert cycles > max(free, work)
    assert queued(10.0, 4.0, 0.0) == 10.0 and queued(4.0, 10.0, 0.0) == 10.0
    assert queued(10.0, 10.0, 2.0) == pytest.approx(10 + np.sqrt(2 * 10))


def test_a_read_does_not_wait_for_itself():
    """One read on its way finds nobody, many find all the others."""
    for free, work in ((10.0, 4.0), (4.0, 10.0)):
        assert queued(free, work, 1.0, others=0) == max(free, work)
        some = [queued(free, work, 1.0, others=1 - 1 / window) for window in (1, 2, 4, 1000)]
        assert some == sorted(some) and some[0] < some[-1]
        assert some[-1] == pytest.approx(queued(free, work, 1.0), rel=1e-3)


def test_what_is_left_of_a_service_when_another_row_comes():
    assert Service(hit=4, miss=4).left(0.5) == 2
    # Of 1 and 9 cycles, as often: 9 of 10 come while the long one goes on.
    assert Service(hit=1, miss=9).mean(0.5) == 5
    assert Service(hit=1, miss=9).left(0.5) == pytest.approx(0.9 * 4.5 + 0.1 * 0.5)


@pytest.mark.parametrize("beats", [1, 2, 4])
@pytest.mark.parametrize("hits", [True, False])
def test_a_group_of_reads_is_taken_as_long_as_in_the_banks(beats, hits):
    """One bank with one group: a row after the other, of one line or of many."""
    config = load_accelerator("edge").model_copy(
        update={"row_banks": 1, "row_reads": 4, "row_cache_sets": 4, "row_cache_ways": 1,
                "static_cache_lines": 0, "stripe_bytes": 1 << 20}
    )  # fmt: skip
    assert config.row_beats_max == config.row_reads
    for latency in (50, 300):
        ends = []
        for rows in (100, 300):
            first = np.arange(rows) * (0 if hits else 4 * config.beat_bytes)
            asked = [AskedRows(first, beats)]
            ends.append(predict_rows(config, asked, constant_memory(config, latency)).cycles)
        service = group_service(GatherMachine.of(config, latency), beats)
        assert (ends[1] - ends[0]) / 200 == (service.hit if hits else service.miss)
        assert look_service(beats).mean(1.0) < service.hit < service.miss
