"""The network of golden.dlrm in PyTorch, for a batch of users and one list of items."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rpaccel.golden.dlrm import RankerParameters
from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import DENSE_SCALE, FeatureData

START = 0.02  # assumed: spread of tables that start at random


class TorchRanker(nn.Module):
    """The network of golden.dlrm for a batch of users and a shared list of items."""

    def __init__(self, config: RankerConfig, data: FeatureData, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.features = {f.name: f for f in config.sparse(data.schema)}
        self.tables = nn.ParameterDict(
            {name: nn.Parameter(START * torch.randn(f.rows, config.dim))
             for name, f in self.features.items()}
        )  # fmt: skip
        self.bottom = nn.Sequential(*(nn.Linear(k, n) for k, n in config.bottom_shapes))
        self.top = nn.Sequential(*(nn.Linear(k, n) for k, n in config.top_shapes))
        self.drop = nn.Dropout(dropout)
        self.user_dense = torch.from_numpy(data.user_dense.astype(np.float32) * DENSE_SCALE)
        self.item_dense = torch.from_numpy(data.item_dense.astype(np.float32) * DENSE_SCALE)
        self.ids = {n: torch.from_numpy(data.ids[n].astype(np.int64)) for n in self.features}

    def pooled(self, name: str, ids: Tensor) -> Tensor:
        """Return float[n, dim] of int64[n, max_ids] padded with -1."""
        used = (ids >= 0).to(torch.float32)
        total = torch.einsum("nmd,nm->nd", self.tables[name][ids.clamp(min=0)], used)
        if self.features[name].pooling == "mean":
            total = total / used.sum(dim=1, keepdim=True).clamp(min=1)
        return total

    def forward(self, users: Tensor, items: Tensor, histories: dict[str, Tensor]) -> Tensor:
        """Return logits float[users, items]; `histories` replaces the recorded lists.

        The first layers are split into a user part, an item part and a part for each pair of both,
        so that most products are made once per user or item.
        """
        x0, top = self._bottom(users, items), linear(self.top)
        user = [
            self.drop(self.pooled(name, histories.get(name, self.ids[name][users])))
            for name in self.config.user_features
        ]
        item = [
            self.drop(self.pooled(name, self.ids[name][items]))
            for name in self.config.item_features
        ]
        u, v = torch.stack(user, dim=1), torch.stack(item, dim=1)
        weight = top[0].weight
        pair = {ij: weight[:, self.config.dim + p] for p, ij in enumerate(self.config.pairs)}

        def columns(rows: range, cols: range) -> Tensor:
            return torch.stack([pair[i, j] for i in rows for j in cols if j < i])

        of_user, of_item = range(1, 1 + len(user)), range(1 + len(user), 1 + len(user) + len(item))
        x = x0 @ weight[:, : self.config.dim].T + top[0].bias
        x = x + (x0 @ u.transpose(1, 2)) @ columns(of_user, range(1))
        x = x + torch.einsum("bnd,nid->bni", x0, v) @ columns(of_item, range(1))
        cross = torch.einsum("bud,nid->bniu", u, v).flatten(2)
        x = x + cross @ columns(of_item, of_user)
        x = x + self._within(u, of_user, columns)[:, None] + self._within(v, of_item, columns)
        for layer in top[1:]:
            x = layer(torch.relu(x))
        return x[..., 0]

    def _bottom(self, users: Tensor, items: Tensor) -> Tensor:
        first, *rest = linear(self.bottom)
        width = self.config.user_dense
        of_user = self.user_dense[users] @ first.weight[:, :width].T + first.bias
        of_item = self.item_dense[items] @ first.weight[:, width:].T
        x0 = torch.relu(of_user[:, None] + of_item)
        for layer in rest:
            x0 = torch.relu(layer(x0))
        return x0

    @staticmethod
    def _within(vectors: Tensor, numbers: range, columns: Any) -> Tensor:
        """Return the first layer's sum over the pairs inside one side, float[n, width] or zero."""
        count = vectors.shape[1]
        if count < 2:
            return torch.zeros(1, 1)
        i, j = torch.tril_indices(count, count, offset=-1)
        products = (vectors @ vectors.transpose(1, 2))[:, i, j]
        return products @ columns(numbers, numbers)


def linear(layers: nn.Module) -> list[nn.Linear]:
    """Return the dense layers of a sequence, typed."""
    return [layer for layer in layers.children() if isinstance(layer, nn.Linear)]


def export(model: TorchRanker, data: FeatureData, provenance: dict[str, Any]) -> RankerParameters:
    """Return the model's parameters as NumPy arrays, tables rounded to float16."""

    def layers(modules: list[nn.Linear]) -> tuple[tuple[Any, Any], ...]:
        return tuple(
            (m.weight.detach().numpy().T.copy(), m.bias.detach().numpy().copy()) for m in modules
        )

    return RankerParameters(
        config=model.config,
        schema=data.schema,
        tables={name: t.detach().numpy().copy() for name, t in model.tables.items()},
        bottom=layers(linear(model.bottom)),
        top=layers(linear(model.top)),
        provenance=provenance,
    ).rounded()
