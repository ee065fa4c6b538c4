"""Exactness against Faiss: the same scores, and the same ids but among equal scores."""

import faiss
import numpy as np
import pytest

from rpaccel.golden.block_retrieval import retrieve_blocks
from rpaccel.golden.corpus import CorpusQuery, new_corpus
from rpaccel.golden.dlrm import load_parameters
from rpaccel.spec.retrieval import Metric
from rpaccel.workloads.rankers import SHIPPED

BATCH_THRESHOLD = 20  # of queries, from which Faiss uses BLAS


@pytest.fixture(autouse=True, params=["single", "batch"])
def queries_at_a_time(request, monkeypatch):
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", BATCH_THRESHOLD)
    return 1 if request.param == "single" else BATCH_THRESHOLD + 12


def int8(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


def by_faiss(rows, vectors, k, metric):
    index = faiss.IndexFlatL2(rows.shape[1]) if metric is Metric.L2 else (
        faiss.IndexFlatIP(rows.shape[1]))  # fmt: skip
    index.add(rows.astype(np.float32))
    scores, ids = index.search(vectors.astype(np.float32), k)
    exact = np.where(ids < 0, 0, scores).astype(np.float64)
    assert (exact == np.rint(exact)).all()
    return (-exact if metric is Metric.L2 else exact).astype(np.int64), ids


def check(rows, vectors, k, metric):
    """Compare every answer; ids where a score is met once, sets where all of a score are given."""
    given = min(k, len(rows))
    faiss_scores, faiss_ids = by_faiss(rows, vectors, k, metric)
    queries = [CorpusQuery(vector=vector, k=k) for vector in vectors]
    for found, scores, ids in zip(
        retrieve_blocks(new_corpus(rows, metric), queries), faiss_scores, faiss_ids, strict=True
    ):
        assert found.found == len(rows)
        assert found.scores.tolist() == scores[:given].tolist()
        assert (ids[given:] == -1).all()
        last = found.scores[-1]
        for score in np.unique(found.scores):
            ours, theirs = found.ids[found.scores == score], ids[:given][scores[:given] == score]
            assert (np.diff(ours) > 0).all()  # our rule of ties
            if score != last or given == len(rows):
                assert set(ours.tolist()) == set(theirs.tolist())


@pytest.mark.parametrize("metric", [Metric.INNER_PRODUCT, Metric.L2])
@pytest.mark.parametrize("width", [16, 64, 512])
@pytest.mark.parametrize("k", [1, 99, 100, 101, 37])  # of 100 rows
def test_random_rows(metric, width, k, queries_at_a_time):
    rng = np.random.default_rng(k)
    check(int8(rng, 100, width), int8(rng, queries_at_a_time, width), k, metric)


def corner_rows(rng, name, lanes=16, count=256):
    """Return rows of 16 bytes whose scores for [1, 0, ..] are in a corner's order."""
    rows = np.zeros((count, 16), dtype=np.int8)
    column = {
        "equal": np.full(count, 7),
        "ascending": np.arange(count) - 128,
        "descending": 127 - np.arange(count),
        "minimum": np.full(count, -128),
        "one_per_lane": np.where(np.arange(count) // lanes == 5, 100, -100),
        "one_lane": np.where(np.arange(count) % lanes == 5, 100, -100),
        "extremes": rng.choice([-128, 127], count),
    }[name]
    rows[:, 0] = column
    return rows


@pytest.mark.parametrize("metric", [Metric.INNER_PRODUCT, Metric.L2])
@pytest.mark.parametrize(
    "name",
    ["equal", "ascending", "descending", "minimum", "one_per_lane", "one_lane", "extremes"],
)
def test_corners(metric, name, queries_at_a_time):
    rows = corner_rows(np.random.default_rng(1), name)
    vectors = np.zeros((queries_at_a_time, 16), dtype=np.int8)  # identical queries
    vectors[:, 0] = 1
    for k in (1, 16, 100, 256):
        check(rows, vectors, k, metric)


# 512 * 255**2 > 2**24: there Faiss's float32 distances of extremes are rounded, ours are not
@pytest.mark.parametrize(("metric", "width"), [(Metric.INNER_PRODUCT, 512), (Metric.L2, 256)])
def test_extremes(metric, width, queries_at_a_time):
    rng = np.random.default_rng(2)
    rows = rng.choice([-128, 127], (64, width)).astype(np.int8)
    rows[0], rows[1] = -128, 127
    vectors = rng.choice([-128, 127], (queries_at_a_time, width)).astype(np.int8)
    vectors[0] = -128
    check(rows, vectors, 50, metric)


def symmetric(table):
    return np.rint(table / np.abs(table).max() * 127).astype(np.int8)


@pytest.mark.parametrize("metric", [Metric.INNER_PRODUCT, Metric.L2])
@pytest.mark.parametrize(("model", "side"), [("small", "user"), ("large", "liked")])
def test_movielens_embeddings(metric, model, side, queries_at_a_time):
    tables = load_parameters(SHIPPED / f"ml100k_{model}.npz").tables
    rows, vectors = symmetric(tables["item"]), symmetric(tables[side])
    check(rows, vectors[:queries_at_a_time], 100, metric)


@pytest.mark.slow
@pytest.mark.parametrize("metric", [Metric.INNER_PRODUCT, Metric.L2])
def test_a_million_rows(metric, queries_at_a_time):
    rng = np.random.default_rng(3)
    check(int8(rng, 1_000_000, 32), int8(rng, queries_at_a_time, 32), 1000, metric)
