"""A device in software: the bus of the real one over the golden models.

Registers, rings, descriptors, images and tables are read from its registers and memory, so an
application and a driver can be developed without hardware. Ids, scores, status and flags equal the
device's; cycle counters are 0. One simplification: a query whose embedding table lies outside the
readable regions ends with REGION even if the rows it touches are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import NamedTuple

import numpy as np

from rpaccel.golden.corpus import Found
from rpaccel.golden.lane import Query, run_stages, validate
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.decode import DecodedSlot, OnChip
from rpaccel.host.described import described
from rpaccel.host.image import decode_image
from rpaccel.host.query import RESULT_DTYPE, RETRIEVED_DTYPE
from rpaccel.host.refused import RefusedError
from rpaccel.host.software_memory import STATUS_ERROR, SoftwareMemory
from rpaccel.host.software_retrieval import read_scan, shifted
from rpaccel.spec.accelerator import AcceleratorConfig, is_power_of_two
from rpaccel.spec.isa import (
    COMPLETION,
    DESCRIPTOR,
    ISA_VERSION,
    MAX_STAGES,
    ROW_UPDATE,
    Opcode,
    StageKind,
    Status,
)
from rpaccel.spec.registers import (
    ADDRESS,
    REGISTERS,
    RING_MODULO,
    Control,
    Irq,
    Permission,
    config_registers,
    partition_word,
)

_READ_ONLY = {register.address for register in REGISTERS if register.access == "ro"}
ADDRESSES = ("user_address", "candidates_address", "features_address", "result_address")


class _Plan(NamedTuple):
    """A ranking query that is not refused: without its data, and what runs its stages."""

    query: Query
    able: list[list[int]]  # lanes
    slots: list[DecodedSlot | None]
    rankers: list[QuantisedRanker | None]


class SoftwareDevice(SoftwareMemory):
    """A `Bus` whose device is the golden model of `config`.

    Descriptors run when SQ_TAIL, CQ_HEAD or CONTROL are written; the interrupt is high at once.
    Accesses past `memory_bytes` inside a region answer MEMORY.
    """

    def __init__(self, config: AcceleratorConfig, memory_bytes: int) -> None:
        super().__init__(memory_bytes)
        self.config = config
        self.on_chip = [OnChip(config.lane(lane)) for lane in range(config.lanes)]
        self._slots: list[list[DecodedSlot | None]] = [
            [None] * config.model_slots for _ in range(config.lanes)
        ]
        self._owners = {0}  # lanes that own blocks
        for name, value in config_registers(config).items():
            self._set(name, value)
        self._set("PARTITION0", partition_word(0, 0, config.blocks, config.blocks))

    # Bus

    def read_register(self, address: int) -> int:
        """Return a register; 0 for an address that is not mapped."""
        return self._registers.get(address, 0)

    def write_register(self, address: int, value: int) -> None:
        """Write a register; writes to read-only and unmapped addresses are ignored."""
        if address == ADDRESS["IRQ_STATUS"]:
            cleared = self._get("IRQ_STATUS") & ~value
            self._set("IRQ_STATUS", cleared)
            if value & Irq.ERROR:
                self._set("STATUS", self._get("STATUS") & ~STATUS_ERROR)
                for name in ("ERROR_LO", "ERROR_HI", "ERROR_INFO"):
                    self._set(name, 0)
        elif address in self._registers and address not in _READ_ONLY:
            self._registers[address] = value & 0xFFFF_FFFF
        # Every query has been answered: a reset finds nothing to end.
        self._set("LANE_RESET", 0)
        self._set("CONTROL", self._get("CONTROL") & (Control.RUN | Control.PREFETCH))
        if address == ADDRESS["PARTITION_APPLY"] and value & 1:
            rows = [self._get(f"PARTITION{lane}") >> 16 & 0xFF for lane in range(self.config.lanes)]
            self._owners = {lane for lane, count in enumerate(rows) if count}
            self._set("PARTITION_APPLY", 0)
        if address in (ADDRESS["UQ_TAIL"], ADDRESS["UQ_SIZE"], ADDRESS["CONTROL"]):
            self._run_updates()
        if address in (ADDRESS["SQ_TAIL"], ADDRESS["CQ_HEAD"], ADDRESS["CONTROL"]):
            self._run()

    def wait_interrupt(self, limit_cycles: int) -> bool:
        """Return whether the interrupt is high; nothing more happens without a register write."""
        return bool(self._get("IRQ_STATUS") & self._get("IRQ_ENABLE"))

    # Rings

    def _run(self) -> None:
        """Take descriptors while there are some, and a completion slot is free for each."""
        while self._get("CONTROL") & 1 and self._get("SQ_SIZE"):
            waiting = (self._get("SQ_TAIL") - self._get("SQ_HEAD")) % RING_MODULO
            unread = (self._get("CQ_TAIL") - self._get("CQ_HEAD")) % RING_MODULO
            if not waiting or unread >= self._get("CQ_SIZE"):
                return
            entry = self._get("SQ_HEAD") % self._get("SQ_SIZE")
            self._set("SQ_HEAD", (self._get("SQ_HEAD") + 1) % RING_MODULO)
            try:
                address = self._wide("SQ_BASE") + entry * DESCRIPTOR.bytes
                raw = self._fetch(address, DESCRIPTOR.bytes).tobytes()
                self._execute(DESCRIPTOR.from_bytes(raw))
            except RefusedError as refused:
                self._complete({"status": refused.status})

    def _complete(self, fields: dict[str, int]) -> None:
        entry = self._get("CQ_TAIL") % self._get("CQ_SIZE")
        raw = COMPLETION.to_bytes({"version": ISA_VERSION} | fields)
        address = self._wide("CQ_BASE") + entry * COMPLETION.bytes
        try:
            self._require(address, COMPLETION.bytes, Permission.WRITE)
            self.memory[address : address + COMPLETION.bytes] = np.frombuffer(raw, np.uint8)
        except RefusedError:
            pass  # captured; CQ_TAIL moves, as the fabric acknowledges with an error
        self._set("CQ_TAIL", (self._get("CQ_TAIL") + 1) % RING_MODULO)
        self._set("IRQ_STATUS", self._get("IRQ_STATUS") | Irq.COMPLETION)

    def _execute(self, descriptor: dict[str, int]) -> None:
        status = Status.OK
        if descriptor["opcode"] not in list(Opcode):
            status = Status.BAD_OPCODE
        elif descriptor["version"] != ISA_VERSION:
            status = Status.BAD_VERSION
        elif descriptor["opcode"] == Opcode.QUERY:
            self._complete({"tag": descriptor["tag"]} | self._query(descriptor))
            self._set("QUERIES", self._get("QUERIES") + 1)
            return
        elif descriptor["opcode"] == Opcode.LOAD:
            status = self._load(descriptor)
        self._complete({"tag": descriptor["tag"], "status": status})

    def _lanes(self, descriptor: dict[str, int], stage: int = 0) -> set[int]:
        """Return the lanes that a descriptor names for a stage; none: all."""
        mask = descriptor[f"stage{stage}_lanes"] or -1
        return {lane for lane in range(self.config.lanes) if mask >> lane & 1}

    def _load(self, descriptor: dict[str, int]) -> Status:
        try:
            raw = self._fetch(descriptor["user_address"], descriptor["items"]).tobytes()
            sections = decode_image(raw, self.config.image_bytes)
            for lane in sorted(self._lanes(descriptor)):
                chip = self.on_chip[lane]
                for section in sections:
                    chip.fill(section)
                self._slots[lane] = [
                    chip.decode(slot, self.memory) for slot in range(self.config.model_slots)
                ]
        except RefusedError as refused:
            return refused.status
        except ValueError:
            return Status.BAD_IMAGE
        return Status.OK

    # Row updates

    def _run_updates(self) -> None:
        """Take every entry of the queue of row updates."""
        while (
            self._get("CONTROL") & 1
            and self._get("UQ_SIZE")
            and self._get("UQ_TAIL") != self._get("UQ_HEAD")
        ):
            index = self._get("UQ_HEAD") % self._get("UQ_SIZE")
            address = self._wide("UQ_BASE") + index * self.config.update_entry_bytes
            try:
                status = self._update(address)
            except RefusedError as refused:
                status = refused.status
            counter = {Status.OK: "UPDATES_APPLIED", Status.STALE: "UPDATES_STALE"}
            name = counter.get(status, "UPDATES_FAILED")
            self._set(name, self._get(name) + 1)
            self._set("UQ_HEAD", (self._get("UQ_HEAD") + 1) % RING_MODULO)
            try:
                place = address + ROW_UPDATE.fields["status"].offset // 8
                self._require(place, 1, Permission.WRITE)
                self.memory[place] = status
            except RefusedError:
                pass  # captured
            if self._get("UQ_TAIL") == self._get("UQ_HEAD"):
                self._set("IRQ_STATUS", self._get("IRQ_STATUS") | Irq.UPDATE)

    def _update(self, address: int) -> Status:
        """Apply the update at `address` if its version is newer."""
        raw = self._fetch(address, self.config.update_entry_bytes).tobytes()
        entry = ROW_UPDATE.from_bytes(raw[: ROW_UPDATE.bytes])
        length, row, version = entry["row_bytes"], entry["row_address"], entry["version_address"]
        largest = self.config.update_bytes_max
        if not is_power_of_two(length) or not 4 <= length <= largest:
            return Status.BAD_UPDATE
        if row % length or version % 4:
            return Status.BAD_UPDATE
        if max(row, version) >> self.config.axi_address_bits:
            return Status.REGION
        if version:
            stored = self._fetch(version, 4)
            if entry["version"] <= int.from_bytes(stored.tobytes(), "little"):
                return Status.STALE
        self._require(row, length, Permission.WRITE)
        self.memory[row : row + length] = np.frombuffer(raw[ROW_UPDATE.bytes :], np.uint8)[:length]
        if version:
            self._require(version, 4, Permission.WRITE)
            self.memory[version : version + 4] = np.frombuffer(
                entry["version"].to_bytes(4, "little"), np.uint8
            )
        return Status.OK

    # Queries

    def _query(self, descriptor: dict[str, int]) -> dict[str, int]:
        """Run a query, write its results, and return its completion's fields."""
        first = descriptor["stage0_kind"] if descriptor["stages"] else StageKind.NONE
        try:
            if first == StageKind.RETRIEVE and self.config.retrieval_queries:
                return self._retrieve(descriptor)
            return self._rank(self._plan(descriptor), descriptor)
        except RefusedError as refused:
            return {"status": refused.status}

    def _plan(self, descriptor: dict[str, int]) -> _Plan:
        """Return what runs a ranking query; RefusedError for one that no memory is touched for."""
        query = described(descriptor, self.config)
        able = [
            sorted(self._lanes(descriptor, stage) & self._owners)
            for stage in range(max(1, len(query.stages)))
        ]
        if not all(able):
            raise RefusedError(Status.BAD_LANE)
        # a stage's model in the slot of its lanes, if all of them have it
        slots = [
            self._slots[lanes[0]][slot]
            if slot < self.config.model_slots and all(self._slots[lane][slot] for lane in lanes)
            else None
            for lanes, (slot, _) in zip(able, query.stages, strict=False)
        ]
        rankers = [slot.ranker if slot else None for slot in slots]
        numbered = replace(query, stages=tuple((i, k) for i, (_, k) in enumerate(query.stages)))
        status = self._check(numbered, descriptor, rankers)
        if status is not Status.OK:
            raise RefusedError(status)
        return _Plan(numbered, able, slots, rankers)

    def _rank(self, plan: _Plan, descriptor: dict[str, int]) -> dict[str, int]:
        """Run the ranking stages of a query and return its completion's fields."""
        result = run_stages(self._read(plan.query, descriptor, plan.slots), plan.rankers)
        # every task on the lane of lowest number; no stage after the last that had items
        used = [lanes[0] for lanes, items in zip(plan.able, result.items, strict=False) if items]
        fields: dict[str, int] = {
            "status": result.status,
            "lane": used[-1],
            "lanes": reduce(or_, (1 << lane for lane in used)),
            "flags": result.flags,
            "overshoot": result.overshoot,
            "count": result.count,
        }
        fields |= {f"items{i}": items for i, items in enumerate(result.items)}
        served = np.zeros(result.count, dtype=RESULT_DTYPE)
        served["id"], served["logit"], served["ctr"] = result.ids, result.logits, result.ctr
        try:
            self._write(descriptor["result_address"], served)
        except RefusedError as refused:
            return fields | {"status": refused.status, "count": 0}
        return fields

    def _retrieve(self, descriptor: dict[str, int]) -> dict[str, int]:
        """Run a query whose first stage is RETRIEVE and return its completion's fields."""
        k, plan = descriptor["stage0_k"], None
        later = [
            descriptor[f"stage{i}_kind"] for i in range(1, min(descriptor["stages"], MAX_STAGES))
        ]
        if descriptor["stages"] > MAX_STAGES or any(kind != StageKind.RANK for kind in later):
            raise RefusedError(Status.BAD_STAGES)
        most = self.config.retrieval_k_max
        if not 1 <= k <= (min(most, self.config.max_items) if later else most):
            raise RefusedError(Status.BAD_K)
        if later:
            plan = self._plan(shifted(descriptor, items=k))
        status = self._check_addresses(descriptor, ("candidates_address", "result_address"))
        if status is not Status.OK:
            raise RefusedError(status)
        scan = read_scan(descriptor["candidates_address"], k, self.config, self._fetch)
        found = scan.run()
        fields: dict[str, int] = {
            "items0": scan.corpus.count,
            "interaction_cycles0": self._get("UQ_HEAD"),  # the epoch
            "flags": found.flags,
            "overshoot": found.overshoot,
        }
        if plan is None:
            self._write(descriptor["result_address"], _retrieved(found))
            return fields | {"count": len(found.ids)}
        self._write(scan.list_address, found.ids.astype("<u4"))
        if not found.ids.size:
            return fields
        behind = shifted(descriptor, items=len(found.ids), candidates_address=scan.list_address)
        ranked = self._rank(plan, behind)
        return fields | {
            **{name: ranked[name] for name in ("status", "lane", "lanes", "count")},
            "flags": fields["flags"] | ranked["flags"],
            "overshoot": fields["overshoot"] + ranked["overshoot"],
            **{f"items{i + 1}": ranked[f"items{i}"] for i in range(MAX_STAGES - 1)},
        }

    def _check(
        self,
        query: Query,
        descriptor: dict[str, int],
        rankers: Sequence[QuantisedRanker | None],
    ) -> Status:
        """Return the status of a descriptor that is refused before memory is touched."""
        kinds = [descriptor[f"stage{i}_kind"] for i in range(len(query.stages))]
        if descriptor["stages"] > MAX_STAGES or any(kind != StageKind.RANK for kind in kinds):
            return Status.BAD_STAGES
        status = validate(query, rankers, self.config)
        if status is not Status.OK:
            return status
        if descriptor["features_address"] % descriptor["item_record_bytes"]:
            return Status.BAD_RECORD
        return self._check_addresses(descriptor, ADDRESSES)

    def _check_addresses(self, descriptor: dict[str, int], names: Sequence[str]) -> Status:
        addresses = [descriptor[name] for name in names]
        if any(address % self.config.beat_bytes for address in addresses):
            return Status.BAD_RECORD
        if any(address >> self.config.axi_address_bits for address in addresses):
            return Status.REGION
        return Status.OK

    def _read(
        self, query: Query, descriptor: dict[str, int], slots: Sequence[DecodedSlot | None]
    ) -> Query:
        """Return `query` with its data out of memory."""
        candidates = self._fetch(descriptor["candidates_address"], 4 * descriptor["items"])
        user = self._fetch(descriptor["user_address"], descriptor["user_record_bytes"])
        ids = candidates.view("<u4").copy()
        base, size = descriptor["features_address"], descriptor["item_record_bytes"]
        inside = ids[ids < descriptor["features_rows"]].astype(np.int64)
        if inside.size and not self._permits(
            base + int(inside.min()) * size,
            int(inside.max() - inside.min() + 1) * size,
            Permission.READ,
        ):
            for row in inside.tolist():
                self._require(base + row * size, size, Permission.READ)
        rows = min(descriptor["features_rows"], max(0, self.memory.size - base) // size)
        if inside.size and int(inside.max()) >= rows:
            self._refuse(base + int(inside.max()) * size, Status.MEMORY, Permission.READ)
        for slot, _ in query.stages:
            decoded = slots[slot]
            for start, end in decoded.tables if decoded else ():
                self._require(start, end - start, Permission.READ)
        table = self.memory[base : base + rows * size].reshape(rows, size)
        return replace(query, user_record=user.tobytes(), candidates=ids, features=table)


def _retrieved(found: Found) -> np.ndarray:
    served = np.zeros(len(found.ids), dtype=RETRIEVED_DTYPE)
    served["id"], served["score"] = found.ids, found.scores
    return served
