"""Retrieval on a whole machine with an engine: tests of tests/host on AXI4-Lite and AXI4 memory."""

from collections.abc import Callable

import cocotb

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.spec.retrieval import Metric
from tb.cocotb_device import run_driver
from tests.host import retrieval_machine, test_corpus

CONFIG = retrieval_machine.machine()
SLOW = MemoryTiming(jitter_cycles=40, stall_per_mille=300, in_order=False, seed=2)


async def run(dut, test: Callable[[], None], timing: MemoryTiming | None = None) -> None:
    """Run a test of tests/host with the netlist as its device."""

    def program(device):
        software = retrieval_machine.new_device
        retrieval_machine.new_device = lambda _: device
        try:
            test()
        finally:
            retrieval_machine.new_device = software

    memory_bytes = retrieval_machine.MEMORY_BYTES
    await run_driver(dut, CONFIG, program, timing=timing, memory_bytes=memory_bytes)


@cocotb.test()
@cocotb.parametrize(metric=list(Metric))
async def answers(dut, metric):
    await run(dut, lambda: test_corpus.check_answers(CONFIG, metric))


@cocotb.test()
async def answers_with_stalls_and_reordering(dut):
    await run(dut, lambda: test_corpus.check_answers(CONFIG, Metric.COSINE), SLOW)


@cocotb.test()
@cocotb.parametrize(dim=[17, 256])
async def rows_of_other_sizes(dut, dim):
    await run(dut, lambda: test_corpus.test_rows_of_every_size(dim))


@cocotb.test()
async def changes_while_scans_run(dut):
    await run(dut, lambda: test_corpus.check_changes(Metric.INNER_PRODUCT, 400, scans=12), SLOW)


@cocotb.test()
async def bad_queries(dut):
    def program():
        for case in test_corpus.BAD:
            test_corpus.test_bad_k(*case)

    await run(dut, program)
