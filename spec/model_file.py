"""Description of a ranker of one's own in a YAML file: shape, tables, records.

Ref: M. Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
Systems", arXiv:1906.00091, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.spec.isa import MAX_IDS
from rpaccel.spec.preset_file import names_in, read_preset
from rpaccel.spec.ranker import InteractionName

__all__ = ["MODELS_DIR", "ModelFile", "TableGroup", "load_model", "model_names"]

MODELS_DIR = Path(__file__).parents[1] / "workloads" / "models"
_MAX_ROWS = (1 << 32) - 1  # ids are 32-bit


class TableGroup(BaseModel):
    """Equal embedding tables: one named `name`, or `name`0, `name`1, ...

    ids : most ids of an item (of a user) in each, whose rows are pooled into one vector.
    ones : a single row of ones: its product with a vector is that vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    tables: int = Field(default=1, ge=1, le=64)
    rows: int = Field(default=1, ge=1, le=_MAX_ROWS)  # of one table
    ids: int = Field(default=1, ge=1, le=MAX_IDS)
    pooling: Literal["sum", "mean"] = "sum"
    ones: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ones and (self.rows, self.ids) != (1, 1):
            raise ValueError(
                f"a table of ones must have 1 row and 1 id, not {self.rows} and {self.ids}"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tables."""
        if self.tables == 1:
            return (self.name,)
        return tuple(f"{self.name}{n}" for n in range(self.tables))


class ModelFile(BaseModel):
    """Shape of one ranker, layers listed by their output widths.

    bottom : reads the user's dense values, then the item's; ends with `dim`.
    top : reads what `interaction` makes of the bottom output and the tables' vectors, the user's
        first (`RankerConfig` says what); ends with 1, the logit.
    late_products : so many of the products go past `top` to its last layer, the first ones. What
        is to pass instead of being multiplied is multiplied by ones (workloads/models/neumf.yaml).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    dim: int = Field(ge=1)
    user_dense: int = Field(default=0, ge=0)
    item_dense: int = Field(default=0, ge=0)
    user_tables: tuple[TableGroup, ...] = ()
    item_tables: tuple[TableGroup, ...] = ()
    bottom: tuple[int, ...] = Field(min_length=1)
    top: tuple[int, ...] = Field(min_length=1)
    interaction: InteractionName = "dot"
    late_products: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bottom[-1] != self.dim:
            raise ValueError(f"bottom must end with dim {self.dim}, not {self.bottom[-1]}")
        if self.top[-1] != 1:
            raise ValueError(f"top must end with 1, the logit, not {self.top[-1]}")
        if min(self.bottom + self.top) < 1:
            raise ValueError("layer widths must be at least 1")
        if self.user_dense + self.item_dense < 1:
            raise ValueError(
                "user_dense + item_dense must be at least 1, not 0: vector 0 is what the bottom "
                "MLP makes of them"
            )
        names = [name for _, group in self.groups for name in group.names]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"names of tables must differ, not repeat {repeated[0]!r}")
        return self

    @property
    def groups(self) -> Iterator[tuple[Literal["user", "item"], TableGroup]]:
        """Groups of tables in vector order, each with its side."""
        for group in self.user_tables:
            yield "user", group
        for group in self.item_tables:
            yield "item", group


def model_names() -> list[str]:
    """Names of the models in workloads/models/, sorted."""
    return names_in(MODELS_DIR)


def load_model(source: str | Path) -> ModelFile:
    """Read a model by name, or a YAML file by path.

    Raises ValueError that names the model, or every wrong key with its path.
    """
    return ModelFile.model_validate(read_preset(source, MODELS_DIR, "model"), strict=False)
