import numpy as np
import pytest

from rpaccel.perfmodel.shared_memory import (
    FROM,
    LEFT,
    RATE,
    READ_FIELDS,
    SPEED,
    WAIT,
    begin_read,
    end_read,
    next_read_end,
    pass_cycles,
    share_out,
)

WAITED = 1e-6  # of the cycles alone: as good as nothing


def reads_of(*gathers, walk=1.0, wait=WAITED):
    """Return the reads of gathers that begin at a time, each (cycles, work), speeds set.

    walk, wait : of the cycles, as of begin_read.
    """
    reads = np.zeros((len(gathers), READ_FIELDS))
    for place, (cycles, work) in enumerate(gathers):
        begin_read(reads, place, cycles, work, walk * cycles, wait * cycles)
    share_out(reads, len(reads))
    return reads


def run(gathers, places):
    """Return when gathers end, each (start, cycles, work), each in its place as soon as it is free.

    places : of each gather. On the way nothing gets more than it asks for, nor all more than there
    is; and all is given away, or all that is asked for.
    """
    reads = np.zeros((max(places) + 1, READ_FIELDS))
    waiting, at, ends, now = list(range(len(gathers))), {}, {}, 0.0
    while waiting or at:
        free = [n for n in waiting if places[n] not in at]
        start = min((max(now, gathers[n][0]) for n in free), default=np.inf)
        cycles, place = next_read_end(reads, len(reads))
        passed = min(cycles, start - now)
        pass_cycles(reads, len(reads), passed)
        now += passed
        if start - now > 1e-9 or start == np.inf:
            ends[at.pop(place)] = now
            end_read(reads, place)
        else:
            n = next(n for n in free if max(now, gathers[n][0]) <= now + 1e-9)
            waiting.remove(n)
            at[places[n]] = n
            cycles, work = gathers[n][1:]
            begin_read(reads, places[n], cycles, work, cycles, WAITED * cycles)
        share_out(reads, len(reads))
        used = reads[:, RATE] * reads[:, SPEED]
        assert np.all(reads[:, SPEED] <= 1) and used.sum() <= 1 + 1e-5
        assert used.sum() == pytest.approx(min(1.0, reads[:, RATE].sum()), abs=0.01)
    return [ends[n] for n in range(len(gathers))]


def test_alone_nothing_is_late():
    assert run([(37, 1000, 500.0)], [0]) == [1037]
    assert run([(5000, 10, 0.0)], [0]) == [5010]
    assert run([(0, 10, 10.0)], [0]) == [10]
    assert reads_of((100, 90.0), (100, 0.0), wait=0.5)[:, SPEED].tolist() == [1, 1]


def test_two_of_half_the_rate_nearly_fit():
    assert run([(0, 1000, 450.0)] * 2, [0, 1]) == pytest.approx([1000, 1000], rel=1e-4)


def test_three_of_half_the_rate_end_together():
    assert run([(0, 1000, 500.0)] * 3, [0, 1, 2]) == pytest.approx([1500] * 3, rel=0.002)


@pytest.mark.parametrize("wait", [0.01, 0.1, 0.5])
def test_who_waits_longer_reads_less(wait):
    """Each is as late as its wait grows: from that beside its own reads to that beside all."""
    reads = reads_of((100, 40.0), (100, 30.0), (100, 0.0), wait=wait)
    busy = float((reads[:, RATE] * reads[:, SPEED]).sum())
    for read, rate in zip(reads, (0.4, 0.3, 0.0), strict=True):
        late = wait * (busy / (1 - busy) - rate / (1 - rate)) if rate else 0.0
        assert 1 / read[SPEED] == pytest.approx(1 + late, rel=1e-4)
    assert reads[2, SPEED] == 1 > reads[0, SPEED] > reads[1, SPEED] > 0.4


def test_a_gather_that_is_held_up_anyway_waits_meanwhile():
    """Of 100 cycles it reads in 60: 40 more for the memory cost nothing."""
    beside = [(100, 30.0)]
    held = reads_of((100, 30.0), *beside, walk=0.6, wait=0.2)
    assert held[0, SPEED] == 1 > reads_of((100, 30.0), *beside, wait=0.2)[0, SPEED]
    late = reads_of((100, 30.0), *beside, *beside, *beside, walk=0.6, wait=0.2)
    busy = float((late[:, RATE] * late[:, SPEED]).sum())
    waits = 60 + 20 * (busy / (1 - busy) - 0.5 / (1 - 0.5))
    assert 100 / late[0, SPEED] == pytest.approx(waits, rel=1e-3) and waits > 100


