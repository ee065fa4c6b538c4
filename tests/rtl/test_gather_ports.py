"""Gather with several ports: shares, their parts of a sub-batch, and their rate."""

import pytest

from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Pooling, Status
from tests.rtl.conftest import small
from tests.rtl.gather_bench import check, check_halves_and_quarters, run
from tests.rtl.gather_stage import Shape, Stage
from tests.streams import STALL_CASES, slow_but, slow_rows_but

SIZES = {"dense_words": 32, "feature_words": 64, "max_dim": 32}
CONFIGS = {
    1: small(32, **SIZES),
    2: small(32, groups_down=2, **SIZES),
    4: small(64, axi_data_bits=128, **SIZES),
}
FOUR = CONFIGS[4]
WIDE = small(64, axi_data_bits=256, **SIZES)
MIXED = {
    "user": [Shape(), Shape(max_ids=20, pooling=Pooling.SUM), Shape(max_ids=5)],
    "item": [Shape(), Shape(max_ids=4), Shape(max_ids=3, pooling=Pooling.SUM), Shape(rows=3)],
}


def test_ports_follow_the_array():
    ports = {name: load_accelerator(name).lane_gather_ports for name in ("tiny", "edge", "paper")}
    assert ports["tiny"] == (1,) and set(ports["edge"]) == {1}
    assert ports["paper"] == (16, 8, 4, 4, 4, 4, *[1] * 8)
    assert load_accelerator("default").gather_ports == 1
    assert all(config.gather_ports == ports for ports, config in CONFIGS.items())
    assert all(config.engines % config.gather_ports == 0 for config in CONFIGS.values())


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("items, sub_batch", [(11, 5), (9, 8)])
@pytest.mark.parametrize("ports", slow_but([2], CONFIGS))
def test_matches_golden(ports, items, sub_batch, stall):
    stage = Stage(config=CONFIGS[ports], dim=20, items=items, sub_batch=sub_batch, **MIXED)
    outcomes, records, rows = run(stage, stall, repeats=2)
    batches = 0
    for outcome in outcomes:
        check(stage, outcome, before=batches)
        batches += len(outcome.batches)
        assert outcome.status == 0
    assert len(rows.reads) == 2 * stage.reads()
    record_bytes = stage.user_bytes + stage.items * stage.item_bytes
    assert records.read_beats == 2 * record_bytes // stage.config.beat_bytes


# One item, fewer items than shares, an empty share in the last sub-batch, in every one, no rest.
@pytest.mark.parametrize(
    "items, sub_batch",
    slow_rows_but([(1, 9), (7, 5), (13, 2)], [(1, 1), (1, 9), (3, 8), (7, 5), (13, 2), (8, 4)]),
)
@pytest.mark.parametrize(
    "config",
    [
        CONFIGS[2],
        pytest.param(FOUR, marks=pytest.mark.slow),
        pytest.param(WIDE, marks=[pytest.mark.slow, pytest.mark.nightly]),
    ],
    ids=["2", "4", "4-W32"],
)
def test_remainders(config, items, sub_batch):
    stage = Stage(config=config, dim=8, items=items, sub_batch=sub_batch, seed=items, **MIXED)
    outcomes, _, _ = run(stage, "both", repeats=3)
    batches = 0
    for outcome in outcomes:
        check(stage, outcome, before=batches)
        batches += len(outcome.batches)


@pytest.mark.parametrize("user, item, user_dense, item_dense", [
    ([], [Shape()], 0, 0),
    ([Shape(rows=1)], [], 0, 9),
    ([], [], 20, 1),
    ([Shape(max_ids=50)], [Shape(max_ids=1), Shape(max_ids=1, pooling=Pooling.SUM)], 0, 0),
])  # fmt: skip
def test_sides_without_features_or_dense(user, item, user_dense, item_dense):
    stage = Stage(
        config=FOUR, dim=8, user=user, item=item, user_dense=user_dense, item_dense=item_dense,
        items=11, sub_batch=6,
    )  # fmt: skip
    (outcome,), _, _ = run(stage)
    check(stage, outcome)


def test_banks_are_the_units():
    stage = Stage(config=FOUR, dim=4, user=[], item=[Shape()], items=26, sub_batch=5)
    (outcome,), _, _ = run(stage, hold_cycles=300)
    check(stage, outcome)
    assert outcome.counters["output"] > 3 * 250


def test_from_halves_to_quarters_and_back():
    check_halves_and_quarters(CONFIGS[2], 300)


