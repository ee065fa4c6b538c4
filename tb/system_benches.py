"""Benches of the whole `tiny` accelerator: driver, AXI4-Lite, AXI4 memory, interrupt."""

import json
import os
from pathlib import Path

import cocotb

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.device_check import check_device
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import ADDRESS, DEVICE_ID
from tb.cocotb_device import run_driver

CONFIG = load_accelerator("tiny")
SEED, ITEMS = 5, [20, 33, 1, 64]


async def run(dut, program, timing=None):
    await run_driver(dut, CONFIG, program, timing=timing, memory_bytes=MEMORY_BYTES)


@cocotb.test()
async def registers(dut):
    def program(device):
        assert device.read_register(ADDRESS["ID"]) == DEVICE_ID
        check_device(device, CONFIG)
        device.write_register(ADDRESS["SQ_BASE_LO"], 0x1234_5680)
        assert device.read_register(ADDRESS["SQ_BASE_LO"]) == 0x1234_5680
        device.write_register(ADDRESS["ID"], 0)  # read only
        assert device.read_register(ADDRESS["ID"]) == DEVICE_ID
        assert not device.wait_interrupt(50)

    await run(dut, program)


@cocotb.test()
async def queries(dut):
    cycles = []

    def program(device):
        session = Session(device, CONFIG, seed=SEED, depth=1)
        cycles.extend(completion.total_cycles for completion in session.run(ITEMS))

    await run(dut, program)
    if "RPACCEL_CYCLES_FILE" in os.environ:  # the pytest side compares them with the C++ front
        Path(os.environ["RPACCEL_CYCLES_FILE"]).write_text(json.dumps(cycles))


@cocotb.test()
async def queries_with_stalls_and_reordering(dut):
    timing = MemoryTiming(jitter_cycles=40, stall_per_mille=300, in_order=False, seed=2)
    await run(dut, lambda device: Session(device, CONFIG, seed=2).run([40, 64, 3]), timing)


@cocotb.test()
async def errors(dut):
    def program(device):
        session = Session(device, CONFIG, seed=3)
        # A slave error in the middle of a query.
        _, request = session.query(items=20)
        table = session.compiled.tables[-1]
        faults = device.memory.faults.ranges
        faults.append((table.address, table.address + len(table.payload), True, True))
        assert session.ask(request).status is Status.MEMORY
        faults.clear()
        session.recover()
        # A descriptor that points outside its region.
        completion = session.ask(request, fields={"candidates_address": 0xF000_0000})
        assert completion.status is Status.REGION
        session.recover()
        # An id outside its table, and k above the items.
        bad = session.request(session.query(items=12)[0], candidates=[*range(11), 60000])
        assert session.ask(bad, validate=False).status is Status.BAD_ID
        worse = session.request(session.query(items=12)[0], stages=[("small", 99), ("large", 5)])
        assert session.ask(worse, validate=False).status is Status.BAD_K
        session.recover()

    await run(dut, program)
