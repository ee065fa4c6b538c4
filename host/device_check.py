"""Check that the device on a bus is the one that a configuration describes."""

from __future__ import annotations

from rpaccel.host.bus import Bus
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.registers import ADDRESS, DEVICE_ID, DEVICE_VERSION


def config_registers(config: AcceleratorConfig) -> dict[str, int]:
    """Return the value that each identification register must have for `config`."""
    return {
        "ID": DEVICE_ID,
        "VERSION": DEVICE_VERSION,
        "CONFIG_ARRAY": config.array_size | config.lanes << 16 | config.memory_ports << 24,
        "CONFIG_BUS": config.axi_data_bits | config.bins << 16 | config.model_slots << 24,
        "CONFIG_ITEMS": config.max_items,
        "CONFIG_TOP": config.max_top_n | config.sub_batch_max << 16,
        "CONFIG_WEIGHTS": config.weight_words,
        "CONFIG_HASH": int(config.digest[:8], 16),
        "CONFIG_BLOCKS": config.block_size | config.blocks << 16,
    }


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
