import copy
import json
import random

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.host.multiplier_registers import absorb_registers
from rpaccel.host.synthesis import run_yosys
from rpaccel.rtl.netlist import write_netlist
from tests.streams import slow_rows_but


class Product(wiring.Component):
    """A product of registers: `enable` is the left one's, `clear` the right one's.

    product : has a register, under `enable` if `hold`, `clear` if `wipe`. spread : the left one
    is an output.
    """

    def __init__(self, left, right, *, product=True, hold=False, wipe=False, spread=False):
        self.product, self.hold, self.wipe, self.spread = product, hold, wipe, spread
        super().__init__(
            {
                "left": In(left), "right": In(right), "enable": In(1), "clear": In(1),
                "o_left": Out(left), "o": Out(signed(40)),
            }
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        left = Signal(self.left.shape(), reset_less=True)
        right = Signal(self.right.shape(), reset_less=True)
        product = left * right
        with m.If(self.enable):
            m.d.sync += left.eq(self.left)
        m.d.sync += right.eq(self.right)
        with m.If(self.clear):
            m.d.sync += right.eq(0)
        m.d.comb += self.o_left.eq(left if self.spread else 0)
        if self.product:
            late = Signal(product.shape(), reset_less=True)
            with m.If(self.enable | (not self.hold)):
                m.d.sync += late.eq(product)
            with m.If(self.clear & self.wipe):
                m.d.sync += late.eq(0)
            product = late
        m.d.comb += self.o.eq(product)
        return m


def synthesised(unit, folder):
    netlist = write_netlist(unit, "unit", folder)
    script = f"read_verilog {netlist.verilog.name}; synth_ecp5 -top unit -json unit.json"
    run_yosys(script, folder / "yosys.log")
    return json.loads((folder / "unit.json").read_text())["modules"]["unit"]


def cells(module, kind):
    return [cell for cell in module["cells"].values() if cell["type"] == kind]


class Simulation:
    """Flip-flops and multipliers, cycle by cycle; a reset wins over an enable."""

    def __init__(self, module):
        self.module, self.state = module, {}

    def cycle(self, inputs):
        """Return the outputs [bits by port], then take a clock edge."""
        nets = {"0": 0, "1": 1, "x": 0}
        for name, port in self.module["ports"].items():
            if port["direction"] == "input":
                nets |= {bit: inputs[name] >> n & 1 for n, bit in enumerate(port["bits"])}
        multipliers = [c for c in self.module["cells"].items() if c[1]["type"] == "MULT18X18D"]
        for name, cell in self.module["cells"].items():
            if cell["type"] == "TRELLIS_FF":
                nets[cell["connections"]["Q"][0]] = self.state.get(name, 0)
        for name, cell in multipliers:
            self.drive(nets, name, cell)
        outputs = {
            name: [nets[bit] for bit in port["bits"]]
            for name, port in self.module["ports"].items()
            if port["direction"] == "output"
        }
        following = dict(self.state)
        for name, cell in self.module["cells"].items():
            if cell["type"] == "TRELLIS_FF":
                enable = cell["parameters"]["CEMUX"].strip() == "1" or pin(nets, cell, "CE")
                self.step(following, name, pin(nets, cell, "DI"), enable, pin(nets, cell, "LSR"))
        for name, cell in multipliers:
            for side, number in (("A", "0"), ("B", "1")):
                if cell["parameters"].get(f"REG_INPUT{side}_CLK") == "CLK0":
                    value = word(nets, cell, side)
                    self.register(nets, following, (name, side), value, number)
            if cell["parameters"].get("REG_OUTPUT_CLK") == "CLK0":
                self.register(nets, following, (name, "P"), self.product(nets, name, cell), "3")
        self.state = following
        return outputs

    def register(self, nets, following, key, value, number):
        cell = self.module["cells"][key[0]]
        enable = pin(nets, cell, f"CE{number}") if f"CE{number}" in cell["connections"] else 1
        self.step(following, key, value, enable, pin(nets, cell, f"RST{number}"))

    def step(self, following, name, value, enable, reset):
        if reset or enable:
            following[name] = 0 if reset else value

    def product(self, nets, name, cell):
        total = 1
        for side in "AB":
            value = word(nets, cell, side)
            if cell["parameters"].get(f"REG_INPUT{side}_CLK") == "CLK0":
                value = self.state.get((name, side), 0)
            if pin(nets, cell, f"SIGNED{side}") and value >> 17:
                value -= 1 << 18
            total *= value
        return total

    def drive(self, nets, name, cell):
        product = self.product(nets, name, cell)
        if cell["parameters"].get("REG_OUTPUT_CLK") == "CLK0":
            product = self.state.get((name, "P"), 0)
        for n in range(36):
            for bit in cell["connections"].get(f"P{n}", []):
                nets[bit] = product >> n & 1


def pin(nets, cell, port):
    return nets[cell["connections"].get(port, ["0"])[0]]


def word(nets, cell, side):
    return sum(pin(nets, cell, f"{side}{n}") << n for n in range(18))


def assert_same(before, after):
    rng, simulations = random.Random(5), (Simulation(before), Simulation(after))
    seen = set()
    for _ in range(200):
        inputs = {
            name: rng.getrandbits(len(port["bits"])) | (rng.getrandbits(2) == 0) * -1
            for name, port in before["ports"].items()
        }
        inputs |= {"clear": rng.getrandbits(2) == 0, "clk": 0, "rst": 0}
        outputs = [simulation.cycle(inputs) for simulation in simulations]
        assert outputs[0] == outputs[1]
        seen.add(tuple(outputs[0]["o"]))
    assert len(seen) > 50


SHAPES = [
    (signed(8), signed(8)),
    (unsigned(17), unsigned(16)),
    (signed(16), unsigned(16)),
    (unsigned(3), signed(18)),
    (unsigned(18), unsigned(18)),
]


@pytest.mark.parametrize(("left", "right"), slow_rows_but(SHAPES[:2], SHAPES), ids=str)
def test_registers_around_a_product_are_gone(tmp_path, left, right):
    before = synthesised(Product(left, right), tmp_path)
    after = copy.deepcopy(before)
    registers = len(cells(before, "TRELLIS_FF"))
    gone = absorb_registers(after)
    assert gone == registers > 0
    assert cells(after, "TRELLIS_FF") == []
    assert len(cells(after, "MULT18X18D")) == 1
    assert_same(before, after)


def test_short_operands_leave_their_sign_at_the_top(tmp_path):
    module = synthesised(Product(signed(8), signed(8)), tmp_path)
    absorb_registers(module)
    (cell,) = cells(module, "MULT18X18D")
    for side in "AB":
        bits = [cell["connections"][f"{side}{n}"][0] for n in range(18)]
        assert bits[:10] == ["0"] * 10
        assert len(set(bits[10:])) == 8
    assert "P19" not in cell["connections"]


def test_operands_that_others_read_stay_registers(tmp_path):
    before = synthesised(Product(signed(8), signed(8), spread=True), tmp_path)
    after = copy.deepcopy(before)
    assert absorb_registers(after) == 8 + 16
    assert len(cells(after, "TRELLIS_FF")) == 8
    assert_same(before, after)


def test_operands_are_registered_without_the_product(tmp_path):
    before = synthesised(Product(signed(8), signed(8), product=False), tmp_path)
    after = copy.deepcopy(before)
    assert absorb_registers(after) == 16
    (cell,) = cells(after, "MULT18X18D")
    assert cell["parameters"].get("REG_OUTPUT_CLK") is None
    assert_same(before, after)


@pytest.mark.parametrize(("hold", "wipe"), [(1, 0), (0, 1)])
def test_a_product_keeps_its_control(tmp_path, hold, wipe):
    before = synthesised(Product(signed(8), signed(8), hold=hold, wipe=wipe), tmp_path)
    after = copy.deepcopy(before)
    assert absorb_registers(after) == 8 + 8 + 16
    assert_same(before, after)


def test_a_product_that_is_held_and_wiped_stays_in_registers(tmp_path):
    before = synthesised(Product(signed(8), signed(8), hold=True, wipe=True), tmp_path)
    after = copy.deepcopy(before)
    assert absorb_registers(after) == 8 + 8
    assert len(cells(after, "TRELLIS_FF")) == 16
    assert_same(before, after)


def test_controls_go_to_their_operand(tmp_path):
    module = synthesised(Product(signed(8), signed(8)), tmp_path)
    absorb_registers(module)
    (cell,) = cells(module, "MULT18X18D")
    ports, connections = module["ports"], cell["connections"]
    left, right = (0, 1) if connections["A17"] == ports["left"]["bits"][-1:] else (1, 0)
    controls = {name: net for name, net in connections.items() if name[:2] in ("CE", "RS")}
    assert controls == {
        f"CE{left}": ports["enable"]["bits"],
        f"RST{right}": ports["clear"]["bits"],
    }