def test_a_later_one_slows_the_first_from_its_start_on():
    ends = run([(0, 100, 100.0), (50, 100, 100.0)], [0, 1])
    assert ends == pytest.approx([150, 200])  # half each from 50 to 150
    ends = run([(0, 100, 100.0), (50, 10, 0.0)], [0, 1])
    assert ends == pytest.approx([100, 60])


def test_equal_ends_come_in_the_order_of_places():
    reads = reads_of((10, 4.0), (10, 4.0))
    reads[:, SPEED] = 1
    assert next_read_end(reads, 2) == (10.0, 0)
    end_read(reads, 0)
    assert not reads[0].any()
    assert next_read_end(reads, 2) == (10.0, 1)
    end_read(reads, 1)
    assert next_read_end(reads, 2) == (np.inf, -1)


def test_only_the_first_places_count():
    reads = reads_of((10, 10.0), (10, 10.0), (5, 5.0))
    share_out(reads, 1)
    assert reads[:, SPEED] == pytest.approx([1, 1 / 3, 1 / 3])
    pass_cycles(reads, 1, 4)
    assert reads[:, LEFT].tolist() == [6, 10, 5]
    assert next_read_end(reads, 1) == (6.0, 0)


def test_random_gathers_get_no_more_than_there_is_and_no_less():
    rng = np.random.default_rng(1)
    gathers = []
    for _ in range(300):
        cycles = int(rng.integers(1, 400))
        gathers.append((int(rng.integers(0, 5000)), cycles, float(rng.uniform(0, cycles))))
    places = rng.integers(0, 12, len(gathers)).tolist()
    ends = run(gathers, places)
    assert max(ends) >= sum(work for _, _, work in gathers)
    assert all(end >= start + cycles - 1e-6 for end, (start, cycles, _) in
               zip(ends, gathers, strict=True))  # fmt: skip


def test_random_waits_are_found_whatever_they_are():
    """What all read is what the memory is busy, also where some are held up from a place on."""
    rng = np.random.default_rng(2)
    for _ in range(300):
        count = int(rng.integers(2, 13))
        reads = np.zeros((count, READ_FIELDS))
        for place in range(count):
            cycles = float(rng.uniform(10, 1000))
            walk = cycles * rng.choice([1.0, rng.uniform(0.1, 1)])
            wait = cycles * 10 ** rng.uniform(-4, 0)
            begin_read(reads, place, cycles, walk * rng.uniform(0.01, 1), walk, wait)
        share_out(reads, count)
        busy = float((reads[:, RATE] * reads[:, SPEED]).sum())
        assert 0 < busy < 1
        waits = 1 + reads[:, WAIT] * np.maximum(0, busy / (1 - busy) - reads[:, FROM])
        assert 1 / reads[:, SPEED] == pytest.approx(waits, rel=0.05)
        assert max(waits) < 2e4


@pytest.mark.parametrize("seed", range(40))
def test_what_is_read_is_what_keeps_the_memory_busy(seed):
    """Random gathers, some alike, some that take all memory: the rule itself, by bisection."""
    rng = np.random.default_rng(seed)
    reads = np.zeros((12, READ_FIELDS))
    for place in rng.choice(12, rng.integers(2, 12), replace=False):
        work = rng.choice([1000.0, rng.uniform(1, 1000)])
        wait = 10 ** rng.uniform(-3, 3.5)
        begin_read(reads, place, 1000.0, work, rng.uniform(work, 1000), wait)
    reads[rng.integers(12)] = reads[rng.integers(12)]
    share_out(reads, 12)
    asks = reads[:, RATE] > 0
    rate, wait, late_from = (reads[asks, field] for field in (RATE, WAIT, FROM))
    low, high = 0.0, 1e12
    for _ in range(300):
        busy = (low + high) / 2
        asked = (rate / (1 + wait * np.maximum(0.0, busy - late_from))).sum()
        low, high = (busy, high) if asked > busy / (1 + busy) else (low, busy)
    speeds = 1 / (1 + wait * np.maximum(0.0, busy - late_from))
    assert rate * reads[asks, SPEED] == pytest.approx(rate * speeds, abs=2e-6)
    assert np.all(reads[~asks, SPEED] <= 1)
