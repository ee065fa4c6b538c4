"""The packaging script, in a Tcl interpreter where Vivado's commands only say what they got."""

import re
from pathlib import Path

import pytest

from rpaccel.host.verilator import BUILD_DIR
from rpaccel.host.vivado import ip_script
from rpaccel.rtl.netlist import Netlist, Port, system_netlist
from rpaccel.spec.accelerator import load_accelerator

tkinter = pytest.importorskip("tkinter", reason="no Tcl interpreter")

TINY = load_accelerator("tiny")
TWO = TINY.model_copy(update={"memory_ports": 2})
COMMANDS = (
    "create_project", "read_verilog", "set_property", "current_fileset", "update_compile_order",
    "ipx::package_project", "ipx::current_core", "ipx::infer_bus_interface",
    "ipx::associate_bus_interfaces", "ipx::add_bus_parameter", "ipx::get_bus_interfaces",
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
            f"return <{command}> }}"
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
