"""Description of the eight recommendation models of DeepRecInfra.

Ref: U. Gupta et al., "DeepRecSys: A System for Optimizing End-To-End At-Scale Neural
Recommendation Inference", ISCA 2020 (arXiv:2001.02772), tables I and II; X. He et al., "Neural
Collaborative Filtering", WWW 2017; G. Zhou et al., "Deep Interest Network", KDD 2018 (DIN), and
"Deep Interest Evolution Network", AAAI 2019 (DIEN).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.spec.preset_file import names_in, read_preset

DEEPREC_DIR = Path(__file__).parents[1] / "workloads" / "deeprec"
FLOAT_BYTES = 4  # float32 rows
MAX_ROWS = 1 << 31  # of one group: ids are int32
Kind = Literal["concat", "neumf", "interest", "evolution"]
Level = Literal["low", "medium", "high"]
# Table groups that a kind needs, in this order; None: any names.
GROUPS: dict[Kind, tuple[str, ...] | None] = {
    "concat": None,
    "neumf": ("mf", "mlp"),
    "interest": ("profile", "behaviour", "candidate", "context"),
    "evolution": ("profile", "behaviour", "candidate", "context"),
}
Shape = tuple[int, int]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TableGroup(_Frozen):
    """Equal embedding tables, each of which gives `positions` vectors, sums of `lookups` rows."""

    name: str = Field(min_length=1)
    tables: int = Field(ge=1)
    rows: int = Field(ge=1)  # of one table
    lookups: int = Field(default=1, ge=1)  # rows that are summed into one vector
    positions: int = Field(default=1, ge=1)  # vectors read from one table: a sequence

    @property
    def vectors(self) -> int:
        """Vectors of one item."""
        return self.tables * self.positions

    def scaled_rows(self, scale_rows: float) -> int:
        """Return the rows of one table scaled down, at least 1. ValueError outside (0, 1]."""
        if not 0 < scale_rows <= 1:
            raise ValueError(f"scale_rows must be above 0 and at most 1, not {scale_rows}")
        return max(1, round(self.rows * scale_rows))


class SlaTargets(_Frozen):
    """Targets of the tail latency at `percentile` [ms]."""

    low_ms: float = Field(gt=0)
    medium_ms: float = Field(gt=0)
    high_ms: float = Field(gt=0)
    percentile: float = Field(default=95.0, gt=0, lt=100)
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low_ms < self.medium_ms < self.high_ms:
            raise ValueError(
                "SLA targets must grow from low to high, not "
                f"{self.low_ms}, {self.medium_ms}, {self.high_ms}"
            )
        return self

    def ms(self, level: Level) -> float:
        """Return the target of `level` [ms]."""
        return {"low": self.low_ms, "medium": self.medium_ms, "high": self.high_ms}[level]


class DeeprecConfig(_Frozen):
    """Shape of one model; layers are listed by their output widths, ReLU between them.

    kind : how the pooled vectors meet.
        concat: the bottom MLP's output (or the dense values, without one) and all vectors.
        neumf: the product of both "mf" vectors beside `top` of both "mlp" vectors, then `head`.
        interest: profile, attention-weighted behaviours, candidate, context (DIN).
        evolution: profile, last state of a GRU and a GRU with attentional update gate over the
            behaviours, candidate, context (DIEN).
    tasks : each has its own `head` behind `top`, and its own column of the output.
    attention : hidden widths and the last 1 of DIN's attention unit.
    """

    name: str = Field(min_length=1)
    title: str = Field(min_length=1)
    kind: Kind
    dim: int = Field(ge=1)
    dense: int = Field(default=0, ge=0)  # dense values of one item
    bottom: tuple[int, ...] = ()
    top: tuple[int, ...] = Field(min_length=1)
    head: tuple[int, ...] = ()
    tasks: int = Field(default=1, ge=1)
    attention: tuple[int, ...] = ()
    hidden: int = Field(default=0, ge=0)  # state of the GRUs
    groups: tuple[TableGroup, ...] = Field(min_length=1)
    sla: SlaTargets
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = tuple(group.name for group in self.groups)
        wanted = GROUPS[self.kind]
        if len(set(names)) != len(names):
            raise ValueError(f"groups must differ, not {', '.join(names)}")
        if wanted is not None and names != wanted:
            raise ValueError(
                f"groups of kind {self.kind} must be {', '.join(wanted)}, not {', '.join(names)}"
            )
        if min((1, *self.bottom, *self.top, *self.head, *self.attention)) < 1:
            raise ValueError("layer widths must be at least 1")
        if self.tasks > 1 and not self.head:
            raise ValueError(f"head must not be empty with {self.tasks} tasks")
        for group in self.groups:
            if group.tables * group.rows > MAX_ROWS:
                raise ValueError(
                    f"group {group.name} must have at most {MAX_ROWS} rows, "
                    f"not {group.tables} x {group.rows}"
                )
        self._check_kind()
        return self

    def _check_kind(self) -> None:
        if self.bottom and not self.dense:
            raise ValueError("dense must be at least 1 with a bottom MLP, not 0")
        if self.kind != "concat" and self.dense:
            raise ValueError(f"dense must be 0 for kind {self.kind}, not {self.dense}")
        if (self.kind == "interest") != bool(self.attention):
            raise ValueError("attention must be given for kind interest, and for no other")
        if self.attention and self.attention[-1] != 1:
            raise ValueError(f"attention must end with 1, not {self.attention[-1]}")
        if (self.kind == "evolution") != bool(self.hidden):
            raise ValueError("hidden must be given for kind evolution, and for no other")
        if self.kind == "neumf" and (not self.head or {g.vectors for g in self.groups} != {2}):
            raise ValueError("kind neumf must have a head and two vectors in each group")
        if self.kind in {"interest", "evolution"}:
            for group in self.groups:
                if group.name != "behaviour" and group.vectors != 1:
                    raise ValueError(
                        f"group {group.name} must give one vector, not {group.vectors}"
                    )

    def group(self, name: str) -> TableGroup:
        """Return the group of that name."""
        return next(group for group in self.groups if group.name == name)

    @property
    def outputs(self) -> int:
        """Columns of the result."""
        return self.tasks * (self.head or self.top)[-1]

    @property
    def top_width(self) -> int:
        """Inputs of the top MLP."""
        if self.kind == "neumf":
            return 2 * self.dim
        if self.kind == "interest":
            return 4 * self.dim
        if self.kind == "evolution":
            return self.hidden + 3 * self.dim
        dense = self.bottom[-1] if self.bottom else self.dense
        return dense + self.dim * sum(group.vectors for group in self.groups)

    @property
    def layers(self) -> dict[str, tuple[Shape, ...]]:
        """Name of each MLP -> (inputs, outputs) of its layers; "head0" is the first task's."""
        head_width = self.top[-1] + (self.dim if self.kind == "neumf" else 0)
        found = {
            "bottom": _shapes(self.dense, self.bottom),
            "attention": _shapes(3 * self.dim, self.attention),
            "top": _shapes(self.top_width, self.top),
        } | {f"head{task}": _shapes(head_width, self.head) for task in range(self.tasks)}
        return {name: shapes for name, shapes in found.items() if shapes}

    @property
    def grus(self) -> dict[str, Shape]:
        """Name of each recurrent layer -> (inputs, state)."""
        if not self.hidden:
            return {}
        return {"extract": (self.dim, self.hidden), "evolve": (self.hidden, self.hidden)}

    @property
    def table_bytes(self) -> int:
        """Bytes of all tables, unscaled."""
        return sum(g.tables * g.rows for g in self.groups) * self.dim * FLOAT_BYTES

    def scaled_bytes(self, scale_rows: float) -> int:
        """Return the bytes of all tables with so much of their rows."""
        rows = sum(group.tables * group.scaled_rows(scale_rows) for group in self.groups)
        return rows * self.dim * FLOAT_BYTES

    @property
    def lookups_per_item(self) -> int:
        """Rows read for one item."""
        return sum(group.vectors * group.lookups for group in self.groups)

    @property
    def row_bytes_per_item(self) -> int:
        """Bytes of the rows that one item reads."""
        return self.lookups_per_item * self.dim * FLOAT_BYTES

    @property
    def input_bytes_per_item(self) -> int:
        """Bytes of one item's ids (int32) and dense values (float32): what a link carries."""
        return 4 * self.lookups_per_item + FLOAT_BYTES * self.dense

    @property
    def macs(self) -> dict[str, int]:
        """Multiply-accumulates of one item: "dense", "attention", "recurrent"."""
        behaviours = self.group("behaviour").vectors if GROUPS[self.kind] and self.dim and (
            self.kind != "neumf"
        ) else 0  # fmt: skip
        per_mlp = {name: sum(k * n for k, n in s) for name, s in self.layers.items()}
        attention = behaviours * (per_mlp.pop("attention", 0) + self.dim)
        if self.kind == "evolution":  # state x weights x candidate: a bilinear form per step
            attention = behaviours * self.hidden + self.hidden * self.dim
        gates = sum(3 * state * (inputs + state) for inputs, state in self.grus.values())
        return {
            "dense": sum(per_mlp.values()),
            "attention": attention,
            "recurrent": behaviours * gates,
        }

    @property
    def parameters(self) -> int:
        """Weights and biases outside the tables."""
        mlps = sum((k + 1) * n for shapes in self.layers.values() for k, n in shapes)
        grus = sum(3 * state * (inputs + state + 2) for inputs, state in self.grus.values())
        return mlps + grus + (self.hidden * self.dim if self.kind == "evolution" else 0)


def _shapes(inputs: int, widths: tuple[int, ...]) -> tuple[Shape, ...]:
    return tuple(pairwise((inputs, *widths)))


def deeprec_names() -> list[str]:
    """Names of the models, sorted."""
    return names_in(DEEPREC_DIR)


def load_deeprec(source: str | Path) -> DeeprecConfig:
    """Read a model by name, or a YAML file by path.

    Raises ValueError that names the models, or every wrong key with its path.
    """
    return DeeprecConfig.model_validate(read_preset(source, DEEPREC_DIR, "model"), strict=False)
