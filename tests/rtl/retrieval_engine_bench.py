"""A retrieval engine on a memory that is a Python process: scans in, answers and reports out."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden import retrieval
from rpaccel.rtl.retrieval_engine import RetrievalEngine
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.retrieval import BUCKETS, Metric
from rpaccel.spec.stripe import port_of
from tests.streams import expect_silence, plain, receive, send, simulate, stalls

MEMORY_BYTES = 1 << 20
LIMIT_CYCLES = 200_000


def machine(
    ports: int = 1, beat_bytes: int = 16, queries: int = 2, k_max: int = 64, **fields: Any
) -> AcceleratorConfig:
    """Return a machine whose engine matters alone."""
    return load_accelerator("edge").model_copy(
        update={
            "memory_ports": ports,
            "row_banks": ports,
            "axi_data_bits": 8 * beat_bytes,
            "stripe_bytes": max(256, 16 * beat_bytes),
            "retrieval_queries": queries,
            "retrieval_k_max": k_max,
            **fields,
        }
    )


@dataclass(kw_only=True)
class Ask:
    """One query of a scan."""

    vector: npt.NDArray[np.int8]
    k: int
    bitmap: npt.NDArray[np.bool_] | None = None
    floor: int | None = None
    page: tuple[int, int] | None = None  # score, id


@dataclass(kw_only=True)
class Scan:
    """A corpus and who asks for it; `live`: rows that are not deleted."""

    rows: npt.NDArray[np.int8]
    metric: Metric
    queries: list[Ask]
    live: npt.NDArray[np.bool_] | None = None
    start: dict[str, Any] = field(default_factory=dict)


def scores_of(scan: Scan, ask: Ask) -> npt.NDArray[np.int64]:
    """Return the scores of all rows."""
    if scan.metric is Metric.COSINE:
        return retrieval.cosine(scan.rows, ask.vector, retrieval.cosine_scales(scan.rows))
    score = retrieval.l2 if scan.metric is Metric.L2 else retrieval.inner_product
    return score(scan.rows, ask.vector)


def expected(scan: Scan, ask: Ask) -> tuple[list[tuple[int, int]], int]:
    """Return the answer [(score, id)] and how many rows qualify, by a full sort."""
    scores = scores_of(scan, ask)
    ids = np.arange(len(scores))
    keep = np.ones(len(scores), bool)
    for mask in (scan.live, ask.bitmap):
        if mask is not None:
            keep &= mask
    if ask.floor is not None:
        keep &= scores >= ask.floor
    if ask.page is not None:
        score, name = ask.page
        keep &= (scores < score) | (scores == score) & (ids > name)
    best = retrieval.top_k(scores[keep], ask.k, ids[keep]) if keep.any() else np.zeros(0, int)
    pairs = zip(scores[keep][best].tolist(), ids[keep][best].tolist(), strict=True)
    return list(pairs), int(keep.sum())


class Memory:
    """Corpora, scales and bitmaps; what a port reads must be its own."""

    def __init__(self, config: AcceleratorConfig, seed: int) -> None:
        self.config = config
        self.bytes = np.random.default_rng(seed).integers(0, 256, MEMORY_BYTES, dtype=np.uint8)
        self.top = 0
        self.errors: dict[int, int] = {}  # beat address: Status

    def put(self, array: npt.NDArray[Any], align: int) -> int:
        """Write an array; return its address, never 0."""
        address = (self.top // align + 1) * align
        raw = array.tobytes()
        self.bytes[address : address + len(raw)] = np.frombuffer(raw, np.uint8)
        self.top = address + len(raw)
        assert self.top < MEMORY_BYTES
        return address

    def bits(self, mask: npt.NDArray[np.bool_] | None) -> int:
        """Write a bitmap, padded to a beat with ones; return its address, 0: none."""
        if mask is None:
            return 0
        padding = np.ones(-len(mask) % (8 * self.config.beat_bytes), bool)
        return self.put(
            np.packbits(np.concatenate([mask, padding]), bitorder="little"), self.config.beat_bytes
        )

    def scan(self, scan: Scan) -> dict[str, Any]:
        """Write what a scan reads; return its `start`."""
        config = self.config
        stripes = config.memory_ports * config.stripe_bytes
        queries = []
        for ask in scan.queries:
            floor = {"valid": ask.floor is not None, "score": ask.floor or 0}
            score, name = ask.page or (0, 0)
            queries.append(
                {
                    "valid": 1,
                    "filter": {"k": ask.k, "base": -4000, "shift": 6},
                    "bitmap": self.bits(ask.bitmap),
                    "floor": floor,
                    "page": {"valid": ask.page is not None, "score": score, "id": name},
                }
            )
        nothing = {"valid": 0}
        scales = retrieval.cosine_scales(scan.rows).astype("<u2")
        padded = np.concatenate([scales, np.zeros(config.beat_bytes, "<u2")])
        return {
            "rows": len(scan.rows),
            "row_size": (scan.rows.shape[1] // 16).bit_length() - 1,
            "metric": scan.metric,
            "base": self.put(scan.rows, stripes),
            "live": self.bits(scan.live),
            "scales": self.put(padded, config.beat_bytes),
            "queries": queries + [nothing] * (config.retrieval_queries - len(queries)),
        }

    def beat(self, address: int) -> tuple[int, int]:
        """Return data and Status of a beat."""
        error = self.errors.get(address, 0)
        raw = self.bytes[address : address + self.config.beat_bytes].tobytes()
        return 0 if error else int.from_bytes(raw, "little"), error

    def port(self, port: Any, number: int | None, latency: tuple[int, int], seed: int) -> Any:
        """Return a background bench that answers a ReadPort, a beat per cycle at best."""
        generator = random.Random(seed)

        async def serve(ctx: Any) -> None:
            waiting: deque[tuple[int, int, bool]] = deque()  # cycle, address, last
            cycle, offered = 0, False
            ctx.set(port.request.ready, 1)
            while True:
                _, _, asked, request, taken = await ctx.tick().sample(
                    port.request.valid & port.request.ready,
                    port.request.payload,
                    port.response.valid & port.response.ready,
                )
                cycle += 1
                if asked:
                    at = plain(request)
                    beats, address = at["beats"], at["address"]
                    assert 1 <= beats <= 16 and address % self.config.beat_bytes == 0
                    limit = self.config.burst_boundary_bytes
                    last = address + beats * self.config.beat_bytes - 1
                    assert address // limit == last // limit
                    if number is not None and beats > 1:
                        assert port_of(self.config, address) == number
                    when = cycle + generator.randint(*latency)
                    for beat in range(beats):
                        waiting.append(
                            (when, address + beat * self.config.beat_bytes, beat == beats - 1)
                        )
                if taken:
                    waiting.popleft()
                    offered = False
                if not offered:
                    offered = bool(waiting) and waiting[0][0] <= cycle
                    if offered:
                        data, error = self.beat(waiting[0][1])
                        ctx.set(
                            port.response.payload,
                            {"data": data, "error": error, "last": waiting[0][2]},
                        )
                    ctx.set(port.response.valid, offered)

        return serve


def run(
    config: AcceleratorConfig,
    scans: list[Scan],
    *,
    stall: str = "none",
    latency: tuple[int, int] = (4, 4),
    errors: Mapping[int, int] | None = None,
    seed: int = 1,
    watch: Any = None,
    together: bool = False,
) -> tuple[list[list[list[tuple[int, int]]]], list[list[dict[str, int]]], Memory]:
    """Return the answers [scan][query], the reports, and the memory.

    together : the last word of a scan comes in the cycle in which an idle engine takes its start.
    """
    dut = RetrievalEngine(config)
    memory = Memory(config, seed)
    source, sink = stalls(stall, seed)
    for scan in scans:
        scan.start = memory.scan(scan)
    memory.errors = dict(errors or {})
    answers: list[Any] = [[None] * len(scan.queries) for scan in scans]
    reports: list[Any] = [[None] * len(scan.queries) for scan in scans]

    async def feed(ctx: Any) -> None:
        for _ in range(BUCKETS):  # after a reset the histograms are cleared
            await ctx.tick()
        for scan in scans:
            for place, ask in enumerate(scan.queries):
                vector = np.tile(ask.vector, max(1, config.beat_bytes // len(ask.vector)))
                words = vector.reshape(-1, config.beat_bytes)
                items = [
                    {"query": place, "index": i, "data": int.from_bytes(w.tobytes(), "little")}
                    for i, w in enumerate(words)
                ]
                held = items[-1:] if together and place == len(scan.queries) - 1 else []
                await send(ctx, dut.word, items[: len(items) - len(held)], source, LIMIT_CYCLES)
            if held:
                ctx.set(dut.start.payload, scan.start)
                while not ctx.get(dut.start.ready & dut.idle):
                    await ctx.tick()
                ctx.set(dut.word.payload, held[0])
                ctx.set(dut.word.valid, 1)
                assert ctx.get(dut.word.ready)
            await send(ctx, dut.start, [scan.start], source, LIMIT_CYCLES)
            ctx.set(dut.word.valid, 0)

    working = set(range(config.retrieval_queries))

    def drain(place: int) -> Any:
        async def bench(ctx: Any) -> None:
            for number, scan in enumerate(scans):
                if place >= len(scan.queries):
                    continue
                got = await receive(ctx, dut.report[place], 1, sink, LIMIT_CYCLES)
                reports[number][place] = got[0]
                answer = []
                while True:
                    row = (await receive(ctx, dut.result[place], 1, sink, LIMIT_CYCLES))[0]
                    if row["end"]:
                        break
                    answer.append((row["score"], row["id"]))
                answers[number][place] = answer
            await expect_silence(ctx, dut.result[place])
            await expect_silence(ctx, dut.report[place])
            working.discard(place)
            if not working:
                assert ctx.get(dut.idle)

        return bench

    background = [
        memory.port(port, number, latency, seed + number) for number, port in enumerate(dut.memory)
    ]
    background.append(memory.port(dut.bitmap, None, latency, seed + 99))
    if watch is not None:
        background.append(watch(dut, memory))
    simulate(
        dut,
        feed,
        *(drain(place) for place in range(config.retrieval_queries)),
        monitors=[*dut.result, *dut.report, *(port.request for port in dut.memory)],
        background=background,
        limit_cycles=LIMIT_CYCLES,
    )
    return answers, reports, memory
