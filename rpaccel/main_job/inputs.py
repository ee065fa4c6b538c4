"""Step 1 and 2 of the main job: the click log, its records, and two trained rankers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rpaccel.golden.dlrm import RankerParameters
from rpaccel.spec.records import FeatureData
from rpaccel.workloads.features import build_features
from rpaccel.workloads.log import ClickLog, read_log
from rpaccel.workloads.movielens import load_movielens
from rpaccel.workloads.rankers import load_rankers
from rpaccel.workloads.split import Split, split_log
from rpaccel.workloads.synthetic import synthetic_workload

MOVIELENS = "ml-100k"
SYNTHETIC = "synthetic"


@dataclass(frozen=True, kw_only=True)
class JobInputs:
    """A click log, its hold-out, the records it gives, and the rankers trained on it."""

    log: ClickLog
    split: Split
    features: FeatureData
    small: RankerParameters
    large: RankerParameters

    @property
    def rankers(self) -> dict[str, RankerParameters]:
        """Both rankers by name, cheap to expensive."""
        return {"small": self.small, "large": self.large}

    def some_users(self, count: int, seed: int) -> npt.NDArray[np.int64]:
        """Return `count` users with relevant held-out items, drawn without repetition, sorted."""
        users = self.split.test_users
        if not 1 <= count <= len(users):
            raise ValueError(f"queries must be in 1..{len(users)}, not {count}")
        drawn = np.random.default_rng([seed, 1]).choice(users, count, replace=False)
        return np.sort(drawn).astype(np.int64)


def check_data(data: str) -> None:
    """Raise ValueError unless `data` is what `load_inputs` takes."""
    if data not in (MOVIELENS, SYNTHETIC) and not Path(data).exists():
        raise ValueError(
            f"data must be {MOVIELENS}, {SYNTHETIC} or an existing folder, not {data!r}"
        )


def load_inputs(data: str, seed: int = 0) -> JobInputs:
    """Return the inputs of `data`: "ml-100k", "synthetic", or a folder with a log.

    Raises ValueError or FileNotFoundError that says which file, column or training is missing.
    """
    check_data(data)
    if data == SYNTHETIC:
        planted = synthetic_workload(seed=seed)
        return JobInputs(
            log=planted.log,
            split=planted.split,
            features=planted.features,
            small=planted.small,
            large=planted.large,
        )
    log = load_movielens() if data == MOVIELENS else read_log(data)
    split = split_log(log)
    features = build_features(log, split.train)
    small, large = load_rankers(log)
    for name, ranker in (("small", small), ("large", large)):
        if ranker.schema != features.schema:
            raise ValueError(
                f"the {name} ranker's features are not those of {data}: "
                f"train it again with `make train DATA={data}`"
            )
    return JobInputs(log=log, split=split, features=features, small=small, large=large)
