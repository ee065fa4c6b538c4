"""One float layer to int8, on the integer inputs that it will really get.

Ref: E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", arXiv:2210.17323, section 3 (rounding with error feedback through the inverse
Hessian); M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv:1906.04721, section 4.2 (bias correction).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rpaccel.golden.quantised import QuantisedLayer
from rpaccel.host.calibrate import LEVELS, fixed_points

Array = npt.NDArray[np.float64]
BIAS_LIMIT = 2.0**30  # the bias must fit int32
LEAST_RATIO = 2.0**-30
DAMPING = 0.01  # of the mean diagonal of the Hessian
REFIT_PENALTY = 0.05  # of the same: holds the refitted weights to the trained ones


def fit_layer(
    layer: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    inputs: npt.NDArray[np.int64],
    in_scale: npt.ArrayLike,
    target: Array,
    out_scale: npt.ArrayLike,
    *,
    relu: bool,
) -> QuantisedLayer:
    """Return the int8 layer whose sums follow `target` on `inputs`.

    inputs : int[n, inputs], integer activations; in_scale : their step, scalar or [inputs].
    target : [n, outputs], the float layer's output before its ReLU.
    out_scale : step of the output, scalar or [outputs].
    """
    weights, bias = layer[0].astype(np.float64), layer[1]
    folded = weights * np.broadcast_to(in_scale, weights.shape[0])[:, None]
    x = inputs.astype(np.float64)
    x_mean, target_mean = x.mean(axis=0), target.mean(axis=0)
    centred = x - x_mean
    hessian = centred.T @ centred / len(x)
    level = max(float(np.diag(hessian).mean()), 1e-12)
    identity = np.eye(len(hessian)) * level
    # What the inputs lost in quantisation, the weights can partly give back.
    residual = centred.T @ (target - target_mean - centred @ folded) / len(x)
    folded = folded + np.linalg.solve(hessian + REFIT_PENALTY * identity, residual)

    out_step = np.broadcast_to(out_scale, bias.shape)
    step = np.abs(folded).max(axis=0) / LEVELS
    step = np.maximum(step, np.abs(target_mean - x_mean @ folded) / BIAS_LIMIT)
    step = np.maximum(step, out_step * LEAST_RATIO)  # a dead channel
    rounded = round_with_feedback(folded, step, hessian + DAMPING * identity)
    corrected = target_mean - x_mean @ (rounded * step)
    step_bias = np.clip(np.rint(corrected / step), -BIAS_LIMIT, BIAS_LIMIT)
    multiplier, shift = fixed_points(step / out_step)
    return QuantisedLayer(
        weights=rounded.astype(np.int8),
        bias=step_bias.astype(np.int32),
        multiplier=multiplier,
        shift=shift,
        relu=relu,
    )


def round_with_feedback(weights: Array, step: Array, hessian: Array) -> Array:
    """Return whole numbers in [-127, 127] for weights[inputs, outputs] / step[outputs].

    The rounding error of each input's row is made good in the rows that follow, as far as the
    inputs are correlated. hessian : positive definite [inputs, inputs].
    """
    order = np.argsort(-np.diag(hessian), kind="stable")
    inverse = np.linalg.inv(hessian[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    left = weights[order].copy()
    rounded = np.empty_like(left)
    for row in range(len(order)):
        rounded[row] = np.clip(np.rint(left[row] / step), -LEVELS, LEVELS)
        error = (left[row] - rounded[row] * step) / upper[row, row]
        left[row + 1 :] -= upper[row, row + 1 :, None] * error
    result = np.empty_like(rounded)
    result[order] = rounded
    return result
