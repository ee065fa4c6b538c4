"""Random loads whose totals are known: from events that were not compiled, one Python call each."""

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
    0: (173, 170947658, 1519842094),
    1: (202, 186668173, 1842611441),
    2: (205, 426463894, 356731678),
    3: (243, 667796533, 418609316),
    4: (259, 487106852, 454042185),
    5: (230, 233419554, 742672318),
    6: (230, 242926469, 1651603205),
    7: (188, 232915798, 857982509),
    8: (232, 471558023, 1449158963),
    9: (218, 330139799, 2057431758),
    10: (181, 376557670, 1798820466),
    11: (176, 398311298, 737610465),
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
