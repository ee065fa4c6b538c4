"""The dispatcher of a machine with a retrieval engine; its retriever is a Python process."""

import pytest

from rpaccel.rtl.query_check import QueryCheck
from rpaccel.spec.isa import MAX_STAGES, StageKind, StageMode, Status, StatusFlag
from tests.rtl.retriever_bench import machine
from tests.rtl.test_dispatcher import Bench, query, rings, until
from tests.streams import receive, send, simulate

CONFIG = machine(funnels=2)
FOUND = {
    "rows": 1000, "scan_cycles": 77, "beats": 66, "epoch": 5, "stalled_cycles": 4, "overshoot": 30,
    "flags": StatusFlag.OVERFILL,
}  # fmt: skip
ALONE = {
    "stages": 1, "stage0_kind": StageKind.RETRIEVE, "stage0_k": 10, "candidates_address": 0x400,
    "result_address": 0x800,
}  # fmt: skip
FIRST = ALONE | {
    "stages": 3, "top_n": 5, "user_record_bytes": 64, "item_record_bytes": 64,
    "stage1_kind": StageKind.RANK, "stage2_kind": StageKind.RANK, "stage1_k": 10,
}  # fmt: skip


def statuses(cases, owns=1, loaded=0b11):
    dut = QueryCheck(CONFIG)
    found = []

    async def bench(ctx):
        ctx.set(dut.lane_owns, owns)
        for fields in cases:
            ctx.set(dut.descriptor, fields)
            ctx.set(dut.loaded[0], loaded)
            await ctx.tick().repeat(dut.latency_cycles)
            found.append(Status(ctx.get(dut.status)))

    simulate(dut, bench)
    return found


@pytest.mark.parametrize(
    ("good", "changes", "status"),
    [
        (ALONE, {}, Status.OK),
        (ALONE, {"stage0_k": CONFIG.retrieval_k_max}, Status.OK),
        (ALONE, {"items": 0, "stage0_model": 9, "stage0_lanes": 0x80, "top_n": 0}, Status.OK),
        (ALONE, {"stage0_k": 0}, Status.BAD_K),
        (ALONE, {"stage0_k": CONFIG.retrieval_k_max + 1}, Status.BAD_K),
        (ALONE, {"candidates_address": 8}, Status.BAD_RECORD),
        (ALONE, {"result_address": 8}, Status.BAD_RECORD),
        (ALONE, {"result_address": 1 << 40}, Status.REGION),
        (ALONE, {"stages": 0}, Status.BAD_STAGES),
        (FIRST, {}, Status.OK),
        (FIRST, {"stages": MAX_STAGES, "stage2_k": 3, "stage3_kind": 1}, Status.OK),
        (FIRST, {"items": 0, "stage0_mode": 77, "stage0_task_items": 3}, Status.OK),
        (FIRST, {"stages": 2, "stage1_k": 0}, Status.OK),
        (FIRST, {"stage1_k": 11}, Status.BAD_K),
        (FIRST, {"stage1_k": 0}, Status.BAD_K),
        (FIRST, {"top_n": 0}, Status.BAD_K),
        (FIRST, {"stages": MAX_STAGES + 1}, Status.BAD_STAGES),
        (FIRST, {"stage1_kind": StageKind.RETRIEVE}, Status.BAD_STAGES),
        (FIRST, {"stage2_kind": StageKind.RETRIEVE}, Status.BAD_STAGES),
        (FIRST, {"stage1_lanes": 2}, Status.BAD_LANE),
        (FIRST, {"stage2_model": 3}, Status.BAD_MODEL),
        (FIRST, {"stage1_task_items": 3}, Status.BAD_TASK),
        (FIRST, {"stage1_mode": StageMode.LOCAL}, Status.BAD_TASK),
        (FIRST, {"user_record_bytes": 0}, Status.BAD_RECORD),
    ],
)
def test_checks(good, changes, status):
    assert statuses([good | changes]) == [status]


