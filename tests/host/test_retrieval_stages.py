from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.corpus import CorpusQuery, new_corpus, retrieve
from rpaccel.golden.lane import run_behind
from rpaccel.host.driver import Request
from rpaccel.spec.isa import CORPUS, MAX_STAGES, RETRIEVAL, StageKind, StageMode, Status, StatusFlag
from rpaccel.spec.retrieval import Metric
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads import random_models
from tests.host.retrieval_machine import (
    device,
    load_rankers,
    open_driver,
    random_corpus,
)

__all__ = ["device"]  # a fixture

pytestmark = pytest.mark.usefixtures("device")
ROWS, DIM = 200, 24


class Funnel:
    """Retrieval in front of ranking stages, and the golden answer."""

    def __init__(self, seed, metric=Metric.INNER_PRODUCT, **options):
        self.rng = np.random.default_rng(seed)
        self.driver = open_driver(**options)
        self.rankers = load_rankers(self.driver, self.rng)
        self.corpus, self.rows, self.live = random_corpus(self.driver, self.rng, metric)
        self.golden = new_corpus(self.rows, metric, live=self.live)

    def query(self, keep=(30, 10), k=64, **changes):
        """Return a request of 1 + len(keep) + 1 stages and what it comes to."""
        stages = len(keep) + 1
        query = random_models.random_query(
            self.rng, self.driver.config, self.rankers, items=64, keep=keep, feature_rows=ROWS + 40,
            slots=tuple(range(stages)),
        )  # fmt: skip
        query = replace(query, tasks=changes.pop("tasks", ()))
        vector = self.rng.integers(-3, 4, DIM).astype(np.int8)
        padded = np.zeros(self.rows.shape[1], dtype=np.int8)
        padded[:DIM] = vector
        asked = self.corpus.query(vector, k, **changes)
        request = Request(
            user_record=query.user_record,
            features=self.driver.register_feature_table(query.features),
            stages=[(self.rankers[slot].name, kept) for slot, kept in query.stages],
            top_n=query.top_n,
            tasks=query.tasks,
            retrieval=asked,
        )
        found = retrieve(self.golden, CorpusQuery(vector=padded, k=k, **changes))
        return request, run_behind(found, ROWS, query, self.rankers)

    def ask(self, request, **options):
        return self.driver.wait(self.driver.submit(request, **options))


def check(completion, expected):
    assert completion.status is expected.status
    assert completion.flags == expected.flags
    assert completion.ids.tolist() == expected.ids.tolist()
    assert completion.logits.tolist() == expected.logits.tolist()
    assert completion.ctr.tolist() == expected.ctr.tolist()
    assert completion.items == expected.items
    assert completion.overshoot == expected.overshoot
    assert completion.scores.size == 0


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("keep", [(), (20,), (30, 10)])
def test_matches_golden(metric, keep):
    funnel = Funnel(len(keep), metric)
    pairs = [funnel.query(keep) for _ in range(6)]
    completions = list(funnel.driver.run(request for request, _ in pairs))
    for completion, (_, expected) in zip(completions, pairs, strict=True):
        check(completion, expected)
        assert completion.items[:2] == (ROWS, 64)
        assert all(completion.items[: len(keep) + 2])
        assert completion.ids.size and completion.ok


def test_tasks_of_stages_behind():
    funnel = Funnel(5)
    tasks = (StageTasks(task_items=16, task_k=8, mode=StageMode.GLOBAL), StageTasks(task_items=10))
    request, expected = funnel.query(tasks=tasks)
    check(funnel.ask(request), expected)


def test_mixed_with_other_queries():
    funnel = Funnel(6)
    ranked, expected = funnel.query()
    found = funnel.corpus.query(np.ones(DIM, dtype=np.int8), 100)
    plain = replace(ranked, retrieval=None, candidates=list(range(50)))
    one, two, three, four = funnel.driver.run([ranked, found, plain, ranked])
    check(one, expected)
    check(four, expected)
    assert len(two.scores) == len(two.ids) == 100
    assert three.items[:2] == (50, three.items[1]) and three.ok


def test_fewer_rows_than_a_stage_keeps():
    funnel = Funnel(7)
    request, _ = funnel.query(k=64)
    asked = request.retrieval
    scores = np.sort(funnel.golden.rows.astype(int) @ np.pad(asked.vector, (0, 8)).astype(int))
    floor = int(scores[-5])
    request, expected = funnel.query(floor=floor)
    completion = funnel.ask(request)
    check(completion, expected)
    assert completion.items[1] < 30
    assert StatusFlag.UNDERFILL in completion.flags


def test_nothing_found():
    funnel = Funnel(8)
    request, expected = funnel.query(floor=1 << 30)
    completion = funnel.ask(request)
    check(completion, expected)
    assert completion.ok and completion.ids.size == 0
    assert completion.items == (ROWS, 0, 0, 0)
    assert completion.flags == StatusFlag.UNDERFILL


def test_overshoot_and_overfill_of_a_floor():
    funnel = Funnel(9)
    request, expected = funnel.query(floor=-(1 << 30))
    completion = funnel.ask(request)
    check(completion, expected)
    assert StatusFlag.OVERFILL in completion.flags
    assert completion.overshoot >= int(funnel.live.sum()) - 64


def test_an_appended_row_goes_through_all_stages():
    funnel = Funnel(10)
    request, before = funnel.query(keep=(64,), k=100)
    best = (127 * np.sign(request.retrieval.vector)).astype(np.int8)
    assert funnel.corpus.wait(funnel.corpus.append(best)) is Status.OK
    request = replace(request, stages=request.stages[:1], top_n=64)
    completion = funnel.ask(request)
    assert completion.items[:2] == (ROWS + 1, 100)
    alone = funnel.ask(replace(request.retrieval, k=1))
    assert alone.ids.tolist() == [ROWS]
    assert before.items[0] == ROWS


