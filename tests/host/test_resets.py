"""Lanes that are stuck, reset by hand, or all at once; queries that come too late."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.compile import compile_models
from rpaccel.host.image import encode_image
from rpaccel.host.placement import lane_mask
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import Session
from rpaccel.spec.isa import INSTRUCTION, Destination, Opcode, Status, Target
from rpaccel.spec.registers import ADDRESS, Irq
from rpaccel.spec.stage_tasks import StageTasks
from tests.host.funnel_machine import QUARTERS, SPLIT

MEMORY_BYTES = 1 << 22
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library():
    return build_simulator(SPLIT)


@pytest.fixture
def session(library):
    with VerilatedDevice(SPLIT, memory_bytes=MEMORY_BYTES, library=library) as device:
        yield Session(device, SPLIT, seed=3, depth=16, split=QUARTERS, memory_bytes=MEMORY_BYTES)


def without_scores(session):
    """Return the session's models, elsewhere in memory, with programs that never give a score."""
    compiled = compile_models(session.rankers, session.compiled.config, base=0x8_0000)
    sections = []
    for section in compiled.sections:
        payload = section.payload
        if section.target is Target.PROGRAM:
            size = INSTRUCTION.bytes
            code = [INSTRUCTION.from_bytes(payload[i : i + size])
                    for i in range(0, len(payload), size)]  # fmt: skip
            payload = b"".join(
                INSTRUCTION.to_bytes(
                    fields | {"destination": Destination.ACT0}
                    if fields["destination"] == Destination.SCORE and fields["op"] == 1
                    else fields
                )
                for fields in code
            )
        sections.append(replace(section, payload=payload))
    return replace(
        compiled, sections=tuple(sections), image=encode_image(sections, SPLIT.image_bytes)
    )


def test_a_stuck_lane_is_reset_alone(session):
    driver = session.driver
    driver._registers.write("WATCHDOG", 3000)
    driver.load_models(without_scores(session), [3])
    asked = []
    for number in range(24):
        query, request = session.query(items=40)
        lane = (1, 3)[number % 2]
        asked.append((driver.submit(replace(request, lanes=(lane,))), query, lane))
    for tag, query, lane in asked:
        completion = driver.wait(tag)
        if lane == 3:
            assert completion.status is Status.LANE_RESET and completion.ids.size == 0
        else:
            session.check(completion, query)
    assert driver.bus.read_register(ADDRESS["LANE_RESETS"]) >= 3  # several queries each
    driver.load_models(session.compiled, [3])  # a good image, and it works again
    query, request = session.query(items=40)
    session.check(session.ask(replace(request, lanes=(3,))), query)


def test_the_watchdog_leaves_lanes_alone_that_work_or_have_nothing_to_do(session):
    driver, device = session.driver, session.driver.bus
    driver._registers.write("WATCHDOG", 1500)
    device.run(20_000)
    for items in (64, 1, 40):
        query, request = session.query(items=items)
        done = session.ask(request)
        session.check(done, query)
        device.run(5000)
    assert done.total_cycles > 1500  # longer than a lane may stand still
    assert device.read_register(ADDRESS["LANE_RESETS"]) == 0


def test_a_lane_whose_scores_wait_for_their_turn_is_not_stuck(session):
    """Those before them are of a lane that has much to do: longer than the watchdog takes."""
    driver, device, tasks = session.driver, session.driver.bus, (StageTasks(task_items=8),)
    driver._registers.write("WATCHDOG", 600)  # a lane at work moves sooner
    for _ in range(3):
        long, request = session.query(items=64, slots=(1,), keep=())
        first = driver.submit(replace(request, lanes=(1,)))
        device.run(2500)  # gathered: the lane takes the next task behind it
        short, request = session.query(items=64, slots=(0,), keep=())
        short, request = (replace(each, tasks=tasks) for each in (short, request))
        second = driver.submit(replace(request, lanes=(1, 2)))
        session.check(driver.wait(first), long)
        done = driver.wait(second)
        session.check(done, short)
        assert done.lanes == 0b110
    assert device.read_register(ADDRESS["LANE_RESETS"]) == 0


