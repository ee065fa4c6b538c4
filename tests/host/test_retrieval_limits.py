import numpy as np
import pytest

from rpaccel.host.driver import Request
from rpaccel.spec.isa import CORPUS, Status
from rpaccel.spec.retrieval import Metric
from tests.host.retrieval_machine import load_rankers, machine, open_driver, random_corpus

ROWS, DIM = 200, 24


def test_a_stage_behind_bounds_k():
    driver = open_driver(machine(max_items=64))
    load_rankers(driver, np.random.default_rng(1))
    corpus, rows, _ = random_corpus(driver, np.random.default_rng(0), Metric.L2)
    alone = corpus.query(rows[0, :DIM], 100)
    assert driver.wait(driver.submit(alone)).ok
    table = driver.register_feature_table(np.zeros((ROWS, 64), dtype=np.uint8))
    both = Request(user_record=bytes(64), features=table, stages=[("r0", 5)], top_n=5,
                   retrieval=alone)  # fmt: skip
    with pytest.raises(ValueError, match=r"^k of the retrieval must be in 1\.\.64, not 100$"):
        driver.submit(both)
    assert driver.wait(driver.submit(both, validate=False)).status is Status.BAD_K


def test_a_corpus_of_several_ports_is_aligned():
    driver = open_driver(machine(memory_ports=4, row_banks=4, stripe_bytes=4096))
    corpus, _, _ = random_corpus(driver, np.random.default_rng(0), Metric.L2)
    raw = CORPUS.from_bytes(driver.bus.read_memory(corpus.place.address, CORPUS.bytes))
    assert raw["base"] % (4 * 4096) == 0
