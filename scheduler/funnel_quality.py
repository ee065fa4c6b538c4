"""Quality of funnels: published ones of Criteo, with their sources; measured ones come from jobs.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, figure 3, section 5.1, and the logs of its artifact
(harvard-acc/RecPipe, 2daff5b). Its log ranks rows of the training period: 92.47 where the paper
prints 92.25.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rpaccel.workloads.criteo_published import LOG, ONE_STAGE, SEVERAL_STAGES

__all__ = ["Funnel", "QualityPoint", "QualityTable", "criteo_quality"]


@dataclass(frozen=True, kw_only=True, order=True)
class Funnel:
    """Rankers and the items that enter each; retrieval_k : rows found in front of them, 0: none."""

    models: tuple[str, ...]
    items: tuple[int, ...]
    retrieval_k: int = 0

    def __post_init__(self) -> None:
        if not len(self.models) == len(self.items) >= 1:
            raise ValueError(
                f"models and items must have equal lengths, not {len(self.models)} and "
                f"{len(self.items)}"
            )
        if min(self.items) < 1 or list(self.items) != sorted(self.items, reverse=True):
            raise ValueError(f"items must be at least 1 and must not grow, not {self.items}")
        if self.retrieval_k not in (0, self.items[0]):
            raise ValueError(
                f"retrieval_k must be 0 or the items of the first stage, {self.items[0]}, "
                f"not {self.retrieval_k}"
            )


@dataclass(frozen=True, kw_only=True)
class QualityPoint:
    """Quality of one funnel in 0..1, and the ends of its interval if it has one.

    devices : () where the figure holds on any device; else the devices it was measured for
        (int8 on the accelerator and float on the CPU differ).
    """

    funnel: Funnel
    quality: float
    source: str
    low: float | None = None
    high: float | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 1 or not self.source:
            raise ValueError(f"quality must be in 0..1 and have a source, not {self.quality}")


class QualityTable:
    """Quality figures by funnel; a figure for exact devices goes before a general one."""

    def __init__(self, points: Iterable[QualityPoint]) -> None:
        self.points = tuple(points)
        self._points = {(point.funnel, point.devices): point for point in self.points}
        if len(self._points) < len(self.points):
            raise ValueError("points must hold each funnel on the same devices once")

    @property
    def funnels(self) -> tuple[Funnel, ...]:
        """Funnels with a figure, sorted."""
        return tuple(sorted({point.funnel for point in self.points}))

    def find(self, funnel: Funnel, devices: tuple[str, ...]) -> QualityPoint | None:
        """Return the figure of a funnel on devices, or None if there is none."""
        return self._points.get((funnel, devices)) or self._points.get((funnel, ()))


def criteo_quality() -> QualityTable:
    """Return the published NDCG@64 of Criteo, 0..1; nothing between the points is made up."""
    points = [
        QualityPoint(funnel=Funnel(models=(model,), items=(items,)), quality=ndcg / 100, source=LOG)
        for model, figures in ONE_STAGE.items()
        for items, ndcg in figures.items()
    ]
    points += [
        QualityPoint(funnel=Funnel(models=models, items=items), quality=ndcg / 100, source=source)
        for models, items, ndcg, source in SEVERAL_STAGES
    ]
    return QualityTable(points)
