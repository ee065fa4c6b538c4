"""Shares of the ideal requester's beats on several ports, in the compiled model."""

from functools import partial

import pytest

from rpaccel.host.axi_memory import MEMORIES
from rpaccel.host.row_bounds import QUEUE_READS, READERS_OF_PORT, READS, bound_row, bound_study
from rpaccel.host.row_study import SEVERAL_ROW_BYTES, readers_of, reads_of
from rpaccel.perfmodel.row_banks import ROWS_WAITING

GOAL = 0.95


@pytest.mark.parametrize("ports", [2, 4, 8, 16])
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("row_bytes", SEVERAL_ROW_BYTES)
def test_several_ports_get_what_an_ideal_requester_of_each_gets(memory, row_bytes, ports):
    for seed in (1, 2):
        row = bound_row(ports, memory=memory, row_bytes=row_bytes, seed=seed)
        assert row.of_ideal >= GOAL, row


@pytest.mark.parametrize("ports", [1, 2, 4, 8, 16])
def test_readers_have_fewer_rows_in_flight_than_the_banks_of_a_port_hold(ports):
    row = bound_row(ports, beats=100)
    assert (row.readers, row.reads) == (readers_of(ports), reads_of(ports))
    assert row.held == 4 * (ROWS_WAITING + 32)
    assert row.readers * row.reads < ports * row.held


@pytest.mark.parametrize("ports", [8, 16])
def test_more_rows_in_flight_than_the_banks_hold_leave_ports_idle(ports):
    """Deeper queues before the banks mend it at the same reads in flight; larger windows do not."""
    at = partial(bound_row, ports)
    over = at(reads=128)
    assert over.readers * over.reads > ports * over.held
    assert over.of_ideal < GOAL <= at(reads=64).of_ideal
    assert at(reads=256).of_ideal < over.of_ideal
    assert at(reads=128, rows_waiting=4).of_ideal < over.of_ideal
    assert at(reads=128, rows_waiting=64).of_ideal >= GOAL


def test_a_reader_per_port_is_too_few():
    """A reader takes a beat per cycle at most, which is all that its port has."""
    shares = [bound_row(8, readers=8, reads=reads).of_ideal for reads in READS]
    assert max(shares) < GOAL


def test_the_study_has_every_window_and_queue():
    rows = list(bound_study([2, 4], beats=400))
    usual = [row for row in rows if row.rows_waiting == ROWS_WAITING]
    assert [(row.ports, row.readers // row.ports, row.reads) for row in usual] == [
        (ports, each, reads) for ports in (2, 4) for each in READERS_OF_PORT for reads in READS
    ]
    assert {row.reads for row in rows if row not in usual} == {QUEUE_READS}
    assert len({row.rows_waiting for row in rows}) > 2
