import numpy as np
import pytest

from rpaccel.scheduler.sizes import (
    Sizes,
    fixed,
    heavy_tail,
    load_sizes,
    lognormal,
    mlperf_dlrm,
    normal,
    parse_sizes,
    sizes_of,
)


def test_heavy_tail_holds_all_percentiles_exactly():
    sizes = heavy_tail()
    total = np.cumsum(sizes.share)
    for quantile, size in ((0.5, 177), (0.75, 239), (0.95, 601), (0.99, 920)):
        assert total[size] == pytest.approx(quantile, abs=1e-12)
        assert sizes.quantile(quantile) == size
        assert sizes.quantile(quantile + 1e-6) == size + 1
    assert sizes.most == sizes.quantile(1.0) == 999
    assert sizes.share[1:].min() > 0


def test_largest_quarter_of_the_heavy_tail_holds_half_of_the_items():
    assert heavy_tail().items_of_largest(0.25) == pytest.approx(0.52, abs=0.005)
    assert heavy_tail().mean == pytest.approx(238, abs=1)


def test_draws_of_the_heavy_tail():
    drawn = heavy_tail().draw(400_000, seed=1)
    assert drawn.min() >= 1
    assert drawn.max() == 999
    found = np.quantile(drawn, [0.5, 0.75, 0.95, 0.99])
    assert found == pytest.approx([177, 239, 601, 920], rel=0.02)
    largest = np.sort(drawn)[-100_000:]
    assert largest.sum() / drawn.sum() == pytest.approx(0.52, abs=0.01)


def test_same_seed_same_sizes():
    assert np.array_equal(heavy_tail().draw(100, 5), heavy_tail().draw(100, 5))
    assert not np.array_equal(heavy_tail().draw(100, 5), heavy_tail().draw(100, 6))


def test_mlperf():
    sizes = mlperf_dlrm()
    assert sizes.mean == pytest.approx(270)
    assert sizes.items_of_largest(0.25) == pytest.approx(0.46, abs=0.005)
    assert set(np.unique(sizes.draw(10_000, 0))) == {100, 200, 300, 400, 500, 600, 700}


@pytest.mark.parametrize(
    ("sizes", "mean", "p50", "p99", "largest_quarter"),
    [  # a million draws each, facts of the two distributions in the artifact's scripts
        (lognormal(5.1, 0.2), 167, 164, 261, 0.32),
        (normal(165, 16), 165, 165, 202, 0.28),
    ],
)
def test_light_tails(sizes, mean, p50, p99, largest_quarter):
    assert sizes.mean == pytest.approx(mean, abs=1)
    assert sizes.quantile(0.5) == pytest.approx(p50, abs=1)
    assert sizes.quantile(0.99) == pytest.approx(p99, abs=1)
    assert sizes.items_of_largest(0.25) == pytest.approx(largest_quarter, abs=0.01)


def test_cut_at_both_ends():
    wide = normal(0.0, 5.0, most=4)
    assert wide.share.size == 5
    assert wide.share[1] > 0.5
    assert wide.share[4] == pytest.approx(0.212, abs=0.001)  # P(X >= 4)


def test_fixed():
    assert set(fixed(7).draw(100, 0)) == {7}
    assert set(fixed(1).draw(100, 0)) == {1}


def test_file(tmp_path):
    path = tmp_path / "sizes.txt"
    path.write_text("# one a line\n10\n20.9\n10\n30\n")
    sizes = load_sizes(path)
    assert sizes.share[10] == 0.5
    assert sizes.share[20] == 0.25
    assert parse_sizes(str(path)).mean == sizes.mean == 17.5


@pytest.mark.parametrize("text", ["0\n", "x\n", "nan\n", "-3\n", "1e9\n"])
def test_bad_file(tmp_path, text):
    path = tmp_path / "s.txt"
    path.write_text("5\n" + text)
    with pytest.raises(ValueError, match=r"^s\.txt:2: size must be in 1\.\."):
        load_sizes(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"^s\.txt: must hold at least one size"):
        load_sizes(path)


def test_names():
    assert parse_sizes("heavy").most == 999
    assert parse_sizes("mlperf").most == 700
    assert parse_sizes("fixed:12").most == 12
    assert parse_sizes("normal:165,16").mean == pytest.approx(165, abs=1)
    assert parse_sizes("lognormal:5.1,0.2").mean == pytest.approx(167, abs=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_sizes("light"), r"^sizes must be heavy, mlperf.*not 'light'"),
        (lambda: parse_sizes("normal:5"), r"^normal must have 2 number\(s\), not '5'"),
        (lambda: parse_sizes("fixed:0"), r"^sizes of fixed must be at least 1"),
        (lambda: normal(5, 0), r"^deviation must be positive, not 0"),
        (lambda: sizes_of("s", np.asarray([0])), r"^sizes of s must be at least 1"),
        (lambda: heavy_tail().draw(0, 0), r"^queries must be at least 1, not 0"),
        (
            lambda: Sizes(name="s", share=np.asarray([0, 0.5])),
            r"^share of s must sum to 1, not 0\.5",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
