from dataclasses import replace

import numpy as np
import pytest

from rpaccel.scheduler.arrivals import diurnal_arrivals_s, poisson_arrivals_s
from rpaccel.scheduler.online import Controller, Hysteresis, build_ladder, refusing
from rpaccel.scheduler.online_ladder import LOADS, Ladder, Option, Rung
from rpaccel.scheduler.online_node import serve_online, serve_static
from rpaccel.scheduler.queueing import Station, finish_times_s

SLA_S = 0.025


def option(name, quality, servers, service_s):
    """Return one station on an array of its own."""
    station = Station(name="0", servers=servers, service_s=service_s)
    return Option(
        name=name,
        quality=quality,
        partition=name,
        devices=frozenset({name}),
        stations=(station,),
    )


GOOD = option("good", 0.9, 2, 0.005)  # 400 queries/s at most
FAST = option("fast", 0.8, 4, 0.005)  # 800
SMALL = option("small", 0.6, 8, 0.002)  # 4000
OPTIONS = (GOOD, FAST, SMALL)


@pytest.fixture(scope="module")
def ladder():
    return build_ladder(OPTIONS, SLA_S, queries=20_000)


@pytest.fixture(scope="module")
def refuses(ladder):
    return refusing(ladder, queries=20_000)


def by_hand(*, shed):
    """Return a ladder whose shares are those of a capacity that is all used."""
    rungs = tuple(
        Rung(option=o, limit_qps=limit) for o, limit in zip(OPTIONS, (360, 740, 3900), strict=True)
    )
    return Ladder(rungs=rungs, sla_s=SLA_S, shed=shed)


def test_shares_are_the_queueing_simulation(ladder):
    for rung, most in zip(ladder.rungs, (400, 800, 4000), strict=True):
        for place in (4, 12, 17):
            arrivals = poisson_arrivals_s(20_000, LOADS[place] * most, 0)
            finish, _ = finish_times_s(arrivals, rung.option.stations)
            share = np.mean(finish - arrivals <= SLA_S)
            assert rung.shares[place] == pytest.approx(share, abs=1e-12)
        assert rung.shares[0] == 1
        assert np.all(np.diff(rung.shares) <= 0)
        assert rung.shares[LOADS.index(1.0)] == 0  # no queue settles


@pytest.mark.parametrize("servers", [1, 4])
def test_what_is_refused_without_room_to_wait_is_erlangs_loss(servers):
    """No time to wait: a query that finds all servers busy is lost, M/G/c/c."""
    tight = option("tight", 1.0, servers, 0.01)
    ladder = Ladder(rungs=(Rung(option=tight, limit_qps=1.0),), sla_s=0.01 * (1 + 1e-9))
    refused = refusing(ladder, queries=200_000)
    assert refused.shed and not ladder.shed
    for load, share in zip(LOADS, refused.rungs[0].shares, strict=True):
        lost = 1.0
        for count in range(1, servers + 1):
            lost = load * servers * lost / (count + load * servers * lost)
        assert share == pytest.approx(1 - lost, abs=5e-3)


def test_refusing_serves_the_capacity(refuses):
    for rung in refuses.rungs:
        assert np.all(np.diff(rung.shares) <= 0)
        assert rung.shares[LOADS.index(2.0)] == pytest.approx(0.5, abs=0.01)
        assert rung.shares[LOADS.index(3.0)] == pytest.approx(1 / 3, abs=0.01)
    # Of the limit one in a hundred is late if all are served, fewer if those are refused.
    for number, rung in enumerate(refuses.rungs):
        share = refuses.expected(rung.limit_qps)[number] / rung.option.quality
        assert 0.99 < share < 1


def test_expected_by_hand():
    shares = tuple(max(0.0, 1 - load / 4) for load in LOADS)
    rung = Rung(option=GOOD, limit_qps=380.0, shares=shares)
    served = Ladder(rungs=(rung,), sla_s=SLA_S)
    refused = replace(served, shed=True)
    for ladder in (served, refused):
        for load in (0.0, 0.01, 0.5, 0.61, 0.9):  # of 400 queries/s
            assert ladder.expected(400 * load) == pytest.approx([0.9 * (1 - load / 4)])
    assert served.expected(380.0) == pytest.approx([0.9 * (1 - 0.95 / 4)])
    assert served.expected(380.1) == pytest.approx([0.0])
    assert refused.expected(1000.0) == pytest.approx([0.9 * (1 - 2.5 / 4)])
    # At three times the capacity a quarter is in time; of twice as many an eighth.
    assert refused.expected(1200.0) == pytest.approx([0.9 / 4])
    assert refused.expected(2400.0) == pytest.approx([0.9 / 8])


def test_best_is_what_a_query_is_worth():
    served, refused = by_hand(shed=False), by_hand(shed=True)
    # All served: by the limits. Refused: 0.9 x 400 / load falls behind 0.8 at 450, and 0.8 x 800 /
    # load behind 0.6 at 1067.
    assert [served.best(load) for load in (0, 360, 361, 740, 741, 1e6)] == [0, 0, 1, 1, 2, 2]
    assert [refused.best(load) for load in (0, 445, 455, 1050, 1100)] == [0, 0, 1, 1, 2]
    assert served.largest == refused.largest == 2


