"""As many queries in flight as the device holds; none of them starves."""

from dataclasses import replace

import pytest

from rpaccel.host.query import fetched_after
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import Session
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks
from tests.host.funnel_machine import QUARTERS, SPLIT, random_ask

MEMORY_BYTES = 1 << 22
MANY = 64
CONFIG = SPLIT.model_copy(update={"name": "many", "queue_entries": MANY})
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library():
    return build_simulator(CONFIG)


def session_of(device, **options):
    return Session(
        device, CONFIG, seed=6, depth=MANY, split=QUARTERS, memory_bytes=MEMORY_BYTES, **options
    )


def spans(completions):
    """Return when queries were fetched, begun and answered, from the first fetch on."""
    fetched = fetched_after(completions)
    begun = [at + c.queue_cycles for at, c in zip(fetched, completions, strict=True)]
    ended = [at + c.total_cycles for at, c in zip(begun, completions, strict=True)]
    return fetched, begun, ended


def test_64_queries_are_in_flight(library):
    with VerilatedDevice(CONFIG, memory_bytes=MEMORY_BYTES, library=library) as device:
        session = session_of(device)
        for _ in range(2):
            asked = []
            for number in range(MANY):
                query, request = random_ask(session)
                if number < CONFIG.funnels:  # long ones first: the others are fetched meanwhile
                    query, request = session.query(items=64, slots=(0, 1, 1), keep=(60, 50))
                    request = replace(request, lanes=(1,))
                asked.append((query, request))
            tags = [session.driver.submit(request) for _, request in asked]
            completions = [session.driver.wait(tag) for tag in tags]
            for completion, (query, request) in zip(completions, asked, strict=True):
                session.check(completion, query)
                session.driver.release_feature_table(request.features)
            fetched, _, ended = spans(completions)
            assert max(fetched) < min(ended), "all were in the device before one was answered"
            assert not session.driver.poll()


def test_a_long_query_is_not_starved_by_short_ones(library):
    """All want one lane. It is theirs only while the long one has nothing to offer.

    That is at the end of a stage, when its last scores are on their way: the lane may then be given
    tasks of others, one that it gathers and one behind it (docs/decisions/0012).
    """
    front = StageTasks(task_items=4, mode=StageMode.GLOBAL)
    tasks = (front, replace(front, task_items=3), StageTasks(task_items=2))
    with VerilatedDevice(CONFIG, memory_bytes=MEMORY_BYTES, library=library) as device:
        session = session_of(device)

        def long():
            query, request = session.query(items=64, slots=(0, 1, 1), keep=(40, 30))
            query = replace(query, tasks=tasks)
            return query, replace(request, tasks=tasks, lanes=(1,))

        def short():
            query, request = session.query(items=4, slots=(0,), keep=())
            return query, replace(request, lanes=(1,))

        def ask(pairs):
            tags = [session.driver.submit(request) for _, request in pairs]
            completions = [session.driver.wait(tag) for tag in tags]
            for completion, (query, request) in zip(completions, pairs, strict=True):
                session.check(completion, query)
                session.driver.release_feature_table(request.features)
            return completions

        alone = {each: ask([each()])[0].total_cycles for each in (long, short)}
        before = 2  # short ones that were accepted earlier, less than there are funnels
        asked = [short] * before + [long] + [short] * (MANY - 1 - before)
        completions = ask([each() for each in asked])
    _, begun, ended = spans(completions)
    end = ended[before]
    younger = [number for number in range(before + 1, MANY) if begun[number] < end]
    overtook = [number for number in younger if ended[number] < end]
    assert begun[before + 1] < begun[before] + alone[long] // 4  # and there they wait
    gaps = len(tasks)
    assert len(overtook) <= 2 * gaps
    limit = alone[long] + (before + 2 * gaps) * alone[short]
    assert completions[before].total_cycles <= limit
    # the short ones are then served in the order in which they came
    order = sorted(range(before + 1, MANY), key=lambda number: ended[number])
    assert order == list(range(before + 1, MANY))
