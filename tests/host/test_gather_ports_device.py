"""A whole machine whose lane has four gather ports."""

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import MEMORY_BYTES, Session
from rpaccel.main_job.validation import validation_config
from rpaccel.rtl.memory_fabric import LaneReader, lane_reader, requester_names
from rpaccel.scheduler.shapes import bins_scanned, predict_request
from rpaccel.spec.platform import MemoryTiming as PlatformTiming

CONFIG = validation_config("four gather ports")
TIMINGS = {
    "default": MemoryTiming(),
    "stalls": MemoryTiming(jitter_cycles=9, stall_per_mille=300, in_order=False, seed=3),
}


def test_readers_of_a_lane():
    assert CONFIG.gather_ports == 4
    records = [lane_reader(CONFIG, 0, LaneReader.RECORD, port) for port in range(4)]
    assert records == [1, 2, 3, 4]
    names = requester_names(CONFIG)
    assert names[:6] == ["lane0_list", *(f"lane0_record{n}" for n in range(4)), "lane0_ahead"]
    assert names[6:9] == ["descriptor", "image", "update"]


@pytest.fixture(scope="module")
def library():
    return build_simulator(CONFIG)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", TIMINGS)
def test_queries_match_golden(library, name):
    with VerilatedDevice(
        CONFIG, TIMINGS[name], memory_bytes=MEMORY_BYTES, library=library
    ) as device:
        session = Session(device, CONFIG, seed=11 + list(TIMINGS).index(name))
        session.run([1, 2, 64, 17, 33, 3, 5, 64])


@pytest.mark.nightly
@pytest.mark.slow
def test_cycles_beside_the_model(library):
    timing = PlatformTiming(latency_cycles=32, source="host.axi_memory.MemoryTiming")
    with VerilatedDevice(CONFIG, memory_bytes=MEMORY_BYTES, library=library) as device:
        session = Session(device, CONFIG, seed=13)
        errors = []
        for items in (1, 5, 17, 64):
            query, request = session.query(items=items)
            measured = session.ask(request).total_cycles
            golden = run_query(query, session.rankers, CONFIG)
            predicted = predict_request(
                session.compiled, timing, user_record=query.user_record,
                features=query.features, candidates=[stage.ids for stage in golden.stages],
                models=[session.compiled.names[slot] for slot, _ in query.stages],
                top_n=query.top_n,
                scans=[
                    bins_scanned(stage.logits, session.rankers[slot].edges, k)
                    for stage, (slot, k) in zip(golden.stages, query.stages, strict=True)
                ],
            ).total_cycles  # fmt: skip
            errors.append(predicted / measured - 1)
            print(items, "items:", predicted, "predicted", measured, "measured")
    assert np.abs(errors).max() < 0.05
