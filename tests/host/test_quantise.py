from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden import dlrm
from rpaccel.golden.bucket_filter import bucket_filter
from rpaccel.golden.lane import Query, run_query
from rpaccel.host.calibrate import calibrate_edges, fixed_point, limits, quantise_array
from rpaccel.host.fit_layer import fit_layer, round_with_feedback
from rpaccel.host.quantise import (
    CalibrationSet,
    calibration_report,
    calibration_set,
    integer_logits,
    quantise,
    recipes,
    with_filter,
)
from rpaccel.host.records import (
    build_records,
    feature_table,
    feature_words,
    padded_record_bytes,
    user_records,
)
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import LOGIT_FRACTION_BITS, Status
from tests import factories

TINY = load_accelerator("tiny")


def float_model(seed: int, **sizes):
    rng = np.random.default_rng(seed)
    data = factories.random_feature_data(rng)
    return data, factories.random_parameters(rng, data.schema, name="model", **sizes)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("interaction", ["dot", "concat", "product"])
def test_integer_logits_follow_float(interaction, seed):
    data, parameters = float_model(seed, dim=16, interaction=interaction)
    result = quantise(parameters, data)
    assert result.ranker.interaction.name.lower() == interaction
    users = np.arange(data.users)
    items = np.tile(np.arange(data.items), (data.users, 1))
    step = 2.0**-LOGIT_FRACTION_BITS
    got = np.stack(integer_logits(result.ranker, data, users, items)) * step
    expected = np.stack([dlrm.logits(parameters, data, u, items[0]) for u in users])
    assert result.logit_rms < 0.1 * result.float_std
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.99
    assert abs((got - expected).mean()) < 0.05 * expected.std()


@pytest.mark.parametrize(("without", "products"), [(("genres",), 1), (("liked",), 1), ((), 2)])
def test_neumf_follows_float(without, products):
    # An MLP over products of user and item vectors, the vector without a partner, and vector 0.
    data, parameters = float_model(
        4, interaction="product", without=without, bottom=(12,), top=(32, 16)
    )
    assert parameters.config.top_shapes[0] == (3 * 8, 32)
    result = quantise(parameters, data)
    assert result.ranker.pairs == products
    users, items = np.arange(data.users), np.tile(np.arange(data.items), (data.users, 1))
    got = np.stack(integer_logits(result.ranker, data, users, items)).ravel()
    expected = np.concatenate([dlrm.logits(parameters, data, u, items[0]) for u in users])
    assert np.corrcoef(got, expected)[0, 1] > 0.995


def test_product_of_dead_tables():
    data, parameters = float_model(5, interaction="product")
    parameters.tables["genres"][:] = 0
    parameters.tables["item"][:] *= np.float32(1e-6)
    result = quantise(parameters, data)
    assert result.logit_rms < 0.1 * result.float_std


@pytest.mark.parametrize("interaction", ["dot", "product"])
def test_calibration_report_says_what_each_method_costs(interaction):
    data, parameters = float_model(6, dim=16, interaction=interaction)
    report = calibration_report(parameters, data)
    assert [loss.method for loss in report] == ["max", "percentile", "error"]
    for loss in report:
        assert 0 < loss.logit_rms < loss.held_out_rms < 0.2 * loss.float_std  # of 15 users each
        assert loss.ranker.name == parameters.config.name
    chosen = calibration_set(parameters, data)
    report = calibration_report(parameters, data, chosen, chosen)
    for loss in report:  # two ways to the same records
        assert abs(loss.held_out_rms - loss.logit_rms) < 1e-9
    assert min(loss.logit_rms for loss in report) == quantise(parameters, data).logit_rms


def test_calibration_report_draws_by_its_seed():
    rng = np.random.default_rng(7)
    data = factories.random_feature_data(rng, users=120)  # more than a draw takes
    parameters = factories.random_parameters(rng, data.schema, name="model", dim=16)
    first, second, again = (
        [loss.held_out_rms for loss in calibration_report(parameters, data, seed=seed)]
        for seed in (0, 1, 1)
    )
    assert first == [loss.held_out_rms for loss in calibration_report(parameters, data)]
    assert first != second
    assert second == again


def test_same_input_same_ranker():
    data, parameters = float_model(1)
    first, second = quantise(parameters, data).ranker, quantise(parameters, data).ranker
    for a, b in zip(first.bottom + first.top, second.bottom + second.top, strict=True):
        assert np.array_equal(a.weights, b.weights)
        assert np.array_equal(a.bias, b.bias)


