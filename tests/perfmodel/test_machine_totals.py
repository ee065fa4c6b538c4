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
    0: (173, 190751136, 1588081325),
    1: (202, 186415254, 1843974145),
    2: (205, 426782233, 381401765),
    3: (243, 667178482, 353266214),
    4: (259, 473043470, 1017075772),
    5: (230, 270509119, 900152562),
    6: (230, 246665157, 1799775306),
    7: (188, 236271653, 990914436),
    8: (232, 467389130, 384185669),
    9: (218, 328248947, 2039261440),
    10: (181, 372428911, 577140027),
    11: (176, 402079543, 972535653),
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
