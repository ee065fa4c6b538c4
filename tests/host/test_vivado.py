"""The packaging script, in a Tcl interpreter where Vivado's commands only say what they got."""

import re
from pathlib import Path

import pytest

from rpaccel.host.verilator import BUILD_DIR
from rpaccel.host.vivado import clock_constraints, ip_script
from rpaccel.rtl.netlist import Netlist, Port, system_netlist
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.registers import ADDRESS

tkinter = pytest.importorskip("tkinter", reason="no Tcl interpreter")

TINY = load_accelerator("tiny")
TWO = TINY.model_copy(update={"memory_ports": 2})
COMMANDS = (
    "create_project", "read_verilog", "read_xdc", "get_files", "set_property", "current_fileset",
    "update_compile_order",
    "ipx::package_project", "ipx::current_core", "ipx::remove_all_bus_interface",
    "ipx::infer_bus_interface",
    "ipx::associate_bus_interfaces", "ipx::add_bus_parameter", "ipx::get_bus_interfaces",
    "ipx::remove_all_memory_map", "ipx::remove_all_address_space", "ipx::add_memory_map",
    "ipx::add_address_block", "ipx::add_address_space",
    "ipx::create_xgui_files", "ipx::update_checksums", "ipx::check_integrity", "ipx::save_core",
)  # fmt: skip


# Signals of both kinds of interface; those left out have defaults.
# Ref: Arm IHI 0022, AMBA AXI.
LITE_FROM_MANAGER = "awaddr awprot awvalid wdata wstrb wvalid bready araddr arprot arvalid rready"
LITE_TO_MANAGER = "awready wready bresp bvalid arready rdata rresp rvalid"
FULL_FROM_MANAGER = (
    "arid araddr arlen arsize arburst arvalid awid awaddr awlen awsize awburst awvalid "
    "wdata wstrb wlast wvalid bready rready"
)
FULL_TO_MANAGER = "arready awready wready bid bresp bvalid rid rdata rresp rlast rvalid"


def netlist(names):
    ports = tuple(Port(name=name, direction="input", bits=1) for name in names)
    path = Path("rpaccel.v")
    return Netlist(
        name="rpaccel", ports=ports, verilog=path, rtlil=path, hints=path, modules=1, digest=""
    )


NAMES = [
    "aclk", "aresetn", "irq", "s_axil_awaddr", "s_axil_rready",
    "m_axi0_araddr", "m_axi0_rready", "m_axi1_araddr",
]  # fmt: skip


def run(script, arguments=()):
    """Return the commands that the script gives."""
    interpreter = tkinter.Tcl()
    interpreter.eval("namespace eval ipx {}; set calls {}")
    for command in COMMANDS:
        interpreter.eval(
            f"proc {command} {{args}} {{ lappend ::calls [list {command} {{*}}$args]; "
            f'return "<{command} [lindex $args 0]>" }}'
        )
    interpreter.eval(f"set argv [list {' '.join(arguments)}]")
    interpreter.eval(script)
    calls = interpreter.splitlist(interpreter.eval("set calls"))
    return [interpreter.splitlist(call) for call in calls]


def test_infers_every_interface_and_gives_it_the_clock():
    calls = run(ip_script(TWO, netlist(NAMES)))
    kinds = [call[2] for call in calls if call[0] == "ipx::infer_bus_interface"]
    assert sum("aximm" in kind for kind in kinds) == 3
    assert len(kinds) == 6
    ports = [call[1].split() for call in calls if call[0] == "ipx::infer_bus_interface"]
    assert sorted(port for group in ports for port in group) == sorted(NAMES)
    clocked = [call[2] for call in calls if call[0] == "ipx::associate_bus_interfaces"]
    assert clocked == ["s_axil", "m_axi0", "m_axi1"]
    resets = {call[5:7] for call in calls if call[0] == "ipx::associate_bus_interfaces"}
    assert resets == {("-reset", "aresetn")}
    assert calls[-1][0] == "ipx::save_core"


def test_every_port_of_a_netlist_is_in_an_interface():
    made = system_netlist(TINY, build_dir=BUILD_DIR)
    calls = run(ip_script(TINY, made))
    groups = [call[1].split() for call in calls if call[0] == "ipx::infer_bus_interface"]
    assert sorted(port for group in groups for port in group) == sorted(p.name for p in made.ports)
    inputs = {port.name for port in made.ports if port.direction == "input"}
    for prefix, given, taken in (
        ("s_axil", LITE_FROM_MANAGER, LITE_TO_MANAGER),
        ("m_axi0", FULL_TO_MANAGER, FULL_FROM_MANAGER),
    ):
        (group,) = [set(group) for group in groups if group[0].startswith(prefix)]
        assert group & inputs == {f"{prefix}_{name}" for name in given.split()}
        assert group - inputs == {f"{prefix}_{name}" for name in taken.split()}


def properties(calls, target):
    """Return what set_property gives an object, by name."""
    return {call[1]: call[2] for call in calls if call[0] == "set_property" and call[3] == target}


