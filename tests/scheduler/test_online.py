from dataclasses import replace

import numpy as np
import pytest

from rpaccel.scheduler.arrivals import (
    burst_arrivals_s,
    diurnal_arrivals_s,
    diurnal_rate_qps,
    poisson_arrivals_s,
)
from rpaccel.scheduler.online import Controller, Hysteresis, build_ladder, known_rate
from rpaccel.scheduler.online_ladder import Ladder, Option, Rung
from rpaccel.scheduler.online_node import serve_online, serve_static
from rpaccel.scheduler.queueing import Station, finish_times_s

SLA_S = 0.025


def option(name, quality, servers, times, *, partition=None, devices=("array",), change_s=1e-3):
    return Option(
        name=name,
        quality=quality,
        partition=partition or name,
        devices=frozenset(devices),
        change_s=change_s,
        stations=tuple(
            Station(name=str(n), servers=count, service_s=time)
            for n, (count, time) in enumerate(zip(servers, times, strict=True))
        ),
    )


GOOD = option("good", 0.9, (2, 2), (0.004, 0.005))
FAST = option("fast", 0.8, (8, 4), (0.008, 0.002))
SMALL = option("small", 0.7, (8, 4), (0.004, 0.001), partition="fast")


@pytest.fixture(scope="module")
def ladder():
    return build_ladder([FAST, GOOD, SMALL], SLA_S, queries=20_000)


def sequence(rungs):
    """Return a choice that says one rung after the other."""
    left = list(rungs)
    return lambda _now, _arrived, _waiting: left.pop(0) if len(left) > 1 else left[0]


def busy_before(start_s, service_s):
    """Return how many that started before are still served when each starts; starts ascend."""
    ended = np.searchsorted(np.sort(start_s + service_s), start_s + 1e-9, side="right")
    return np.arange(start_s.size) - ended


def test_servers_that_are_busy_by_hand():
    starts, times = np.asarray([0.0, 1.0, 2.0, 2.5]), np.asarray([2.0, 5.0, 1.0, 1.0])
    assert busy_before(starts, times).tolist() == [0, 1, 1, 2]


def test_ladder_is_by_quality(ladder):
    assert [rung.option.name for rung in ladder.rungs] == ["good", "fast", "small"]
    limits = [rung.limit_qps for rung in ladder.rungs]
    assert limits == sorted(limits)
    # Saturation: two servers of 5 ms, eight of 8 ms, eight of 4 ms. All below it.
    for limit, most in zip(limits, (400, 1000, 2000), strict=True):
        assert 0.5 * most < limit < most
    assert ladder.best(0) == 0
    assert ladder.best(limits[0] * 1.001) == 1
    assert ladder.best(1e9) == ladder.largest == 2


def test_what_misses_the_sla_alone_is_dropped():
    slow = option("slow", 0.99, (1,), (0.03,))
    ladder = build_ladder([slow, GOOD], SLA_S, queries=2000)
    assert [rung.option for rung in ladder.rungs] == [GOOD]
    assert ladder.dropped == (slow,)
    with pytest.raises(ValueError, match=r"^sla_s must leave time for the fastest option, 0\.03"):
        build_ladder([slow], SLA_S)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_static_choice_is_the_queueing_simulation(ladder, place):
    arrivals = poisson_arrivals_s(5000, 390, 3)
    run = serve_static(ladder, place, arrivals)
    finish, waits = finish_times_s(arrivals, ladder.rungs[place].option.stations)
    assert np.array_equal(run.finish_s, finish)
    assert np.allclose(run.start_s - arrivals, waits[0])
    assert run.changes == ((0.0, place),)
    of = ladder.rungs[place].option.quality
    assert run.quality == pytest.approx(of * np.mean(finish - arrivals <= SLA_S))
    assert run.late == pytest.approx(np.mean(finish - arrivals > SLA_S))


