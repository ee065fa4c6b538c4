"""What the items of a stage cost gather, from the units' own formulas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from rpaccel.perfmodel import memory_fabric as fabric
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
    many. item : per item, what all shares have in common. wait : per item, for what lanes share
    (the busiest of banks and ports), if that is as long busy as it is free; see `queued`.
    drain : from the walker's last op of a sub-batch until the sub-batch is offered.

    Every field is a float, or float64[points] where the machine is one of many.
    """

    record: Number
    user: Number
    share: Number
    ports: int
    item: Number
    wait: Number
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


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a station takes for a row that hits, and for one that misses [cycles]."""

    hit: Number
    miss: Number

    def mean(self, row_hits: Number) -> Number:
        """Return the mean."""
        return row_hits * self.hit + (1 - row_hits) * self.miss

    def left(self, row_hits: Number) -> Number:
        """Return what is left of one on average when another row comes at random."""
        squares = row_hits * self.hit**2 + (1 - row_hits) * self.miss**2
        return squares / (2 * self.mean(row_hits))


def look_service(row_beats: Number) -> Service:
    """Return a bank's cache: beats looked up, and entered when they come."""
    return Service(hit=HIT_CYCLES * row_beats, miss=MISS_CYCLES * row_beats)


def group_service(machine: GatherMachine, row_beats: Number) -> Service:
    """Return a bank's groups of reads, as of one of them that is as many times as fast.

    A row takes one with its first look, and gives it back when its last beat has hit, or when what
    was read for it has been answered.
    """
    look = fabric.LOOK_CYCLES + fabric.RESOLVE_CYCLES
    memory = read_cycles(machine.latency_cycles) - fabric.ORDER_CYCLES
    asked = look + row_beats - 1 + fabric.BUFFER_CYCLES
    found, read = look + row_beats, asked + memory + fabric.STORE_CYCLES + look + row_beats
    return Service(hit=found / machine.row_groups, miss=read / machine.row_groups)


def bank_cycles(machine: GatherMachine, row_beats: Number) -> Number:
    """Return the cycles per row of all row banks: their looks, or their reads of memory.

    The busiest bank's, as many rows as it gets: a stripe is in one bank, and a small table, or the
    popular rows of a large one, in few stripes (spec.stripe).
    """
    services = look_service(row_beats), group_service(machine, row_beats)
    looks, groups = (service.mean(machine.row_hits) for service in services)
    return np.maximum(looks, groups) * machine.bank_skew / machine.banks


def window_cycles(window: int, misses: Number, trip: Number, walk: Number) -> Number:
    """Return the cycles per row of a share whose rows come in order, `window` of them at a time.

    A row enters when the one `window` before it has left, and that when the last miss up to it has:
    so what makes rows wait is a chain of misses, each entering `window` rows after the one before,
    or with the first miss behind: (1 - m) / m rows later on average, if a row misses with
    probability m = `misses`, whatever the others do. Those rows take `walk` each, a miss `trip`.
    """
    return (misses * trip + (1 - misses) * walk) / (window * misses + 1 - misses)


def queued(free: Number, work: Number, wait: Number, others: float = 1) -> Number:
    """Return the cycles of a stream that takes `free`, or more as it waits for a station.

    It takes `work` of the station, which is busy for the share r = work / cycles, and waits for it
    wait * r / (1 - r): `wait` is what is left of a service when another one comes, times the reads
    that go one after the other. So waits a queue to which others come at random (F. Pollaczek,
    1930; A. Khintchine, 1932), closed here: cycles = free + wait * work / (cycles - work).
    others : share of the stream's reads on their way that a read finds there, all but itself; of
    `work` it meets no more than that (P. J. Schweitzer, 1979).
    """
    met = others * work
    cycles = (free + met + np.sqrt((free - met) ** 2 + 4 * wait * met)) / 2
    return np.maximum(work, cycles)


def _queue_all(
    free: Number, stations: list[tuple[Number, Number]], others: float
) -> tuple[Number, Number]:
    """Return the cycles of a stream that is `queued` at all stations, and its wait at the busiest.

    stations : (work, wait) of each.
    """
    works, waits = (np.stack(np.broadcast_arrays(*each)) for each in zip(*stations, strict=True))
    order = np.argsort(works, axis=0)
    works, waits = (np.take_along_axis(each, order, 0) for each in (works, waits))
    for work, wait in zip(works, waits, strict=True):
        free = queued(free, work, wait, others)
    return free, waits[-1]


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
    # rows of one share; the banks are shared by all, and each beat takes a cycle of the share
    bank = bank_cycles(machine, traffic.row_beats)
    row_rate = np.maximum(window_cycles(window, misses, row_trip, 1), bank)
    row_rate = np.maximum(row_rate, traffic.row_beats)
    record_trip = fabric + traffic.item_record_beats + RECORD_CYCLES
    ahead_records = np.minimum(window, np.maximum(1, machine.ring_bytes // records.item_bytes))
    share_bounds = [  # of a share, which has one item of `ports`
        walk,
        sum(f.ids * traffic.row_beats + f.empty for f in shape.item_features),  # the pooler
        traffic.item_rows * traffic.row_beats,
        item_tickets * window_cycles(window, item_misses, row_trip, walk / max(1, item_tickets)),
        record_trip / ahead_records,
        traffic.item_record_beats,
    ]
    read = traffic.item_record_beats + misses * traffic.item_rows * traffic.row_beats
    port_beats = read + listed / items
    bounds = [
        traffic.item_rows * bank,
        port_beats / machine.memory_ports,
    ]
    if ports > 1:
        bounds.append(item_beats)  # dense beats: one of all shares per cycle
    # of an item's reads, those that go one after the other
    turns = item_tickets * np.maximum(
        item_misses / (window * item_misses + 1 - item_misses), 1 / window
    )
    turns = np.maximum(turns, 1 / ahead_records) / ports
    rows = traffic.item_rows * machine.bank_skew / machine.banks
    looks, groups = look_service(traffic.row_beats), group_service(machine, traffic.row_beats)
    hits = machine.row_hits
    burst = np.maximum(traffic.item_record_beats, traffic.row_beats)
    cycles, wait = _queue_all(
        reduce(np.maximum, share_bounds) / ports,
        [
            (rows * looks.mean(hits), turns * looks.left(hits)),
            (rows * groups.mean(hits), turns * groups.left(hits)),
            (port_beats / machine.memory_ports, turns * burst / 2),
        ],
        1 - 1 / window,
    )
    last_row = row_trip if shape.user_features or shape.item_features else FIFO_CYCLES
    return GatherCost(
        record=record,
        user=np.maximum(user_walk, traffic.user_rows * row_rate),
        share=ports * cycles,
        ports=ports,
        item=reduce(np.maximum, bounds),
        wait=wait,
        drain=RESOLVE_CYCLES + last_row + POOL_CYCLES + BATCH_QUEUE_CYCLES,
    )
