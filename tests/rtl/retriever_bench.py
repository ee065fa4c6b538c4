"""A retriever beside the row updater; its engine is a Python process that reads row by row."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Module
from amaranth.lib import wiring

from rpaccel.golden import retrieval
from rpaccel.rtl import retriever as retriever_module
from rpaccel.rtl.retrieval_engine import RetrievalEngine
from rpaccel.rtl.retriever import Retriever
from rpaccel.rtl.row_updater import RowUpdater
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import (
    CORPUS,
    ISA_VERSION,
    RETRIEVAL,
    ROW_UPDATE,
    UPDATE_PENDING,
    RetrievalFlag,
    StageKind,
)
from rpaccel.spec.retrieval import Metric
from tests.memory_model import MemoryModel
from tests.streams import plain, receive, send, simulate, stalls

Int8 = npt.NDArray[np.int8]
MEMORY_BYTES = 1 << 16
UPDATES = 0x100  # entries from here on, RING of them
RING = 32
RESULT_BYTES = 1024
FILL = 0xA5  # of memory that nobody has written
LIMIT_CYCLES = 60_000
NONE = {"low": 0, "high": 0}


def machine(**fields: Any) -> AcceleratorConfig:
    """Return a machine with an engine for two queries and 16-byte beats."""
    sizes = {"retrieval_queries": 2, "retrieval_k_max": 64, "memory_ports": 1, "row_banks": 1}
    return load_accelerator("edge").model_copy(update=sizes | fields)


class NoEngine(RetrievalEngine):
    """The engine's ports, for a Python process."""

    made: list[NoEngine] = []

    def elaborate(self, platform: object) -> Module:
        self.made.append(self)
        return Module()