@pytest.mark.parametrize("shed", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_lost_or_served_twice(ladder, seed, shed):
    arrivals = diurnal_arrivals_s(20_000, 900, seed, swing=0.8)
    rungs = np.random.default_rng(seed).integers(3, size=4000)
    run = serve_online(replace(ladder, shed=shed), sequence(rungs), arrivals, 0.05)
    assert len(run.changes) > 100
    started = np.isfinite(run.finish_s)
    assert shed or started.all()
    assert np.all(np.diff(run.start_s) >= 0)
    assert np.all(run.start_s >= arrivals)
    idle = np.asarray([rung.option.idle_s for rung in ladder.rungs])[run.rung]
    assert np.all(run.finish_s[started] - run.start_s[started] >= idle[started] - 1e-12)
    if shed:
        assert run.in_time[started].all()
    # No more queries at once than the first station of the split in force has servers.
    service = np.asarray([rung.option.stations[0].service_s for rung in ladder.rungs])[run.rung]
    split = np.asarray([rung.option.partition for rung in ladder.rungs])[run.rung]
    for rung in ladder.rungs:
        mine = started & (split == rung.option.partition)
        before = busy_before(run.start_s[mine], service[mine])
        assert before.max() == rung.option.servers[0] - 1  # all are busy at some time, never more


def test_a_split_changes_when_its_device_is_idle(ladder):
    arrivals = poisson_arrivals_s(20_000, 700, 0)
    run = serve_online(ladder, sequence(range(0, 3000)), arrivals[:1], 1.0)
    assert run.changes == ((0.0, 0),)
    rungs = [n % 2 for n in range(2000)]
    run = serve_online(ladder, sequence(rungs), arrivals, 0.5)
    assert len(run.changes) > 40
    switches = np.flatnonzero(np.diff(run.rung))
    assert switches.size > 40
    for last in switches:
        ends = run.finish_s[: last + 1].max()
        assert run.start_s[last + 1] >= ends + GOOD.change_s - 1e-12


def test_a_change_within_a_split_waits_for_nothing(ladder):
    arrivals = np.linspace(0, 10, 5001)  # half of what `fast` can do
    rungs = [1 + n % 2 for n in range(2000)]
    run = serve_online(ladder, sequence(rungs), arrivals, 0.01, first=1)
    assert len(run.changes) > 500
    assert run.start_s == pytest.approx(arrivals)


def test_other_devices_go_on_at_once():
    here = option("here", 0.9, (1,), (0.02,), devices=("gpu",), change_s=0.0)
    there = option("there", 0.8, (1,), (0.001,), devices=("cpu",), change_s=0.0)
    ladder = build_ladder([here, there], 1.0, queries=2000)
    arrivals = np.asarray([0.0, 0.001, 0.002, 0.004, 0.006])
    run = serve_online(ladder, sequence([1, 0]), arrivals, 0.003)
    assert list(run.rung) == [0, 1, 1, 1, 0]
    # Those that wait for the GPU begin on the CPU at the change; the GPU's query ends meanwhile.
    assert run.start_s == pytest.approx([0.0, 0.003, 0.004, 0.005, 0.02])
    assert run.finish_s[0] == pytest.approx(0.02)


def test_controller_sees_the_past_only(ladder):
    """What comes after a time does not change what was decided by then."""
    arrivals = diurnal_arrivals_s(60_000, 700, 5, swing=0.8, days=3)
    guard = Hysteresis(tick_s=0.1, window=500, dwell=2000)
    half = arrivals[:30_000]
    other = np.concatenate([half, half[-1] + poisson_arrivals_s(30_000, 3000, 9)])
    runs = [
        serve_online(ladder, Controller(ladder=ladder, hysteresis=guard), trace, guard.tick_s)
        for trace in (arrivals, other)
    ]
    before = [[c for c in run.changes if c[0] <= half[-1]] for run in runs]
    assert len(before[0]) > 2
    assert before[0] == before[1]
    assert runs[0].changes != runs[1].changes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.9, 0.95, 1.0, 1.05])
def test_no_flapping_at_a_threshold(ladder, seed, share):
    load = share * ladder.rungs[0].limit_qps
    arrivals = poisson_arrivals_s(100_000, load, seed)
    guard = Hysteresis(tick_s=0.1)
    run = serve_online(ladder, Controller(ladder=ladder, hysteresis=guard), arrivals, guard.tick_s)
    assert len(run.changes) - 1 <= 2  # of the ten that the rest would allow


def test_without_hysteresis_it_does_flap(ladder):
    arrivals = poisson_arrivals_s(100_000, ladder.rungs[0].limit_qps, 0)
    # One device each and no cost: a change is free, and margins and rest are all that hold it back.
    free = [
        replace(r.option, change_s=0.0, devices=frozenset({r.option.name})) for r in ladder.rungs
    ]
    easy = Ladder(
        rungs=tuple(replace(r, option=o) for r, o in zip(ladder.rungs, free, strict=True)),
        sla_s=SLA_S,
    )
    changes = []
    for guard in (
        Hysteresis(tick_s=0.1, up=0.0, down=0.0, dwell=0),
        Hysteresis(tick_s=0.1, up=0.0, down=0.0),
        Hysteresis(tick_s=0.1),
    ):
        controller = Controller(ladder=easy, hysteresis=guard)
        changes.append(len(serve_online(easy, controller, arrivals, 0.1).changes) - 1)
    assert changes[0] > 20 > changes[1] >= changes[2]
    assert changes[2] <= 1


