import collections
import dataclasses
import itertools
import random

import pytest

from rpaccel.host.axi_memory import SLVERR, MemoryTiming, ReadSchedule
from rpaccel.host.dram_timing import HBM2

FAULTS = {
    "jitter_cycles": 20,
    "spike_per_million": 1000,
    "hold_per_mille": 100,
    "error_per_mille": 10,
    "in_order": False,
}
FAULTY = {
    "simple": MemoryTiming(**FAULTS),
    "hbm2": MemoryTiming(dram=HBM2, **FAULTS),
}
BAD = (1 << 20, (1 << 20) + 4096)  # addresses that always fail


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


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("jitter", [0, 40])
@pytest.mark.parametrize("write", [True, False])
def test_simple_is_latency_jitter_and_order(write, jitter, in_order):
    timing = MemoryTiming(jitter_cycles=jitter, in_order=in_order, seed=9)
    schedule = ReadSchedule(timing, 3, write=write)
    latency = timing.write_latency_cycles if write else timing.read_latency_cycles
    key, generator, free, cycle = mix(9 + 6 + write), random.Random(2), {}, 0
    for sequence in range(2000):
        cycle += generator.randrange(4)
        identity, beats = generator.randrange(4), generator.randrange(1, 17)
        due = cycle + latency + (mix(key ^ sequence) % (jitter + 1) if jitter else 0)
        queue = 0 if in_order else identity
        due = max(due, free.get(queue, 0))
        free[queue] = due + (1 if write else beats)
        assert schedule.accept(cycle, identity, 64 * sequence, beats) == due


def requests(seed, count):
    generator = random.Random(seed)
    cycle = 0
    for number in range(count):
        cycle += generator.randrange(8)
        address = generator.randrange(1 << 15) * 64
        yield cycle, number, generator.randrange(6), address, generator.randrange(1, 5)


def faulty_answers(timing, *, seed, count):
    """Return (edge, id, address, beats, response) of every answer to random requests."""
    schedule = ReadSchedule(timing, 0)
    schedule.inject(*BAD)
    answers = []
    for cycle, _, identity, address, beats in requests(seed, count):
        while (burst := schedule.start(cycle)) is not None:
            answers.append((burst.due, burst.id, burst.address, burst.beats, burst.response))
        schedule.accept(cycle, identity, address, beats)
    while (burst := schedule.start(1 << 60)) is not None:
        answers.append((burst.due, burst.id, burst.address, burst.beats, burst.response))
    return answers


@pytest.mark.parametrize("name", FAULTY)
def test_faults_lose_and_double_nothing(name):
    count = 100_000
    answers = faulty_answers(FAULTY[name], seed=5, count=count)
    sent = [(i, address, beats) for _, _, i, address, beats in requests(5, count)]
    got = [answer[1:4] for answer in answers]
    assert collections.Counter(got) == collections.Counter(sent)
    assert got != sent
    for identity in range(6):
        mine = [(answer[0], answer[1:4]) for answer in answers if answer[1] == identity]
        assert [request for _, request in mine] == [r for r in sent if r[0] == identity]
        for (due, (_, _, beats)), (later, _) in itertools.pairwise(mine):
            assert later >= due + beats  # the burst before has had time to pass
    edges = [answer[0] for answer in answers]
    assert edges == sorted(edges)


@pytest.mark.parametrize("name", FAULTY)
def test_errors_are_where_they_were_asked_for(name):
    answers = faulty_answers(FAULTY[name], seed=6, count=20_000)
    inside = [a[4] for a in answers if a[2] < BAD[1] and a[2] + 64 * a[3] > BAD[0]]
    outside = [a[4] for a in answers if not (a[2] < BAD[1] and a[2] + 64 * a[3] > BAD[0])]
    assert len(inside) > 10
    assert set(inside) == {SLVERR}
    assert set(outside) == {0, SLVERR}
    assert outside.count(SLVERR) / len(outside) == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize("name", FAULTY)
def test_same_seed_same_answers(name):
    first, again = (faulty_answers(FAULTY[name], seed=7, count=3000) for _ in range(2))
    other = faulty_answers(dataclasses.replace(FAULTY[name], seed=2), seed=7, count=3000)
    assert first == again != other


def test_spikes_are_rare_and_bounded():
    timing = MemoryTiming(spike_per_million=2000, spike_cycles=10_000, in_order=False)
    schedule = ReadSchedule(timing, 0)
    late = [
        schedule.accept(0, number, 0, 1) - timing.read_latency_cycles for number in range(50_000)
    ]
    spikes = [cycles for cycles in late if cycles]
    assert len(spikes) == pytest.approx(100, abs=40)
    assert 1 <= min(spikes) < 2000
    assert 8000 < max(spikes) <= 10_000


def test_held_answers_are_overtaken():
    timing = MemoryTiming(hold_per_mille=200, hold_cycles=50, in_order=False)
    schedule = ReadSchedule(timing, 0)
    late = [schedule.accept(n, n, 0, 1) - n - timing.read_latency_cycles for n in range(10_000)]
    held = [cycles for cycles in late if cycles]
    assert len(held) / len(late) == pytest.approx(0.2, abs=0.02)
    assert (min(held), max(held)) == (1, 50)


@pytest.mark.parametrize(
    ("address", "beats", "response"),
    [(0, 1, 0), (0, 2, SLVERR), (128, 1, SLVERR), (128, 2, SLVERR), (192, 4, 0)],
)
def test_any_beat_in_the_range_fails_the_burst(address, beats, response):
    schedule = ReadSchedule(MemoryTiming(), 0, beat_bytes=64)
    schedule.inject(64, 192)
    schedule.accept(0, 0, address, beats)
    assert schedule.start(99).response == response


def test_a_write_keeps_the_worst_response():
    schedule = ReadSchedule(MemoryTiming(), 0, write=True)
    schedule.inject(0, 64)
    for address, response in [(0, 0), (64, 0), (64, 3), (0, 3)]:
        schedule.accept(0, 0, address, 1, response)
    assert [schedule.start(99).response for _ in range(4)] == [SLVERR, 0, 3, 3]


def test_rejects_held_answers_in_order():
    with pytest.raises(
        ValueError, match=r"^hold_per_mille must be 0 when in_order is True, not 5$"
    ):
        MemoryTiming(hold_per_mille=5)


@pytest.mark.parametrize("name", ["max_outstanding", "write_latency_cycles", "spike_cycles"])
def test_rejects(name):
    with pytest.raises(ValueError, match=rf"^{name} must be in"):
        MemoryTiming(**{name: 0})
