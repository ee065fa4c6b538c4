"""Rankings that need no training loop: popularity, and the closed-form linear model EASE.

Ref: H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equation 8.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def interaction_matrix(
    users: npt.NDArray[np.integer], items: npt.NDArray[np.integer], shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the binary float64[users, items] matrix of (user, item) pairs."""
    matrix = np.zeros(shape)
    matrix[users, items] = 1.0
    return matrix


def popularity(items: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.int64]:
    """Return int64[count]: how often each item occurs in `items`."""
    return np.bincount(items, minlength=count).astype(np.int64)


def ease_weights(matrix: npt.NDArray[np.float64], penalty: float) -> npt.NDArray[np.float64]:
    """Return B of EASE: the zero-diagonal minimiser of |X - X B|^2 + penalty |B|^2.

    matrix : float64[users, items] X.  Returns float64[items, items]; scores are X @ B.
    """
    if penalty <= 0:
        raise ValueError(f"penalty must be above 0, not {penalty}")
    gram = matrix.T @ matrix
    precision = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)
