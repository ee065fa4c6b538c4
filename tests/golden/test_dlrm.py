import numpy as np
import pytest

from rpaccel.golden import dlrm
from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import DENSE_SCALE, FeatureData, FeatureSchema, SparseFeature


def make_schema():
    return FeatureSchema(
        user_dense=("a",),
        item_dense=("b", "c"),
        features=(
            SparseFeature(name="history", side="user", rows=6, max_ids=4, pooling="mean"),
            SparseFeature(name="age", side="user", rows=3),
            SparseFeature(name="item", side="item", rows=5),
            SparseFeature(name="genres", side="item", rows=3, max_ids=3, pooling="sum"),
        ),
    )


def make_data(rng):
    schema = make_schema()
    ids, counts = {}, {}
    for f in schema.features:
        height = 2 if f.side == "user" else 5
        count = rng.integers(0, f.max_ids + 1, height) if f.multi_hot else np.ones(height, int)
        lists = rng.integers(0, f.rows, (height, f.max_ids))
        ids[f.name] = np.where(np.arange(f.max_ids) < count[:, None], lists, -1).astype(np.int32)
        counts[f.name] = count.astype(np.int32)
    return FeatureData(
        schema=schema,
        user_dense=rng.integers(-127, 128, (2, 1)).astype(np.int8),
        item_dense=rng.integers(-127, 128, (5, 2)).astype(np.int8),
        ids=ids,
        counts=counts,
    )


def make_parameters(rng, interaction="dot", item_features=("item", "genres")):
    config = RankerConfig(
        name="t", dim=4, user_dense=1, item_dense=2, user_features=("history", "age"),
        item_features=item_features, bottom=(5, 4), top=(6, 1), interaction=interaction,
    )  # fmt: skip

    def layers(shapes):
        return tuple(
            (rng.normal(size=s).astype(np.float32), rng.normal(size=s[1]).astype(np.float32))
            for s in shapes
        )

    schema = make_schema()
    return dlrm.RankerParameters(
        config=config,
        schema=schema,
        tables={
            f.name: rng.normal(size=(f.rows, 4)).astype(np.float32) for f in config.sparse(schema)
        },
        bottom=layers(config.bottom_shapes),
        top=layers(config.top_shapes),
        provenance={"seed": 1},
    ).rounded()


def score_by_loops(p, data, user, item):
    def layer(x, weights, bias, relu):
        out = []
        for n in range(weights.shape[1]):
            total = bias[n] + sum(x[k] * weights[k, n] for k in range(weights.shape[0]))
            out.append(max(total, 0) if relu else total)
        return out

    x = [int(v) * DENSE_SCALE for v in (*data.user_dense[user], *data.item_dense[item])]
    for weights, bias in p.bottom:
        x = layer(x, weights, bias, True)
    vectors = [x]
    sides = [(name, user) for name in p.config.user_features]
    for name, row in sides + [(name, item) for name in p.config.item_features]:
        total = np.zeros(4)
        for position in range(data.counts[name][row]):
            total += p.tables[name][data.ids[name][row, position]]
        if name == "history":
            total /= max(1, data.counts[name][row])
        vectors.append(list(total))
    if p.config.interaction == "dot":
        for i in range(1, len(vectors)):
            for j in range(i):
                x = [*x, sum(a * b for a, b in zip(vectors[i], vectors[j], strict=True))]
    elif p.config.interaction == "concat":
        x = [value for vector in vectors for value in vector]
    else:
        users, items = vectors[1:3], vectors[3:]
        for u, v in zip(users, items, strict=False):
            x = [*x, *(a * b for a, b in zip(u, v, strict=True))]
        for left in users[len(items) :] + items[len(users) :]:
            x = [*x, *left]
    x = layer(x, *p.top[0], True)
    return layer(x, *p.top[1], False)[0]


@pytest.mark.parametrize("item_features", [("item",), ("item", "genres"), ()])
@pytest.mark.parametrize("interaction", ["dot", "concat", "product"])
def test_matches_explicit_loops(interaction, item_features):
    rng = np.random.default_rng(0)
    data, p = make_data(rng), make_parameters(rng, interaction, item_features)
    items = np.array([4, 0, 3, 1, 2])
    for user in range(2):
        expected = [score_by_loops(p, data, user, item) for item in items]
        assert np.allclose(dlrm.logits(p, data, user, items), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("interaction", ["dot", "product"])
def test_save_and_load_return_the_same(tmp_path, interaction):
    p = make_parameters(np.random.default_rng(0), interaction)
    p.save(tmp_path / "a.npz")
    p.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    q = dlrm.load_parameters(tmp_path / "a.npz")
    assert (q.config, q.schema, q.provenance) == (p.config, p.schema, p.provenance)
    assert all((q.tables[n] == p.tables[n]).all() for n in p.tables)
    for ours, theirs in zip(p.bottom + p.top, q.bottom + q.top, strict=True):
        assert (ours[0] == theirs[0]).all() and (ours[1] == theirs[1]).all()


def test_truncated_file_is_named(tmp_path):
    make_parameters(np.random.default_rng(0)).save(tmp_path / "a.npz")
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=r"^a\.npz must be an npz of ranker parameters"):
        dlrm.load_parameters(tmp_path / "a.npz")


def test_missing_file_says_make_train(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run `make train DATA=\.\.\.`"):
        dlrm.load_parameters(tmp_path / "none.npz")


def test_pool_of_nothing_is_zero():
    table = np.ones((2, 4), dtype=np.float32)
    assert (dlrm.pool(table, np.array([[-1, -1]], dtype=np.int32), "mean") == 0).all()


def test_sigmoid_by_hand():
    assert np.allclose(dlrm.sigmoid(np.array([0.0, -800.0, 800.0])), [0.5, 0.0, 1.0])


def test_rejects_wrong_shapes():
    p = make_parameters(np.random.default_rng(0))
    tables = {**p.tables, "item": p.tables["item"][:-1]}
    with pytest.raises(ValueError, match=r"^t: table item must be float32\[5, 4\]"):
        dlrm.RankerParameters(config=p.config, schema=p.schema, tables=tables, bottom=p.bottom,
                              top=p.top, provenance={})  # fmt: skip


def test_rejects_configs():
    config = make_parameters(np.random.default_rng(0)).config
    with pytest.raises(ValueError, match="dim must be one of"):
        RankerConfig(**{**config.model_dump(), "dim": 12})
    with pytest.raises(ValueError, match="bottom must end with dim 4, not 5"):
        RankerConfig(**{**config.model_dump(), "bottom": (5,)})
    with pytest.raises(ValueError, match="Input should be 'dot', 'concat' or 'product'"):
        RankerConfig(**{**config.model_dump(), "interaction": "sum"})
    with pytest.raises(ValueError, match="Extra inputs"):
        RankerConfig(**config.model_dump(), width=3)
