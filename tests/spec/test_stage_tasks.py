import pytest

from rpaccel.spec.isa import StageMode, StageOption
from rpaccel.spec.stage_tasks import StageTasks


@pytest.mark.parametrize(
    "task_items, items, sizes",
    [
        (0, 7, [7]),
        (0, 0, []),
        (4, 0, []),
        (4, 3, [3]),
        (4, 4, [4]),
        (4, 5, [4, 1]),
        (4, 12, [4, 4, 4]),
        (1, 3, [1, 1, 1]),
        (100, 7, [7]),
    ],
)
def test_full_tasks_then_the_rest(task_items, items, sizes):
    assert StageTasks(task_items=task_items).sizes(items) == sizes


@pytest.mark.parametrize(
    "task_k, k, tasks, shares",
    [
        (2, 10, 1, [10]),
        (2, 10, 4, [2, 4, 6, 10]),
        (3, 10, 4, [3, 6, 9, 10]),
        (4, 10, 4, [4, 8, 10, 10]),  # the last task's share is 0
        (20, 10, 3, [10, 10, 10]),
    ],
)
def test_shares_add_up_to_k(task_k, k, tasks, shares):
    assert StageTasks(task_k=task_k, task_items=1).shares(k, tasks) == shares


@pytest.mark.parametrize(
    "task_items, k, items, task_k",
    [(16, 10, 64, 3), (16, 12, 64, 3), (16, 13, 64, 4), (64, 10, 64, 10), (1, 1, 64, 1)],
)
def test_a_task_is_worth_its_share_rounded_up(task_items, k, items, task_k):
    tasks = StageTasks.shared(task_items, k, items, StageMode.PROPORTIONAL)
    expected = StageTasks(task_items=task_items, task_k=task_k, mode=StageMode.PROPORTIONAL)
    assert tasks == expected and tasks.legal
    assert StageTasks.shared(task_items, k, items).mode is StageMode.LOCAL


def test_options():
    assert StageTasks().options == 0
    assert StageTasks(exact=True).options == StageOption.EXACT == 1
    assert StageTasks(adaptive=True).options == StageOption.ADAPTIVE == 2
    assert StageTasks(exact=True, adaptive=True).options == 3


@pytest.mark.parametrize("mode", StageMode)
def test_legal(mode):
    shared = mode in (StageMode.LOCAL, StageMode.PROPORTIONAL)
    full = {"task_items": 4, "task_k": 1, "mode": mode, "adaptive": True}
    assert StageTasks(**full).legal
    assert StageTasks(**full | {"exact": True}).legal == (mode is not StageMode.PROPORTIONAL)
    assert StageTasks(**full | {"task_items": 0}).legal != shared
    assert StageTasks(**full | {"task_k": 0}).legal != shared
