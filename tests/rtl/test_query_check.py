import random

import numpy as np
import pytest

from rpaccel.golden.lane import Query, validate
from rpaccel.rtl.query_check import QueryCheck
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import MAX_STAGES, StageKind, StageMode, Status
from rpaccel.spec.stage_tasks import StageTasks
from tests.streams import simulate

CONFIG = load_accelerator("tiny")
GOOD = {
    "stages": 2,
    "items": 40,
    "top_n": 5,
    "features_address": 0x4000,
    "features_rows": 50,
    "item_record_bytes": 32,
    "user_record_bytes": 64,
    "user_address": 0x100,
    "candidates_address": 0x200,
    "result_address": 0x300,
    "stage0_kind": StageKind.RANK,
    "stage1_kind": StageKind.RANK,
    "stage0_k": 10,
}
SHARED = {"stage0_mode": StageMode.LOCAL, "stage0_task_items": 2, "stage0_task_k": 1}


def statuses(cases, config=CONFIG):
    """Return the status of each (descriptor fields, slots of each lane, lanes that own blocks)."""
    dut = QueryCheck(config)
    found = []

    async def bench(ctx):
        for fields, loaded, owns in cases:
            ctx.set(dut.descriptor, fields)
            for lane, slots in enumerate(loaded):
                ctx.set(dut.loaded[lane], slots)
            ctx.set(dut.lane_owns, owns)
            await ctx.tick().repeat(QueryCheck.latency_cycles)
            found.append(ctx.get(dut.status))

    simulate(dut, bench)
    return found


def change(loaded=0b11, **fields):
    return GOOD | fields, [loaded], 1


