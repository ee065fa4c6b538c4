"""A unit inside the bench top behind the interface of the Amaranth simulator.

`on_netlist` runs a synchronous test function of tests/rtl with that test's `simulate` replaced:
its benches then drive and watch the pins of the netlist, through a context that takes the
component's own signals and evaluates expressions over them. Same drivers, same vectors, same
golden values; only the simulated thing differs.

Inputs change just after the rising edge; samples are taken at the falling edge before the next
one, when everything has settled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from types import ModuleType
from typing import Any

import cocotb
from amaranth.hdl import Shape, Signal, Value
from amaranth.hdl._ast import ShapeCastable, SignalDict, Slice
from amaranth.lib import wiring
from amaranth.sim._pyeval import eval_value
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from rpaccel.rtl.netlist import component_ports
from tests.streams import stable

__all__ = ["NetlistContext", "on_netlist"]

PERIOD_NS = 10
SETTLE_NS = 1
RESET_CYCLES = 3

Bench = Callable[[Any], Awaitable[None]]


class _Slot:
    """What Amaranth's evaluator wants to see of a signal."""

    def __init__(self, value: int) -> None:
        self.curr = value


class Pins:
    """The pins of one component: reads outputs from the netlist, remembers its inputs.

    Parameters
    ----------
    dut : cocotb handle of the bench top.
    prefix : name of the unit in the bench top.
    component : an instance of the unit's class; only its port signals are used.
    """

    def __init__(self, dut: Any, prefix: str, component: wiring.Component) -> None:
        self.dut = dut
        self.handles = SignalDict()
        self.inputs = SignalDict()
        for name, (value, direction) in component_ports(component).items():
            assert isinstance(value, Signal), name
            self.handles[value] = getattr(dut, f"{prefix}__{name}", None)  # None: optimised away
            if direction.value == "input":
                self.inputs[value] = 0
        self.slots: list[_Slot] = []

    def get_signal(self, signal: Signal) -> int:
        """Return the index of a slot that holds the value of `signal` (evaluator interface)."""
        value = self.inputs[signal] if signal in self.inputs else self._known(signal)
        shape = signal.shape()
        if isinstance(shape, Shape) and shape.signed and value >> (shape.width - 1) & 1:
            value -= 1 << shape.width
        self.slots.append(_Slot(value))
        return len(self.slots) - 1

    def _known(self, signal: Signal) -> int:
        """Return an output's value; unknown bits of a payload become a pattern that is wrong.

        Payloads may be unknown while they are not valid; control must be known.
        """
        raw = self.handles[signal].value
        if raw.is_resolvable:
            return int(raw)
        if len(signal) == 1:
            raise AssertionError(f"{signal.name} must be 0 or 1, not {raw}")
        bits = [bit if bit in "01" else "10"[n % 2] for n, bit in enumerate(str(raw))]
        return int("".join(bits), 2)

    def read(self, expression: Any) -> Any:
        """Return the value of `expression`: an int, or a constant of its structure."""
        self.slots = []
        value = eval_value(self, Value.cast(expression))
        shape = expression.shape()
        if isinstance(shape, ShapeCastable):
            bits = Shape.cast(shape).width
            return shape.from_bits(value & ((1 << bits) - 1))
        return value

    def write(self, target: Any, value: Any) -> None:
        """Drive an input, or a slice of one."""
        shape = target.shape()
        if isinstance(shape, ShapeCastable):
            value = Value.cast(shape.const(value)).value
        self._write(Value.cast(target), int(value))

    def _write(self, target: Value, value: int) -> None:
        mask = (1 << len(target)) - 1
        if isinstance(target, Slice):
            self.slots = []
            whole = eval_value(self, target.value) & ((1 << len(target.value)) - 1)
            low = target.start
            self._write(target.value, whole & ~(mask << low) | (value & mask) << low)
        elif isinstance(target, Signal) and target in self.inputs:
            self.inputs[target] = value & mask
            if self.handles[target] is not None:
                self.handles[target].value = value & mask
        else:
            raise TypeError(f"target must be an input or a slice of one, not {target!r}")

    def clear(self) -> None:
        """Drive every input to 0."""
        for signal in self.inputs:
            self._write(signal, 0)


