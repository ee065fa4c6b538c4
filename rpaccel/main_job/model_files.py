"""Rankers from files of the user's own: the listing and the image, or the limits exceeded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rpaccel.golden.quantised import record_bytes_needed
from rpaccel.host.compile import compile_models
from rpaccel.host.listing import listing
from rpaccel.host.records import padded_bytes
from rpaccel.main_job.rankers import CompileReport, write_compiled
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.model_file import load_model
from rpaccel.workloads.drawn_models import draw_rankers

__all__ = ["compile_files"]

_DRAWN = "parameters are drawn: sizes, program and addresses are the model's, answers are not"


def compile_files(models: Sequence[str], preset: str, out: Path, seed: int) -> CompileReport:
    """Compile rankers for `preset`, each from a file or from workloads/models/, one per slot.

    Writes image.bin, manifest.json, listing.txt into `out`. Raises ValueError that names every
    limit of the machine that the models exceed, and by how much.
    """
    config = load_accelerator(preset)
    rankers = draw_rankers([load_model(model) for model in models], seed)
    compiled = compile_models(rankers, config)
    lines = []
    for side in ("user", "item"):
        needed = record_bytes_needed(rankers, side)
        padded = padded_bytes(needed, side, config)
        lines.append(f"{side} record: {padded} B in memory, {needed} B of them read")
    text = "\n".join([_DRAWN, *lines, "", listing(compiled)])
    return write_compiled(compiled, out, text, [_DRAWN, *lines])