def test_a_change_must_pay_for_itself():
    dear = option("dear", 0.81, (2, 2), (0.004, 0.005), change_s=0.5)
    rungs = (Rung(option=dear, limit_qps=300), Rung(option=FAST, limit_qps=900))
    for change_s, changes in ((5.0, 0), (0.0, 1)):
        cheap = replace(dear, change_s=change_s)
        ladder = Ladder(rungs=(replace(rungs[0], option=cheap), rungs[1]), sla_s=SLA_S)
        controller = Controller(ladder=ladder, hysteresis=Hysteresis(tick_s=0.1), rung=1)
        arrivals = poisson_arrivals_s(50_000, 200, 0)
        run = serve_online(ladder, controller, arrivals, 0.1, first=1)
        assert len(run.changes) - 1 == changes


def test_changes_follow_each_other():
    """A change that is asked for while another is made begins when that one has ended."""
    slow = [option(name, 0.9, (4,), (0.001,), change_s=2.0) for name in "abc"]
    ladder = build_ladder(slow, 1.0, queries=2000)
    run = serve_online(ladder, sequence([1, 2]), np.asarray([0.0, 1.6, 2.0]), 0.5)
    assert run.changes == ((0.0, 0), (0.5, 1), (1.0, 2))
    assert list(run.rung) == [0, 2, 2]
    assert run.start_s == pytest.approx([0.0, 4.5, 4.5])


def test_better_pipelines_come_one_a_dwell(ladder):
    rates = ((5000, 1000.0), (100, 500.0), (30_000, 150.0))
    gaps = np.concatenate([np.full(count, 1 / rate) for count, rate in rates])
    guard = Hysteresis(tick_s=0.05, window=50, dwell=5000)
    controller = Controller(ladder=ladder, hysteresis=guard, rung=2)
    run = serve_online(ladder, controller, np.cumsum(gaps), guard.tick_s, first=2)
    assert [rung for _, rung in run.changes] == [2, 1, 0]
    first, second = np.searchsorted(run.arrival_s, [time_s for time_s, _ in run.changes[1:]])
    assert second - first >= guard.dwell


@pytest.mark.parametrize(("share", "leaves"), [(0.95, False), (0.975, False), (0.985, True)])
def test_a_pipeline_without_room_is_left_at_once(ladder, share, leaves):
    arrivals = np.arange(1, 3001) / (share * ladder.rungs[0].limit_qps)
    controller = Controller(ladder=ladder, hysteresis=Hysteresis(tick_s=0.1, up=0.02))
    run = serve_online(ladder, controller, arrivals, 0.1)
    assert [rung for _, rung in run.changes] == ([0, 1] if leaves else [0])


def test_who_knows_the_rate_sees_the_next_look(ladder):
    middle = ladder.rungs[1].limit_qps

    def rises(time_s):
        return middle * time_s / 10

    decide = known_rate(ladder, rises, 1.0)
    assert [decide(time_s, 0, 0) for time_s in (0.0, 8.9, 9.1)] == [0, 1, 2]
    falls = known_rate(ladder, lambda time_s: middle * (11 - time_s) / 10, 1.0)
    assert [falls(time_s, 0, 0) for time_s in (0.9, 1.1)] == [2, 1]


def test_rate_is_of_the_window(ladder):
    controller = Controller(ladder=ladder, hysteresis=Hysteresis(tick_s=1.0, window=100))
    assert controller.demand_qps(1.0, 50, 0) == pytest.approx(50)
    assert controller.demand_qps(2.0, 150, 0) == pytest.approx(100)  # the last 100, of a second
    assert controller.demand_qps(3.0, 160, 5) == pytest.approx((110 + 5) / 2)
    assert controller.demand_qps(103.0, 160, 0) == pytest.approx(110 / 102)  # silence counts


def test_no_arrivals_for_long_and_one_query(ladder):
    guard = Hysteresis(tick_s=1.0)
    controller = Controller(ladder=ladder, hysteresis=guard, rung=2)
    run = serve_online(ladder, controller, np.asarray([1000.0]), 1.0, first=2)
    assert run.finish_s[0] == pytest.approx(1000 + ladder.rungs[run.rung[0]].option.idle_s)
    assert run.quality == ladder.rungs[run.rung[0]].option.quality


