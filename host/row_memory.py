"""The memory of host/cpp/memory_timing.hpp for `perfmodel.row_banks`."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from rpaccel.host.axi_memory import MemoryTiming, ReadSchedule, timing_library
from rpaccel.perfmodel.row_banks import RowMemory
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["row_memory"]

_BOOK = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 5)
_FIRST_EDGE = 4  # host/cpp/rows.cpp: edges of reset


@contextmanager
def row_memory(config: AcceleratorConfig, timing: MemoryTiming) -> Iterator[RowMemory]:
    """Yield a memory for one run of `predict_rows`, the same as that of `run_rows`.

    Raises ValueError for stalls, for errors, and for fewer bursts in flight than ids: they are not
    modelled.
    """
    ids = 1 << config.axi_id_bits
    if timing.stall_per_mille:
        raise ValueError(f"stall_per_mille must be 0, not {timing.stall_per_mille}")
    if timing.error_per_mille:
        raise ValueError(f"error_per_mille must be 0, not {timing.error_per_mille}")
    if timing.max_outstanding < ids:
        raise ValueError(f"max_outstanding must be at least {ids}, not {timing.max_outstanding}")
    schedules = [
        ReadSchedule(timing, port, beat_bytes=config.beat_bytes)
        for port in range(config.memory_ports)
    ]
    try:
        yield RowMemory(
            book=_BOOK(("rpaccel_schedule_book", timing_library())),
            memories=tuple(schedule.handle for schedule in schedules),
            first_edge=_FIRST_EDGE,
        )
    finally:
        for schedule in schedules:
            schedule.close()
