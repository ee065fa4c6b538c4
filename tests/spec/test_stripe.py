from collections import Counter

import numpy as np
import pytest

from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.stripe import bank_of, fold, port_address, port_of

PAPER = load_accelerator("paper")


@pytest.mark.parametrize(("ports", "banks"), [(1, 1), (1, 4), (4, 4), (4, 16), (16, 16)])
def test_ports_and_banks_share_addresses_evenly(ports, banks):
    config = PAPER.model_copy(update={"memory_ports": ports, "row_banks": banks})
    size = config.stripe_bytes
    for stride in (1, 2, banks, 4 * banks):  # stripes in a row, and at powers of two
        addresses = np.arange(64 * banks * banks, dtype=np.int64) * stride * size
        found = Counter(bank_of(config, addresses).tolist())
        assert set(found) == set(range(banks))
        assert max(found.values()) <= 1.25 * min(found.values()), stride
        assert ((bank_of(config, addresses) & (ports - 1)) == port_of(config, addresses)).all()


def test_a_stripe_has_one_bank():
    for first in range(0, 1 << 20, PAPER.stripe_bytes):
        inside = np.arange(first, first + PAPER.stripe_bytes, 64)
        assert len(set(bank_of(PAPER, inside).tolist())) == 1


def test_every_port_has_its_addresses_without_a_gap():
    addresses = np.arange(0, 1 << 20, 64, dtype=np.int64)
    ports = port_of(PAPER, addresses)
    for port in range(PAPER.memory_ports):
        own = port_address(PAPER, addresses[ports == port])
        assert sorted(own.tolist()) == list(range(0, (1 << 20) // PAPER.memory_ports, 64))


def test_fold_by_hand():
    assert fold(0b1101_0110, 4, 8) == 0b1101 ^ 0b0110
    assert fold(0b101_110_011, 3, 9) == 0b101 ^ 0b110 ^ 0b011
    assert fold(0xFFFF, 0, 16) == 0
