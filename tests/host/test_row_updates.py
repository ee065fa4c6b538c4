"""Rows that change while queries run: the driver's queue on the netlist and the software device."""

import threading

import numpy as np
import pytest

from rpaccel.host.compile import RowUpdate
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.update_queue import PlacedUpdate
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from rpaccel.spec.registers import ADDRESS

TINY = load_accelerator("tiny")


@pytest.fixture(params=["software", "netlist"])
def device(request):
    if request.param == "software":
        yield SoftwareDevice(TINY, MEMORY_BYTES)
        return
    with VerilatedDevice(TINY, memory_bytes=MEMORY_BYTES, library=build_simulator(TINY)) as device:
        yield device


def counts(device):
    names = ("UPDATES_APPLIED", "UPDATES_STALE", "UPDATES_FAILED")
    return tuple(device.read_register(ADDRESS[name]) for name in names)


def random_update(session, version, slot=None):
    """Return an update of a random row, and the golden table that it is for."""
    rng = session.rng
    ranker = session.rankers[rng.integers(len(session.rankers)) if slot is None else slot]
    feature = ranker.features[rng.integers(len(ranker.features))]
    row = int(rng.integers(feature.rows))
    values = rng.integers(-127, 128, ranker.dim, dtype=np.int8)
    update = RowUpdate(
        model=ranker.name, feature=feature.name, row=row, values=values, version=version
    )
    return update, feature.table


def test_queries_see_the_rows_that_were_updated(device):
    session = Session(device, TINY, seed=3, update_depth=4)
    session.run([30, 64])
    for version in range(1, 5):
        tickets = []
        for _ in range(25):
            update, table = random_update(session, 0)
            table[update.row] = update.values
            update = RowUpdate(**{**update.__dict__, "version": 100 * version + len(tickets)})
            tickets.append(session.driver.submit_update(update))
        assert [session.driver.wait_update(ticket) for ticket in tickets] == [Status.OK] * 25
        session.run([30, 64, 1])
    assert counts(device) == (100, 0, 0)
    assert session.driver.updates.in_flight == 0


def test_the_greatest_version_of_a_row_stays(device):
    session = Session(device, TINY, seed=4, update_depth=2)
    update, table = random_update(session, 1)
    got = {}
    for version in (5, 3, 5, 9, 1, 2**32 - 1, 10):
        values = np.full_like(update.values, version % 100)
        changed = RowUpdate(**{**update.__dict__, "version": version, "values": values})
        got[version] = session.driver.wait_update(session.driver.submit_update(changed))
        if got[version] is Status.OK:
            table[update.row] = values
        session.run([20])
    assert [version for version, status in got.items() if status is Status.OK] == [9, 2**32 - 1]
    assert got[5] is got[3] is got[1] is got[10] is Status.STALE
    assert counts(device) == (3, 4, 0)


