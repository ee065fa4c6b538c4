"""Random weights, rows and batches for the models of DeepRecInfra: they are timed, not trained."""

from __future__ import annotations

import numpy as np

from rpaccel.golden.deeprec import DeeprecInputs, DeeprecWeights, GruWeights
from rpaccel.golden.dlrm import Float
from rpaccel.spec.deeprec import DeeprecConfig


def random_weights(config: DeeprecConfig, seed: int) -> DeeprecWeights:
    """Return weights of unit gain: normal, variance 2 / inputs (He et al., ICCV 2015)."""
    rng = np.random.default_rng([seed, 1])

    def normal(inputs: int, outputs: int) -> Float:
        return rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs)).astype(np.float32)

    def bias(width: int) -> Float:
        return rng.normal(0, 0.1, width).astype(np.float32)

    mlps = {
        name: tuple((normal(k, n), bias(n)) for k, n in shapes)
        for name, shapes in config.layers.items()
    }
    grus = {
        name: GruWeights(
            inputs=normal(inputs, 3 * state),
            states=normal(state, 3 * state),
            input_bias=bias(3 * state),
            state_bias=bias(3 * state),
        )
        for name, (inputs, state) in config.grus.items()
    }
    bilinear = normal(config.hidden, config.dim) if config.hidden else np.zeros((0, 0), np.float32)
    return DeeprecWeights(mlps=mlps, grus=grus, bilinear=bilinear)


def random_inputs(
    config: DeeprecConfig, items: int, rng: np.random.Generator, scale_rows: float = 1.0
) -> DeeprecInputs:
    """Return a batch of `items`: normal dense values, ids uniform over the scaled tables.

    Uniform ids are the worst case for caches; DeepRecSys draws them so too.
    """
    if items < 1:
        raise ValueError(f"items must be at least 1, not {items}")
    return DeeprecInputs(
        dense=rng.standard_normal((items, config.dense), dtype=np.float32),
        ids={
            group.name: rng.integers(
                0,
                group.scaled_rows(scale_rows),
                (items, group.vectors, group.lookups),
                dtype=np.int32,
            )
            for group in config.groups
        },
    )
