import numpy as np
import pytest

from rpaccel.golden.corpus import CorpusQuery, new_corpus, retrieve
from rpaccel.host.corpus_shards import ShardedCorpus
from rpaccel.spec.isa import Status
from rpaccel.spec.retrieval import Metric
from tests.host.retrieval_machine import open_driver, random_rows

DIM, ROWS = 16, 301


def sharded(rng, devices, replicas, metric=Metric.INNER_PRODUCT, spread=3, capacity=None):
    rows, live = random_rows(rng, ROWS, DIM, spread), rng.random(ROWS) < 0.9
    drivers = [open_driver() for _ in range(devices)]
    corpus = ShardedCorpus(drivers, rows, metric, replicas=replicas, live=live, capacity=capacity)
    return corpus, rows, live


def check(got, rows, live, metric, vector, k):
    want = retrieve(new_corpus(rows, metric, live=live), CorpusQuery(vector=vector, k=k))
    assert got.found.ids.tolist() == want.ids.tolist()
    assert got.found.scores.tolist() == want.scores.tolist()
    assert (got.found.found, got.found.flags) == (want.found, want.flags)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize(("devices", "replicas"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
def test_is_one_corpus(metric, devices, replicas):
    rng = np.random.default_rng(devices)
    corpus, rows, live = sharded(rng, devices, replicas, metric)
    vectors = random_rows(rng, 6, DIM, 3)
    for k, per_shard in ((1, None), (100, None), (100, 3), (40, 7), (350, 50), (350, None)):
        answers = corpus.retrieve(vectors, k, per_shard=per_shard)
        assert len(answers) == 6
        for got, vector in zip(answers, vectors, strict=True):
            check(got, rows, live, metric, vector, k)
            assert got.restarts == 0
            if per_shard is None and k <= 100:
                assert got.pages == (1,) * (devices // replicas)


def test_a_page_each_is_certified_where_winners_are_spread():
    rng = np.random.default_rng(3)
    corpus, _, _ = sharded(rng, 4, 1, spread=128)
    rows = np.zeros((ROWS, DIM), dtype=np.int8)
    rows[:, 0] = np.linspace(120, -120, ROWS)  # the k best are k / 4 of each shard
    corpus = ShardedCorpus([open_driver() for _ in range(4)], rows)
    vector = np.eye(DIM, dtype=np.int8)[0]
    (got,) = corpus.retrieve([vector], 40, per_shard=11)
    assert got.pages == (1, 1, 1, 1)
    check(got, rows, np.ones(ROWS, bool), Metric.INNER_PRODUCT, vector, 40)


def test_only_the_shard_of_the_winners_is_asked_again():
    rows = np.zeros((ROWS, DIM), dtype=np.int8)
    rows[:, 0] = -50
    rows[2::4, 0] = np.arange(len(rows[2::4]))  # all winners in shard 2
    corpus = ShardedCorpus([open_driver() for _ in range(4)], rows)
    vector = np.eye(DIM, dtype=np.int8)[0]
    (got,) = corpus.retrieve([vector], 50, per_shard=20)
    assert got.pages == (1, 1, 3, 1)
    check(got, rows, np.ones(ROWS, bool), Metric.INNER_PRODUCT, vector, 50)


def test_equal_scores_keep_the_order_of_ids():
    rows = np.ones((ROWS, DIM), dtype=np.int8)
    corpus = ShardedCorpus([open_driver() for _ in range(4)], rows)
    for per_shard in (None, 5, 13):
        (got,) = corpus.retrieve(rows[:1], 50, per_shard=per_shard)
        assert got.found.ids.tolist() == list(range(50))


@pytest.mark.parametrize("replicas", [1, 2])
def test_changes_reach_every_replica(replicas):
    rng = np.random.default_rng(4)
    corpus, rows, live = sharded(rng, 4, replicas, Metric.COSINE, capacity=ROWS + 9)
    rows, live = rows.copy(), live.copy()
    for step in range(9):
        new = random_rows(rng, 2, DIM, 3)
        changed, deleted = rng.integers(0, ROWS, 2).tolist()
        changes = [corpus.append(new[0]), corpus.overwrite(changed, new[1]), corpus.delete(deleted)]
        assert changes[0].row == ROWS + step
        assert all(len(change.changes) == replicas for change in changes)
        assert [corpus.wait(change) for change in changes] == [Status.OK] * 3
        rows, live = np.vstack([rows, new[:1]]), np.append(live, True)
        rows[changed], live[deleted] = new[1], False
        vectors = random_rows(rng, 3, DIM, 3)
        for got, vector in zip(corpus.retrieve(vectors, 60, per_shard=9), vectors, strict=True):
            check(got, rows, live, Metric.COSINE, vector, 60)
    with pytest.raises(ValueError, match="capacity must be more than"):
        corpus.append(rows[0])


def test_a_change_between_two_pages_begins_anew(monkeypatch):
    rows = np.zeros((ROWS, DIM), dtype=np.int8)
    rows[1::2, 0] = np.arange(ROWS // 2)
    drivers = [open_driver() for _ in range(2)]
    corpus = ShardedCorpus(drivers, rows)
    vector = np.eye(DIM, dtype=np.int8)[0]
    waited = []

    def wait(tag, real=drivers[1].wait):
        completion = real(tag)
        if not waited:
            corpus.overwrite(299, np.zeros(DIM, dtype=np.int8))  # the best row of all
        waited.append(tag)
        return completion

    monkeypatch.setattr(drivers[1], "wait", wait)
    (got,) = corpus.retrieve([vector], 30, per_shard=10)
    assert got.restarts == 1 and got.epochs == (0, 1) and len(waited) == 3
    rows[299] = 0
    check(got, rows, np.ones(ROWS, bool), Metric.INNER_PRODUCT, vector, 30)


def test_replicas_take_turns(monkeypatch):
    rng = np.random.default_rng(5)
    corpus, _, _ = sharded(rng, 2, 2)
    asked = []
    for number, part in enumerate(corpus.parts[0]):
        submit = part.driver.submit
        monkeypatch.setattr(
            part.driver, "submit", lambda q, n=number, s=submit: (asked.append(n), s(q))[1]
        )
    corpus.retrieve(random_rows(rng, 6, DIM), 5)
    assert asked == [0, 1] * 3


def test_rejects():
    drivers, rows = [open_driver() for _ in range(2)], np.zeros((9, DIM), dtype=np.int8)
    with pytest.raises(ValueError, match=r"^drivers must be at least 1, not 0$"):
        ShardedCorpus([], rows)
    with pytest.raises(ValueError, match=r"^replicas must divide 2 drivers, not 3$"):
        ShardedCorpus(drivers, rows, replicas=3)
    with pytest.raises(ValueError, match=r"^capacity must be at least 9 rows, not 8$"):
        ShardedCorpus(drivers, rows, capacity=8)
    corpus = ShardedCorpus(drivers, rows)
    with pytest.raises(ValueError, match=r"^k must be at least 1, not 0$"):
        corpus.retrieve(rows, 0)
    with pytest.raises(ValueError, match=r"^per_shard must be in 1\.\.5, not 6$"):
        corpus.retrieve(rows, 5, per_shard=6)
    with pytest.raises(ValueError, match=r"^row must be in 0\.\.8, not 9$"):
        corpus.delete(9)


def test_a_failed_shard_says_so():
    drivers, rows = [open_driver() for _ in range(2)], np.zeros((9, DIM), dtype=np.int8)
    corpus = ShardedCorpus(drivers, rows)
    header = corpus.parts[1][0].place.address
    drivers[1].bus.write_memory(header, bytes(64))
    with pytest.raises(RuntimeError, match=r"^a shard's query ended with BAD_CORPUS$"):
        corpus.retrieve(rows[:1], 3)
