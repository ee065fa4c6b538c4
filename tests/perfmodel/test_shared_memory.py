import numpy as np
import pytest

from rpaccel.perfmodel.shared_memory import SharedMemory


def test_alone_nothing_is_late():
    memory = SharedMemory(100)
    assert memory.reserve(37, 1000, 500.0) == pytest.approx(1037)
    assert memory.reserve(5000, 10, 0.0) == 5010


def test_two_of_half_the_rate_fit():
    memory = SharedMemory(100)
    ends = [memory.reserve(0, 1000, 500.0) for _ in range(2)]
    assert ends == pytest.approx([1000, 1000])


def test_the_third_gets_what_is_left():
    memory = SharedMemory(100)
    for _ in range(2):
        memory.reserve(0, 1000, 500.0)
    assert memory.reserve(0, 1000, 500.0) == pytest.approx(2000)


def test_no_window_gives_more_than_it_has():
    rng = np.random.default_rng(1)
    memory, work = SharedMemory(64), 0.0
    ends = []
    for _ in range(300):
        cycles = int(rng.integers(1, 400))
        asked = float(rng.uniform(0, cycles))
        ends.append(memory.reserve(int(rng.integers(0, 5000)), cycles, asked))
        work += asked
    assert max(ends) >= work
    memory.forget(max(ends) + 64)
    assert memory.reserve(0, 64, 64.0) == pytest.approx(64)


def test_rejects():
    with pytest.raises(ValueError, match=r"^window_cycles must be at least 1, not 0"):
        SharedMemory(0)
