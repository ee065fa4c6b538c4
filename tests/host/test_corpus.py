import threading
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.corpus import CorpusQuery, RowWrite, after, new_corpus, retrieve
from rpaccel.host.corpus import Corpus
from rpaccel.host.retrieval import Retrieval
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status, StatusFlag
from rpaccel.spec.registers import ADDRESS, Control
from rpaccel.spec.retrieval import Metric
from tests.host.retrieval_machine import (
    device,
    machine,
    open_driver,
    random_corpus,
    random_rows,
)
from tests.streams import NIGHTLY

__all__ = ["device"]  # a fixture

DIM = 24


def padded(corpus, vector):
    return np.concatenate([vector, np.zeros(corpus.row_bytes - len(vector), dtype=np.int8)])


def check(completion, found, rows):
    assert completion.status is Status.OK
    assert completion.ids.tolist() == found.ids.tolist()
    assert completion.scores.tolist() == found.scores.tolist()
    assert completion.logits.size == completion.ctr.size == 0
    assert completion.flags == found.flags
    assert completion.found == found.found
    assert completion.overshoot == found.overshoot
    assert completion.items == (rows, 0, 0, 0)
    assert completion.next_page == found.next_page


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("ports", [1, pytest.param(4, marks=NIGHTLY)])
def test_matches_golden(metric, ports):
    check_answers(machine(memory_ports=ports, row_banks=4), metric)


def check_answers(config, metric):
    """Ask for k, floor, page and mask, crossed."""
    rng = np.random.default_rng(config.memory_ports)
    driver = open_driver(config)
    corpus, rows, live = random_corpus(driver, rng, metric)
    golden = new_corpus(rows, metric, live=live)
    looked_at = rng.random(len(rows)) < 0.5
    mask = corpus.mask(looked_at)
    asked, wanted = [], []
    for k in (1, 7, 64, 100):
        vector = random_rows(rng, 1, DIM, 3)[0]
        full = retrieve(golden, CorpusQuery(vector=padded(corpus, vector), k=100))
        floor, page = int(full.scores[20]), (int(full.scores[5]), int(full.ids[5]))
        for changes in ({}, {"floor": floor}, {"page": page}, {"floor": floor, "page": page}):
            for bitmap in (None, looked_at):
                query = CorpusQuery(vector=padded(corpus, vector), k=k, bitmap=bitmap, **changes)
                wanted.append(retrieve(golden, query))
                held = None if bitmap is None else mask
                asked.append(corpus.query(vector, k, mask=held, **changes))
    completions = corpus.retrieve(asked)
    assert len(completions) == len(wanted) == 32
    assert {StatusFlag.UNDERFILL, StatusFlag.OVERFILL} <= {found.flags for found in wanted}
    for completion, found in zip(completions, wanted, strict=True):
        check(completion, found, 200)
    corpus.release_mask(mask)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dim", [1, 16, 17, 64, 256])
def test_rows_of_every_size(dim):
    rng = np.random.default_rng(dim)
    driver = open_driver()
    values = random_rows(rng, 30, dim)
    corpus = Corpus(driver, values)
    found = corpus.retrieve_all(values[:3], 5)
    for completion, vector in zip(found, values, strict=False):
        want = retrieve(new_corpus(values), CorpusQuery(vector=vector, k=5))
        check(completion, want, 30)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("metric", Metric)
