import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from rpaccel.golden.lane import Query, validate
from rpaccel.rtl.query_check import QueryCheck
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import MAX_STAGES, StageKind, Status

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


def statuses(cases):
    """Return the status of each (descriptor fields, loaded slots)."""
    top = Module()
    top.submodules.dut = dut = QueryCheck(CONFIG)
    found = []

    async def bench(ctx):
        for fields, loaded in cases:
            ctx.set(dut.descriptor, fields)
            ctx.set(dut.loaded, loaded)
            await ctx.delay(1e-6)
            found.append(ctx.get(dut.status))

    simulator = Simulator(top)
    simulator.add_testbench(bench)
    simulator.run()
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
            }
        cases.append((fields, 0b01))
    assert statuses(cases) == expected
    assert len(set(expected)) >= 5
