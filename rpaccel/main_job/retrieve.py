"""`rpaccel retrieve`: the best rows of a corpus of one's own, on the software device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.host.corpus import Corpus
from rpaccel.host.driver import Completion, Driver
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.retrieval import K_LIMIT, Metric

__all__ = [
    "METRICS",
    "Asked",
    "answers_json",
    "asked_text",
    "read_vectors",
    "retrieve_rows",
    "symmetric",
]  # fmt: skip

METRICS = {"ip": Metric.INNER_PRODUCT, "l2": Metric.L2, "cosine": Metric.COSINE}
SPARE_BYTES = 1 << 22  # of memory for rings, results and inputs
DEPTH = 4

Vectors = npt.NDArray[np.int8] | npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """int8 rows and queries. scales : float value of one step of each; None: they were int8."""

    rows: npt.NDArray[np.int8]
    vectors: npt.NDArray[np.int8]
    scales: tuple[float, float] | None


def read_vectors(path: Path, name: str) -> Vectors:
    """Return int8[n, d] or float32[n, d] of a .npy file; one vector, [d], becomes [1, d].

    Raises ValueError that says what the file must be, OSError if it cannot be read.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        values = None
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name} must be a .npy file of int8 or float32, not {path}")
    if values.dtype not in (np.int8, np.float32):
        raise ValueError(f"{name} must be int8 or float32, not {values.dtype}")
    if values.ndim not in (1, 2):
        raise ValueError(f"{name} must be [n, d], not {list(values.shape)}")
    table: Vectors = np.atleast_2d(values)
    if not table.size:
        raise ValueError(f"{name} must have at least one row and column, not {list(table.shape)}")
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name} must be finite, row {int(np.argmin(finite))} is not")
    return table


def symmetric(rows: Vectors, vectors: Vectors, metric: Metric) -> Asked:
    """Return both as int8: round(value / scale), scale = largest magnitude / 127, no zero point.

    Rows and vectors have a scale each, as a factor of the query changes no order; with L2 they
    share one. Raises ValueError for one int8 and one float32, or other widths.
    """
    if rows.dtype != vectors.dtype:
        raise ValueError(
            f"corpus and query must have one type, not {rows.dtype} and {vectors.dtype}"
        )
    if rows.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"query must have {rows.shape[1]} columns like corpus, not {vectors.shape[1]}"
        )
    if rows.dtype == np.int8:
        return Asked(rows=rows.astype(np.int8), vectors=vectors.astype(np.int8), scales=None)
    largest = [float(np.abs(table).max()) for table in (rows, vectors)]
    if metric is Metric.L2:
        largest = [max(largest)] * 2
    scales = [(value or 1.0) / 127 for value in largest]
    made = [
        np.rint(table / scale).astype(np.int8)
        for table, scale in zip((rows, vectors), scales, strict=True)
    ]
    return Asked(rows=made[0], vectors=made[1], scales=(scales[0], scales[1]))


def retrieve_rows(asked: Asked, metric: Metric, k: int, floor: int | None) -> list[Completion]:
    """Return the k best rows for each vector. Raises ValueError for sizes out of range."""
    # the largest engine: it bounds sizes, not answers
    largest = {"name": "default, K up to 4096", "retrieval_k_max": K_LIMIT}
    config = AcceleratorConfig.model_validate(load_accelerator("default").model_dump() | largest)
    rows = asked.rows
    width = 1 << max(4, (rows.shape[1] - 1).bit_length())
    held = -(-len(rows) * (width + 3) // (1 << 20)) + 1  # rows, scales and live bits [MiB]
    memory_bytes = (held << 20) + SPARE_BYTES
    driver = Driver(
        SoftwareDevice(config, memory_bytes),
        config,
        memory_bytes,
        depth=DEPTH,
        feature_bytes=4096,
        corpus_bytes=held << 20,
    )
    corpus = Corpus(driver, rows, metric)
    return corpus.retrieve(corpus.query(vector, k, floor=floor) for vector in asked.vectors)


def answers_json(
    asked: Asked, metric: str, k: int, floor: int | None, found: list[Completion]
) -> dict[str, Any]:
    """Return the answers for machines."""
    scales = asked.scales
    return {
        "metric": metric,
        "rows": len(asked.rows),
        "dim": asked.rows.shape[1],
        "k": k,
        "floor": floor,
        "quantisation": scales and {"corpus_scale": scales[0], "query_scale": scales[1]},
        "queries": [
            {
                "ids": completion.ids.tolist(),
                "scores": completion.scores.tolist(),
                "found": completion.found,
                "flags": [flag.name for flag in completion.flags],
            }
            for completion in found
        ],
    }


def asked_text(report: dict[str, Any]) -> str:
    """Return the answers for people."""
    lines = [f"{report['rows']} rows of {report['dim']} int8, metric {report['metric']}"]
    if report["quantisation"]:
        step = report["quantisation"]
        lines.append(
            f"float32 as int8 steps of {step['corpus_scale']:.6g} (corpus) and "
            f"{step['query_scale']:.6g} (query): scores are of the int8 values"
        )
    for number, got in enumerate(report["queries"]):
        flags = "".join(f", {flag}" for flag in got["flags"])
        lines.append(f"query {number}: {len(got['ids'])} of {got['found']} rows{flags}")
        lines += [
            f"  {place:4d}  id {row:9d}  score {score}"
            for place, (row, score) in enumerate(zip(got["ids"], got["scores"], strict=True), 1)
        ]
    return "\n".join(lines)
