from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.compile import compile_models
from rpaccel.host.driver import Driver, Request
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import Opcode, StageMode, Status, StatusFlag
from rpaccel.spec.registers import ADDRESS, Irq
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads import random_models
from tests import factories

MEMORY_BYTES = 1 << 20
PROPORTIONAL_EXACT = StageTasks(task_items=4, task_k=1, mode=StageMode.PROPORTIONAL, exact=True)


def rankers_for(rng: np.random.Generator, config: AcceleratorConfig) -> list[QuantisedRanker]:
    small = random_models.random_ranker(rng, config, name="small")
    return [
        small,
        random_models.shared_schema(rng, config, small, name="large", dim=config.max_dim),
    ]


class Session:
    def __init__(self, seed: int, *, config: AcceleratorConfig | None = None, depth: int = 4):
        self.rng = np.random.default_rng(seed)
        self.config = config or load_accelerator("tiny")
        self.rankers = rankers_for(self.rng, self.config)
        self.device = SoftwareDevice(self.config, MEMORY_BYTES)
        self.driver = Driver(self.device, self.config, MEMORY_BYTES, depth=depth)
        self.driver.load_models(compile_models(self.rankers, self.config))

    def query(self, **sizes):
        query = random_models.random_query(self.rng, self.config, self.rankers, **sizes)
        return query, self.request(query)

    def request(self, query, **changes):
        table = self.driver.register_feature_table(query.features)
        names = [ranker.name for ranker in self.rankers]
        fields = {
            "user_record": query.user_record,
            "candidates": query.candidates,
            "features": table,
            "stages": [(names[slot], k) for slot, k in query.stages],
            "top_n": query.top_n,
        }
        return Request(**(fields | changes))

    def check(self, completion, query):
        expected = run_query(query, self.rankers, self.config)
        assert completion.status is expected.status
        assert completion.flags == expected.flags
        assert completion.ids.tolist() == expected.ids.tolist()
        assert completion.logits.tolist() == expected.logits.tolist()
        assert completion.ctr.tolist() == expected.ctr.tolist()
        assert completion.items == expected.items


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_matches_golden(seed, depth):
    session = Session(seed, depth=depth)
    pairs = [session.query(items=int(session.rng.integers(1, 65))) for _ in range(20)]
    completions = list(session.driver.run(request for _, request in pairs))
    assert len(completions) == len(pairs)
    for completion, (query, _) in zip(completions, pairs, strict=True):
        session.check(completion, query)
    assert session.driver.poll() == []


def test_one_stage_of_each_model():
    session = Session(7)
    for slot in (0, 1):
        query, request = session.query(slots=(slot,), items=30)
        session.check(session.driver.wait(session.driver.submit(request)), query)


def test_ring_indices_wrap(monkeypatch):
    session = Session(1, depth=2)
    query, request = session.query(items=3)
    device, start = session.device, 0xFFFD
    for name in ("SQ_HEAD", "SQ_TAIL", "CQ_HEAD", "CQ_TAIL"):
        device._set(name, start)
    session.driver = Driver(device, session.config, MEMORY_BYTES, depth=2)
    session.driver.load_models(compile_models(session.rankers, session.config))
    request = session.request(query)
    for completion in session.driver.run([request] * 9):
        session.check(completion, query)
    assert device.read_register(ADDRESS["CQ_TAIL"]) == 7


def test_waits_in_any_order():
    session = Session(2, depth=4)
    queries = [session.query(items=10) for _ in range(4)]
    tags = [session.driver.submit(request) for _, request in queries]
    for tag, (query, _) in reversed(list(zip(tags, queries, strict=True))):
        session.check(session.driver.wait(tag), query)
    with pytest.raises(ValueError, match=r"^tag must be of a query in flight, not 1$"):
        session.driver.wait(1)


def test_underfill_is_flagged():
    session = Session(3)
    high = session.rankers[0]
    session.rankers[0] = factories.replace_filter(high, threshold=32767)
    session.driver.load_models(compile_models(session.rankers, session.config))
    query, request = session.query(items=20)
    completion = session.driver.wait(session.driver.submit(request))
    session.check(completion, query)
    assert completion.underfill
    assert completion.flags == StatusFlag.UNDERFILL


