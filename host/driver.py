"""The driver: finds the device, lends it memory, loads models, submits queries, takes answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.host.arena import Arena
from rpaccel.host.bus import Bus
from rpaccel.host.compile import CompiledModels, RowUpdate, align
from rpaccel.host.device_check import check_device
from rpaccel.host.memory_layout import lay_out
from rpaccel.host.model_places import choose_lanes, models_kept
from rpaccel.host.partition import Partition, check_partition, partition_words
from rpaccel.host.placement import (
    lane_mask,
    place_stages,
    query_inputs,
    request_fields,
    stage_fields,
)
from rpaccel.host.query import Completion, FeatureTable, Request, check_request, feature_records
from rpaccel.host.retrieval import Retrieval, check_retrieval, encode
from rpaccel.host.rings import Registers, Rings
from rpaccel.host.task_log import TaskLogReader
from rpaccel.host.update_queue import UpdateQueue
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import (
    COMPLETION,
    Opcode,
    StageKind,
    Status,
)
from rpaccel.spec.registers import (
    ROW_COUNTERS,
    Control,
    Irq,
    Permission,
    row_counter_address,
)

__all__ = ["Completion", "Driver", "FeatureTable", "Request", "Retrieval"]

APPLY_CYCLES = 64  # to look again whether an idle device has taken a partition
REGION_NAMES = (
    "image", "tables", "features", "submissions", "completions", "inputs", "results", "updates",
)  # fmt: skip
WRITTEN = ("completions", "results")  # by the device, only; it reads and writes "updates"


class Driver:
    """One device behind a bus, with `depth` queries in flight.

    The driver takes memory from the top down: rings, an input block (user record and candidates)
    and a result block per ring entry, and the feature arena; compiled models lie at the addresses
    they were compiled for, below. Only these ranges are opened to the device, each with the one
    permission that it needs.

    Parameters
    ----------
    memory_bytes : device memory that the driver may use [B].
    memory_base : its first address, as the device sees it, a multiple of 4096 [B]; models are
        compiled with a `base` above it.
    depth : entries of both rings, a power of two; 1 is allowed.
    prefetch : lanes read rows ahead for the next stage.
    update_depth : entries of the queue of row updates, a power of two; 0: there is none.
    feature_bytes : size of the feature arena [B]; default a quarter of memory.
    corpus_bytes : size of the arena of corpora (host.corpus) [B].
    limit_cycles : longest wait for a completion; see `Bus.wait_interrupt`.
    watchdog_cycles : a lane that makes no progress for so long is reset, 0: never. More than the
        layers of a sub-batch take.

    task_log_entries : of the log of tasks, a power of two; 0: none is kept.

    `updates` is the queue of row updates, `task_log` the log of tasks, if there is one.

    Raises ValueError for a wrong size, RuntimeError if the device is not what `config` says.
    """

    def __init__(
        self,
        bus: Bus,
        config: AcceleratorConfig,
        memory_bytes: int,
        *,
        memory_base: int = 0,
        depth: int = 8,
        prefetch: bool = False,
        update_depth: int = 0,
        feature_bytes: int | None = None,
        corpus_bytes: int = 0,
        limit_cycles: int = 100_000_000,
        watchdog_cycles: int = 1 << 20,
        task_log_entries: int = 0,
    ) -> None:
        self.bus = bus
        self.config = config
        self.memory_bytes = memory_bytes
        self.memory_base = memory_base
        self.depth = depth
        self._layout = layout = lay_out(
            config,
            memory_bytes,
            memory_base=memory_base,
            depth=depth,
            update_depth=update_depth,
            task_log_entries=task_log_entries,
            feature_bytes=memory_bytes // 4 if feature_bytes is None else feature_bytes,
            corpus_bytes=corpus_bytes,
        )
        self.regions = dict(layout.regions)
        self._features = Arena("features", *layout.regions["features"])
        self.corpora = Arena("corpora", *layout.corpora)
        self._control = Control.RUN | (Control.PREFETCH if prefetch else 0)
        self.limit_cycles = limit_cycles
        self.watchdog_cycles = watchdog_cycles
        self.loaded: dict[int, CompiledModels] = {}  # lane -> the models that it holds
        check_device(bus, config)
        self._registers = Registers(bus)
        self._rings = self._start()
        self.updates = self._start_updates(update_depth) if update_depth else None
        self.task_log = self._start_log(task_log_entries) if task_log_entries else None

    # Memory and registers

    def _open_region(self, name: str, base: int, limit: int, *, live: bool = False) -> None:
        """Open [base, limit) to the device; multiples of 64. live : rows in it are updated."""
        self.regions[name] = (base, limit)
        index = REGION_NAMES.index(name)
        self._registers.write(f"REGION{index}_PERMISSION", 0)  # never a half-written region
        self._registers.write_wide(f"REGION{index}_BASE", base)
        self._registers.write_wide(f"REGION{index}_LIMIT", limit)
        permission = Permission.WRITE if name in WRITTEN else Permission.READ
        if live or name == "updates":
            permission |= Permission.WRITE
        self._registers.write(f"REGION{index}_PERMISSION", permission)

    def _start(self) -> Rings:
        """Open the regions, place the rings, let the device run."""
        write = self._registers.write
        write("CONTROL", 0)
        for name, (base, limit) in self._layout.regions.items():
            self._open_region(name, base, limit)
        rings = Rings(
            self.bus,
            self.config,
            depth=self.depth,
            submissions=self.regions["submissions"][0],
            completions=self.regions["completions"][0],
            results=self.regions["results"][0],
            result_bytes=self._layout.result_bytes,
            limit_cycles=self.limit_cycles,
        )
        events = Irq.COMPLETION | Irq.ERROR | Irq.UPDATE
        write("IRQ_STATUS", events)
        write("IRQ_ENABLE", events)
        write("WATCHDOG", self.watchdog_cycles)
        write("CONTROL", self._control)
        return rings

    def _start_updates(self, depth: int) -> UpdateQueue:
        return UpdateQueue(
            self.bus,
            self.config,
            address=self.regions["updates"][0],
            depth=depth,
            wait=self._rings.rest,
            lock=self._rings.lock,
        )

    def _start_log(self, entries: int) -> TaskLogReader:
        address = self.regions["completions"][0] + self.depth * COMPLETION.bytes
        return TaskLogReader(self.bus, address=address, entries=entries)

    # Models and tables

    def partition(self, split: Partition) -> None:
        """Give every lane its blocks, between queries.

        Queries for lanes whose blocks change end first; others may be in flight or in the ring,
        where they wait for the moment in which all lanes are idle. Lanes whose blocks change must
        be loaded again: weights lie in the blocks.
        Raises ValueError for a split that the device does not have, TimeoutError if a lane does not
        become idle.
        """
        check_partition(split, self.config)
        words, read = partition_words(split, self.config), self._registers.read
        changed = {lane for lane, word in enumerate(words) if word != read(f"PARTITION{lane}")}
        while self._rings.uses(lane_mask(changed)):
            self._rings.pump()
        for lane in changed:
            self.loaded.pop(lane, None)
            self._registers.write(f"PARTITION{lane}", words[lane])
        self._registers.write("PARTITION_APPLY", 1)
        waited = 0
        while read("PARTITION_APPLY"):
            if self._rings.in_flight:
                self._rings.pump()
                continue
            if waited > self.limit_cycles:
                raise TimeoutError(f"no partition in {waited} cycles; {self.state()}")
            self.bus.wait_interrupt(APPLY_CYCLES)
            waited += APPLY_CYCLES

    def load_models(
        self, compiled: CompiledModels, lanes: Sequence[int] | None = None
    ) -> Completion:
        """Write tables and image to memory and LOAD them; waits for queries in flight first.

        lanes : those that are loaded; None: all that the models were compiled for.
        Raises ValueError for models of another machine, or that overlap those of other lanes.
        """
        chosen = choose_lanes(compiled, self.config, lanes)
        if compiled.base < self.memory_base:
            raise ValueError(
                f"base of the compiled models must be at least memory_base {self.memory_base:#x}, "
                f"not {compiled.base:#x}"
            )
        missing = compiled.limit - self._layout.models_limit
        if missing > 0:
            raise ValueError(
                f"memory_bytes must be at least {self.memory_bytes + missing} for these models, "
                f"not {self.memory_bytes}"
            )
        kept = models_kept(compiled, self.loaded, chosen)
        while self._rings.in_flight:
            self._rings.pump()
        for address, payload in compiled.segments():
            self.bus.write_memory(address, payload)
        tables = [compiled, *kept]
        self._open_region(
            "tables",
            min(each.base for each in tables),
            align(max(each.image_address for each in tables), 64),
            live=any(each.live for each in tables),
        )
        self._open_region("image", compiled.image_address, align(compiled.limit, 64))
        self.loaded |= dict.fromkeys(chosen, compiled)
        tag = self.submit_fields(
            {
                "opcode": Opcode.LOAD,
                "user_address": compiled.image_address,
                "items": len(compiled.image),
                "stage0_lanes": lane_mask(chosen),
            }
        )
        completion = self.wait(tag)
        if not completion.ok:
            raise RuntimeError(f"LOAD ended with {completion.status.name}; {self.state()}")
        self.split_static_caches(compiled.static_split)
        return completion

    def split_static_caches(self, lines: int) -> None:
        """Give the front end the first `lines` of every row bank's static cache, at once.

        Pinned rows on the other side of the split are not found. What is pinned is what the last
        LOAD brought. Raises ValueError for more lines than there are.
        """
        if not 0 <= lines <= self.config.static_cache_lines:
            raise ValueError(f"lines must be in 0..{self.config.static_cache_lines}, not {lines}")
        self._registers.write("STATIC_SPLIT", lines)

    def register_feature_table(
        self,
        records: bytes | npt.NDArray[np.uint8],
        rows: int | None = None,
        record_bytes: int | None = None,
    ) -> FeatureTable:
        """Write item records to device memory; ids 0..rows-1 name them until they are released.

        records : uint8[rows, record_bytes], or bytes with `rows` and `record_bytes`.
        """
        payload, rows, record_bytes = feature_records(records, rows, record_bytes, self.config)
        address = self._features.allocate(len(payload), max(64, record_bytes))
        self.bus.write_memory(address, payload)
        return FeatureTable(address=address, rows=rows, record_bytes=record_bytes)

    def release_feature_table(self, table: FeatureTable) -> None:
        """Give a feature table's memory back; no query in flight may use it."""
        self._features.release(table.address)

    # Row updates

    def submit_update(self, update: RowUpdate, lane: int | None = None) -> int:
        """Queue a row's new version and return its ticket; waits for room in the queue.

        Queries go on meanwhile: each reads a row as it was before or after, never in between. Any
        number of threads may call this; of two versions of a row the greater one stays, whichever
        comes first. lane : whose models are meant; None: the first lane that holds the model.
        Raises ValueError for a model, feature or row that there is not, values that do not fit, or
        models that were not compiled to be live; TimeoutError if the queue stays full.
        """
        if self.updates is None:
            raise ValueError("update_depth must be at least 1 for row updates, not 0")
        holders = [
            compiled
            for number, compiled in self.loaded.items()
            if update.model in compiled.names and lane in (None, number)
        ]
        if not holders:
            raise ValueError(
                f"model must be loaded before its rows are updated, not {update.model!r}"
            )
        return self.updates.submit(holders[0].place_update(update))

    def wait_update(self, ticket: int) -> Status:
        """Return what an update came to, once: OK, STALE (a newer version was there), or an error.

        When it is OK, every query submitted from now on sees the row or a newer one.
        """
        if self.updates is None:
            raise ValueError("update_depth must be at least 1 for row updates, not 0")
        return self.updates.wait(ticket)

    # Interrupts and resets

    def coalesce(self, completions: int, cycles: int = 0) -> None:
        """Interrupt once for so many completions, or so many cycles after the first of them.

        completions : 0, 1: for each; cycles : 0: no limit, which fits only who does not wait for
        single queries. Raises ValueError for a number that the register cannot hold, or more
        completions than the ring has room for without a limit: no interrupt would come.
        """
        if not 0 <= completions < 1 << 8 or not 0 <= cycles < 1 << 24:
            raise ValueError(
                f"completions must be in 0..255 and cycles in 0..{(1 << 24) - 1}, "
                f"not {completions} and {cycles}"
            )
        if completions > self.depth and not cycles:
            raise ValueError(
                f"completions must be in 0..{self.depth} (depth) without cycles, not {completions}"
            )
        self._registers.write("IRQ_COALESCE", completions | cycles << 8)

    def reset_lanes(self, lanes: Iterable[int]) -> None:
        """Reset lanes, and no others: queries that they had a task of end with LANE_RESET.

        Models stay loaded. Raises ValueError for a lane that there is not.
        """
        chosen = list(lanes)
        if not set(chosen) <= set(range(self.config.lanes)):
            raise ValueError(f"lanes must be in 0..{self.config.lanes - 1}, not {chosen}")
        self._registers.write("LANE_RESET", lane_mask(chosen))

    def reset(self) -> None:
        """Reset lanes and funnels: queries in flight end with ABORTED. Models stay loaded.

        Raises TimeoutError if that does not come to an end.
        """
        self._registers.write("CONTROL", self._control | Control.RESET)
        waited = 0
        while self._registers.read("CONTROL") & Control.RESET:
            if waited > self.limit_cycles:
                raise TimeoutError(f"no end of the reset in {waited} cycles; {self.state()}")
            self.bus.wait_interrupt(APPLY_CYCLES)
            waited += APPLY_CYCLES

    def row_counters(self) -> list[dict[str, int]]:
        """Return each row bank's counters (spec.registers.ROW_COUNTERS), in beats."""
        return [
            {name: self.bus.read_register(row_counter_address(bank, name)) for name in ROW_COUNTERS}
            for bank in range(self.config.banks)
        ]

    # Queries

    def submit(
        self,
        request: Request | Retrieval,
        *,
        validate: bool = True,
        fields: Mapping[str, int] | None = None,
    ) -> int:
        """Queue a query and return its tag; waits for a free ring entry if there is none.

        A Retrieval is a query of that stage alone.

        validate : False lets the device find what is wrong.
        fields : descriptor fields to override, for tests.
        Raises ValueError for a request that the device would refuse, TimeoutError if no ring
        entry becomes free.
        """
        if isinstance(request, Retrieval):
            return self._submit_retrieval(request, validate, fields or {})
        placed = place_stages(request, self.loaded)
        if validate:
            check_request(request, [(each.slot, each.loaded) for each in placed], self.config)
        block = self._rings.take_block()
        base, listed = self.input_addresses(block)
        user, candidates = query_inputs(request, self.config)
        self.bus.write_memory(base, user)
        self.bus.write_memory(listed, candidates)
        values = {
            "opcode": Opcode.QUERY,
            "stages": len(placed),
            "user_address": base,
            "candidates_address": listed,
            "result_address": self._layout.results(block),
        } | request_fields(request, self.config)
        first = 0
        if request.retrieval is not None:
            values |= self._write_retrieval(request.retrieval, block)
            values |= {"items": 0, "stages": len(placed) + 1}
            first = 1
        values |= stage_fields(request, placed, first)
        return self._rings.push(values | dict(fields or {}), block)

    def _submit_retrieval(self, asked: Retrieval, validate: bool, fields: Mapping[str, int]) -> int:
        if validate:
            check_retrieval(asked, self.config, 0)
        block = self._rings.take_block()
        values = {
            "opcode": Opcode.QUERY,
            "stages": 1,
            "top_n": 1,  # not used
            "result_address": self._layout.results(block),
            "deadline_cycles": asked.deadline_cycles,
        }
        return self._rings.push(values | self._write_retrieval(asked, block) | dict(fields), block)

    def _write_retrieval(self, asked: Retrieval, block: int) -> dict[str, int]:
        """Write what stage 0 is asked for; return its fields of the descriptor."""
        address = self._layout.inputs(block) + self._layout.retrieval_offset
        list_address = self._layout.found(block)
        self.bus.write_memory(address, encode(asked, address, list_address))
        return {
            "candidates_address": address,
            "stage0_kind": StageKind.RETRIEVE,
            "stage0_k": asked.k,
        }

    def input_addresses(self, block: int) -> tuple[int, int]:
        """Return where user record and candidates of a ring entry's queries lie [bytes]."""
        base = self._layout.inputs(block)
        return base, base + self._layout.candidate_offset

    def submit_fields(self, fields: Mapping[str, int]) -> int:
        """Queue a raw descriptor (`tag` and, unless given, `version` are filled in)."""
        return self._rings.push(fields, self._rings.take_block())

    def wait(self, tag: int) -> Completion:
        """Return the completion of `tag`, once; TimeoutError with the device's state."""
        return self._rings.wait(tag)

    def poll(self) -> list[Completion]:
        """Return the completions that have come and were not taken yet; does not wait."""
        return self._rings.poll()

    def run(self, requests: Iterable[Request | Retrieval]) -> Iterator[Completion]:
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
        return self._rings.state()

    @property
    def last_error(self) -> str | None:
        """The refused or failed access that the device reported last."""
        return self._rings.last_error
