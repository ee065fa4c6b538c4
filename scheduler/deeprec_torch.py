"""The models of DeepRecInfra in PyTorch: what runs on a GPU. Needs the extra `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from rpaccel.golden.deeprec import DeeprecInputs, DeeprecWeights, GruWeights
from rpaccel.golden.dlrm import Float
from rpaccel.spec.deeprec import DeeprecConfig, TableGroup


class TorchModel:
    """One model on one device, its tables included; same contract as DeeprecModel.

    Ids are not checked. A run moves a batch to the device and its logits back: the loading that a
    request costs is part of it.
    """

    def __init__(
        self,
        config: DeeprecConfig,
        weights: DeeprecWeights,
        tables: Mapping[str, Float],
        device: str = "cuda",
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self._tables = {name: self._put(t.reshape(-1, config.dim)) for name, t in tables.items()}
        self._starts = {
            g.name: self._put(
                (np.arange(g.vectors) // g.positions * tables[g.name].shape[1]).astype(np.int32)
            )[None, :, None]
            for g in config.groups
        }
        self._mlps = {
            name: [(self._put(w), self._put(b)) for w, b in layers]
            for name, layers in weights.mlps.items()
        }
        if config.hidden:
            self._extract = self._gru(weights.grus["extract"])
            evolve = weights.grus["evolve"]
            self._evolve = [
                self._put(values)
                for values in (evolve.inputs, evolve.input_bias, evolve.states, evolve.state_bias)
            ]
            self._bilinear = self._put(weights.bilinear)

    def run(self, inputs: DeeprecInputs) -> Float:
        """Return the logits of a batch, float32[n, config.outputs]."""
        with torch.inference_mode():
            ids = {name: self._put(values) for name, values in inputs.ids.items()}
            logits = self._forward(self._put(inputs.dense), ids)
            return np.asarray(logits.cpu().numpy())

    def _put(self, values: np.ndarray) -> Tensor:
        # A GPU gets its own copy; a CPU shares the values, which are only read.
        usable = values if values.flags.writeable else np.array(values)
        return torch.from_numpy(np.ascontiguousarray(usable)).to(self.device)

    def _gru(self, weights: GruWeights) -> nn.GRU:
        inputs, states = len(weights.inputs), len(weights.states)
        made = nn.GRU(inputs, states, batch_first=True)

        def reordered(columns: Float) -> Tensor:  # PyTorch's gates: reset, update, candidate
            z, r, h = np.split(columns, 3, axis=-1)
            return torch.from_numpy(np.ascontiguousarray(np.concatenate([r, z, h], axis=-1).T))

        made.load_state_dict(
            {
                "weight_ih_l0": reordered(weights.inputs),
                "weight_hh_l0": reordered(weights.states),
                "bias_ih_l0": reordered(weights.input_bias),
                "bias_hh_l0": reordered(weights.state_bias),
            }
        )
        return made.to(self.device).eval()

    def _pooled(self, group: TableGroup, ids: Tensor) -> Tensor:
        rows = ids + self._starts[group.name]
        summed = fn.embedding_bag(
            rows.reshape(-1, group.lookups), self._tables[group.name], mode="sum"
        )
        return summed.reshape(len(ids), group.vectors, self.config.dim)

    def _forward(self, dense: Tensor, ids: Mapping[str, Tensor]) -> Tensor:
        config = self.config
        vectors = {group.name: self._pooled(group, ids[group.name]) for group in config.groups}
        flat = {name: found.flatten(1) for name, found in vectors.items()}
        if config.kind == "concat":
            joined = [_mlp(self._mlps.get("bottom", []), dense, relu_last=True), *flat.values()]
        elif config.kind == "neumf":
            joined = [flat["mlp"]]
        else:
            meet = self._interest if config.kind == "interest" else self._evolution
            joint = meet(vectors["behaviour"], flat["candidate"])
            joined = [flat["profile"], joint, flat["candidate"], flat["context"]]
        top = _mlp(self._mlps["top"], torch.cat(joined, 1), relu_last=bool(config.head))
        if not config.head:
            return top
        if config.kind == "neumf":
            top = torch.cat([vectors["mf"][:, 0] * vectors["mf"][:, 1], top], 1)
        heads = [self._mlps[f"head{task}"] for task in range(config.tasks)]
        return torch.cat([_mlp(head, top, relu_last=False) for head in heads], 1)

    def _interest(self, behaviours: Tensor, candidate: Tensor) -> Tensor:
        other = candidate[:, None].expand_as(behaviours)
        joined = torch.cat([behaviours, other, behaviours * other], 2)
        return (_mlp(self._mlps["attention"], joined, relu_last=False) * behaviours).sum(1)

    def _evolution(self, behaviours: Tensor, candidate: Tensor) -> Tensor:
        states, _ = self._extract(behaviours)
        scores = (states @ self._bilinear * candidate[:, None]).sum(2)
        attention = torch.softmax(scores, 1)
        weights, bias, state_weights, state_bias = self._evolve
        inputs = torch.addmm(bias, states.flatten(0, 1), weights).unflatten(0, states.shape[:2])
        state = torch.zeros_like(states[:, 0])
        for step in range(states.shape[1]):
            z, r, h = inputs[:, step].chunk(3, 1)
            zs, rs, hs = torch.addmm(state_bias, state, state_weights).chunk(3, 1)
            update = torch.sigmoid(-(z + zs)) * attention[:, step, None]
            state = torch.lerp(state, torch.tanh(h + torch.sigmoid(r + rs) * hs), update)
        return state


def _mlp(layers: Sequence[tuple[Tensor, Tensor]], x: Tensor, *, relu_last: bool) -> Tensor:
    for i, (weights, bias) in enumerate(layers):
        x = x @ weights + bias
        if relu_last or i + 1 < len(layers):
            x = torch.relu(x)
    return x
