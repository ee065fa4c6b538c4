import numpy as np
import pytest

from rpaccel.perfmodel.shared_memory import (
    LEFT,
    RATE,
    READ_FIELDS,
    SPEED,
    begin_read,
    end_read,
    next_read_end,
    pass_cycles,
    share_out,
)


def reads_of(*gathers):
    """Return the reads of gathers that begin at a time, each (cycles, work), speeds set."""
    reads = np.zeros((len(gathers), READ_FIELDS))
    for place, (cycles, work) in enumerate(gathers):
        begin_read(reads, place, cycles, work)
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
            begin_read(reads, places[n], *gathers[n][1:])
        share_out(reads, len(reads))
        used = reads[:, RATE] * reads[:, SPEED]
        assert np.all(reads[:, SPEED] <= 1) and used.sum() <= 1 + 1e-9
        assert used.sum() == pytest.approx(min(1.0, reads[:, RATE].sum()))
    return [ends[n] for n in range(len(gathers))]


def test_alone_nothing_is_late():
    assert run([(37, 1000, 500.0)], [0]) == [1037]
    assert run([(5000, 10, 0.0)], [0]) == [5010]
    assert run([(0, 10, 10.0)], [0]) == [10]


def test_two_of_half_the_rate_fit():
    assert run([(0, 1000, 500.0)] * 2, [0, 1]) == [1000, 1000]


def test_three_of_half_the_rate_end_together():
    assert run([(0, 1000, 500.0)] * 3, [0, 1, 2]) == pytest.approx([1500] * 3)


def test_who_asks_for_little_gets_it_and_the_others_the_rest():
    reads = reads_of((100, 10.0), (100, 90.0), (100, 80.0), (100, 0.0))
    assert reads[:, SPEED] == pytest.approx([1, 0.45 / 0.9, 0.45 / 0.8, 1])
    # Of 0.3 and 0.35 the second is above a third, and below what the first leaves.
    reads = reads_of((100, 30.0), (100, 35.0), (100, 60.0))
    assert reads[:, SPEED] == pytest.approx([1, 1, 0.35 / 0.6])


def test_a_later_one_slows_the_first_from_its_start_on():
    ends = run([(0, 100, 100.0), (50, 100, 100.0)], [0, 1])
    assert ends == pytest.approx([150, 200])  # half each from 50 to 150
    ends = run([(0, 100, 100.0), (50, 10, 0.0)], [0, 1])
    assert ends == pytest.approx([100, 60])


def test_equal_ends_come_in_the_order_of_places():
    reads = reads_of((10, 5.0), (10, 5.0))
    assert next_read_end(reads, 2) == (10.0, 0)
    end_read(reads, 0)
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


def test_a_level_that_only_rounding_leaves_open_ends():
    """Rates that add up to 1 and a little: everyone is as good as served."""
    reads = reads_of(*[(3.0, 1.0 + 1e-15)] * 3)
    assert reads[:, SPEED] == pytest.approx([1, 1, 1])
