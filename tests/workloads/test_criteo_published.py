import pytest

from rpaccel.workloads.criteo_published import LARGE_ALONE, TWO_STAGES, published_ndcg


def test_logged_pairs_are_as_logged():
    for (candidates, k), ndcg in TWO_STAGES.items():
        assert published_ndcg(candidates, k) == (ndcg, True)


def test_between_logged_pairs():
    half, logged = published_ndcg(4096, 256)  # halfway from 128 to 512, by logarithm
    assert not logged
    assert half == pytest.approx((92.40 + 92.47) / 2)
    assert published_ndcg(4096, 1024) == (92.47, False)
    assert published_ndcg(2048, 256)[0] == pytest.approx(LARGE_ALONE[2048] - 0.035)
    assert published_ndcg(4096, 4096)[0] == LARGE_ALONE[4096]


def test_rejects():
    with pytest.raises(ValueError, match=r"candidates must be one of 256, .*, not 4000"):
        published_ndcg(4000, 512)
    for k in (127, 1025):
        with pytest.raises(ValueError, match=rf"k must be in 128\.\.1024, not {k}"):
            published_ndcg(1024, k)
