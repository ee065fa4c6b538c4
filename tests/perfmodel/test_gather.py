import pytest

from rpaccel.perfmodel.gather import SINGLE_HOT, RecordCost, gather_report
from rpaccel.spec.accelerator import load_accelerator
from tests.rtl.conftest import small
from tests.rtl.gather_bench import run
from tests.rtl.gather_stage import Shape, Stage

EDGE = load_accelerator("edge")
ONE = Shape()


def record_cost(stage, features, words, dense_words):
    ids = tuple(int(words[f.word]) if f.multi_hot else SINGLE_HOT for f in features)
    return RecordCost(dense_beats=dense_words * stage.config.beats_per_word, ids=ids)


def predicted(stage, latency):
    user = record_cost(
        stage, stage.user_features, stage.user_record.view("<u4")[0], stage.dense_words[0]
    )
    table = stage.table.view("<u4")
    items = [
        record_cost(stage, stage.item_features, table[i], stage.dense_words[1]) for i in stage.ids
    ]
    return gather_report(
        stage.config, latency, user, items, stage.user_bytes, stage.item_bytes, stage.row_bytes,
        shared_port=False, sub_batch=stage.sub_batch,
    )  # fmt: skip


@pytest.mark.parametrize(
    "item, dim, latency, bound",
    [
        ([ONE] * 4, 16, 5, "walker"),
        ([ONE, ONE, Shape(max_ids=6)], 16, 40, "walker"),
        ([ONE] * 4, 16, 100, "rows"),
        ([ONE] * 2, 64, 30, "pooler"),
        ([], 16, 150, "records"),
    ],
)
def test_predicts_the_busy_counter(item, dim, latency, bound):
    stage = Stage(
        config=EDGE, dim=dim, user=[ONE, Shape(max_ids=30)], item=item, items=64, sub_batch=32,
        table_rows=50,
    )  # fmt: skip
    (outcome,), _, _ = run(stage, latency=(latency, latency))
    measured = outcome.counters["busy"]
    report = predicted(stage, latency + 1)
    assert report.bound == bound
    assert abs(report.total - measured) <= 0.05 * measured, (report, measured)
    print(report, report.total, measured)


@pytest.mark.slow
@pytest.mark.parametrize(
    "item, latency, bound",
    [
        ([ONE] * 16, 5, "walker"),
        ([ONE] * 3, 5, "dense"),
        pytest.param([ONE] * 10, 150, "rows", marks=pytest.mark.slow),
    ],
)
def test_predicts_the_busy_counter_of_four_ports(item, latency, bound):
    config = small(
        64, axi_data_bits=128, dense_words=128, feature_words=256, sub_batch_max=64,
        feature_entries=32, item_record_bytes=128,
    )  # fmt: skip
    stage = Stage(
        config=config, dim=16, user=[ONE, Shape(max_ids=30)], item=item, items=126, sub_batch=63,
        table_rows=50,
    )  # fmt: skip
    (outcome,), _, _ = run(stage, latency=(latency, latency))
    measured = outcome.counters["busy"]
    report = predicted(stage, latency + 1)
    print(report, report.total, measured)
    assert report.bound == bound
    assert abs(report.total - measured) <= 0.05 * measured, (report, measured)


def test_by_hand():
    # 2 cycles, 1 dense beat, 1 single-hot feature, count word and 3 ids
    cost = RecordCost(dense_beats=1, ids=(SINGLE_HOT, 3))
    assert (cost.walk_cycles, cost.rows, cost.pool_beats(2)) == (8, 4, 9)
    empty = RecordCost(dense_beats=0, ids=(0,))
    assert (empty.walk_cycles, empty.rows, empty.pool_beats(1)) == (4, 0, 1)


def test_more_latency_is_never_faster():
    items = [RecordCost(dense_beats=1, ids=(SINGLE_HOT,) * 4)] * 100
    totals = [
        gather_report(EDGE, latency, items[0], items, 32, 32, 16).total for latency in range(1, 300)
    ]
    assert totals == sorted(totals)
