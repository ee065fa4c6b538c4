import json

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.host import verilator
from rpaccel.host.design_files import write_design
from rpaccel.host.netlist_checks import NetlistError, check_netlist, check_structure, synthesise
from rpaccel.rtl.netlist import write_netlist
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.registers import REGISTERS, counter_address, funnel_counter_address

TINY = load_accelerator("tiny")


class Counter(wiring.Component):
    enable: In(1)
    count: Out(8)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable):
            m.d.sync += self.count.eq(self.count + 1)
        return m


def broken(tmp_path, old, new):
    netlist = write_netlist(Counter(), "counter", tmp_path)
    text = netlist.verilog.read_text()
    assert old in text
    netlist.verilog.write_text(text.replace(old, new, 1))
    return netlist


@pytest.mark.slow
def test_tiny_passes():
    report = check_netlist(TINY)
    assert report["lint_messages"] == 0
    assert report["modules"] > 20


def test_second_driver_is_found(tmp_path):
    driver = "  assign rst = ~ aresetn;\n"
    netlist = broken(tmp_path, driver, driver + "  assign rst = ~ enable;\n")
    with pytest.raises(NetlistError, match=r"(?s)^yosys: .*multiple conflicting drivers"):
        check_structure(netlist, build_dir=tmp_path)


def test_loop_is_found(tmp_path):
    netlist = broken(tmp_path, "assign rst = ~ aresetn", "assign rst = ~ (rst & enable)")
    with pytest.raises(NetlistError, match=r"(?s)^yosys: .*logic loop"):
        check_structure(netlist, build_dir=tmp_path)


def test_lint_messages_are_returned(tmp_path):
    netlist = broken(tmp_path, "assign rst = ~ aresetn", "assign rst = ~ no_such_wire")
    assert any("no_such_wire" in line for line in verilator.lint(netlist.verilog, "counter"))


def test_waivers_have_reasons():
    codes = [waiver.code for waiver in verilator.WAIVERS]
    assert len(set(codes)) == len(codes)
    assert all(len(waiver.reason) > 20 for waiver in verilator.WAIVERS)


@pytest.mark.slow
def test_design_files(tmp_path):
    paths = write_design(TINY, tmp_path / "a")
    again = write_design(TINY, tmp_path / "b")
    for what, path in paths.items():
        assert path.read_bytes() == again[what].read_bytes()
    manifest = json.loads(paths["manifest"].read_text())
    assert manifest["config"]["name"] == "tiny"
    assert len(manifest["registers"]) == len(REGISTERS)
    assert {"name": "irq", "direction": "output", "bits": 1} in manifest["ports"]
    counters = {each["name"]: each["address"] for each in manifest["counters"]}
    assert len(set(counters.values())) == len(counters) == len(manifest["counters"])
    assert counters["lane0.gather.items"] == counter_address(0, "gather", "items")
    last = funnel_counter_address(1, "ordered_top_n", "items")
    assert counters["funnel1.ordered_top_n.items"] == last
    assert set(manifest["files"]) == {"rpaccel.v", "rpaccel.h"}
    assert {path.name for path in paths.values()} == {
        "rpaccel.v", "rpaccel.json", "rpaccel.h", "rpaccel_ooc.xdc", "package_ip.tcl"
    }  # fmt: skip
    assert "$finish" not in paths["verilog"].read_text()


def test_missing_tool_is_named(monkeypatch):
    monkeypatch.setattr(verilator.shutil, "which", lambda name: None if name == "perl" else name)
    with pytest.raises(verilator.ToolMissingError, match=r"perl: .*apt-get install perl"):
        verilator.check_tools()


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_synthesis_of_a_counter(tmp_path, family):
    netlist = write_netlist(Counter(), "counter", tmp_path)
    report = synthesise(netlist, family, build_dir=tmp_path)
    assert report["ff"] == 8
    assert report["bram"] == report["dsp"] == 0


def test_rejects_family(tmp_path):
    netlist = write_netlist(Counter(), "counter", tmp_path)
    with pytest.raises(ValueError, match=r"^family must be one of ecp5, xcup, not 'asic'$"):
        synthesise(netlist, "asic", build_dir=tmp_path)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("family", ["ecp5", "xcup"])
@pytest.mark.parametrize("preset", ["tiny", "edge"])
def test_memories_map_to_block_ram_and_cells_to_multipliers(preset, family):
    config = load_accelerator(preset)
    report = check_netlist(config, families=(family,), memories_only=True)[family]
    assert report["dsp"] >= config.array_size**2
    # Weights, features, both activation memories, records, parameters at least.
    assert report["bram"] >= 6
    assert not [cell for cell in report["cells"] if cell.startswith("$mem")]


@pytest.mark.nightly
@pytest.mark.slow
def test_area_of_tiny():
    report = check_netlist(TINY, families=("ecp5",))["ecp5"]
    assert report["dsp"] <= 156  # an ECP5-85k
    assert report["lut"] < 84_000
    assert report["bram"] <= 208
