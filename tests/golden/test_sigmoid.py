import numpy as np

from rpaccel.golden.sigmoid import CTR_MAX, ctr, sigmoid_base, sigmoid_float

LOGITS = np.arange(-32768, 32768)


def test_monotone_over_all_logits():
    assert (np.diff(ctr(LOGITS)) >= 0).all()


def test_close_to_the_float_sigmoid():
    error = np.abs(ctr(LOGITS) - CTR_MAX * sigmoid_float(LOGITS))
    assert error.max() < 14  # [LSB of 16 bits], the chord of a segment where it bends most
    assert error.mean() < 4


def test_knots_by_hand():
    base = sigmoid_base()
    assert base.size == 257
    assert base[[0, 128, 256]].tolist() == [0, 32768, 65535]  # 65535 / 2 = 32767.5, to even
    assert base[136] == round(65535 / (1 + np.exp(-1)))
    assert ctr(np.array([0, -32768])).tolist() == [32768, 0]


def test_between_knots():
    base = sigmoid_base()
    assert int(ctr(np.array(128))) == base[128] + ((base[129] - base[128]) >> 1)
    assert int(ctr(np.array(32767))) == base[255] + ((base[256] - base[255]) * 255 >> 8)
