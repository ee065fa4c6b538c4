"""Static caches, prefetches and updates of a whole device: answers stay, counters tell."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.compile import compile_models
from rpaccel.host.pinned_traces import PinLoads, pinned_rows
from rpaccel.host.row_pins import Pins, pin_sections, profile_rows
from rpaccel.host.row_simulator import loads_of
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status, Target
from rpaccel.spec.stripe import bank_of
from rpaccel.workloads.random_models import random_ranker

CACHED = load_accelerator("tiny").model_copy(
    update={
        "name": "cached", "row_banks": 2, "stripe_bytes": 128, "row_cache_sets": 16,
        "static_cache_lines": 24, "static_cache_sets": 32, "static_cache_ways": 2,
    }
)  # fmt: skip
PIN_TARGETS = (Target.PIN_ENTRY, Target.PIN_LINE)


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


def golden_hits(session, queries):
    """Per bank, the beats that the golden stages name and that the image pins."""
    sections = [s for s in session.compiled.sections if s.target in PIN_TARGETS]
    loads = PinLoads(loads=loads_of(sections), split=session.compiled.static_split)
    found = pinned_rows(CACHED, loads).addresses
    tables = {(table.model, table.feature): table for table in session.compiled.tables}
    hits = [0] * CACHED.banks
    for query in queries:
        for stage, scores in enumerate(run_query(query, session.rankers, CACHED).stages):
            counts = profile_rows(session.rankers, [replace(query, candidates=scores.ids)])
            for (model, feature, row), count in counts[stage].items():
                table = tables[model, feature]
                start = table.address + row * table.row_bytes
                for address in range(start, start + table.row_bytes, CACHED.beat_bytes):
                    hits[bank_of(CACHED, address)] += count * (address in found[stage])
    return hits


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


@pytest.mark.slow
def test_a_bank_that_is_not_loaded_pins_nothing(library):
    found = {}
    for banks in (0, 1, 2):
        with VerilatedDevice(CACHED, memory_bytes=MEMORY_BYTES, library=library) as device:
            first = Session(device, CACHED, seed=27)
            queries = [first.query(items=40)[0] for _ in range(3)]
            everything = popular(first.rankers, queries, 12)
            Session(device, CACHED, seed=27, pins=everything)  # forgotten by the next LOAD
            begin = device.cycles
            pins = replace(everything, banks=banks) if banks else None
            session = Session(device, CACHED, seed=27, pins=pins)
            load_cycles = device.cycles - begin
            before = [bank["pinned"] for bank in session.driver.row_counters()]
            for query in queries:
                session.check(session.ask(session.request(query)), query)
            after = [bank["pinned"] for bank in session.driver.row_counters()]
            found[banks] = load_cycles, np.subtract(after, before).tolist()
            assert found[banks][1] == (golden_hits(session, queries) if pins else [0, 0])
    (bare, _), (one, part), (both, whole) = found.values()
    assert part == [whole[0], 0]
    assert min(whole) > 0
    words = CACHED.pin_line_parts + 2 * CACHED.pin_entries  # of a bank's part of the image
    assert one - bare == pytest.approx(words, rel=0.15)
    assert both - one == pytest.approx(words, rel=0.15)


def test_pins_of_one_bank():
    first = Session(SoftwareDevice(CACHED, MEMORY_BYTES), CACHED, seed=27)
    query, _ = first.query(items=40)
    pins = popular(first.rankers, [query], 12)
    device = SoftwareDevice(CACHED, MEMORY_BYTES)
    whole, part = (
        Session(device, CACHED, seed=27, pins=replace(pins, banks=banks)) for banks in (2, 1)
    )
    assert whole.compiled.image == compile_models(first.rankers, CACHED, pins=pins).image
    part.check(part.ask(part.request(query)), query)
    for target, words in ((Target.PIN_ENTRY, 2), (Target.PIN_LINE, 1)):
        loads, of_part = (
            section.payload
            for each in (whole, part)
            for section in each.compiled.sections
            if section.target is target
        )
        entries = CACHED.pin_entries if target is Target.PIN_ENTRY else CACHED.pin_line_parts
        assert len(of_part) == 8 * words * entries
        assert of_part == loads[: len(loads) // 2]
    told = part.compiled.manifest["static_caches"]
    of_all = whole.compiled.manifest["static_caches"]
    assert (told["banks"], of_all["banks"]) == (1, 2)
    assert 0 < sum(told["pinned_beats"]) < sum(of_all["pinned_beats"])
    beats = [
        np.add(each["pinned_beats"], each["left_out_beats"]).tolist() for each in (told, of_all)
    ]
    assert beats[0] == beats[1]


def test_bad_pins():
    config = CACHED
    with pytest.raises(ValueError, match=r"split must be in 0\.\.24, not 25"):
        pin_sections(config, 25, [{}, {}])
    for banks in (0, 3):
        with pytest.raises(ValueError, match=rf"^banks must be in 1\.\.2, not {banks}$"):
            pin_sections(config, 12, [{}, {}], banks)
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
