from dataclasses import replace

import numpy as np

from rpaccel.host.row_model import ModelPoint, machine
from rpaccel.host.row_simulator import RowRun, rows_of
from rpaccel.main_job.netlist import STAGES, TOP_N
from rpaccel.main_job.row_model_page import row_model_text
from rpaccel.main_job.row_traffic import TrafficRow, criteo_rows, log_rows, merged_in_flight
from rpaccel.perfmodel.row_banks import RowReport, row_slots
from rpaccel.spec.accelerator import load_accelerator

EDGE = load_accelerator("edge")
RUN = RowRun(
        pinned=0, updates=0, stale=0, update_cycles=0,
    cycles=1000, rows=100, beats=100, errors=0, hits=50, merged=10, misses=40, refused=0,
    evictions=0, prefetches=0, dropped=0, used=0, late=0, unused=0, port_beats=(40,),
)  # fmt: skip
REPORT = RowReport(
    cycles=1100, beats=100, exposed_cycles=1000, pinned=0, hits=50, merged=10, misses=40, refused=0,
    evictions=0, prefetches=0, dropped=0, used=0, late=0, unused=0, port_beats=(40,),
)  # fmt: skip
POINT = ModelPoint(
    machine="edge", kind="zipf", readers=1, row_beats=1, memory="8", rtl=RUN, model=REPORT,
    rtl_exposed_cycles=900,
)  # fmt: skip
TRAFFIC = TrafficRow(
    trace="log, 4 queries", machine="edge", memory="simple", rows=100, asked=100, in_flight=80,
    pins=0, rtl=RUN, model=REPORT,
)  # fmt: skip


def test_rows_of_a_log_are_those_of_its_records(job):
    """In any order: the user's ids once per stage, the items' ids for each; at their tables."""
    users = [int(user) for user in job.inputs.some_users(2, seed=0)]
    rows = log_rows(job, users)
    data, expected = job.inputs.features, []
    for user in users:
        scored = job.golden(user, STAGES, TOP_N).stages
        for (name, _), stage in zip(STAGES, scored, strict=True):
            for table in (t for t in job.compiled.tables if t.model == name):
                (feature,) = (f for f in data.schema.features if f.name == table.feature)
                who = [user] if feature.side == "user" else stage.ids
                ids = data.ids[feature.name][who].astype(np.int64).reshape(-1)
                for address in table.address + ids[ids >= 0] * table.row_bytes:
                    beats = max(1, table.row_bytes // job.config.beat_bytes)
                    expected.append((address, beats, table.row_bytes, name == STAGES[1][0]))
    columns = (rows[field].tolist() for field in ("address", "beats", "bytes", "stage"))
    assert sorted(zip(*columns, strict=True)) == sorted(expected)


def test_rows_of_criteo():
    config, _ = machine("default")
    rows = criteo_rows(config, 0, (16, 4), seed=1)
    assert len(rows) == 26 * 20
    assert set(rows["beats"].tolist()) == {1}
    small, large = rows[: 26 * 16], rows[26 * 16 :]
    assert set(small["stage"].tolist()) == {0} and set(large["stage"].tolist()) == {1}
    assert set(small["bytes"].tolist()) == {4} and set(large["bytes"].tolist()) == {32}
    assert small["address"].max() < large["address"].min()  # other tables
    assert not (large["address"] % 32).any()
    # the first items again, by their rows' numbers
    behind = large["address"] // 32 - small["address"][: 26 * 4] // 4
    assert np.ptp(behind) == 0


def test_merged_in_flight_of_a_known_trace():
    slots = row_slots(EDGE)
    others = 16 * np.arange(100, 100 + slots)
    near, far = others[: slots - 1], others
    trace = np.concatenate([[0], near, [0], far, [0]])
    beats = np.full(len(trace), 2)
    beats[trace == 0] = 3
    # the second is still on its way; then too many others came, some of which are still there
    rows = rows_of(trace, beats)
    read = merged_in_flight(EDGE, [rows])
    assert read == 3 + 2 * (slots - 1) + 2 + 3
    inside = rows_of(trace[:1] + 4, beats[:1])  # another row of the same beat
    assert merged_in_flight(EDGE, [rows[:1], inside]) == 3


def test_page():
    text = row_model_text(
        [POINT, replace(POINT, model=replace(REPORT, cycles=1000))],
        [TRAFFIC, replace(TRAFFIC, pins=7, rtl=replace(RUN, pinned=30, hits=20))],
        2.5e6,
    )
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["cycles", "2", "5.00", "5.00", "9.50", "10.00"] in lines
    assert ["exposed", "2", "11.11", "11.11", "11.11", "11.11"] in lines
    assert "0 of 2 points are equal" in text
    assert "2.50 million beats per second" in text
    same = ["40", "60.0", "40", "1,000", "1,100"]  # read, saved, and the cycles
    assert ["log, 4 queries", "simple", "100", "100", "80", "20.0", *same] in lines
    assert lines[-1] == ["log, 4 queries", "simple", "7", "100", "30", "30", *same]
    assert sum(line[:1] == ["log, 4 queries"] for line in lines) == 2
