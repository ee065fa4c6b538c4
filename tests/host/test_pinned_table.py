import numpy as np
import pytest

from rpaccel.host.pinned_table import pinned_table, places
from rpaccel.rtl.static_cache import StaticCacheConfig


def config_of(**update):
    sizes = {"sets": 16, "ways": 3, "lines": 12, "line_bytes": 16, "key_bits": 24}
    return StaticCacheConfig(**{**sizes, **update})


def best_count(config, keys):
    """Return how many keys can have a place, by augmenting paths from a dense matrix."""
    wants = np.zeros((len(keys), config.entries), dtype=bool)
    for number, key in enumerate(keys):
        for way in range(config.ways):
            wants[number, config.index(key, way)] = True
    owner = [-1] * config.entries

    def fits(number, tried):
        for entry in np.flatnonzero(wants[number] & ~tried):
            if tried[entry]:
                continue
            tried[entry] = True
            if owner[entry] < 0 or fits(owner[entry], tried):
                owner[entry] = number
                return True
        return False

    return sum(fits(number, np.zeros(config.entries, dtype=bool)) for number in range(len(keys)))


@pytest.mark.parametrize("ways", [1, 2, 4])
@pytest.mark.parametrize("sets", [1, 8, 32])
def test_as_many_keys_as_can_be_have_a_place_of_their_own(sets, ways):
    config = config_of(sets=sets, ways=ways)
    keys = np.random.default_rng(sets).choice(1 << 24, config.entries, replace=False).tolist()
    found = places(config, keys)
    taken = [entry for entry in found if entry is not None]
    assert len(set(taken)) == len(taken) == best_count(config, keys)
    for key, entry in zip(keys, found, strict=True):
        assert entry is None or entry in [config.index(key, way) for way in range(ways)]
    kept = [key for key, entry in zip(keys, found, strict=True) if entry is not None]
    for number in range(len(keys)):  # earlier keys never lose to later ones
        assert best_count(config, keys[: number + 1]) == sum(
            key in kept for key in keys[: number + 1]
        )


def test_the_table_fills_to_nine_tenths():
    config = config_of(sets=1024, ways=4, key_bits=32)
    keys = np.random.default_rng(1).choice(1 << 25, config.entries * 9 // 10, replace=False)
    assert None not in places(config, keys.tolist())
    in_a_row = range(77, 77 + config.entries * 9 // 10)
    assert None not in places(config, in_a_row)


def test_place_and_tag_name_the_key():
    config = config_of(sets=8, ways=2, key_bits=9)
    for way in range(2):
        named = {(config.index(key, way), config.tag(key)) for key in range(1 << 9)}
        assert len(named) == 1 << 9
        assert {index for index, _ in named} == set(range(8 * way, 8 * way + 8))


def test_rows_are_packed_from_both_ends():
    config = config_of(lines=4)
    rows = [
        {key: bytes([key] * 4) for key in range(10, 30)},
        {key: bytes([key] * 16) for key in range(60, 65)},
    ]
    table = pinned_table(config, 2, (4, 16), rows)
    assert table.pinned == (tuple(range(10, 18)), (60, 61))
    assert table.left_out == (tuple(range(18, 30)), (62, 63, 64))
    lines = [line.to_bytes(16, "little") for line in table.lines]
    assert lines[0] == b"".join(bytes([key] * 4) for key in range(10, 14))
    assert lines[1] == b"".join(bytes([key] * 4) for key in range(14, 18))
    assert lines[2:] == [bytes([61] * 16), bytes([60] * 16)]
    assert sum(entry != 0 for entry in table.entries) == 10


@pytest.mark.parametrize(
    ("split", "row_bytes", "message"),
    [
        (13, (4, 16), r"split must be in 0\.\.12, not 13"),
        (1, (4, 32), r"row_bytes must be a power of two in 4\.\.16, not 32"),
        (1, (8, 16), r"row 1 of stage 0 must have 8 bytes, not 4"),
    ],
)
def test_rejects(split, row_bytes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        pinned_table(config_of(), split, row_bytes, [{1: bytes(4)}, {}])
