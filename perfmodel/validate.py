"""Predictions against measured completions: the error table of the performance model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rpaccel.perfmodel.report import UNIT_FIELDS, QueryReport, format_table
from rpaccel.spec.isa import MAX_STAGES

TARGET = 0.05  # largest accepted |predicted / measured - 1| of a query's total_cycles


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """Errors of one completion field, predicted / measured - 1, over the queries that have it."""

    field: str
    count: int
    predicted: float  # mean [cycles]
    measured: float  # mean [cycles]
    mean: float
    median_abs: float
    p95_abs: float
    worst: float  # signed, of the largest magnitude


@dataclass(frozen=True, kw_only=True)
class ErrorTable:
    """One row per field; `total_cycles` first."""

    rows: tuple[ErrorRow, ...]

    @property
    def worst_total(self) -> float:
        """Largest |error| of a query's total cycles."""
        return abs(self.rows[0].worst)

    @property
    def passed(self) -> bool:
        """Whether every query's total is within TARGET."""
        return self.worst_total <= TARGET

    def to_text(self) -> str:
        """Return the table as aligned text."""
        header = ["field", "queries", "predicted [cycles]", "measured [cycles]", "mean %",
                  "median |%|", "p95 |%|", "worst %"]  # fmt: skip
        lines = [
            [
                row.field, row.count, f"{row.predicted:.0f}", f"{row.measured:.0f}",
                f"{100 * row.mean:+.2f}", f"{100 * row.median_abs:.2f}",
                f"{100 * row.p95_abs:.2f}", f"{100 * row.worst:+.2f}",
            ]
            for row in self.rows
        ]  # fmt: skip
        verdict = "within" if self.passed else "OUTSIDE"
        return (
            f"{format_table(header, lines)}\n"
            f"worst total {100 * self.worst_total:.2f} %, {verdict} {100 * TARGET:g} %"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON, floats rounded to 6 digits."""
        return {
            "target": TARGET,
            "passed": self.passed,
            "worst_total": round(self.worst_total, 6),
            "rows": [
                {k: round(v, 6) if isinstance(v, float) else v for k, v in vars(row).items()}
                for row in self.rows
            ],
        }


def completion_fields(stages: int) -> list[str]:
    """Return the cycle fields of a completion with `stages` stages."""
    names = ("stage_cycles", *UNIT_FIELDS)
    return ["total_cycles", *(f"{name}{i}" for i in range(stages) for name in names)]


def error_table(
    predictions: Sequence[QueryReport], completions: Sequence[Mapping[str, int]]
) -> ErrorTable:
    """Compare predictions with completions of the same queries, in the same order.

    completions : fields of spec.isa.COMPLETION. Raises ValueError if a completion has an error
    status or its lengths differ.
    """
    if len(predictions) != len(completions) or not predictions:
        raise ValueError(
            f"predictions and completions must be as many, not {len(predictions)} and "
            f"{len(completions)}"
        )
    failed = [c for c in completions if c.get("status", 0)]
    if failed:
        raise ValueError(f"completions must have status 0, not {failed[0]['status']}")
    predicted = [report.completion() for report in predictions]
    rows = []
    for field in completion_fields(MAX_STAGES):
        pairs = [
            (p[field], int(c[field]))
            for p, c in zip(predicted, completions, strict=True)
            if int(c[field]) or p[field]
        ]
        if pairs:
            rows.append(_row(field, pairs))
    return ErrorTable(rows=tuple(rows))


def _row(field: str, pairs: Iterable[tuple[int, int]]) -> ErrorRow:
    values = np.asarray(list(pairs), np.float64)
    errors = values[:, 0] / np.maximum(values[:, 1], 1.0) - 1
    return ErrorRow(
        field=field,
        count=len(values),
        predicted=float(values[:, 0].mean()),
        measured=float(values[:, 1].mean()),
        mean=float(errors.mean()),
        median_abs=float(np.median(np.abs(errors))),
        p95_abs=float(np.quantile(np.abs(errors), 0.95)),
        worst=float(errors[np.argmax(np.abs(errors))]),
    )
