"""The longest queries: 16,384 candidates, and 256 that are served, through a whole machine."""

from dataclasses import replace

import pytest

from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import Session
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks

ITEMS, SERVED = 16_384, 256
MEMORY_BYTES = 1 << 24
LONG = AcceleratorConfig.model_validate(
    load_accelerator("tiny").model_dump()
    | {"name": "long", "max_items": ITEMS, "max_top_n": SERVED}
)
GLOBAL = StageTasks(task_items=4096, mode=StageMode.GLOBAL, exact=True)


def run(device):
    """Ask for the longest lists, survivors at least and at most; return the completions."""
    session = Session(device, LONG, seed=4, depth=2, memory_bytes=MEMORY_BYTES)
    sizes = {"items": ITEMS, "top_n": SERVED, "feature_rows": ITEMS}
    made = [
        session.query(slots=(0, 1, 1), keep=(2048, 300), **sizes),
        session.query(slots=(0, 1), keep=(1,), **sizes),
        session.query(slots=(1,), keep=(), **sizes),
    ]
    query, request = made[0]
    tasks = (GLOBAL, StageTasks(), StageTasks())
    made[0] = replace(query, tasks=tasks), replace(request, tasks=tasks)
    completions = list(session.driver.run(request for _, request in made))
    for completion, (query, _) in zip(completions, made, strict=True):
        session.check(completion, query)
    return completions


def check(completions):
    assert [completion.items[0] for completion in completions] == [ITEMS] * 3
    assert completions[0].items[1] == 2048  # exact
    assert 300 <= completions[0].items[2] <= 2048
    assert completions[1].items[1] >= 1
    assert len(completions[0].ids) == len(completions[2].ids) == SERVED


def test_software_device_takes_the_longest_lists():
    check(run(SoftwareDevice(LONG, MEMORY_BYTES)))


@pytest.mark.slow
def test_netlist_takes_the_longest_lists():
    library = build_simulator(LONG)
    with VerilatedDevice(LONG, memory_bytes=MEMORY_BYTES, library=library) as device:
        check(run(device))
