"""Lanes' gather units, row banks, memory fabric and memory: their sizes, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpaccel.perfmodel.dispatcher_state import new_fetch
from rpaccel.perfmodel.gather_unit_state import (
    UNIT,
    GatherSizes,
    Network,
    new_gather_state,
    new_order_state,
)
from rpaccel.perfmodel.row_bank_state import TOLD, new_row_state
from rpaccel.perfmodel.row_banks import PinnedRows, RowMemory, row_sizes
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig

__all__ = ["GatherNetwork"]

LIST_SLOTS, RECORD_SLOTS = 4, 16  # rtl.memory_fabric: bursts in flight
RECORDS_AHEAD = 16  # rtl.record_reader: item records of the largest size in its ring
WORD_BYTES = 4


class GatherNetwork:
    """What `perfmodel.gather_unit_kernels` are given as `parts`; traces come beside.

    Parameters
    ----------
    machine : AcceleratorConfig  Banks, ports, memory.
    lanes : Sequence[AcceleratorConfig]  Its lanes, by rising number.
    memory : RowMemory
    pinned : PinnedRows  What the static caches hold; None: nothing.
    """

    def __init__(
        self,
        machine: AcceleratorConfig,
        lanes: Sequence[AcceleratorConfig],
        memory: RowMemory,
        pinned: PinnedRows | None = None,
    ) -> None:
        shift = (machine.stripe_bytes - 1).bit_length()
        bits = (machine.banks - 1).bit_length()
        sizes = GatherSizes(
            words=machine.beat_bytes // WORD_BYTES,
            beat_bytes=machine.beat_bytes,
            boundary_beats=machine.burst_boundary_bytes // machine.beat_bytes,
            ports=machine.memory_ports,
            stripe_shift=shift,
            bank_bits=bits,
            bank_slices=-(-(machine.axi_address_bits - shift) // bits) if bits else 0,
        )
        units = np.zeros(len(lanes), UNIT)
        readers: list[tuple[int, int]] = []
        for unit, lane in zip(units, lanes, strict=True):
            unit["share"] = len(readers) - int((units["shares"] > 0).sum())
            unit["order"] = len(readers)
            readers += _fill(unit, lane)
        fetch = new_fetch(machine, len(readers))
        readers.append((_slots(machine, LIST_SLOTS), BURST_BEATS))
        shares = int(units["shares"].sum())
        rows = row_sizes(machine, shares, 0, memory.first_edge, pinned)._replace(
            clear_cycles=0, wait_per_mille=TOLD, others=len(readers)
        )
        self.parts = Network(
            sizes=sizes,
            row_sizes=rows,
            gathers=new_gather_state(units),
            rows=new_row_state(
                rows, machine.row_cache_sets, 1 << machine.axi_id_bits, [0] * shares, [0] * shares
            ),
            fabric=new_order_state(readers, machine.memory_ports),
            fetch=fetch,
            memories=np.array(memory.memories, np.uint64),
            clock=np.zeros(3, np.int64),
        )
        self.book = memory.book

    def port_beats(self) -> int:
        """Return the beats that memory has given so far, of all ports."""
        return int(self.parts.rows.ports["beats"].sum())

    def row_beats(self) -> tuple[int, int]:
        """Return the beats of rows so far: asked for, and read from memory."""
        found = self.parts.rows.counters[0]
        read = int(found["misses"] + found["refused"])
        return int(found["pinned"] + found["hits"] + found["merged"]) + read, read


def _fill(unit: np.void, lane: AcceleratorConfig) -> list[tuple[int, int]]:
    """Set the sizes of a lane's unit; return (slots, beats of a slot) of its readers."""
    in_flight, shares = lane.reads_in_flight, lane.gather_ports
    ring = max(2 * lane.user_record_bytes, RECORDS_AHEAD * lane.item_record_bytes)
    unit["shares"] = shares
    unit["ids"] = lane.sub_batch_max
    unit["tickets"] = (1 << (in_flight - 1).bit_length()) - 1
    unit["records"] = unit["ring_beats"] = ring // lane.beat_bytes
    unit["records"] -= 1
    unit["in_flight"] = in_flight
    unit["record_burst"] = lane.record_burst_beats
    slots = _slots(lane, RECORD_SLOTS), lane.record_burst_beats
    return [(_slots(lane, LIST_SLOTS), BURST_BEATS), *[slots] * shares]


def _slots(config: AcceleratorConfig, most: int) -> int:
    """Return the bursts in flight of a reader: rtl.memory_fabric.reader_slots."""
    return 1 << (min(most, config.reads_in_flight).bit_length() - 1)