def test_every_epoch(metric):
    rng = np.random.default_rng(7)
    driver = open_driver()
    corpus, rows, live = random_corpus(driver, rng, metric)
    first = new_corpus(rows, metric, live=live, capacity=240)
    updates, kinds = [], rng.integers(0, 3, 100)
    for kind in kinds:
        row, values = int(rng.integers(corpus.count)), random_rows(rng, 1, DIM, 3)[0]
        if kind == 0:
            change = corpus.append(values)
            assert change.row == corpus.count - 1
            rows, live = np.vstack([rows, padded(corpus, values)]), np.append(live, True)
        elif kind == 1:
            change = corpus.overwrite(row, values)
            rows[row] = padded(corpus, values)
        else:
            change = corpus.delete(row)
            live[row] = False
        updates += change.updates
        vector = random_rows(rng, 1, DIM, 3)[0]
        (completion,) = corpus.retrieve([corpus.query(vector, 50)])
        assert corpus.wait(change) is Status.OK
        assert completion.epoch == len(updates)
        query = CorpusQuery(vector=padded(corpus, vector), k=50)
        check(completion, retrieve(after(first, updates, completion.epoch), query), len(rows))
        check(completion, retrieve(new_corpus(rows, metric, live=live), query), len(rows))
    assert corpus.count == 200 + int((kinds == 0).sum())


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("metric", [Metric.INNER_PRODUCT, Metric.COSINE])
def test_changes_while_scans_run(metric):
    check_changes(metric, 3000, scans=40)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dim", [65, 256])