def test_on_line_follows_a_day(ladder):
    """Better than every static choice where no choice is right all day; close to the known rate."""
    load = 0.9 * ladder.rungs[2].limit_qps / 1.8
    arrivals = diurnal_arrivals_s(200_000, load, 7, swing=0.8)
    guard = Hysteresis(tick_s=0.1, window=1000, dwell=3000)
    controller = Controller(ladder=ladder, hysteresis=guard, rung=2)
    online = serve_online(ladder, controller, arrivals, guard.tick_s, first=2)

    def rate(time_s):
        return diurnal_rate_qps(time_s, 200_000, load, swing=0.8)

    known = serve_online(ladder, known_rate(ladder, rate, 0.1), arrivals, 0.1)
    statics = [serve_static(ladder, place, arrivals).quality for place in range(3)]
    assert online.quality > max(statics) + 0.01
    assert known.quality - 0.03 < online.quality < known.quality + 0.03
    assert {rung for _, rung in online.changes} == {0, 1, 2}
    assert online.late < 0.01
    assert online.late_windows(96) <= serve_static(ladder, 1, arrivals).late_windows(96)


def test_bursts_without_a_forecast(ladder):
    arrivals = burst_arrivals_s(50_000, 500, 1, burst_queries=5000)
    guard = Hysteresis(tick_s=0.05, window=500, dwell=2000)
    controller = Controller(ladder=ladder, hysteresis=guard)
    run = serve_online(ladder, controller, arrivals, guard.tick_s)
    assert np.isfinite(run.finish_s).all()
    assert run.quality > serve_static(ladder, 0, arrivals).quality


def test_late_windows_by_hand(ladder):
    run = serve_static(ladder, 0, np.asarray([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    # Nine at once on 2 + 2 servers of 4 and 5 ms: the last ends after 4 + 5 x 5 = 29 ms.
    assert run.tail_ms() == pytest.approx(29.0)
    assert run.late == pytest.approx(0.1)
    assert run.late_windows(2) == 0.5
    assert run.late_windows(2, in_time=0.88) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tick_s": 0.0}, "tick_s must be above 0 and finite, not 0.0"),
        ({"tick_s": float("nan")}, "tick_s must be above 0 and finite, not nan"),
        ({"window": 1}, "window must be at least 2 and dwell not negative, not 1, 10000"),
        ({"dwell": -1}, "window must be at least 2 and dwell not negative, not 2000, -1"),
        ({"up": 0.2}, "up must not be negative and down at least up, not 0.2 and 0.05"),
        ({"up": -0.1}, "up must not be negative"),
    ],
)
def test_hysteresis_rejects(change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Hysteresis(**({"tick_s": 0.1} | change))


def test_rejects(ladder):
    with pytest.raises(ValueError, match=r"^options must be at least one, each name once"):
        build_ladder([], SLA_S)
    with pytest.raises(ValueError, match=r"each name once, not \['good', 'good'\]"):
        build_ladder([GOOD, GOOD], SLA_S)
    with pytest.raises(ValueError, match=r"^options of partition good must have equal servers"):
        build_ladder([GOOD, replace(FAST, partition="good")], SLA_S)
    with pytest.raises(ValueError, match=r"^option none must have stations and devices"):
        replace(GOOD, name="none", stations=())
    with pytest.raises(ValueError, match=r"^quality and change_s of good must not be negative"):
        replace(GOOD, change_s=-1.0)
    with pytest.raises(ValueError, match=r"^stations of good must have one service time"):
        replace(GOOD, stations=(Station(name="x", servers=1, service_s=1.0, delay_s=1.0),))
    run = serve_static(ladder, 0, np.asarray([0.0]))
    with pytest.raises(ValueError, match=r"^windows must be at least 1, not 0"):
        run.late_windows(0)
    for trace in ([], [1.0, 0.5], [-1.0]):
        with pytest.raises(ValueError, match=r"^arrival_s must hold a time or more, from 0 on"):
            serve_static(ladder, 0, np.asarray(trace))
    with pytest.raises(ValueError, match=r"^tick_s must be above 0, not 0"):
        serve_online(ladder, sequence([0]), np.asarray([0.0]), 0)
    with pytest.raises(ValueError, match=r"^first must be in 0\.\.2, not 3"):
        serve_static(ladder, 3, np.asarray([0.0]))
