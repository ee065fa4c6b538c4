"""The two rankers of the main job: their shapes, and where their trained parameters are."""

from __future__ import annotations

from pathlib import Path

from rpaccel.golden.dlrm import RankerParameters, load_parameters
from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import FeatureSchema, Side
from rpaccel.workloads.log import ClickLog

SHIPPED = Path(__file__).resolve().parents[1] / "spec" / "models"
TRAINED = Path("build/models")  # of own data, under the working directory; ignored by git
STAGES = ("small", "large")

SMALL_USER = ("user", "age", "gender", "occupation")
SMALL_ITEM = ("item", "year", "genres")
LARGE_USER = ("age", "occupation", "liked", "other", "recent")
LARGE_ITEM = ("item", "item_other", "item_recent", "year", "genres")


def small_ranker(schema: FeatureSchema) -> RankerConfig:
    """Return the first stage: one row per user and item, no history to gather."""
    return _ranker("small", schema, 16, SMALL_USER, SMALL_ITEM, (32, 16), (64, 1))


def large_ranker(schema: FeatureSchema) -> RankerConfig:
    """Return the second stage: pools up to 128 liked and 96 other items of the user."""
    return _ranker("large", schema, 32, LARGE_USER, LARGE_ITEM, (32, 32), (64, 1))


def parameters_path(log: ClickLog, stage: str) -> Path:
    """Return where the parameters of `stage` ("small" or "large") for this log are kept.

    ML-100K's are shipped; those of other data lie under build/models, named by the data's hash.
    """
    if stage not in STAGES:
        raise ValueError(f"stage must be one of {STAGES}, not {stage!r}")
    if log.name == "ml-100k":
        return SHIPPED / f"ml100k_{stage}.npz"
    return TRAINED / f"{log.digest[:16]}_{stage}.npz"


def seed_path(log: ClickLog, stage: str, seed: int) -> Path:
    """Return where the parameters of one more training seed are kept."""
    shipped = parameters_path(log, stage)
    return TRAINED / shipped.name.replace(f"_{stage}", f"_seed{seed}_{stage}")


def load_rankers(log: ClickLog) -> tuple[RankerParameters, RankerParameters]:
    """Return (small, large) for a log read from files.

    Raises FileNotFoundError that asks for `make train DATA=...` where it was not run.
    """
    small, large = (load_parameters(parameters_path(log, stage)) for stage in STAGES)
    return small, large


def _ranker(
    name: str,
    schema: FeatureSchema,
    dim: int,
    user_features: tuple[str, ...],
    item_features: tuple[str, ...],
    bottom: tuple[int, ...],
    top: tuple[int, ...],
) -> RankerConfig:
    def dense(side: Side) -> int:
        return len(schema.dense(side))

    return RankerConfig(
        name=name,
        dim=dim,
        user_dense=dense("user"),
        item_dense=dense("item"),
        user_features=user_features,
        item_features=item_features,
        bottom=bottom,
        top=top,
    )
