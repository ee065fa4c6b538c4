import numpy as np
import polars as pl
import pytest

from rpaccel.spec.records import FeatureData, FeatureSchema, SparseFeature
from rpaccel.workloads.features import build_features, history_lists
from rpaccel.workloads.synthetic import SyntheticConfig, synthetic_workload


@pytest.fixture(scope="module")
def workload():
    return synthetic_workload(SyntheticConfig(users=12, items=80, ratings_per_user=20))


def test_history_is_most_recent_first_and_capped():
    schema = {"user": pl.Int32, "item": pl.Int32, "timestamp": pl.Int64}
    rows = [(0, 5, 1), (0, 6, 3), (0, 7, 2), (2, 1, 9)]
    train = pl.DataFrame(rows, schema=schema, orient="row")
    assert history_lists(train, 3, 2).tolist() == [[6, 7], [-1, -1], [1, -1]]


def test_records_hold_training_rows_only(workload):
    liked = workload.split.train.filter(pl.col("rating") >= 4)
    for user in range(12):
        ids = workload.features.ids["liked"][user]
        expected = liked.filter(pl.col("user") == user)["item"].to_list()
        assert ids[ids >= 0].tolist() == expected[::-1]


def test_held_out_ratings_change_nothing(workload):
    log, train = workload.log, workload.split.train
    again = build_features(log, train)
    assert (again.item_dense == workload.features.item_dense).all()
    for name, ids in again.ids.items():
        assert (ids == workload.features.ids[name]).all()


def test_records_fit_their_bytes(workload):
    schema = workload.features.schema
    assert schema.record_bytes("user") == 8 + 4 * 4 + 4 * (3 + 128 + 96 + 16)
    assert schema.record_bytes("user") <= 1024
    assert schema.record_bytes("item") <= 64


def test_dense_values_are_standardised(workload):
    steps = workload.features.item_dense.astype(float) * 4 / 127
    assert np.abs(steps.mean(axis=0)).max() < 0.1
    assert np.abs(steps).max() <= 4


def test_schema_rejects():
    wide = tuple(SparseFeature(name=f"h{i}", side="user", rows=9, max_ids=128) for i in range(2))
    with pytest.raises(ValueError, match="user record must be at most 1024 bytes, not 1032"):
        FeatureSchema(user_dense=(), item_dense=(), features=wide)
    with pytest.raises(ValueError, match="must differ, not repeat 'h0'"):
        FeatureSchema(user_dense=(), item_dense=(), features=(wide[0], wide[0]))
    with pytest.raises(ValueError, match="less than or equal to 128"):
        SparseFeature(name="x", side="user", rows=9, max_ids=129)


def test_data_rejects_ids_outside_their_table(workload):
    data = workload.features
    ids = {**data.ids, "item": data.ids["item"] + 1}
    with pytest.raises(ValueError, match=r"^ids of item must be in 0\.\.79, not 80"):
        FeatureData(schema=data.schema, user_dense=data.user_dense, item_dense=data.item_dense,
                    ids=ids, counts=data.counts)  # fmt: skip
