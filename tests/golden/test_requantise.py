from fractions import Fraction

import numpy as np
import pytest

from rpaccel.golden.requantise import clamp8, requantise, round_shift


def exact(x: int, multiplier: int, shift: int, low: int, high: int) -> int:
    # Python's round of a Fraction is half to even.
    return min(high, max(low, round(Fraction(x * multiplier, 1 << shift))))


@pytest.mark.parametrize(
    ("value", "shift", "expected"),
    [
        (5, 0, 5), (-5, 0, -5),
        (1, 1, 0), (3, 1, 2), (5, 1, 2), (7, 1, 4),  # 0.5, 1.5, 2.5, 3.5
        (-1, 1, 0), (-3, 1, -2), (-5, 1, -2), (-7, 1, -4),
        (2, 2, 0), (6, 2, 2), (-2, 2, 0), (-6, 2, -2), (-7, 2, -2), (-5, 2, -1),
        ((1 << 48) + (1 << 46), 47, 2), ((1 << 47) + (1 << 46), 47, 2), (1 << 46, 47, 0),
    ],
)  # fmt: skip
def test_half_goes_to_even(value, shift, expected):
    assert int(round_shift(np.array(value), shift)) == expected


@pytest.mark.parametrize("shift", range(8))
def test_every_small_product(shift):
    x = np.arange(-1024, 1025)
    expected = [round(Fraction(int(v), 1 << shift)) for v in x]
    assert round_shift(x, shift).tolist() == expected


def test_random_against_fractions():
    rng = np.random.default_rng(0)
    x = rng.integers(-(1 << 32), 1 << 32, size=3000)
    multiplier = rng.integers(0, 1 << 16, size=3000)
    shift = rng.integers(0, 48, size=3000)
    got = requantise(x, multiplier, shift, -32768, 32767)
    rows = zip(x.tolist(), multiplier.tolist(), shift.tolist(), strict=True)
    assert got.tolist() == [exact(a, b, c, -32768, 32767) for a, b, c in rows]


def test_widest_operands():
    for x in (-(1 << 32), (1 << 32) - 1):
        for shift in (0, 1, 46, 47):
            got = int(requantise(np.array(x), 65535, shift, -(1 << 62), 1 << 62))
            assert got == exact(x, 65535, shift, -(1 << 62), 1 << 62)


def test_saturation_edges():
    x = np.array([-200, -128, -127, -126, 0, 126, 127, 128, 200])
    assert requantise(x, 1, 0, -127, 127).tolist() == [-127] * 3 + [-126, 0, 126] + [127] * 3
    assert requantise(x, 1, 0, 0, 127).tolist() == [0] * 5 + [126] + [127] * 3
    assert requantise(np.array([255, 254, 253, -253, -255]), 1, 1, -127, 127).tolist() == [
        127, 127, 126, -126, -127,
    ]  # fmt: skip
    assert clamp8(x).tolist() == requantise(x, 1, 0, -127, 127).tolist()