def test_many_writers_while_queries_run(device):
    """Threads send the versions of the same rows in an order of their own."""
    session = Session(device, TINY, seed=5, update_depth=4)
    updates, tables = zip(*(random_update(session, 1) for _ in range(6)), strict=True)
    values = np.random.default_rng(6).integers(-127, 128, (6, 31, 128), dtype=np.int8)
    failures = []

    def writer(seed):
        rng = np.random.default_rng(seed)
        for number in rng.permutation(np.repeat(np.arange(6), 10)):
            version = 3 * int(rng.integers(10)) + seed + 1
            update = updates[number]
            changed = {
                **update.__dict__,
                "version": version,
                "values": values[number, version, : update.values.size],
            }
            status = session.driver.wait_update(session.driver.submit_update(RowUpdate(**changed)))
            if status is Status.OK:
                applied[number].append(version)
            elif status is not Status.STALE:
                failures.append(status)

    applied = [[] for _ in updates]
    threads = [threading.Thread(target=writer, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    completions = []
    while not completions or any(thread.is_alive() for thread in threads):
        _, request = session.query(items=20)
        completions.append(session.ask(request))
        session.driver.release_feature_table(request.features)
    for thread in threads:
        thread.join()
    assert not failures and completions and all(completion.ok for completion in completions)
    for number, (update, table) in enumerate(zip(updates, tables, strict=True)):
        same = [n for n, (u, t) in enumerate(zip(updates, tables, strict=True))
                if t is table and u.row == update.row]  # fmt: skip
        greatest, writer_of = max((max(applied[n]), n) for n in same)
        table[update.row] = values[writer_of, greatest, : update.values.size]
        assert len(set(applied[number])) == len(applied[number])
    session.run([64, 64, 10])
    assert sum(counts(device)) == 180


def test_bad_updates_get_a_status_and_change_nothing(device):
    session = Session(device, TINY, seed=7, update_depth=4)
    queue, table = session.driver.updates, session.compiled.tables[0]
    row = table.address + 3 * table.row_bytes
    good = bytes(table.row_bytes)
    cases = [
        (PlacedUpdate(address=row, payload=bytes(12)), Status.BAD_UPDATE),
        (PlacedUpdate(address=row, payload=bytes(2)), Status.BAD_UPDATE),
        (PlacedUpdate(address=row, payload=bytes(32)), Status.BAD_UPDATE),
        (PlacedUpdate(address=row + 2, payload=good), Status.BAD_UPDATE),
        (
            PlacedUpdate(
                address=row, payload=good, version=1, version_address=table.versions_address + 1
            ),
            Status.BAD_UPDATE,
        ),
        (PlacedUpdate(address=row + (1 << 40), payload=good), Status.REGION),
        (PlacedUpdate(address=0, payload=good), Status.REGION),
        (PlacedUpdate(address=session.compiled.image_address, payload=good), Status.REGION),
        (PlacedUpdate(address=row, payload=good, version=1, version_address=16), Status.REGION),
    ]
    for update, status in cases:
        assert queue.wait(queue.submit(update, validate=False)) is status, update
    assert counts(device) == (0, 0, len(cases))
    session.recover()
    with pytest.raises(ValueError, match=r"row bytes must be a power of two in 4\.\.16, not 12"):
        queue.submit(cases[0][0])
    with pytest.raises(ValueError, match="row address must be a multiple of"):
        queue.submit(cases[3][0])
    with pytest.raises(ValueError, match="ticket must be of an open update, not 99"):
        queue.wait(99)


def test_a_failed_write_is_told_and_leaves_the_device_alive():
    with VerilatedDevice(TINY, memory_bytes=MEMORY_BYTES, library=build_simulator(TINY)) as device:
        session = Session(device, TINY, seed=8, update_depth=4)
        update, _ = random_update(session, 1)
        placed = session.compiled.place_update(update)
        device.inject_fault(placed.address, placed.address + 4, reads=False)
        ticket = session.driver.submit_update(update)
        assert session.driver.wait_update(ticket) is Status.MEMORY
        device.clear_faults()
        device.inject_fault(placed.version_address, placed.version_address + 4, writes=False)
        ticket = session.driver.submit_update(update)
        assert session.driver.wait_update(ticket) is Status.MEMORY
        device.clear_faults()
        assert session.driver.wait_update(session.driver.submit_update(update)) is Status.OK
        assert counts(device) == (1, 0, 2)
        name, feature = update.model, update.feature
        ranker = next(r for r in session.rankers if r.name == name)
        next(f for f in ranker.features if f.name == feature).table[update.row] = update.values
        session.run([64, 64])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "model must be loaded before its rows are updated, not 'other'"),
        ({"feature": "other"}, "feature of small must be one of .*, not 'other'"),
        ({"row": -1}, r"row must be in 0\.\.\d+, not -1"),
        ({"version": 0}, r"version must be in 1\.\.4294967295, not 0"),
        ({"values": np.zeros(3, np.int8)}, r"values must be int8\[\d+\], not int8\[3\]"),
    ],
)
def test_bad_calls(change, message):
    session = Session(SoftwareDevice(TINY, MEMORY_BYTES), TINY, seed=3, update_depth=4)
    update, _ = random_update(session, 1, slot=0)
    with pytest.raises(ValueError, match=message):
        session.driver.submit_update(RowUpdate(**{**update.__dict__, **change}))


def test_models_that_are_not_live_take_no_updates():
    session = Session(SoftwareDevice(TINY, MEMORY_BYTES), TINY, seed=3)
    update, _ = random_update(session, 1)
    with pytest.raises(ValueError, match="update_depth must be at least 1 for row updates, not 0"):
        session.driver.submit_update(update)
    with pytest.raises(ValueError, match="must be compiled with live=True for row updates"):
        session.compiled.place_update(update)
