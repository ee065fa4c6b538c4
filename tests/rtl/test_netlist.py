import os
import re
import subprocess
import sys

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Format, Module, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.memory_fabric import MemoryFabric
from rpaccel.rtl.netlist import convert, write_netlist
from rpaccel.rtl.read_channel import ReadChannel
from rpaccel.rtl.read_order import ReadOrder
from rpaccel.rtl.row_bank import RowBank
from rpaccel.rtl.row_network import RowNetwork
from rpaccel.rtl.rtlil_merge import merge_equal_modules
from rpaccel.rtl.rtlil_text import emit, parse
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.spec.accelerator import load_accelerator

FOUR_BANKS = load_accelerator("tiny").model_copy(
    update={"memory_ports": 2, "row_banks": 4, "stripe_bytes": 128}
)


class Cell(wiring.Component):
    a: In(signed(8))
    b: In(signed(8))
    o: Out(signed(8))
    total: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.o.eq(self.a), self.total.eq(self.total + self.a * self.b)]
        with m.If(self.a == 3):
            m.d.sync += Assert(self.b != 5, Format("b is {}", self.b))
        return m


class Chain(wiring.Component):
    """Cells whose unused outputs and tied inputs differ: the ends are not like the middle."""

    m_axi: Out(wiring.Signature({"araddr": Out(8), "rdata": In(8)})).array(2)
    total: Out(16)

    def __init__(self, length=6, depth=4):
        self.length, self.depth = length, depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = memory.Memory(shape=32, depth=self.depth, init=[])
        cells = [Cell() for _ in range(self.length)]
        m.d.comb += [self.m_axi[1].araddr.eq(table.read_port().data)]
        value = self.m_axi[0].rdata
        for index, cell in enumerate(cells):
            m.submodules[f"cell_{index}"] = cell
            m.d.comb += [cell.a.eq(value), cell.b.eq(self.m_axi[1].rdata)]
            value = cell.o
        m.d.comb += [self.m_axi[0].araddr.eq(value), self.total.eq(cells[0].total + cells[1].total)]
        return m


def modules(path):
    return re.findall(r"^module (\S+?)\s*\(", path.read_text(), re.MULTILINE)


def test_equal_modules_become_one(tmp_path):
    netlist = write_netlist(Chain(), "chain", tmp_path)
    assert modules(netlist.verilog) == ["chain", "chain_cell", "chain_core"]
    assert netlist.verilog.read_text().count("chain_cell cell_") == 6
    assert netlist.modules == 3


def test_array_has_one_module_per_kind_of_cell(tmp_path):
    netlist = write_netlist(SystolicArray(load_accelerator("tiny")), "array", tmp_path)
    kinds = modules(netlist.verilog)
    assert [kind for kind in kinds if "_pe" in kind] == ["array_pe"]
    assert [kind for kind in kinds if "_tile" in kind] == ["array_tile"]