def test_a_lane_that_is_reset_takes_no_other_query_with_it(session):
    driver, rng = session.driver, np.random.default_rng(4)
    statuses = []
    for _ in range(20):
        pairs = [session.query(items=50) for _ in range(4)]
        asked = [
            (driver.submit(replace(request, lanes=(lane,))), query, lane)
            for lane, (query, request) in enumerate(pairs, 1)
        ]
        driver.bus.run(int(rng.integers(1, 6000)))
        driver.reset_lanes([2])
        for (tag, query, lane), (_, request) in zip(asked, pairs, strict=True):
            completion = driver.wait(tag)
            if lane == 2:
                statuses.append(completion.status)
            if completion.status is not Status.LANE_RESET or lane != 2:
                session.check(completion, query)
            driver.release_feature_table(request.features)
    assert {Status.OK, Status.LANE_RESET} == set(statuses)


def test_a_soft_reset_ends_all_and_loses_nothing(session):
    driver, rng = session.driver, np.random.default_rng(5)
    ended = 0
    for _ in range(12):
        pairs = [session.query(items=30) for _ in range(8)]
        asked = [(driver.submit(request), query) for query, request in pairs]
        driver.bus.run(int(rng.integers(1, 9000)))
        driver.reset()
        for (tag, query), (_, request) in zip(asked, pairs, strict=True):
            completion = driver.wait(tag)
            if completion.status is Status.ABORTED:
                ended += 1
                assert completion.ids.size == 0
            else:
                session.check(completion, query)
            driver.release_feature_table(request.features)
        session.recover()
    assert ended


@pytest.mark.parametrize("alone", [False, True], ids=["device", "lane"])
def test_models_are_whole_when_a_reset_comes_while_they_are_loaded(session, alone):
    driver, rng, image = session.driver, np.random.default_rng(6), session.compiled
    load = {"opcode": Opcode.LOAD, "user_address": image.image_address, "items": len(image.image)}
    begun = driver.bus.cycles
    driver.load_models(image)
    cycles = driver.bus.cycles - begun
    for number in range(20):
        lane = 1 + number % 4
        tag = driver.submit_fields(load | {"stage0_lanes": lane_mask(QUARTERS)})
        driver.bus.run(int(rng.integers(1, cycles)))
        driver.reset_lanes([lane]) if alone else driver.reset()
        assert driver.wait(tag).ok
        query, request = session.query(items=12)
        session.check(session.ask(replace(request, lanes=(lane,))), query)
        driver.release_feature_table(request.features)


def test_a_late_query_says_so(session):
    query, request = session.query(items=60)
    golden = run_query(query, session.rankers, SPLIT)
    in_time = session.ask(replace(request, deadline_cycles=1_000_000))
    assert in_time.ids.tolist() == golden.ids.tolist()
    for deadline in (1, 100, in_time.total_cycles // 2):
        late = session.ask(replace(request, deadline_cycles=deadline))
        assert late.status is Status.LATE and late.ids.size == 0
    session.check(session.ask(request), query)
    with pytest.raises(ValueError, match=r"^deadline_cycles must be at least 0, not -1$"):
        session.driver.submit(replace(request, deadline_cycles=-1))


def test_interrupts_for_several_completions(session):
    driver, device = session.driver, session.driver.bus
    driver.coalesce(4, 50_000)

    def completed():
        return device.read_register(ADDRESS["CQ_TAIL"])

    pairs = [session.query(items=20) for _ in range(8)]
    before = completed()
    tags = [driver.submit(request) for _, request in pairs]
    assert device.wait_interrupt(1_000_000)
    assert 4 <= completed() - before < 8  # the fourth, and what came while the host looked
    for tag, (query, _) in zip(tags, pairs, strict=True):
        session.check(driver.wait(tag), query)

    device.write_register(ADDRESS["IRQ_STATUS"], Irq.COMPLETION)
    single, request = session.query(items=20)
    before = completed()
    tag = driver.submit(request)
    while completed() == before:
        device.run(100)
    came = device.cycles
    assert not device.wait_interrupt(49_000)
    session.check(driver.wait(tag), single)
    assert device.wait_interrupt(2_000) and device.cycles <= came + 51_000
