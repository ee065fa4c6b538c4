"""Queries of the shape of Criteo's log, and the two rankers whose parameters planted the clicks.

Rows are unrelated, as in Criteo's log: every query has item records of its own, 13 dense values
and one id of each of 26 tables. An item's utility is the sum of a utility of each id and a part of
its dense values; clicks are drawn from it. The large ranker holds the utilities, the small one
holds them with noise; all other parameters are small noise. So nothing has to be trained, and
nothing downloaded.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, table 1 (both rankers). `workloads.criteo_trace`: ids;
`workloads.filter_study`: statistics of the clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from rpaccel.golden.dlrm import Float, RankerParameters
from rpaccel.spec.isa import Interaction
from rpaccel.spec.ranker import RankerConfig
from rpaccel.spec.records import DENSE_CLIP, DENSE_SCALE, FeatureData, FeatureSchema, SparseFeature
from rpaccel.workloads.criteo_shapes import SHAPES, CriteoShape
from rpaccel.workloads.criteo_trace import FIRST_ROW, TABLE_ROWS, criteo_trace
from rpaccel.workloads.filter_study import SECOND_MEAN, SECOND_STD

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DENSE_SHARE = 0.2  # assumed: of the variance of the utilities
SMALL_NOISE = 0.5  # of the small ranker's utilities, in their own standard deviations
NOISE = 0.02  # of every parameter that is not planted, in units of those that are
OPEN = 5.0  # standard deviations above 0 of a sum before a ReLU, so that none is cut
STEADY, DENSE_PART = 0, 1  # components of vector 0: a constant, and the dense values' part
SCALED_BY = 1 << 14  # items that the utilities are brought to their scale on


class CriteoConfig(BaseModel):
    """Size, seed and shape of a workload.

    scale_rows : rows of a table at most; ids beyond are folded back into them. shape : of
    `criteo_shapes.SHAPES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(default=0, ge=0)
    items: int = Field(default=4096, ge=1)
    scale_rows: int = Field(default=20_000, ge=1)
    shape: Literal["criteo", "sixteenth"] = "criteo"

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of each table."""
        return tuple(min(TABLE_ROWS[n], self.scale_rows) for n in SHAPES[self.shape].tables)


@dataclass(frozen=True, kw_only=True, eq=False)
class CriteoQuery:
    """The records of one query (one user without values), the utilities, and what was clicked.

    utility : float64[items], the logit that clicks are drawn from. clicked : int64[m], m >= 1, ids.
    """

    data: FeatureData
    utility: Floats
    clicked: Ints

    def best(self, count: int) -> Ints:
        """Return the ids of the `count` items of the greatest utility."""
        return np.argsort(-self.utility, kind="stable")[:count]


class CriteoWorkload:
    """Utilities, both rankers and any number of queries; the same for one config.

    Parameters
    ----------
    config : CriteoConfig
    """

    def __init__(self, config: CriteoConfig) -> None:
        self.config = config
        self.shape: CriteoShape = SHAPES[config.shape]
        rng = np.random.default_rng([config.seed, 1])
        weights = rng.lognormal(0.0, 0.5, len(self.shape.tables))
        self._utilities = [
            weight * rng.normal(size=rows)
            for weight, rows in zip(weights, config.rows, strict=True)
        ]
        self._dense_weights = rng.normal(size=self.shape.dense)
        self._dense_weights /= np.linalg.norm(self._dense_weights)
        self.schema = FeatureSchema(
            user_dense=(),
            item_dense=tuple(f"dense{n:02d}" for n in range(self.shape.dense)),
            features=tuple(
                SparseFeature(name=name, side="item", rows=rows)
                for name, rows in zip(self.shape.table_names, config.rows, strict=True)
            ),
        )
        self._scale()

    def _scale(self) -> None:
        """Bring the utilities of tables and of dense values to mean 0 and their shares."""
        dense, ids = self._records(-1, SCALED_BY)
        self._utilities = [
            table - table[column].mean()
            for table, column in zip(self._utilities, ids.T, strict=True)
        ]
        spread = float(self._of_tables(ids).std())
        gain = SECOND_STD * np.sqrt(1 - DENSE_SHARE) / spread
        self._utilities = [gain * table for table in self._utilities]
        part = dense * DENSE_SCALE @ self._dense_weights
        self._dense_weights *= SECOND_STD * np.sqrt(DENSE_SHARE) / float(part.std())

    def _of_tables(self, ids: Ints) -> Floats:
        columns = zip(self._utilities, ids.T, strict=True)
        return np.sum([table[column] for table, column in columns], axis=0)

    def _records(self, number: int, items: int) -> tuple[npt.NDArray[np.int8], Ints]:
        """Return dense values and ids of a query; -1: of no query."""
        rng = np.random.default_rng([self.config.seed, 2, number + 1])
        shape = self.shape
        values = np.clip(rng.normal(size=(items, shape.dense)), -DENSE_CLIP, DENSE_CLIP)
        keys = criteo_trace(items, tables=shape.tables, seed=int(rng.integers(1 << 31)))
        first = np.array([FIRST_ROW[table] for table in shape.tables])
        ids = (keys - first) % np.array(self.config.rows)
        return np.rint(values / DENSE_SCALE).astype(np.int8), ids

    def query(self, number: int) -> CriteoQuery:
        """Return query `number`, 0 or more."""
        return self._query(*self._records(number, self.config.items), number)

    def together(self, numbers: Sequence[int]) -> FeatureData:
        """Return the records of several queries as one user each and all their items."""
        parts = [self._records(number, self.config.items) for number in numbers]
        dense, ids = (np.concatenate(each) for each in zip(*parts, strict=True))
        return self._data(dense, ids, len(numbers))

    def _data(self, dense: npt.NDArray[np.int8], ids: Ints, users: int) -> FeatureData:
        return FeatureData(
            schema=self.schema,
            user_dense=np.zeros((users, 0), dtype=np.int8),
            item_dense=dense,
            ids={n: ids[:, [c]].astype(np.int32) for c, n in enumerate(self.shape.table_names)},
            counts=dict.fromkeys(self.shape.table_names, np.ones(len(ids), dtype=np.int32)),
        )

    def _query(self, dense: npt.NDArray[np.int8], ids: Ints, number: int) -> CriteoQuery:
        part = dense * DENSE_SCALE @ self._dense_weights
        utility = SECOND_MEAN + self._of_tables(ids) + part
        rng = np.random.default_rng([self.config.seed, 3, number])
        clicked = np.flatnonzero(rng.random(len(ids)) < 1 / (1 + np.exp(-utility)))
        if not len(clicked):
            clicked = np.array([int(utility.argmax())])
        return CriteoQuery(data=self._data(dense, ids, 1), utility=utility, clicked=clicked)

    @cached_property
    def small(self) -> RankerParameters:
        """The small ranker: utilities with noise."""
        return self._planted(self.shape.small, SMALL_NOISE)

    @cached_property
    def large(self) -> RankerParameters:
        """The large ranker: the utilities."""
        return self._planted(self.shape.large, 0.0)

    def _planted(self, config: RankerConfig, noise: float) -> RankerParameters:
        """Return a ranker whose logit is the utility of its tables and of the dense values.

        Vector 0 holds a constant, so that its dot with a row is the row's utility, and the dense
        values' part; where vectors are concatenated, the rows bring it themselves. The first layer
        of the top MLP adds them up in every unit, each with an offset of its own: their mean is
        finer than one int8 activation.
        """
        rng = np.random.default_rng([self.config.seed, 4, config.dim])
        steady = OPEN * float(np.linalg.norm(self._dense_weights))  # as large as the dense part
        tables = {}
        for name, utility in zip(self.shape.table_names, self._utilities, strict=True):
            rows = NOISE * utility.std() * rng.normal(size=(len(utility), config.dim))
            seen = utility + noise * utility.std() * rng.normal(size=len(utility))
            rows[:, STEADY] = seen
            rows[:, DENSE_PART] = 0.0
            tables[name] = rows.astype(np.float32)
        planted = np.zeros(config.top_shapes[0][0])
        for vector in range(1, config.vectors):
            if config.kind is Interaction.DOT:
                planted[config.dim + config.pairs.index((vector, STEADY))] = 1 / steady
            else:
                planted[config.dim * vector + STEADY] = 1.0
        planted[DENSE_PART] = 1.0
        return RankerParameters(
            config=config,
            schema=self.schema,
            tables=tables,
            bottom=_dense_layers(config, self._dense_weights, steady, rng),
            top=_adding_layers(planted, steady, config.top[:-1], rng),
            provenance={"planted": self.config.model_dump(mode="json")},
        ).rounded()


def _dense_layers(
    config: RankerConfig, weights: Floats, open_by: float, rng: np.random.Generator
) -> tuple[tuple[Float, Float], ...]:
    """Return a bottom MLP that carries weights . x + open_by in every unit, each with its gain."""
    layers: list[tuple[Float, Float]] = []
    gains = np.ones(1)
    signal = weights[:, None]
    for inputs, outputs in config.bottom_shapes:
        out = rng.uniform(0.5, 1.0, outputs)
        bias = np.full(outputs, open_by if not layers else 0.0) * out
        if layers:
            signal = 1 / (inputs * gains)[:, None]
        matrix = signal * out
        if len(layers) == len(config.bottom) - 1:
            matrix[:, DENSE_PART] = signal[:, 0]
            rest = [n for n in range(outputs) if n != DENSE_PART]
            matrix[:, rest] = 0.0
            bias[rest] = NOISE * open_by * out[rest]
            bias[STEADY] = open_by
        else:
            matrix += NOISE * np.abs(signal) * rng.normal(size=matrix.shape)
        layers.append((matrix.astype(np.float32), bias.astype(np.float32)))
        gains = out
    return tuple(layers)


def _adding_layers(
    planted: Floats, dense_offset: float, widths: Sequence[int], rng: np.random.Generator
) -> tuple[tuple[Float, Float], ...]:
    """Return a top MLP whose logit is planted . x, without the dense part's offset.

    widths : of the hidden layers; those after the first take means.
    """
    units = widths[0]
    offsets = SECOND_STD * OPEN * rng.uniform(0.8, 1.2, units)
    first = planted[:, None] + NOISE * planted.max() * rng.normal(size=(len(planted), units))
    layers = [(first.astype(np.float32), (offsets - dense_offset).astype(np.float32))]
    for inputs, outputs in pairwise(widths):
        means = (1 + NOISE * rng.normal(size=(inputs, outputs))) / inputs
        layers.append((means.astype(np.float32), np.zeros(outputs, dtype=np.float32)))
    last = np.full((widths[-1], 1), 1 / widths[-1])
    bias = SECOND_MEAN - float(offsets.mean())
    layers.append((last.astype(np.float32), np.array([bias], dtype=np.float32)))
    return tuple(layers)
