"""Static caches, prefetches and updates of a whole device: answers stay, counters tell."""

import numpy as np
import pytest

from rpaccel.host.compile import compile_models
from rpaccel.host.row_pins import Pins, pin_sections, profile_rows
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from rpaccel.workloads.random_models import random_ranker

CACHED = load_accelerator("tiny").model_copy(
    update={
        "name": "cached", "row_banks": 2, "stripe_bytes": 128, "row_cache_sets": 16,
        "static_cache_lines": 24, "static_cache_sets": 32, "static_cache_ways": 2,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def library():
    return build_simulator(CACHED)


@pytest.fixture
def device(library):
    with VerilatedDevice(CACHED, memory_bytes=MEMORY_BYTES, library=library) as device:
        yield device


def totals(session):
    banks = session.driver.row_counters()
    return {name: sum(bank[name] for bank in banks) for name in banks[0]}


def popular(rankers, queries, split):
    counts = profile_rows(rankers, queries)
    return Pins(split=split, rows=tuple([name for name, _ in c.most_common()] for c in counts))


@pytest.mark.slow
@pytest.mark.parametrize("split", [0, 12, 24])
def test_pinned_rows_are_answered_without_memory(device, split):
    first = Session(device, CACHED, seed=21)
    queries = [first.query(items=40)[0] for _ in range(4)]
    session = Session(device, CACHED, seed=21, pins=popular(first.rankers, queries, split))
    assert session.driver.row_counters()[0]["pinned"] == first.driver.row_counters()[0]["pinned"]
    before = totals(session)
    for query in queries:
        session.check(session.ask(session.request(query)), query)
    after = totals(session)
    assert after["pinned"] > before["pinned"]
    pinned = session.compiled.manifest["static_caches"]["pinned_beats"]
    assert (pinned[0] > 0, pinned[1] > 0) == (split > 0, split < 24)


@pytest.mark.slow
def test_the_split_moves_while_queries_run(device):
    first = Session(device, CACHED, seed=22)
    queries = [first.query(items=30)[0] for _ in range(3)]
    session = Session(device, CACHED, seed=22, pins=popular(first.rankers, queries, 12))
    shares = []
    for lines in (12, 0, 24, 5, 12):
        session.driver.split_static_caches(lines)
        before = totals(session)
        for query in queries:
            session.check(session.ask(session.request(query)), query)
        after = totals(session)
        shares.append(after["pinned"] - before["pinned"])
    assert shares[0] == shares[4] and shares[0] >= shares[3] > 0
    assert shares[0] > max(shares[1], shares[2])
    with pytest.raises(ValueError, match=r"lines must be in 0\.\.24, not 25"):
        session.driver.split_static_caches(25)


@pytest.mark.slow
def test_a_load_without_pins_forgets_them(device):
    first = Session(device, CACHED, seed=23)
    queries = [first.query(items=30)[0] for _ in range(2)]
    Session(device, CACHED, seed=23, pins=popular(first.rankers, queries, 12))
    session = Session(device, CACHED, seed=24)
    before = totals(session)
    session.run([40, 40])
    assert totals(session)["pinned"] == before["pinned"]


@pytest.mark.slow
def test_updates_reach_pinned_rows(device):
    first = Session(device, CACHED, seed=25)
    queries = [first.query(items=40)[0] for _ in range(2)]
    pins = popular(first.rankers, queries, 12)
    session = Session(device, CACHED, seed=25, pins=pins, update_depth=4)
    rng = np.random.default_rng(1)
    tickets = []
    for version, (model, name, row) in enumerate([*pins.rows[0][:20], *pins.rows[1][:20]], 1):
        ranker = next(r for r in session.rankers if r.name == model)
        table = next(f for f in ranker.features if f.name == name).table
        table[row] = rng.integers(-127, 128, ranker.dim)
        tickets.append(session.driver.submit_update(
            session.update_of(model, name, row, version)
        ))  # fmt: skip
    assert {session.driver.wait_update(ticket) for ticket in tickets} == {Status.OK}
    before = totals(session)
    for query in queries:
        session.check(session.ask(session.request(query)), query)
    assert totals(session)["pinned"] > before["pinned"]


@pytest.mark.slow
def test_rows_are_read_ahead_and_used(library):
    """The same queries with and without prefetches: equal answers, fewer reads that miss."""
    found = {}
    for prefetch in (False, True):
        with VerilatedDevice(CACHED, memory_bytes=MEMORY_BYTES, library=library) as device:
            session = Session(device, CACHED, seed=26, prefetch=prefetch)
            for items in (64, 64, 40, 64, 1, 2):  # a query at a time has the cache for itself
                query, request = session.query(items=items)
                session.check(session.ask(request), query)
            found[prefetch] = totals(session)
    without, ahead = found[False], found[True]
    assert all(without[name] == 0 for name in ("prefetches", "dropped", "used", "late", "unused"))
    assert ahead["prefetches"] > 0 and ahead["used"] > 0
    assert ahead["used"] + ahead["unused"] <= ahead["prefetches"]
    assert ahead["misses"] + ahead["refused"] < without["misses"] + without["refused"]


def test_bad_pins():
    config = CACHED
    with pytest.raises(ValueError, match=r"split must be in 0\.\.24, not 25"):
        pin_sections(config, 25, [{}, {}])
    none = config.model_copy(update={"static_cache_lines": 0})
    with pytest.raises(ValueError, match="static_cache_lines must be at least 1 to pin rows"):
        pin_sections(none, 0, [{}, {}])
    ranker = random_ranker(np.random.default_rng(1), config, name="small")
    rows = ([("small", ranker.features[0].name, 10**6)], [])
    with pytest.raises(ValueError, match="pins must name rows of the models, not small"):
        compile_models([ranker], config, pins=Pins(split=1, rows=rows))


def test_rows_of_other_lanes_are_pinned():
    rng = np.random.default_rng(2)
    other = compile_models([random_ranker(rng, CACHED, name="other")], CACHED)
    ranker = random_ranker(rng, CACHED, name="small")
    pins = Pins(split=12, rows=([], [("other", other.tables[0].feature, 0)]))
    with pytest.raises(ValueError, match="pins must name rows of the models, not other"):
        compile_models([ranker], CACHED, base=other.limit, pins=pins)
    compiled = compile_models([ranker], CACHED, base=other.limit, pins=pins, beside=[other])
    beats = -(-other.tables[0].row_bytes // CACHED.beat_bytes)
    assert compiled.manifest["static_caches"]["pinned_beats"] == [0, beats]
