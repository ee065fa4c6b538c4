"""Cycles of the gather unit for known records: the `busy` counter of one stage.

The bounds are those of rtl.feature_walker, rtl.pooler and rtl.record_reader; between them the unit
overlaps everything. Within 5 % of the RTL where banks are free, with one port and with four
(tests/perfmodel/test_gather).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpaccel.spec.accelerator import AcceleratorConfig

SINGLE_HOT = None  # marks a feature whose record word is the id itself

# Registers on the way, from the docstrings of the units [cycles].
RECORD_CYCLES = 2  # walker: take a record, finish it
START_CYCLES = 2  # start to the first request: stage register, record reader
BUFFER_CYCLES = 1  # request buffer before the port
RECORD_READY_CYCLES = 2  # last beat to the walker's first op
RESOLVE_CYCLES = 2  # op to a row's request or ticket
QUEUE_CYCLES = 2  # tickets: rtl SyncFIFOBuffered
POOL_CYCLES = 5  # pooler
HANDOVER_CYCLES = 2  # queue of batches, and the batch itself
CREDIT_CYCLES = 1  # a ticket's place back to the resolver


@dataclass(frozen=True, kw_only=True)
class RecordCost:
    """One record: its dense beats, and per feature its count, or SINGLE_HOT."""

    dense_beats: int
    ids: tuple[int | None, ...]

    @property
    def walk_cycles(self) -> int:
        """Cycles in the walker: rtl.feature_walker."""
        features = sum(1 if count is SINGLE_HOT else 1 + max(1, count) for count in self.ids)
        return RECORD_CYCLES + self.dense_beats + features

    @property
    def rows(self) -> int:
        """Rows read."""
        return sum(1 if count is SINGLE_HOT else count for count in self.ids)

    def pool_beats(self, row_beats: int) -> int:
        """Beats through the pooler; an empty feature counts as a row."""
        tickets = sum(1 if count is SINGLE_HOT else max(1, count) for count in self.ids)
        return self.dense_beats + tickets * row_beats


@dataclass(frozen=True, kw_only=True)
class GatherReport:
    """Cycles of one stage. `start` and `drain` hide nothing; `items` is the largest bound."""

    start: int  # until the user record is there
    user: int
    items: int
    drain: int
    bound: str  # of the items: walker, pooler, rows, records, dense or port

    @property
    def total(self) -> int:
        """The `busy` counter."""
        return self.start + self.user + self.items + self.drain


def ring_bytes(config: AcceleratorConfig) -> int:
    """Return the size of the record ring: rtl.record_reader."""
    return max(2 * config.user_record_bytes, 16 * config.item_record_bytes)


def _shares(
    items: Sequence[RecordCost], ports: int, sub_batch: int | None
) -> list[list[RecordCost]]:
    """Return each share's items: rtl.gather_deal."""
    size = sub_batch or max(1, len(items))
    shares: list[list[RecordCost]] = [[] for _ in range(ports)]
    for number, item in enumerate(items):
        shares[number % size % ports].append(item)
    return shares


def gather_report(
    config: AcceleratorConfig,
    latency_cycles: int,
    user: RecordCost,
    items: Sequence[RecordCost],
    user_record_bytes: int,
    item_record_bytes: int,
    row_bytes: int,
    shared_port: bool = True,
    sub_batch: int | None = None,
) -> GatherReport:
    """Return the cycles of one stage whose banks are always free.

    Items are dealt in turn to config.gather_ports shares, anew in every sub-batch; the largest of a
    bound over the shares counts.

    latency_cycles : request taken to first beat taken at the unit's ReadPort (memory and fabric).
    shared_port : records and rows come over one port of one beat per cycle.
    sub_batch : items per sub-batch; None: all.
    """
    window, beat_bytes = config.reads_in_flight, config.beat_bytes
    row_beats = max(1, row_bytes // beat_bytes)
    user_beats, item_beats = user_record_bytes // beat_bytes, item_record_bytes // beat_bytes
    fetch = BUFFER_CYCLES + latency_cycles

    # A ticket's round trip: it waits for its row. The first `window` leave at the walker's rate.
    trip = fetch + row_beats - 1 + QUEUE_CYCLES + CREDIT_CYCLES

    def phase(records: Sequence[RecordCost], in_flight: int) -> tuple[int, dict[str, int]]:
        walk = sum(record.walk_cycles for record in records)
        rows = sum(record.rows for record in records)
        waiting = max(0, rows + in_flight - window)
        first = walk * max(0, rows - waiting) / rows if rows else 0
        bounds = {
            "walker": walk,
            "pooler": sum(record.pool_beats(row_beats) for record in records),
            "rows": round(first + waiting * max(row_beats, trip / window)),
        }
        return rows, bounds

    user_rows, user_bounds = phase([user], 0)
    ahead = max(1, min(window, ring_bytes(config) // item_record_bytes))
    record_trip = fetch + item_beats - 1 + RECORD_READY_CYCLES
    rows, bounds = 0, dict[str, int]()
    for number, share in enumerate(_shares(items, config.gather_ports, sub_batch)):
        # the user's rows are still on their way
        share_rows, costs = phase(share, 0 if number else min(user_rows, window))
        costs["records"] = round(len(share) * max(item_beats, record_trip / ahead))
        rows += share_rows
        bounds = {name: max(cost, bounds.get(name, 0)) for name, cost in costs.items()}
    if config.gather_ports > 1:
        bounds["dense"] = sum(record.dense_beats for record in items)
    if shared_port:
        bounds["port"] = len(items) * item_beats + rows * row_beats
    bound = max(bounds, key=lambda name: bounds[name])
    tail = fetch + row_beats - 1 if rows else 0
    return GatherReport(
        start=START_CYCLES + fetch + max(0, user_beats - 1) + RECORD_READY_CYCLES,
        user=max(user_bounds.values()),
        items=bounds[bound],
        drain=RESOLVE_CYCLES + tail + QUEUE_CYCLES + POOL_CYCLES + HANDOVER_CYCLES,
        bound=bound,
    )
