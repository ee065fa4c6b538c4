"""A bench around Gather: its outcome, write by write, against a stage's expectations."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from rpaccel.rtl.gather import Gather
from rpaccel.spec.isa import Target
from tests.memory_model import MemoryModel
from tests.rtl.gather_stage import Shape, Stage, Writes
from tests.streams import plain, send, simulate, stalls

USER = 4  # beside the banks


@dataclass
class Outcome:
    """What the bench saw."""

    batches: list[dict[str, Any]] = field(default_factory=list)
    item_ids: list[int] = field(default_factory=list)
    items: list[dict] = field(default_factory=list)  # a batch's writes, as Writes
    user: dict = field(default_factory=dict)
    status: int = 0
    cycles: int = 0  # from start to the last batch
    counters: dict[str, int] = field(default_factory=dict)


def run(  # noqa: PLR0915
    stage: Stage,
    stall: str = "none",
    latency: tuple[int, int] = (5, 30),
    failing: dict[int, int] | None = None,
    hold_cycles: int = 0,
    late_cycles: int = 0,
    unscored: int = 0,
    repeats: int = 1,
    sub_batch: int | list[int] = 0,
    lists: list[list[int]] | None = None,
    limit_cycles: int = 20_000,
) -> tuple[list[Outcome], MemoryModel, MemoryModel]:
    """Run `stage` on a Gather `repeats` times; a batch's bank is released after `hold_cycles`.

    late_cycles : after which it is released instead, while the next batches and stages go on.
    The ids of the last `unscored` batches stay in the unit. sub_batch : of each run, or of all.
    """
    config = stage.config
    dut = Gather(config)
    chance = 0.3 if stall in ("source", "both") else 0.0
    records, rows = (
        MemoryModel(stage.contents, config.beat_bytes, latency, chance, seed, failing or {})
        for seed in (7, 8)
    )
    source, _ = stalls(stall, 5)
    # writes since the last batch of each bank, and of the user's record
    written: list[dict] = [defaultdict(list) for _ in range(USER + 1)]
    outcomes = [Outcome() for _ in range(repeats)]
    now = {"cycle": 0, "banks": 0}
    held: list[tuple[int, set[int]]] = []  # when banks are released, and their quarters
    asked = sub_batch if isinstance(sub_batch, list) else [sub_batch] * repeats

    async def main(ctx: Any) -> None:
        for index, word in enumerate(stage.descriptors):
            ctx.set(dut.load.valid, 1)
            ctx.set(dut.load.target, Target.FEATURE)
            ctx.set(dut.load.index, stage.feature_base + index)
            ctx.set(dut.load.data, word)
            await ctx.tick()
        ctx.set(dut.load.valid, 0)
        ctx.set(dut.slot, stage.slot)
        for size, outcome in zip(asked, outcomes, strict=True):
            await send(ctx, dut.start, [stage.start | {"sub_batch": size}])
            now["four"] = stage.batch_size(size) <= stage.quarter_items
            begin = now["cycle"]
            now["outcome"] = outcome
            await collect(ctx, outcome)
            outcome.cycles = now["cycle"] - begin
            for _ in range(3):
                await ctx.tick()
            assert not ctx.get(dut.busy) and ctx.get(dut.start.ready)
            assert not ctx.get(dut.batch.valid) and not ctx.get(dut.item_ids.valid)
            outcome.status = ctx.get(dut.status)
            assert not any(written), "written, but no part of a batch"

    async def collect(ctx: Any, outcome: Outcome) -> None:
        last, waiting = False, []
        _, sink = stalls(stall, 9)
        while not last:
            for _ in range(next(sink)):
                await ctx.tick()
            ctx.set(dut.batch.ready, 1)
            (batch,) = await ctx.tick().sample(dut.batch.payload).until(dut.batch.valid)
            ctx.set(dut.batch.ready, 0)
            outcome.batches.append(plain(batch))
            outcome.items.append(dict(written[batch.bank]))
            written[batch.bank].clear()
            if len(outcome.batches) == 1:
                outcome.user = dict(written[USER])
                written[USER].clear()
            last = batch.last
            ctx.set(dut.item_ids.ready, 1)
            waiting.append(batch.items)
            scored = len(waiting) if last else max(0, len(waiting) - unscored)
            for _ in range(sum(waiting[:scored])):
                _, _, valid, item = await ctx.tick().sample(
                    dut.item_ids.valid, dut.item_ids.payload
                )
                assert valid, "an item's id must be there before its batch"
                outcome.item_ids.append(item)
            del waiting[:scored]
            ctx.set(dut.item_ids.ready, 0)
            if late_cycles:
                quarters = {batch.bank} if now["four"] else {batch.bank, batch.bank + 1}
                held.append((now["cycle"] + late_cycles, quarters))
                continue
            for _ in range(hold_cycles):
                await ctx.tick()
            ctx.set(dut.release_stb, 1)
            await ctx.tick()
            ctx.set(dut.release_stb, 0)

    async def release(ctx: Any) -> None:
        while late_cycles:
            due = bool(held) and now["cycle"] >= held[0][0]
            ctx.set(dut.release_stb, due)
            if due:
                held.pop(0)
            await ctx.tick()

    async def ids(ctx: Any) -> None:
        for candidates in lists or [stage.ids] * repeats:
            await send(ctx, dut.ids, candidates, source)

    def note(cycle: dict[int, list[int]]) -> None:
        """Keep a cycle's writes; see VectorWrite for which ports may write what."""
        assert sum(not vector for _, vector, *_ in cycle.values()) <= 1
        for port, (user, vector, address, word, mask) in cycle.items():
            if user and vector:
                assert sum(vector for _, vector, *_ in cycle.values()) == 1
                assert not any(key[1] for bank in written[:USER] for key in bank)
            assert not user or port == 0
            assert user or not vector or address % config.gather_ports == port
            both = config.engine_vector_words * config.engines if vector else config.dense_words
            bank = 2 * address // both
            assert user or not any(bank in quarters for _, quarters in held), "bank in use"
            bank = bank if now["four"] else bank & ~1
            writes = written[USER if user else bank]
            writes[bool(user), bool(vector), address].append(
                (mask, word.to_bytes(len(dut.vectors[0].data) // 8, "little"))
            )

    async def watch(ctx: Any) -> None:
        writes = [
            signal
            for port in dut.vectors
            for signal in (port.valid, port.user, port.vector, port.address, port.data, port.mask)
        ]
        flags = (dut.busy, dut.stalled_input, dut.stalled_output, dut.items_stb)
        async for _, _, *values in ctx.tick().sample(*writes, *flags):
            now["cycle"] += 1
            ports = zip(*(iter(values[: len(writes)]),) * 6, strict=True)
            note({number: rest for number, (valid, *rest) in enumerate(ports) if valid})
            if "outcome" in now:
                counters = now["outcome"].counters
                names = ("busy", "input", "output", "items")
                for name, flag in zip(names, values[len(writes) :], strict=True):
                    counters[name] = counters.get(name, 0) + flag

    requests = [port.request for port in (*dut.record, *dut.row)]
    simulate(
        dut, main, ids, monitors=[dut.batch, dut.item_ids, *requests],
        background=[
            *[records.serve(port) for port in dut.record],
            *[rows.serve(port) for port in dut.row],
            watch,
            release,
        ],
        limit_cycles=limit_cycles,
    )  # fmt: skip
    return outcomes, records, rows


def compare(got: dict, wanted: Writes, where: str) -> None:
    """Compare writes word by word: nothing missing, nothing twice, nothing elsewhere."""
    assert sorted(got) == sorted(wanted), where
    for key, writes in wanted.items():
        assert [mask for mask, _ in got[key]] == [w.mask for w in writes], (where, key)
        for (_, data), write in zip(got[key], writes, strict=True):
            known = [(a & c, b & c) for a, b, c in zip(data, write.data, write.cared, strict=False)]
            assert all(a == b for a, b in known), (where, key, data.hex(), write)


def check(stage: Stage, outcome: Outcome, before: int = 0, sub_batch: int = 0) -> None:
    """Compare every write of every batch with golden. before : batches since reset."""
    size = stage.batch_size(sub_batch)
    ids = outcome.item_ids
    sizes = [min(size, stage.items - i) for i in range(0, stage.items, size)]
    assert [b["items"] for b in outcome.batches] == sizes
    assert [b["last"] for b in outcome.batches] == [0] * (len(sizes) - 1) + [1]
    turn = range(4) if size <= stage.quarter_items else range(0, 4, 2)
    banks = [turn[(before + i) % len(turn)] for i in range(len(sizes))]
    assert [b["bank"] for b in outcome.batches] == banks
    assert ids == stage.ids
    compare(outcome.user, stage.user_writes(), "user")
    for number, bank in enumerate(banks):
        wanted = stage.item_writes(ids[number * size : (number + 1) * size], bank)
        compare(outcome.items[number], wanted, f"batch {number}")
    assert outcome.counters["items"] == stage.items


def check_halves_and_quarters(config: Any, late_cycles: int) -> None:
    """Run stages of two banks and of four, one behind another, while banks are still in use.

    Behind other banks a stage begins in the first one that is left, when all are free.
    """
    stage = Stage(
        config=config, dim=4, user=[], item=[Shape()], items=9, sub_batch=4, quarter_items=2
    )
    sizes = [4, 2, 4, 2, 2, 3]
    outcomes, _, _ = run(stage, late_cycles=late_cycles, repeats=len(sizes), sub_batch=sizes)
    due = 0  # the quarter
    for size, outcome in zip(sizes, outcomes, strict=True):
        four = size <= 2
        due = due if four else due & ~1
        check(stage, outcome, before=due if four else due // 2, sub_batch=size)
        due = (due + len(outcome.batches) * (1 if four else 2)) % 4
