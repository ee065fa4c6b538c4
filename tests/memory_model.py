"""A behavioural memory for the Amaranth simulator: latency, stalls, reordering, errors, counts."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from tests.streams import Bench

OKAY, SLVERR, DECERR = 0, 2, 3


@dataclass
class MemoryModel:
    """Bytes behind ReadPort (`serve`) or AXI4 (`serve_axi`).

    latency : (least, most) cycles from a request to its first beat.
    stall : chance that a channel does nothing in a cycle.
    failing : addresses of beats that answer with an error (an Status number for ReadPorts).
    """

    contents: bytearray
    beat_bytes: int
    latency: tuple[int, int] = (4, 4)
    stall: float = 0.0
    seed: int = 1
    failing: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.reads: list[tuple[int, int, int]] = []  # (id, address, beats)
        self.writes: list[tuple[int, int, int]] = []
        self.read_beats = 0
        self.most_outstanding: dict[int, int] = defaultdict(int)

    def _busy(self) -> bool:
        return self.random.random() < self.stall

    def beat(self, address: int) -> int:
        """Return the beat at `address`; zeros outside the contents."""
        raw = bytes(self.contents[address : address + self.beat_bytes])
        return int.from_bytes(raw, "little")

    def check(self, address: int, beats: int) -> None:
        assert 1 <= beats <= 16 and address % self.beat_bytes == 0, (address, beats)
        last = address + beats * self.beat_bytes - 1
        assert address >> 12 == last >> 12, f"burst at {address:#x} crosses 4 KiB"

    def serve(self, port: Any) -> Bench:
        """Return a bench that answers one ReadPort in order."""

        async def bench(ctx: Any) -> None:
            queue: deque[tuple[int, int, int, bool]] = deque()  # (due, address, left, ...)
            cycle = 0
            ctx.set(port.request.ready, 1)
            async for _, _, valid, ready, payload, taken, offered in ctx.tick().sample(
                port.request.valid,
                port.request.ready,
                port.request.payload,
                port.response.ready,
                port.response.valid,
            ):
                cycle += 1
                if valid and ready:
                    first = payload.address
                    if "row" in payload.shape().members:
                        assert first % (4 << payload.row.size) == 0, (first, payload.row.size)
                        first -= first % self.beat_bytes
                    self.check(first, payload.beats)
                    self.reads.append((0, first, payload.beats))
                    due = cycle + self.random.randint(*self.latency)
                    for index in range(payload.beats):
                        address = first + index * self.beat_bytes
                        queue.append((due, address, index + 1 == payload.beats, False))
                    owed = sum(last for _, _, last, _ in queue)
                    self.most_outstanding[0] = max(self.most_outstanding[0], owed)
                if offered and taken:
                    queue.popleft()
                    self.read_beats += 1
                if not offered or taken:
                    send = bool(queue) and queue[0][0] <= cycle and not self._busy()
                    ctx.set(port.response.valid, send)
                    if send:
                        _, address, last, _ = queue[0]
                        error = self.failing.get(address, 0)
                        data = 0 if error else self.beat(address)
                        value = {"data": data, "last": last, "error": error}
                        ctx.set(port.response.payload, value)
                ctx.set(port.request.ready, not self._busy())

        return bench

    def serve_axi(self, axi: Any) -> list[Bench]:
        """Return benches that answer one AXI4 port; order is kept only within an id."""
        return [self._reads(axi), self._writes(axi)]

    def _reads(self, axi: Any) -> Bench:
        async def bench(ctx: Any) -> None:
            queues: dict[int, deque[tuple[int, int, bool]]] = defaultdict(deque)
            cycle, current = 0, 0
            ctx.set(axi.arready, 1)
            async for (
                _,
                _,
                valid,
                ready,
                identity,
                address,
                length,
                offered,
                taken,
            ) in ctx.tick().sample(
                axi.arvalid, axi.arready, axi.arid, axi.araddr, axi.arlen, axi.rvalid, axi.rready
            ):
                cycle += 1
                if valid and ready:
                    self.check(address, length + 1)
                    self.reads.append((identity, address, length + 1))
                    due = cycle + self.random.randint(*self.latency)
                    for index in range(length + 1):
                        beat = address + index * self.beat_bytes
                        queues[identity].append((due, beat, index == length))
                    owed = sum(last for _, _, last in queues[identity])
                    self.most_outstanding[identity] = max(self.most_outstanding[identity], owed)
                if offered and taken:
                    queues[current].popleft()
                    self.read_beats += 1
                if not offered or taken:
                    due = [i for i, queue in queues.items() if queue and queue[0][0] <= cycle]
                    send = bool(due) and not self._busy()
                    ctx.set(axi.rvalid, send)
                    if send:
                        current = self.random.choice(due)
                        _, beat, last = queues[current][0]
                        ctx.set(axi.rid, current)
                        ctx.set(axi.rdata, self.beat(beat))
                        ctx.set(axi.rlast, last)
                        ctx.set(axi.rresp, self.failing.get(beat, OKAY))
                ctx.set(axi.arready, not self._busy())

        return bench

    def _writes(self, axi: Any) -> Bench:
        async def bench(ctx: Any) -> None:
            bursts: deque[tuple[int, int, int]] = deque()
            beats: deque[tuple[int, int, int]] = deque()
            answers: deque[tuple[int, int]] = deque()
            async for (
                _,
                _,
                aw,
                w,
                b,
                identity,
                address,
                length,
                word,
                strobe,
                last,
            ) in ctx.tick().sample(
                axi.awvalid & axi.awready,
                axi.wvalid & axi.wready,
                axi.bvalid & axi.bready,
                axi.awid,
                axi.awaddr,
                axi.awlen,
                axi.wdata,
                axi.wstrb,
                axi.wlast,
            ):
                if aw:
                    self.check(address, length + 1)
                    self.writes.append((identity, address, length + 1))
                    bursts.append((identity, address, length + 1))
                if w:
                    beats.append((word, strobe, last))
                if b:
                    answers.popleft()
                if bursts and len(beats) >= bursts[0][2]:
                    answers.append(self._store(bursts.popleft(), beats))
                ctx.set(axi.bvalid, bool(answers))
                if answers:
                    ctx.set(axi.bid, answers[0][0])
                    ctx.set(axi.bresp, answers[0][1])
                ctx.set(axi.awready, not self._busy())
                ctx.set(axi.wready, not self._busy())

        return bench

    def _store(
        self, burst: tuple[int, int, int], beats: deque[tuple[int, int, int]]
    ) -> tuple[int, int]:
        identity, address, count = burst
        response = OKAY
        for index in range(count):
            word, strobe, last = beats.popleft()
            assert bool(last) == (index + 1 == count), "wlast must mark the last beat"
            for byte in range(self.beat_bytes):
                if strobe >> byte & 1:
                    self.contents[address + byte] = word >> (8 * byte) & 255
            response = max(response, self.failing.get(address, OKAY))
            address += self.beat_bytes
        return identity, response
