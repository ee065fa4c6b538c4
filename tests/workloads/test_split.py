import numpy as np
import polars as pl
import pytest

from rpaccel.workloads.split import split_rows


def make_rows(seed=0, users=20, items=50):
    rng = np.random.default_rng(seed)
    rows = [
        (u, int(i), float(rng.integers(1, 6)), int(rng.integers(0, 12)))
        for u in range(users)
        for i in rng.permutation(items)[: rng.integers(1, 30)]
    ]
    schema = {"user": pl.Int32, "item": pl.Int32, "rating": pl.Float32, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_parts_make_up_the_whole():
    rows = make_rows()
    split = split_rows(rows, 20, 50)
    both = pl.concat([split.train, split.held_out]).sort("user", "item")
    assert both.equals(rows.sort("user", "item"))


def test_each_user_gives_its_last_fifth_rounded_up():
    rows = make_rows()
    split = split_rows(rows, 20, 50)
    for user in range(20):
        n = rows.filter(pl.col("user") == user).height
        held = split.held_out.filter(pl.col("user") == user)
        train = split.train.filter(pl.col("user") == user)
        assert held.height == -(-n // 5)
        if train.height:
            assert train["timestamp"].max() <= held["timestamp"].min()


def test_ties_follow_the_seed_only():
    rows = make_rows()
    assert split_rows(rows, 20, 50).train.equals(split_rows(rows, 20, 50).train)
    assert not split_rows(rows, 20, 50).train.equals(split_rows(rows, 20, 50, seed=1).train)


def test_relevant_seen_and_candidates():
    split = split_rows(make_rows(), 20, 50)
    for user in range(20):
        train = set(split.train.filter(pl.col("user") == user)["item"])
        candidates = split.candidates(user)
        assert set(candidates.tolist()) == set(range(50)) - train
        assert (np.diff(candidates) > 0).all()
        held = split.held_out.filter((pl.col("user") == user) & (pl.col("rating") >= 4))["item"]
        assert sorted(held) == split.relevant.get(user, np.array([])).tolist()
        assert (user in split.test_users) == (len(held) > 0)
    assert split.excluded_users == 20 - len(split.test_users) > 0


def test_rejects_share():
    with pytest.raises(ValueError, match=r"^share must be in 0..1"):
        split_rows(make_rows(), 20, 50, share=1.0)
