import numpy as np
import pytest

from rpaccel.golden.interaction import interact, interaction_params, interaction_width
from rpaccel.spec.isa import Interaction

DOT, CONCAT, PRODUCT = Interaction.DOT, Interaction.CONCAT, Interaction.PRODUCT
NONE = np.zeros(0, dtype=np.int64)
# Vector 0, user vectors u0 and u1, item vector i0.
VECTORS = np.array([[[1, 2], [3, -4], [5, 6], [-7, 8]]])


def test_dots_by_hand():
    got = interact(VECTORS, np.ones(6, int), np.zeros(6, int))
    # u0.v0, u1.v0, u1.u0, i0.v0, i0.u0, i0.u1
    assert got.tolist() == [[1, 2, 3 - 8, 5 + 12, 15 - 24, -7 + 16, -21 - 32, -35 + 48]]


def test_concat_by_hand():
    assert interact(VECTORS, NONE, NONE, CONCAT, 2).tolist() == [[1, 2, 3, -4, 5, 6, -7, 8]]


def test_concat_does_not_ask_for_the_split():
    a, b = (interact(VECTORS, NONE, NONE, CONCAT, n) for n in (0, 3))
    assert np.array_equal(a, b)


def test_product_by_hand_then_the_user_vectors_left_over():
    got = interact(VECTORS, np.array([1]), np.array([1]), PRODUCT, 2)
    # u0 * i0 = -21, -32; halved: -10.5 -> -10, -16; then u1
    assert got.tolist() == [[1, 2, -10, -16, 5, 6]]


def test_product_then_the_item_vectors_left_over():
    got = interact(VECTORS, np.array([3]), np.array([1]), PRODUCT, 1)
    # u0 * i0 = 15, -24; times 1.5: 22.5 -> 22, -36; then i1
    assert got.tolist() == [[1, 2, 22, -36, -7, 8]]


def test_every_product_has_its_own_parameters():
    vectors = np.array([[[0], [4], [6], [10], [20]]])
    got = interact(vectors, np.array([1, 3]), np.array([2, 3]), PRODUCT, 2)
    # 4 * 10 / 4, 6 * 20 * 3 / 8
    assert got.tolist() == [[0, 10, 45]]


@pytest.mark.parametrize("kind", [DOT, PRODUCT])
def test_results_saturate(kind):
    vectors = np.array([[[0, 0], [127, 127], [127, -127]], [[0, 0], [127, 127], [-127, -127]]])
    params = interaction_params(kind, 1, 1)
    got = interact(vectors, np.full(params, 65535), np.zeros(params, int), kind, 1)
    assert got[1, -1] == -127
    assert set(got.flatten().tolist()) <= {-127, 0, 127}


def test_copies_have_no_minus_128():
    vectors = np.full((1, 2, 1), -128)
    assert interact(vectors, NONE, NONE, CONCAT).tolist() == [[-127, -127]]


@pytest.mark.parametrize(
    ("kind", "width", "params"),
    [(DOT, 4 + 15, 15), (CONCAT, 24, 0), (PRODUCT, 16, 2)],
    ids=["dot", "concat", "product"],
)
def test_width_and_parameters(kind, width, params):
    assert interaction_width(kind, 4, user_vectors=2, item_vectors=3) == width
    assert interaction_params(kind, user_vectors=2, item_vectors=3) == params
    vectors = np.random.default_rng(0).integers(-127, 128, (3, 6, 4))
    ones = np.ones(params, dtype=np.int64)
    assert interact(vectors, ones, 8 * ones, kind, 2).shape == (3, width)


@pytest.mark.parametrize("kind", [DOT, CONCAT])
def test_vector_0_alone(kind):
    assert interact(np.ones((3, 1, 4), int), NONE, NONE, kind).tolist() == [[1, 1, 1, 1]] * 3


def test_no_items():
    assert interact(np.zeros((0, 3, 4), int), np.ones(3, int), np.ones(3, int)).shape == (0, 7)
