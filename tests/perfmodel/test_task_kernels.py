"""The compiled task beside the event model's core, scores that wait for room included."""

import numpy as np
import pytest

from rpaccel.perfmodel.core_kernels import work_row
from rpaccel.perfmodel.lane_core import sub_batch_work, sub_batch_works
from rpaccel.perfmodel.layer_engine import LayerShape, dependency_cycles, skew_cycles
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.task_kernels import END, TASK_FIELDS, lane_tasks
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


def task_end(config, work, full, rest, banks, walk=1):
    """Return the last logit of a task of full sub-batches and a rest, data there at once."""
    sizes = [config.sub_batch_max, rest]
    works = np.array([work_row(w) for w in sub_batch_works(config, work, np.array(sizes))])
    rules = [config.block_size, skew_cycles(config), config.sub_batch_max,
             dependency_cycles(config)]  # fmt: skip
    out = np.zeros((1, TASK_FIELDS), np.int64)
    gather = np.array([[10.0, 5.0, walk, walk, 0.0, 1.0]])
    lane_tasks(works, np.array([[full, 0, 1, banks]]), gather, np.array(rules), out)
    return int(out[0, END])


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
            end = task_end(TINY, work, full, rest, banks)
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
        ends[banks] = task_end(TINY, work, 6, 5, banks, walk)
        assert ends[banks] == times.logit[-1, 0]
    assert ends[4] < ends[2]


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
