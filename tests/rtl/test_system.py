import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.compile import compile_models
from rpaccel.host.driver import Driver, Request
from rpaccel.host.partition import Rectangle
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Opcode, Status
from rpaccel.spec.registers import (
    ADDRESS,
    FUNNEL_COUNTER_UNITS,
    PORT_COUNTER_BASE,
    counter_address,
    funnel_counter_address,
)
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema
from tests.simulated_device import SimulatedDevice
from tests.streams import NIGHTLY

TINY = load_accelerator("tiny")
SIZES = [pytest.param(1, 1, marks=NIGHTLY), pytest.param(2, 2, marks=pytest.mark.slow)]
MEMORY_BYTES = 1 << 18
LIMIT_CYCLES = 20_000


def system(lanes, ports, **memory):
    sides = (1,) * lanes if lanes > 1 else ()  # several lanes: a block for each
    config = TINY.model_copy(update={"lanes": lanes, "lane_blocks": sides, "memory_ports": ports})
    rng = np.random.default_rng(lanes)
    sizes = {"user_tables": 1, "item_tables": 1, "max_ids": 2}
    small = random_ranker(rng, config, name="small", bottom=(), top=(), **sizes)
    large = shared_schema(rng, config, small, name="large", bottom=(), top=(6,))
    device = SimulatedDevice(config, MEMORY_BYTES, **memory)
    driver = Driver(device, config, MEMORY_BYTES, depth=4, limit_cycles=LIMIT_CYCLES)
    rankers = [small, large]
    if sides:
        driver.partition({lane: Rectangle.square(lane, lane, 1) for lane in range(lanes)})
    assert driver.load_models(compile_models(rankers, config.lane(0))).ok
    return rng, config, rankers, device, driver


def request_of(query, driver):
    return Request(
        user_record=query.user_record,
        candidates=query.candidates,
        features=driver.register_feature_table(query.features),
        stages=query.stages,
        top_n=query.top_n,
    )


def check(done, query, rankers, config):
    expected = run_query(query, rankers, config)
    assert (done.status, done.flags) == (expected.status, expected.flags)
    assert done.items == expected.items
    assert done.ids.tolist() == expected.ids.tolist()
    assert done.logits.tolist() == expected.logits.tolist()
    assert done.ctr.tolist() == expected.ctr.tolist()


@pytest.mark.parametrize("lanes, ports", SIZES)
def test_matches_golden(lanes, ports):
    rng, config, rankers, device, driver = system(lanes, ports, stall=0.1)
    queries = [
        random_query(rng, config, rankers, items=items, slots=slots, feature_rows=20)
        for items, slots in ((8, (0, 1)), (5, (1,)), (3, (0,)))
    ]
    requests = [request_of(query, driver) for query in queries]
    completions = list(driver.run(requests))
    assert len(completions) == len(queries)
    for done, query in zip(completions, queries, strict=True):
        check(done, query, rankers, config)
    assert driver.last_error is None
    assert device.read_register(ADDRESS["QUERIES"]) == len(queries)
    assert {done.lane for done in completions} == set(range(lanes))
    assert device.read_register(ADDRESS["STATUS"]) == 0

    # Exact counts: beats of every port, items of every lane.
    beats = [device.read_register(PORT_COUNTER_BASE + 16 * port) for port in range(ports)]
    assert sum(beats) == device.memory.read_beats
    assert all(beats)
    gathered = sum(
        device.read_register(counter_address(lane, "gather", "items")) for lane in range(lanes)
    )
    ranked = sum(
        device.read_register(funnel_counter_address(funnel, unit, "items"))
        for funnel in range(config.funnels)
        for unit in FUNNEL_COUNTER_UNITS
    )
    assert gathered == ranked == sum(sum(done.items) for done in completions)
    used = {identity for identity, _, _ in device.memory.reads}
    assert len(used) > 4 and max(used) < 1 << config.axi_id_bits


@pytest.mark.slow
def test_errors_belong_to_their_query():
    rng, config, rankers, device, driver = system(1, 1)
    query = random_query(rng, config, rankers, items=3, slots=(0,), feature_rows=20)
    request = request_of(query, driver)
    table = request.features.address + int(query.candidates[1]) * request.features.record_bytes

    def ask(fields=None):
        return driver.wait(driver.submit(request, fields=fields))

    # A list outside every region is refused: nothing is read there.
    outside = MEMORY_BYTES * 2
    assert ask({"candidates_address": outside}).status is Status.REGION
    assert not [a for _, a, _ in device.memory.reads if a >= outside]
    assert f"read at {outside:#x} by requester 0: status 10" in driver.last_error
    check(ask(), query, rankers, config)

    # The memory fails in the middle of a query.
    device.memory.failing[table] = 2
    assert ask().status is Status.MEMORY
    device.memory.failing.clear()
    check(ask(), query, rankers, config)

    # Results may not be written into a region that only permits reading.
    done = ask({"result_address": driver.regions["features"][0]})
    assert done.status is Status.REGION and not len(done.ids)
    assert "write" in driver.last_error

    # What is wrong with the descriptor itself.
    for fields, status in (
        ({"stages": 0}, Status.BAD_STAGES),
        ({"features_rows": 0}, Status.BAD_ID),
    ):
        assert ask(fields).status is status
    assert driver.wait(driver.submit_fields({"opcode": 7})).status is Status.BAD_OPCODE
    assert driver.wait(driver.submit_fields({"opcode": Opcode.NOP})).status is Status.OK
    check(ask(), query, rankers, config)
