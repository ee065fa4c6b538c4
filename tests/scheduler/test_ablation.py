import pytest

from rpaccel.perfmodel.machine import simulate
from rpaccel.scheduler.ablation import (
    CANDIDATES,
    IDEAS,
    KEPT,
    Design,
    Setup,
    bounds,
    designs,
    host_sort_s,
    lane_use,
    measure,
    pace_cycles,
    saturated_qps,
    stage_alone_qps,
    stage_banks,
)
from rpaccel.scheduler.published_baseline import published_phases

BASE = Setup(Design(name="base", ideas=frozenset()))
WHOLE = Setup(designs()[-1])


def test_designs_are_the_base_each_idea_and_their_sums():
    names = [design.name for design in designs()]
    assert names == [
        "base", "O.1 alone", "O.2 alone", "O.3 alone", "O.4 alone", "O.5 alone",
        "O.1", "O.1 to O.2", "O.1 to O.3", "O.1 to O.4", "O.1 to O.5",
    ]  # fmt: skip
    assert designs()[-1].ideas == set(IDEAS)
    with pytest.raises(ValueError, match=r"^ideas must be some of O\.1, .*, not O\.6"):
        Design(name="x", ideas=frozenset({"O.6"}))


def test_the_lanes_are_the_papers():
    shapes = [[WHOLE.config.lane_shape(lane) for lane in stage.lanes] for stage in WHOLE.stages]
    assert shapes == [[(1, 1)] * 8, [(2, 2)] * 2]
    assert [stage.lanes for stage in BASE.stages] == [(0,)]


def test_the_published_baseline_by_hand():
    """250 MHz, four ports of 64 bytes, hits of one half; layers of 13-512-256-128-64-32, 383-96-1.

    Folds of 128 rows and columns: 1 x 4, 4 x 2, 2 x 1, 1, 1; 3 x 1 and 1; per fold of k rows and
    c columns 2 k + c + 4096 cycles.
    """
    bottom = 4 * (26 + 128) + 8 * (256 + 128) + 2 * (256 + 128) + (256 + 64) + (128 + 32)
    top = 2 * (256 + 96) + (2 * 127 + 96) + (192 + 1)
    layers = bottom + top + 20 * 4096
    beats = CANDIDATES * 26 / 2
    expected = {
        "link, in": 40e-6 + 4096 * 156 / 6.67e9,
        "weights": (100 + 217_600 / 256) / 250e6,
        "rows and records from memory": (100 + (beats + 2 * 4096) / 4) / 250e6,
        "rows from the cache": beats / 250e6,
        "layers": layers / 250e6,
        "link, out": 40e-6 + 4096 * 8 / 6.67e9,
        "host top-k": 0.35e-3,
    }
    phases = published_phases(
        BASE.config, BASE.platform, BASE.machine.lanes[0]["rmlarge"], BASE.records,
        items=CANDIDATES, bytes_in=BASE.design.bytes_in, row_hits=0.5, sort_s=host_sort_s(4096),
    )  # fmt: skip
    assert {phase.name: phase.seconds for phase in phases} == pytest.approx(expected)


@pytest.mark.parametrize("design", designs(), ids=lambda design: design.name)
def test_every_item_is_ranked_once(design):
    setup = Setup(design)
    report = simulate(setup.machine, setup.loads([0, 5000, 10000]))
    ranked = sum(task.items for task in report.tasks)
    assert ranked == 3 * (CANDIDATES + KEPT * design.has("O.1"))


@pytest.mark.parametrize("setup", [BASE, WHOLE], ids=["base", "whole"])
def test_no_rate_is_above_its_bound(setup):
    allowed = bounds(setup)
    machine = min(bound.qps for bound in allowed if bound.resource != "link")
    assert 0.5 * machine < saturated_qps(setup) <= machine
    assert [bound.qps for bound in allowed] == sorted(bound.qps for bound in allowed)
    for number in range(len(setup.stages)):
        assert stage_alone_qps(setup, number) >= 0.97 * saturated_qps(setup)


def test_four_banks_keep_the_array_of_a_block_busy():
    array = lane_use(WHOLE, WHOLE.stages[0], WHOLE.stages[0].lanes[0])["array"]
    at_once, drained = (pace_cycles(WHOLE, 0, drained=drained) for drained in (False, True))
    assert array == 30
    assert stage_banks(WHOLE, 0) == 4
    assert array < at_once <= drained < 1.03 * array


def test_the_hosts_round_trip_takes_its_time():
    """One query alone: the difference between host and chip is link and sort."""
    ideas = frozenset({"O.1"})
    host, chip = (
        Setup(Design(name="", ideas=ideas | more)) for more in (frozenset(), frozenset({"O.2"}))
    )
    ms = [measure(setup, 1.0, 1).p50_ms for setup in (host, chip)]
    apart = host.round_trip_s + host.last_s - chip.last_s
    assert ms[0] - ms[1] == pytest.approx(1e3 * apart, abs=2e-3)  # fetching a query: cycles
    assert host.round_trip_s == pytest.approx(
        40e-6 + 4096 * 8 / 6.67e9 + 0.35e-3 + 40e-6 + 512 * 4 / 6.67e9
    )


def test_latency_does_not_fall_as_the_load_grows():
    p99 = [measure(WHOLE, load, 200, seed=3).p99_ms for load in (100.0, 3000.0, 9000.0)]
    assert p99 == sorted(p99)


def test_sort_times():
    assert [host_sort_s(n) for n in (1, 512, 513, 1025, 4096)] == [
        0.03e-3, 0.03e-3, 0.07e-3, 0.35e-3, 0.35e-3,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"^items must be at most 4096, not 4097"):
        host_sort_s(4097)
