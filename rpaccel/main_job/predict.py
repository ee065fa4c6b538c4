"""Predicted against measured cycles of the queries that ran on the netlist."""

from __future__ import annotations

from typing import Any

import numpy as np

from rpaccel.golden.lane import QueryResult
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.driver import Completion
from rpaccel.main_job.netlist import STAGES, TOP_N, NetlistRun
from rpaccel.main_job.rankers import CompiledJob
from rpaccel.perfmodel.report import QueryReport
from rpaccel.perfmodel.validate import ErrorTable, error_table
from rpaccel.scheduler.shapes import bins_scanned, predict_request
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
) -> tuple[ErrorTable, dict[str, Any]]:
    """Return the error table of all queries, and the timeline of the first."""
    predictions = [
        predict_query_of(job, user, golden, timing)
        for user, golden in zip(run.users, run.golden, strict=True)
    ]
    table = error_table(predictions, [counters(c) for c in run.completions])
    return table, timeline(predictions[0], run.completions[0])


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
