import json
import math
import re
import sys

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from typer.testing import CliRunner

from rpaccel.cli import app
from rpaccel.host.composition import instances_of, piece_costs, pieces_of, total
from rpaccel.host.fpga_parts import PARTS, Resources, excess, smallest_part
from rpaccel.host.part_choice import estimate, estimate_netlist, estimate_text
from rpaccel.host.synthesis import FAMILIES, NetlistError, run_tool, run_yosys
from rpaccel.host.unit_costs import module_costs, unit_costs
from rpaccel.main_job.units_page import modules_text
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.rtlil_text import parse
from rpaccel.spec.accelerator import load_accelerator
from tests.markdown import table

COMMAND = "synth_xilinx -family xcup -top {top} -noiopad -noclkbuf"
XCUP = FAMILIES["xcup"]


class Cell(wiring.Component):
    """A multiply-accumulate cell: 8 + 16 + 32 flip-flops and one multiplier."""

    i_row: In(signed(8))
    i_weight: In(signed(8))
    i_sum: In(signed(32))
    o_row: Out(signed(8))
    o_sum: Out(signed(32))

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(16))
        m.d.sync += [
            self.o_row.eq(self.i_row),
            product.eq(self.i_row * self.i_weight),
            self.o_sum.eq(self.i_sum + product),
        ]
        return m


class Row(wiring.Component):
    """Cells in a row, and nothing but wires of its own."""

    def __init__(self, size):
        self.size = size
        cells = {f"i_weight{n}": In(signed(8)) for n in range(size)}
        cells |= {f"i_sum{n}": In(signed(32)) for n in range(size)}
        cells |= {f"o_sum{n}": Out(signed(32)) for n in range(size)}
        super().__init__({"i_row": In(signed(8)), "o_row": Out(signed(8)), **cells})

    def elaborate(self, platform):
        m = Module()
        row = self.i_row
        for n in range(self.size):
            m.submodules[f"pe_{n}"] = cell = Cell()
            m.d.comb += [
                cell.i_row.eq(row),
                cell.i_weight.eq(getattr(self, f"i_weight{n}")),
                cell.i_sum.eq(getattr(self, f"i_sum{n}")),
                getattr(self, f"o_sum{n}").eq(cell.o_sum),
            ]
            row = cell.o_row
        m.d.comb += self.o_row.eq(row)
        return m


class Machine(wiring.Component):
    """A row named `array`, another one, a memory of 4,096 x 64 and a register."""

    address: In(12)
    write_address: In(12)
    i_word: In(64)
    write: In(1)
    o_word: Out(64)
    i_row: In(signed(8))
    o_row: Out(signed(8))
    o_total: Out(signed(33))

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = Row(2)
        m.submodules.other = other = Row(2)
        m.submodules.memory = store = memory.Memory(shape=64, depth=4096, init=[])
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.i_word),
            write.en.eq(self.write),
            read.addr.eq(self.address),
            self.o_word.eq(read.data),
            array.i_row.eq(self.i_row),
            other.i_row.eq(array.o_row),
            self.o_row.eq(other.o_row),
        ]
        for n in range(2):
            m.d.comb += [
                getattr(array, f"i_weight{n}").eq(read.data.word_select(n, 8)),
                getattr(other, f"i_weight{n}").eq(read.data.word_select(n + 2, 8)),
                getattr(array, f"i_sum{n}").eq(read.data[32:]),
                getattr(other, f"i_sum{n}").eq(getattr(array, f"o_sum{n}")),
            ]
        m.d.sync += self.o_total.eq(other.o_sum0 + other.o_sum1)
        return m


class DeepMemory(wiring.Component):
    """A memory of 4,096 words that is read or written at one address."""

    address: In(12)
    i_word: In(512)
    write: In(1)
    o_word: Out(512)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=512, depth=4096, init=[])
        write, read = store.write_port(granularity=32), store.read_port()
        m.d.comb += [
            write.addr.eq(self.address),
            write.data.eq(self.i_word),
            write.en.eq(self.write.replicate(16)),
            read.addr.eq(self.address),
            read.en.eq(~self.write),
            self.o_word.eq(read.data),
        ]
        return m


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("synthesis")


@pytest.fixture(scope="module")
def netlist(folder):
    return write_netlist(Machine(), "machine", folder)


@pytest.fixture(scope="module")
def report(netlist, folder):
    return estimate_netlist(netlist, build_dir=folder, progress=lambda _: None)


@pytest.mark.slow
def test_equal_modules_are_one_piece(netlist):
    pieces = pieces_of(parse(netlist.rtlil.read_text()))
    instances = instances_of(pieces)
    assert instances["\\machine"] == 1
    cells = [name for name in pieces if instances[name] == 4]
    assert cells == ["\\machine_pe"]
    rows = [piece for piece in pieces.values() if piece.children == {"\\machine_pe": 2}]
    assert sum(instances[row.name] for row in rows) == 2
    assert all(row.items == 0 for row in rows)


