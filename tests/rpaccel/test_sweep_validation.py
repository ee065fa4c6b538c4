"""Points of a sweep beside the netlist: drawing, hit rates, the page."""

from dataclasses import replace
from inspect import signature

import numpy as np
import pytest

from rpaccel import page_verbs
from rpaccel.main_job import sweep_session
from rpaccel.main_job.error_cells import error_cells
from rpaccel.main_job.sweep_causes import cause, load_cause
from rpaccel.main_job.sweep_hits import CountedHits, SampledHits
from rpaccel.main_job.sweep_machines import SWEEP_MACHINES, sweep_machine
from rpaccel.main_job.sweep_page import level_errors, sweep_text
from rpaccel.main_job.sweep_session import ITEMS, SweepSession
from rpaccel.main_job.sweep_validation import (
    LoadPoint,
    SweepPoint,
    sweep_rates,
    table_addresses,
    validate_sweep,
)
from rpaccel.main_job.validation import ValidationPoint
from rpaccel.main_job.validation_ceilings import (
    CEILINGS,
    DEFAULTS,
    FEW,
    FEW_CEILINGS,
    error_sizes,
    exceeded,
    require_defaults,
)
from rpaccel.main_job.validation_page import validation_text
from rpaccel.perfmodel.report import UNIT_FIELDS
from rpaccel.spec.stage_tasks import StageTasks

POINT = SweepPoint(
    machine="quarters", session=0, query=0, latency=20, items=300, k=40, front_sub_batch=16,
    back_sub_batch=8, front_task=64, back_task=0, measured=1000, analytic=1100, event=990,
    analytic_own=1080, event_own=1003, front=(600, 700, 580), back=(400, 390, 410),
    units={name: ((100, 90), (40, 50)) for name in UNIT_FIELDS}, hits=(0.5, 0.25),
    shares=(0.4, 0.45), event_s=0.01, traced=(1001, 598, 403), read=(70, 72), traced_s=0.02,
    traced_steps=60,
)  # fmt: skip
LOAD = LoadPoint(
    machine="quarters",
    session=0,
    latency=20,
    measured=2000,
    event=1900,
    totals=((900, 990), (500, 470)),
    ends=((2000, 1900), (1500, 1400)),
    traced=2020,
    traced_totals=(909, 500),
)

NONE = np.zeros(0)
RATES = {
    "records": 250.0, "means": 100.0, "cycles": 1e6, "analytic": 1e6, "event": 50.0, "told": 90.0,
    "told steps": 12_345.0, "told cycles": 3.25e6,
}  # fmt: skip


def known(query, records, means):
    return ValidationPoint(
        machine="tiny", session=0, query=query, unit="query", stage=0, items=9, latency=8,
        measured=1000, records=records, means=means,
    )  # fmt: skip


def test_errors_by_hand():
    assert error_cells([110, 95], [100, 100]) == [
        "2", "2.50", "7.50", "7.50", "9.75", "10.00", "-"
    ]  # fmt: skip
    assert error_cells([], [])[0] == "0"
    assert error_cells([110, 190], [100, 200])[-1] == "1.000000"
    points = [POINT, replace(POINT, analytic=950)]
    np.testing.assert_allclose(level_errors(points, "analytic"), [0.1, -0.05])
    assert level_errors([], "event").shape == (0,)


def test_the_page_says_the_worst_of_each_level_first():
    worse = replace(POINT, session=3, analytic=1500, front_task=0)
    late = replace(POINT, session=4, event=1300)
    text = sweep_text([POINT, late, worse], [LOAD, replace(LOAD, machine="whole")], NONE)
    analytic, event = text.split("### Worst cases of")[1:]
    assert analytic.index("50.00") < analytic.index("10.00")
    assert event.index("30.00") < event.index("-1.00")
    assert "1 loads of" in text  # one lane is none of several
    loads = text.split("## Queries at once")[1]
    assert "-5.00" in loads
    queries = loads.split("### Worst queries")[1]
    assert queries.index(" 10.00 |") < queries.index(" -6.00 |")


def test_the_page_tells_stages_and_units():
    text = sweep_text([POINT, replace(POINT, front=(600, 720, 606))], [], NONE)
    rows = [[cell.strip() for cell in line.split("|")[1:6]] for line in text.splitlines()]
    assert ["front", "analytic", "2", "18.33", "18.33"] in rows
    assert ["front", "event", "2", "-1.17", "2.17"] in rows
    assert ["back", "event", "2", "2.50", "2.50"] in rows
    assert ["front, gather", "event", "2", "-10.00", "10.00"] in rows
    assert ["back, filter", "event", "2", "25.00", "25.00"] in rows


