import numpy as np
import pytest

from rpaccel.perfmodel.shared_memory import NO_ROOM, reserve


class Memory:
    """A memory that forgets nothing."""

    def __init__(self, window, windows=1024):
        self.used, self.window = np.zeros(windows), window

    def reserve(self, start, cycles, work):
        return reserve(self.used, 0, self.window, start, cycles, work)


def test_alone_nothing_is_late():
    memory = Memory(100)
    assert memory.reserve(37, 1000, 500.0) == pytest.approx(1037)
    assert memory.reserve(5000, 10, 0.0) == 5010


def test_two_of_half_the_rate_fit():
    memory = Memory(100)
    ends = [memory.reserve(0, 1000, 500.0) for _ in range(2)]
    assert ends == pytest.approx([1000, 1000])


def test_the_third_gets_what_is_left():
    memory = Memory(100)
    for _ in range(2):
        memory.reserve(0, 1000, 500.0)
    assert memory.reserve(0, 1000, 500.0) == pytest.approx(2000)


def test_no_window_gives_more_than_it_has():
    rng = np.random.default_rng(1)
    memory, work = Memory(64), 0.0
    ends = []
    for _ in range(300):
        cycles = int(rng.integers(1, 400))
        asked = float(rng.uniform(0, cycles))
        ends.append(memory.reserve(int(rng.integers(0, 5000)), cycles, asked))
        work += asked
    assert max(ends) >= work
    assert memory.used.max() <= 64 + 1e-9
    assert memory.used.sum() == pytest.approx(work, abs=300e-6)


def test_a_ring_of_windows():
    """From its first window on, wherever that is."""
    used = np.zeros(4)
    assert reserve(used, 6, 10, 62, 20, 20.0) == pytest.approx(82)
    assert used.tolist() == pytest.approx([2, 0, 8, 10])
    assert reserve(used, 6, 10, 62, 20, 18.0) == pytest.approx(90 + 8 / 0.9)  # 2, 0, 8, 8
    assert reserve(used, 6, 10, 62, 20, 20.0) == NO_ROOM
