from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from rpaccel.scheduler.many import run_many


def square(value):
    if value < 0:
        raise ValueError(f"value must not be negative, not {value}")
    return value * value


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_order_is_kept(chunk, count):
    seen = []
    with ThreadPoolExecutor(2) as pool:
        found = run_many(square, range(count), pool, chunk=chunk, progress=seen.append)
    assert found == [square(value) for value in range(count)] == run_many(square, range(count))
    assert seen[-1:] == [count][:count]


def test_processes():
    with ProcessPoolExecutor(1) as pool:
        assert run_many(square, [3, 4], pool) == [9, 16]


def test_an_error_comes_through():
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match=r"not -1"):
        run_many(square, [1, -1, 2], pool)


def test_rejects():
    with pytest.raises(ValueError, match=r"^chunk must be at least 1, not 0"):
        run_many(square, [1], None, chunk=0)
