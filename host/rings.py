"""The rings of a device: descriptors go down, completions come up, each with a block of memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from functools import reduce
from operator import or_

from rpaccel.host.bus import Bus
from rpaccel.host.query import Completion, parse_completion
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import (
    COMPLETION,
    DESCRIPTOR,
    ISA_VERSION,
    RESULT,
    Opcode,
    StageKind,
    Status,
)
from rpaccel.spec.registers import ADDRESS, RING_MODULO, Irq

__all__ = ["Registers", "Rings"]


class Registers:
    """The registers of a device by their names."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def read(self, name: str) -> int:
        """Return the 32 bits of register `name`."""
        return self._bus.read_register(ADDRESS[name])

    def write(self, name: str, value: int) -> None:
        """Write the low 32 bits of `value` to register `name`."""
        self._bus.write_register(ADDRESS[name], value & 0xFFFF_FFFF)

    def write_wide(self, name: str, value: int) -> None:
        """Write 64 bits to registers `name`_LO and `name`_HI."""
        self.write(f"{name}_LO", value)
        self.write(f"{name}_HI", value >> 32)


class Rings:
    """Both rings of a device, with `depth` entries each, and what is in flight between them.

    Making one tells the device where its rings are; a device that ran before goes on from its
    counters. A *block* is a number in 0..depth-1, that of the input and the result memory of one
    descriptor in flight.

    Parameters
    ----------
    submissions, completions : address of each ring.
    results, result_bytes : address of the first result block, bytes of each.
    limit_cycles : longest wait for a completion; see `Bus.wait_interrupt`.
    """

    def __init__(
        self,
        bus: Bus,
        config: AcceleratorConfig,
        *,
        depth: int,
        submissions: int,
        completions: int,
        results: int,
        result_bytes: int,
        limit_cycles: int,
    ) -> None:
        self.config = config
        self.lock = threading.RLock()  # held while rings and bus are used
        self.last_error: str | None = None  # the access that IRQ bit 1 reported last
        self._bus, self._registers = bus, Registers(bus)
        self._depth, self._limit_cycles = depth, limit_cycles
        self._submissions, self._completions = submissions, completions
        self._results, self._result_bytes = results, result_bytes
        self._next_tag = 0
        self._free = deque(range(depth))
        self._block_of: dict[int, int] = {}  # tag -> block
        self._lanes_of: dict[int, int] = {}  # tag -> mask of the lanes that may run it
        self._retrievals: set[int] = set()  # tags of queries that only retrieve
        self._done: dict[int, Completion] = {}
        for ring, address in (("SQ", submissions), ("CQ", completions)):
            self._registers.write_wide(f"{ring}_BASE", address)
            self._registers.write(f"{ring}_SIZE", depth)
        self._submitted = self._registers.read("SQ_HEAD")
        self._taken = self._registers.read("CQ_TAIL")
        self._registers.write("SQ_TAIL", self._submitted)
        self._registers.write("CQ_HEAD", self._taken)

    @property
    def in_flight(self) -> int:
        """Descriptors whose completions have not come."""
        return len(self._block_of)

    def uses(self, lanes: int) -> bool:
        """Return whether a descriptor in flight may run on one of `lanes`, a mask."""
        return any(mask & lanes for mask in self._lanes_of.values())

    def take_block(self) -> int:
        """Return a free block; waits for a completion if there is none."""
        while True:
            with self.lock:
                if self._free:
                    return self._free.popleft()
                self.pump()

    def push(self, fields: Mapping[str, int], block: int) -> int:
        """Write a descriptor that uses `block`, ring the doorbell, return the descriptor's tag.

        `tag` and, unless given, `version` are filled in. ValueError, with the block free again,
        if a field does not fit.
        """
        with self.lock:
            return self._push(fields, block)

    def _push(self, fields: Mapping[str, int], block: int) -> int:
        tag, self._next_tag = self._next_tag, (self._next_tag + 1) & 0xFFFF_FFFF
        values = {"version": ISA_VERSION} | dict(fields) | {"tag": tag}
        try:
            descriptor = DESCRIPTOR.to_bytes(values)
        except ValueError:
            self._free.appendleft(block)
            raise
        entry = self._submitted % self._depth
        self._bus.write_memory(self._submissions + entry * DESCRIPTOR.bytes, descriptor)
        self._block_of[tag] = block
        all_lanes = (1 << self.config.lanes) - 1
        masks = [values.get(f"stage{i}_lanes", 0) for i in range(max(1, values.get("stages", 1)))]
        self._lanes_of[tag] = reduce(or_, (mask or all_lanes for mask in masks))
        if (values.get("opcode"), values.get("stages"), values.get("stage0_kind")) == (
            Opcode.QUERY, 1, StageKind.RETRIEVE,
        ):  # fmt: skip
            self._retrievals.add(tag)
        self._submitted = (self._submitted + 1) % RING_MODULO
        self._registers.write("SQ_TAIL", self._submitted)
        return tag

    def wait(self, tag: int) -> Completion:
        """Return the completion of `tag`, once; TimeoutError with the device's state."""
        while True:
            with self.lock:
                if tag in self._done:
                    return self._done.pop(tag)
                if tag not in self._block_of:
                    raise ValueError(f"tag must be of a query in flight, not {tag}")
                self.pump()

    def poll(self) -> list[Completion]:
        """Return the completions that have come and were not taken yet; does not wait."""
        with self.lock:
            self._harvest()
            taken, self._done = list(self._done.values()), {}
        return taken

    def pump(self) -> None:
        """Take what has come; if nothing has, wait for the interrupt."""
        with self.lock:
            if not self._harvest():
                self.rest()
                self._harvest()

    def rest(self) -> None:
        """Wait for the interrupt and acknowledge it; TimeoutError with the device's state."""
        if not self._bus.wait_interrupt(self._limit_cycles):
            raise TimeoutError(
                f"nothing happened in {self._limit_cycles} cycles, {self.in_flight} in flight; "
                f"{self.state()}"
            )
        self._acknowledge()

    def state(self) -> str:
        """Return the registers that say what the device does, in one line."""
        names = ("STATUS", "SQ_HEAD", "SQ_TAIL", "CQ_HEAD", "CQ_TAIL", "IRQ_STATUS",
                 "ERROR_INFO", "ERROR_HI", "ERROR_LO")  # fmt: skip
        return ", ".join(f"{name}={self._registers.read(name):#x}" for name in names)

    def _acknowledge(self) -> None:
        read = self._registers.read
        status = read("IRQ_STATUS")
        if status & Irq.ERROR:
            info = read("ERROR_INFO")
            address = read("ERROR_HI") << 32 | read("ERROR_LO")
            kind = "write" if info >> 8 & 1 else "read"
            self.last_error = (
                f"{kind} at {address:#x} by requester {info >> 16 & 0xFFFF}: status {info & 0xFF}"
            )
        self._registers.write("IRQ_STATUS", status)

    def _harvest(self) -> int:
        """Take every completion in the ring; return how many."""
        tail, count = self._registers.read("CQ_TAIL"), 0
        while self._taken != tail:
            entry = self._taken % self._depth
            address = self._completions + entry * COMPLETION.bytes
            self._finish(self._bus.read_memory(address, COMPLETION.bytes))
            self._taken = (self._taken + 1) % RING_MODULO
            self._registers.write("CQ_HEAD", self._taken)
            count += 1
        return count

    def _finish(self, raw: bytes) -> None:
        fields = COMPLETION.from_bytes(raw)
        tag, count = fields["tag"], fields["count"]
        if tag not in self._block_of:
            raise RuntimeError(
                f"a completion must answer a tag in flight, not {tag} with status "
                f"{Status(fields['status']).name}; {self.state()}"
            )
        block = self._block_of.pop(tag)
        del self._lanes_of[tag]
        retrieved = tag in self._retrievals
        self._retrievals.discard(tag)
        limit = self.config.retrieval_k_max if retrieved else self.config.max_top_n
        if count > limit:
            raise RuntimeError(f"count must be at most {limit}, not {count}")
        address = self._results + block * self._result_bytes
        results = self._bus.read_memory(address, RESULT.bytes * count) if count else b""
        self._done[tag] = parse_completion(raw, results, retrieved=retrieved)
        self._free.append(block)