@pytest.mark.slow
def test_instances_need_no_order_of_modules(netlist):
    top, *others = parse(netlist.rtlil.read_text())
    forwards, backwards = (
        instances_of(pieces_of([top, *some])) for some in (others, reversed(others))
    )
    assert forwards == backwards


@pytest.mark.slow
def test_composed_counts_are_those_of_the_flat_design(netlist, folder, report):
    script = f"read_rtlil machine.il; {COMMAND.format(top='machine')} -flatten; "
    run_yosys(f"{script}tee -q -o flat.json stat -json", folder / "flat.log")
    cells = json.loads((folder / "flat.json").read_text())["design"]["num_cells_by_type"]
    flat = XCUP.count(cells)
    composed = report["block_ram"]
    assert composed["ff"] == flat["ff"]
    assert composed["dsp"] == flat["dsp"] == 4
    assert composed["bram36"] == flat["bram"] == 8
    assert composed["lut"] >= flat["lut"]


@pytest.mark.slow
def test_a_deep_memory_is_one_uram_or_eight_block_rams(report):
    assert (report["uram"]["uram"], report["uram"]["bram36"]) == (1, 0)
    assert (report["block_ram"]["uram"], report["block_ram"]["bram36"]) == (0, 8)
    assert report["verdict"] == "fits ZU3EG"  # which has no URAM
    assert report["memories"] == "block_ram"


@pytest.mark.slow
def test_rows_of_modules_sum_to_the_design(report):
    for name, value in report["uram"].items():
        assert sum(row["instances"] * row[name] for row in report["modules"]) == value


@pytest.mark.slow
def test_the_second_time_comes_from_the_cache(netlist, folder, report):
    lines = []
    assert estimate_netlist(netlist, build_dir=folder, progress=lines.append) == report
    assert lines == []
    assert 0 < report["cpu_seconds"] < 600  # kept with the modules


@pytest.mark.slow
def test_report_text_names_part_and_modules(report):
    text = estimate_text({"preset": "made up", "macs_per_dsp": 1, **report})
    assert text.endswith("fits ZU3EG (block RAM only)")
    assert "machine_pe" in text
    assert "upper bounds" in text


@pytest.mark.slow
def test_another_design_reuses_equal_modules(report, folder, tmp_path):
    other = write_netlist(Row(3), "row", tmp_path)
    pieces = pieces_of(parse(other.rtlil.read_text()))
    lines = []
    costs = piece_costs(pieces.values(), COMMAND, build_dir=folder, progress=lines.append)
    assert "modules 1-1 of 1 (2 known)" in lines[0]  # the machine's cell; a module of wires
    instances = instances_of(pieces)
    counts = XCUP.count(total(instances, {n: costs[p.digest].cells for n, p in pieces.items()}))
    assert (counts["dsp"], counts["ff"]) == (3, 3 * (8 + 16 + 32))
    lines.clear()
    piece_costs(pieces.values(), COMMAND, build_dir=folder, progress=lines.append)
    assert lines == []


@pytest.mark.slow
def test_a_lut_ram_that_is_not_there_is_left_out(folder, tmp_path):
    deep = write_netlist(DeepMemory(), "deep", tmp_path)
    pieces = pieces_of(parse(deep.rtlil.read_text()))
    (piece,) = (piece for piece in pieces.values() if "memory width" in piece.text)
    (tmp_path / "deep.il").write_text(piece.text)
    synthesis = COMMAND.format(top=f"piece_{piece.digest}")
    with pytest.raises(NetlistError, match="invalid OPTION_ABITS/WIDTH combination"):
        run_yosys(f"read_rtlil deep.il; {synthesis}", tmp_path / "yosys.log")
    others = pieces_of(parse(write_netlist(Row(1), "row", tmp_path).rtlil.read_text()))
    both = [*others.values(), *pieces.values()]
    costs = piece_costs(both, COMMAND, build_dir=tmp_path, progress=lambda _: None)
    counts = XCUP.count(costs[piece.digest].cells)
    assert (counts["bram"], counts["lutram"]) == (math.ceil(4096 * 512 / 36864), 0)
    assert sum(XCUP.count(costs[each.digest].cells)["dsp"] for each in others.values()) == 1


