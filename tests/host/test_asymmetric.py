"""RecPipe's asymmetric provisioning on one machine: 8 + 8 and 8 + 16 lanes, by register writes.

A grid of 8 x 8 blocks; 8 + 2 is in tests/rpaccel/test_criteo.py. At 128 x 128: that all three
fill the array and hold their rankers (docs/decisions/0008). Ref: RecPipe, figure 12.
"""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.compile import compile_models
from rpaccel.host.driver import Driver
from rpaccel.host.partition import Rectangle, packed
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.criteo_models import quantise_criteo
from rpaccel.main_job.netlist import difference
from rpaccel.main_job.session import request_of
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema

MEMORY_BYTES = 1 << 21
FAR = 0x8_0000  # where the large ranker's image and tables lie
QUERIES, K, ITEMS = 6, 24, 120
FRONT, EIGHT, SIXTEEN = range(8), range(8, 16), range(16, 32)  # lanes

CONFIG = AcceleratorConfig.model_validate(
    load_accelerator("tiny").model_dump()
    | {
        "name": "asymmetric", "array_size": 32, "block_size": 4, "lanes": 32, "funnels": 4,
        "lane_blocks": [*[2] * 16, *[[1, 2]] * 16], "max_items": 128, "row_banks": 4,
        "weight_words": 2048, "param_entries": 512,
    }
)  # fmt: skip


def squares(lanes, row):
    """Return lanes of 2 x 2 blocks, four in a row from block row `row` on."""
    return {n: Rectangle.square(row + 2 * (i // 4), 2 * (i % 4), 2) for i, n in enumerate(lanes)}


EIGHT_EIGHT = squares(FRONT, 0) | squares(EIGHT, 4)
EIGHT_SIXTEEN = squares(FRONT, 0) | {
    n: Rectangle(row=4 + i // 4, col=2 * (i % 4), rows=1, cols=2) for i, n in enumerate(SIXTEEN)
}


class Machine:
    """A driver, the small ranker in the front lanes, the large one in those of the split."""

    def __init__(self, device, seed):
        rng = np.random.default_rng(seed)
        first, narrow = CONFIG.lane(FRONT[0]), CONFIG.lane(SIXTEEN[0])
        small = random_ranker(rng, narrow, name="small", dim=8, bottom=(6,), top=(7,))
        large = shared_schema(rng, narrow, small, name="large", dim=8)
        self.rng, self.rankers = rng, [small, large]
        self.driver = Driver(device, CONFIG, MEMORY_BYTES, depth=8)
        self.images = {
            FRONT: compile_models([small], first),
            EIGHT: compile_models([large], first, base=FAR),
            SIXTEEN: compile_models([large], narrow, base=FAR),
        }

    def split(self, partition, back):
        self.driver.partition(partition)
        self.driver.load_models(self.images[back], back)
        self.driver.load_models(self.images[FRONT], FRONT)

    def ask(self):
        """Queue a query in tasks; return (tag, query)."""
        query = random_query(
            self.rng, CONFIG, self.rankers, items=ITEMS, slots=(0, 1), keep=(K,), top_n=5
        )
        mode = StageMode.GLOBAL
        query = replace(
            query, tasks=(StageTasks(task_items=8, mode=mode), StageTasks(task_items=2))
        )
        return self.driver.submit(request_of(query, self.rankers, self.driver)), query

    def check(self, asked):
        """Wait for an answer, which must be golden's; return the completion."""
        tag, query = asked
        completion = self.driver.wait(tag)
        wrong = difference("query", completion, run_query(query, self.rankers, CONFIG))
        assert wrong is None, wrong
        return completion


def run(device):
    """Ask under each split, changed while two queries are in flight; return lanes used of each."""
    machine, used, left = Machine(device, 1), [], []
    for partition, back in (
        (EIGHT_EIGHT, EIGHT), (EIGHT_SIXTEEN, SIXTEEN), (EIGHT_EIGHT, EIGHT),
    ):  # fmt: skip
        machine.split(partition, back)  # those in flight end before blocks change hands
        for each in left:
            machine.check(each)
        asked = [machine.ask() for _ in range(QUERIES)]
        lanes = 0
        for each in asked[:-2]:
            lanes |= machine.check(each).lanes
        used.append({n for n in range(CONFIG.lanes) if lanes >> n & 1})
        left = asked[-2:]
    for each in left:
        machine.check(each)
    assert not machine.driver.poll()
    return used


PAPER = load_accelerator("paper")
EIGHT_TWO = (range(6, 14), range(2, 4))
SIXTEEN_ONES = {"lanes": 17, "lane_blocks": [4, *[1] * 16]}
NARROW = {"block_size": 16, "lanes": 25, "lane_blocks": [8, *[2] * 8, *[[1, 2]] * 16]}


@pytest.fixture(scope="module")
def rankers():
    models = quantise_criteo(CriteoWorkload(CriteoConfig(scale_rows=2000)))
    return models.small, models.large


@pytest.mark.parametrize(
    ("changes", "lanes"),
    [
        ({}, EIGHT_TWO),
        (SIXTEEN_ONES, (range(1, 9), range(9, 17))),
        (NARROW | {"weight_words": 65_536}, (range(1, 9), range(9, 25))),
    ],
    ids=["8 + 2", "8 + 8", "8 + 16"],
)
def test_the_published_splits_fill_the_array_and_hold_the_rankers(rankers, changes, lanes):
    config = AcceleratorConfig.model_validate(PAPER.model_dump() | changes)
    split = packed(config, [lane for group in lanes for lane in group])
    assert sum(len(rectangle.tiles) for rectangle in split.values()) == config.blocks**2
    for ranker, group in zip(rankers, lanes, strict=True):
        assert compile_models([ranker], config.lane(group[0])).image


def test_sixteen_narrow_lanes_need_more_than_the_published_weight_memory(rankers):
    config = AcceleratorConfig.model_validate(PAPER.model_dump() | NARROW)
    message = r": weight_words must be at least 7008 \(rmlarge 7008\), not 4096"
    with pytest.raises(ValueError, match=message):
        compile_models([rankers[1]], config.lane(9))


def test_splits_on_the_software_device():
    run(SoftwareDevice(CONFIG, MEMORY_BYTES))


@pytest.mark.nightly
@pytest.mark.slow
def test_splits_on_the_netlist():
    library = build_simulator(CONFIG)
    with VerilatedDevice(CONFIG, memory_bytes=MEMORY_BYTES, library=library) as device:
        used = run(device)
    assert used[0] == used[2] == {*FRONT, *EIGHT}
    assert used[1] == {*FRONT, *SIXTEEN}