def test_the_page_tells_how_far_off_it_is_that_knows_the_records():
    text = sweep_text(
        [POINT, replace(POINT, machine="whole", traced=(1000, 600, 400))], [LOAD], NONE
    )
    told = text.split("### Told its records")[1].split("### Stages")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()]
    assert ["all", "query, cycles", "2", "0.05", "0.05"] in [row[:5] for row in rows]
    assert [row[-1] for row in rows if row[:2] == ["quarters", "query, cycles"]] == ["1 of 1000"]
    assert [row[-1] for row in rows if row[:2] == ["all", "front, cycles"]] == ["2 of 1200"]
    assert [row[-1] for row in rows if row[:2] == ["whole", "back, cycles"]] == ["0 of 400"]
    assert [row[-1] for row in rows if row[:2] == ["all", "rows, beats read"]] == ["4 of 140"]
    assert (
        "* `event`, told its records: 0.05 % mean (kept: 0.25 %) and 0.10 % worst (kept: 2 %)\n"
        in told
    )
    loads = [line.split("|")[2:5] for line in text.split("## Queries at once")[1].splitlines()]
    cells = [[cell.strip() for cell in row] for row in loads]
    assert ["told records, all", "1", "1.00"] in cells
    assert ["told records, each", "2", "0.50"] in cells


def test_the_page_tells_what_errors_are_left_with_the_right_share_of_hits():
    text = sweep_text([POINT], [], NONE)
    own = text.split("### Told its own hits")[1]
    assert (
        "* `analytic`, told its own hits: 8.00 % mean (missed: 2 %) and 8.00 % worst (kept: 10 %)\n"
        "* `event`, told its own hits: 0.30 % mean (missed: 0.25 %) and 0.30 % worst (kept: 2 %)\n"
    ) in own


@pytest.mark.parametrize(
    ("changes", "level", "found"),
    [
        ({"event_own": 994}, "event", "front: 4 lanes at once"),
        ({"event_own": 996}, "event", "told share of hits"),
        ({"event_own": 994, "back": (400, 390, 379)}, "event", "back: gather of one lane"),
        ({"event_own": 994, "front_task": 150}, "event", "front: 2 lanes at once"),
        ({"event_own": 994, "front_task": 0}, "event", "front: gather of one lane"),
        ({"event_own": 994, "machine": "front_and_back"}, "event", "front: 2 lanes at once"),
        ({}, "analytic", "tasks as `analytic` follows them"),
        ({"analytic_own": 1049}, "analytic", "told share of hits"),
        ({"event": 1051}, "analytic", "front: 4 lanes at once"),
    ],
)
def test_causes_are_computed(changes, level, found):
    assert cause(replace(POINT, **changes), level) == found


def test_a_query_of_a_load_that_is_overtaken():
    ends = ((10, 11), (30, 20), (20, 30), (40, 41))
    load = replace(LOAD, ends=ends, totals=ends)
    assert [load_cause(load, query) for query in range(4)] == [
        "2 others change places", "is overtaken", "ends earlier in its turn",
        "2 others change places",
    ]  # fmt: skip
    assert load_cause(LOAD, 0) == "no other order"


def test_ceilings_are_exceeded_or_not():
    sweep = [POINT, replace(POINT, analytic=1050), LOAD]
    sizes = error_sizes([known(0, 1000, 900)], sweep)
    assert sizes["analytic"] == pytest.approx((0.075, 0.1))
    assert sizes["event_own"] == pytest.approx((0.003, 0.003))
    assert sizes["loads"] == pytest.approx((0.05, 0.05))
    assert sizes["told"] == pytest.approx((0.001, 0.001))
    assert sizes["told loads"] == pytest.approx((0.01, 0.01))
    assert sizes["records"] == (0.0, 0.0) and sizes["means"] == pytest.approx((0.1, 0.1))
    assert exceeded(sizes, {"analytic": (0.08, 0.11), "records": (0.0, 0.0)}) == []
    assert exceeded(sizes, {"analytic": (0.07, 0.09), "loads": (0.06, 0.04)}) == [
        "analytic: the mean error must be at most 7.00 %, not 7.50 %",
        "analytic: the worst error must be at most 9.00 %, not 10.00 %",
        "loads: the worst error must be at most 4.00 %, not 5.00 %",
    ]
    assert set(error_sizes([], [])) == set()
    assert exceeded({}, {"loads": (0.06, 0.04)}) == [
        "loads: errors must be compared with the ceiling, not none"
    ]
    assert set(FEW_CEILINGS) < set(CEILINGS) < set(sizes)