def test_dead_parts_are_quantised():
    data, parameters = float_model(2)
    parameters.tables["genres"][:] = 0
    weights, bias = parameters.bottom[0]
    weights[:, 3], bias[3] = 0, -1.0  # never active
    weights[:, 4], bias[4] = 0, 0.7  # always the same
    parameters.top[0][0][5] = 0
    result = quantise(parameters, data)
    assert result.logit_rms < 0.1 * result.float_std


def test_no_recipe():
    data, parameters = float_model(0)
    with pytest.raises(ValueError, match=r"^tried must hold at least one recipe, not 0$"):
        quantise(parameters, data, tried=[])
    assert len(recipes()) == 6


def test_logits_out_of_range():
    data, parameters = float_model(2)
    parameters.top[-1][0][:] *= 40
    with pytest.raises(ValueError, match=r"^model: logits must lie within \+-15\.9995 for all but"):
        quantise(parameters, data)


def test_other_schema():
    data, parameters = float_model(2)
    schema = data.schema.model_copy(update={"user_dense": ("u0", "u2", "u1")})
    with pytest.raises(ValueError, match=r"^data must have the schema that 'model' was trained on"):
        quantise(replace(parameters, schema=schema), data)


def test_device_query_of_a_quantised_model():
    data, parameters = float_model(3)
    ranker = quantise(parameters, data).ranker
    items = np.arange(data.items)
    ranker = with_filter(ranker, data, np.arange(20), np.tile(items, (20, 1)), 15)
    query = Query(
        user_record=user_records(data, TINY)[4].tobytes(),
        candidates=items.astype(np.uint32),
        features=feature_table(data, TINY),
        stages=((0, 15), (0, 8)),
        top_n=8,
    )
    result = run_query(query, [ranker], TINY)
    assert result.status is Status.OK
    assert 15 <= result.items[1] < 30
    expected = dlrm.logits(parameters, data, 4, items)
    best = np.argsort(-expected)[:8]
    assert len(set(best.tolist()) & set(result.ids.tolist())) >= 5


def test_calibration_set_holds_the_best_candidates():
    data, parameters = float_model(0)
    sizes = {"users": 5, "best": 6, "others": 4}

    def candidates(user):
        return np.arange(user % 7, data.items)

    first = calibration_set(parameters, data, candidates, **sizes)
    again = calibration_set(parameters, data, candidates, **sizes)
    assert isinstance(first, CalibrationSet)
    assert np.array_equal(first.items, again.items)
    assert first.items.shape == (5, 10)
    for user, items in zip(first.users.tolist(), first.items.tolist(), strict=True):
        logits = dlrm.logits(parameters, data, user, candidates(user))
        assert len(set(items)) == 10
        assert min(items) >= user % 7
        assert items[0] == candidates(user)[logits.argmax()]


# Records


def test_records_by_hand():
    data, _ = float_model(0)
    assert feature_words(data.schema, "user") == {"user": 1, "liked": 2}
    assert feature_words(data.schema, "item") == {"item": 1, "genres": 2}
    records = user_records(data, TINY)
    assert records.shape == (30, 64)  # 3 dense, an id, a count, 12 ids: 60 B
    words = records.view("<u4")
    assert records[7, :3].view(np.int8).tolist() == data.user_dense[7].tolist()
    assert words[7, 1] == 7
    count = data.counts["liked"][7]
    assert words[7, 2] == count
    assert words[7, 3 : 3 + count].tolist() == data.ids["liked"][7, :count].tolist()
    assert not words[7, 3 + count :].any()
    assert feature_table(data, TINY).shape == (60, 32)  # 24 B, up to a power of two


def test_records_too_small():
    data, _ = float_model(0)
    with pytest.raises(ValueError, match=r"^user record_bytes must be a multiple of 4 and at leas"):
        build_records(data, "user", 56)
    small = TINY.model_copy(update={"item_record_bytes": 16})
    with pytest.raises(ValueError, match=r"^tiny: item_record_bytes must be at least 32, not 16"):
        padded_record_bytes(data.schema, "item", small)


# Scales


