"""Queries whose records are known: equal to the netlist, cycle for cycle."""

import numpy as np
import pytest

from rpaccel.main_job.validation import MACHINES, UNITS, errors, validate_machine
from rpaccel.perfmodel.gather_traces import (
    GatherStage,
    TracedFeature,
    TracedRecords,
    rows_named,
)
from rpaccel.perfmodel.row_banks import constant_memory
from rpaccel.perfmodel.sequencer import LONG_AGO, score_room
from rpaccel.perfmodel.traced_gather import TracedGather
from rpaccel.perfmodel.traced_query import TracedLane
from rpaccel.spec.accelerator import load_accelerator
from tests.streams import slow_but

TINY = load_accelerator("tiny")
FAR = 1 << 40


def check(points, least):
    assert sum(point.unit == "query" for point in points) == least
    wrong = [point for point in points if point.records != point.measured]
    assert wrong == []
    for unit in UNITS:
        assert len(errors(points, "records", unit)) >= least, unit


def test_random_queries_on_the_netlist():
    points = list(validate_machine("tiny", 12, 3))
    check(points, 12)
    assert {point.stage for point in points} >= {0, 1}


@pytest.mark.parametrize(
    "name", slow_but([], ["two ports", "four gather ports"], nightly=["two ports"])
)
def test_random_queries_on_other_netlists(name):
    check(list(validate_machine(name, 30, 2)), 30)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_many_random_queries(name):
    check(list(validate_machine(name, 200, 7)), 200)


def records(words, dense_beats=1, features=()):
    table = np.asarray(words, np.uint32)
    return TracedRecords(
        words=table,
        addresses=np.arange(len(table), dtype=np.int64) * table.shape[1] * 4,
        dense_beats=dense_beats,
        features=features,
    )


def test_rows_that_a_stage_names():
    """User first, then items in order; a list names as many as its word says."""
    one = TracedFeature(word=0, rows=16, address=0x1000)
    several = TracedFeature(word=1, rows=16, address=0x2000, multi_hot=True, max_ids=3)
    stage = GatherStage(
        user=records([[7]], features=(one,)),
        items=records([[5, 2, 8, 9, 4], [6, 0, 1, 1, 1]], features=(one, several)),
        row_bytes=16, sub_batch=4, banks=2, list_address=None,
    )  # fmt: skip
    expected = [0x1070, 0x1050, 0x2080, 0x2090, 0x1060]
    assert rows_named(stage).tolist() == expected


def ends(items, features=(), *, sub_batch=4, banks=2, latency=20, listed=True, repeat=1):
    """Return the cycles, from the start on, in which sub-batches end; their banks are free."""
    gather = TracedGather(TINY, TINY, constant_memory(TINY, latency))
    found, now = [], 100
    for _ in range(repeat):
        gather.start(
            GatherStage(
                user=records([[0] * 16]),
                items=records(items, features=features),
                row_bytes=8,
                sub_batch=sub_batch,
                banks=banks,
                list_address=4096 if listed else None,
            ),
            now,
        )
        found = []
        for _ in range(-(-len(items) // sub_batch)):
            end = gather.next_end(FAR)
            assert end is not None
            gather.release(end + 1)
            found.append(end - now)
        now += 10_000
    return found


def test_a_stage_without_rows_by_hand():
    """One item, a dense beat, no features: the list, the item's record, and the way through."""
    fabric = 2 + 20 + 1 + 2  # region check, memory, answer, order
    listed = 1 + fabric + 2  # asked in cycle 1; the queue of ids
    whole = listed + 1 + fabric + 7 + 1  # buffer; 8 beats; the last one completes the record
    # the walker takes it, a dense beat, the end; resolver, queue of tickets, pooler
    assert ends([[0] * 16]) == [whole + 2 + 2 + 2 + 5]


def test_nothing_depends_on_the_number_of_calls():
    features = (TracedFeature(word=2, rows=64, address=1 << 14),)
    rng = np.random.default_rng(1)
    items = rng.integers(0, 64, (30, 16))
    whole = ends(items, features)
    gather = TracedGather(TINY, TINY, constant_memory(TINY, 20))
    gather.start(
        GatherStage(
            user=records([[0] * 16]), items=records(items, features=features), row_bytes=8,
            sub_batch=4, banks=2, list_address=4096,
        ),
        100,
    )  # fmt: skip
    found, until = [], 100
    while len(found) < len(whole):
        until += int(rng.integers(1, 9))
        end = gather.next_end(until)
        if end is not None:
            found.append(end - 100)
            gather.release(max(end + 1, until))
    assert found[:2] == whole[:2]
    assert len(found) == len(whole)


def test_rows_that_were_read_before_are_found():
    features = (TracedFeature(word=2, rows=64, address=1 << 14),)
    items = [[0, 0, 5, *[0] * 13]] * 8
    first, second = ends(items, features), ends(items, features, repeat=2)
    assert second[0] < first[0]
    far, near = ends(items, features, latency=200), ends(items, features, latency=10)
    assert far[-1] > near[-1]


def test_lists_bad_ids_and_empty_lists():
    """A count above max_ids counts 0, an id outside the table reads nothing."""
    listed = (TracedFeature(word=2, rows=8, address=1 << 14, multi_hot=True, max_ids=3),)
    empty = ends([[0] * 16] * 4, listed)
    too_many = ends([[0, 0, 4, 1, 1, 1, *[0] * 10]] * 4, listed)
    outside = ends([[0, 0, 1, 99, *[0] * 12]] * 4, listed)
    assert empty == too_many == outside
    assert ends([[0, 0, 3, 1, 2, 3, *[0] * 10]] * 4, listed)[0] > empty[0]


def test_scores_wait_for_room():
    assert score_room(16, 2, [(16, 980)]) == 980 + 6 - 14
    assert score_room(16, 16, [(16, 980)]) == 986
    assert score_room(32, 16, [(16, 980)]) == LONG_AGO
    assert score_room(20, 16, [(2, 990), (16, 980)]) == 980 + 6 - 2


def test_rejects_too_many_stages():
    lane = TracedLane(TINY, constant_memory(TINY, 20))
    with pytest.raises(ValueError, match=r"^stages must be in 1\.\.\d, not 0"):
        lane.query([])