BAD = [
    ({"candidates": []}, r"^candidates must be 1\.\.64, not 0$", Status.BAD_ITEMS),
    ({"stages": []}, r"^stages must be 1\.\.4, not 0$", Status.BAD_STAGES),
    ({"stages": [("small", 99), ("large", 5)]}, r"^k of stage 0 must be", Status.BAD_K),
    ({"stages": [("small", 0), ("large", 5)]}, r"^k of stage 0 must be", Status.BAD_K),
    (
        {"tasks": [StageTasks(task_items=3)]},
        r"^task_items of stage 0 must be a multiple of 2 in 0\.\.64, not 3$",
        Status.BAD_TASK,
    ),
    (
        {"tasks": [StageTasks(task_items=4, mode=StageMode.LOCAL)]},
        r"^tasks of stage 0 must have task_k and task_items if LOCAL,",
        Status.BAD_TASK,
    ),
    (
        {"tasks": [PROPORTIONAL_EXACT]},
        r"^tasks of stage 0 must have .* no exact k if PROPORTIONAL,",
        Status.BAD_TASK,
    ),
    ({"top_n": 0}, r"^top_n must be in 1\.\.8, not 0$", Status.BAD_K),
    ({"top_n": 9}, r"^top_n must be in 1\.\.8, not 9$", Status.BAD_K),
    ({"user_record": b""}, r"^user_record must have", Status.BAD_RECORD),
    ({"candidates": [*range(11), 5000]}, r"^candidates must be rows 0\.\.49", Status.BAD_ID),
    ({"stages": [(1, 5), (9, 5)]}, r"^model must be a slot in 0\.\.1, not 9$", Status.BAD_MODEL),
]


@pytest.mark.parametrize(("changes", "message", "status"), BAD)
def test_bad_requests(changes, message, status):
    session = Session(4)
    query, good = session.query(items=12)
    bad = session.request(query, **changes)
    with pytest.raises(ValueError, match=message):
        session.driver.submit(bad)
    completion = session.driver.wait(session.driver.submit(bad, validate=False))
    assert completion.status is status
    assert completion.ids.size == 0
    session.check(session.driver.wait(session.driver.submit(good)), query)


@pytest.mark.parametrize("name", ["survivor_limit", "deadline_cycles"])
def test_rejects_negative_limits(name):
    session = Session(4)
    query, _ = session.query(items=12)
    with pytest.raises(ValueError, match=rf"^{name} must be at least 0, not -1$"):
        session.driver.submit(session.request(query, **{name: -1}))


def test_tasks_and_a_limit_reach_the_device():
    session = Session(12)
    query, _ = session.query(items=40, keep=(20,))
    tasks = (StageTasks(task_items=8, task_k=4, mode=StageMode.LOCAL, exact=True),)
    split = replace(query, tasks=tasks, survivor_limit=3)
    request = session.request(query, tasks=tasks, survivor_limit=3)
    completion = session.driver.wait(session.driver.submit(request))
    session.check(completion, split)
    assert completion.items[:2] == (40, 15)
    assert completion.flags == StatusFlag.OVERFILL
    assert completion.overshoot == 0


def test_unknown_model():
    session = Session(4)
    query, _ = session.query()
    with pytest.raises(ValueError, match=r"^model must be one of small, large, not 'huge'$"):
        session.driver.submit(session.request(query, stages=[("huge", 3)]))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"user_address": 0}, Status.REGION),
        ({"candidates_address": MEMORY_BYTES - 64}, Status.REGION),
        ({"features_address": 0}, Status.REGION),
        ({"result_address": 0}, Status.REGION),
        ({"user_address": 1 << 40}, Status.REGION),
        ({"candidates_address": 4}, Status.BAD_RECORD),
        ({"opcode": 77}, Status.BAD_OPCODE),
        ({"version": 9}, Status.BAD_VERSION),
        ({"stage0_kind": 2}, Status.BAD_STAGES),
        ({"stages": 5}, Status.BAD_STAGES),
        ({"stage0_mode": 4}, Status.BAD_TASK),
        ({"stage0_options": 4}, Status.BAD_TASK),
        ({"stage0_lanes": 2}, Status.BAD_LANE),
        ({"stage1_lanes": 2}, Status.BAD_LANE),
        ({"item_record_bytes": 24}, Status.BAD_RECORD),
        ({"features_rows": 0}, Status.BAD_ID),
    ],
)
def test_bad_descriptors(fields, status):
    session = Session(5)
    query, good = session.query(items=12)
    tag = session.driver.submit(good, validate=False, fields=fields)
    completion = session.driver.wait(tag)
    assert completion.status is status
    assert completion.ids.size == 0
    session.check(session.driver.wait(session.driver.submit(good)), query)


