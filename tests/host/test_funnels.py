"""Queries in tasks over several lanes, all modes of the filters, many at once."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.timeline import device_events
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import Session
from rpaccel.spec.isa import Status
from tests.host.funnel_machine import QUARTERS, SPLIT, random_ask

MEMORY_BYTES = 1 << 22
DEPTH = 16
TIMINGS = {
    "steady": MemoryTiming(),
    "stalls": MemoryTiming(jitter_cycles=20, in_order=False, stall_per_mille=100),
}


def run(device, seed, count, log=None):
    """Ask `count` random queries, DEPTH of them in flight; return their completions."""
    session = Session(
        device,
        SPLIT,
        seed=seed,
        depth=DEPTH,
        split=QUARTERS,
        memory_bytes=MEMORY_BYTES,
        task_log_entries=0 if log is None else 256,
    )
    asked, completions = deque(), []

    def take():
        tag, query, request = asked.popleft()
        completions.append(session.driver.wait(tag))
        session.check(completions[-1], query, f"query {len(completions)}: {query.tasks}")
        session.driver.release_feature_table(request.features)
        if log is not None:
            log.extend(session.driver.task_log.take())

    for _ in range(count):
        query, request = random_ask(session)
        asked.append((session.driver.submit(request), query, request))
        if len(asked) == DEPTH:
            take()
    while asked:
        take()
    assert not session.driver.poll()
    if log is not None:
        log.extend(session.driver.task_log.take())
        assert session.driver.task_log.missed == session.driver.task_log.dropped == 0
    return completions


def test_software_device_answers_tasks():
    assert len(run(SoftwareDevice(SPLIT, MEMORY_BYTES), 5, 60)) == 60


@pytest.mark.slow
@pytest.mark.parametrize("timing", TIMINGS)
def test_random_queries_match_golden(timing):
    library = build_simulator(SPLIT)
    with VerilatedDevice(
        SPLIT, TIMINGS[timing], memory_bytes=MEMORY_BYTES, library=library
    ) as device:
        completions = run(device, list(TIMINGS).index(timing), 250)
    # the lanes were shared: some queries ran on one lane, some on all
    assert {completion.lanes.bit_count() for completion in completions} == {1, 2, 3, 4}
    assert any(completion.overshoot for completion in completions)


@pytest.mark.slow
@pytest.mark.parametrize("timing", TIMINGS)
def test_a_slave_error_is_the_status_of_its_own_query_alone(timing):
    """Every third query's item records fail, DEPTH queries at once: the others are right."""
    library, spoiled = build_simulator(SPLIT), slice(1, None, 3)
    with VerilatedDevice(
        SPLIT, TIMINGS[timing], memory_bytes=MEMORY_BYTES, library=library
    ) as device:
        session = Session(
            device, SPLIT, seed=9, depth=DEPTH, split=QUARTERS, memory_bytes=MEMORY_BYTES
        )
        pairs = [random_ask(session) for _ in range(DEPTH)]
        for _, request in pairs[spoiled]:
            table = request.features
            device.inject_fault(table.address, table.address + table.rows * table.record_bytes)
        tags = [session.driver.submit(request) for _, request in pairs]
        completions = [session.driver.wait(tag) for tag in tags]
        failed = set(range(DEPTH)[spoiled])
        for number, (completion, (query, _)) in enumerate(zip(completions, pairs, strict=True)):
            if number in failed:
                assert completion.status is Status.MEMORY, number
            else:
                session.check(completion, query, f"query {number}")
        device.clear_faults()
        query, request = random_ask(session)
        session.check(session.ask(request), query, "after the faults")


@pytest.mark.slow
@pytest.mark.parametrize("region", ["inputs", "results", "features"])
def test_an_error_anywhere_costs_those_who_meet_it_their_answer(region):
    rng, library, failed = np.random.default_rng(2), build_simulator(SPLIT), 0
    with VerilatedDevice(
        SPLIT, TIMINGS["stalls"], memory_bytes=MEMORY_BYTES, library=library
    ) as device:
        session = Session(device, SPLIT, seed=8, depth=8, split=QUARTERS, memory_bytes=MEMORY_BYTES)
        begin, end = session.driver.regions[region]
        for _ in range(10):
            pairs = [random_ask(session) for _ in range(6)]
            if region == "features":  # only a part of the arena is used
                table = pairs[int(rng.integers(6))][1].features
                begin, end = table.address, table.address + table.rows * table.record_bytes
            first = int(rng.integers(begin, end))
            device.inject_fault(first, min(end, first + int(rng.choice([8, 64, 512]))))
            tags = [session.driver.submit(request) for _, request in pairs]
            for tag, (query, request) in zip(tags, pairs, strict=True):
                completion = session.driver.wait(tag)
                if completion.status is Status.MEMORY:
                    failed += 1
                    assert completion.ids.size == 0
                else:
                    session.check(completion, query)
                session.driver.release_feature_table(request.features)
            device.clear_faults()
            session.recover()
    assert 0 < failed < 60


@pytest.mark.slow
def test_the_task_log_tells_what_every_lane_did():
    log = []
    library = build_simulator(SPLIT)
    with VerilatedDevice(SPLIT, memory_bytes=MEMORY_BYTES, library=library) as device:
        completions = {c.tag: c for c in run(device, 9, 60, log)}
    done = {tag: [0] * 4 for tag in completions}
    lanes = dict.fromkeys(completions, 0)
    for record in log:
        done[record.tag][record.stage] += record.items
        lanes[record.tag] |= 1 << record.lane
        completion = completions[record.tag]
        begun = completion.ended_at - completion.total_cycles
        assert begun <= record.given_at < record.gathered_at <= record.computed_at
        assert record.given_at < record.first_score_at <= record.scored_at <= completion.ended_at
    for tag, completion in completions.items():
        assert tuple(done[tag]) == completion.items
        assert lanes[tag] == completion.lanes
    for lane in QUARTERS:  # gathers one task at a time
        mine = sorted((r for r in log if r.lane == lane), key=lambda record: record.given_at)
        for before, after in pairwise(mine):
            assert before.gathered_at < after.given_at
    events = device_events(log, completions.values())
    assert sum(event["ph"] == "X" for event in events) >= 3 * len(log) + 2 * len(completions)