def test_changes_of_rows_longer_than_an_update(dim):
    updates = check_changes(Metric.COSINE, 600, scans=40, dim=dim)
    step = machine().update_bytes_max
    pieces = {update.offset // step for update in updates if isinstance(update, RowWrite)}
    assert step == 64 and pieces == set(range({65: 2, 256: 4}[dim]))


def check_changes(metric, count, scans, dim=DIM):
    """Change some of `count` rows, and wait for nothing, while scans run; return the updates."""
    rng = np.random.default_rng(8)
    driver = open_driver()
    corpus, rows, live = random_corpus(driver, rng, metric, rows=count, dim=dim)
    first = new_corpus(rows, metric, live=live, capacity=count + 40)
    changes, updates, asked, ends = [], [], [], {0}

    def change():
        row, values = int(rng.integers(count)), random_rows(rng, 1, dim, 3)[0]
        pick = int(rng.integers(3))
        done = (corpus.append(values) if pick == 0 else corpus.overwrite(row, values)
                if pick == 1 else corpus.delete(row))  # fmt: skip
        changes.append(done)
        updates.extend(done.updates)
        ends.add(len(updates))

    for _ in range(scans):
        vector = random_rows(rng, 1, dim, 3)[0]
        asked.append((vector, driver.submit(corpus.query(vector, 60))))
        change()
        change()
    epochs = []
    for vector, tag in asked:
        completion = driver.wait(tag)
        epochs.append(completion.epoch)
        now = after(first, updates, completion.epoch)
        query = CorpusQuery(vector=padded(corpus, vector), k=60)
        check(completion, retrieve(now, query), now.count)
    assert all(corpus.wait(each) is Status.OK for each in changes)
    assert epochs == sorted(epochs) and len(set(epochs)) > scans // 8
    assert set(epochs) <= ends  # all updates of a change, or none
    return updates


@pytest.mark.usefixtures("device")
def test_appends_until_it_is_full():
    driver = open_driver()
    rng = np.random.default_rng(1)
    rows = random_rows(rng, 6, DIM)
    corpus = Corpus(driver, rows[:0], capacity=5)
    (nothing,) = corpus.retrieve_all(rows[:1], 3)
    assert nothing.ok and nothing.underfill and nothing.found == 0 and nothing.next_page is None
    changes = [corpus.append(row) for row in rows[:5]]
    assert [change.row for change in changes] == [0, 1, 2, 3, 4]
    assert all(corpus.wait(change) is Status.OK for change in changes)
    with pytest.raises(ValueError, match=r"^capacity must be more than 5 rows for an append$"):
        corpus.append(rows[5])
    (found,) = corpus.retrieve_all(rows[:1], 5)
    assert sorted(found.ids.tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("device")
def test_changes_from_many_threads():
    rng = np.random.default_rng(2)
    driver = open_driver()
    corpus, rows, live = random_corpus(driver, rng, Metric.COSINE)
    new = random_rows(rng, 40, DIM, 3)
    log, errors = {}, []

    def work(part):
        try:
            for place in range(part, 40, 4):
                changes = [corpus.append(new[place]), corpus.delete(place),
                           corpus.overwrite(100 + place, new[place])]  # fmt: skip
                for change in changes:
                    log.update(zip(change.tickets, change.updates, strict=True))
                    assert corpus.wait(change) is Status.OK
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(log) == list(range(200))  # 40 times (scale, row) twice, and a deletion
    golden = after(
        new_corpus(rows, Metric.COSINE, live=live, capacity=240),
        [log[ticket] for ticket in sorted(log)],
        200,
    )
    assert golden.count == 240 and not golden.live[:40].any()
    vector = random_rows(rng, 1, DIM, 3)[0]
    (completion,) = corpus.retrieve_all([vector], 100)
    assert completion.epoch == 200
    check(completion, retrieve(golden, CorpusQuery(vector=padded(corpus, vector), k=100)), 240)


def test_a_change_rings_the_doorbell_once(monkeypatch):
    driver = open_driver()
    corpus, _, _ = random_corpus(driver, np.random.default_rng(3), Metric.COSINE)
    rung = []
    write = driver.bus.write_register
    monkeypatch.setattr(
        driver.bus, "write_register", lambda *pair: (rung.append(pair), write(*pair))
    )
    change = corpus.append(np.ones(DIM, dtype=np.int8))
    assert len(change.updates) == 2 and len(rung) == 1
    assert corpus.wait(change) is Status.OK


def test_a_full_queue_waits():
    driver = open_driver(update_depth=2, limit_cycles=5)
    corpus, _, _ = random_corpus(driver, np.random.default_rng(3), Metric.L2)
    driver.bus.write_register(ADDRESS["CONTROL"], 0)
    changes = [corpus.delete(row) for row in range(2)]
    with pytest.raises(TimeoutError, match=r"^nothing happened in 5 cycles"):
        corpus.delete(2)
    driver.bus.write_register(ADDRESS["CONTROL"], Control.RUN)
    assert [corpus.wait(change) for change in changes] == [Status.OK] * 2
    changes = [corpus.delete(row) for row in (2, 3)]
    assert [corpus.wait(change) for change in changes] == [Status.OK] * 2
    (found,) = corpus.retrieve_all([np.ones(DIM, dtype=np.int8)], 100)
    assert found.epoch == 4


def test_several_corpora_and_their_memory():
    rng = np.random.default_rng(4)
    driver = open_driver()
    rows = random_rows(rng, 2000, 32)
    for _ in range(3):
        corpora = [Corpus(driver, rows, metric) for metric in Metric]
        for corpus in corpora:
            (completion,) = corpus.retrieve_all(rows[:1], 10)
            want = retrieve(new_corpus(rows, corpus.metric), CorpusQuery(vector=rows[0], k=10))
            check(completion, want, 2000)
        with pytest.raises(MemoryError, match=r"^corpora: "):
            Corpus(driver, rows, capacity=1 << 16)
        for corpus in corpora:
            corpus.release()


def test_buckets_cover_the_best_scores():
    rng = np.random.default_rng(5)
    driver = open_driver()
    rows = random_rows(rng, 3000, 64)
    corpus = Corpus(driver, rows)
    for vector in random_rows(rng, 5, 64):
        asked = corpus.query(vector, 100)
        scores = np.sort(rows.astype(int) @ vector.astype(int))[::-1]
        assert asked.base <= scores[100]
        assert scores[100] < asked.base + (256 << asked.shift)
        assert np.ptp((scores[:100] - asked.base) >> asked.shift) > 10


BAD = [
    ({"k": 0}, r"^k of the retrieval must be in 1\.\.100, not 0$", Status.BAD_K),
    ({"k": 101}, r"^k of the retrieval must be in 1\.\.100, not 101$", Status.BAD_K),
]


@pytest.mark.parametrize(("changes", "message", "status"), BAD)
def test_bad_k(changes, message, status):
    driver = open_driver()
    corpus, rows, _ = random_corpus(driver, np.random.default_rng(6), Metric.L2)
    asked = replace(corpus.query(rows[0, :DIM], 5), **changes)
    with pytest.raises(ValueError, match=message):
        driver.submit(asked)
    completion = driver.wait(driver.submit(asked, validate=False))
    assert completion.status is status and completion.ids.size == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vector": np.zeros(DIM)}, r"^vector must be int8\[24\], not float64\[24\]$"),
        ({"vector": np.zeros(9, np.int8)}, r"^vector must be int8\[24\], not int8\[9\]$"),
        ({"floor": 1 << 31}, r"^floor must be an int32, not 2147483648$"),
        ({"page": (-(1 << 40), 0)}, r"^score of page must be an int32, not -1099511627776$"),
        ({"page": (0, -1)}, r"^id of page must be in 0\.\.4294967295, not -1$"),
        ({"deadline_cycles": -1}, r"^deadline_cycles must be at least 0, not -1$"),
    ],
)
def test_rejects_queries(changes, message):
    driver = open_driver()
    corpus, rows, _ = random_corpus(driver, np.random.default_rng(6), Metric.L2)
    fields = {"corpus": corpus.place, "vector": rows[0, :DIM], "k": 5}
    with pytest.raises(ValueError, match=message):
        driver.submit(Retrieval(**(fields | changes)))


