"""How the two rankers of the main job are trained; imports PyTorch."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from rich.progress import Progress

from rpaccel.golden.dlrm import RankerParameters
from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import FeatureData
from rpaccel.workloads.features import build_features
from rpaccel.workloads.log import ClickLog
from rpaccel.workloads.rankers import large_ranker, small_ranker
from rpaccel.workloads.split import Split, split_log
from rpaccel.workloads.training import TrainingConfig, train_ranker

# Chosen by NDCG@10 on a hold-out inside the training part; the test ratings were never used.
SMALL = TrainingConfig(seed=0, epochs=3, learning_rate=3e-4, table_learning_rate=1e-4)
LARGE = TrainingConfig(seed=0, epochs=8)


def train_pair(
    log: ClickLog, seed: int, *, command: str = ""
) -> tuple[RankerParameters, RankerParameters]:
    """Return (small, large) trained on the training part of `log`, with progress on the console."""
    split = split_log(log)
    data = build_features(log, split.train)
    base = provenance(log, seed, command)
    small = _train(small_ranker(data.schema), data, split, SMALL, seed, base)
    return small, _train(large_ranker(data.schema), data, split, LARGE, seed, base)


def provenance(log: ClickLog, seed: int, command: str) -> dict[str, Any]:
    """Return what made the parameters: command, seed, versions and the data's hash."""
    return {
        "command": command,
        "seed": seed,
        "data": log.name,
        "data_sha256": log.digest,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "polars", "torch")},
    }


def _train(
    config: RankerConfig,
    data: FeatureData,
    split: Split,
    training: TrainingConfig,
    seed: int,
    base: dict[str, Any],
) -> RankerParameters:
    with Progress() as progress:
        task = progress.add_task(f"training {config.name}", total=training.epochs)

        def watch(epoch: int, loss: float, _: object) -> None:
            progress.update(
                task, completed=epoch + 1, description=f"training {config.name}, loss {loss:.3f}"
            )

        return train_ranker(config, data, split.train, training.with_seed(seed), watch, base)
