import json

import numpy as np
import pytest

from rpaccel.golden.corpus import CorpusQuery, new_corpus, retrieve
from rpaccel.main_job.retrieve import METRICS, symmetric
from rpaccel.spec.retrieval import Metric


@pytest.fixture
def ask(rpaccel, tmp_path):
    """Save corpus and query, run `rpaccel retrieve`; return (exit status, output, error)."""

    def run(corpus, query, *arguments):
        for name, values in (("corpus.npy", corpus), ("query.npy", query)):
            if isinstance(values, np.ndarray):
                np.save(name, values, allow_pickle=values.dtype == object)
            elif values is not None:
                (tmp_path / name).write_bytes(values)
        return rpaccel("retrieve", "corpus.npy", "query.npy", *arguments)

    return run


def int8(seed, *shape):
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


@pytest.mark.parametrize("metric", METRICS)
def test_int8_as_golden(ask, metric):
    rows, vectors = int8(0, 500, 20), int8(1, 3, 20)
    status, out, _ = ask(rows, vectors, "--k", 7, "--metric", metric, "--json")
    got = json.loads(out)
    assert status == 0
    assert (got["metric"], got["rows"], got["dim"], got["k"]) == (metric, 500, 20, 7)
    assert got["quantisation"] is None and got["floor"] is None
    assert len(got["queries"]) == 3
    corpus = new_corpus(rows, METRICS[metric])
    for answer, vector in zip(got["queries"], vectors, strict=True):
        want = retrieve(corpus, CorpusQuery(vector=vector, k=7))
        assert answer == {"ids": want.ids.tolist(), "scores": want.scores.tolist(),
                          "found": 500, "flags": []}  # fmt: skip


def test_float32_is_rounded_and_says_how(ask):
    rng = np.random.default_rng(2)
    rows, vector = (rng.normal(size=(300, 16)) * 5).astype(np.float32), rng.normal(size=16)
    status, out, _ = ask(rows, vector.astype(np.float32), "--k", 300, "--json")
    got = json.loads(out)
    assert status == 0
    steps = got["quantisation"]
    assert steps["corpus_scale"] == pytest.approx(np.abs(rows).max() / 127)
    assert steps["query_scale"] == pytest.approx(np.abs(vector).max() / 127)
    (answer,) = got["queries"]
    values = np.array(answer["scores"]) * steps["corpus_scale"] * steps["query_scale"]
    exact = (rows @ vector)[answer["ids"]]
    bound = 0.5 * (steps["corpus_scale"] * np.abs(vector).sum()
                   + steps["query_scale"] * np.abs(rows).sum(axis=1).max()) + 1  # fmt: skip
    assert np.abs(values - exact).max() < bound
    _, text, _ = ask(rows, vector.astype(np.float32))
    assert f"steps of {steps['corpus_scale']:.6g} (corpus)" in text


def test_l2_shares_one_scale():
    rows = np.array([[1.0, 2.0]], dtype=np.float32)
    asked = symmetric(rows, 3 * rows, Metric.L2)
    assert asked.scales == (6 / 127, 6 / 127)
    assert asked.rows.tolist() == [[21, 42]] and asked.vectors.tolist() == [[64, 127]]
    zeros = symmetric(0 * rows, 0 * rows, Metric.COSINE)
    assert zeros.scales == (1 / 127, 1 / 127) and not zeros.rows.any()


def test_floor_and_text(ask):
    rows = np.zeros((6, 4), dtype=np.int8)
    rows[:, 0] = [5, 9, 9, 1, -3, 7]
    query = np.array([1, 0, 0, 0], dtype=np.int8)
    status, out, _ = ask(rows, query, "--k", 3, "--floor", 5)
    assert status == 0
    assert out.splitlines() == [
        "6 rows of 4 int8, metric ip",
        "query 0: 3 of 4 rows, OVERFILL",
        "     1  id         1  score 9",
        "     2  id         2  score 9",
        "     3  id         5  score 7",
    ]
    _, out, _ = ask(rows, query, "--k", 10, "--floor", -100)
    assert "query 0: 6 of 6 rows, UNDERFILL" in out


@pytest.mark.parametrize(
    ("corpus", "query", "arguments", "message"),
    [
        (int8(0, 5, 4), int8(0, 4), ["--k", 0], "k of the retrieval must be in 1..4096, not 0"),
        (int8(0, 5, 4), int8(0, 4), ["--k", 4097], "must be in 1..4096, not 4097"),
        (int8(0, 5, 4), int8(0, 4), ["--metric", "dot"],
         "metric must be one of ip, l2, cosine, not 'dot'"),
        (int8(0, 5, 4), int8(0, 4), ["--floor", 1 << 40], "floor must be an int32, not"),
        (int8(0, 5, 4), int8(0, 3), [], "query must have 4 columns like corpus, not 3"),
        (int8(0, 5, 513), int8(0, 513), [], "rows must have 1..512 bytes, not 513"),
        (int8(0, 5, 4).astype(np.int16), int8(0, 4), [],
         "corpus must be int8 or float32, not int16"),
        (int8(0, 5, 4), np.zeros(4, np.float32), [],
         "corpus and query must have one type, not int8 and float32"),
        (int8(0, 2, 2, 2), int8(0, 2), [], "corpus must be [n, d], not [2, 2, 2]"),
        (int8(0, 0, 4), int8(0, 4), [], "corpus must have at least one row and column, not [0, 4]"),
        (np.array([[1, 2], [np.nan, 0]], np.float32), np.zeros(2, np.float32), [],
         "corpus must be finite, row 1 is not"),
        (np.array([{}], dtype=object), int8(0, 4), [],
         "corpus must be a .npy file of int8 or float32, not corpus.npy"),
        (b"junk", int8(0, 4), [], "corpus must be a .npy file of int8 or float32, not corpus.npy"),
        (b"", int8(0, 4), [], "corpus must be a .npy file of int8 or float32, not corpus.npy"),
        (int8(0, 5, 4), b"\x93NUMPY", [], "query must be a .npy file"),
        (None, int8(0, 4), [], "corpus.npy: No such file"),
    ],
)  # fmt: skip
def test_errors_are_one_line(ask, corpus, query, arguments, message):
    status, out, error = ask(corpus, query, *arguments)
    assert status == 2 and out == ""
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
