"""The driver: finds the device, lends it memory, loads models, submits queries, takes answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.host.arena import Arena
from rpaccel.host.bus import Bus
from rpaccel.host.compile import CompiledModels
from rpaccel.host.device_check import check_device
from rpaccel.host.partition import Partition, check_partition, partition_words
from rpaccel.host.query import (
    Completion,
    FeatureTable,
    Request,
    check_request,
    parse_completion,
)
from rpaccel.spec.accelerator import AcceleratorConfig, is_power_of_two
from rpaccel.spec.isa import (
    COMPLETION,
    DESCRIPTOR,
    ISA_VERSION,
    MAX_STAGES,
    RESULT,
    Opcode,
    StageKind,
    Status,
)
from rpaccel.spec.registers import ADDRESS, Irq, Permission

__all__ = ["Completion", "Driver", "FeatureTable", "Request"]

PAGE = 4096
RING_MODULO = 1 << 16
APPLY_CYCLES = 64  # to look again whether an idle device has taken a partition
REGION_NAMES = ("image", "tables", "features", "submissions", "completions", "inputs", "results")


def _mask(lanes: Iterable[int]) -> int:
    """Return lanes as the bits of a descriptor."""
    return sum(1 << lane for lane in lanes)


def _align(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


class Driver:
    """One device behind a bus, with `depth` queries in flight.

    The driver takes memory from the top down: rings, an input block (user record and candidates)
    and a result block per ring entry, and the feature arena; compiled models lie at the addresses
    they were compiled for, below. Only these ranges are opened to the device, each with the one
    permission that it needs.

    Parameters
    ----------
    memory_bytes : device memory that the driver may use, from address 0 [B].
    depth : entries of both rings, a power of two; 1 is allowed.
    feature_bytes : size of the feature arena [B]; default a quarter of memory.
    limit_cycles : longest wait for a completion; see `Bus.wait_interrupt`.

    Raises ValueError for a wrong size, RuntimeError if the device is not what `config` says.
    """

    def __init__(
        self,
        bus: Bus,
        config: AcceleratorConfig,
        memory_bytes: int,
        *,
        depth: int = 8,
        feature_bytes: int | None = None,
        limit_cycles: int = 100_000_000,
    ) -> None:
        if not is_power_of_two(depth) or depth > RING_MODULO // 2:
            raise ValueError(f"depth must be a power of two in 1..{RING_MODULO // 2}, not {depth}")
        self.bus = bus
        self.config = config
        self.memory_bytes = memory_bytes
        self.depth = depth
        self.limit_cycles = limit_cycles
        self.loaded: dict[int, CompiledModels] = {}  # lane -> the models that it holds
        self.last_error: str | None = None  # the access that IRQ bit 1 reported last
        self._submitted = self._taken = self._next_tag = 0
        self._free = deque(range(depth))  # input and result blocks
        self._block_of: dict[int, int] = {}  # tag -> block
        self._lanes_of: dict[int, int] = {}  # tag -> mask of the lanes that may run it
        self._done: dict[int, Completion] = {}
        check_device(bus, config)
        self._lay_out(memory_bytes // 4 if feature_bytes is None else feature_bytes)
        self._start()

    # Memory and registers

    def _lay_out(self, feature_bytes: int) -> None:
        config, depth = self.config, self.depth
        self._candidate_offset = _align(config.user_record_bytes, 64)
        self._input_bytes = self._candidate_offset + _align(4 * config.max_items, 64)
        self._result_bytes = _align(RESULT.bytes * config.max_top_n, 64)
        sizes = {
            "submissions": depth * DESCRIPTOR.bytes,
            "completions": depth * COMPLETION.bytes,
            "inputs": depth * self._input_bytes,
            "results": depth * self._result_bytes,
            "features": _align(feature_bytes, PAGE),
        }
        self.regions: dict[str, tuple[int, int]] = {}
        top = self.memory_bytes // PAGE * PAGE
        for name, length in sizes.items():
            base = top - _align(length, PAGE)
            self.regions[name] = (base, base + _align(length, 64))
            top = base
        if top < PAGE:
            raise ValueError(
                f"memory_bytes must be at least {self.memory_bytes - top + PAGE} for depth "
                f"{depth}, not {self.memory_bytes}"
            )
        self._models_limit = top
        self._features = Arena("features", *self.regions["features"])

    def _write(self, name: str, value: int) -> None:
        self.bus.write_register(ADDRESS[name], value & 0xFFFF_FFFF)

    def _read(self, name: str) -> int:
        return self.bus.read_register(ADDRESS[name])

    def _write_wide(self, name: str, value: int) -> None:
        self._write(f"{name}_LO", value)
        self._write(f"{name}_HI", value >> 32)

    def _open_region(self, name: str, base: int, limit: int) -> None:
        """Open [base, limit) to the device; base and limit multiples of 64."""
        self.regions[name] = (base, limit)
        writable = name in ("completions", "results")
        index = REGION_NAMES.index(name)
        self._write(f"REGION{index}_PERMISSION", 0)  # never a half-written region
        self._write_wide(f"REGION{index}_BASE", base)
        self._write_wide(f"REGION{index}_LIMIT", limit)
        permission = Permission.WRITE if writable else Permission.READ
        self._write(f"REGION{index}_PERMISSION", permission)

    def _start(self) -> None:
        self._write("CONTROL", 0)
        for name, (base, limit) in list(self.regions.items()):
            self._open_region(name, base, limit)
        for ring, region in (("SQ", "submissions"), ("CQ", "completions")):
            self._write_wide(f"{ring}_BASE", self.regions[region][0])
            self._write(f"{ring}_SIZE", self.depth)
        # A device that ran before keeps its counters: go on from them.
        self._submitted, self._taken = self._read("SQ_HEAD"), self._read("CQ_TAIL")
        self._write("SQ_TAIL", self._submitted)
        self._write("CQ_HEAD", self._taken)
        self._write("IRQ_STATUS", Irq.COMPLETION | Irq.ERROR)
        self._write("IRQ_ENABLE", Irq.COMPLETION | Irq.ERROR)
        self._write("CONTROL", 1)

    # Models and tables

    def partition(self, split: Partition) -> None:
        """Give every lane its blocks, between queries.

        Queries for lanes whose blocks change end first; others may be in flight or in the ring,
        where they wait for the moment in which all lanes are idle. Lanes whose blocks change must
        be loaded again: weights lie in the blocks.
        Raises ValueError for a split that the device does not have.
        """
        check_partition(split, self.config)
        words = partition_words(split, self.config)
        changed = {
            lane for lane, word in enumerate(words) if word != self._read(f"PARTITION{lane}")
        }
        while any(mask & _mask(changed) for mask in self._lanes_of.values()):
            self._pump()
        for lane in changed:
            self.loaded.pop(lane, None)
            self._write(f"PARTITION{lane}", words[lane])
        self._write("PARTITION_APPLY", 1)
        while self._read("PARTITION_APPLY"):
            if self._block_of:
                self._pump()
            else:
                self.bus.wait_interrupt(APPLY_CYCLES)

    def load_models(
        self, compiled: CompiledModels, lanes: Sequence[int] | None = None
    ) -> Completion:
        """Write tables and image to memory and LOAD them; waits for queries in flight first.

        lanes : those that are loaded; None: all that the models were compiled for.
        Raises ValueError for models of another machine, or that overlap those of other lanes.
        """
        fit = [
            lane
            for lane in range(self.config.lanes)
            if compiled.config.digest
            in (self.config.lane(lane).digest, self.config.digest if self._is_whole(lane) else "")
        ]
        chosen = fit if lanes is None else list(lanes)
        if not chosen or not set(chosen) <= set(fit):
            raise ValueError(
                f"compiled models must be for {self.config.name!r} and lanes {chosen or 'of it'}, "
                f"not {compiled.config.name!r}"
            )
        if compiled.limit > self._models_limit:
            raise ValueError(
                f"memory_bytes must be at least "
                f"{self.memory_bytes + compiled.limit - self._models_limit} for these models, "
                f"not {self.memory_bytes}"
            )
        kept = [other for lane, other in self.loaded.items() if lane not in chosen]
        for other in kept:
            if other.base < compiled.limit and compiled.base < other.limit:
                raise ValueError(
                    f"models must lie outside {other.base:#x}..{other.limit:#x} of other lanes, "
                    f"not at {compiled.base:#x}..{compiled.limit:#x}"
                )
        while self._block_of:
            self._pump()
        for address, payload in compiled.segments():
            self.bus.write_memory(address, payload)
        tables = [compiled, *kept]
        self._open_region(
            "tables",
            min(each.base for each in tables),
            _align(max(each.image_address for each in tables), 64),
        )
        self._open_region("image", compiled.image_address, _align(compiled.limit, 64))
        self.loaded |= dict.fromkeys(chosen, compiled)
        tag = self.submit_fields(
            {
                "opcode": Opcode.LOAD,
                "user_address": compiled.image_address,
                "items": len(compiled.image),
                "stage0_lanes": _mask(chosen),
            }
        )
        completion = self.wait(tag)
        if not completion.ok:
            raise RuntimeError(f"LOAD ended with {completion.status.name}; {self.state()}")
        return completion

    def _is_whole(self, lane: int) -> bool:
        """Return whether a lane is made for the whole array."""
        return self.config.lane_shape(lane) == (self.config.blocks, self.config.blocks)

    def register_feature_table(
        self,
        records: bytes | npt.NDArray[np.uint8],
        rows: int | None = None,
        record_bytes: int | None = None,
    ) -> FeatureTable:
        """Write item records to device memory; ids 0..rows-1 name them until they are released.

        records : uint8[rows, record_bytes], or bytes with `rows` and `record_bytes`.
        """
        if isinstance(records, np.ndarray):
            rows, record_bytes = records.shape
            records = np.ascontiguousarray(records, dtype=np.uint8).tobytes()
        if rows is None or record_bytes is None:
            raise ValueError("rows and record_bytes must be given with bytes")
        low, high = self.config.beat_bytes, self.config.item_record_bytes
        if not is_power_of_two(record_bytes) or not low <= record_bytes <= high:
            raise ValueError(
                f"record_bytes must be a power of two in {low}..{high}, not {record_bytes}"
            )
        if rows < 1 or len(records) != rows * record_bytes:
            raise ValueError(
                f"records must have {rows * record_bytes} bytes ({rows} rows of {record_bytes}), "
                f"not {len(records)}"
            )
        address = self._features.allocate(len(records), max(64, record_bytes))
        self.bus.write_memory(address, records)
        return FeatureTable(address=address, rows=rows, record_bytes=record_bytes)

    def release_feature_table(self, table: FeatureTable) -> None:
        """Give a feature table's memory back; no query in flight may use it."""
        self._features.release(table.address)

    # Queries

    def submit(
        self,
        request: Request,
        *,
        validate: bool = True,
        fields: Mapping[str, int] | None = None,
    ) -> int:
        """Queue a query and return its tag; waits for a free ring entry if there is none.

        validate : False lets the device find what is wrong.
        fields : descriptor fields to override, for tests.
        Raises ValueError for a request that the device would refuse, TimeoutError if no ring
        entry becomes free.
        """
        lanes, slots, loaded = self._placed(request)
        if validate:
            check_request(request, slots, loaded, self.config)
        user = request.user_record
        user += bytes(-len(user) % self.config.beat_bytes)
        candidates = np.asarray(request.candidates, dtype="<u4").tobytes()
        candidates += bytes(-len(candidates) % self.config.beat_bytes)
        block = self._take_block()
        base = self.regions["inputs"][0] + block * self._input_bytes
        self.bus.write_memory(base, user[: self.config.user_record_bytes])
        self.bus.write_memory(
            base + self._candidate_offset, candidates[: 4 * self.config.max_items]
        )
        values = {
            "opcode": Opcode.QUERY,
            "stages": len(slots),
            "user_address": base,
            "user_record_bytes": len(user),
            "candidates_address": base + self._candidate_offset,
            "items": len(request.candidates),
            "top_n": request.top_n,
            "features_address": request.features.address,
            "features_rows": request.features.rows,
            "item_record_bytes": request.features.record_bytes,
            "result_address": self.regions["results"][0] + block * self._result_bytes,
            "stage0_lanes": _mask(lanes),
        }
        for index, (slot, (_, k)) in enumerate(
            zip(slots[:MAX_STAGES], request.stages, strict=False)
        ):
            values |= {
                f"stage{index}_kind": StageKind.RANK,
                f"stage{index}_model": slot,
                f"stage{index}_sub_batch": request.sub_batch,
                f"stage{index}_k": k,
            }
        return self._push(values | dict(fields or {}), block)

    def submit_fields(self, fields: Mapping[str, int]) -> int:
        """Queue a raw descriptor (`tag` and, unless given, `version` are filled in)."""
        return self._push(fields, self._take_block())

    def wait(self, tag: int) -> Completion:
        """Return the completion of `tag`, once; TimeoutError with the device's state."""
        while tag not in self._done:
            if tag not in self._block_of:
                raise ValueError(f"tag must be of a query in flight, not {tag}")
            self._pump()
        return self._done.pop(tag)

    def poll(self) -> list[Completion]:
        """Return the completions that have come and were not taken yet; does not wait."""
        self._harvest()
        taken, self._done = list(self._done.values()), {}
        return taken

    def run(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield the completions of `requests` in their order, with `depth` of them in flight."""
        tags: deque[int] = deque()
        for request in requests:
            while len(tags) >= self.depth:
                yield self.wait(tags.popleft())
            tags.append(self.submit(request))
        while tags:
            yield self.wait(tags.popleft())

    def state(self) -> str:
        """Return the registers that say what the device does, in one line."""
        names = ("STATUS", "SQ_HEAD", "SQ_TAIL", "CQ_HEAD", "CQ_TAIL", "IRQ_STATUS",
                 "ERROR_INFO", "ERROR_HI", "ERROR_LO")  # fmt: skip
        return ", ".join(f"{name}={self._read(name):#x}" for name in names)

    # Rings

    def _placed(self, request: Request) -> tuple[list[int], list[int], int]:
        """Return the lanes that may run `request`, its models' slots, and the slots in use.

        All these lanes hold the same models: those of the first lane that holds them all.
        """
        names = {model for model, _ in request.stages if isinstance(model, str)}
        asked = request.lanes or tuple(sorted(self.loaded))
        able = [
            lane for lane in asked if lane in self.loaded and names <= set(self.loaded[lane].names)
        ]
        if not able:
            holders = [self.loaded[lane] for lane in asked if lane in self.loaded]
            for name in sorted(names):
                if not holders:
                    raise ValueError(f"models must be loaded before {name!r} is used")
                holders[0].slot(name)  # says which models there are
            return list(request.lanes), [int(model) for model, _ in request.stages], 0
        compiled = self.loaded[able[0]]
        slots = [
            compiled.slot(model) if isinstance(model, str) else model for model, _ in request.stages
        ]
        lanes = [lane for lane in able if self.loaded[lane] is compiled]
        return lanes, slots, len(compiled.names)

    def _take_block(self) -> int:
        while not self._free:
            self._pump()
        return self._free.popleft()

    def _push(self, fields: Mapping[str, int], block: int) -> int:
        tag, self._next_tag = self._next_tag, (self._next_tag + 1) & 0xFFFF_FFFF
        values = {"version": ISA_VERSION} | dict(fields) | {"tag": tag}
        try:
            descriptor = DESCRIPTOR.to_bytes(values)
        except ValueError:
            self._free.appendleft(block)
            raise
        entry = self._submitted % self.depth
        address = self.regions["submissions"][0] + entry * DESCRIPTOR.bytes
        self.bus.write_memory(address, descriptor)
        self._block_of[tag] = block
        self._lanes_of[tag] = values.get("stage0_lanes", 0) or (1 << self.config.lanes) - 1
        self._submitted = (self._submitted + 1) % RING_MODULO
        self._write("SQ_TAIL", self._submitted)
        return tag

    def _pump(self) -> None:
        """Take what has come; if nothing has, wait for the interrupt."""
        if self._harvest():
            return
        if not self.bus.wait_interrupt(self.limit_cycles):
            raise TimeoutError(
                f"no completion in {self.limit_cycles} cycles, {len(self._block_of)} in flight; "
                f"{self.state()}"
            )
        self._acknowledge()
        self._harvest()

    def _acknowledge(self) -> None:
        status = self._read("IRQ_STATUS")
        if status & Irq.ERROR:
            info = self._read("ERROR_INFO")
            address = self._read("ERROR_HI") << 32 | self._read("ERROR_LO")
            kind = "write" if info >> 8 & 1 else "read"
            self.last_error = (
                f"{kind} at {address:#x} by requester {info >> 16 & 0xFFFF}: status {info & 0xFF}"
            )
        self._write("IRQ_STATUS", status)

    def _harvest(self) -> int:
        """Take every completion in the ring; return how many."""
        tail, count = self._read("CQ_TAIL"), 0
        while self._taken != tail:
            entry = self._taken % self.depth
            address = self.regions["completions"][0] + entry * COMPLETION.bytes
            raw = self.bus.read_memory(address, COMPLETION.bytes)
            self._finish(raw)
            self._taken = (self._taken + 1) % RING_MODULO
            self._write("CQ_HEAD", self._taken)
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
        if count > self.config.max_top_n:
            raise RuntimeError(f"count must be at most {self.config.max_top_n}, not {count}")
        address = self.regions["results"][0] + block * self._result_bytes
        results = self.bus.read_memory(address, RESULT.bytes * count) if count else b""
        self._done[tag] = parse_completion(raw, results)
        self._free.append(block)