class Tick:
    """One or more cycles; see `NetlistContext.tick`."""

    def __init__(self, pins: Pins, sampled: tuple[Any, ...] = ()) -> None:
        self.pins = pins
        self.sampled = sampled

    def sample(self, *expressions: Any) -> Tick:
        """Return a tick that gives (True, False, *values before the edge)."""
        return Tick(self.pins, (*self.sampled, *expressions))

    async def repeat(self, cycles: int) -> tuple[Any, ...]:
        """Let `cycles` cycles pass; return the values before the last edge."""
        values: tuple[Any, ...] = ()
        for _ in range(cycles):
            values = await self._once()
        return values[2:]

    async def until(self, condition: Any) -> tuple[Any, ...]:
        """Tick until `condition` holds before an edge; return the values sampled there."""
        trigger = self.sample(condition)
        while True:
            _, _, *values, done = await trigger
            if done:
                return tuple(values)

    async def _once(self) -> tuple[Any, ...]:
        await FallingEdge(self.pins.dut.aclk)
        values = tuple(self.pins.read(expression) for expression in self.sampled)
        await RisingEdge(self.pins.dut.aclk)
        await Timer(SETTLE_NS, "ns")
        return (True, False, *values)

    def __await__(self) -> Generator[Any, Any, tuple[Any, ...]]:
        return self._once().__await__()

    async def __aiter__(self) -> AsyncIterator[tuple[Any, ...]]:
        while True:
            yield await self._once()


class NetlistContext:
    """The simulator context that benches see."""

    def __init__(self, pins: Pins) -> None:
        self.pins = pins

    def set(self, target: Any, value: Any) -> None:
        """Drive an input from now on."""
        self.pins.write(target, value)

    def get(self, expression: Any) -> Any:
        """Return the value of `expression` as it settled after the last edge."""
        return self.pins.read(expression)

    def tick(self) -> Tick:
        """Return an awaitable for one cycle."""
        return Tick(self.pins)


async def _reset(context: NetlistContext) -> None:
    context.pins.clear()
    context.pins.dut.aresetn.value = 0
    await context.tick().repeat(RESET_CYCLES)
    context.pins.dut.aresetn.value = 1


async def _simulate(
    dut: Any,
    prefix: str,
    component: wiring.Component,
    benches: tuple[Bench, ...],
    monitors: Iterable[Any],
    background: Iterable[Bench],
    limit_cycles: int,
) -> None:
    """Do what tests.streams.simulate does, on the netlist."""
    component._MustUse__silence = True  # never elaborated: the netlist has its own instance
    context = NetlistContext(Pins(dut, prefix, component))
    await _reset(context)
    watching = [*background, *[stable(s, f"monitor {n}") for n, s in enumerate(monitors)]]
    watchers = [cocotb.start_soon(watch(context)) for watch in watching]
    tasks = [cocotb.start_soon(bench(context)) for bench in benches]
    for cycle in range(limit_cycles + 1):
        for watcher in watchers:
            if watcher.done():
                watcher.result()  # raises what a monitor found
        if all(task.done() for task in tasks):
            break
        if cycle == limit_cycles:
            raise AssertionError(f"the bench did not end in {limit_cycles} cycles")
        await context.tick()
    for task in (*tasks, *watchers):
        if task.done():
            task.result()
        else:
            task.cancel()


async def on_netlist(dut: Any, prefix: str, module: ModuleType, test: Callable[[], None]) -> None:
    """Run `test` of `module` with the unit `prefix` of the bench top as its device.

    `test` must build its component for the configuration of the bench top.
    """
    cocotb.start_soon(Clock(dut.aclk, PERIOD_NS, "ns").start())
    calls = 0

    @resume
    async def simulate(
        component: Any,
        *benches: Bench,
        monitors: Iterable[Any] = (),
        background: Iterable[Bench] = (),
        limit_cycles: int = 20_000,
    ) -> None:
        nonlocal calls
        calls += 1
        await _simulate(dut, prefix, component, benches, monitors, background, limit_cycles)

    original = module.simulate
    module.simulate = simulate
    try:
        await bridge(test)()
    finally:
        module.simulate = original
    assert calls, "the test must simulate"
