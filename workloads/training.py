"""Trains DLRM-style rankers with PyTorch (the `train` extra).

One step takes a batch of users and cuts each user's training rows at a random time: the rows
before the cut are the history features, the liked items after it are asked for, by softmax
cross-entropy over a shared sample of items with the past masked. The history tables and the item
table start from a truncated factorisation of EASE's weights, so that the first dot product is
close to EASE. A running mean of the parameters is what comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rpaccel.golden import dlrm
from rpaccel.golden.baselines import ease_weights
from rpaccel.golden.dlrm import RankerParameters
from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import FeatureData
from rpaccel.workloads.network import TorchRanker, export, linear
from rpaccel.workloads.past import HISTORIES, Past
from rpaccel.workloads.split import HELD_OUT_SHARE

MASKED = -1e9  # logit of an item of the past
GRADIENT_NORM = 5.0  # assumed
RATE_USERS = 100  # users over whom the mean click-through rate is taken
QUIET = 0.1  # assumed: scale of the last layer's weights that do not carry EASE
# (history, item table, share of the gain) of each pair that starts as EASE
STARTS = (
    ("user", "item", 1.0),
    ("liked", "item", 1.0),
    ("recent", "item_recent", 0.2),
    ("other", "item_other", 0.0),
)
Watch = Callable[[int, float, Callable[[], RankerParameters]], None]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How one ranker is trained."""

    seed: int
    epochs: int
    learning_rate: float = 1e-3
    table_learning_rate: float = 3e-4
    batch_users: int = 32
    sampled_items: int = 512
    cut_low: float = 0.3  # a cut leaves at least this share of a user's rows in the past ...
    cut_high: float = 0.9  # ... and at most this
    history_drop: float = 0.5  # most of a history that is left out at random in a step
    dropout: float = 0.1  # of pooled vectors
    ease_penalty: float = 300.0
    start_gain: float = 10.0  # of EASE's scores in the first logits
    table_decay: float = 0.0
    weight_decay: float = 1e-4
    average: float = 0.98  # decay of the running mean of the parameters, per step

    def with_seed(self, seed: int) -> TrainingConfig:
        """Return the same training from another seed."""
        return replace(self, seed=seed)


