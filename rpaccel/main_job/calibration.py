"""What each way of choosing quantisation scales costs, on held-out records of a log."""

from __future__ import annotations

from typing import Any

from rpaccel.host.quantise import MethodLoss, calibration_report
from rpaccel.main_job.inputs import load_inputs
from rpaccel.perfmodel.report import format_table

__all__ = ["calibration_losses", "calibration_text", "calibration_values"]


def calibration_losses(data: str) -> dict[str, tuple[MethodLoss, ...]]:
    """Return `calibration_report` of every ranker of `data`, by its name."""
    inputs = load_inputs(data)
    return {
        name: calibration_report(parameters, inputs.features)
        for name, parameters in inputs.rankers.items()
    }


def calibration_values(losses: dict[str, tuple[MethodLoss, ...]]) -> dict[str, Any]:
    """Return the losses for JSON."""
    return {name: [vars(loss) for loss in ranker] for name, ranker in losses.items()}


def calibration_text(losses: dict[str, tuple[MethodLoss, ...]]) -> str:
    """Return the losses as a table; logits are compared about each query's mean."""
    rows = [
        [
            name,
            str(loss.method),
            str(loss.tables),
            f"{loss.logit_rms:.4f}",
            f"{loss.held_out_rms:.4f}",
            f"{100 * loss.held_out_rms / loss.float_std:.2f}",
        ]
        for name, ranker in losses.items()
        for loss in ranker
    ]
    head = ["ranker", "activations by", "tables by", "error [rms]", "held out [rms]", "of std [%]"]
    return format_table(head, rows)
