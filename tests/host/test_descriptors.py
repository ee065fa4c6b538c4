"""Descriptors with random fields: netlist and software device answer alike, and go on."""

import numpy as np
import pytest

from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import Session
from rpaccel.spec.isa import DESCRIPTOR, Opcode, Status
from tests.host.funnel_machine import QUARTERS, SPLIT

MEMORY_BYTES = 1 << 22
COUNT = 300
OWN = ("tag", "deadline_cycles")  # the driver's; a matter of time


def spoiled(rng):
    """Return up to three fields of a descriptor with values that may be anything."""
    fields = {}
    names = [field.name for field in DESCRIPTOR if field.name not in OWN]
    for name in rng.choice(names, int(rng.integers(1, 4)), replace=False).tolist():
        most = (1 << DESCRIPTOR.fields[name].bits) - 1
        near = int(rng.integers(min(most, 255) + 1))
        fields[name] = int(rng.choice([0, 1, near, most])) if most < 1 << 63 else near << 3
    return fields


def answers(device):
    """Return what every descriptor comes to: status and served list; good queries between."""
    rng, found = np.random.default_rng(1), []
    session = Session(device, SPLIT, seed=3, depth=1, split=QUARTERS, memory_bytes=MEMORY_BYTES)
    query, request = session.query(items=40)
    for number in range(COUNT):
        fields = spoiled(rng)
        if fields.get("opcode") == Opcode.LOAD:
            fields["user_address"] = 0  # else an image that may be whole
        done = session.ask(request, fields=fields)
        assert done.ok or not done.ids.size, fields
        results = list(zip(done.ids.tolist(), done.logits.tolist(), done.ctr.tolist(), strict=True))
        found.append((fields, done.status, done.flags if done.ok else 0, results))
        if number % 10 == 0:
            flags = {"flags": number % 256}  # which the device ignores
            session.check(session.ask(request, fields=flags), query, f"after {fields}")
    return found


@pytest.mark.parametrize("flags", [1, 128, 255])
def test_flags_of_a_descriptor_are_ignored(flags):
    session = Session(SoftwareDevice(SPLIT, MEMORY_BYTES), SPLIT, seed=3, split=QUARTERS)
    query, request = session.query(items=20)
    session.check(session.ask(request, fields={"flags": flags}), query)


@pytest.mark.slow
def test_netlist_and_software_device_answer_alike():
    want = answers(SoftwareDevice(SPLIT, MEMORY_BYTES))
    with VerilatedDevice(
        SPLIT, memory_bytes=MEMORY_BYTES, library=build_simulator(SPLIT)
    ) as device:
        got = answers(device)
    for one, other in zip(got, want, strict=True):
        assert one == other
    statuses = {status for _, status, _, _ in got}
    assert len(statuses) >= 10 and {Status.OK, Status.BAD_TASK, Status.BAD_LANE} <= statuses
