# amaranth: UnusedElaboratable=no
# (A design that is refused halfway leaves components that nothing used.)
import dataclasses
import json
import random
import subprocess

import pytest
from amaranth.hdl import (
    Assert,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Format,
    Fragment,
    Module,
    ResetInserter,
    Signal,
    signed,
)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from rpaccel.host.verilator import MODEL_FLAGS, check_tools, tool_environment
from rpaccel.rtl.netlist import convert, write_netlist
from rpaccel.rtl.repeated import repeated
from rpaccel.rtl.rtlil_text import Cell, parse
from tests.streams import slow_but

PAIR = data.StructLayout({"low": signed(5), "high": 6})
CYCLES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellConfig:
    scale: int = 3


class Mac(wiring.Component):
    """Signed and structured ports, a register without reset, an output no one uses, a check."""

    i: In(signed(8))
    pair: In(PAIR)
    o: Out(signed(8), init=-7)
    o_pair: Out(PAIR)
    total: Out(signed(20), init=5)
    unused: Out(3)

    def __init__(self, config=CellConfig(), offsets=(1,)):
        self.config = config
        self.offsets = list(offsets)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        kept = Signal(signed(8), init=9, reset_less=True)
        m.d.sync += [
            self.o.eq(self.i),
            self.o_pair.eq(self.pair),
            kept.eq(kept + self.i),
            self.total.eq(self.total + self.i * self.config.scale + self.pair.low + kept),
        ]
        m.d.comb += self.unused.eq(self.i[:3] + sum(self.offsets))
        with m.If(self.pair.high == 63):
            m.d.sync += Assert(self.pair.low != 15, Format("low is {}", self.pair.low))
        return m


class Row(wiring.Component):
    """Repeated cells inside a repeated component."""

    i: In(signed(8))
    pair: In(PAIR)
    o: Out(signed(8))
    total: Out(signed(20))

    def __init__(self, length, scale):
        self.length = length
        self.scale = scale
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        value, pair, total = self.i, self.pair, 0
        for index in range(self.length):
            cell = Mac(CellConfig(scale=self.scale))
            m.submodules[f"mac_{index}"] = repeated(cell)
            m.d.comb += [cell.i.eq(value), cell.pair.eq(pair)]
            value, pair, total = cell.o, cell.o_pair, total + cell.total
        m.d.comb += [self.o.eq(value), self.total.eq(total)]
        return m


class Grid(wiring.Component):
    """Two kinds of rows, and a cell of a row's kind beside them."""

    i: In(signed(8))
    pair: In(PAIR)
    total: Out(20).array(5)
    o: Out(8)

    def __init__(self, wrap=repeated, length=3):
        self.wrap = wrap
        self.rows = [(length, 2), (length, 5), (length, 2), (2, 2)]
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        first = Mac(CellConfig(scale=2))
        m.submodules.first = self.wrap(first)
        m.d.comb += [first.i.eq(self.i), first.pair.eq(self.pair)]
        value = first.o
        m.d.comb += self.total[4].eq(first.total)
        for index, (length, scale) in enumerate(self.rows):
            row = Row(length, scale)
            m.submodules[f"row_{index}"] = self.wrap(row)
            m.d.comb += [row.i.eq(value), row.pair.eq(first.o_pair)]
            m.d.comb += self.total[index].eq(row.total)
            value = row.o
        m.d.comb += self.o.eq(value)
        return m


