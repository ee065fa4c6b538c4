from types import SimpleNamespace

from rpaccel.host.query import fetched_after


def completion(fetched, queue, total):
    ended = (fetched + queue + total) % (1 << 32)  # what the completion has room for
    return SimpleNamespace(queue_cycles=queue, total_cycles=total, ended_at=ended)


def test_arrivals_are_those_of_the_fetches():
    asked = [completion(1000, 0, 700), completion(1040, 650, 300), completion(1020, 10, 20)]
    assert fetched_after(asked) == [0, 40, 20]
    assert fetched_after(asked[1:]) == [20, 0]
    assert fetched_after([]) == []


def test_the_counter_may_wrap_between_them_or_in_one():
    top = 1 << 32
    asked = [completion(top - 30, 5, 10), completion(top - 50, 40, 60), completion(top + 7, 1, 1)]
    assert fetched_after(asked) == [20, 0, 57]
    assert fetched_after(asked[::-1]) == [57, 0, 20]
