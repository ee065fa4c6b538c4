"""Device memory that does not begin at address 0, as on a board where the host has that."""

import pytest

from rpaccel.host.compile import compile_models
from rpaccel.host.driver import Driver
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status

from .test_row_updates import random_update

TINY = load_accelerator("tiny")
BASE = 3 * MEMORY_BYTES


@pytest.fixture(params=["software", "netlist"])
def device(request):
    memory_bytes = BASE + MEMORY_BYTES
    if request.param == "software":
        yield SoftwareDevice(TINY, memory_bytes)
        return
    with VerilatedDevice(TINY, memory_bytes=memory_bytes, library=build_simulator(TINY)) as device:
        yield device


def test_everything_lies_above_the_base(device):
    session = Session(device, TINY, seed=5, memory_base=BASE, update_depth=4, task_log_entries=64)
    session.run([1, 64, 17, 40])
    update, table = random_update(session, 1)
    table[update.row] = update.values
    assert session.driver.wait_update(session.driver.submit_update(update)) is Status.OK
    session.run([64, 64])
    assert not any(device.read_memory(0, BASE))


@pytest.mark.parametrize("base", [-4096, 2048, (1 << 32) - MEMORY_BYTES + 4096])
def test_rejects_a_base_that_the_device_cannot_have(base):
    with pytest.raises(ValueError, match=r"^memory_base must be a multiple of 4096 in 0\.\."):
        Driver(SoftwareDevice(TINY, MEMORY_BYTES), TINY, MEMORY_BYTES, memory_base=base)


def test_rejects_more_memory_than_the_device_can_address():
    with pytest.raises(ValueError, match=r"^memory_bytes must be at most 4294967296, not "):
        Driver(SoftwareDevice(TINY, MEMORY_BYTES), TINY, (1 << 32) + 4096)


def test_rejects_models_below_the_base():
    session = Session(SoftwareDevice(TINY, MEMORY_BYTES), TINY, seed=5)
    device = SoftwareDevice(TINY, BASE + MEMORY_BYTES)
    driver = Driver(device, TINY, MEMORY_BYTES, memory_base=BASE)
    with pytest.raises(ValueError, match=r"must be at least memory_base 0x300000, not 0x10000$"):
        driver.load_models(compile_models(session.rankers, TINY))
    assert not device.memory.any()


def test_rejects_a_memory_without_room():
    device = SoftwareDevice(TINY, BASE + MEMORY_BYTES)
    with pytest.raises(ValueError, match=r"^memory_bytes must be at least \d+ for depth 64, not"):
        Driver(device, TINY, 1 << 14, memory_base=BASE, depth=64)
