"""Job files for the C driver's example (host/c/example.c): everything that a device is told."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from rpaccel.golden.lane import Query
from rpaccel.host.compile import CompiledModels
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import DESCRIPTOR
from rpaccel.spec.registers import ADDRESS, REGIONS

C_DIR = Path(__file__).parent / "c"


class _Recorder(SoftwareDevice):
    """A software device that remembers what was written into its memory by the host."""

    def __init__(self, config: AcceleratorConfig, memory_bytes: int) -> None:
        super().__init__(config, memory_bytes)
        self.written: list[tuple[int, bytes]] = []

    def write_memory(self, address: int, payload: bytes) -> None:
        self.written.append((address, bytes(payload)))
        super().write_memory(address, payload)


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def write_job(
    path: Path,
    config: AcceleratorConfig,
    compiled: CompiledModels,
    queries: Sequence[Query],
    memory_bytes: int,
) -> list[Completion]:
    """Write a job of a LOAD and `queries`; return what the software device answers to them.

    Raises ValueError if they do not fit memory_bytes.
    """
    depth = 1 << len(queries).bit_length()  # a block of memory for each: none is used twice
    device = _Recorder(config, memory_bytes)
    driver = Driver(device, config, memory_bytes, depth=depth)
    driver.load_models(compiled)
    tags = [
        driver.submit(
            Request(
                user_record=query.user_record,
                candidates=query.candidates,
                features=driver.register_feature_table(query.features),
                stages=query.stages,
                top_n=query.top_n,
                tasks=query.tasks,
                survivor_limit=query.survivor_limit,
            )
        )
        for query in queries
    ]
    answers = [driver.wait(tag) for tag in tags]

    low, high = driver.regions["submissions"]
    is_descriptor = [low <= address < high for address, _ in device.written]
    segments = [w for w, ring in zip(device.written, is_descriptor, strict=True) if not ring]
    descriptors = [
        raw for (_, raw), ring in zip(device.written, is_descriptor, strict=True) if ring
    ]
    parts = [_words(memory_bytes, low, driver.regions["completions"][0], depth), _words(REGIONS)]
    for index in range(REGIONS):
        wide = [
            device.read_register(ADDRESS[f"REGION{index}_{name}_LO"])
            | device.read_register(ADDRESS[f"REGION{index}_{name}_HI"]) << 32
            for name in ("BASE", "LIMIT")
        ]
        permission = device.read_register(ADDRESS[f"REGION{index}_PERMISSION"])
        parts.append(_words(*wide, permission))
    parts.append(_words(len(segments)))
    parts += [_words(address, len(raw)) + raw for address, raw in segments]
    parts.append(_words(len(descriptors)))
    for raw in descriptors:
        if len(raw) != DESCRIPTOR.bytes:
            raise ValueError(f"a descriptor must have {DESCRIPTOR.bytes} bytes, not {len(raw)}")
        parts.append(raw)
    path.write_bytes(b"".join(parts))
    return answers