@pytest.mark.parametrize(
    "make, kinds",
    [
        (lambda: RowNetwork(FOUR_BANKS, 3, 2), {RowBank: 1, ReadOrder: 1}),
        # lists and descriptors, records, records ahead: three sizes
        pytest.param(
            lambda: MemoryFabric(FOUR_BANKS),
            {ReadOrder: 3, ReadChannel: 1},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_equal_units_are_elaborated_once(monkeypatch, make, kinds):
    count = dict.fromkeys(kinds, 0)
    for kind in kinds:

        def counted(self, platform, kind=kind, elaborate=kind.elaborate):
            count[kind] += 1
            return elaborate(self, platform)

        monkeypatch.setattr(kind, "elaborate", counted)
    convert(make(), "rows", checks=True)
    assert count == kinds


@pytest.mark.slow
def test_hints_name_large_repeated_modules(tmp_path):
    lines = write_netlist(
        SystolicArray(load_accelerator("tiny")), "array", tmp_path / "a"
    ).hints.read_text()
    assert 'no_inline -module "array_tile"' in lines
    assert 'public_flat_rd -module "array_tile" -var "i_sum"' in lines
    assert "clk" not in lines and "array_pe" not in lines
    small = write_netlist(Chain(), "chain", tmp_path / "b").hints.read_text()
    assert small == "`verilator_config\n"


def test_ports_have_axi_names(tmp_path):
    netlist = write_netlist(Chain(), "chain", tmp_path)
    assert [(port.name, port.direction, port.bits) for port in netlist.ports] == [
        ("aclk", "input", 1),
        ("aresetn", "input", 1),
        ("m_axi0_araddr", "output", 8),
        ("m_axi0_rdata", "input", 8),
        ("m_axi1_araddr", "output", 8),
        ("m_axi1_rdata", "input", 8),
        ("total", "output", 16),
    ]


def test_checks_are_kept_only_on_request(tmp_path):
    without = write_netlist(Chain(), "chain", tmp_path / "a").verilog.read_text()
    kept = write_netlist(Chain(), "chain", tmp_path / "b", checks=True).verilog.read_text()
    assert "$finish" in kept and "b is" in kept
    assert "$finish" not in without and "b is" not in without
    assert "assert" not in kept


def test_large_memories_are_not_initialised_with_zeros(tmp_path):
    small = write_netlist(Chain(depth=4), "chain", tmp_path / "a").verilog.read_text()
    large = write_netlist(Chain(depth=4096), "chain", tmp_path / "b").verilog.read_text()
    assert "initial begin" in small
    assert "initial begin" not in large


def test_equal_initial_values_are_a_loop(tmp_path):
    class Tables(wiring.Component):
        o: Out(24)

        def elaborate(self, platform):
            m = Module()
            for index, init in enumerate(([5] * 9, [*range(9)], [])):
                table = memory.Memory(shape=8, depth=9, init=init)
                m.submodules[f"table_{index}"] = table
                read = table.read_port()
                m.d.comb += [read.addr.eq(read.data), self.o.word_select(index, 8).eq(read.data)]
            return m

    text = write_netlist(Tables(), "tables", tmp_path).verilog.read_text()
    loops = re.findall(r"for \((\w+) = 0; \1 < 9; .*\n\s+\S+ ?\[\1\] = (\S+);", text)
    assert sorted(value for _, value in loops) == ["8'h00", "8'h05"]
    assert len(re.findall(r"\[\d\] = 8'h0\d;", text)) == 9


def test_merging_is_idempotent_and_keeps_the_top():
    text = rtlil.convert(Chain(), name="top", emit_src=False)
    once = merge_equal_modules(text)
    assert parse(once)[0].name == "\\top"
    assert len(parse(once)) == 2
    assert len(parse(merge_equal_modules(once))) == 2
    assert emit(parse(once)) == once


def test_different_constants_are_not_merged():
    class Two(wiring.Component):
        a: In(8)
        x: Out(16)
        y: Out(16)

        def elaborate(self, platform):
            m = Module()
            m.submodules.p = p = Cell()
            m.submodules.q = q = Cell()
            m.d.comb += [p.a.eq(self.a), q.a.eq(self.a), p.b.eq(1), q.b.eq(2)]
            m.d.comb += [self.x.eq(p.total), self.y.eq(q.total)]
            return m

    assert len(parse(merge_equal_modules(rtlil.convert(Two(), emit_src=False)))) == 3


def test_rejects_unreadable_rtlil():
    with pytest.raises(ValueError, match=r"^RTLIL wire must be readable"):
        parse("module \\top\n  wire width x \\a\nend\n")


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_same_bytes_for_any_hash_seed(tmp_path, seed):
    code = (
        "from pathlib import Path; from tests.rtl.test_netlist import Chain;"
        "from rpaccel.rtl.netlist import write_netlist; import sys;"
        "print(write_netlist(Chain(), 'chain', Path(sys.argv[1])).digest)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    here = write_netlist(Chain(), "chain", tmp_path / "here")
    assert result.stdout.strip() == here.digest
