"""The multipliers of a netlist for ECP5: registers move into them, short operands to their top.

Yosys maps a product to a MULT18X18D without registers: those around it stay flip-flops, and the
sign of a short operand goes to each of its high bits. Vendors' tools use the cell's own registers.

Ref: Lattice FPGA-TN-02205, "ECP5 and ECP5-5G sysDSP Usage Guide", MULT18X18D: parameters REG_*.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

__all__ = ["absorb_registers"]

_MULTIPLIER, _REGISTER = "MULT18X18D", "TRELLIS_FF"
_OPERANDS = {"A": 0, "B": 1}  # by the number of the enable and the reset that they use
_PRODUCT = 3
_BITS, _PRODUCT_BITS = 18, 36
# Registers that a multiplier has: on the rising edge, 0 at first. CEMUX may have spaces behind it.
_KIND = {"CLKMUX": {"CLK"}, "REGSET": {"RESET"}, "LSRMUX": {"LSR"}, "CEMUX": {"1", "CE"}}

Bit = int | str  # a net, or a constant: "0", "1", "x"
Control = tuple[Bit, Bit, Bit]  # clock, enable, reset


class _Netlist:
    """A module of Yosys's JSON, and who drives and who loads its nets."""

    def __init__(self, module: dict[str, Any]) -> None:
        self.cells: dict[str, dict[str, Any]] = module["cells"]
        self.drivers: dict[Bit, str] = {}
        self.loads: dict[Bit, set[tuple[str, str]]] = defaultdict(set)
        self.fixed: set[Bit] = set()  # nets that ports of the module name
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][port] == "output":
                        self.drivers[bit] = name
                    else:
                        self.loads[bit].add((name, port))
        for port in module["ports"].values():
            self.fixed |= set(port["bits"])

    def of_type(self, kind: str) -> list[str]:
        return [name for name, cell in self.cells.items() if cell["type"] == kind]

    def bit(self, name: str, port: str, default: Bit = "0") -> Bit:
        """Return what is at `port` of a cell."""
        bits: list[Bit] = self.cells[name]["connections"].get(port) or [default]
        return bits[0]

    def connect(self, name: str, port: str, bit: Bit) -> None:
        """Connect an input."""
        self.loads[self.bit(name, port)].discard((name, port))
        self.cells[name]["connections"][port] = [bit]
        self.cells[name]["port_directions"][port] = "input"
        self.loads[bit].add((name, port))

    def drive(self, name: str, port: str, bit: Bit | None) -> None:
        """Connect an output; None takes it away."""
        cell = self.cells[name]
        cell["connections"].pop(port, None)
        cell["port_directions"].pop(port, None)
        if bit is not None:
            cell["connections"][port] = [bit]
            cell["port_directions"][port] = "output"
            self.drivers[bit] = name

    def replace(self, old: Bit, new: Bit) -> None:
        """Give the loads of `old`, which is not fixed, to `new`."""
        for name, port in list(self.loads[old]):
            self.connect(name, port, new)

    def remove(self, name: str) -> None:
        for port in self.cells[name]["connections"]:
            self.loads[self.bit(name, port)].discard((name, port))
        del self.cells[name]

    def products(self, name: str) -> dict[int, Bit]:
        """Return the bits of a multiplier's product that are used, by place."""
        bits = {n: self.bit(name, f"P{n}") for n in range(_PRODUCT_BITS)}
        nets = {n: bit for n, bit in bits.items() if isinstance(bit, int)}
        return {n: bit for n, bit in nets.items() if self.loads[bit] or bit in self.fixed}

    def control(self, name: str) -> Control | None:
        """Return the control of a register of a kind that multipliers have; None: it is none."""
        cell = self.cells.get(name)
        if cell is None or cell["type"] != _REGISTER or "DI" not in cell["connections"]:
            return None
        if any(
            cell["parameters"].get(parameter, next(iter(values))).strip() not in values
            for parameter, values in _KIND.items()
        ):
            return None
        return self.bit(name, "CLK"), self.bit(name, "CE", "1"), self.bit(name, "LSR")


def absorb_registers(module: dict[str, Any]) -> int:
    """Move registers into the multipliers of `module`, in place; return how many are gone.

    module : one module of what Yosys's write_json writes after synth_ecp5; it does the same after
    as before. A product is registered in its cell if all that it goes to are registers, and
    operands are if both come from registers: of one clock, and those of the product or of an
    operand under the same enable or the same reset, but not both.
    """
    netlist = _Netlist(module)
    before = len(netlist.of_type(_REGISTER))
    for name in netlist.of_type(_MULTIPLIER):
        _left_align(netlist, name)
        _absorb_product(netlist, name)
        _absorb_operands(netlist, name)
    for name in netlist.of_type(_REGISTER):
        state = netlist.bit(name, "Q")
        if not netlist.loads[state] and state not in netlist.fixed:
            netlist.remove(name)
    return before - len(netlist.of_type(_REGISTER))