def test_rejects():
    driver = open_driver()
    rows = np.zeros((4, DIM), dtype=np.int8)
    with pytest.raises(ValueError, match=r"^rows must be int8\[n, dim\], not float64\[4, 2\]$"):
        Corpus(driver, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"^rows must have 1\.\.256 bytes, not 300$"):
        Corpus(driver, np.zeros((4, 300), dtype=np.int8))
    with pytest.raises(ValueError, match=r"^capacity must be at least 4 rows, not 3$"):
        Corpus(driver, rows, capacity=3)
    corpus = Corpus(driver, rows)
    with pytest.raises(ValueError, match=r"^row must be in 0\.\.3, not 4$"):
        corpus.delete(4)
    with pytest.raises(ValueError, match=r"^values must be int8\[24\], not int8\[9\]$"):
        corpus.overwrite(0, np.zeros(9, dtype=np.int8))
    with pytest.raises(ValueError, match=r"^mask must have 1\.\.4 rows, not 5$"):
        corpus.mask(np.ones(5, dtype=bool))
    wide = Corpus(open_driver(update_depth=2), np.zeros((4, 200), dtype=np.int8), capacity=5)
    message = r"^update_depth must be at least 4 for a row of 256 bytes \(64 in an update\), not 2$"
    with pytest.raises(ValueError, match=message):
        wide.append(np.zeros(200, dtype=np.int8))
    assert wide.count == 4 and wide.wait(wide.delete(3)) is Status.OK
    frozen = Corpus(open_driver(update_depth=0), rows)
    with pytest.raises(ValueError, match=r"^update_depth must be at least 1 for row updates, not"):
        frozen.delete(0)


def test_a_machine_without_an_engine():
    driver = open_driver(load_accelerator("tiny"))
    message = r"^retrieval_queries of 'tiny' must be at least 1 for a corpus, not 0$"
    with pytest.raises(ValueError, match=message):
        Corpus(driver, np.zeros((4, 16), dtype=np.int8))
    place = open_driver()
    corpus = Corpus(place, np.zeros((4, 16), dtype=np.int8))
    asked = corpus.query(np.zeros(16, dtype=np.int8), 1)
    assert driver.wait(driver.submit(asked, validate=False)).status is Status.BAD_STAGES
    with pytest.raises(ValueError, match=r"must be at least 1 for retrieval, not 0$"):
        driver.submit(asked)
