"""The models of DeepRecInfra, runnable: lookups in compiled loops, everything else in ONNX Runtime.

Needs the extra `serve`; nothing of it is imported before a model is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from rpaccel.golden.deeprec import DeeprecInputs, DeeprecWeights
from rpaccel.golden.dlrm import Float
from rpaccel.scheduler.row_pooling import pool_rows
from rpaccel.spec.deeprec import DeeprecConfig, TableGroup


def require_runtime() -> ModuleType:
    """Return ONNX Runtime. Raises ModuleNotFoundError that names the extra to install."""
    try:
        import onnx  # noqa: F401, PLC0415  (optional)
        import onnxruntime  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} must be installed to run float models: pip install 'rpaccel[serve]'"
        ) from error
    runtime: ModuleType = onnxruntime
    return runtime


class DeeprecModel:
    """One worker's model: shares `tables`, owns its weights. For one thread at a time.

    Parameters
    ----------
    config : DeeprecConfig
    weights : DeeprecWeights
    tables : group -> float32[tables, rows, dim]  Read in place, never copied.
    threads : int  Threads inside one operator of ONNX Runtime.
    trace : how the file begins that `end_trace` writes; None: nothing is traced.

    Raises ValueError if a table has another shape than `config` says, up to its rows.
    """

    def __init__(
        self,
        config: DeeprecConfig,
        weights: DeeprecWeights,
        tables: Mapping[str, Float],
        threads: int = 1,
        trace: Path | None = None,
    ) -> None:
        runtime = require_runtime()
        from rpaccel.scheduler.deeprec_graph import build_graph  # noqa: PLC0415  (imports onnx)

        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        for group in config.groups:
            _check_tables(group, config.dim, tables[group.name])
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if trace is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(trace)
        self.config = config
        self._tables = dict(tables)
        self._rooms = {group.name: np.empty(0, np.float32) for group in config.groups}
        self._session = runtime.InferenceSession(
            build_graph(config, weights), options, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: DeeprecInputs) -> Float:
        """Return the logits of a batch, float32[n, config.outputs].

        Raises ValueError if an id is outside its table, or an array has another shape.
        """
        return self.infer(inputs, self.pooled(inputs))

    def pooled(self, inputs: DeeprecInputs) -> dict[str, Float]:
        """Return group -> float32[n, vectors, dim]: the looked-up vectors, until the next call."""
        return {group.name: self._pooled(group, inputs) for group in self.config.groups}

    def infer(self, inputs: DeeprecInputs, vectors: Mapping[str, Float]) -> Float:
        """Return the logits of a batch whose vectors are looked up."""
        dense = {"dense": inputs.dense} if self.config.dense else {}
        return np.asarray(self._session.run(None, {**vectors, **dense})[0])

    def end_trace(self) -> Path:
        """Write what was traced, and return the file: the runtime's events as JSON."""
        return Path(self._session.end_profiling())

    def _pooled(self, group: TableGroup, inputs: DeeprecInputs) -> Float:
        tables, ids = self._tables[group.name], inputs.ids[group.name]
        expected = (inputs.items, group.vectors, group.lookups)
        if ids.shape != expected:
            raise ValueError(f"ids of {group.name} must be {expected}, not {ids.shape}")
        if ids.min(initial=0) < 0 or ids.max(initial=0) >= tables.shape[1]:
            raise ValueError(f"ids of {group.name} must be in 0..{tables.shape[1] - 1}")
        shape = (inputs.items, group.vectors, self.config.dim)
        values = int(np.prod(shape))
        if self._rooms[group.name].size < values:  # kept: fresh pages would cost more than the sums
            self._rooms[group.name] = np.empty(values, np.float32)
        out = self._rooms[group.name][:values].reshape(shape)
        pool_rows(tables, ids, group.positions, out)
        return out


def _check_tables(group: TableGroup, dim: int, tables: Float) -> None:
    good = tables.ndim == 3 and (tables.shape[0], tables.shape[2]) == (group.tables, dim)
    if not good or tables.dtype != np.float32 or not tables.flags.c_contiguous:
        raise ValueError(
            f"tables of {group.name} must be contiguous float32[{group.tables}, rows, {dim}], "
            f"not {tables.dtype}{list(tables.shape)}"
        )