@pytest.mark.parametrize(
    "status, cases",
    [
        (
            Status.OK,
            [
                change(),
                change(stage0_k=1),
                change(stage0_k=40),
                change(stages=1, stage0_k=0, loaded=0b01),
                change(items=CONFIG.max_items, top_n=CONFIG.max_top_n),
                change(items=1, stage0_k=1, top_n=1),
                change(stage1_model=1, stage2_kind=9, stage2_model=200),
                change(user_record_bytes=CONFIG.user_record_bytes, item_record_bytes=8),
                change(item_record_bytes=64),
                change(**SHARED),
                change(**SHARED | {"stage0_options": 3}),
                change(**SHARED | {"stage0_mode": StageMode.PROPORTIONAL, "stage0_options": 2}),
                change(stage0_mode=StageMode.GLOBAL, stage0_options=3, stage0_task_items=64),
                change(stage1_mode=9, stage1_options=9, stage1_task_items=3),
                change(stages=1, stage0_mode=9, stage0_options=9, stage0_task_items=2),
                change(deadline_cycles=1 << 63, survivor_limit=9),
            ],
        ),
        (
            Status.BAD_STAGES,
            [
                change(stages=0),
                change(stages=MAX_STAGES + 1),
                change(stages=255),
                change(stages=3),
                change(stage0_kind=StageKind.RETRIEVE),
                change(stage1_kind=StageKind.NONE, items=0),
            ],
        ),
        (
            Status.BAD_ITEMS,
            [change(items=0), change(items=CONFIG.max_items + 1), change(items=1 << 31)],
        ),
        (
            Status.BAD_MODEL,
            [
                change(loaded=0b10),
                change(stage1_model=1, loaded=0b01),
                change(stage1_model=2),
                change(stage0_model=255, top_n=0),
            ],
        ),
        (
            Status.BAD_K,
            [
                change(stage0_k=0),
                change(stage0_k=41),
                change(stage0_k=1 << 31),
                change(top_n=0),
                change(top_n=CONFIG.max_top_n + 1, user_record_bytes=0),
                change(stages=3, stage2_kind=StageKind.RANK, stage1_k=11),
            ],
        ),
        (
            Status.BAD_TASK,
            [
                change(stage0_task_items=1),
                change(stage0_task_items=7, user_record_bytes=0),
                change(stage0_mode=4),
                change(stage0_mode=255),
                change(stage0_options=4),
                change(stage0_mode=StageMode.LOCAL, stage0_task_k=1),
                change(stage0_mode=StageMode.LOCAL, stage0_task_items=2),
                change(stage0_mode=StageMode.PROPORTIONAL, stage0_task_k=1),
                change(**SHARED | {"stage0_mode": StageMode.PROPORTIONAL, "stage0_options": 1}),
                change(stages=3, stage2_kind=StageKind.RANK, stage1_k=1, stage1_mode=4),
            ],
        ),
        (
            Status.BAD_RECORD,
            [
                change(user_record_bytes=0),
                change(user_record_bytes=68),
                change(user_record_bytes=CONFIG.user_record_bytes + 8),
                change(item_record_bytes=0),
                change(item_record_bytes=4),
                change(item_record_bytes=48),
                change(item_record_bytes=128),
                change(features_address=0x4010),
                change(user_address=0x104),
                change(candidates_address=0x204),
                change(result_address=0x304),
            ],
        ),
        (
            Status.REGION,
            [
                change(**{f"{name}_address": 1 << 32})
                for name in ("user", "candidates", "features", "result")
            ],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Status) else "",
)
def test_statuses(status, cases):
    assert statuses(cases) == [status] * len(cases)


@pytest.mark.parametrize(
    "owns, loaded, lanes, status",
    [
        (0b111, (1, 1, 1), (0, 0), Status.OK),
        (0b111, (1, 1, 1), (0b010, 0b100), Status.OK),
        (0b011, (1, 1, 0), (0, 0), Status.OK),  # lane 2 owns nothing and is not asked
        (0b011, (1, 1, 0), (0b110, 0b001), Status.OK),
        (0b011, (1, 1, 1), (0b100, 0), Status.BAD_LANE),
        (0b011, (1, 1, 1), (0, 0b100), Status.BAD_LANE),
        (0b000, (1, 1, 1), (0, 0), Status.BAD_LANE),
        (0b111, (1, 1, 1), (1 << 3, 0), Status.BAD_LANE),
        (0b111, (1, 1, 0), (0, 0b011), Status.BAD_MODEL),
        (0b111, (1, 1, 0), (0b011, 0b110), Status.BAD_MODEL),
        (0b111, (1, 0, 0), (0b001, 0b001), Status.OK),
    ],
)
def test_every_stage_has_a_lane_and_all_of_its_lanes_have_its_model(owns, loaded, lanes, status):
    three = CONFIG.model_copy(update={"lanes": 3})
    fields = {f"stage{s}_lanes": mask for s, mask in enumerate(lanes)}
    assert statuses([(GOOD | fields, loaded, owns)], three) == [status]


def test_a_stage_that_is_not_used_needs_no_lane():
    assert statuses([(GOOD | {"stage2_lanes": 2}, [3], 1)]) == [Status.OK]
    assert statuses([(GOOD | {"stages": 0, "stage0_lanes": 2}, [3], 1)]) == [Status.BAD_LANE]


def random_tasks(rng):
    return StageTasks(
        task_items=rng.choice([0, 0, 2, 4, 4, 5]),
        task_k=rng.choice([0, 1, 3]),
        mode=rng.choice(list(StageMode)),
        exact=rng.random() < 0.3,
        adaptive=rng.random() < 0.5,
    )


def test_agrees_with_golden():
    rng = random.Random(1)
    cases, expected = [], []
    for _ in range(300):
        items = rng.choice([0, 1, 5, 64, 65])
        keep = [rng.choice([0, 1, 4, 5, 64, 65]) for _ in range(MAX_STAGES)]
        slots = [rng.choice([0, 0, 0, 1, 2]) for _ in range(MAX_STAGES)]
        stages = rng.choice([1, 2, 2, 3, 4])
        user_bytes, item_bytes = rng.choice([8, 8, 8, 12, 256, 264]), rng.choice([8, 64, 64, 128])
        query = Query(
            user_record=bytes(user_bytes),
            candidates=np.zeros(items, dtype=np.uint32),
            features=np.zeros((3, item_bytes), dtype=np.uint8),
            stages=tuple(zip(slots, keep, strict=True))[:stages],
            top_n=rng.choice([0, 1, 8, 8, 9]),
            tasks=tuple(random_tasks(rng) for _ in range(stages)),
        )
        expected.append(validate(query, [object(), None], CONFIG))
        fields = {
            "stages": stages,
            "items": items,
            "top_n": query.top_n,
            "user_record_bytes": user_bytes,
            "item_record_bytes": item_bytes,
        }
        for i in range(MAX_STAGES):
            fields |= {
                f"stage{i}_kind": StageKind.RANK,
                f"stage{i}_model": slots[i],
                f"stage{i}_k": keep[i],
                f"stage{i}_task_items": query.tasks_of(i).task_items,
                f"stage{i}_task_k": query.tasks_of(i).task_k,
                f"stage{i}_mode": query.tasks_of(i).mode,
                f"stage{i}_options": query.tasks_of(i).options,
            }
        cases.append((fields, [0b01], 1))
    assert statuses(cases) == expected
    assert len(set(expected)) == 6