def test_registers_are_a_block_of_the_slaves_memory_map():
    calls = run(ip_script(TWO, netlist(NAMES)))
    maps = [call[1:] for call in calls if call[0] == "ipx::add_memory_map"]
    assert maps == [("s_axil", "<ipx::current_core >")]
    (block,) = [call[1:] for call in calls if call[0] == "ipx::add_address_block"]
    assert block == ("registers", "<ipx::add_memory_map s_axil>")
    given = properties(calls, "<ipx::add_address_block registers>")
    assert given == {
        "base_address": "0", "range": "65536", "width": "32",
        "usage": "register", "access": "read-write",
    }  # fmt: skip
    assert max(ADDRESS.values()) + 4 <= int(given["range"])
    slave = properties(calls, "<ipx::get_bus_interfaces s_axil>")
    assert slave == {"slave_memory_map_ref": "s_axil"}


def test_every_master_reaches_the_memory_of_the_preset():
    two = TWO.model_copy(update={"axi_address_bits": 33, "axi_data_bits": 128})
    calls = run(ip_script(two, netlist(NAMES)))
    spaces = [call[1:] for call in calls if call[0] == "ipx::add_address_space"]
    assert spaces == [(name, "<ipx::current_core >") for name in ("m_axi0", "m_axi1")]
    for name, _ in spaces:
        given = properties(calls, f"<ipx::add_address_space {name}>")
        assert given == {"range": "8589934592", "width": "128"}
        master = properties(calls, f"<ipx::get_bus_interfaces {name}>")
        assert master == {"master_address_space_ref": name}


def test_every_master_says_what_it_asks_for():
    config = TWO.model_copy(update={"axi_id_bits": 6})
    calls = run(ip_script(config, netlist(NAMES)))
    asked = {
        ("SUPPORTS_NARROW_BURST", "0"), ("MAX_BURST_LENGTH", "16"),
        ("NUM_READ_OUTSTANDING", "64"), ("NUM_WRITE_OUTSTANDING", "1"),
    }  # fmt: skip
    names = [name for name, _ in asked]
    of = [call[1:] for call in calls if call[0] == "ipx::add_bus_parameter" and call[1] in names]
    masters = [f"<ipx::get_bus_interfaces {port}>" for port in ("m_axi0", "m_axi1")]
    assert sorted(of) == sorted((name, master) for name in names for master in masters)
    for name, value in asked:
        given = properties(calls, f"<ipx::add_bus_parameter {name}>")
        assert given == {"value": value, "value_source": "constant"}


def test_a_core_has_the_name_of_its_preset():
    calls = run(ip_script(TWO, netlist(NAMES)))
    given = properties(calls, "<ipx::current_core >")
    assert (given["name"], given["version"]) == ("rpaccel_tiny", "1.0")
    assert properties(calls, "<current_fileset >") == {"top": "rpaccel"}
    package = next(call for call in calls if call[0] == "ipx::package_project")
    assert "-force" in package  # a second time replaces the first


def test_a_core_alone_has_a_clock(tmp_path):
    path = tmp_path / "rpaccel_ooc.xdc"
    path.write_text(clock_constraints(4))
    interpreter = tkinter.Tcl()
    interpreter.eval("proc create_clock {args} {return $args}")
    interpreter.eval("proc get_ports {name} {return $name}")
    assert interpreter.eval(f"source {path}") == "-name aclk -period 4.000 aclk"
    names = [call[:2] for call in run(ip_script(TWO, netlist(NAMES)))]
    assert names[2][0] == "read_xdc" and names[2][1].endswith("/rpaccel_ooc.xdc")
    assert ("set_property", "USED_IN") in names


def test_inferred_addresses_are_removed_before_others_are_added():
    names = [call[0] for call in run(ip_script(TWO, netlist(NAMES)))]
    order = [
        "ipx::remove_all_bus_interface", "ipx::infer_bus_interface",
        "ipx::remove_all_memory_map", "ipx::remove_all_address_space",
        "ipx::add_memory_map", "ipx::add_address_block", "ipx::add_address_space",
        "ipx::check_integrity",
    ]  # fmt: skip
    places = [names.index(name) for name in order]
    assert places == sorted(places)
    assert names.count("ipx::remove_all_memory_map") == 1


def test_takes_part_and_folder():
    calls = run(ip_script(TWO, netlist(NAMES)), ["xc7a35t", "/somewhere"])
    assert calls[0] == ("create_project", "-in_memory", "-part", "xc7a35t")
    package = next(call for call in calls if call[0] == "ipx::package_project")
    assert package[2] == "/somewhere"


def test_needs_the_ports_of_every_interface():
    with pytest.raises(ValueError, match=re.escape("ports of rpaccel must have m_axi1_*")):
        ip_script(TWO, netlist(NAMES[:-1]))
    with pytest.raises(ValueError, match=r"must have irq, not"):
        ip_script(TWO, netlist([name for name in NAMES if name != "irq"]))