@pytest.mark.parametrize("ratio", [65535.0, 1.0, 0.5, 0.3, 1e-3, 2.0**-30, 0.99999, 32768.5])
def test_fixed_point_is_precise(ratio):
    multiplier, shift = fixed_point(ratio)
    assert 0 <= shift <= 47
    assert abs(multiplier / 2**shift - ratio) <= ratio * 2**-16
    assert multiplier >= 1 << 15 or shift == 47


def test_fixed_point_of_small_ratios():
    multiplier, shift = fixed_point(128 / 2**47)
    assert (multiplier, shift) == (128, 47)
    with pytest.raises(ValueError, match=r"^ratio must be at least 9\.095e-13, not 1e-13$"):
        fixed_point(1e-13)
    with pytest.raises(ValueError, match=r"^ratio must be at most 65535, not 7e\+04$"):
        fixed_point(70000.0)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^ratio must be positive and finite"):
            fixed_point(wrong)


def test_limits():
    x = np.array([[1.0, 0.0], [-3.0, 0.0], [2.0, 0.0]])
    assert limits(x, "max").tolist() == [3.0, 0.0]
    assert limits(x, "error")[1] == 0.0
    assert limits(x, "percentile")[0] < 3.0
    with pytest.raises(ValueError, match=r"^method must be one of max, percentile, error"):
        limits(x, "other")  # type: ignore[arg-type]


def test_error_limit_clips_an_outlier():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=100000), [12.0]])[:, None]
    limit = float(limits(x, "error")[0])
    assert limit < 12.0

    def error(top):
        return ((quantise_array(x, top / 127) * top / 127 - x) ** 2).mean()

    assert error(limit) <= error(12.0)


def test_rounding_with_feedback_beats_plain_rounding():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 12)) @ rng.normal(size=(12, 24)) + 0.1 * rng.normal(size=(2000, 24))
    weights = rng.normal(size=(24, 10))
    step = np.abs(weights).max(axis=0) / 7
    hessian = x.T @ x / len(x)
    smart = round_with_feedback(weights, step, hessian + 0.01 * np.eye(24))
    plain = np.rint(weights / step)
    assert np.array_equal(smart, np.rint(smart))

    def error(rounded):
        return ((x @ (rounded * step - weights)) ** 2).mean()

    assert error(smart) < 0.5 * error(plain)


def test_fitted_layer_has_the_mean_of_its_target():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 128, size=(500, 20))
    weights, bias = rng.normal(size=(20, 6)).astype(np.float32), np.ones(6, np.float32)
    target = x * 0.02 @ weights.astype(np.float64) + bias
    layer = fit_layer((weights, bias), x, 0.02, target, 0.1, relu=False)
    step = layer.multiplier / 2.0 ** layer.shift.astype(float) * 0.1
    got = (x @ layer.weights.astype(np.int64) + layer.bias) * step
    assert np.abs(got.mean(axis=0) - target.mean(axis=0)).max() < 0.01
    assert np.abs(got - target).max() < 0.05 * target.std()


# The filter's bins


def test_edges_cut_training_queries_with_little_overshoot():
    rng = np.random.default_rng(0)
    queries = [rng.normal(rng.normal(0, 400), 800, size=400).astype(int) for _ in range(200)]
    edges, threshold = calibrate_edges(queries, 64)
    assert edges.shape == (15,)
    assert (np.diff(edges.astype(int)) >= 0).all()
    sizes = []
    for query in queries:
        result = bucket_filter(np.arange(400), query, edges, threshold, 64)
        assert not result.underfill
        sizes.append(len(result.ids))
    assert min(sizes) >= 64
    assert np.mean(sizes) < 64 * 1.12


def test_up_to_15_queries_are_cut_exactly():
    rng = np.random.default_rng(1)
    queries = [rng.permutation(3000)[:100] + 50 * i for i in range(15)]
    edges, threshold = calibrate_edges(queries, 10)
    for query in queries:
        assert len(bucket_filter(np.arange(100), query, edges, threshold, 10).ids) == 10


def test_edges_of_few_or_equal_queries():
    edges, threshold = calibrate_edges([np.array([5, 4, 3])], 2)
    assert edges.tolist() == [4] * 15
    assert threshold < 4
    edges, _ = calibrate_edges([np.full(8, -32768)] * 20, 8)
    assert edges.tolist() == [-32768] * 15
    with pytest.raises(
        ValueError, match=r"^k must be at most 3, the candidates of a query, not 4$"
    ):
        calibrate_edges([np.arange(3)], 4)
