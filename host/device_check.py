"""Check that the device on a bus is the one that a configuration describes."""

from __future__ import annotations

from rpaccel.host.bus import Bus
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.registers import ADDRESS, config_registers


def check_device(bus: Bus, config: AcceleratorConfig) -> None:
    """Raise RuntimeError, naming the register, unless the device is built from `config`.

    A device of the same major version and a newer minor one is accepted.
    """
    for name, expected in config_registers(config).items():
        value = bus.read_register(ADDRESS[name])
        if name == "VERSION":
            same = value >> 16 == expected >> 16 and value & 0xFFFF >= expected & 0xFFFF
        else:
            same = value == expected
        if not same:
            raise RuntimeError(
                f"device register {name} must be {expected:#x} for {config.name!r}, not {value:#x}"
            )
