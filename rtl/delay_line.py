"""A value some cycles later, as one shift register."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value

__all__ = ["delayed"]


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Return `value` delayed by `cycles`; 0 returns it as it is."""
    if not cycles:
        return value
    width = len(value)
    line = Signal(width * cycles, name=f"{name}_line")
    m.d.sync += line.eq(Cat(value, line))
    return line[-width:]
