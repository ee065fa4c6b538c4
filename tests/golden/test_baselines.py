import numpy as np
import pytest

from rpaccel.golden.baselines import ease_weights, interaction_matrix, popularity


def test_popularity_counts():
    assert popularity(np.array([2, 0, 2, 2]), 4).tolist() == [1, 0, 3, 0]


def test_ease_of_two_items_by_hand():
    # G = X'X = [[2, 1], [1, 2]]; minimising |x0 - b x1|^2 + p b^2 gives b = 1 / (2 + p)
    matrix = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    weights = ease_weights(matrix, penalty=3.0)
    assert np.allclose(weights, [[0.0, 0.2], [0.2, 0.0]])


def test_ease_is_the_least_squares_optimum():
    rng = np.random.default_rng(0)
    matrix = (rng.random((40, 6)) < 0.4).astype(float)
    weights = ease_weights(matrix, penalty=5.0)
    for item in range(6):
        others = np.delete(np.arange(6), item)
        a = matrix[:, others]
        best = np.linalg.solve(a.T @ a + 5.0 * np.eye(5), a.T @ matrix[:, item])
        assert np.allclose(weights[others, item], best)


def test_interaction_matrix_ignores_repeats():
    matrix = interaction_matrix(np.array([0, 0, 1]), np.array([2, 2, 0]), (2, 3))
    assert matrix.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_rejects_penalty():
    with pytest.raises(ValueError, match=r"^penalty must be above 0, not 0"):
        ease_weights(np.eye(2), 0)
