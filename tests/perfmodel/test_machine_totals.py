"""Random loads whose totals are known: who changes a rule of the machine says so here."""

import numpy as np
import pytest

from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import QueryLoad, StageLoad
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks
from tests.perfmodel.test_machine import PAPER, RECORDS, SPLIT, machine

# Of each seed: tasks, and sums modulo 2**31 of the ends of queries, each times its number, and of
# the last scores of tasks, each times its place.
TOTALS = {
    0: (173, 170974102, 1520823593),
    1: (202, 184693325, 1696762353),
    2: (205, 426549718, 366312360),
    3: (243, 667982568, 432034518),
    4: (259, 474876707, 1092755450),
    5: (230, 250792682, 2006069338),
    6: (230, 244787750, 1751027373),
    7: (188, 233052753, 863365733),
    8: (232, 471818756, 1496861696),
    9: (218, 329093523, 1984245525),
    10: (181, 384982853, 1007934562),
    11: (176, 397553914, 682039024),
}
SPLIT_LANES = sorted(SPLIT)


def stage(rng, items, *, last):
    k = 0 if last else int(rng.integers(1, items + 1))
    size = int(rng.choice([0, 32, 64, 100]))
    mode = StageMode(int(rng.integers(len(StageMode))))
    tasks = StageTasks(task_items=size)
    if mode is not StageMode.WHOLE and not last:
        tasks = StageTasks.shared(size or items, k, items, mode)
    lanes = tuple(int(n) for n in rng.choice(SPLIT_LANES, int(rng.integers(1, 5)), replace=False))
    return StageLoad(
        model=str(rng.choice(["rmsmall", "rmlarge"])), k=k, tasks=tasks,
        lanes=lanes if rng.random() < 0.7 else (), sub_batch=int(rng.choice([0, 5, 16])),
    )  # fmt: skip


def random_load(seed):
    """Return a machine and queries of up to four stages, some of them made at the end of others."""
    rng = np.random.default_rng(seed)
    config = PAPER.model_copy(
        update={"memory_ports": int(rng.choice([1, 2, 8])), "funnels": int(rng.choice([2, 8]))}
    )
    loads = []
    for number in range(30):
        items = most = int(rng.integers(1, 500))
        stages = []
        count = int(rng.integers(1, 5))
        for place in range(count):
            stages.append(stage(rng, most, last=place == count - 1))
            most = max(1, stages[-1].k)
        after = int(rng.integers(number)) if number and rng.random() < 0.2 else None
        loads.append(
            QueryLoad(
                arrival=int(rng.integers(0, 3)) * 1000, items=items, stages=tuple(stages),
                records=RECORDS, top_n=int(rng.integers(1, 65)), after=after,
            )
        )  # fmt: skip
    return machine(SPLIT_LANES, config=config), loads


def totals(report):
    ends = sum(query.end * number for number, query in enumerate(report.queries, 1))
    scores = sum(task.scored * place for place, task in enumerate(report.tasks, 1))
    return len(report.tasks), ends % 2**31, scores % 2**31


@pytest.mark.parametrize("seed", TOTALS)
def test_totals(seed):
    assert totals(simulate(*random_load(seed))) == TOTALS[seed]
