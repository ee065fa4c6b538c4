"""What bounds row banks on several ports, in the model that is equal to the netlist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.row_memory import row_memory
from rpaccel.host.row_study import CLOCK_HZ, readers_of, reads_of, study_machine, study_trace
from rpaccel.perfmodel.row_banks import ROWS_WAITING, AskedRows, predict_rows

__all__ = ["BoundRow", "bound_row", "bound_study"]

ROW_BYTES = 256
READS = (16, 32, 64, 128, 256)  # of a reader, in flight
READERS_OF_PORT = (1, 2, 4)
QUEUES = (8, 32, 64)  # rows that wait before a bank, other than the netlist's
QUEUE_READS = 128  # of each of two readers per port


@dataclass(frozen=True, kw_only=True)
class BoundRow:
    """A share of the ideal requester's beats, and the sizes that it is of.

    reads : rows of a reader in flight. rows_waiting : of a bank's queue. banks : of a port.
    held : rows that they can hold.
    """

    memory: str
    ports: int
    readers: int
    reads: int
    rows_waiting: int
    banks: int
    held: int
    beats_per_cycle: float
    of_ideal: float


def bound_row(
    ports: int,
    *,
    memory: str = "simple",
    row_bytes: int = ROW_BYTES,
    readers: int | None = None,
    reads: int | None = None,
    rows_waiting: int = ROWS_WAITING,
    banks: int = 4,
    beats: int = 20_000,
    seed: int = 1,
) -> BoundRow:
    """Return one share. readers, reads : None: as `study` has them; all else is as there."""
    readers, reads = readers or readers_of(ports), reads or reads_of(ports)
    config = study_machine(banks, ports).model_copy(update={"reads_in_flight": reads})
    timing = MemoryTiming.of(memory, clock_hz=CLOCK_HZ)
    trace = study_trace(config, row_bytes, beats=beats, seed=seed)
    part_beats = trace.part_bytes // config.beat_bytes
    asked = [AskedRows(trace.asked[i::readers], part_beats) for i in range(readers)]
    with row_memory(config, timing) as device:
        report = predict_rows(config, asked, device, rows_waiting=rows_waiting)
    rate = report.beats / report.cycles
    return BoundRow(
        memory=memory,
        ports=ports,
        readers=readers,
        reads=reads,
        rows_waiting=rows_waiting,
        banks=banks,
        held=banks * (rows_waiting + config.row_reads // config.row_beats_max),
        beats_per_cycle=rate,
        of_ideal=rate / trace.ideal(config, timing).beats_per_cycle,
    )


def bound_study(
    ports: Sequence[int], *, banks: int = 4, beats: int = 20_000, seed: int = 1
) -> Iterator[BoundRow]:
    """Yield shares of rows of 256 B: every number of readers with every window, then queues."""
    row = partial(bound_row, banks=banks, beats=beats, seed=seed)
    for count in ports:
        for each in READERS_OF_PORT:
            for reads in READS:
                yield row(count, readers=each * count, reads=reads)
        for waiting in QUEUES:
            yield row(count, readers=2 * count, reads=QUEUE_READS, rows_waiting=waiting)
