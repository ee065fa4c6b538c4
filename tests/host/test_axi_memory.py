import random

import pytest

from rpaccel.host.axi_memory import MemoryTiming, ReadSchedule


def drain(schedule, until=10_000):
    bursts = []
    for cycle in range(until):
        while (burst := schedule.start(cycle)) is not None:
            bursts.append((cycle, burst.id, burst.address, burst.beats))
    return bursts


def test_first_beat_after_the_latency():
    schedule = ReadSchedule(MemoryTiming(read_latency_cycles=10), 0)
    assert schedule.accept(5, 1, 0x40, 1) == 15
    assert schedule.start(14) is None
    assert schedule.start(15).address == 0x40
    assert schedule.start(99) is None


def test_in_order_is_one_beat_per_cycle():
    schedule = ReadSchedule(MemoryTiming(read_latency_cycles=10), 0)
    due = [schedule.accept(cycle, cycle % 3, 0, 4) for cycle in range(5)]
    assert due == [10, 14, 18, 22, 26]


def test_out_of_order_keeps_each_id_in_order():
    timing = MemoryTiming(jitter_cycles=100, in_order=False, seed=4)
    schedule = ReadSchedule(timing, 1)
    generator = random.Random(1)
    sent = [(generator.randrange(3), address) for address in range(200)]
    for cycle, (identity, address) in enumerate(sent):
        schedule.accept(cycle, identity, address, 1)
    bursts = drain(schedule)
    got = [(identity, address) for _, identity, address, _ in bursts]
    assert sorted(got) == sorted(sent)
    assert got != sent
    for identity in range(3):
        assert [a for i, a in got if i == identity] == [a for i, a in sent if i == identity]


def test_write_latency_and_seed():
    timing = MemoryTiming(read_latency_cycles=30, write_latency_cycles=7, jitter_cycles=5)
    assert 7 <= ReadSchedule(timing, 0, write=True).accept(0, 0, 0, 1) <= 12
    again = [ReadSchedule(timing, 0).accept(0, 0, 0, 1) for _ in range(3)]
    assert len(set(again)) == 1


@pytest.mark.parametrize("name", ["max_outstanding", "write_latency_cycles"])
def test_rejects(name):
    with pytest.raises(ValueError, match=rf"^{name} must be in"):
        MemoryTiming(**{name: 0})
