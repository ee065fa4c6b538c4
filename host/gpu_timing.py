"""Exact search on this machine's GPU by PyTorch: a product with all rows, then top-k.

PyTorch is an extra of this package; nothing here imports it before it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden.retrieval import inner_product, top_k

__all__ = ["PRECISIONS", "GpuTiming", "gpu_name", "time_gpu"]

PRECISIONS = {"float32": 4, "int8": 1}  # bytes of a component; int8 sums in int32
LEAST_INT8_QUERIES = 32  # of torch._int_mm: more than 16, a multiple of 8; fewer are padded
INT8_ROWS = 8  # and the rows a multiple of it
WORDS = 1 << 28  # float32 words that are read for the bandwidth: 1 GiB, far more than a cache


@dataclass(frozen=True, kw_only=True)
class GpuTiming:
    """The least time of a call [s] with `queries` queries.

    precision : of PRECISIONS. call_s : queries to the GPU, product, top-k, answers back.
    product_s : of the product alone. memory_bytes_per_s : that a sum of floats reads.
    """

    precision: str
    queries: int
    k: int
    call_s: float
    product_s: float
    memory_bytes_per_s: float
    version: str

    @property
    def selection_share(self) -> float:
        """What a call takes beside its product, as a share."""
        return max(0.0, 1 - self.product_s / self.call_s)


def gpu_name(instead: str = "") -> str:
    """Return the name of the GPU that PyTorch sees. instead : of an error: what else can be done.

    Raises ModuleNotFoundError without PyTorch, RuntimeError without a GPU: both say what to do.
    """
    try:
        import torch  # noqa: PLC0415  (optional)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "torch must be installed to measure a GPU: pip install 'rpaccel[train]'" + instead
        ) from error
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"PyTorch {torch.__version__} must see a GPU, and sees none: run this command on a "
            "machine with a GPU and its driver" + instead
        )
    return str(torch.cuda.get_device_name())


def time_gpu(
    rows: npt.NDArray[np.int8],
    queries: npt.NDArray[np.int8],
    k: int,
    batches: tuple[int, ...],
    repeats: int,
    progress: Callable[[str], None] = print,
    words: int = WORDS,
) -> list[GpuTiming]:
    """Return the times of exact inner-product search over int8[n, d] rows, by precision and batch.

    queries : int8[q, d], q at least the largest of `batches`. n a multiple of 8, as int8 needs.
    Float products are IEEE (no TF32): sums of int8 products are exact in both precisions.
    Raises ValueError if the scores of the first query's answer are not those of golden.retrieval,
    and the errors of `gpu_name`.
    """
    if len(rows) % INT8_ROWS:
        raise ValueError(f"rows must be a multiple of {INT8_ROWS}, not {len(rows)}")
    gpu_name()
    import torch  # noqa: PLC0415  (optional)

    scores = inner_product(rows, queries[0])
    best = scores[top_k(scores, k)]
    rate = _read_bytes_per_s(torch, words, repeats)
    found = []
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        for precision in PRECISIONS:
            search = _Search(torch, precision, rows)
            for batch in batches:
                values = search.answers(queries[:batch], k)
                if not np.array_equal(values[0].astype(np.int64), best):
                    raise ValueError(f"the GPU's {precision} search must give golden's scores")
                asked = search.put(queries[:batch])
                call = _least(torch, partial(search.answers, queries[:batch], k), repeats)
                product = _least(torch, partial(search.product, asked), repeats)
                found.append(
                    GpuTiming(
                        precision=precision,
                        queries=batch,
                        k=k,
                        call_s=call,
                        product_s=product,
                        memory_bytes_per_s=rate,
                        version=torch.__version__,
                    )
                )
                progress(f"GPU {precision}, {batch} queries: {1e3 * call:.3f} ms")
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return found


class _Search:
    """Rows on the GPU, as a matrix of one precision."""

    def __init__(self, torch: Any, precision: str, rows: npt.NDArray[np.int8]) -> None:
        self._torch, self._precision = torch, precision
        self._columns = self._to_gpu(rows).t()

    def _to_gpu(self, array: npt.NDArray[np.int8]) -> Any:
        there = self._torch.from_numpy(np.ascontiguousarray(array)).to("cuda")
        return there.float() if self._precision == "float32" else there

    def put(self, queries: npt.NDArray[np.int8]) -> Any:
        """Return queries on the GPU, with zeros behind them as int8 needs."""
        if self._precision == "int8":
            padded = max(LEAST_INT8_QUERIES, -(-len(queries) // 8) * 8)
            queries = np.pad(queries, ((0, padded - len(queries)), (0, 0)))
        return self._to_gpu(queries)

    def product(self, queries: Any) -> Any:
        """Return the scores of all rows for queries on the GPU."""
        if self._precision == "int8":
            return self._torch._int_mm(queries, self._columns)
        return self._torch.matmul(queries, self._columns)

    def answers(self, queries: npt.NDArray[np.int8], k: int) -> npt.NDArray[Any]:
        """Return the best scores, [q, k], best first; ids come back from the GPU too."""
        scores = self.product(self.put(queries))[: len(queries)]
        values, ids = self._torch.topk(scores, k)
        ids.cpu()
        return np.asarray(values.cpu())


def _least(torch: Any, call: Callable[[], Any], repeats: int) -> float:
    """Return the least time [s] of `repeats` calls after one more, the GPU's work included."""
    call()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _read_bytes_per_s(torch: Any, words: int, repeats: int) -> float:
    """Return the rate at which the GPU reads its memory: a sum of float32 words."""
    ones = torch.from_numpy(np.ones(words, dtype=np.float32)).to("cuda")
    return ones.nbytes / _least(torch, ones.sum, repeats)