def test_a_query_of_retrieval_alone_needs_no_lane():
    assert statuses([ALONE, FIRST], owns=0, loaded=0) == [Status.OK, Status.BAD_LANE]


class Retrieving(Bench):
    """A retriever that answers queries of one stage, and hands on the others a stage shorter."""

    def __init__(self, **options):
        super().__init__(CONFIG, **options)
        self.handed = []
        self.extra = [self.retriever]
        self.done = {"items0": 100, "items1": 200, "overshoot": 1, "flags": StatusFlag.UNDERFILL}

    async def retriever(self, ctx):
        dut = self.dut
        ctx.set(dut.retriever_idle, 1)
        while True:
            (got,) = await receive(ctx, dut.retrieve, 1, limit_cycles=100_000)
            ctx.set(dut.retriever_idle, 0)
            descriptor = got["descriptor"]
            await ctx.tick().repeat(self.random.randrange(1, 100))
            if descriptor["stages"] == 1:
                done = {"tag": descriptor["tag"], "count": 7, "total_cycles": 9, "queue_cycles": 3}
                await send(ctx, dut.retrieved, [done])
            else:
                times = {name: got[name] for name in ("fetched_at", "accepted_at")}
                on = descriptor | {"stages": descriptor["stages"] - 1}
                await send(ctx, dut.passed, [{"descriptor": on, "found": FOUND | times}])
                self.handed.append((got, ctx.get(dut.clock)))
            ctx.set(dut.retriever_idle, 1)


def test_completions_have_the_stages_of_the_query():
    bench = Retrieving(seed=3)
    kinds = [FIRST, ALONE, {}, FIRST, ALONE, FIRST, {}, {}, {}, FIRST, {}, {}]
    descriptors = [
        query(tag, 2) | fields | {"result_address": query(tag, 2)["result_address"]}
        for tag, fields in enumerate(kinds)
    ]
    bench.submit(descriptors, 16)

    async def host(ctx):
        ctx.set(bench.dut.rings, rings(16, 16, sq_tail=len(kinds)))
        await until(ctx, bench.dut, len(kinds))
        assert ctx.get(bench.dut.queries) == len(kinds)

    bench.run(host)
    completions = {c["tag"]: c for c in (bench.completion(i, 16) for i in range(len(kinds)))}
    assert sorted(completions) == list(range(len(kinds)))
    handed = {got["descriptor"]["tag"]: (got, when) for got, when in bench.handed}
    for tag, fields in enumerate(kinds):
        done = completions[tag]
        if fields is ALONE:  # its results are in memory: no funnel is asked for them
            assert (done["count"], done["total_cycles"], done["queue_cycles"]) == (7, 9, 3)
        elif fields is FIRST:
            got, when = handed[tag]
            assert done["items0"] == FOUND["rows"]
            assert done["items1"] == 100 and done["items2"] == 200 and done["items3"] == 0
            assert (done["gather_cycles0"], done["array_cycles0"]) == (77, 66)
            assert (done["interaction_cycles0"], done["filter_cycles0"]) == (5, 4)
            assert done["overshoot"] == 30 + 1
            assert done["flags"] == StatusFlag.OVERFILL | StatusFlag.UNDERFILL
            assert done["queue_cycles"] == got["accepted_at"] - got["fetched_at"]
            inside = done["stage_cycles0"]
            assert done["total_cycles"] == inside + 5
            assert 0 < inside <= when - got["accepted_at"]
        else:
            assert done["items0"] == 100 and done["total_cycles"] == 5
            assert done["flags"] == StatusFlag.UNDERFILL


def test_no_more_are_retrieved_than_a_stage_takes(monkeypatch):
    few = CONFIG.model_copy(update={"max_items": 32})
    assert few.max_items < few.retrieval_k_max
    monkeypatch.setitem(globals(), "CONFIG", few)
    cases = [FIRST | {"stage0_k": k} for k in (32, 33)]
    assert statuses(cases) == [Status.OK, Status.BAD_K]
