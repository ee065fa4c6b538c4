"""The compiled task beside the event model's core, scores that wait for room included."""

import numpy as np
import pytest

from rpaccel.perfmodel.core_kernels import work_row
from rpaccel.perfmodel.lane_core import sub_batch_work, sub_batch_works
from rpaccel.perfmodel.layer_engine import (
    LONG_AGO,
    LayerShape,
    dependency_cycles,
    skew_cycles,
)
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.task_kernels import (
    BEGIN,
    END,
    END_AFTER,
    END_TURN,
    GATHERED,
    HANDED,
    LATE,
    LATE_DATA,
    LATE_END,
    PARTS,
    PARTS_HELD,
    TAKEN_AFTER,
    TAKEN_TURN,
    TASK_FIELDS,
    after_data,
    lane_tasks,
)
from rpaccel.perfmodel.task_profile import TaskProfile
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Interaction
from tests.perfmodel.profile_bench import run_profile

TINY = load_accelerator("tiny")
ROOMY = TINY.model_copy(update={"sub_batch_max": 64})


def program(k_folds, layers, kind):
    """Return a ranker with so many layers in its top chain."""
    first = LayerShape(k_folds=k_folds, n_steps=1, stack=0, reads_act=False)
    later = LayerShape(k_folds=1, n_steps=1, stack=0, reads_act=True)
    return ProgramShape(
        bottom=(first,), top=(first, *[later] * (layers - 1)), kind=kind, user_vectors=1,
        item_vectors=1, row_bytes=8,
    )  # fmt: skip


def task_row(config, work, full, rest, banks, walk=1):
    """Return the row of a task of full sub-batches and a rest, an item's data every `walk`."""
    sizes = [config.sub_batch_max, rest]
    works = np.array([work_row(w) for w in sub_batch_works(config, work, np.array(sizes))])
    rules = [config.block_size, skew_cycles(config), config.sub_batch_max,
             dependency_cycles(config)]  # fmt: skip
    out = np.zeros((1, TASK_FIELDS), np.int64)
    gather = np.array([[10.0, 5.0, walk, walk, 0.0, 1.0, 0.0]])
    lane_tasks(works, np.array([[full, 0, 1, banks, full, 0, 1]]), gather, np.array(rules), out)
    return out[0]


@pytest.mark.parametrize("kind", Interaction)
@pytest.mark.parametrize("layers, banks", [(1, 2), (2, 2), (2, 4), (3, 4)])
def test_a_short_last_sub_batch_waits_for_room_as_in_the_core(kind, layers, banks):
    late = 0
    for k_folds in (1, 3):
        for rest in (1, 2, 5, 15, 16):
            work = program(k_folds, layers, kind)
            full = 3
            sizes = [TINY.sub_batch_max] * full + [rest]
            times = core_times(TINY, work, sizes, sizes, 10, 5, banks)
            end = task_row(TINY, work, full, rest, banks)[END]
            assert end == times.logit[-1, 0], (k_folds, rest)
            late += bool(
                times.logit[-1, 0]
                > core_times(ROOMY, work, sizes, sizes, 10, 5, banks).logit[-1, 0]
            )
    # In a longer chain there is room before the last layer has what it reads.
    assert bool(late) is (layers == 1)


@pytest.mark.parametrize("k_folds, walk", [(1, 8), (3, 8), (3, 12)])
def test_gathers_wait_for_a_bank_as_in_the_core(k_folds, walk):
    work = program(k_folds, 2, Interaction.DOT)
    sizes = [TINY.sub_batch_max] * 6 + [5]
    ends = {}
    for banks in (2, 4):
        times = core_times(TINY, work, sizes, [walk * size for size in sizes], 10, 5, banks)
        ends[banks] = task_row(TINY, work, 6, 5, banks, walk)[END]
        assert ends[banks] == times.logit[-1, 0]
    assert ends[4] < ends[2]


@pytest.mark.parametrize("layers, banks", [(1, 2), (2, 2), (3, 4)])
def test_a_lane_that_waits_for_data_ends_soon_after_the_last(layers, banks):
    """Its data come so slowly that all that went before is done."""
    work = program(2, layers, Interaction.DOT)
    for rest in (1, 16):
        row = task_row(ROOMY, work, 3, rest, banks, walk=1000)
        assert row[END] == row[GATHERED] + row[END_AFTER]
        assert row[HANDED] == row[GATHERED] + row[TAKEN_AFTER]
        quick = task_row(ROOMY, work, 3, rest, banks)
        assert quick[END] >= quick[GATHERED] + quick[END_AFTER]
        assert (quick[END_AFTER], quick[PARTS]) == (row[END_AFTER], 4)


@pytest.mark.parametrize("layers, banks", [(1, 2), (2, 2), (3, 4)])
def test_data_that_come_slower_end_as_if_they_were_gathered_so(layers, banks):
    work = program(2, layers, Interaction.DOT)
    row = task_row(ROOMY, work, 3, 16, banks, walk=30)
    for place, late in enumerate(LATE):
        slow = task_row(ROOMY, work, 3, 16, banks, walk=30 * late)
        data = slow[GATHERED] - slow[BEGIN]
        assert row[LATE_DATA + place] == data
        assert after_data(row, data) == (slow[HANDED] - slow[GATHERED], slow[END] - slow[GATHERED])
    alone = row[GATHERED] - row[BEGIN]
    assert after_data(row, alone) == (row[HANDED] - row[GATHERED], row[END] - row[GATHERED])
    middle = after_data(row, (row[LATE_DATA] + row[LATE_DATA + 1]) // 2)[1]
    assert 2 * middle == pytest.approx(row[LATE_END] + row[LATE_END + 1], abs=3)
    assert after_data(row, 100 * alone) == (row[TAKEN_AFTER], row[END_AFTER])


@pytest.mark.parametrize("layers, banks", [(1, 2), (2, 2), (3, 4)])
def test_scores_without_a_place_wait_for_their_turn(layers, banks):
    work = program(1, layers, Interaction.DOT)
    fits = task_row(TINY, work, 0, 16, banks)
    assert (fits[END_TURN], fits[PARTS_HELD]) == (LONG_AGO, 1)
    for walk in (1, 20):
        row = task_row(TINY, work, 9, 16, banks, walk)  # the second sub-batch finds no place
        assert (row[PARTS], row[PARTS_HELD]) == (10, 3 + banks)
        assert 9 * TINY.sub_batch_max < row[END_TURN] < row[END]  # a score a cycle, less one's room
        assert row[TAKEN_TURN] < row[HANDED]


@pytest.mark.parametrize("layers, banks", [(1, 2), (2, 2), (2, 4), (3, 4)])
def test_the_core_takes_a_short_sub_batch_when_core_times_says(layers, banks, monkeypatch):
    """A first layer of one tile: its chain's last layer may be taken before the first row."""
    work = program(1, layers, Interaction.DOT)
    for config in (TINY, ROOMY):
        for rest in (1, 2, 3, 5):
            sizes = [16, 16, 16, rest]
            times = core_times(config, work, sizes, sizes, 10, 5, banks)
            batches = tuple((sub_batch_work(config, work, size), size, 0.0) for size in sizes)
            profile = TaskProfile(start=10, batches=batches, handover=5, array=0, banks=banks)
            done = run_profile(monkeypatch, config, profile)
            for name, field in (("taken", "transfer"), ("logit", "logit")):
                found = done[name]
                assert found == getattr(times, field)[:, 0].tolist(), (name, rest)
