"""Cells that a netlist holds once, however often the design places them.

Amaranth elaborates every instance of a component: a 128 x 128 array is 16,384 cells in Python.
A component that its parent adds as `repeated(component)` is elaborated once per distinct set of
parameters while a netlist is written, and is an `Instance` everywhere; in the Amaranth simulator
it stays the submodule that it is.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager

from amaranth.back import rtlil
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Fragment,
    Instance,
    ResetSignal,
    Value,
    ValueCastable,
)
from amaranth.hdl._ir import PortDirection
from amaranth.lib.wiring import Component, In, PureInterface

__all__ = ["NetlistPlatform", "component_ports", "converting", "repeated"]

Ports = dict[str, tuple[Value, PortDirection]]

_OWN = ("_MustUse__", "_Component__")  # attributes that Amaranth adds to every component


def _port_name(path: tuple[str | int, ...]) -> str:
    """Return the Verilog name of an interface member.

    AXI members get the names that AXI tools expect: ("m_axi", 0, "araddr") is `m_axi0_araddr`.
    Others are joined with two underscores, as Amaranth does.
    """
    parts: list[str] = []
    for part in path:
        if isinstance(part, int) and parts:
            parts[-1] += str(part)
        else:
            parts.append(str(part))
    return ("_" if parts[0].startswith(("m_axi", "s_axil")) else "__").join(parts)


def component_ports(component: Component) -> Ports:
    """Return every member of `component`'s signature by Verilog name."""
    return {
        _port_name(path): (
            Value.cast(value),
            PortDirection.Input if member.flow == In else PortDirection.Output,
        )
        for path, member, value in component.signature.flatten(component)
    }


def repeated(component: Component, key: Hashable = None) -> Elaboratable:
    """Return what a parent adds as submodule in place of `component`.

    The parent connects `component`'s ports as if it had added it:

        cell = PE(width)
        m.submodules.pe = repeated(cell)
        m.d.comb += cell.i_row.eq(self.i_row)

    Two components are the same cell if their class, their ports, their attributes and `key` are
    equal. Attributes that Python cannot compare by value are equal only if they are the same
    object, so that a difference is never overlooked.

    Parameters
    ----------
    component : Component  In the sync domain alone, which DomainRenamer may rename; not under
        ResetInserter or EnableInserter, which do not reach into instances.
    key : Hashable  What its logic depends on besides class, ports and attributes.

    Raises
    ------
    TypeError  `component` is no Component; or, when a netlist is written, it has attributes with
        signals that its signature lacks: parents could use them in the simulator alone.
    ValueError  When a netlist is written: a port is called clk or rst.
    DomainError  When a netlist is written: a domain other than sync.
    """
    if not isinstance(component, Component):
        raise TypeError(f"component must be a wiring.Component, not {component!r}")
    return _Repeated(component, key)


class _Repeated(Elaboratable):
    """A component, or an instance of its module where a netlist is written."""

    def __init__(self, component: Component, key: Hashable) -> None:
        self.component = component
        self.key = key

    def elaborate(self, platform: object) -> Elaboratable | Instance:
        if not isinstance(platform, NetlistPlatform):
            return self.component
        return platform.place(self.component, self.key)


class NetlistPlatform:
    """The platform of a netlist: what `elaborate` gets as its argument; keeps repeated cells."""

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}
        self._waiting: list[tuple[str, Component]] = []

    def place(self, component: Component, key: Hashable) -> Instance:
        """Return an instance whose ports are connected to `component`'s signals."""
        ports = component_ports(component)
        identity = (type(component), _interface(ports), _parameters(component), key)
        name = self._names.get(identity)
        if name is None:
            if clash := ports.keys() & {"clk", "rst"}:
                raise ValueError(f"ports of {component!r} must not be named {sorted(clash)}")
            name = self._names[identity] = f"cell{len(self._names)}.{_snake(type(component))}"
            self._waiting.append((name, component))
        component._MustUse__used = True  # the instance stands for it: Amaranth need not warn
        pins = _clocks(ClockSignal(), ResetSignal(allow_reset_less=True)) | ports
        return Instance(
            name,
            *[
                ("i" if direction is PortDirection.Input else "o", port, value)
                for port, (value, direction) in pins.items()
            ],
        )

    def modules(self) -> Iterator[str]:
        """Yield the RTLIL of every cell placed so far, and of the cells inside those."""
        while self._waiting:
            name, component = self._waiting.pop(0)
            sync = ClockDomain("sync")
            with converting():
                fragment = Fragment.get(component, self)
                fragment.add_domains(sync)
                ports = _clocks(sync.clk, sync.rst) | component_ports(component)
                text, _ = rtlil.convert_fragment(
                    fragment, ports, name, emit_src=False, missing_domain=lambda _: None
                )
            yield text.replace("attribute \\top 1\n", "", 1)


@contextmanager
def converting() -> Iterator[None]:
    """Leave garbage where it is: Amaranth keeps millions of objects, and a third of its time goes
    into looking at them again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
            gc.collect()


def _clocks(clk: Value, rst: Value) -> Ports:
    return {"clk": (clk, PortDirection.Input), "rst": (rst, PortDirection.Input)}


def _snake(kind: type) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()


def _interface(ports: Ports) -> Hashable:
    """Return what tells two sets of ports apart."""
    return tuple(
        (name, len(value), value.shape().signed, getattr(value, "init", None), direction)
        for name, (value, direction) in ports.items()
    )


def _parameters(component: Component) -> Hashable:
    """Return what tells the attributes of two components of one class apart."""
    attributes = {
        name: value
        for name, value in vars(component).items()
        if name not in component.signature.members and not name.startswith(_OWN)
    }
    return _comparable(attributes)


def _comparable(value: object) -> Hashable:
    """Return a hashable that equals another value's only if the two are interchangeable."""
    if isinstance(value, Value | ValueCastable | PureInterface | Elaboratable):
        raise TypeError(f"a repeated component must not keep {value!r} outside its signature")
    if isinstance(value, Mapping):
        return type(value), tuple((_comparable(k), _comparable(v)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_comparable(item) for item in value)
    try:
        hash(value)
    except TypeError:
        return type(value), id(value)  # unique: the first component of each kind stays alive
    return type(value), value
