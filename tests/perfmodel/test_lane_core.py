import numpy as np
import pytest

from rpaccel.perfmodel.lane_core import SubBatch, sub_batch_work
from rpaccel.perfmodel.machine_lane import LaneTask, MachineLane
from rpaccel.perfmodel.networks import FILM_LARGE, FILM_SMALL, RM_LARGE, RM_SMALL
from rpaccel.perfmodel.sequencer import NEVER, ProgramShape, core_times
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.shared_memory import SharedMemory
from rpaccel.perfmodel.task_profile import TaskProfile
from rpaccel.spec.accelerator import load_accelerator


def run(lane):
    """Run a lane to its end; return its sub-batches in the order of their logits."""
    scored: list[SubBatch] = []
    for task in lane.turns:
        task.flows = True
    while lane.core.batches:
        now = lane.next_cycle()
        assert now < NEVER
        batch, is_top = lane.choose(now)
        if is_top:
            scored.append(batch)
    return scored


@pytest.mark.parametrize("preset", ["tiny", "edge", "paper"])
@pytest.mark.parametrize("network", [FILM_SMALL, FILM_LARGE, RM_SMALL, RM_LARGE])
def test_a_task_takes_what_core_times_says(preset, network):
    config = load_accelerator(preset).lane(0)
    shape = compile_shape(network, config)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    rng = np.random.default_rng(len(network.name))
    for _ in range(20):
        sizes = rng.integers(1, shape.slot["sub_batch"] + 1, rng.integers(1, 7)).tolist()
        walks = rng.integers(1, 60 * max(sizes) + 2, len(sizes)).tolist()
        start, handover = int(rng.integers(0, 300)), int(rng.integers(0, 200))
        expected = core_times(config, program, sizes, walks, start, handover)
        lane = MachineLane(0, config, SharedMemory())
        batches = tuple(
            (sub_batch_work(config, program, size), walk, 0.0)
            for size, walk in zip(sizes, walks, strict=True)
        )
        profile = TaskProfile(start=start, batches=batches, handover=handover, array=0)
        lane.give(LaneTask(owner=None, model="m", items=sum(sizes), profile=profile, start=0))
        done = run(lane)
        for name, field in (
            ("gathered", "gathered"), ("transfer", "transfer"), ("crossed", "released"),
            ("logit", "logit"),
        ):  # fmt: skip
            measured = [getattr(batch, name) - (name == "crossed") for batch in done]
            assert measured == getattr(expected, field)[:, 0].tolist(), name


def test_a_task_behind_another_is_no_later_than_alone_and_after_it():
    config = load_accelerator("paper").lane(6)
    shape = compile_shape(RM_SMALL, config)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    work = sub_batch_work(config, program, 64)
    profile = TaskProfile(start=100, batches=((work, 1900, 0.0),) * 4, handover=100, array=0)
    lane = MachineLane(0, config, SharedMemory())
    for _ in range(2):
        lane.give(LaneTask(owner=None, model="m", items=256, profile=profile, start=0))
    done = run(lane)
    alone = core_times(config, program, [64] * 4, [1900] * 4, 100, 100).logit[-1, 0]
    assert done[3].logit == alone
    assert alone < done[-1].logit < 2 * alone
