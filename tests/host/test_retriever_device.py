"""What the retriever shares with the rest of the machine, on the netlist."""

import numpy as np
import pytest

from rpaccel.host.corpus import Corpus
from rpaccel.spec.isa import Opcode, Status
from rpaccel.spec.registers import RETRIEVAL_COUNTER_BASE, RETRIEVAL_COUNTERS
from tests.host import retrieval_machine
from tests.host.retrieval_machine import DEVICES, machine, open_driver, random_rows

pytestmark = pytest.mark.slow
ROWS, DIM = 4000, 32


@pytest.fixture(autouse=True)
def netlist(monkeypatch):
    monkeypatch.setattr(retrieval_machine, "new_device", DEVICES["netlist"])


def two_corpora(rng):
    driver = open_driver(machine(), depth=16, update_depth=8, limit_cycles=2_000_000)
    return driver, [Corpus(driver, random_rows(rng, ROWS, DIM, 3)) for _ in range(2)]


def vector(rng):
    return rng.integers(-3, 4, DIM).astype(np.int8)


def test_a_load_waits_for_scans_that_wait_for_updates():
    rng = np.random.default_rng(1)
    driver, corpora = two_corpora(rng)
    tags = [driver.submit(corpora[n % 2].query(vector(rng), 10)) for n in range(4)]
    # these wait for the scan that runs; the scan after it waits for them
    changes = [corpora[0].overwrite(ROWS - 1 - n, vector(rng)) for n in range(6)]
    header = corpora[0].place.address
    load = driver.submit_fields({"opcode": Opcode.LOAD, "user_address": header, "items": 64})
    last = driver.submit(corpora[1].query(vector(rng), 10))
    assert [corpora[0].wait(change) for change in changes] == [Status.OK] * 6
    completions = [driver.wait(tag) for tag in (*tags, last)]
    assert [completion.status for completion in completions] == [Status.OK] * 5
    assert driver.wait(load).status is Status.BAD_IMAGE  # no image, but its turn came
    assert [completion.ids.size for completion in completions] == [10] * 5


def test_a_reset_ends_scans_and_those_that_wait():
    rng = np.random.default_rng(2)
    driver, corpora = two_corpora(rng)
    tags = [driver.submit(corpora[n % 2].query(vector(rng), 10)) for n in range(12)]
    first = driver.wait(tags[0])
    driver.reset()
    rest = [driver.wait(tag) for tag in tags[1:]]
    assert first.ok
    statuses = [completion.status for completion in rest]
    assert set(statuses) == {Status.OK, Status.ABORTED} or set(statuses) == {Status.ABORTED}
    assert statuses[-1] is Status.ABORTED
    assert driver.wait(driver.submit(corpora[0].query(vector(rng), 10))).ok


def test_counters_are_exact():
    rng = np.random.default_rng(3)
    driver, corpora = two_corpora(rng)
    completions = corpora[0].retrieve_all([vector(rng) for _ in range(9)], 10)
    names = {
        name: driver.bus.read_register(RETRIEVAL_COUNTER_BASE + 4 * place)
        for place, name in enumerate(RETRIEVAL_COUNTERS)
    }
    beats = ROWS * DIM // driver.config.beat_bytes
    assert {completion.array_cycles[0] for completion in completions} == {beats}
    assert names["queries"] == 9 and names["beats"] == 9 * beats
    assert 5 <= names["scans"] <= 9
    assert names["stalled_cycles"] == sum(one.filter_cycles[0] for one in completions)
    # scans follow each other: the answer of one leaves while the next runs
    begun = [completion.ended_at for completion in completions]
    assert (begun[-1] - begun[0]) / (names["scans"] - 1) < 1.05 * beats
