"""The stripe map: which row bank and which memory port an address belongs to.

Memory is cut into stripes of `stripe_bytes`. The bank of a stripe is the exclusive-or of the slices
of log2(banks) bits of its number, so that neither a run of stripes nor a power-of-two distance
between them meets few banks. Bank b uses port b mod memory_ports; bursts stay in their stripe if
there is more than one port.

Every port sees the whole address space. Where each port has a memory of its own, `port_address`
leaves no gap in it: the lowest log2(memory_ports) bits of the stripe's number are taken out, which
the port and the others tell.
"""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Any

from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["bank_of", "fold", "port_address", "port_of", "stripe_map"]


def fold(value: Any, bits: int, width: int) -> Any:
    """Return the exclusive-or of the slices of `bits` bits of an integer of `width` bits."""
    if bits == 0:
        return value & 0
    mask = (1 << bits) - 1
    return reduce(xor, (value >> low & mask for low in range(0, width, bits)))


def bank_of(config: AcceleratorConfig, address: Any) -> Any:
    """Return the row bank of an address (or of an array of them)."""
    shift = (config.stripe_bytes - 1).bit_length()
    return fold(address >> shift, (config.banks - 1).bit_length(), config.axi_address_bits - shift)


def port_of(config: AcceleratorConfig, address: Any) -> Any:
    """Return the memory port of an address."""
    return bank_of(config, address) & (config.memory_ports - 1)


def port_address(config: AcceleratorConfig, address: Any) -> Any:
    """Return where an address lies in the memory of its port, if each port has its own."""
    shift = (config.stripe_bytes - 1).bit_length()
    port_bits = (config.memory_ports - 1).bit_length()
    inside = address & ((1 << shift) - 1)
    return address >> (shift + port_bits) << shift | inside


def stripe_map(config: AcceleratorConfig) -> dict[str, int | str]:
    """Return the map as it is written into manifests."""
    bits = (config.banks - 1).bit_length()
    return {
        "stripe_bytes": config.stripe_bytes,
        "row_banks": config.banks,
        "bank": f"exclusive-or of the {bits}-bit slices of address // {config.stripe_bytes}",
        "port": f"bank mod {config.memory_ports}",
        "text": "every port sees the whole address space",
    }
