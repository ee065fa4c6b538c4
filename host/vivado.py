"""A Tcl script that packages a netlist as an IP core for Vivado's IP integrator.

Ref: Xilinx UG1118 (Creating and Packaging Custom IP), UG1119 (its tutorial: constraints of a core
that is synthesised alone), UG835 (Tcl commands): ipx::package_project, ipx::infer_bus_interface,
ipx::associate_bus_interfaces, ipx::add_memory_map, ipx::add_address_space. Interfaces are inferred
by the names of the ports: s_axil_*, m_axi<n>_*, aclk, aresetn, irq. The address editor places a
slave by the blocks of its memory map, and connects a master to what lies in its address space. An
interconnect is as wide and as deep as the parameters of a master's interface say.
"""

from __future__ import annotations

from rpaccel.rtl.axi import AXI_LITE_ADDRESS_BITS
from rpaccel.rtl.netlist import Netlist
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig

__all__ = ["CLOCK_NS", "clock_constraints", "ip_script"]

CLOCK_NS = 10.0  # assumed, when the core is synthesised alone: the 100 MHz of platform `edge`
REGISTERS = "s_axil"
REGISTER_BITS = 32  # spec.registers
AXI = "xilinx.com:interface:aximm_rtl:1.0"
SIGNALS = {
    "aclk": "xilinx.com:signal:clock_rtl:1.0",
    "aresetn": "xilinx.com:signal:reset_rtl:1.0",
    "irq": "xilinx.com:signal:interrupt_rtl:1.0",
}

_TEMPLATE = """\
# Packages {top} (preset {preset}) as an IP core: vivado -mode batch -source package_ip.tcl
# -tclargs part folder. Both arguments may be left out.
set here [file dirname [file normalize [info script]]]
set part [expr {{[llength $argv] > 0 ? [lindex $argv 0] : "{part}"}}]
set folder [expr {{[llength $argv] > 1 ? [lindex $argv 1] : [file join $here ip]}}]

create_project -in_memory -part $part
read_verilog [file join $here {top}.v]
read_xdc [file join $here {constraints}]
set_property USED_IN {{synthesis implementation out_of_context}} \\
    [get_files [file join $here {constraints}]]
set_property top {top} [current_fileset]
update_compile_order -fileset [current_fileset]
ipx::package_project -root_dir $folder -vendor rpaccel -library accelerator \\
    -taxonomy /Machine_Learning -import_files -set_current true -force
set core [ipx::current_core]
set_property name rpaccel_{preset} $core
set_property version {version} $core
set_property display_name "RPAccel {preset}" $core
set_property description "Multi-stage recommendation accelerator, preset {preset}" $core
set_property supported_families {{}} $core
set_property auto_family_support_level level_2 $core

# Interfaces, by the names of their ports, in place of what packaging has inferred.
ipx::remove_all_bus_interface $core
proc infer {{ports kind core}} {{
    ipx::infer_bus_interface $ports $kind $core
}}
{infer}
# Every AXI interface runs on the one clock; the reset is active low.
{associate}
# What the ports to memory ask for: beats as wide as the port, from one write and many reads.
proc ask {{name value interface core}} {{
    set parameter [ipx::add_bus_parameter $name \\
        [ipx::get_bus_interfaces $interface -of_objects $core]]
    set_property value $value $parameter
    set_property value_source constant $parameter
}}
{asked}
set_property value ACTIVE_LOW [ipx::add_bus_parameter POLARITY \\
    [ipx::get_bus_interfaces aresetn -of_objects $core]]
set_property value LEVEL_HIGH [ipx::add_bus_parameter SENSITIVITY \\
    [ipx::get_bus_interfaces irq -of_objects $core]]

# Addresses: the registers as one block, device memory as every port sees it. What was inferred is
# replaced. Ranges in bytes, widths of data in bits.
ipx::remove_all_memory_map $core
ipx::remove_all_address_space $core
proc map_registers {{interface range width core}} {{
    set block [ipx::add_address_block registers [ipx::add_memory_map $interface $core]]
    set_property base_address 0 $block
    set_property range $range $block
    set_property width $width $block
    set_property usage register $block
    set_property access read-write $block
    set_property slave_memory_map_ref $interface \\
        [ipx::get_bus_interfaces $interface -of_objects $core]
}}
proc reach_memory {{interface range width core}} {{
    set space [ipx::add_address_space $interface $core]
    set_property range $range $space
    set_property width $width $space
    set_property master_address_space_ref $interface \\
        [ipx::get_bus_interfaces $interface -of_objects $core]
}}
{addresses}

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
"""


def _memory_interfaces(config: AcceleratorConfig) -> list[str]:
    return [f"m_axi{port}" for port in range(config.memory_ports)]


def _interfaces(config: AcceleratorConfig) -> list[str]:
    return [REGISTERS, *_memory_interfaces(config)]


def _addresses(config: AcceleratorConfig) -> list[str]:
    """Return the calls that give each AXI interface its addresses."""
    memory = f"{1 << config.axi_address_bits} {config.axi_data_bits} $core"
    return [
        f"map_registers {REGISTERS} {1 << AXI_LITE_ADDRESS_BITS} {REGISTER_BITS} $core",
        *(f"reach_memory {interface} {memory}" for interface in _memory_interfaces(config)),
    ]


def _asked(config: AcceleratorConfig) -> dict[str, int]:
    """Return what a port to memory does, by the names of an AXI interface's parameters."""
    return {
        "SUPPORTS_NARROW_BURST": 0,
        "MAX_BURST_LENGTH": BURST_BEATS,
        "NUM_READ_OUTSTANDING": 1 << config.axi_id_bits,
        "NUM_WRITE_OUTSTANDING": 1,
    }


def clock_constraints(period_ns: float = CLOCK_NS) -> str:
    """Return the constraints of a core that is synthesised alone: its clock and no more."""
    return f"create_clock -name aclk -period {period_ns:.3f} [get_ports aclk]\n"


def ip_script(
    config: AcceleratorConfig, netlist: Netlist, *, part: str = "xcvu35p-fsvh2104-2-e"
) -> str:
    """Return the script for `netlist`, which lies beside it, as do its `clock_constraints`.

    part : of a project without another.

    Raises ValueError if the netlist lacks a port of an interface.
    """
    names = [port.name for port in netlist.ports]
    infer = []
    for interface in _interfaces(config):
        ports = [name for name in names if name.startswith(f"{interface}_")]
        if not ports:
            raise ValueError(f"ports of {netlist.name} must have {interface}_*, not {names}")
        infer.append(f"infer {{{' '.join(ports)}}} {AXI} $core")
    for name, kind in SIGNALS.items():
        if name not in names:
            raise ValueError(f"ports of {netlist.name} must have {name}, not {names}")
        infer.append(f"infer {name} {kind} $core")
    associate = [
        f"ipx::associate_bus_interfaces -busif {interface} -clock aclk -reset aresetn $core"
        for interface in _interfaces(config)
    ]
    asked = [
        f"ask {name} {value} {interface} $core"
        for interface in _memory_interfaces(config)
        for name, value in _asked(config).items()
    ]
    return _TEMPLATE.format(
        top=netlist.name,
        constraints=f"{netlist.name}_ooc.xdc",
        preset=config.name,
        part=part,
        version="1.0",
        infer="\n".join(infer),
        associate="\n".join(associate),
        asked="\n".join(asked),
        addresses="\n".join(_addresses(config)),
    )
