"""The queue of row updates: versions of embedding rows on their way into a running device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from rpaccel.host.bus import Bus
from rpaccel.host.rings import Registers
from rpaccel.spec.accelerator import AcceleratorConfig, is_power_of_two
from rpaccel.spec.isa import ROW_UPDATE, UPDATE_PENDING, Status
from rpaccel.spec.registers import RING_MODULO

__all__ = ["PlacedUpdate", "UpdateQueue"]


@dataclass(frozen=True, kw_only=True)
class PlacedUpdate:
    """A row's new bytes, and where the row lies.

    address : int  of the row, a multiple of its bytes. payload : bytes  4, 8, .. of them.
    version : int  0..2**32 - 1; version_address : of the row's version word, 0: none is kept.
    """

    address: int
    payload: bytes
    version: int = 0
    version_address: int = 0


class UpdateQueue:
    """Entries in device memory, dealt with in order; any number of threads may submit.

    A ticket is an update's number since the queue was made. Its status is kept until it is asked
    for.

    Parameters
    ----------
    address, depth : of the first entry, and how many: a power of two, 1 is allowed.
    wait : lets the device run until something has happened (Rings.rest).
    lock : held while the queue and the bus are used.
    """

    def __init__(
        self,
        bus: Bus,
        config: AcceleratorConfig,
        *,
        address: int,
        depth: int,
        wait: Callable[[], None],
        lock: AbstractContextManager[bool],
    ) -> None:
        self._bus, self._registers, self._wait, self._lock = bus, Registers(bus), wait, lock
        self._config, self._address, self._depth = config, address, depth
        self._registers.write_wide("UQ_BASE", address)
        self._registers.write("UQ_SIZE", depth)
        self._first = self._registers.read("UQ_HEAD")
        self._registers.write("UQ_TAIL", self._first)
        self._submitted = self._taken = 0  # numbers of updates
        self._status: dict[int, Status] = {}

    @property
    def depth(self) -> int:
        """Entries, the most updates that can be submitted together."""
        return self._depth

    @property
    def in_flight(self) -> int:
        """Updates that the device has not dealt with, as far as is known."""
        return self._submitted - self._taken

    def submit(self, update: PlacedUpdate, *, validate: bool = True) -> int:
        """Queue an update and return its ticket; waits for a free entry if there is none.

        validate : False lets the device find what is wrong.
        Raises ValueError for a row that the device would refuse.
        """
        return self.submit_together([update], validate=validate)[0]

    def submit_together(
        self, updates: Sequence[PlacedUpdate], *, validate: bool = True
    ) -> list[int]:
        """Queue updates one behind the other, ring the doorbell once, and return their tickets.

        Waits until there are free entries for all. Raises ValueError for a row that the device
        would refuse, or more updates than the queue has entries.
        """
        if not 1 <= len(updates) <= self._depth:
            raise ValueError(f"updates must be 1..{self._depth} at a time, not {len(updates)}")
        entries = [self._entry(update, validate) for update in updates]
        while True:
            with self._lock:
                self._harvest()
                if self.in_flight + len(entries) <= self._depth:
                    first, self._submitted = self._submitted, self._submitted + len(entries)
                    tickets = list(range(first, self._submitted))
                    for ticket, entry in zip(tickets, entries, strict=True):
                        self._bus.write_memory(self._place(ticket), entry)
                    tail = (self._first + self._submitted) % RING_MODULO
                    self._registers.write("UQ_TAIL", tail)
                    return tickets
                self._wait()

    def _entry(self, update: PlacedUpdate, validate: bool) -> bytes:
        largest = self._config.update_bytes_max
        length = len(update.payload)
        if validate and (not is_power_of_two(length) or not 4 <= length <= largest):
            raise ValueError(f"row bytes must be a power of two in 4..{largest}, not {length}")
        if validate and update.address % length:
            raise ValueError(f"row address must be a multiple of {length}, not {update.address:#x}")
        head = ROW_UPDATE.to_bytes(
            {
                "row_address": update.address,
                "version_address": update.version_address,
                "version": update.version,
                "row_bytes": length,
                "status": UPDATE_PENDING,
            }
        )
        return head + update.payload

    def wait(self, ticket: int) -> Status:
        """Return what an update came to, once: OK, STALE, or an error.

        Raises ValueError for a ticket that is not open, TimeoutError if the device does not answer.
        """
        while True:
            with self._lock:
                self._harvest()
                if ticket in self._status:
                    return self._status.pop(ticket)
                if not self._taken <= ticket < self._submitted:
                    raise ValueError(f"ticket must be of an open update, not {ticket}")
                self._wait()

    def _place(self, ticket: int) -> int:
        entry = (self._first + ticket) % self._depth
        return self._address + entry * self._config.update_entry_bytes

    def _harvest(self) -> None:
        """Note the status of every update that the device has dealt with."""
        head = self._registers.read("UQ_HEAD")
        status = ROW_UPDATE.fields["status"].offset // 8
        while (self._first + self._taken) % RING_MODULO != head:
            place = self._place(self._taken)
            self._status[self._taken] = Status(self._bus.read_memory(place + status, 1)[0])
            self._taken += 1
