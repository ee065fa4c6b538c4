"""The whole `default` machine, 32 x 32 PEs and 14 lanes, split in every way that it is made for."""

import numpy as np
import pytest

from rpaccel.host.partition import Rectangle, check_partition, split_8_2, whole
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.random_models import random_ranker
from tests.host.split_machine import Traffic

DEFAULT = load_accelerator("default")
MEMORY_BYTES, FAR = 1 << 24, 0x80_0000
HALF = Rectangle(row=2, col=0, rows=2, cols=4)
CORNERS = [Rectangle.square(row, col, 2) for row in (0, 2) for col in (0, 2)]
SPLITS = {
    "four quarters": dict(zip(range(2, 6), CORNERS, strict=True)),
    "half and two quarters": {1: HALF, 2: CORNERS[0], 3: CORNERS[1]},
    "eight and two": split_8_2(DEFAULT),
}


def ranker(name, seed, lane):
    rng = np.random.default_rng(seed)
    return random_ranker(rng, DEFAULT.lane(lane), name=name, dim=16, bottom=(40,), top=(33, 9))


@pytest.fixture(scope="module")
def library():
    return build_simulator(DEFAULT)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", SPLITS)
def test_two_models_on_lanes_of_two_kinds(library, name):
    """One model on the lanes of one half, another on the others; whole before and after."""
    split = SPLITS[name]
    check_partition(split, DEFAULT)
    shapes = {lane: DEFAULT.lane_shape(lane) for lane in split}
    kinds = sorted(set(shapes.values()), reverse=True)
    lanes = [[lane for lane in split if shapes[lane] == kind] for kind in kinds]
    if len(lanes) == 1:
        lanes = [lanes[0][:2], lanes[0][2:]]
    models = [ranker(f"model{n}", n, group[0]) for n, group in enumerate(lanes)]
    first = ranker("first", 5, 0)
    with VerilatedDevice(DEFAULT, memory_bytes=MEMORY_BYTES, library=library) as device:
        traffic = Traffic(device, 7, config=DEFAULT, memory_bytes=MEMORY_BYTES, depth=64)
        traffic.load(first, [0])
        before = [traffic.submit(first) for _ in range(3)]
        traffic.driver.partition(split)  # waits for them
        for query in before:
            assert traffic.check(query).lane == 0
        for model, group, base in zip(models, lanes, (0x1_0000, FAR), strict=True):
            traffic.load(model, group, base=base)
        asked = [
            (lane, traffic.submit(model, lanes=[lane]))
            for model, group in zip(models, lanes, strict=True)
            for lane in group
        ]
        free = [traffic.submit(models[n % 2]) for n in range(2 * len(split))]
        for lane, query in asked:
            assert traffic.check(query).lane == lane
        for query in free:
            assert traffic.check(query).lane in lanes[models.index(query[2])]
        traffic.driver.partition(whole(DEFAULT))
        traffic.load(first, [0])
        traffic.check(traffic.submit(first))
        assert not traffic.driver.poll()
