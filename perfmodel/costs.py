"""What the items of a stage cost gather, from the units' own formulas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from rpaccel.perfmodel.memory import BURST_BEATS, Number, RecordSizes, list_beats, traffic_of
from rpaccel.perfmodel.memory_fabric import lookup_cycles, read_cycles, row_cycles
from rpaccel.perfmodel.shapes import FeatureShape, ModelShape
from rpaccel.perfmodel.sub_batch import WALK_RECORD_CYCLES
from rpaccel.spec.accelerator import AcceleratorConfig

# Latencies of the read path, from the docstrings of the units [cycles].
REQUEST_BUFFER_CYCLES = 1  # RecordReader, Gather: stream buffer before the fabric
RECORD_CYCLES = 1  # RecordReader: last beat to record
RESOLVE_CYCLES = 2  # IdResolver: op to row request or ticket
FIFO_CYCLES = 2  # SyncFIFOBuffered: ids, tickets
POOL_CYCLES = 5  # Pooler: last row's beat to the vector, and to the end of a sub-batch
BATCH_QUEUE_CYCLES = 1  # Gather: queue of sub-batches
LIST_BURSTS = 4  # MemoryFabric: a list's bursts in flight

HIT_CYCLES, MISS_CYCLES = 1, 2  # RowBank: of a beat that hits, and of one that misses
RECORDS_AHEAD = 16  # RecordReader: item records of the largest size in its ring

FABRIC_CYCLES = read_cycles(0)  # a record's or a list's
ROW_CYCLES = row_cycles(0)  # a row's that misses


@dataclass(frozen=True, kw_only=True)
class GatherMachine:
    """What of a machine and its memory the gather depends on; integers, or int64[points]."""

    array_size: int
    ports: int  # shares of the gather unit, among which a sub-batch's items are dealt
    beat_bytes: Number
    reads_in_flight: int
    ring_bytes: int
    banks: Number
    row_groups: Number  # rows that a bank reads at a time
    lookup_cycles: Number  # of its static cache
    latency_cycles: Number
    memory_ports: Number = 1  # among which records and rows are striped
    row_hits: Number = 0.0  # share of the rows' beats that read no memory
    bank_skew: Number = 1.0  # the busiest bank's share of the others' reads, times banks

    def __post_init__(self) -> None:
        if np.any((self.row_hits < np.float64(0)) | (self.row_hits > np.float64(1))):
            raise ValueError(f"row_hits must be in 0..1, not {self.row_hits}")
        if np.any(self.bank_skew < np.float64(1)):
            raise ValueError(f"bank_skew must be at least 1, not {self.bank_skew}")

    @classmethod
    def of(
        cls,
        config: AcceleratorConfig,
        latency_cycles: Number,
        beat_bytes: Number | None = None,
        row_hits: Number = 0.0,
        bank_skew: Number = 1.0,
    ) -> GatherMachine:
        """Return the gather's view of `config`; its beat may be replaced by one per point."""
        beat = config.beat_bytes if beat_bytes is None else beat_bytes
        row_beats = np.maximum(1, config.row_beats_max * config.beat_bytes // beat)
        ring = max(2 * config.user_record_bytes, RECORDS_AHEAD * config.item_record_bytes)
        return cls(
            array_size=config.array_size,
            ports=config.gather_ports,
            beat_bytes=beat,
            reads_in_flight=config.reads_in_flight,
            ring_bytes=ring,
            banks=config.banks,
            row_groups=config.row_reads // row_beats,
            lookup_cycles=lookup_cycles(config.static_cache_lines),
            latency_cycles=latency_cycles,
            memory_ports=config.memory_ports,
            row_hits=row_hits,
            bank_skew=bank_skew,
        )


@dataclass(frozen=True, kw_only=True)
class GatherCost:
    """A stage's gather [cycles]. Means, where records name different numbers of rows.

    record : from the stage's first cycle until the user record is complete.
    user : from then until the walker takes the first item.
    share : per item of a share in steady state. ports : shares, of which each has one item of so
    many. item : per item, what all shares have in common.
    drain : from the walker's last op of a sub-batch until the sub-batch is offered.

    Every field is a float, or float64[points] where the machine is one of many.
    """

    record: Number
    user: Number
    share: Number
    ports: int
    item: Number
    drain: Number

    def sub_batch(self, items: Number) -> Number:
        """Return the walker's cycles for a sub-batch of `items`: those of the largest share."""
        return np.maximum(-(-items // self.ports) * self.share, items * self.item)


def walk_cycles(dense_beats: Number, features: tuple[FeatureShape, ...]) -> Number:
    """Return the walker's cycles for one record: FeatureWalker's docstring as a sum."""
    rows = sum(1 + f.tickets if f.multi_hot else 1.0 for f in features)
    return WALK_RECORD_CYCLES + dense_beats + rows


def row_trip_cycles(machine: GatherMachine, row_beats: Number) -> Number:
    """Return the cycles of a row that misses: request buffer, bank, fabric, memory, its beats.

    Those twice: a burst is asked for with the row's last beat, and given beat by beat.
    """
    fabric = ROW_CYCLES + machine.lookup_cycles + machine.latency_cycles
    return REQUEST_BUFFER_CYCLES + fabric + 2 * row_beats


def bank_cycles(machine: GatherMachine, row_beats: Number) -> Number:
    """Return the cycles per row of all row banks: their looks, or their reads of memory.

    The busiest bank's, as many rows as it gets: a stripe is in one bank, and a small table, or the
    popular rows of a large one, in few stripes (spec.stripe).
    """
    misses = 1 - machine.row_hits
    looks = (HIT_CYCLES * machine.row_hits + MISS_CYCLES * misses) * row_beats
    reads = misses * row_trip_cycles(machine, row_beats) / machine.row_groups
    return np.maximum(looks, reads) * machine.bank_skew / machine.banks


def window_cycles(window: int, misses: Number, trip: Number) -> Number:
    """Return the cycles per row of a share whose rows come in order, `window` of them at a time.

    One that hits waits for those before it. A row enters when the one `window` before it has left,
    that is with the last miss up to that one: (1 - m) / m rows earlier on average, if a row misses
    with probability m = `misses`, whatever the others do. So `trip` counts once per window + that.
    """
    return misses * trip / (window * misses + 1 - misses)


def gather_cost(
    machine: GatherMachine,
    shape: ModelShape,
    records: RecordSizes,
    items: int,
    first: bool,
) -> GatherCost:
    """Return the gather costs of a stage of `items`; only the first one reads a candidate list.

    Rows come in order, see `window_cycles`; a list without ids takes a place among them, too. Only
    rows that miss take reads of a bank.
    """
    beat_bytes, window = machine.beat_bytes, machine.reads_in_flight
    traffic = traffic_of(beat_bytes, shape, records)
    listed = list_beats(beat_bytes, items) if first else 0

    fabric = REQUEST_BUFFER_CYCLES + FABRIC_CYCLES + machine.latency_cycles
    row_trip = row_trip_cycles(machine, traffic.row_beats)
    ports = machine.ports
    misses = 1 - machine.row_hits
    # rows of one share; the banks are shared by all, and each beat takes a cycle of the share
    bank = bank_cycles(machine, traffic.row_beats)
    row_rate = np.maximum(window_cycles(window, misses, row_trip), bank)
    row_rate = np.maximum(row_rate, traffic.row_beats)
    item_tickets = sum(f.tickets for f in shape.item_features)
    item_misses = misses * traffic.item_rows / max(1, item_tickets)  # chance of a ticket's

    # The list's first bursts go before the user record on the port.
    ahead = np.minimum(LIST_BURSTS * BURST_BEATS, listed)
    record = 2 + fabric + ahead + traffic.user_record_beats + RECORD_CYCLES

    user_beats, item_beats = (
        -(-shape.slot[f"{side}_dense_words"] * machine.array_size // beat_bytes)
        for side in ("user", "item")
    )
    user_walk = walk_cycles(user_beats, shape.user_features)
    walk = walk_cycles(item_beats, shape.item_features)
    record_trip = fabric + traffic.item_record_beats + RECORD_CYCLES
    ahead_records = np.minimum(window, np.maximum(1, machine.ring_bytes // records.item_bytes))
    share_bounds = [  # of a share, which has one item of `ports`
        walk,
        sum(f.ids * traffic.row_beats + f.empty for f in shape.item_features),  # the pooler
        traffic.item_rows * traffic.row_beats,
        item_tickets * window_cycles(window, item_misses, row_trip),
        record_trip / ahead_records,
    ]
    read = traffic.item_record_beats + misses * traffic.item_rows * traffic.row_beats
    port_beats = read + listed / items
    bounds = [
        traffic.item_rows * bank,
        port_beats / machine.memory_ports,
    ]
    if ports > 1:
        bounds.append(item_beats)  # dense beats: one of all shares per cycle
    last_row = row_trip if shape.user_features or shape.item_features else FIFO_CYCLES
    return GatherCost(
        record=record,
        user=np.maximum(user_walk, traffic.user_rows * row_rate),
        share=reduce(np.maximum, share_bounds),
        ports=ports,
        item=reduce(np.maximum, bounds),
        drain=RESOLVE_CYCLES + last_row + POOL_CYCLES + BATCH_QUEUE_CYCLES,
    )