class Machine(wiring.Component):
    """A retriever and the row updater, connected as in the whole machine."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.retriever, self.updater = Retriever(config), RowUpdater(config)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.retriever, m.submodules.updater = retriever, updater = (
            self.retriever, self.updater
        )  # fmt: skip
        m.d.comb += [
            updater.pause.eq(retriever.pause),
            *(to.eq(of) for to, of in zip(updater.guards, retriever.guards, strict=True)),
            retriever.paused.eq(updater.idle),
            retriever.updates_head.eq(updater.head),
            retriever.updates_tail.eq(updater.queue.tail),
            retriever.updates_wait.eq(updater.waiting),
        ]
        return m


@dataclass(kw_only=True, eq=False)
class Store:
    """A corpus in memory: its rows are where the device reads them."""

    header: int
    base: int
    live: int
    scales: int
    metric: Metric
    row_bytes: int
    rows: int

    def state(self, memory: bytearray) -> State:
        """Return what the corpus is now."""
        count = int.from_bytes(memory[self.header : self.header + 4], "little")
        raw = np.frombuffer(bytes(memory[self.base :][: count * self.row_bytes]), np.int8)
        bits = np.frombuffer(bytes(memory[self.live :][: -(-count // 8)]), np.uint8)
        scales = np.frombuffer(bytes(memory[self.scales :][: 2 * count]), "<u2")
        return State(
            rows=raw.reshape(count, self.row_bytes),
            live=np.unpackbits(bits, count=count, bitorder="little").astype(bool),
            scales=scales.astype(np.int64),
            metric=self.metric,
        )


@dataclass(kw_only=True, eq=False)
class State:
    """A corpus at one time."""

    rows: Int8
    live: npt.NDArray[np.bool_]
    scales: npt.NDArray[np.int64]
    metric: Metric

    def answer(self, query: Query) -> tuple[list[tuple[int, int]], int]:
        """Return [(id, score)] of the k best, and how many rows qualify."""
        if self.metric is Metric.COSINE:
            scores = retrieval.cosine(self.rows, query.vector, self.scales)
        else:
            of = retrieval.l2 if self.metric is Metric.L2 else retrieval.inner_product
            scores = of(self.rows, query.vector)
        ids = np.flatnonzero(self.live & ((query.floor is None) | (scores >= (query.floor or 0))))
        order = np.lexsort((ids, -scores[ids]))[: query.k]
        return [(int(ids[n]), int(scores[ids[n]])) for n in order], len(ids)


@dataclass(kw_only=True, eq=False)
class Query:
    """A query, and what came of it."""

    store: Store
    vector: Int8
    k: int
    floor: int | None = None
    stages: int = 1
    deadline: int = 0
    waited: int = 0
    tag: int = 0
    address: int = 0  # of its RETRIEVAL; its list and its result lie behind it
    place: int = 0  # of its vector
    done: dict[str, Any] | None = None
    passed: dict[str, Any] | None = None

    @property
    def list(self) -> int:
        return self.address + 0x100

    @property
    def result(self) -> int:
        return self.address + 0x200


@dataclass(kw_only=True)
class Scan:
    """What the engine was asked for. failed : the Status that it reports."""

    start: dict[str, Any]
    words: list[dict[int, int]]
    head: int
    failed: int = 0
    read_at: int = 0
    begun_at: int = 0
    figures: dict[str, int] = field(default_factory=dict)


class Bench:
    """Memory, queries, an engine."""

    def __init__(self, config: AcceleratorConfig, monkeypatch: Any, seed: int = 1) -> None:
        monkeypatch.setattr(retriever_module, "RetrievalEngine", NoEngine)
        NoEngine.made.clear()
        self.config, self.random = config, random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.dut = Machine(config)
        self.bytes = bytearray([FILL]) * MEMORY_BYTES
        self.top = UPDATES + RING * config.update_entry_bytes
        self.failing: dict[int, int] = {}
        self.bad_writes: dict[int, int] = {}
        self.queries: list[Query] = []
        self.scans: list[Scan] = []
        self.failed_scans: dict[int, int] = {}
        self.row_cycles = (1, 3)  # of the engine, for a row
        self.answer_cycles = (1, 60)  # from a report to the first row
        self.inside = 0  # queries in the engine
        self.words = self.no_words()
        self.told: list[deque[Any]] = [deque() for _ in self.words]
        self.cycle = 0
        self.updates = 0  # submitted
        self.writes: list[tuple[int, int]] = []
        self.background: list[Any] = []  # processes beside those of `run`

    def allocate(self, length: int, multiple: int = 128) -> int:
        address = -(-self.top // multiple) * multiple
        self.top = address + length
        assert self.top <= MEMORY_BYTES
        return address

    def write(self, address: int, raw: bytes) -> None:
        self.bytes[address : address + len(raw)] = raw

    def corpus(
        self,
        rows: int = 40,
        row_bytes: int = 16,
        metric: Metric = Metric.INNER_PRODUCT,
        room: int = 0,
    ) -> Store:
        """Write a corpus of random rows."""
        stripes = self.config.memory_ports * self.config.stripe_bytes
        values = self.rng.integers(-3, 4, (rows, row_bytes)).astype(np.int8)
        live = self.rng.random(rows + room) < 0.9
        store = Store(
            header=self.allocate(CORPUS.bytes),
            base=self.allocate((rows + room) * row_bytes, stripes),
            live=self.allocate(64),
            scales=self.allocate(2 * (rows + room)),
            metric=Metric(metric),
            row_bytes=row_bytes,
            rows=rows,
        )
        self.write(store.base, values.tobytes())
        self.write(store.live, np.packbits(live, bitorder="little").tobytes())
        self.write(store.scales, retrieval.cosine_scales(values).astype("<u2").tobytes())
        self.poke_corpus(store)
        return store

    def poke_corpus(self, store: Store, **fields: int) -> None:
        """Write a corpus's header, with other values of some fields."""
        values = {
            "rows": store.rows,
            "row_bytes": store.row_bytes,
            "metric": store.metric,
            "version": ISA_VERSION,
            "base": store.base,
            "live": store.live,
            "scales": store.scales,
        }
        self.write(store.header, CORPUS.to_bytes(values | fields))

    def query(self, store: Store, k: int = 5, **fields: Any) -> Query:
        """Place a query; `poke`: fields of its RETRIEVAL."""
        poke = fields.pop("poke", {})
        vector = self.rng.integers(-3, 4, store.row_bytes).astype(np.int8)
        query = Query(store=store, vector=vector, k=k, tag=len(self.queries), **fields)
        query.address = self.allocate(0x200 + RESULT_BYTES, 256)
        query.place = place = self.allocate(store.row_bytes)
        values = {
            "corpus": store.header,
            "vector": place,
            "list": query.list,
            "flags": 0 if query.floor is None else RetrievalFlag.FLOOR,
            "floor": query.floor or 0,
            "version": ISA_VERSION,
        }
        self.write(query.address, RETRIEVAL.to_bytes(values | poke))
        self.write(place, vector.tobytes())
        self.queries.append(query)
        return query

    # Processes

    def descriptor(self, query: Query) -> dict[str, Any]:
        fields = {
            "tag": query.tag,
            "stages": query.stages,
            "stage0_kind": StageKind.RETRIEVE,
            "stage0_k": query.k,
            "candidates_address": query.address,
            "result_address": query.result,
            "deadline_cycles": query.deadline,
            "user_address": 0x1230,
        }
        for stage in range(1, query.stages):
            fields |= {f"stage{stage}_kind": StageKind.RANK, f"stage{stage}_k": 10 * stage}
        return fields

    async def submit(self, ctx: Any, query: Query, idle: Iterator[int] | None = None) -> None:
        fields = {
            "descriptor": self.descriptor(query),
            "fetched_at": self.cycle - query.waited,
            "accepted_at": self.cycle,
        }
        await send(ctx, self.dut.retriever.query, [fields], idle, LIMIT_CYCLES)

    async def update(
        self, ctx: Any, address: int, payload: bytes, version: int = 0, version_address: int = 0
    ) -> None:
        """Put an entry into the queue of row updates."""
        entry = UPDATES + self.updates % RING * self.config.update_entry_bytes
        fields = {
            "row_address": address,
            "version_address": version_address,
            "version": version,
            "row_bytes": len(payload),
            "status": UPDATE_PENDING,
        }
        self.write(entry, ROW_UPDATE.to_bytes(fields) + payload)
        self.updates += 1
        ctx.set(self.dut.updater.queue.tail, self.updates)

    def status_of(self, number: int) -> int:
        """Return what came of an update that lies in the ring still."""
        entry = UPDATES + number % RING * self.config.update_entry_bytes
        return ROW_UPDATE.from_bytes(bytes(self.bytes[entry : entry + ROW_UPDATE.bytes]))["status"]

    def writer(self, port: Any, sink: Iterator[int]) -> Any:
        """Return a process that answers a WritePort."""
        width = self.config.beat_bytes

        async def serve(ctx: Any) -> None:
            while True:
                (request,) = await receive(ctx, port.request, 1, sink, LIMIT_CYCLES)
                start, beats = request["address"], request["beats"]
                assert start % width == 0 and 1 <= beats <= 16
                limit = self.config.burst_boundary_bytes
                assert start // limit == (start + beats * width - 1) // limit
                self.writes.append((start, beats))
                error = self.bad_writes.get(start, 0)
                for beat in range(beats):
                    (told,) = await receive(ctx, port.payload, 1, sink, LIMIT_CYCLES)
                    raw = told["data"].to_bytes(width, "little")
                    for byte in range(width):
                        if told["strobe"] >> byte & 1 and not error:
                            self.bytes[start + beat * width + byte] = raw[byte]
                await send(ctx, port.response, [{"error": error}], sink)

        return serve

    async def count(self, ctx: Any) -> None:
        while True:
            ctx.set(self.dut.retriever.clock, self.cycle)
            await ctx.tick()
            self.cycle += 1

    async def engine(self, ctx: Any) -> None:
        """Take a scan; read its rows one after the other; give reports and answers."""
        engine = NoEngine.made[0]
        ctx.set(engine.idle, 1)
        ctx.set(engine.start.ready, 1)
        while True:
            _, _, start, asked, head = await ctx.tick().sample(
                engine.start.valid & engine.start.ready,
                engine.start.payload,
                self.dut.updater.head,
            )
            if not start:
                continue
            scan = Scan(start=plain(asked), words=self.words, head=head)
            scan.begun_at = self.cycle
            scan.failed = self.failed_scans.get(len(self.scans), 0)
            self.scans.append(scan)
            self.words = self.no_words()
            ctx.set(engine.idle, 0)
            ctx.set(engine.start.ready, 0)
            await self.read(ctx, engine, scan)
            ctx.set(engine.start.ready, 1)

    def no_words(self) -> list[dict[int, int]]:
        return [{} for _ in range(self.config.retrieval_queries)]

    async def take_words(self, ctx: Any) -> None:
        """Take the words of the next scan while one runs."""
        word = NoEngine.made[0].word
        while True:
            _, _, taken, of = await ctx.tick().sample(word.valid & word.ready, word.payload)
            if taken:
                self.words[of.query][of.index] = of.data
            ctx.set(word.ready, self.random.random() < 0.8)

    async def read(self, ctx: Any, engine: NoEngine, scan: Scan) -> None:
        start = scan.start
        rows, size = start["rows"], 16 << start["row_size"]
        base, live = start["base"], start["live"]
        end = base + rows * size
        values, bits, scales = [], [], []
        for row in range(rows):
            ctx.set(engine.rows_guard, {"low": base + row * size, "high": end})
            ctx.set(engine.live_guard, {"low": live + row // 8, "high": live + -(-rows // 8)})
            scales_end = start["scales"] + 2 * rows
            ctx.set(engine.scales_guard, {"low": start["scales"] + 2 * row, "high": scales_end})
            await ctx.tick().repeat(self.random.randint(*self.row_cycles))
            if ctx.get(engine.give_up):
                break
            values.append(bytes(self.bytes[base + row * size :][:size]))
            bits.append(bool(self.bytes[live + row // 8] >> (row % 8) & 1) if live else True)
            scales.append(int.from_bytes(self.bytes[start["scales"] + 2 * row :][:2], "little"))
        ctx.set(engine.rows_guard, NONE)
        ctx.set(engine.live_guard, NONE)
        ctx.set(engine.scales_guard, NONE)
        scan.read_at = self.cycle
        state = State(
            rows=np.frombuffer(b"".join(values), np.int8).reshape(-1, size),
            live=np.array(bits, bool),
            scales=np.array(scales, np.int64),
            metric=Metric(start["metric"]),
        )
        scan.figures = {
            "scan_cycles": self.cycle - scan.begun_at,
            "beats": self.random.randrange(1 << 20),
            "stalled_cycles": self.random.randrange(1 << 20),
        }
        for place, asked in enumerate(start["queries"]):
            if not asked["valid"]:
                continue
            self.inside += 1
            raw = b"".join(
                scan.words[place][n].to_bytes(self.config.beat_bytes, "little")
                for n in range(max(1, size // self.config.beat_bytes))
            )
            assert len(scan.words[place]) == max(1, size // self.config.beat_bytes)
            assert raw == raw[:size] * (len(raw) // size)  # shorter than a beat: repeated
            floor = asked["floor"]["score"] if asked["floor"]["valid"] else None
            found, qualify = state.answer(
                Query(
                    store=self.queries[0].store,
                    vector=np.frombuffer(raw[:size], np.int8),
                    k=asked["filter"]["k"],
                    floor=floor,
                )
            )
            report = {"status": scan.failed, "found": qualify, **scan.figures}
            self.told[place].append((report, found))

    def answers(self, place: int, source: Iterator[int]) -> Any:
        """Return the process of a place's reports and answers, which come later."""

        async def serve(ctx: Any) -> None:
            engine = NoEngine.made[0]
            while True:
                if not self.told[place]:
                    await ctx.tick()
                    continue
                report, found = self.told[place].popleft()
                await send(ctx, engine.report[place], [report], source, LIMIT_CYCLES)
                await ctx.tick().repeat(self.random.randint(*self.answer_cycles))
                rows = [{"id": name, "score": score, "end": 0} for name, score in found]
                end = {"id": 99, "score": 99, "end": 1}
                await send(ctx, engine.result[place], [*rows, end], source, LIMIT_CYCLES)
                self.inside -= 1
                ctx.set(engine.idle, self.inside == 0)

        return serve

    def run(self, *benches: Any, stall: str = "none", limit_cycles: int = LIMIT_CYCLES) -> None:
        """Run `benches` and whatever they submit to the end; nothing may be left inside."""
        dut = self.dut
        source, sink = stalls(stall, 3)
        memory = MemoryModel(
            self.bytes,
            self.config.beat_bytes,
            latency=(8, 12),
            stall=0.2 if stall in ("source", "both") else 0,
            failing=self.failing,
        )
        ended: list[int] = []

        def take(stream: Any, name: str) -> Any:
            async def serve(ctx: Any) -> None:
                while True:
                    (got,) = await receive(ctx, stream, 1, sink, 10 * LIMIT_CYCLES)
                    tag = got["tag"] if name == "done" else got["descriptor"]["tag"]
                    query = self.queries[tag]
                    assert query.done is None and query.passed is None, f"query {tag} came twice"
                    setattr(query, name, got | {"cycle": self.cycle})
                    ended.append(tag)
                    if stall in ("sink", "both"):  # so that others wait to be taken
                        for _ in range(self.random.randint(1, 400)):
                            await ctx.tick()  # .repeat() complains when the simulator is dropped

            return serve

        async def main(ctx: Any) -> None:
            queue = {"enable": 1, "base": UPDATES, "size": RING, "tail": 0}
            ctx.set(dut.updater.queue, queue)
            ctx.set(dut.updater.row.held, 1)
            ctx.set(dut.updater.row.write.ready, 1)
            for bench in benches:
                await bench(ctx)
            while len(ended) != len(self.queries) or ctx.get(dut.updater.waiting):
                await ctx.tick()
            await ctx.tick().repeat(60)
            assert len(ended) == len(self.queries)
            assert ctx.get(dut.retriever.idle) and not self.inside
            assert ctx.get(dut.updater.head) == self.updates

        retriever = dut.retriever
        simulate(
            dut,
            main,
            monitors=[
                retriever.passed, retriever.done, retriever.memory.request,
                retriever.port.request, retriever.port.payload,
            ],
            background=[
                self.count,
                self.engine,
                self.take_words,
                *(self.answers(n, source) for n in range(self.config.retrieval_queries)),
                memory.serve(retriever.memory),
                memory.serve(dut.updater.read),
                self.writer(retriever.port, sink),
                self.writer(dut.updater.write, sink),
                take(retriever.passed, "passed"),
                take(retriever.done, "done"),
                *self.background,
            ],
            limit_cycles=limit_cycles,
        )  # fmt: skip
        self.memory = memory
