"""Predicted against measured cycles of the queries that ran on the netlist."""

from __future__ import annotations

from typing import Any

import numpy as np

from rpaccel.golden.lane import QueryResult
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.driver import Completion
from rpaccel.host.row_memory import row_memory
from rpaccel.main_job.netlist import STAGES, TOP_N, NetlistRun
from rpaccel.main_job.rankers import CompiledJob
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine, QueryLoad, Release, StageLoad
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.report import QueryReport
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.perfmodel.traced_query import TracedLane
from rpaccel.perfmodel.validate import ErrorTable, error_table
from rpaccel.scheduler.shapes import (
    bins_scanned,
    compiled_shape,
    predict_request,
    traced_request,
)
from rpaccel.spec.platform import MemoryTiming as ModelTiming


def predict_query_of(
    job: CompiledJob, user: int, golden: QueryResult, timing: MemoryTiming
) -> QueryReport:
    """Return the predicted cycles of `user`'s two-stage query.

    golden : which candidates entered each stage, and how many bins the filter looked at.
    """
    first = golden.stages[0]
    small = job.rankers[job.compiled.slot("small")]
    passed = first.logits[first.logits >= small.threshold]
    return predict_request(
        job.compiled,
        ModelTiming(latency_cycles=timing.read_latency_cycles, source="the simulated memory"),
        user_record=job.user_records[user].tobytes(),
        features=job.feature_table,
        candidates=[stage.ids for stage in golden.stages],
        models=[name for name, _ in STAGES],
        top_n=TOP_N,
        scans=[bins_scanned(passed, small.edges, STAGES[0][1])],
    )


def counters(completion: Completion) -> dict[str, int]:
    """Return the cycle fields of a completion by their names in spec.isa.COMPLETION."""
    fields = {"total_cycles": completion.total_cycles, "status": int(completion.status)}
    for name in (
        "items",
        "stage_cycles",
        "gather_cycles",
        "array_cycles",
        "interaction_cycles",
        "filter_cycles",
    ):
        for stage, value in enumerate(getattr(completion, name)):
            fields[f"{name}{stage}"] = value
    return fields


def predict_queries(
    job: CompiledJob, run: NetlistRun, timing: MemoryTiming
) -> tuple[ErrorTable, ErrorTable, dict[str, Any]]:
    """Return the error tables of the model that is told the records and of that told their means.

    The third is the timeline of the first query, by the former.
    """
    means = [
        predict_query_of(job, user, golden, timing)
        for user, golden in zip(run.users, run.golden, strict=True)
    ]
    records = predict_records(job, run, timing)
    measured = [counters(completion) for completion in run.completions]
    tables = error_table(records, measured), error_table(means, measured)
    return *tables, timeline(records[0], run.completions[0])


def predict_records(job: CompiledJob, run: NetlistRun, timing: MemoryTiming) -> list[QueryReport]:
    """Return the cycles of the queries, one after another, by the model told their records."""
    user_address, list_address, features_address = run.places
    small, found = job.rankers[job.compiled.slot("small")], []
    with row_memory(job.config, timing) as memory:
        lane = TracedLane(job.config, memory)
        for user, golden in zip(run.users, run.golden, strict=True):
            logits = golden.stages[0].logits
            passed = logits[logits >= small.threshold]
            stages = traced_request(
                job.compiled,
                user_record=job.user_records[user].tobytes(),
                user_address=user_address,
                features=job.feature_table,
                features_address=features_address,
                list_address=list_address,
                candidates=[stage.ids for stage in golden.stages],
                models=[name for name, _ in STAGES],
                scans=[bins_scanned(passed, small.edges, STAGES[0][1])],
            )
            found.append(lane.query(stages))
    return found


def predict_overlap(job: CompiledJob, run: NetlistRun, timing: MemoryTiming) -> MachineReport:
    """Return what the model of a machine says of the queries that were in flight together.

    They arrive when the netlist fetched them; cycle 0 is the first fetch. Sub-batches are in it.
    """
    small = job.rankers[job.compiled.slot("small")]
    shapes: dict[str, ModelShape] = {}
    loads = []
    for number, (user, golden) in enumerate(zip(run.users, run.golden, strict=True)):
        record = np.ascontiguousarray(job.user_records[user])
        for index, (name, _) in enumerate(STAGES):
            items = job.feature_table[golden.stages[index].ids]
            shapes[f"{number}.{index}"] = compiled_shape(job.compiled, name, record[None, :], items)
        logits = golden.stages[0].logits
        passed = logits[logits >= small.threshold]
        scanned = bins_scanned(passed, small.edges, STAGES[0][1])
        release = Release.of(len(golden.stages[1].ids), scanned)
        loads.append(
            QueryLoad(
                arrival=run.fetched[number] - min(run.fetched),
                items=len(golden.stages[0].ids),
                stages=tuple(
                    StageLoad(
                        model=f"{number}.{index}", k=k, releases=(release,) if index == 0 else ()
                    )
                    for index, (_, k) in enumerate(STAGES)
                ),
                records=RecordSizes(
                    user_bytes=record.nbytes, item_bytes=job.feature_table.shape[1]
                ),
                top_n=TOP_N,
            )
        )
    memory = ModelTiming(latency_cycles=timing.read_latency_cycles, source="the simulated memory")
    machine = Machine(config=job.config, memory=memory, lanes={0: shapes})
    return simulate(machine, loads, sub_batches=True)


def timeline(report: QueryReport, completion: Completion) -> dict[str, Any]:
    """Return spans of one query: modelled sub-batches, and the netlist's stages beside them."""
    spans: list[dict[str, Any]] = []
    start, measured = report.start_cycles, 0
    for index, stage in enumerate(report.stages):
        for batch in stage.sub_batches:
            spans += [
                {"unit": "gather", "stage": index, "start": start + batch.gather_start,
                 "end": start + batch.gather_end},
                {"unit": "compute", "stage": index, "start": start + batch.compute_start,
                 "end": start + batch.compute_end},
            ]  # fmt: skip
        spans.append(
            {"unit": "stage (model)", "stage": index, "start": start,
             "end": start + stage.stage_cycles}
        )  # fmt: skip
        spans.append(
            {"unit": "stage (netlist)", "stage": index, "start": measured,
             "end": measured + completion.stage_cycles[index]}
        )  # fmt: skip
        start += stage.stage_cycles
        measured += completion.stage_cycles[index]
    return {
        "predicted_cycles": report.total_cycles,
        "measured_cycles": completion.total_cycles,
        "stages": [
            {
                "predicted": {
                    "gather": stage.gather_cycles,
                    "array": stage.array_cycles,
                    "interaction": stage.interaction_cycles,
                    "filter": stage.filter_cycles,
                },
                "measured": {
                    "gather": completion.gather_cycles[index],
                    "array": completion.array_cycles[index],
                    "interaction": completion.interaction_cycles[index],
                    "filter": completion.filter_cycles[index],
                },
            }
            for index, stage in enumerate(report.stages)
        ],
        "spans": spans,
    }


def mean_cycles(run: NetlistRun) -> float:
    """Return the mean cycles of a query."""
    return float(np.mean([completion.total_cycles for completion in run.completions]))
