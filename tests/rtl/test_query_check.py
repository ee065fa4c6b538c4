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


def statuses(cases, config=CONFIG, owns=1):
    """Return the status of each (descriptor fields, loaded slots)."""
    dut = QueryCheck(config)
    found = []

    async def bench(ctx):
        ctx.set(dut.lane_owns, owns)
        for fields, loaded in cases:
            ctx.set(dut.descriptor, fields)
            for lane, slots in enumerate(dut.loaded):
                ctx.set(slots, loaded[lane] if isinstance(loaded, tuple) else loaded)
            await ctx.tick().repeat(dut.latency_cycles)
            found.append(ctx.get(dut.status))

    simulate(dut, bench)
    return found


def change(loaded=0b11, **fields):
    return GOOD | fields, loaded


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
                change(stage1_mode=9, stage1_task_items=1, stage1_lanes=1),
                change(stage0_mode=StageMode.GLOBAL, stage0_options=3),
                change(stage0_mode=StageMode.LOCAL, stage0_task_items=2, stage0_task_k=1),
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
                change(stage0_k=0xFFFF),
                change(top_n=0),
                change(top_n=CONFIG.max_top_n + 1, user_record_bytes=0),
                change(stages=3, stage2_kind=StageKind.RANK, stage1_k=11),
            ],
        ),
        (
            Status.BAD_TASK,
            [
                change(stage0_mode=4),
                change(stage0_options=4),
                change(stage0_task_items=1),
                change(stage0_task_items=63, stages=1),
                change(stage0_mode=StageMode.LOCAL, stage0_task_items=2),
                change(stage0_mode=StageMode.LOCAL, stage0_task_k=2),
                change(stage0_mode=StageMode.PROPORTIONAL, stage0_task_k=2),
                change(
                    stage0_mode=StageMode.PROPORTIONAL,
                    stage0_task_items=2,
                    stage0_task_k=1,
                    stage0_options=1,
                ),
                change(stages=3, stage1_k=5, stage2_kind=StageKind.RANK, stage1_mode=255),
            ],
        ),
        (
            Status.BAD_LANE,
            [
                change(stage0_lanes=2),
                change(stage1_lanes=1 << 31),
                change(stages=0, stage0_lanes=2),
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


def test_a_stage_needs_its_model_on_all_its_lanes():
    three = CONFIG.model_copy(update={"lanes": 3})
    front, back = {"stage0_lanes": 0b011, "stage1_lanes": 0b100}, {"stage1_model": 1}
    cases = [
        change(loaded=(0b01, 0b01, 0b10), **front, **back),
        change(loaded=(0b01, 0b00, 0b10), **front, **back),  # lane 1 owns nothing
        change(loaded=(0b00, 0b01, 0b10), **front, **back),
        change(loaded=(0b01, 0b01, 0b01), **front, **back),
        change(loaded=(0b01, 0b01, 0b00), **front),
        change(loaded=(0b11, 0b11, 0b10)),
        change(loaded=(0b01, 0b00, 0b01)),
        change(loaded=(0b01, 0b01, 0b01), stage0_lanes=0b010),
    ]
    good, bad = Status.OK, Status.BAD_MODEL
    expected = [good, good, bad, bad, bad, bad, good, Status.BAD_LANE]
    assert statuses(cases, three, owns=0b101) == expected


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
            tasks=tuple(
                StageTasks(
                    task_items=rng.choice([0, 2, 2, 3]),
                    task_k=rng.choice([0, 1]),
                    mode=rng.choice(list(StageMode)),
                    exact=rng.random() < 0.3,
                )
                for _ in range(MAX_STAGES)
            ),
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
                f"stage{i}_task_items": query.tasks[i].task_items,
                f"stage{i}_task_k": query.tasks[i].task_k,
                f"stage{i}_mode": query.tasks[i].mode,
                f"stage{i}_options": query.tasks[i].options,
            }
        cases.append((fields, 0b01))
    assert statuses(cases) == expected
    assert len(set(expected)) >= 6
