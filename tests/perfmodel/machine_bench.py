"""Random loads on a Verilated machine, and the same loads for perfmodel.machine."""

from __future__ import annotations

import numpy as np

from rpaccel.golden.lane import run_query, survivors
from rpaccel.host.query import fetched_after
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.session import Session
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, Release, StageLoad
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.scheduler.shapes import compiled_shape, gather_stage
from rpaccel.spec.platform import MemoryTiming
from tests.host.funnel_machine import QUARTERS, SPLIT, random_ask

MEMORY_BYTES = 1 << 22


def load_of(session, query, request, arrival, name):
    """Return the load that a query is, and the shapes of its stages by name."""
    golden = run_query(query, session.rankers, session.config)
    user = np.frombuffer(query.user_record, np.uint8)[None, :]
    stages, shapes = [], {}
    for index, (scores, (slot, k)) in enumerate(zip(golden.stages, query.stages, strict=False)):
        ranker, tasks = session.rankers[slot], query.tasks_of(index)
        model = f"{name}.{index}"
        shapes[model] = compiled_shape(
            session.compiled, ranker.name, user, query.features[scores.ids]
        )
        releases = ()
        if index < len(query.stages) - 1:
            found = survivors(scores, ranker, k, tasks, query.survivor_limit, index == 0)
            releases = tuple(
                Release.of(len(each.ids), each.bins_scanned, each.passes) for each in found
            )
        stages.append(
            StageLoad(
                model=model, k=k, tasks=tasks, lanes=request.lanes, releases=releases,
                sub_batch=request.sub_batch,
            )
        )  # fmt: skip
    # a stage that nothing reached still counts as one
    for slot, k in query.stages[len(stages) :]:
        model = f"{name}.{len(stages)}"
        shapes[model] = compiled_shape(session.compiled, session.rankers[slot].name)
        stages.append(StageLoad(model=model, k=k, lanes=request.lanes))
    load = QueryLoad(
        arrival=arrival,
        items=len(query.candidates),
        stages=tuple(stages),
        records=RecordSizes(user_bytes=len(query.user_record), item_bytes=query.features.shape[1]),
        top_n=query.top_n,
    )
    return load, shapes


def gathers_of(session, query, request, block):
    """Return what a query's stages gather. block : of its inputs."""
    user_address, list_address = session.driver.input_addresses(block)
    return tuple(
        gather_stage(
            session.compiled,
            session.rankers[query.stages[index][0]].name,
            index,
            user_record=query.user_record,
            user_address=user_address,
            features=query.features,
            features_address=request.features.address,
            list_address=list_address,
            ids=scores.ids,
            sub_batch=request.sub_batch,
        )
        for index, scores in enumerate(run_query(query, session.rankers, session.config).stages)
    )


def measure(seed, count, depth=16, gathers=None):
    """Run `count` random queries, all at once; return their completions, machine and loads.

    They arrive when the netlist fetched their descriptors, one after the other. gathers : a list
    that gets what each query's stages gather.
    """
    library = build_simulator(SPLIT)
    with VerilatedDevice(SPLIT, memory_bytes=MEMORY_BYTES, library=library) as device:
        session = Session(
            device, SPLIT, seed=seed, depth=depth, split=QUARTERS, memory_bytes=MEMORY_BYTES
        )
        latency = device.timing.read_latency_cycles
        asks = [random_ask(session) for _ in range(count)]
        tags = [session.driver.submit(request) for _, request in asks]
        completions = [session.driver.wait(tag) for tag in tags]
        for number, (completion, (query, _)) in enumerate(zip(completions, asks, strict=True)):
            session.check(completion, query, f"query {number}")
        if gathers is not None:
            found = enumerate(asks, start=1)  # the LOAD had the first block
            gathers += [gathers_of(session, *ask, block) for block, ask in found]
    fetched = fetched_after(completions)
    loads, shapes = [], {}
    for number, (query, request) in enumerate(asks):
        load, named = load_of(session, query, request, fetched[number], str(number))
        loads.append(load)
        shapes |= named
    machine = Machine(
        config=SPLIT,
        memory=MemoryTiming(latency_cycles=latency, source="the simulated memory"),
        lanes=dict.fromkeys(QUARTERS, shapes),
    )
    return completions, machine, loads
