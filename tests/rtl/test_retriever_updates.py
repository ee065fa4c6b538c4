import numpy as np
import pytest

from rpaccel.golden.retrieval import cosine_scales
from rpaccel.spec.retrieval import Metric
from tests.rtl.retriever_bench import Bench, machine
from tests.rtl.retriever_checks import (
    check,
    send_all,
)
from tests.streams import slow_but

CONFIG = machine()
BEAT = CONFIG.beat_bytes


class Writers:
    """Random changes of a corpus's rows, at any time; `history`: the corpus after each."""

    def __init__(self, bench, store, seed):
        self.bench, self.store, self.rows = bench, store, store.rows
        self.rng = np.random.default_rng(seed)
        self.memory = bytearray(bench.bytes)  # as it will be
        self.history = [store.state(self.memory)]
        self.ends = {0}  # epochs behind a whole change

    async def write(self, ctx, address, payload, **version):
        bench, memory = self.bench, self.memory
        await bench.update(ctx, address, payload, **version)
        memory[address : address + len(payload)] = payload
        if version:
            place = version["version_address"]
            memory[place : place + 4] = version["version"].to_bytes(4, "little")
        self.history.append(self.store.state(memory))

    async def delete(self, ctx, row):
        place = self.store.live + row // 32 * 4
        word = int.from_bytes(self.memory[place : place + 4], "little") & ~(1 << row % 32)
        await self.write(ctx, place, word.to_bytes(4, "little"))

    async def replace(self, ctx, row):
        """Write a row's scale, then the row, in pieces; behind the last one, and its number."""
        store = self.store
        values = self.rng.integers(-3, 4, store.row_bytes).astype(np.int8)
        place, half = store.scales + row // 2 * 4, row % 2 * 2
        pair = bytearray(self.memory[place : place + 4])
        pair[half : half + 2] = int(cosine_scales(values[None])[0]).to_bytes(2, "little")
        await self.write(ctx, place, bytes(pair))
        version = {}
        if row == self.rows:
            self.rows += 1
            version = {"version": self.rows, "version_address": store.header}
        step = min(store.row_bytes, CONFIG.update_bytes_max)
        for offset in range(0, store.row_bytes, step):
            last = version if offset + step == store.row_bytes else {}
            raw = values[offset : offset + step].tobytes()
            await self.write(ctx, store.base + row * store.row_bytes + offset, raw, **last)

    async def run(self, ctx):
        bench = self.bench
        while not all(query.done or query.passed for query in bench.queries):
            await ctx.tick().repeat(int(self.rng.integers(1, 60)))
            if bench.updates - ctx.get(bench.dut.updater.head) > 24:
                continue
            self.ends.add(bench.updates)
            kind, row = self.rng.integers(4), int(self.rng.integers(self.rows))
            if kind == 0:
                await self.delete(ctx, row)
            elif kind == 1 and self.rows < 48:
                await self.replace(ctx, self.rows)
            else:
                await self.replace(ctx, row)


@pytest.mark.parametrize("metric", slow_but([], Metric, nightly=[Metric.COSINE]))
@pytest.mark.parametrize("stall", slow_but(["both"], ["none", "both"], nightly=["none"]))
def test_every_scan_sees_the_corpus_of_its_epoch(metric, stall, monkeypatch):
    follow_epochs(metric, stall, monkeypatch, 32)


@pytest.mark.parametrize("row_bytes", slow_but([128], [128, 256]))
def test_rows_longer_than_an_update(row_bytes, monkeypatch):
    """No scan sees a row of which some pieces are new."""
    assert row_bytes > CONFIG.update_bytes_max
    follow_epochs(Metric.COSINE, "both", monkeypatch, row_bytes)


def follow_epochs(metric, stall, monkeypatch, row_bytes):
    """Change rows at random times while scans run; each sees what is there at its epoch."""
    bench = Bench(CONFIG, monkeypatch, seed=5)
    store = bench.corpus(40, row_bytes, metric, room=8)
    for number in range(8):
        bench.query(store, k=48, stages=1 + number % 2)
    writers = Writers(bench, store, 9)

    async def feed(ctx):
        for query in bench.queries:
            await bench.submit(ctx, query)
            await ctx.tick().repeat(int(bench.rng.integers(1, 200)))

    bench.background = [writers.run]
    bench.run(feed, stall=stall)
    epochs = []
    for query in bench.queries:
        epochs.append(
            query.passed["found"]["epoch"] if query.passed else query.done["interaction_cycles0"]
        )
        check(bench, query, writers.history[epochs[-1]])
    assert len(set(epochs)) >= 4 and max(epochs) > 20
    assert set(epochs) <= writers.ends  # all updates of a change, or none


def test_an_entry_waits_for_each_of_its_bytes(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    store = bench.corpus(40)
    bench.query(store, k=40)
    writers = Writers(bench, store, 1)
    bench.row_cycles = (20, 20)

    async def write(ctx):
        while not bench.scans or bench.cycle < bench.scans[0].begun_at + 20 * 10:
            await ctx.tick()
        # the first byte of this word has been read, that of these rows has not
        for row in range(20, 30):
            await writers.delete(ctx, row)

    bench.run(send_all(bench), write)
    check(bench, bench.queries[0], writers.history[0])


def test_a_prepared_scan_sees_what_was_appended_since(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    first, second = bench.corpus(60), bench.corpus(20, room=4)
    for store in (first, second):
        bench.query(store, k=40)
    writers = Writers(bench, second, 2)
    before = first.state(bench.bytes)

    async def write(ctx):
        while not bench.scans or bench.cycle < bench.scans[0].begun_at + 90:
            await ctx.tick()
        await writers.replace(ctx, 20)

    bench.row_cycles = (20, 20)
    bench.run(send_all(bench), write)
    check(bench, bench.queries[0], before)
    check(bench, bench.queries[1], writers.history[2])
    assert bench.queries[1].done["items0"] == 21


def test_writers_go_first_between_scans_and_scans_do_not_starve(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    store, other = bench.corpus(60), bench.corpus(4)
    for _ in range(8):
        bench.query(store)
    tails = []

    async def writers(ctx):
        while not all(query.done for query in bench.queries):
            while bench.updates - ctx.get(bench.dut.updater.head) < 6:
                await bench.update(ctx, other.base, bytes(16))
            await ctx.tick()

    async def watch(ctx):
        seen = 0
        async for _ in ctx.tick():
            if len(bench.scans) > seen and bench.scans[seen].read_at:
                tails.append((seen, bench.updates))
                seen += 1

    bench.background = [writers, watch]
    bench.run(send_all(bench))
    assert len(bench.scans) >= 4
    for number, tail in tails:
        if number + 1 < len(bench.scans):
            assert tail <= bench.scans[number + 1].head <= tail + 3
