"""The log of tasks that a device keeps in memory: which lane did what for which query, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rpaccel.host.bus import Bus
from rpaccel.host.rings import Registers
from rpaccel.spec.isa import TASK_LOG
from rpaccel.spec.registers import RING_MODULO


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A task that has ended; times are the low 32 bits of the device's cycle counter.

    lost : the lane was reset, and items and times are 0.
    """

    tag: int
    lane: int
    stage: int
    lost: bool
    items: int
    given_at: int
    gathered_at: int
    computed_at: int
    first_score_at: int
    scored_at: int


class TaskLogReader:
    """Takes the entries of a device's log, each once; `missed` of them were written over before.

    Parameters
    ----------
    address : of the ring, 64-byte aligned. entries : of it, a power of two.
    """

    def __init__(self, bus: Bus, *, address: int, entries: int) -> None:
        self._bus, self._registers = bus, Registers(bus)
        self._address, self._entries = address, entries
        self._taken = self._registers.read("TASK_LOG_TAIL")
        self._registers.write_wide("TASK_LOG", address)
        self._registers.write("TASK_LOG_SIZE", entries)
        self.missed = 0

    def take(self) -> list[TaskRecord]:
        """Return the entries that were written since the last call, oldest first."""
        tail = self._registers.read("TASK_LOG_TAIL")
        new = (tail - self._taken) % RING_MODULO
        lost = max(0, new - self._entries)
        self.missed += lost
        records = []
        for number in range(new - lost):
            entry = (tail - (new - lost) + number) % self._entries
            raw = self._bus.read_memory(self._address + entry * TASK_LOG.bytes, TASK_LOG.bytes)
            fields: dict[str, Any] = dict(TASK_LOG.from_bytes(raw))
            del fields["reserved"]
            records.append(TaskRecord(**fields | {"lost": bool(fields["lost"])}))
        self._taken = tail
        return records

    @property
    def dropped(self) -> int:
        """Entries that the device could not write."""
        return self._registers.read("TASK_LOG_DROPPED")
