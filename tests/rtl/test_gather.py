import pytest

from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Pooling, Status
from tests.rtl.conftest import small
from tests.rtl.gather_bench import check, check_halves_and_quarters, run
from tests.rtl.gather_stage import Shape, Stage
from tests.streams import STALLS, slow_but, slow_rows_but

TINY = load_accelerator("tiny")
EDGE = load_accelerator("edge")
CONFIGS = {
    "A4": small(4),
    "A4-W8": small(4, axi_data_bits=64),  # a beat is two dense words
    "tiny": TINY,
    "A16-W8": small(16, max_dim=64),  # a vector word is two beats
    "edge": EDGE,
    "A32-W8": small(32, dense_words=16, feature_words=32, max_dim=32),  # 4 engines
    "A32-W32": small(32, axi_data_bits=256, feature_words=32, max_dim=32),
}
# Rows shorter than, as long as, and longer than a beat and a vector word.
CASES = [
    ("A4", 4), ("A4", 13), ("A4-W8", 4), ("A4-W8", 16),
    ("tiny", 3), ("tiny", 8), ("tiny", 16),
    ("A16-W8", 4), ("A16-W8", 8), ("A16-W8", 12), ("A16-W8", 32), ("A16-W8", 64),
    ("edge", 4), ("edge", 16), ("edge", 33),
    ("A32-W8", 4), ("A32-W8", 16), ("A32-W8", 20),
    ("A32-W32", 7), ("A32-W32", 32),
]  # fmt: skip
EVERY_STALL = [("tiny", 16), ("A32-W8", 20)]
QUICK = [("A4-W8", 16), ("tiny", 3), ("tiny", 16), ("A16-W8", 12), ("edge", 33), ("A32-W8", 20)]

MIXED = {
    "user": [Shape(), Shape(max_ids=20, pooling=Pooling.SUM), Shape(max_ids=5)],
    "item": [Shape(), Shape(max_ids=4), Shape(max_ids=3, pooling=Pooling.SUM), Shape(rows=3)],
}