def test_bad_images():
    session = Session(6)
    query, good = session.query(items=12)
    compiled = session.driver.loaded[0]
    for length, status in ((len(compiled.image) - 8, Status.BAD_IMAGE), (8, Status.BAD_IMAGE)):
        tag = session.driver.submit_fields(
            {"opcode": Opcode.LOAD, "user_address": compiled.image_address, "items": length}
        )
        assert session.driver.wait(tag).status is status
    tag = session.driver.submit_fields({"opcode": Opcode.LOAD, "user_address": 0, "items": 64})
    assert session.driver.wait(tag).status is Status.REGION
    session.check(session.driver.wait(session.driver.submit(good)), query)


def test_nop_completes():
    session = Session(6)
    completion = session.driver.wait(session.driver.submit_fields({"opcode": Opcode.NOP}))
    assert completion.ok


def test_timeout_tells_the_state():
    session = Session(8)
    _, request = session.query()
    session.device.write_register(ADDRESS["CONTROL"], 0)
    session.device.write_register(ADDRESS["IRQ_STATUS"], Irq.COMPLETION)
    tag = session.driver.submit(request)
    with pytest.raises(
        TimeoutError, match=r"nothing happened in \d+ cycles, 1 in flight; STATUS=0x0"
    ):
        session.driver.wait(tag)


def test_interrupts_that_never_come_are_refused():
    driver = Session(8).driver
    driver.coalesce(4)
    driver.coalesce(255, 1000)
    with pytest.raises(
        ValueError, match=r"^completions must be in 0\.\.4 \(depth\) without cycles"
    ):
        driver.coalesce(5)
    with pytest.raises(ValueError, match=r"^completions must be in 0\.\.255 and cycles in 0\.\."):
        driver.coalesce(256)


def test_wrong_device():
    device = SoftwareDevice(load_accelerator("tiny"), MEMORY_BYTES)
    with pytest.raises(RuntimeError, match=r"^device register CONFIG_ARRAY must be"):
        Driver(device, load_accelerator("edge"), MEMORY_BYTES)


def test_models_that_do_not_fit():
    config = load_accelerator("tiny")
    rankers = rankers_for(np.random.default_rng(0), config)
    driver = Driver(SoftwareDevice(config, MEMORY_BYTES), config, MEMORY_BYTES)
    far = compile_models(rankers, config, base=MEMORY_BYTES)
    with pytest.raises(ValueError, match=r"^memory_bytes must be at least"):
        driver.load_models(far)
    with pytest.raises(ValueError, match=r"^memory_bytes must be at least"):
        Driver(SoftwareDevice(config, 1 << 14), config, 1 << 14)


def test_feature_tables_are_released():
    session = Session(9)
    records = np.zeros((100, 64), dtype=np.uint8)
    tables = []
    with pytest.raises(MemoryError, match=r"^features: 6400 B do not fit"):
        while True:
            tables.append(session.driver.register_feature_table(records))
    for table in tables:
        session.driver.release_feature_table(table)
    query, request = session.query(items=5)
    session.check(session.driver.wait(session.driver.submit(request)), query)
    with pytest.raises(ValueError, match=r"^record_bytes must be a power of two in 8\.\.64"):
        session.driver.register_feature_table(bytes(96), 1, 96)


def test_tables_are_live():
    session = Session(10)
    query, request = session.query(items=20)
    table = session.driver.loaded[0].tables[0]
    zero = bytes(len(table.payload))
    session.device.write_memory(table.address, zero)
    first = session.rankers[0]
    session.rankers[0] = factories.replace_table(first, 0)
    session.check(session.driver.wait(session.driver.submit(request)), query)
