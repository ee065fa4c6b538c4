from dataclasses import replace

import pytest

from rpaccel.host.partition import check_partition
from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.scheduler.ablation import saturated_qps
from rpaccel.scheduler.lane_machine import LaneMachine
from rpaccel.scheduler.paper_pipelines import Pipeline, PipelineSetup, PipelineStage
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import load_platform

CONFIG, PLATFORM = load_accelerator("paper"), load_platform("paper")
SPLITS = {"1*4x4": 1, "2*2x2": 2, "4*2x2": 4, "8*1x1": 8}


def lane_machine(split="4*2x2", keep=64, network=RM_LARGE):
    return LaneMachine(config=CONFIG, platform=PLATFORM, network=network, split=split, keep=keep)


def with_memory(changes):
    """Return the platform with other timing of its memory, of fields that it has."""
    whole = PLATFORM.model_dump()
    whole["accelerator"]["memory"] |= changes
    return type(PLATFORM).model_validate(whole)


@pytest.mark.parametrize("split", SPLITS)
def test_lanes_own_blocks_that_the_machine_has(split):
    machine = lane_machine(split)
    assert len(machine.lanes) == SPLITS[split]
    assert set(machine.partition) == set(machine.lanes)
    check_partition(machine.partition, CONFIG)
    stage = machine.stage([5])
    assert stage.lanes == SPLITS[split]


@pytest.mark.parametrize("items", [64, 256])
@pytest.mark.parametrize("split", ["1*4x4", "4*2x2"])
def test_an_idle_lane_takes_what_the_model_of_a_query_says(split, items):
    machine = lane_machine(split)
    lane = CONFIG.lane(machine.lanes[0])
    stage = StageInput(shape=compile_shape(RM_LARGE, lane), items=items)
    records = RecordSizes(user_bytes=CONFIG.beat_bytes, item_bytes=128)
    cycles = predict_query(lane, [stage], PLATFORM.accelerator.memory, records, 64).total_cycles
    assert machine.hold_s(items) == pytest.approx(cycles / 250e6, rel=0.02)


@pytest.mark.parametrize("network", [RM_SMALL, RM_LARGE], ids=lambda network: network.name)
@pytest.mark.parametrize("split", SPLITS)
def test_all_lanes_together_take_no_more_queries_than_the_machine(split, network):
    machine = lane_machine(split, network=network)
    stage = PipelineStage(network=network, items=256, lanes=machine.lanes)
    setup = PipelineSetup(Pipeline(name="alone", stages=(stage,)), CONFIG)
    held_qps = len(machine.lanes) / machine.hold_s(256)
    assert held_qps <= 1.02 * saturated_qps(setup)


def test_lanes_that_the_memory_keeps_waiting_hold_longer():
    memory = {"latency_cycles": 10 * PLATFORM.accelerator.memory.latency_cycles}
    slow = with_memory(memory)
    for split in ("1*1x1", "8*1x1"):
        machine = lane_machine(split, network=RM_SMALL)
        assert replace(machine, platform=slow).hold_s(256) > 1.2 * machine.hold_s(256)


def test_link_carries_records_there_and_a_list_back():
    stage = lane_machine(keep=8).stage([256, 4, 256], first=True)
    assert stage.items == (256, 4, 256)
    assert stage.first
    assert stage.service_s[0] == stage.service_s[2] > stage.service_s[1]
    for items, link_s in zip(stage.items, stage.link_s, strict=True):
        sent_bytes = items * 120 + min(items, 8) * 8
        assert link_s == pytest.approx(2 * 40e-6 + sent_bytes / 6.67e9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lane_machine("8*1x1+2*2x2"), r"^split must be of equal lanes, N\*RxC, not"),
        (lambda: lane_machine("14*1x1"), r"^split must use at most 8 lanes of 1x1, not 14"),
        (lambda: lane_machine("5*2x2"), r"^split must have at most 16 blocks, not 20"),
        (lambda: lane_machine(keep=65), r"^keep must be in 1\.\.64 on the accelerator, not 65"),
        (lambda: lane_machine().stage([4097]), r"^items must be at most 4096 on the accelerator"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()