@pytest.mark.parametrize(
    "config, dim, stall",
    [
        pytest.param(
            CONFIGS[name],
            dim,
            stall,
            id=f"{name}-{dim}-{stall}",
            marks=() if stall == "both" and (name, dim) in QUICK else pytest.mark.slow,
        )
        for name, dim in CASES
        for stall in (STALLS if (name, dim) in EVERY_STALL else ["none", "both"])
    ],
)
def test_matches_golden(config, dim, stall):
    stage = Stage(config=config, dim=dim, items=11, sub_batch=2 if config is TINY else 5, **MIXED)
    outcomes, records, rows = run(stage, stall, repeats=2)
    batches = 0
    for outcome in outcomes:
        check(stage, outcome, before=batches)
        batches += len(outcome.batches)
        assert outcome.status == 0
    assert len(rows.reads) == 2 * stage.reads()
    assert rows.read_beats == 2 * stage.reads() * max(1, stage.row_bytes // config.beat_bytes)
    record_bytes = stage.user_bytes + stage.items * stage.item_bytes
    assert records.read_beats == 2 * record_bytes // config.beat_bytes
    assert records.most_outstanding[0] <= config.reads_in_flight
    assert 2 <= rows.most_outstanding[0] <= config.reads_in_flight


@pytest.mark.parametrize("user, item, user_dense, item_dense", [
    ([], [Shape()], 0, 0),
    ([Shape(rows=1)], [], 0, 9),
    ([], [], 20, 1),
    ([Shape(max_ids=50)], [Shape(max_ids=1), Shape(max_ids=1, pooling=Pooling.SUM)], 0, 0),
])  # fmt: skip
@pytest.mark.parametrize(
    "name, items, sub_batch",
    slow_rows_but(
        [("tiny", 1, 1), ("A32-W8", 11, 9)],
        [("tiny", 1, 1), ("tiny", 5, 1), ("A4-W8", 5, 4), ("A16-W8", 5, 4), ("A32-W8", 11, 9)],
    ),
)
def test_edges(user, item, user_dense, item_dense, name, items, sub_batch):
    stage = Stage(
        config=CONFIGS[name], dim=8, user=user, item=item, user_dense=user_dense,
        item_dense=item_dense, items=items, sub_batch=sub_batch,
    )  # fmt: skip
    (outcome,), _, _ = run(stage)
    check(stage, outcome)
    assert outcome.status == 0


def test_pools_128_extreme_rows():
    config = TINY.model_copy(update={"user_record_bytes": 2048})
    stage = Stage(
        config=config, dim=8, user=[Shape(max_ids=128, rows=2), Shape(max_ids=128, rows=1)],
        item=[Shape()], items=1, counts=(128, 128),
    )  # fmt: skip
    for feature, address in zip(stage.user_features, stage.addresses, strict=False):
        feature.table[:] = -127
        stage.contents[address : address + feature.rows * 8] = b"\x81" * (8 * feature.rows)
    (outcome,), _, rows = run(stage)
    check(stage, outcome)
    assert [data for ((_, vector, _), writes) in outcome.user.items() for _, data in writes
            if vector] == [b"\x81" * 8] * 2  # fmt: skip
    assert len(rows.reads) == 257


@pytest.mark.parametrize("sub_batch, sizes", [(0, [4, 4, 1]), (2, [2, 2, 2, 2, 1]), (9, [4, 4, 1])])
def test_descriptor_may_ask_for_smaller_sub_batches(sub_batch, sizes):
    stage = Stage(config=TINY, dim=4, user=[], item=[Shape()], items=9, sub_batch=4)
    (outcome,), _, _ = run(stage, sub_batch=sub_batch)
    check(stage, outcome, sub_batch=sub_batch)
    assert [batch["items"] for batch in outcome.batches] == sizes


def test_no_more_than_two_banks_are_outstanding():
    stage = Stage(config=TINY, dim=4, user=[], item=[Shape()], items=12, sub_batch=2)
    (outcome,), _, _ = run(stage, hold_cycles=300)
    check(stage, outcome)
    assert outcome.counters["output"] > 3 * 250


@pytest.mark.parametrize("stall", ["none", "both"])
def test_four_banks(stall):
    stage = Stage(
        config=TINY, dim=4, user=[], item=[Shape()], items=13, sub_batch=2, quarter_items=2
    )
    outcomes, _, _ = run(stage, stall, repeats=2)
    for number, outcome in enumerate(outcomes):
        check(stage, outcome, before=7 * number)


@pytest.mark.parametrize("late_cycles", slow_but([200], [1, 200, 500]))
def test_from_halves_to_quarters_and_back(late_cycles):
    check_halves_and_quarters(TINY, late_cycles)


def test_four_banks_are_outstanding():
    two, four = (
        Stage(
            config=TINY,
            dim=4,
            user=[],
            item=[Shape()],
            items=12,
            sub_batch=2,
            quarter_items=quarter,
        )
        for quarter in (1, 2)
    )
    ((early,), _, _), ((late,), _, _) = (run(stage, hold_cycles=300) for stage in (two, four))
    check(four, late)
    assert late.counters["output"] < early.counters["output"] - 250


def test_ids_of_four_sub_batches_wait_for_their_scores():
    config = small(8, sub_batch_max=2)
    stage = Stage(config=config, dim=4, user=[], item=[Shape()], items=13, sub_batch=2)
    (outcome,), _, _ = run(stage, unscored=3)
    check(stage, outcome)


def test_bad_candidates_give_zeros_and_are_not_read():
    stage = Stage(config=TINY, dim=4, item_dense=8, items=6, sub_batch=6, **MIXED)
    stage.ids[2], stage.ids[4] = stage.table_rows, 0xFFFFFFFF
    good = [i for i in range(6) if i not in (2, 4)]
    (outcome,), records, _ = run(stage)
    assert outcome.status == Status.BAD_ID
    check(stage, outcome)
    reads = [a for _, a, _ in records.reads if a >= stage.features_address]
    assert reads == [stage.features_address + stage.ids[i] * stage.item_bytes for i in good]


@pytest.mark.parametrize("value", [20, 1 << 31, 0xFFFFFFFF])
def test_bad_feature_id_is_a_zero_row(value):
    stage = Stage(config=TINY, dim=8, user=[], item=[Shape(), Shape()], items=3)
    words = stage.table.view("<u4")
    words[stage.ids[1], stage.item_features[1].word] = value
    stage.place(stage.table, stage.features_address)
    (outcome,), _, rows = run(stage)
    bad = sum(i == stage.ids[1] for i in stage.ids)
    assert outcome.status == Status.BAD_ID
    check(stage, outcome)
    assert len(rows.reads) == 6 - bad


@pytest.mark.parametrize("count", [5, 256 + 2, 0x80000001])
def test_bad_count_reads_nothing(count):
    stage = Stage(
        config=TINY, dim=8, user=[], item=[Shape(max_ids=4)], items=2, counts=(1, 1),
        table_rows=2,
    )  # fmt: skip
    stage.ids[:] = [0, 1]
    stage.table.view("<u4")[1, stage.item_features[0].word] = count
    stage.place(stage.table, stage.features_address)
    (outcome,), _, rows = run(stage)
    assert outcome.status == Status.BAD_COUNT
    check(stage, outcome)
    assert len(rows.reads) == 1


@pytest.mark.parametrize("status", [Status.MEMORY, Status.REGION])
@pytest.mark.parametrize("where", ["record", "row"])
def test_failed_read_is_the_status_and_the_stage_runs_on(status, where):
    stage = Stage(config=TINY, dim=8, user=[], item=[Shape(), Shape()], items=5, sub_batch=2)
    address = stage.features_address + stage.ids[3] * stage.item_bytes
    if where == "row":
        feature = stage.item_features[0]
        row = int(stage.table.view("<u4")[stage.ids[3], feature.word])
        address = stage.addresses[0] + row * stage.row_bytes
    (outcome,), _, rows = run(stage, failing={address: status})
    assert outcome.status == status
    assert [batch["items"] for batch in outcome.batches] == [2, 2, 1]
    assert len(rows.reads) == 10


def test_status_is_cleared_by_the_next_start():
    stage = Stage(config=TINY, dim=8, user=[], item=[Shape()], items=2)
    bad = list(stage.ids)
    bad[0] = stage.table_rows
    outcomes, _, _ = run(stage, repeats=2, lists=[bad, stage.ids])
    assert [outcome.status for outcome in outcomes] == [Status.BAD_ID, Status.OK]
    check(stage, outcomes[1], before=1)