def inputs(count=CYCLES):
    """Bytes and pairs for which no check fails; the reset comes back in the middle."""
    rng = random.Random(1)
    return [
        (rng.randrange(256), (rng.randrange(15) | rng.randrange(63) << 5), count // 2 <= n < 104)
        for n in range(count)
    ]


def outputs_of(grid):
    return [grid.o, *[grid.total[n] for n in range(5)]]


def pysim_outputs(grid):
    seen = []
    reset = Signal()

    async def bench(ctx):
        for byte, pair, in_reset in inputs():
            ctx.set(grid.i, byte - 256 * (byte > 127))
            ctx.set(grid.pair.as_value(), pair)
            ctx.set(reset, in_reset)
            await ctx.tick()
            seen.append([ctx.get(port) for port in outputs_of(grid)])

    sim = Simulator(ResetInserter(reset)(grid))
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return seen


MAIN = """
#include "Vgrid.h"
#include <cstdio>
int main() {
  Vgrid top;
  unsigned byte, pair, in_reset;
  while (scanf("%u %u %u", &byte, &pair, &in_reset) == 3) {
    top.aresetn = !in_reset, top.i = byte, top.pair = pair;
    top.aclk = 0, top.eval(), top.aclk = 1, top.eval();
    printf("%u", top.o);
    for (unsigned total : {top.total0, top.total1, top.total2, top.total3, top.total4})
      printf(" %u", total);
    printf("\\n");
  }
}
"""


def verilated_outputs(netlist, folder):
    check_tools()
    (folder / "main.cpp").write_text(MAIN)
    build = ["verilator", "--cc", "--exe", "--build", "--prefix", "Vgrid", "--assert", "-Wno-fatal"]
    build += ["-Wno-lint", "--top-module", "grid", "-CFLAGS", "-O0", "-o", "grid", *MODEL_FLAGS]
    environment = tool_environment()
    subprocess.run(
        [*build, netlist.hints, netlist.verilog, "main.cpp"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )
    lines = "".join(f"{byte} {pair} {int(reset)}\n" for byte, pair, reset in inputs())
    result = subprocess.run(
        [folder / "obj_dir/grid"], input=lines, capture_output=True, text=True, check=True
    )
    return [[int(word) for word in line.split()] for line in result.stdout.splitlines()]


@pytest.mark.parametrize("length", slow_but([], [3, 60], nightly=[60]))
def test_netlist_does_what_the_simulator_does(tmp_path, length):
    netlist = write_netlist(Grid(length=length), "grid", tmp_path, checks=True)
    assert ("no_inline" in netlist.hints.read_text()) == (length > 3)
    expected = pysim_outputs(Grid(length=length))
    assert len({tuple(row) for row in expected}) > CYCLES // 2
    assert verilated_outputs(netlist, tmp_path) == expected


def structure(component, *, checks=False):
    """Return {module: {kind of child: instances}} of the netlist of `component`."""
    modules = parse(convert(component, "grid", checks=checks)[0])
    names = {module.name for module in modules}
    return {
        module.name[1:]: {
            kind[1:]: sum(isinstance(i, Cell) and i.kind == kind for i in module.items)
            for kind in sorted({i.kind for i in module.items if isinstance(i, Cell)} & names)
        }
        for module in modules
    }


def test_every_kind_is_one_module():
    assert structure(Grid()) == {
        "grid": {"grid_core": 1},
        "grid_core": {"grid_mac": 1, "grid_row": 2, "grid_row_2": 1, "grid_row_3": 1},
        "grid_mac": {},
        "grid_row": {"grid_mac": 3},
        "grid_row_2": {"grid_mac_2": 3},
        "grid_mac_2": {},
        "grid_row_3": {"grid_mac": 2},
    }


def test_cells_are_elaborated_once_for_a_netlist(monkeypatch):
    count = {Mac: 0, Row: 0}
    for kind in count:

        def counted(self, platform, kind=kind, elaborate=kind.elaborate):
            count[kind] += 1
            return elaborate(self, platform)

        monkeypatch.setattr(kind, "elaborate", counted)
    convert(Grid(), "grid", checks=False)
    assert count == {Mac: 2, Row: 3}
    Fragment.get(Grid(), None)
    assert count == {Mac: 2 + 12, Row: 3 + 4}


@pytest.mark.slow
def test_checks_survive():
    text = convert(Grid(), "grid", checks=True)[0]
    assert text.count("cell $check") == 2 and text.count("low is") == 2
    assert "$check" not in convert(Grid(), "grid", checks=False)[0]


def test_repeated_and_plain_cells_have_the_same_body():
    def plain_rows(component):
        return component if isinstance(component, Row) else repeated(component)

    with_rows, without = structure(Grid()), structure(Grid(wrap=plain_rows))
    assert sum(len(v) for v in without.values()) >= sum(len(v) for v in with_rows.values())
    assert without["grid_mac"] == {}


class Parent(wiring.Component):
    """One output per child."""

    def __init__(self, children, wrap=repeated):
        self.children = children
        self.wrap = wrap
        super().__init__({"o": Out(20).array(len(children)), "i": In(signed(8))})

    def elaborate(self, platform):
        m = Module()
        for index, child in enumerate(self.children):
            m.submodules[f"child_{index}"] = self.wrap(child)
            m.d.comb += [child.i.eq(self.i), self.o[index].eq(child.total)]
        return m


def test_attributes_and_key_tell_cells_apart():
    def count(*children, wrap=repeated):
        tree = structure(Parent(children, wrap))
        return sorted(tree[next(iter(tree["grid"]))].values())

    assert count(Mac(), Mac()) == [2]
    assert count(Mac(offsets=[1]), Mac(offsets=[1])) == [2]
    assert count(Mac(CellConfig(scale=2)), Mac(), Mac(CellConfig(scale=2))) == [1, 2]
    keys = iter("aba")
    # Equal logic under different keys is converted twice and merged afterwards.
    assert count(Mac(), Mac(), Mac(), wrap=lambda c: repeated(c, next(keys))) == [3]


def test_a_list_in_place_is_not_shared_with_a_changed_one():
    tree = structure(Parent([Table([1, 2]), Table([1, 3])]))
    assert tree["grid_core"] == {"grid_table": 1, "grid_table_2": 1}


class Table(wiring.Component):
    i: In(signed(8))
    total: Out(20)

    def __init__(self, values):
        self.values = values
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.total.eq(self.i * sum(value * 7**n for n, value in enumerate(self.values)))
        return m


def test_renamed_domain_reaches_the_instance():
    class Two(wiring.Component):
        o: Out(20).array(2)

        def elaborate(self, platform):
            m = Module()
            m.domains.slow = ClockDomain("slow", reset_less=True)
            m.submodules.a = a = Mac()
            m.submodules.fast = repeated(fast := Mac())
            m.submodules.slow = DomainRenamer("slow")(repeated(slow := Mac()))
            m.d.comb += [ClockSignal("slow").eq(a.o[0])]
            m.d.comb += [self.o[0].eq(fast.total), self.o[1].eq(slow.total)]
            return m

    modules = {module.name: module for module in parse(convert(Two(), "two", checks=False)[0])}
    cells = {i.name: i for i in modules["\\two_core"].items if isinstance(i, Cell)}
    fast, slow = cells["\\fast"], cells["\\slow"]
    assert fast.kind == slow.kind
    assert fast.ports["\\clk"] != slow.ports["\\clk"]
    assert slow.ports["\\rst"] == "1'0"


class Wires(wiring.Component):
    i: In(signed(8))
    total: Out(20)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.total.eq(self.i)
        return m


def test_a_cell_may_hold_only_wires():
    assert structure(Parent([Wires(), Wires()]))["grid_core"] == {"grid_wires": 2}


def test_rejects_hidden_signals():
    class Hidden(wiring.Component):
        i: In(8)
        total: Out(8)

        def __init__(self):
            super().__init__()
            self.level = Signal(3)

        def elaborate(self, platform):
            return Module()

    with pytest.raises(TypeError, match=r"must not keep .* outside its signature"):
        convert(Parent([Hidden()]), "top", checks=False)


def test_rejects_other_domains_clock_names_and_other_objects():
    class Foreign(Wires):
        def elaborate(self, platform):
            m = Module()
            m.d.other += self.total.eq(self.i + 1)
            return m

    class Named(Wires):
        clk: In(1)

    with pytest.raises(Exception, match=r"^Domain 'other' is used but not defined"):
        convert(Parent([Foreign()]), "top", checks=False)
    with pytest.raises(ValueError, match=r"must not be named \['clk'\]$"):
        convert(Parent([Named()]), "top", checks=False)
    with pytest.raises(TypeError, match=r"^component must be a wiring.Component, not 3$"):
        repeated(3)


@pytest.mark.slow
def test_same_bytes_twice():
    assert convert(Grid(), "grid", checks=True) == convert(Grid(), "grid", checks=True)
    assert json.dumps(structure(Grid())) == json.dumps(structure(Grid()))
