import numpy as np
import pytest

from rpaccel.perfmodel.interaction import interaction_cycles
from rpaccel.perfmodel.layer_engine import LayerShape, row_cycles, score_cycles
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Destination, Interaction, Op, Source

EDGE = load_accelerator("edge")


def layer(k_folds, n_steps, *, act):
    return LayerShape(k_folds=k_folds, n_steps=n_steps, stack=0, reads_act=act)


def program(bottom=1, top=2, tables=4):
    return ProgramShape(
        bottom=(layer(1, bottom, act=False),),
        top=(layer(top, 1, act=False), layer(1, 1, act=True)),
        kind=Interaction.DOT,
        user_vectors=0,
        item_vectors=tables,
        row_bytes=16,
    )


def crossing(items, tables=4):
    return interaction_cycles(EDGE, Interaction.DOT, items, 0, tables, 16)


def test_one_sub_batch_by_hand():
    times = core_times(EDGE, program(), [100])
    # Chosen in 0, offered and taken in 2, loaded in 3..10, first row in 13.
    bottom_done = 13 + 99 + row_cycles(EDGE)
    assert times.transfer[0, 0] == 0
    assert times.interaction_start[0, 0] == bottom_done + 3
    assert times.released[0, 0] == bottom_done + 2 + crossing(100)
    # Chosen the cycle after; two tiles of 100, then one.
    first = times.released[0, 0] + 1 + 13
    assert times.logit[0, 0] == first + 200 + 99 + score_cycles(EDGE)
    assert times.interaction_busy[0] == crossing(100)


def test_array_never_waits_when_the_interaction_is_short():
    work = program(bottom=20, top=20, tables=1)
    for sub_batches in (4, 8):
        times = core_times(EDGE, work, [100] * sub_batches)
        span = times.logit[-1, 0]
        assert times.array_busy[0] > 0.9 * span
    steady = np.diff(core_times(EDGE, work, [100] * 10).logit[:, 0])[3:7]
    assert steady.mean() == pytest.approx(work.tiles * 100, abs=20)


def test_interaction_bounds_when_it_is_long():
    work = program(bottom=1, top=1, tables=30)
    times = core_times(EDGE, work, [100] * 10)
    assert np.diff(times.released[:, 0])[3:7].tolist() == [crossing(100, 30) + 2] * 4


def test_points_are_independent():
    sizes = np.array([[16, 100, 7], [16, 50, 0], [3, 0, 0]])
    walks = np.array([[50, 400, 9], [50, 100, 0], [20, 0, 0]])
    work = program()
    together = core_times(EDGE, work, sizes, walks, start=5, handover=3)
    for point in range(3):
        own = sizes[:, point][sizes[:, point] > 0]
        alone = core_times(EDGE, work, own, walks[: len(own), point], start=5, handover=3)
        for name in ("gather_start", "gathered", "transfer", "released", "logit"):
            column = getattr(together, name)[: len(own), point]
            assert column.tolist() == getattr(alone, name)[:, 0].tolist(), name
        assert together.array_busy[point] == alone.array_busy[0]


def test_two_banks_hold_the_gather_back():
    times = core_times(EDGE, program(tables=30), [50] * 6, [1] * 6)
    for j in range(2, 6):
        assert times.gather_start[j, 0] >= times.released[j - 2, 0] + 1
    assert (np.diff(times.transfer[:, 0]) > 0).all()
    assert (times.logit[:, 0] > times.released[:, 0]).all()


def test_four_banks_let_the_gather_run_ahead():
    sizes, walks = [50] * 9, [1] * 9
    times = core_times(EDGE, program(tables=30), sizes, walks, banks=4)
    two = core_times(EDGE, program(tables=30), sizes, walks)
    assert (times.gather_start[:4, 0] == range(4)).all()
    for j in range(4, 9):
        assert times.gather_start[j, 0] == times.released[j - 4, 0] + 1
    assert (times.logit <= two.logit).all()


def test_rejects_a_program_without_an_interaction():
    step = {"op": Op.LAYER, "source_b": Source.DENSE, "words_b": 1, "n_steps": 1,
            "destination": Destination.SCORE}  # fmt: skip
    with pytest.raises(ValueError, match=r"^a program must have one INTERACT, not 0"):
        ProgramShape.of([step], 16)
