"""Queries in tasks over several lanes, all modes of the filters, many at once."""

from collections import deque

import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import Session
from tests.host.funnel_machine import FOUR, QUARTERS, random_ask

MEMORY_BYTES = 1 << 22
DEPTH = 16
TIMINGS = {
    "steady": MemoryTiming(),
    "stalls": MemoryTiming(jitter_cycles=20, in_order=False, stall_per_mille=100),
}


def run(device, seed, count):
    """Ask `count` random queries, DEPTH of them in flight; return their completions."""
    session = Session(
        device, FOUR, seed=seed, depth=DEPTH, split=QUARTERS, memory_bytes=MEMORY_BYTES
    )
    asked, completions = deque(), []

    def take():
        tag, query, request = asked.popleft()
        completions.append(session.driver.wait(tag))
        session.check(completions[-1], query, f"query {len(completions)}: {query.tasks}")
        session.driver.release_feature_table(request.features)

    for _ in range(count):
        query, request = random_ask(session)
        asked.append((session.driver.submit(request), query, request))
        if len(asked) == DEPTH:
            take()
    while asked:
        take()
    assert not session.driver.poll()
    return completions


def test_software_device_answers_tasks():
    assert len(run(SoftwareDevice(FOUR, MEMORY_BYTES), 5, 60)) == 60


@pytest.mark.slow
@pytest.mark.parametrize("timing", TIMINGS)
def test_random_queries_match_golden(timing):
    library = build_simulator(FOUR)
    with VerilatedDevice(
        FOUR, TIMINGS[timing], memory_bytes=MEMORY_BYTES, library=library
    ) as device:
        completions = run(device, list(TIMINGS).index(timing), 400)
    # the lanes were shared: some queries ran on one lane, some on all
    assert {completion.lanes.bit_count() for completion in completions} == {1, 2, 3, 4}
    assert any(completion.overshoot for completion in completions)