def test_counted_misses_are_told_to_both_stages_in_proportion():
    class Told:
        def rates(self, key):
            return 0.8, 0.5

        def skews(self, key):
            return 1.5, 1.25

    hits = CountedHits(Told(), 1.5)
    assert hits.rates(()) == pytest.approx((0.7, 0.25))
    assert CountedHits(Told(), 3.0).rates(()) == pytest.approx((0.4, 0.0))
    assert hits.skews(()) == (1.5, 1.25)


def test_a_check_needs_the_defaults():
    verb = signature(page_verbs.validate).parameters
    assert {name: verb[name].default for name in DEFAULTS} == DEFAULTS
    require_defaults(DEFAULTS)
    with pytest.raises(ValueError, match=r"^seed must be 1, the default, with --check, not 2$"):
        require_defaults(DEFAULTS | {"seed": 2})
    with pytest.raises(ValueError, match=r"^sessions must be 12, the default, with --check, not 0"):
        page_verbs.validate(sessions=0, check=True)


@pytest.mark.slow
def test_the_models_keep_their_ceilings_beside_the_netlist():
    """A machine and few sessions of `rpaccel validate`, with its seed."""
    points = list(validate_sweep(*FEW, 1))
    sizes = error_sizes([], points)
    assert set(FEW_CEILINGS) <= set(sizes)
    assert exceeded(sizes, FEW_CEILINGS) == []


def test_the_page_says_what_is_kept_and_what_is_missed():
    points = [replace(POINT, analytic=1090), replace(POINT, analytic=1005, event=1001)]
    text = sweep_text(points, [], np.array([0.0, -0.0001]))
    assert "* `analytic`: 4.75 % mean (missed: 2 %) and 9.00 % worst (kept: 10 %)\n" in text
    assert "* `event`: 0.55 % mean (missed: 0.25 %) and 1.00 % worst (kept: 2 %)\n" in text
    assert "* *records* above: 0.01 % mean (kept: 0.25 %) and 0.01 % worst (kept: 2 %)\n" in text
    assert "*records* above" not in sweep_text(points, [], NONE)


def test_the_page_says_what_the_worst_cases_have_in_common():
    other = replace(
        POINT, machine="whole", analytic=700, event=600, analytic_own=700, event_own=600,
        front_task=0, shares=(0.1, 0.3),
    )  # fmt: skip
    text = sweep_text([POINT, POINT, other], [], NONE)
    analytic, event = text.split("### Worst cases of")[1:]
    assert (
        "Of these 3, 1 are too short; by cause: 2 by *tasks as `analytic` follows them*, "
        "1 by *front: gather of one lane*.\n" in analytic
    )
    assert "Of these 3, 3 are too short; by cause: " in event
    assert "2 points whose lanes may read at once by 10.00 % (`analytic`) and 1.00 %" in text
    assert "; 1 points on one lane by 30.00 % (`analytic`) and 40.00 % (`event`).\n" in text
    queries = [known(0, 1000, 900), known(1, 1000, 1200), known(2, 1000, None)]
    page = validation_text(queries, [POINT], RATES, "speed.png")
    assert "Of these 2, 1 are too short; 2 on *tiny*." in page
    assert "MAESTRO 170,000, SCALE-Sim 3 0.006 to 0.4," in page
    assert (
        "told its records 90, which is 3.2 million cycles and 12,345 events of sub-batches "
        "(missed: 200,000)" in page
    )
    cells = [line.split()[1:6:2] for line in page.splitlines()]
    assert ["query", "records", "3"] in cells and ["query", "means", "2"] in cells


def test_the_rate_of_events_is_of_all_points(monkeypatch):
    """Not of the median: a few slow points are as slow in a sweep."""
    monkeypatch.setattr("rpaccel.main_job.sweep_validation.RATE_POINTS", 1)
    seconds = (9.0, 0.01, 0.01, 0.07)  # code is compiled in the first
    points = [replace(POINT, event_s=each, traced_s=2 * each) for each in seconds]
    rates = sweep_rates([*points, LOAD])
    assert rates["event"] == pytest.approx(3 / 0.09)
    assert rates["told"] == pytest.approx(3 / 0.18)
    assert rates["told steps"] == pytest.approx(180 / 0.18)
    assert rates["told cycles"] == pytest.approx(3003 / 0.18)
    assert sweep_rates([LOAD]) == {}