@pytest.mark.slow
def test_tiny_is_composed_by_its_instances():
    config = load_accelerator("tiny")
    plain, packed = (
        estimate(config.model_copy(update={"macs_per_dsp": macs}), progress=lambda _: None)
        for macs in (1, 2)
    )
    for report, cell, macs in ((plain, "rpaccel_pe", 1), (packed, "rpaccel_pair_pe", 2)):
        rows = {row["module"]: row for row in report["modules"]}
        assert rows["rpaccel"]["instances"] == 1
        assert rows["rpaccel_tile"]["instances"] == config.blocks**2
        assert rows[cell]["instances"] == config.array_macs // macs
        assert rows[cell]["dsp"] == 1
        sums = {
            name: sum(row["instances"] * row[name] for row in rows.values())
            for name in report["uram"]
        }
        # Two block RAMs of 18 Kbit share one of 36: a module's half is rounded up in its row alone.
        halves = sum(row["instances"] for row in rows.values() if row["bram36"]) / 2
        assert 0 <= sums.pop("bram36") - report["uram"]["bram36"] <= halves
        assert sums == {name: report["uram"][name] for name in sums}
        needs = [Resources(**report[memories]) for memories in ("uram", "block_ram")]
        part = list(PARTS).index(report["part"])
        assert report["verdict"] == f"fits {report['part']}"
        assert any(not excess(need, list(PARTS.values())[part]) for need in needs)
        assert all(excess(need, less) for less in list(PARTS.values())[:part] for need in needs)
    assert plain["uram"]["dsp"] - packed["uram"]["dsp"] == config.array_macs // 2
    assert plain["uram"]["bram36"] == packed["uram"]["bram36"] > 0
    assert 0 < packed["cpu_seconds"] < 1200


@pytest.mark.slow
def test_the_modules_of_a_unit(tmp_path):
    config = load_accelerator("tiny")
    whole = unit_costs(config, units=("cells",), build_dir=tmp_path, progress=lambda _: None)
    inside = module_costs(config, "cells", build_dir=tmp_path, progress=lambda _: None)
    (cell,) = (name for name, cost in inside.items() if cost["dsp"])
    assert (inside[cell]["instances"], inside[cell]["dsp"]) == (64, 64)
    for resource in ("ff", "dsp", "bram"):
        assert sum(cost[resource] for cost in inside.values()) == whole["cells"][resource]
    assert sum(cost["lut"] for cost in inside.values()) >= whole["cells"]["lut"]
    text = modules_text(inside, "cells", "tiny", "ecp5", 64)
    _, rows = table(text.splitlines(), "module")
    assert rows[-1][0] == "sum" and rows[-1][4] == "64"


@pytest.mark.parametrize(("flags", "macs"), [([], 1), (["--dsp-packing"], 2)])
def test_packing_is_a_choice_of_the_array(monkeypatch, flags, macs):
    made = []

    def fake(config, family, **_):
        made.append((config.name, config.macs_per_dsp))
        return {"family": family}

    monkeypatch.setattr("rpaccel.host.part_choice.estimate", fake)
    result = CliRunner().invoke(app, ["synth", "--preset", "tiny", "--json", *flags])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"family": "xcup"}
    assert made == [("tiny", macs)]


def test_rejects_family():
    with pytest.raises(ValueError, match=r"^family must be xcup, .*, not 'ecp5'$"):
        estimate(load_accelerator("tiny"), "ecp5")


def test_memory_luts_and_half_block_rams_are_weighed():
    counts = XCUP.count({"RAM32M16": 2, "SRL16E": 3, "RAMB18E2": 3, "RAMB36E2": 1, "LUT6_2": 4})
    assert counts == {"lut": 4, "ff": 0, "dsp": 0, "bram": 3, "uram": 0, "lutram": 19}


def test_parts_are_sorted():
    luts = [part.lut for part in PARTS.values()]
    assert luts == sorted(luts)


def need(**update):
    return Resources(**{"lut": 1000, "ff": 1000, "dsp": 10, "bram36": 10} | update)


@pytest.mark.parametrize(
    ("choices", "part", "index"),
    [
        ([need()], "ZU3EG", 0),
        ([need(dsp=361)], "ZU4EV", 0),
        ([need(uram=40), need(bram36=217)], "ZU4EV", 0),
        ([need(uram=90), need(bram36=200)], "ZU3EG", 1),
        ([need(lut=1_728_000)], "VU13P", 0),
    ],
)
def test_smallest_part(choices, part, index):
    assert smallest_part(choices) == (part, index, f"fits {part}")


def test_fits_none_says_what_is_short():
    assert smallest_part([need(dsp=16_384)]) == (
        None,
        0,
        "fits none: 16,384 of 12,288 DSP (VU13P)",
    )
    choices = [need(uram=1_281, dsp=12_289), need(bram36=2_689)]
    assert smallest_part(choices)[1:] == (1, "fits none: 2,689 of 2,688 BRAM36 (VU13P)")


def test_excess_names_every_shortage():
    assert excess(need(lut=2001, dsp=11), need(lut=2000)) == ["2,001 of 2,000 LUT", "11 of 10 DSP"]


def test_a_tool_that_does_not_end_is_stopped(tmp_path):
    command = [sys.executable, "-c", "while True: pass"]
    with pytest.raises(NetlistError, match=r"^spin: not done after its limit of 1 CPU seconds$"):
        run_tool("spin", command, tmp_path / "log", step=re.compile("(x)"), cpu_limit_s=1)
