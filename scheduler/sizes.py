"""How many items a query asks to score: distributions of whole numbers, drawn by inversion.

The production distribution of DeepRecSys (ISCA'20, figure 5) was not published as data: the heavy
tail here is a reconstruction from its percentiles, MLPerf's a public stand-in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rpaccel.scheduler.arrivals import Floats

__all__ = ["Sizes", "fixed", "heavy_tail", "load_sizes", "lognormal", "mlperf_dlrm", "normal",
           "parse_sizes", "sizes_of"]  # fmt: skip

MOST = 1024  # items of a query, at most, as in the artifact

# Share of queries and their largest size. Those of 0.5, 0.75, 0.95, 0.99 and 1 are asked for; 0.05
# and 0.25 are of the mixture in Kairos (HPDC'23), which says it replays DeepRecSys.
HEAVY_TAIL = ((0, 0), (0.05, 62), (0.25, 144), (0.5, 177), (0.75, 239), (0.95, 601), (0.99, 920),
              (1, 999))  # fmt: skip
# MLPerf's dist_quantile.txt of DLRM, which it chose to resemble the paper's figure.
MLPERF = (100,) * 2 + (200,) * 12 + (300,) * 2 + (400, 500, 600, 700)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A distribution of query sizes.

    share : float64[most + 1]  probability of each size; none of size 0, sums to 1
    """

    name: str
    share: Floats

    def __post_init__(self) -> None:
        if self.share.size < 2 or self.share[0] != 0 or np.any(self.share < 0):
            raise ValueError(f"share of {self.name} must be of sizes 1 and more, none negative")
        if abs(float(self.share.sum()) - 1) > 1e-9:
            raise ValueError(f"share of {self.name} must sum to 1, not {self.share.sum():.6g}")

    @property
    def most(self) -> int:
        """Largest size that occurs."""
        return int(np.flatnonzero(self.share)[-1])

    @property
    def mean(self) -> float:
        """Items of a query on average."""
        return float(self.share @ np.arange(self.share.size))

    def quantile(self, quantile: float) -> int:
        """Return the least size that at least `quantile` of the queries do not exceed."""
        return int(np.searchsorted(np.cumsum(self.share), quantile - 1e-12))

    def items_of_largest(self, queries: float) -> float:
        """Return the share of all items that the largest `queries` (a share) hold."""
        below = np.minimum(np.cumsum(self.share), 1 - queries)
        kept = np.diff(below, prepend=0.0)
        return 1 - float(kept @ np.arange(self.share.size)) / self.mean

    def draw(self, queries: int, seed: int) -> NDArray[np.int32]:
        """Return int32[queries] independent sizes."""
        if queries < 1:
            raise ValueError(f"queries must be at least 1, not {queries}")
        total = np.cumsum(self.share)[: self.most]  # the rest, rounding included, is the largest
        uniform = np.random.default_rng([seed, 2]).random(queries)
        return np.searchsorted(total, uniform, side="right").astype(np.int32)


def _of_cdf(name: str, cdf: Floats) -> Sizes:
    # cdf[k] : share of the queries of size k or less, k = 0..most; the rest is of size most.
    cdf = np.concatenate([[0.0], cdf[1:-1], [1.0]])
    return Sizes(name=name, share=np.diff(cdf, prepend=0.0))


def heavy_tail() -> Sizes:
    """Return the production-like tail: p50 177, p75 239, p95 601, p99 920, at most 999.

    All five hold exactly; straight lines between them then give a mean of 238 items and 52 % of the
    items in the largest quarter of the queries ("about half" in the paper).
    """
    shares, sizes = zip(*HEAVY_TAIL, strict=True)
    return _of_cdf("heavy tail", np.interp(np.arange(sizes[-1] + 1), sizes, shares))


def sizes_of(name: str, values: NDArray[np.integer]) -> Sizes:
    """Return the distribution in which each of `values` is equally likely."""
    if values.size == 0 or values.min() < 1:
        raise ValueError(f"sizes of {name} must be at least 1")
    return Sizes(name=name, share=np.bincount(values) / values.size)


def mlperf_dlrm() -> Sizes:
    """Return MLPerf's mix for DLRM: 100 to 700 items, mean 270."""
    return sizes_of("mlperf", np.asarray(MLPERF))


def fixed(items: int) -> Sizes:
    """Return queries of `items` each."""
    return sizes_of("fixed", np.asarray([items]))


def _gaussian_cdf(values: Floats, mean: float, deviation: float) -> Floats:
    if deviation <= 0:
        raise ValueError(f"deviation must be positive, not {deviation}")
    return np.asarray([0.5 * math.erfc((mean - v) / deviation / math.sqrt(2)) for v in values])


def normal(mean: float, deviation: float, most: int = MOST) -> Sizes:
    """Return a normal distribution, cut to whole numbers in 1..most."""
    return _of_cdf("normal", _gaussian_cdf(np.arange(1.0, most + 2), mean, deviation))


def lognormal(mu: float, sigma: float, most: int = MOST) -> Sizes:
    """Return a lognormal distribution (mean and deviation of the logarithm), cut likewise."""
    return _of_cdf("lognormal", _gaussian_cdf(np.log(np.arange(1.0, most + 2)), mu, sigma))


def load_sizes(path: Path) -> Sizes:
    """Read a file of equally likely sizes, one number a line, cut to whole numbers.

    The artifact's format. Lines that start with # are skipped. Raises ValueError that names the
    line.
    """
    values = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 1 <= value < 1 << 20:
            raise ValueError(f"{path.name}:{number}: size must be in 1..{(1 << 20) - 1}: {text!r}")
        values.append(int(value))
    if not values:
        raise ValueError(f"{path.name}: must hold at least one size")
    return sizes_of(path.name, np.asarray(values))


def parse_sizes(text: str) -> Sizes:
    """Return the sizes that a command line names.

    heavy, mlperf, fixed:ITEMS, normal:MEAN,DEVIATION, lognormal:MU,SIGMA, or a file.
    """
    kind, _, numbers = text.partition(":")
    plain = {"heavy": heavy_tail, "mlperf": mlperf_dlrm}
    if text in plain:
        return plain[text]()
    makers: dict[str, tuple[Callable[..., Sizes], int]] = {
        "fixed": (lambda items: fixed(int(items)), 1),
        "normal": (normal, 2),
        "lognormal": (lognormal, 2),
    }
    if kind not in makers:
        if not Path(text).exists():
            raise ValueError(
                f"sizes must be heavy, mlperf, fixed:, normal:, lognormal: or a file, not {text!r}"
            )
        return load_sizes(Path(text))
    maker, count = makers[kind]
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise ValueError(f"{kind} must have {count} number(s), not {numbers!r}")
    return maker(*values)