def test_ids_of_four_sub_batches_wait_for_their_scores():
    config = FOUR.model_copy(update={"sub_batch_max": 3})
    stage = Stage(config=config, dim=4, user=[], item=[Shape()], items=20, sub_batch=3)
    (outcome,), _, _ = run(stage, unscored=3)
    check(stage, outcome)


def test_users_rows_come_first_however_late():
    """Items' rows are there long before the user's are pooled, and must not be written."""
    user = [Shape(max_ids=40)] * 4
    config = FOUR.model_copy(update={"user_record_bytes": 1024})
    stage = Stage(config=config, dim=20, user=user, item=[Shape()], items=8, sub_batch=8,
                  counts=(40, 40))  # fmt: skip
    (outcome,), _, _ = run(stage)
    check(stage, outcome)


@pytest.mark.parametrize("share", slow_but([0], range(4), nightly=[1, 2]))
def test_bad_candidate_in_any_share(share):
    stage = Stage(config=FOUR, dim=4, item_dense=8, items=10, sub_batch=8, **MIXED)
    stage.ids[share] = stage.table_rows
    (outcome,), records, _ = run(stage)
    assert outcome.status == Status.BAD_ID
    check(stage, outcome)
    reads = sorted(a for _, a, _ in records.reads if a >= stage.features_address)
    good = [i for n, i in enumerate(stage.ids) if n != share]
    assert reads == sorted(stage.features_address + i * stage.item_bytes for i in good)


@pytest.mark.parametrize("share", slow_but([3], range(4), nightly=[1, 2]))
def test_bad_count_in_any_share(share):
    stage = Stage(
        config=FOUR, dim=8, user=[], item=[Shape(max_ids=4)], items=6, counts=(1, 1), sub_batch=5
    )
    stage.ids[:] = range(6)
    stage.table.view("<u4")[share, stage.item_features[0].word] = 5
    stage.place(stage.table, stage.features_address)
    (outcome,), _, rows = run(stage)
    assert outcome.status == Status.BAD_COUNT
    check(stage, outcome)
    assert len(rows.reads) == 5


@pytest.mark.parametrize("where", ["record", "row"])
@pytest.mark.parametrize("share", slow_but([0, 3], range(4), nightly=[1]))
def test_failed_read_in_any_share(share, where):
    stage = Stage(config=FOUR, dim=8, user=[], item=[Shape(rows=30)], items=6, sub_batch=5)
    stage.ids[:] = range(6)
    words = stage.table.view("<u4")
    words[:6, stage.item_features[0].word] = range(0, 12, 2)  # each row in a beat of its own
    stage.place(stage.table, stage.features_address)
    address = stage.features_address + share * stage.item_bytes
    if where == "row":
        address = stage.addresses[0] + 2 * share * stage.row_bytes
    (outcome,), _, rows = run(stage, failing={address: Status.REGION})
    assert outcome.status == Status.REGION
    assert [batch["items"] for batch in outcome.batches] == [5, 1]
    assert len(rows.reads) == 6


def test_status_is_cleared_by_the_next_start():
    stage = Stage(config=FOUR, dim=8, user=[], item=[Shape()], items=5)
    bad = list(stage.ids)
    bad[2] = stage.table_rows
    outcomes, _, _ = run(stage, repeats=2, lists=[bad, stage.ids])
    assert [outcome.status for outcome in outcomes] == [Status.BAD_ID, Status.OK]
    check(stage, outcomes[1], before=len(outcomes[0].batches))


@pytest.mark.nightly
@pytest.mark.slow
def test_paper_gathers_ten_rows_per_cycle():
    """26 single-hot tables of 32 values, rows a cycle after their request: the rest is ours."""
    config = load_accelerator("paper").model_copy(update={"lanes": 1, "lane_blocks": ()})
    assert config.gather_ports == 16
    cycles = []
    for items in (32, 160):
        stage = Stage(
            config=config, dim=32, user=[], item=[Shape(rows=12)] * 26, user_dense=13,
            item_dense=13, items=items, sub_batch=512, feature_base=0,
        )  # fmt: skip
        (outcome,), _, rows = run(stage, latency=(1, 1))
        check(stage, outcome)
        assert len(rows.reads) == 26 * items
        cycles.append(outcome.counters["busy"])
    rate = 26 * 128 / (cycles[1] - cycles[0])
    print(f"{rate:.2f} rows per cycle")
    assert rate == 13  # two dense beats per item through one port
