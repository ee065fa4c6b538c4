"""A value some cycles later, as one shift register."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value

__all__ = ["delayed"]


def delayed(m: Module, value: Value, cycles: int, name: str, *, resets: int | None = None) -> Value:
    """Return `value` delayed by `cycles`; 0 returns it as it is.

    resets : how many of its low bits reset clears; None: all. Data need no reset, and a reset that
        reaches every register of an array is a net of its own size.
    """
    if not cycles:
        return value
    split = len(value) if resets is None else resets
    return Cat(
        _line(m, value[:split], cycles, f"{name}_line", reset_less=False),
        _line(m, value[split:], cycles, f"{name}_data", reset_less=True),
    )


def _line(m: Module, value: Value, cycles: int, name: str, *, reset_less: bool) -> Value:
    width = len(value)
    if not width:
        return Cat()
    line = Signal(width * cycles, name=name, reset_less=reset_less)
    m.d.sync += line.eq(Cat(value, line))
    return line[-width:]