@pytest.mark.parametrize(
    ("changes", "message", "status"),
    [
        ({"candidates": [1]}, r"^candidates must be empty with a retrieval, not 1$", None),
        ({"stages": []}, r"^stages must be 1\.\.3, not 0$", None),
        ({"stages": [("r0", 9)] * 4}, r"^stages must be 1\.\.3, not 4$", None),
        ({"stages": [("r0", 65), ("r1", 9)]}, r"^k of stage 0 must be in 1\.\.64, not 65$",
         Status.BAD_K),
        ({"stages": [(9, 5)]}, r"^model must be a slot in 0\.\.2, not 9$", Status.BAD_MODEL),
        ({"top_n": 0}, r"^top_n must be in 1\.\.64, not 0$", Status.BAD_K),
        ({"user_record": b""}, r"^user_record must have", Status.BAD_RECORD),
        ({"tasks": [StageTasks(task_items=3)]}, r"^task_items of stage 0", Status.BAD_TASK),
    ],
)  # fmt: skip
def test_bad_requests(changes, message, status):
    funnel = Funnel(11)
    good, expected = funnel.query()
    bad = replace(good, **changes)
    with pytest.raises(ValueError, match=message):
        funnel.driver.submit(bad)
    if status is not None:
        completion = funnel.ask(bad, validate=False)
        assert completion.status is status and completion.ids.size == 0
    check(funnel.ask(good), expected)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"stage1_kind": StageKind.RETRIEVE}, Status.BAD_STAGES),
        ({"stage2_kind": StageKind.NONE}, Status.BAD_STAGES),
        ({"stages": MAX_STAGES + 1}, Status.BAD_STAGES),
        ({"stage1_lanes": 2}, Status.BAD_LANE),
        ({"stage0_k": 0}, Status.BAD_K),
        ({"stage0_k": 101}, Status.BAD_K),
        ({"candidates_address": 8}, Status.BAD_RECORD),
        ({"candidates_address": 1 << 40}, Status.REGION),
        ({"candidates_address": 0}, Status.REGION),
        ({"user_address": 0}, Status.REGION),
        ({"result_address": 0}, Status.REGION),
        # of a retrieval stage these are not used
        ({"items": 1 << 20, "stage0_model": 9, "stage0_lanes": 2, "stage0_mode": 77}, Status.OK),
    ],
)
def test_bad_descriptors(fields, status):
    funnel = Funnel(12)
    request, expected = funnel.query()
    completion = funnel.ask(request, fields=fields)
    assert completion.status is status
    if status is not Status.OK:
        assert completion.ids.size == 0
    check(funnel.ask(request), expected)


# Of structures in memory: which field is poked, its value, what comes of it.
POKES = [
    (RETRIEVAL, "version", 2, Status.BAD_CORPUS),
    (RETRIEVAL, "corpus", 8, Status.BAD_CORPUS),
    (RETRIEVAL, "vector", 8, Status.BAD_CORPUS),
    (RETRIEVAL, "list", 8, Status.BAD_CORPUS),
    (RETRIEVAL, "bitmap", 8, Status.BAD_CORPUS),
    (RETRIEVAL, "corpus", 1 << 40, Status.REGION),
    (RETRIEVAL, "vector", 1 << 40, Status.REGION),
    (RETRIEVAL, "corpus", 0, Status.REGION),
    (RETRIEVAL, "vector", 0, Status.REGION),
    (RETRIEVAL, "list", 0, Status.REGION),
    (RETRIEVAL, "bitmap", 64, Status.REGION),
    (CORPUS, "version", 2, Status.BAD_CORPUS),
    (CORPUS, "row_bytes", 48, Status.BAD_CORPUS),
    (CORPUS, "row_bytes", 8, Status.BAD_CORPUS),
    (CORPUS, "row_bytes", 512, Status.BAD_CORPUS),
    (CORPUS, "metric", 3, Status.BAD_CORPUS),
    (CORPUS, "base", 64, Status.BAD_CORPUS),
    (CORPUS, "live", 8, Status.BAD_CORPUS),
    (CORPUS, "scales", 8, Status.BAD_CORPUS),
    (CORPUS, "base", 1 << 40, Status.REGION),
    (CORPUS, "live", 1 << 40, Status.REGION),
    (CORPUS, "base", 0, Status.REGION),
    (CORPUS, "live", 64, Status.REGION),
    (CORPUS, "scales", 64, Status.REGION),
    (CORPUS, "rows", 1 << 31, Status.REGION),
]


@pytest.mark.parametrize(("layout", "name", "value", "status"), POKES)
def test_bad_structures(layout, name, value, status, monkeypatch):
    funnel = Funnel(13, Metric.COSINE)
    request, expected = funnel.query()
    bus, write = funnel.driver.bus, funnel.driver.bus.write_memory
    header = funnel.corpus.place.address
    good = bus.read_memory(header, CORPUS.bytes)

    def poked(raw):
        return layout.to_bytes(layout.from_bytes(raw) | {name: value})

    if layout is CORPUS:
        write(header, poked(good))
    else:
        size = RETRIEVAL.bytes + funnel.corpus.row_bytes

        def change(address, payload):
            is_asked = len(payload) == size
            head = poked(payload[: RETRIEVAL.bytes]) if is_asked else b""
            write(address, head + payload[len(head) :])

        monkeypatch.setattr(bus, "write_memory", change)
    completion = funnel.ask(request)
    assert completion.status is status and completion.ids.size == 0
    monkeypatch.undo()
    write(header, good)
    check(funnel.ask(request), expected)
