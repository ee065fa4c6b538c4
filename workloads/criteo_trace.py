"""Seeded streams of embedding ids that are as popular as Criteo's.

Ids of a table are drawn independently from one law of popularity, a Zipf-Mandelbrot law: rank r
(0 is the most popular) of n rows has probability
    p(r) = (G(r + 1) - G(r)) / (G(n) - G(0)),  G(x) = (x + shift)**(1 - exponent) / (1 - exponent),
the integral of (x + shift)**-exponent over [r, r + 1]. Its two constants are fitted to the hit
rates that RecPipe's artifact reports (`workloads.criteo_fit`); the same two serve all 26 tables.

Ref: U. Gupta et al., "RecPipe", MICRO'21, figure 10(c); its artifact, RPAccel_characterization/
embedding: hit rates of FIFO caches over 12.8 million samples of Criteo's log, 5 tables, 4 copies.
B. Mandelbrot, "An informational theory of the statistical structure of language", 1953.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Rows of the 26 categorical features of the Criteo Kaggle display advertising log, as facebook-
# research/dlrm numbers them (--arch-embedding-size of its Kaggle runs); the sum is 33,762,577.
TABLE_ROWS = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
ALL_TABLES = tuple(range(len(TABLE_ROWS)))
LARGE_TABLES = (2, 3, 11, 15, 20)  # the five that the artifact's cache study reads ...
TABLE_COPIES = 4  # ... each of them four times over
FIRST_ROW = tuple(sum(TABLE_ROWS[:table]) for table in ALL_TABLES)  # key of each table's row 0
KEYS = sum(TABLE_ROWS)


@dataclass(frozen=True, kw_only=True)
class PopularityLaw:
    """The Zipf-Mandelbrot law of this module.

    shift : float     above 0: flattens the most popular ranks
    exponent : float  above 0 and not 1
    """

    shift: float
    exponent: float

    def __post_init__(self) -> None:
        if not self.shift > 0:
            raise ValueError(f"shift must be above 0, not {self.shift}")
        if not self.exponent > 0 or self.exponent == 1:
            raise ValueError(f"exponent must be above 0 and not 1, not {self.exponent}")

    def mass(self, ranks: npt.ArrayLike, rows: int) -> Floats:
        """Return the probability of a rank below each of `ranks`, in a table of `rows` rows.

        ranks : float64[...] in 0..rows. The top k ranks have mass(k), rank r has mass(r + 1) -
        mass(r). Relative error of one rank's probability: under 1e-6 up to 10 million rows.
        """
        x = np.asarray(ranks, dtype=np.float64)
        power = 1 - self.exponent
        # expm1(power * log) keeps small differences exact: (1 + x / shift)**power - 1
        return np.expm1(power * np.log1p(x / self.shift)) / self._range(rows)

    def ranks(self, uniform: Floats, rows: int) -> Ints:
        """Return the ranks at which `mass` reaches numbers uniform in [0, 1): exact sampling."""
        power = 1 - self.exponent
        x = self.shift * np.expm1(np.log1p(uniform * self._range(rows)) / power)
        return np.clip(x.astype(np.int64), 0, rows - 1)

    def _range(self, rows: int) -> float:
        return math.expm1((1 - self.exponent) * math.log1p(rows / self.shift))


# `fit_law()` returns these, rounded to 4 digits: tests/workloads/test_criteo_trace.py.
FITTED = PopularityLaw(shift=3.1956, exponent=1.0757)


def criteo_trace(
    samples: int,
    *,
    tables: Sequence[int] = ALL_TABLES,
    seed: int = 0,
    law: PopularityLaw = FITTED,
) -> Ints:
    """Return keys int64[samples, len(tables)]: the row of each table that each sample reads.

    A key is FIRST_ROW[table] + id: its own for every row of every table. Ids are popular ranks
    spread over the table by a fixed map, so traces of different seeds share their popular rows.
    Raises ValueError for a table outside 0..25 or samples below 0.
    """
    if samples < 0:
        raise ValueError(f"samples must be at least 0, not {samples}")
    keys = np.empty((samples, len(tables)), dtype=np.int64)
    for column, table in enumerate(tables):
        if table not in ALL_TABLES:
            raise ValueError(f"tables must be in 0..{len(TABLE_ROWS) - 1}, not {table}")
        rows = TABLE_ROWS[table]
        uniform = np.random.default_rng([seed, table]).random(samples)
        keys[:, column] = FIRST_ROW[table] + spread(law.ranks(uniform, rows), rows)
    return keys


def spread(ranks: Ints, rows: int) -> Ints:
    """Return a permutation of 0..rows-1 applied to `ranks`: neighbours in rank lie far apart."""
    step = round(rows * (math.sqrt(5) - 1) / 2)
    while math.gcd(step, rows) != 1:
        step += 1
    return (ranks * step + rows // 3) % rows


def copied(keys: Ints, copies: int = TABLE_COPIES) -> Ints:
    """Return int64[samples, tables * copies]: every table `copies` times, as tables of their own.

    Copies of a table follow each other, as in the artifact. A FIFO or LRU cache treats them alike:
    its hit rate over `copies` copies is that of a cache of rows // copies over one.
    """
    return (keys[:, :, None] + np.arange(copies) * KEYS).reshape(keys.shape[0], -1)
