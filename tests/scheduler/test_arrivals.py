import numpy as np
import pytest

from rpaccel.scheduler.arrivals import poisson_arrivals_s, read_trace_s


def test_poisson_gaps_are_exponential():
    gaps = np.diff(poisson_arrivals_s(200_000, 100.0, seed=1))
    assert gaps.mean() == pytest.approx(0.01, rel=0.01)
    assert gaps.std() == pytest.approx(0.01, rel=0.01)
    assert (gaps > 0.01).mean() == pytest.approx(np.exp(-1), rel=0.01)


def test_one_seed_scales_with_load():
    slow = poisson_arrivals_s(100, 10.0, seed=2)
    assert np.allclose(slow, 5 * poisson_arrivals_s(100, 50.0, seed=2))


def test_trace(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("# seconds\n0.0\n0.5\n0.5\n2\n")
    assert read_trace_s(path).tolist() == [0.0, 0.5, 0.5, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n0\n", r"^t\.txt:2: arrivals must not go back, not '0'"),
        ("1\nx\n", r"^t\.txt:2: must be seconds, not 'x'"),
        ("#\n", r"^t\.txt: must hold at least one arrival"),
    ],
)
def test_bad_trace(tmp_path, text, message):
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trace_s(path)