def test_a_difference_that_is_not_measured_is_none():
    """Options that are worth about the same: the first, whatever the noise of their shares."""
    twin = replace(GOOD, name="twin", partition="twin")
    for less, best in ((5e-5, 0), (5e-4, 1)):
        shares = (tuple((1.0 - less) * (load < 1) for load in LOADS), ())
        rungs = [
            Rung(option=o, limit_qps=380.0, shares=s)
            for o, s in zip((GOOD, twin), shares, strict=True)
        ]
        assert Ladder(rungs=tuple(rungs), sla_s=SLA_S).best(200.0) == best


def follow(ladder, load_qps, count=20_000, rung=0):
    arrivals = np.arange(1, count + 1) / load_qps
    controller = Controller(ladder=ladder, hysteresis=Hysteresis(tick_s=0.1), rung=rung)
    run = serve_online(ladder, controller, arrivals, 0.1, first=rung)
    return [number for _, number in run.changes]


def test_refused_queries_are_weighed():
    """A node that refuses stays with the better pipeline as long as that is worth more."""
    served, refused = by_hand(shed=False), by_hand(shed=True)
    assert follow(served, 430) == [0, 1]
    assert follow(refused, 430) == [0]  # 0.9 x 400 / 430 is above 0.8
    assert follow(refused, 460) == [0, 1]
    assert follow(refused, 415, rung=1) == [1, 0]
    assert follow(refused, 440, rung=1) == [1]  # 5 % more would be 462


def test_refusing_beats_leaving_at_the_limit(ladder, refuses):
    """The choice by worth against the one by limits, on a day of refused queries."""
    load = 0.31 * 4000 / 1.8
    arrivals = diurnal_arrivals_s(200_000, load, 5, swing=0.8)
    guard = Hysteresis(tick_s=0.05)
    found = [
        serve_online(
            refuses,
            Controller(ladder=seen, hysteresis=guard, rung=2),
            arrivals,
            guard.tick_s,
            first=2,
        ).quality
        for seen in (refuses, ladder)
    ]
    assert found[0] > found[1] + 0.01
    assert found[0] > max(serve_static(refuses, n, arrivals).quality for n in range(3)) + 0.01


@pytest.mark.parametrize("seed", range(10))
def test_start_needs_few_queries_when_there_is_much_room(ladder, seed):
    arrivals = poisson_arrivals_s(5000, 0.3 * ladder.rungs[0].limit_qps, seed)
    controller = Controller(ladder=ladder, hysteresis=Hysteresis(tick_s=0.05), rung=2)
    run = serve_online(ladder, controller, arrivals, 0.05, first=2)
    assert run.rung[-1] == 0
    assert np.searchsorted(arrivals, run.changes[-1][0]) < 200  # a tenth of the window
    assert run.quality > 0.9 - 0.3 * 200 / 5000


def test_start_takes_its_time_when_there_is_little(ladder):
    """Just too little room: few starts go too high, and none stays there."""
    load, lates, high = 1.1 * ladder.rungs[0].limit_qps, [], 0
    for seed in range(20):
        arrivals = poisson_arrivals_s(10_000, load, seed)
        controller = Controller(ladder=ladder, hysteresis=Hysteresis(tick_s=0.05), rung=2)
        run = serve_online(ladder, controller, arrivals, 0.05, first=2)
        lates.append(run.late)
        high += 0 in run.rung
        assert run.rung[-1] == 1
    assert high <= 4
    assert max(lates) < 0.05
    assert np.mean(lates) < 0.005


def test_doubt_by_hand():
    guard = Hysteresis(tick_s=1.0, window=2000, up=0.02, down=0.05)
    assert guard.doubt(20) == pytest.approx(0.05 * 9)
    assert guard.doubt(500) == pytest.approx(0.05)
    assert guard.doubt(2000) == guard.doubt(10**9) == 0.0


def test_rest_at_the_start_is_as_long_as_what_was_seen(ladder):
    """A rate that falls after the first change: the next waits for as many arrivals again."""
    gaps = np.concatenate([np.full(180, 1 / 600), np.full(10_000, 1 / 20)])
    guard = Hysteresis(tick_s=0.01, window=1000)
    controller = Controller(ladder=ladder, hysteresis=guard, rung=2)
    run = serve_online(ladder, controller, np.cumsum(gaps), guard.tick_s, first=2)
    assert [number for _, number in run.changes] == [2, 1, 0]
    first, second = np.searchsorted(run.arrival_s, [time_s for time_s, _ in run.changes[1:]])
    assert 80 < first < 180
    assert 2 * first <= second <= 2 * first + 2


def test_rejects():
    with pytest.raises(ValueError, match=rf"^shares of good must be {len(LOADS)} in 0\.\.1, not"):
        Rung(option=GOOD, limit_qps=1.0, shares=(1.0, 0.5))
    with pytest.raises(ValueError, match=rf"^shares of good must be {len(LOADS)} in 0\.\.1, not"):
        Rung(option=GOOD, limit_qps=1.0, shares=(1.5,) * len(LOADS))
