import mmap
import os
import threading

import numpy as np
import pytest

from rpaccel.host.bus import Bus
from rpaccel.host.mapped_device import REGISTER_BYTES, MappedDevice
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job.session import Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.registers import ADDRESS, Irq

TINY = load_accelerator("tiny")
MEMORY_BYTES = 1 << 16
SESSION_BYTES = 1 << 20
RAISED = 1 << 31  # in the mapped IRQ_STATUS: what the host writes to clear a bit is then a change
DOORBELLS = [ADDRESS[name] for name in ("IRQ_STATUS", "SQ_TAIL", "CQ_HEAD", "CONTROL")]


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


class Behind(threading.Thread):
    """A software device behind files: takes what is written to the mapped registers.

    The memory file is its memory. Settings are taken before doorbells.
    """

    def __init__(self, registers, memory):
        super().__init__(daemon=True)
        memory_bytes = memory.stat().st_size
        with registers.open("r+b") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), REGISTER_BYTES)).cast("I")
        self.device = SoftwareDevice(TINY, memory_bytes)
        self.device.memory = np.memmap(memory, np.uint8, mode="r+")
        self.known = [0] * len(self.words)
        self.stopped = False
        self.show()

    def show(self):
        """Write what the device has changed, and no other register: the host may write them."""
        for address in ADDRESS.values():
            value = self.device.read_register(address)
            if address == ADDRESS["IRQ_STATUS"] and value:
                value |= RAISED
            if value != self.known[address >> 2]:
                self.words[address >> 2] = self.known[address >> 2] = value

    def run(self):
        while not self.stopped:
            seen = self.words.tolist()
            if seen != self.words.tolist():
                continue  # the host is writing
            changed = [
                4 * n for n, (a, b) in enumerate(zip(seen, self.known, strict=True)) if a != b
            ]
            for address in sorted(changed, key=lambda each: (each in DOORBELLS, each)):
                self.device.write_register(address, seen[address >> 2] & ~RAISED)
                self.known[address >> 2] = seen[address >> 2]
            if changed:
                self.show()


@pytest.mark.parametrize("base", [0, SESSION_BYTES])
def test_a_driver_gets_its_answers(tmp_path, base):
    registers, memory = tmp_path / "registers", tmp_path / "memory"
    registers.write_bytes(bytes(REGISTER_BYTES))
    memory.write_bytes(bytes(base + SESSION_BYTES))
    behind = Behind(registers, memory)
    behind.start()
    try:
        with MappedDevice(
            registers, memory, SESSION_BYTES, memory_offset=base, memory_base=base
        ) as device:
            session = Session(
                device, TINY, seed=1, depth=2, memory_bytes=SESSION_BYTES, memory_base=base
            )
            assert len(session.run([1, 20, 64, 7, 33])) == 5
            with pytest.raises(ValueError, match=rf"^memory access must lie in {base:#x}\.\."):
                device.read_memory(base - 1, 2)
        assert not any(memory.read_bytes()[:base])
    finally:
        behind.stopped = True
        behind.join()