def train_ranker(
    config: RankerConfig,
    data: FeatureData,
    train: pl.DataFrame,
    training: TrainingConfig,
    watch: Watch | None = None,
    provenance: dict[str, Any] | None = None,
) -> RankerParameters:
    """Train one ranker on the rows of `train`.

    data : records made from the same rows.  watch : called after each epoch with its number, its
    mean loss and a function that returns the parameters so far.
    Returns the parameters with tables rounded to float16; one seed and thread give the same bytes.
    Raises ValueError if no user has two liked items.
    """
    torch.manual_seed(training.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(training.seed)
    past = Past(train, (data.users, data.items))
    users = np.flatnonzero(past.liked.sum(axis=1) >= 2)
    if len(users) == 0:
        raise ValueError("at least 1 user must have 2 training ratings >= 4, not 0")
    model = TorchRanker(config, data, training.dropout)
    start_from_ease(model, past.liked, training)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(training.average))
    batches = -(-len(users) // training.batch_users)
    optimiser, schedule = _optimiser(model, training, training.epochs * batches)
    info = {**(provenance or {}), "training": asdict(training)}

    def parameters() -> RankerParameters:
        return export(cast(TorchRanker, averaged.module), data, info)

    for epoch in range(training.epochs):
        losses = []
        for batch in np.array_split(rng.permutation(users), batches):
            loss = _loss(model, batch, past, training, rng)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimiser.step()
            schedule.step()
            averaged.update_parameters(model)
            losses.append(float(loss.detach()))
        if watch is not None:
            watch(epoch, float(np.mean(losses)), parameters)
    return shift_to_rate(parameters(), data, past)


def shift_to_rate(parameters: RankerParameters, data: FeatureData, past: Past) -> RankerParameters:
    """Move the last bias so that the mean of sigmoid(logit) is the share of unseen items liked.

    The loss leaves a shift of all logits free; with this one the sigmoid is a click-through rate.
    The share is taken as HELD_OUT_SHARE of a user's liked training rows over its unseen items.
    """
    users = np.flatnonzero(past.liked.any(axis=1))[:: max(1, data.users // RATE_USERS)]
    items = dlrm.item_vectors(parameters, data)
    unseen = [np.flatnonzero(~past.seen[user]) for user in users]
    scores = np.concatenate(
        [dlrm.logits(parameters, data, u, ids, items) for u, ids in zip(users, unseen, strict=True)]
    ).astype(np.float64)
    rate = HELD_OUT_SHARE * past.liked[users].sum() / max(1, len(scores))
    low, high = -30.0, 30.0
    for _ in range(40):  # bisection: the mean rises with the shift
        middle = (low + high) / 2
        low, high = (middle, high) if dlrm.sigmoid(scores + middle).mean() < rate else (low, middle)
    weights, bias = parameters.top[-1]
    shifted = (weights, (bias + low).astype(np.float32))
    return replace(parameters, top=(*parameters.top[:-1], shifted))


def start_from_ease(
    model: TorchRanker, liked: npt.NDArray[np.bool_], training: TrainingConfig
) -> None:
    """Set tables and top MLP so that the first logits are close to EASE's scores.

    liked : bool[users, items]. With B = EASE's weights and V the first right singular vectors of
    liked @ B, an item table is V and a history table B @ V, both scaled to one size: the dot
    product of a summed history and an item is then near EASE's score. Everything else starts small.
    """
    config = model.config
    matrix = liked.astype(np.float64)
    weights = ease_weights(matrix, training.ease_penalty)
    right = np.linalg.svd(matrix @ weights, full_matrices=False)[2][: config.dim].T
    vector = {feature: 1 + i for i, feature in enumerate(config.features)}
    first, *middle, last = linear(model.top)
    with torch.no_grad():
        last.weight *= QUIET
        last.weight[0, :2] = torch.tensor([1.0, -1.0])
        for layer in middle:
            layer.weight[:2] = 0.0
            layer.weight[0, 0] = layer.weight[1, 1] = 1.0
        first.weight[:2] = 0.0
        first.bias[:2] = 1.0
        for history, item, share in STARTS:
            if history not in vector or item not in vector:
                continue
            left = matrix @ weights @ right if history == "user" else weights @ right
            balance = np.sqrt(np.linalg.norm(left) / (np.linalg.norm(right) + 1e-12))
            for feature, start in ((item, right * balance), (history, left / balance)):
                values = torch.from_numpy(start.astype(np.float32))
                model.tables[feature][:, : values.shape[1]] = values
            column = config.dim + config.pairs.index((vector[item], vector[history]))
            gain = share * training.start_gain  # ReLU(1 + x) - ReLU(1 - x) = 2 x near 0
            first.weight[0, column] = gain
            first.weight[1, column] = -gain


def _optimiser(
    model: TorchRanker, training: TrainingConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    rates = [training.table_learning_rate, training.learning_rate]
    groups = [
        {"params": list(model.tables.values()), "weight_decay": training.table_decay},
        {
            "params": [*model.bottom.parameters(), *model.top.parameters()],
            "weight_decay": training.weight_decay,
        },
    ]
    optimiser = torch.optim.AdamW(groups, lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=steps, pct_start=0.2
    )
    return optimiser, schedule


def _loss(
    model: TorchRanker,
    batch: npt.NDArray[np.int64],
    past: Past,
    training: TrainingConfig,
    rng: np.random.Generator,
) -> Tensor:
    """Return the loss of one batch of users."""
    later = past.after(batch, rng.uniform(training.cut_low, training.cut_high, len(batch)))
    wanted = later & past.liked[batch]
    lost = later | (rng.random(later.shape) < training.history_drop * rng.random((len(batch), 1)))
    items = _sample(wanted, training.sampled_items, rng)
    histories = {
        name: torch.from_numpy(past.list_ids(name, batch, lost, model.features[name].max_ids))
        for name in HISTORIES
        if name in model.config.user_features
    }
    logits = model(torch.from_numpy(batch), torch.from_numpy(items), histories)
    masked = past.seen[batch][:, items] & ~later[:, items]
    logits = logits.masked_fill(torch.from_numpy(masked), MASKED)
    target = torch.from_numpy(wanted[:, items].astype(np.float32))
    target = target / target.sum(dim=1, keepdim=True).clamp(min=1)
    return -(torch.log_softmax(logits, dim=1) * target).sum(dim=1).mean()


def _sample(
    wanted: npt.NDArray[np.bool_], count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return every wanted item, filled up to `count` with others drawn at random."""
    columns = np.flatnonzero(wanted.any(axis=0))
    rest = np.setdiff1d(np.arange(wanted.shape[1]), columns)
    extra = max(0, min(len(rest), count - len(columns)))
    return np.concatenate([columns, rng.choice(rest, size=extra, replace=False)])
