import os
import threading

import pytest

from rpaccel.host.bus import Bus
from rpaccel.host.mapped_device import REGISTER_BYTES, MappedDevice
from rpaccel.spec.registers import ADDRESS, Irq

MEMORY_BYTES = 1 << 16


@pytest.fixture
def files(tmp_path):
    registers, memory = tmp_path / "registers", tmp_path / "memory"
    registers.write_bytes(bytes(REGISTER_BYTES))
    memory.write_bytes(bytes(4096 + MEMORY_BYTES))
    return registers, memory


def test_reads_and_writes_where_it_should(files):
    registers, memory = files
    with MappedDevice(registers, memory, MEMORY_BYTES, memory_offset=4096) as device:
        bus: Bus = device
        bus.write_register(ADDRESS["SQ_TAIL"], 0x1_2345_6789)
        bus.write_memory(10, b"candidates")
        assert bus.read_register(ADDRESS["SQ_TAIL"]) == 0x2345_6789
        assert bus.read_memory(9, 12) == b"\0candidates\0"
        for address, length in ((-1, 2), (MEMORY_BYTES - 1, 2)):
            with pytest.raises(ValueError, match=r"^memory access must lie in"):
                bus.read_memory(address, length)
        with pytest.raises(ValueError, match=r"^register must be a multiple of 4"):
            bus.read_register(2)
    at = ADDRESS["SQ_TAIL"]
    assert registers.read_bytes()[at : at + 4] == (0x2345_6789).to_bytes(4, "little")
    assert memory.read_bytes()[4096 + 10 : 4096 + 20] == b"candidates"
    assert memory.read_bytes()[:4096] == bytes(4096)


def test_polls_without_an_interrupt_file(files):
    with MappedDevice(*files, MEMORY_BYTES) as device:
        assert not device.wait_interrupt(3)
        device.write_register(ADDRESS["IRQ_ENABLE"], Irq.COMPLETION)
        device.write_register(ADDRESS["IRQ_STATUS"], Irq.ERROR)
        assert not device.wait_interrupt(3)
        timer = threading.Timer(
            0.02, device.write_register, (ADDRESS["IRQ_STATUS"], int(Irq.COMPLETION))
        )
        timer.start()
        assert device.wait_interrupt(5000)
        timer.join()


def test_waits_on_an_interrupt_file(files, tmp_path):
    fifo = tmp_path / "uio"
    os.mkfifo(fifo)
    with MappedDevice(*files, MEMORY_BYTES, interrupt=fifo) as device:
        # what the device is told (enable) comes back out of the fifo: an interrupt
        assert device.wait_interrupt(1000)
        device.write_register(ADDRESS["IRQ_ENABLE"], Irq.ERROR)
        device.write_register(ADDRESS["IRQ_STATUS"], Irq.ERROR)
        assert device.wait_interrupt(1)


def test_rejects_an_offset_within_a_page(files):
    with pytest.raises(ValueError, match=r"^offset must be a multiple of \d+, not 12$"):
        MappedDevice(*files, MEMORY_BYTES, memory_offset=12)