def _left_align(netlist: _Netlist, name: str) -> None:
    """Shift short operands up, and the product with them: low zeros cost no wires."""
    wide = {side: [netlist.bit(name, f"{side}{n}") for n in range(_BITS)] for side in _OPERANDS}
    signed = {side: netlist.bit(name, f"SIGNED{side}") == "1" for side in _OPERANDS}
    spare = {side: _spare_bits(bits, signed[side]) for side, bits in wide.items()}
    shift, products = sum(spare.values()), netlist.products(name)
    sign = products.get(_PRODUCT_BITS - 1 - shift)
    copies = {n: bit for n, bit in products.items() if n + shift >= _PRODUCT_BITS}
    # What lies above the product is its sign if it has one, which must then have a net.
    if copies and (sign is None or not any(signed.values()) or netlist.fixed & {*copies.values()}):
        return
    for side, bits in wide.items():
        for n, bit in enumerate(["0"] * spare[side] + bits[: _BITS - spare[side]]):
            netlist.connect(name, f"{side}{n}", bit)
    for n in range(_PRODUCT_BITS):
        netlist.drive(name, f"P{n}", products.get(n - shift))
    for bit in copies.values():
        netlist.replace(bit, sign or "0")


def _spare_bits(bits: list[Bit], signed: bool) -> int:
    """Return how many high bits of an operand only extend it."""
    extension = bits[-1] if signed else "0"
    used = [n + 1 for n, bit in enumerate(bits) if bit != extension]
    return len(bits) - min(max(used, default=0) + signed, len(bits))


def _absorb_product(netlist: _Netlist, name: str) -> None:
    """Use the output register, if all that the product goes to are registers without control."""
    products = netlist.products(name)
    loads = {n: sorted(netlist.loads[bit]) for n, bit in products.items()}
    controls = {
        netlist.control(register) if port == "DI" else None
        for taken in loads.values()
        for register, port in taken
    }
    control = _only(controls)
    if control is None or netlist.fixed & {*products.values()}:
        return
    states = {n: [netlist.bit(register, "Q") for register, _ in loads[n]] for n in loads}
    if any(netlist.fixed & {*others} for _, *others in states.values()):
        return
    _set_register(netlist, name, "OUTPUT", _PRODUCT, control)
    for n, (first, *others) in states.items():
        for register, _ in loads[n]:
            netlist.remove(register)
        netlist.drive(name, f"P{n}", first)
        for other in others:
            netlist.replace(other, first)


def _absorb_operands(netlist: _Netlist, name: str) -> None:
    """Use both input registers, if both operands come from registers that allow it."""
    sources = {side: _sources(netlist, name, side) for side in _OPERANDS}
    controls: dict[str, Control] = {}
    for side, registers in sources.items():
        control = _only({netlist.control(register) for register in registers.values()})
        if control is None:
            return
        controls[side] = control
    clocks = {clock for clock, _, _ in controls.values()}
    if len(clocks) > 1 or netlist.bit(name, "CLK0", *clocks) not in clocks:
        return
    for side, control in controls.items():
        _set_register(netlist, name, f"INPUT{side}", _OPERANDS[side], control)
        for port, register in sources[side].items():
            netlist.connect(name, port, netlist.bit(register, "DI"))


def _sources(netlist: _Netlist, name: str, side: str) -> dict[str, str]:
    """Return the cell that each bit of an operand comes from that is not constantly 0."""
    bits = {f"{side}{n}": netlist.bit(name, f"{side}{n}") for n in range(_BITS)}
    return {port: netlist.drivers.get(bit, "") for port, bit in bits.items() if bit != "0"}


def _only(controls: set[Control | None]) -> Control | None:
    """Return what controls all of some registers, if a multiplier's could have it."""
    control = next(iter(controls)) if len(controls) == 1 else None
    # Which of enable and reset wins need not be the same in both kinds of register.
    return None if control is None or (control[1] != "1" and control[2] != "0") else control


def _set_register(
    netlist: _Netlist, name: str, register: str, number: int, control: Control
) -> None:
    clock, enable, reset = control
    netlist.connect(name, "CLK0", clock)
    if enable != "1":
        netlist.connect(name, f"CE{number}", enable)
    if reset != "0":
        netlist.connect(name, f"RST{number}", reset)
    netlist.cells[name]["parameters"] |= {
        f"REG_{register}_CLK": "CLK0",
        f"REG_{register}_CE": f"CE{number}",
        f"REG_{register}_RST": f"RST{number}",
        "RESETMODE": "SYNC",
        "GSR": "DISABLED",
    }
