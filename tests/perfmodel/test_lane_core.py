import numpy as np
import pytest

from rpaccel.perfmodel.lane_core import sub_batch_work
from rpaccel.perfmodel.networks import FILM_LARGE, FILM_SMALL, RM_LARGE, RM_SMALL
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.perfmodel.task_profile import TaskProfile
from rpaccel.spec.accelerator import load_accelerator
from tests.perfmodel.profile_bench import run_profile


@pytest.mark.parametrize("preset", ["tiny", "edge", "paper"])
@pytest.mark.parametrize("network", [FILM_SMALL, FILM_LARGE, RM_SMALL, RM_LARGE])
def test_a_task_takes_what_core_times_says(preset, network, monkeypatch):
    machine = load_accelerator(preset)
    config = machine.lane(0)
    shape = compile_shape(network, config)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    rng = np.random.default_rng(len(network.name))
    for _ in range(20):
        sizes = rng.integers(1, shape.slot["sub_batch"] + 1, rng.integers(1, 7)).tolist()
        walks = rng.integers(1, 60 * max(sizes) + 2, len(sizes)).tolist()
        start, handover = int(rng.integers(0, 300)), int(rng.integers(0, 200))
        banks = int(rng.choice([2, 4]))
        expected = core_times(config, program, sizes, walks, start, handover, banks)
        batches = tuple(
            (sub_batch_work(config, program, size), walk, 0.0)
            for size, walk in zip(sizes, walks, strict=True)
        )
        profile = TaskProfile(start=start, batches=batches, handover=handover, array=0, banks=banks)
        done = run_profile(monkeypatch, machine, profile)
        for name, field in (
            ("gathered", "gathered"), ("taken", "transfer"), ("crossed", "released"),
            ("logit", "logit"),
        ):  # fmt: skip
            measured = [cycle - (name == "crossed") for cycle in done[name]]
            assert measured == getattr(expected, field)[:, 0].tolist(), name


def test_a_task_behind_another_is_no_later_than_alone_and_after_it(monkeypatch):
    machine = load_accelerator("paper")
    config = machine.lane(6)
    shape = compile_shape(RM_SMALL, config)
    program = ProgramShape.of(shape.program, shape.slot["row_bytes"])
    work = sub_batch_work(config, program, 64)
    profile = TaskProfile(
        start=100, batches=((work, 1900, 0.0),) * 4, handover=100, array=0, banks=2
    )
    done = run_profile(monkeypatch, machine, profile, lane=6, tasks=2)
    alone = core_times(config, program, [64] * 4, [1900] * 4, 100, 100).logit[-1, 0]
    assert done["logit"][3] == alone
    assert alone < done["logit"][-1] < 2 * alone
