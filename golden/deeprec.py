"""Float reference of the eight models of DeepRecInfra, in NumPy, and their containers.

Ref: see spec.deeprec. Recurrent layers: K. Cho et al., EMNLP 2014 (GRU, reset applied behind the
matrix product as cuDNN does); G. Zhou et al., AAAI 2019, section 4.3 (attentional update gate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rpaccel.golden.dlrm import Float, mlp, sigmoid
from rpaccel.spec.deeprec import DeeprecConfig

Ids = npt.NDArray[np.int32]
Layer = tuple[Float, Float]


@dataclass(frozen=True, kw_only=True)
class GruWeights:
    """Weights of a recurrent layer; the columns are the update, reset and candidate gates.

    Members
    -------
    inputs : float32[in, 3 * state]    states : float32[state, 3 * state]
    input_bias, state_bias : float32[3 * state]
    """

    inputs: Float
    states: Float
    input_bias: Float
    state_bias: Float


@dataclass(frozen=True, kw_only=True)
class DeeprecWeights:
    """Everything of a model but its tables.

    Members
    -------
    mlps : name of `DeeprecConfig.layers` -> ((weights float32[in, out], bias float32[out]), ...)
    grus : name of `DeeprecConfig.grus` -> GruWeights
    bilinear : float32[state, dim]  The attention of DIEN; empty elsewhere.
    """

    mlps: dict[str, tuple[Layer, ...]]
    grus: dict[str, GruWeights] = field(default_factory=dict)
    bilinear: Float = field(default_factory=lambda: np.zeros((0, 0), np.float32))


@dataclass(frozen=True, kw_only=True)
class DeeprecInputs:
    """A batch of items.

    Members
    -------
    dense : float32[n, dense]
    ids : group -> int32[n, vectors, lookups]  Rows of table vector // positions.
    """

    dense: Float
    ids: dict[str, Ids]

    @property
    def items(self) -> int:
        """Items of the batch."""
        return len(self.dense)

    def take(self, which: slice | npt.NDArray[np.integer]) -> DeeprecInputs:
        """Return the batch of some of the items; a slice copies nothing."""
        return DeeprecInputs(
            dense=self.dense[which], ids={name: ids[which] for name, ids in self.ids.items()}
        )


def pooled(tables: Float, ids: Ids, positions: int) -> Float:
    """Return float32[n, vectors, dim]: the sums of the rows that `ids` names.

    tables : float32[tables, rows, dim]    ids : int32[n, vectors, lookups]
    """
    table = np.arange(ids.shape[1]) // positions
    rows: Float = tables[table[None, :, None], ids]
    return np.asarray(rows.sum(axis=2), dtype=np.float32)


def gru(weights: GruWeights, x: Float, attention: Float | None = None) -> Float:
    """Return the states after each step of a GRU that starts at 0, float32[n, steps, state].

    x : float32[n, steps, in]    attention : float32[n, steps]  Scales the update gate (AUGRU);
        None leaves it as it is (GRU).
    Source: DIEN equations 1 to 4 and 16; their u is one minus the `keep` of this code.
    """
    n, steps, _ = x.shape
    state = np.zeros((n, len(weights.states)), np.float32)
    states = []
    for step in range(steps):
        inputs = x[:, step] @ weights.inputs + weights.input_bias
        fed_back = state @ weights.states + weights.state_bias
        z, r, h = np.split(inputs, 3, axis=1)
        zs, rs, hs = np.split(fed_back, 3, axis=1)
        keep = sigmoid(z + zs)
        candidate = np.tanh(h + sigmoid(r + rs) * hs)
        scale = 1.0 if attention is None else attention[:, step, None]
        update = scale * (1.0 - keep)
        state = np.asarray((1.0 - update) * state + update * candidate, dtype=np.float32)
        states.append(state)
    return np.stack(states, axis=1)


def interest(layers: Sequence[Layer], behaviours: Float, candidate: Float) -> Float:
    """Return the behaviours, weighted by DIN's attention unit and summed, float32[n, dim].

    behaviours : float32[n, steps, dim]    candidate : float32[n, dim]
    The weights are not normalised. Source: DIN equation 3.
    """
    n, steps, dim = behaviours.shape
    other = np.broadcast_to(candidate[:, None], behaviours.shape)
    joined = np.concatenate([behaviours, other, behaviours * other], axis=2)
    weights = mlp(layers, joined.reshape(n * steps, 3 * dim), relu_last=False)
    return np.asarray((weights.reshape(n, steps, 1) * behaviours).sum(axis=1), dtype=np.float32)


def evolution(weights: DeeprecWeights, behaviours: Float, candidate: Float) -> Float:
    """Return the last state of DIEN's two recurrent layers, float32[n, state].

    behaviours : float32[n, steps, dim]    candidate : float32[n, dim]
    Source: DIEN section 4: GRU, softmax of a bilinear form, GRU with attentional update gate.
    """
    states = gru(weights.grus["extract"], behaviours)
    scores = np.einsum("nts,sd,nd->nt", states, weights.bilinear, candidate)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    attention = np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
    return np.asarray(gru(weights.grus["evolve"], states, attention)[:, -1])


def forward(
    config: DeeprecConfig,
    weights: DeeprecWeights,
    tables: Mapping[str, Float],
    inputs: DeeprecInputs,
) -> Float:
    """Return the logits of a batch, float32[n, config.outputs].

    tables : group -> float32[tables, rows, dim]
    """
    n = inputs.items
    vectors = {
        group.name: pooled(tables[group.name], inputs.ids[group.name], group.positions)
        for group in config.groups
    }
    flat = {name: found.reshape(n, -1) for name, found in vectors.items()}
    if config.kind == "concat":
        dense = mlp(weights.mlps.get("bottom", ()), inputs.dense, relu_last=True)
        joined = [dense, *flat.values()]
    elif config.kind == "neumf":
        joined = [flat["mlp"]]
    else:
        candidate = flat["candidate"]
        behaviours = vectors["behaviour"]
        if config.kind == "interest":
            joint = interest(weights.mlps["attention"], behaviours, candidate)
        else:
            joint = evolution(weights, behaviours, candidate)
        joined = [flat["profile"], joint, candidate, flat["context"]]
    top = mlp(
        weights.mlps["top"],
        np.concatenate(joined, axis=1),
        relu_last=bool(config.head),
    )
    if not config.head:
        return top
    if config.kind == "neumf":
        product = vectors["mf"][:, 0] * vectors["mf"][:, 1]
        top = np.concatenate([product, top], axis=1)
    heads = [weights.mlps[f"head{task}"] for task in range(config.tasks)]
    return np.concatenate([mlp(head, top, relu_last=False) for head in heads], axis=1)
