"""Drivers and monitors for streams in the Amaranth simulator.

A bench is a list of async functions; `simulate` runs them with a cycle limit:

    source, sink = stalls(kind, seed)
    async def feed(ctx): await send(ctx, dut.i, items, source)
    async def drain(ctx): got.extend(await receive(ctx, dut.o, len(items), sink))
    simulate(dut, feed, drain, monitors=[dut.o])
    assert got == expected
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import pytest
from amaranth.hdl import Elaboratable
from amaranth.lib import data
from amaranth.sim import Simulator

STALLS = ("none", "source", "sink", "both")
NIGHTLY = (pytest.mark.slow, pytest.mark.nightly)


def slow_but(
    quick: Collection[Any], values: Iterable[Any], nightly: Collection[Any] = ()
) -> list[Any]:
    """Return `values` as a test's parameters; those not in `quick` are for the slow suite.

    nightly : those of them for the nightly suite.
    """
    return [
        each
        if each in quick
        else pytest.param(each, marks=NIGHTLY if each in nightly else pytest.mark.slow)
        for each in values
    ]


def slow_rows_but(quick: Collection[Any], rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Like `slow_but`, for rows of several parameters."""
    return [row if row in quick else pytest.param(*row, marks=pytest.mark.slow) for row in rows]


STALL_CASES = slow_but(("both",), STALLS, nightly=STALLS)
Bench = Callable[[Any], Awaitable[None]]


def idle_cycles(seed: int, choices: tuple[int, ...] = (0, 0, 0, 1, 2, 5)) -> Iterator[int]:
    """Yield idle cycles before each transfer, for ever; the same seed gives the same pattern."""
    generator = random.Random(seed)
    while True:
        yield generator.choice(choices)


def no_idle_cycles() -> Iterator[int]:
    """Yield 0 for ever: never stall."""
    while True:
        yield 0


def stalls(kind: str, seed: int = 1) -> tuple[Iterator[int], Iterator[int]]:
    """Return the (source, sink) patterns of `kind`, one of STALLS."""
    if kind not in STALLS:
        raise ValueError(f"kind must be one of {', '.join(STALLS)}, not {kind!r}")
    source = idle_cycles(seed) if kind in ("source", "both") else no_idle_cycles()
    sink = idle_cycles(seed + 1000) if kind in ("sink", "both") else no_idle_cycles()
    return source, sink


def plain(value: Any) -> Any:
    """Return a sampled payload as int, dict (structure) or list (array)."""
    if isinstance(value, data.Const):
        layout = value.shape()
        if isinstance(layout, data.ArrayLayout):
            return [plain(value[index]) for index in range(layout.length)]
        return {name: plain(value[name]) for name, _ in layout}
    return value


async def send(
    ctx: Any,
    stream: Any,
    items: Iterable[int | Mapping[str, Any]],
    idle: Iterator[int] | None = None,
    limit_cycles: int = 10_000,
) -> None:
    """Transfer `items` into `stream`, at most `limit_cycles` of waiting for ready each."""
    idle = idle or no_idle_cycles()
    for number, item in enumerate(items):
        for _ in range(next(idle)):
            await ctx.tick()
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        for _ in range(limit_cycles):
            _, _, ready = await ctx.tick().sample(stream.ready)
            if ready:
                break
        else:
            raise AssertionError(f"item {number} was not accepted in {limit_cycles} cycles")
        ctx.set(stream.valid, 0)


async def receive(
    ctx: Any,
    stream: Any,
    count: int,
    idle: Iterator[int] | None = None,
    limit_cycles: int = 10_000,
) -> list[Any]:
    """Return `count` payloads of `stream` (see `plain`), at most `limit_cycles` of waiting each."""
    idle = idle or no_idle_cycles()
    items: list[Any] = []
    for number in range(count):
        for _ in range(next(idle)):
            await ctx.tick()
        ctx.set(stream.ready, 1)
        for _ in range(limit_cycles):
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if valid:
                break
        else:
            raise AssertionError(f"item {number} of {count} did not come in {limit_cycles} cycles")
        items.append(plain(payload))
        ctx.set(stream.ready, 0)
    return items


async def expect_silence(ctx: Any, stream: Any, cycles: int = 20) -> None:
    """Hold ready for `cycles` and fail if anything arrives: nothing may be sent twice."""
    ctx.set(stream.ready, 1)
    for _ in range(cycles):
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if valid:
            raise AssertionError(f"unexpected transfer {plain(payload)}")
    ctx.set(stream.ready, 0)


def stable(stream: Any, name: str = "stream") -> Bench:
    """Return a background bench that fails if a stalled transfer is changed or withdrawn."""

    async def watch(ctx: Any) -> None:
        held: Any = None
        async for _, _, valid, ready, payload in ctx.tick().sample(
            stream.valid, stream.ready, stream.payload
        ):
            if held is not None and not (valid and plain(payload) == held):
                raise AssertionError(f"{name}: stalled transfer {held} became {plain(payload)}")
            held = plain(payload) if valid and not ready else None

    return watch


def recorder(signals: Mapping[str, Any], log: list[dict[str, Any]], when: str) -> Bench:
    """Return a background bench that appends {cycle, signals...} to `log` while `when` is high."""

    async def watch(ctx: Any) -> None:
        cycle = 0
        names = list(signals)
        async for _, _, *values in ctx.tick().sample(*signals.values()):
            row = {name: plain(value) for name, value in zip(names, values, strict=True)}
            if row[when]:
                log.append({"cycle": cycle, **row})
            cycle += 1

    return watch


def simulate(
    dut: Elaboratable,
    *benches: Bench,
    monitors: Iterable[Any] = (),
    background: Iterable[Bench] = (),
    limit_cycles: int = 20_000,
) -> None:
    """Run `benches` to their end; fail after `limit_cycles` or on an unstable stream."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    for number, stream in enumerate(monitors):
        simulator.add_testbench(stable(stream, f"monitor {number}"), background=True)
    for bench in background:
        simulator.add_testbench(bench, background=True)

    async def watchdog(ctx: Any) -> None:
        for _ in range(limit_cycles):  # .repeat() complains when the simulator is dropped
            await ctx.tick()
        raise AssertionError(f"the bench did not end in {limit_cycles} cycles")

    simulator.add_testbench(watchdog, background=True)
    simulator.run()