def test_machines_are_those_of_sweeps():
    for name, machine in SWEEP_MACHINES.items():
        assert machine.config.lanes == len(machine.partition) == len(machine.places)
        assert sweep_machine(name) is machine
    with pytest.raises(ValueError, match=r"^machine must be one of whole, .*, not 'none'$"):
        sweep_machine("none")


def test_sessions_are_the_same_for_a_seed():
    machine = sweep_machine("quarters")
    one, same, other = (SweepSession(machine, seed, 1) for seed in (1, 1, 2))
    assert [each.dealing for each in one.alone] == [each.dealing for each in same.alone]
    assert [each.dealing for each in one.alone] != [each.dealing for each in other.alone]
    for mine, theirs in zip(one.load, same.load, strict=True):
        np.testing.assert_array_equal(mine.query.features, theirs.query.features)
    assert all(ITEMS[0] <= each.dealing.items <= ITEMS[1] for each in one.alone)
    front, back = one.sub_batches(one.alone[0].dealing)
    assert front >= 1 and back >= 1


def sampled(session, config, addresses=None):
    """Return the hits of a session. addresses : of all tables; None: where they are."""
    places = table_addresses(session)
    if addresses is not None:
        places = tuple(dict.fromkeys(place, addresses) for place in places)
    return SampledHits(
        session.rankers, session.samples, session.profiles, config, (512, 128), places
    )  # fmt: skip


def test_hit_rates_grow_with_the_caches():
    session = SweepSession(sweep_machine("whole"), 1, 0)
    hits = sampled(session, session.config)
    none, small, large, pinned = (
        hits.rates(key)
        for key in ((32, 0, 50, 0, 2), (32, 0, 50, 1, 2), (32, 0, 50, 64, 2), (32, 64, 50, 1, 2))
    )
    assert none == (0.0, 0.0)
    assert 0 < small[0] < large[0] < 1 and small[1] < large[1]
    assert pinned[0] > small[0]


def test_hit_rates_depend_on_the_machines_reads_in_flight():
    """Lines that wait for memory are never replaced: more of them, more rows that are not kept."""
    session = SweepSession(sweep_machine("whole"), 1, 0)

    def rates(reads):
        config = session.config.model_copy(update={"reads_in_flight": reads})
        return sampled(session, config).rates((32, 0, 50, 1, 2))

    assert rates(session.config.reads_in_flight) != rates(1)


def test_banks_are_as_uneven_as_the_stripes_are_long():
    """Tables in one stripe are in one bank; bank 1 of two, or bank 0."""
    session = SweepSession(sweep_machine("whole"), 1, 0)
    key = (32, 0, 50, 1, 2)

    def skews(stripe_bytes, addresses=None):
        config = session.config.model_copy(update={"stripe_bytes": stripe_bytes})
        return sampled(session, config, addresses).skews(key)

    assert skews(1 << 22, 0) == skews(1 << 22, 1 << 22) == (2.0, 2.0)
    even = skews(32)
    assert all(1 <= each < 1.2 for each in even)
    assert all(each >= 1 for each in skews(session.config.stripe_bytes))


def test_what_was_measured_is_kept_by_all_that_the_device_is_told(tmp_path, monkeypatch):
    def session():
        return SweepSession(sweep_machine("front_and_back"), 1, 0)

    def run():
        return sweep_session.measured_session(changed, tmp_path / "made" / "device.so", tmp_path)

    asked = []

    def measure(session, _):
        asked.append(session)
        number = len(asked)
        return [{"entered": number, "total": 1, "front": 1, "back": 1, "units": {}}] * 12

    monkeypatch.setattr(sweep_session, "_measure", measure)
    changed = session()
    assert run()[0][0].entered == run()[0][0].entered == 1
    changed.latency += 1  # of the memory
    assert run()[0][0].entered == 2
    changed = session()
    changed.machine = replace(changed.machine, places=((1, 1), (0, 1), (1, 0)))
    assert run()[0][0].entered == 3
    changed = session()
    changed.load[-1].query.features[0, 0] ^= 1
    assert run()[0][0].entered == 4
    changed = session()
    tasks = (StageTasks(task_items=8), StageTasks())
    changed.alone[0] = replace(
        changed.alone[0], query=replace(changed.alone[0].query, tasks=tasks)
    )  # fmt: skip
    assert run()[0][0].entered == 5
    changed = session()
    table = changed.images[0].tables[0]
    changed.images[0] = replace(
        changed.images[0],
        tables=(replace(table, values=0 * table.values), *changed.images[0].tables[1:]),
    )
    assert run()[0][0].entered == 6
    monkeypatch.setattr(sweep_session, "source_digest", lambda rooms: "another driver")
    assert run()[0][0].entered == 7
