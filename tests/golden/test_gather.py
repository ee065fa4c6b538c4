import numpy as np
import pytest

from rpaccel.golden.dlrm import pool as pool_float
from rpaccel.golden.gather import gather_feature, item_records, pool, reciprocal
from rpaccel.golden.quantised import QuantisedFeature
from rpaccel.spec.isa import MAX_IDS, Pooling, Status

TABLE = np.array([[1, -1], [10, 20], [127, -127], [3, 4]], dtype=np.int8)


def feature(**changes) -> QuantisedFeature:
    fields = {"name": "f", "side": "item", "table": TABLE, "word": 1}
    return QuantisedFeature(**(fields | changes))


def words(*rows) -> np.ndarray:
    return np.array(rows, dtype=np.uint32)


def test_single_hot_is_the_row():
    vectors, errors = gather_feature(feature(), words([9, 2], [9, 0]))
    assert vectors.tolist() == [[127, -127], [1, -1]]
    assert errors.tolist() == [0, 0]


@pytest.mark.parametrize("bad", [4, 5, 1 << 31, (1 << 32) - 1])
def test_id_outside_its_table_gives_zeros(bad):
    vectors, errors = gather_feature(feature(), words([0, bad], [0, 3]))
    assert vectors.tolist() == [[0, 0], [3, 4]]
    assert errors.tolist() == [Status.BAD_ID, 0]


def test_mean_by_hand():
    mean = feature(multi_hot=True, max_ids=3, pooling=Pooling.MEAN)
    vectors, errors = gather_feature(
        mean, words([0, 0, 1, 1, 1], [0, 1, 2, 9, 9], [0, 2, 0, 1, 9], [0, 3, 0, 1, 3])
    )
    # (1+10)/2 = 5.5 -> 6, (-1+20)/2 = 9.5 -> 10; 14/3 = 4.67 -> 5, 23/3 = 7.67 -> 8
    assert vectors.tolist() == [[0, 0], [127, -127], [6, 10], [5, 8]]
    assert errors.tolist() == [0, 0, 0, 0]


def test_sum_scales_and_saturates():
    total = feature(multi_hot=True, max_ids=4, pooling=Pooling.SUM, multiplier=1, shift=1)
    vectors, _ = gather_feature(total, words([0, 1, 3, 9, 9, 9], [0, 4, 2, 2, 2, 1]))
    assert vectors.tolist() == [[2, 2], [127, -127]]  # 1.5 -> 2, 2; 391/2 clamps


def test_count_above_max_ids():
    listed = feature(multi_hot=True, max_ids=2)
    vectors, errors = gather_feature(listed, words([0, 3, 1, 1], [0, 2, 1, 4]))
    assert errors.tolist() == [Status.BAD_COUNT, Status.BAD_ID]
    assert vectors[0].tolist() == [0, 0]
    assert vectors[1].tolist() == [5, 10]  # the bad id counts, its row is zero


def test_unused_ids_are_not_looked_at():
    _, errors = gather_feature(feature(multi_hot=True, max_ids=2), words([0, 1, 1, 1 << 31]))
    assert errors.tolist() == [0]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 64, 127, 128])
def test_mean_is_within_a_step_of_float(count):
    rng = np.random.default_rng(count)
    rows = rng.integers(-127, 128, size=(20, MAX_IDS, 4))
    rows[:, count:] = 0
    mean = feature(multi_hot=True, max_ids=MAX_IDS, pooling=Pooling.MEAN)
    got = pool(rows, np.full(20, count), mean)
    exact = rows.sum(axis=1) / count
    assert np.abs(got - exact).max() <= 0.5 + 127 * count / 2**17
    ids = np.where(np.arange(MAX_IDS) < count, np.arange(MAX_IDS), -1)[None, :].astype(np.int32)
    reference = pool_float(rows[0].astype(np.float32), ids, "mean")
    assert np.allclose(reference, exact[0], atol=1e-3)


def test_reciprocals():
    assert reciprocal(np.array([0, 1, 2, 3, 128])).tolist() == [0, 65536, 32768, 21845, 512]
    every = np.arange(1, MAX_IDS + 1)
    assert reciprocal(every).tolist() == [round(65536 / count) for count in every.tolist()]


def test_candidates_outside_the_feature_table():
    table = np.arange(32, dtype=np.uint8).reshape(4, 8)
    records, errors = item_records(table, np.array([3, 4, 0, (1 << 32) - 1]))
    assert errors.tolist() == [0, Status.BAD_ID, 0, Status.BAD_ID]
    assert records[0].tolist() == list(range(24, 32))
    assert not records[[1, 3]].any()


def test_feature_past_its_record():
    with pytest.raises(ValueError, match=r"^f must end at word 2 of its record, not 3$"):
        gather_feature(feature(word=2), words([0, 1]))
