"""A GPU's search with a PyTorch that is NumPy: what is asked of it, what comes of its answers."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from rpaccel.golden.retrieval import inner_product, top_k
from rpaccel.host.gpu_timing import LEAST_INT8_QUERIES, PRECISIONS, GpuTiming, gpu_name, time_gpu


class Tensor(np.ndarray):
    """An array with a tensor's methods."""

    def to(self, device):
        assert device == "cuda"
        return self

    def float(self):
        return self.astype(np.float32)

    def t(self):
        return self.T

    def cpu(self):
        return np.asarray(self)


class FakeTorch:
    """What is used of PyTorch. calls : names and shapes of the products."""

    __version__ = "9"

    def __init__(self, *, seen=True, wrong=0):
        self.calls, self.wrong, self.waits = [], wrong, 0
        matmul = SimpleNamespace(allow_tf32=True)
        self.backends = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul))
        self.cuda = SimpleNamespace(
            is_available=lambda: seen, get_device_name=lambda: "a GPU", synchronize=self.wait
        )

    def wait(self):
        self.waits += 1

    def from_numpy(self, array):
        return array.view(Tensor)

    def matmul(self, left, right):
        assert left.dtype == right.dtype == np.float32
        assert not self.backends.cuda.matmul.allow_tf32
        self.calls.append(("float32", left.shape))
        return np.matmul(left, right).view(Tensor)

    def _int_mm(self, left, right):
        assert left.dtype == right.dtype == np.int8
        assert len(left) > 16 and not len(left) % 8 and not right.shape[1] % 8
        self.calls.append(("int8", left.shape))
        return np.matmul(left.astype(np.int32), right.astype(np.int32)).view(Tensor)

    def topk(self, scores, k):
        values = np.sort(scores, axis=1)[:, ::-1][:, :k] + self.wrong
        return values.view(Tensor), np.argsort(-scores, axis=1)[:, :k].view(Tensor)


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    return [rng.integers(-128, 128, (n, 16), dtype=np.int8) for n in (800, 40)]


def measure(monkeypatch, torch, data, **options):
    monkeypatch.setitem(sys.modules, "torch", torch)
    sizes = {"k": 9, "batches": (1, 33), "repeats": 2, "words": 1000}
    return time_gpu(*data, **(sizes | options), progress=lambda _: None)


def test_every_precision_and_batch(monkeypatch, data):
    torch = FakeTorch()
    found = measure(monkeypatch, torch, data)
    assert [(t.precision, t.queries) for t in found] == [
        (precision, queries) for precision in PRECISIONS for queries in (1, 33)
    ]
    assert all(t.k == 9 and t.version == "9" for t in found)
    assert all(t.product_s > 0 and t.call_s > 0 and t.memory_bytes_per_s > 0 for t in found)
    assert {shape[0] for name, shape in torch.calls if name == "float32"} == {1, 33}
    assert {shape[0] for name, shape in torch.calls if name == "int8"} == {LEAST_INT8_QUERIES, 40}
    assert torch.waits > 8 * 3  # behind each call that is timed
    assert torch.backends.cuda.matmul.allow_tf32  # as it was


def test_scores_are_goldens(monkeypatch, data):
    best = inner_product(data[0], data[1][0])
    assert len(set(best[top_k(best, 9)])) > 5
    with pytest.raises(ValueError, match=r"^the GPU's float32 search must give golden's scores$"):
        measure(monkeypatch, FakeTorch(wrong=1), data)


def test_selection_is_what_is_not_product():
    timing = GpuTiming(
        precision="int8", queries=1, k=9, call_s=4e-3, product_s=1e-3, memory_bytes_per_s=1e12,
        version="9",
    )  # fmt: skip
    assert timing.selection_share == pytest.approx(0.75)


def test_refuses(monkeypatch, data):
    with pytest.raises(ValueError, match=r"^rows must be a multiple of 8, not 799$"):
        measure(monkeypatch, FakeTorch(), (data[0][1:], data[1]))
    with pytest.raises(RuntimeError, match=r"^PyTorch 9 must see a GPU, and sees none: .*driver$"):
        measure(monkeypatch, FakeTorch(seen=False), data)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"rpaccel\[train\]'; or a rule$"):
        gpu_name("; or a rule")
