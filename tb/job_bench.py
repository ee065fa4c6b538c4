"""The main job's queries on the netlist under cocotb: same rankers, same driver, same records.

RPACCEL_JOB names a JSON file {"data", "preset", "seed", "users", "timing", "out"}; the
completions go to `out`.
"""

import json
import os
from pathlib import Path

import cocotb

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.netlist import MEMORY_BYTES, answers, completion_json
from rpaccel.main_job.rankers import compile_job
from rpaccel.spec.accelerator import load_accelerator
from tb.cocotb_device import run_driver


@cocotb.test()
async def queries(dut):
    ask = json.loads(Path(os.environ["RPACCEL_JOB"]).read_text())
    config = load_accelerator(ask["preset"])
    job = compile_job(load_inputs(ask["data"], ask["seed"]), config, ask["seed"])
    found = []

    def program(device):
        completions = answers(job, device, ask["users"])
        found.extend(
            completion_json(user, completion)
            for user, completion in zip(ask["users"], completions, strict=True)
        )

    timing = MemoryTiming(**ask["timing"])
    await run_driver(dut, config, program, timing=timing, memory_bytes=MEMORY_BYTES)
    assert len(found) == len(ask["users"])
    Path(ask["out"]).write_text(json.dumps(found))
