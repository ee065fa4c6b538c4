"""Step 3 of the main job: float rankers to int8 rankers to one memory image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden.lane import Query, QueryResult, run_query
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.listing import listing
from rpaccel.host.quantise import Quantisation, quantise, with_filter
from rpaccel.host.records import feature_table, user_records
from rpaccel.main_job.inputs import JobInputs, load_inputs
from rpaccel.results import to_json
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator

KEEP = 256  # survivors asked of the first stage (RecPipe section 5.1: 256 keeps the quality)
CALIBRATION_USERS = 100  # users whose logits place the filter's bin edges


@dataclass(frozen=True, kw_only=True)
class CompiledJob:
    """Both rankers in int8, compiled for one machine, and the records in its layout."""

    inputs: JobInputs
    config: AcceleratorConfig
    quantisations: dict[str, Quantisation]
    compiled: CompiledModels

    @property
    def rankers(self) -> tuple[QuantisedRanker, ...]:
        """The int8 rankers by slot."""
        return self.compiled.rankers

    @cached_property
    def user_records(self) -> npt.NDArray[np.uint8]:
        """uint8[users, bytes]: a query's user record."""
        return user_records(self.inputs.features, self.config)

    @cached_property
    def feature_table(self) -> npt.NDArray[np.uint8]:
        """uint8[items, bytes]: item records, row = candidate id."""
        return feature_table(self.inputs.features, self.config)

    def query(self, user: int, stages: tuple[tuple[str, int], ...], top_n: int) -> Query:
        """Return the query of `user` over all its candidates. stages : (model, k)."""
        return Query(
            user_record=self.user_records[user].tobytes(),
            candidates=self.inputs.split.candidates(user).astype(np.uint32),
            features=self.feature_table,
            stages=tuple((self.compiled.slot(name), k) for name, k in stages),
            top_n=top_n,
        )

    def golden(self, user: int, stages: tuple[tuple[str, int], ...], top_n: int) -> QueryResult:
        """Return what the integer golden model answers to `query`."""
        return run_query(self.query(user, stages, top_n), self.rankers, self.config)


def compile_job(inputs: JobInputs, config: AcceleratorConfig, seed: int = 0) -> CompiledJob:
    """Quantise both rankers on training records, calibrate the filter, compile.

    The small ranker's bin edges are placed for `KEEP` survivors of the training-part candidates
    of `CALIBRATION_USERS` users.
    """
    quantisations = {
        name: quantise(parameters, inputs.features) for name, parameters in inputs.rankers.items()
    }
    small, large = (quantisations[name].ranker for name in ("small", "large"))
    count = min(CALIBRATION_USERS, inputs.log.user_count)
    users = np.sort(np.random.default_rng(seed).choice(inputs.log.user_count, count, replace=False))
    candidates = [inputs.split.candidates(int(user)).astype(np.int64) for user in users]
    small = with_filter(small, inputs.features, users, candidates, KEEP)
    return CompiledJob(
        inputs=inputs,
        config=config,
        quantisations=quantisations,
        compiled=compile_models((small, large), config),
    )


@dataclass(frozen=True, kw_only=True)
class CompileReport:
    """What `rpaccel compile` prints."""

    manifest: dict[str, Any]
    listing: str
    text: str


def compile_rankers(data: str, preset: str, out: Path) -> CompileReport:
    """Compile the rankers of `data` for `preset`; write image.bin, manifest.json, listing.txt."""
    config = load_accelerator(preset)
    job = compile_job(load_inputs(data), config)
    lines = [
        f"{name}: {describe(quantisation)}" for name, quantisation in job.quantisations.items()
    ]
    return write_compiled(job.compiled, out, listing(job.compiled), lines)


def write_compiled(
    compiled: CompiledModels, out: Path, text: str, lines: list[str]
) -> CompileReport:
    """Write image.bin, manifest.json, and `text` as listing.txt; `lines` come before the sizes."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "image.bin").write_bytes(compiled.image)
    (out / "manifest.json").write_text(to_json(compiled.manifest))
    (out / "listing.txt").write_text(text)
    tables = sum(table.size for table in compiled.tables)
    sizes = f"image {len(compiled.image)} bytes, tables {tables} bytes, in {out}"
    return CompileReport(manifest=compiled.manifest, listing=text, text="\n".join([*lines, sizes]))


def describe(quantisation: Quantisation) -> str:
    """Return one line about how a ranker was quantised."""
    recipe = quantisation.recipe
    return (
        f"activations by {recipe.activations}, tables by {recipe.tables}, "
        f"channel spread {recipe.spread:g}; logit error {quantisation.logit_rms:.4f} rms "
        f"of {quantisation.float_std:.3f}"
    )
