"""The main job, step by step."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.verilated_device import build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.cocotb_check import build_cocotb, check_in_cocotb
from rpaccel.main_job.inputs import JobInputs, load_inputs
from rpaccel.main_job.netlist import (
    OVERLAPPED,
    STAGES,
    TOP_N,
    NetlistRun,
    completion_json,
    run_queries,
)
from rpaccel.main_job.predict import predict_overlap, predict_queries
from rpaccel.main_job.progress import Progress
from rpaccel.main_job.quality import METRICS, cached_quality, quality_rows
from rpaccel.main_job.rankers import CompiledJob, compile_job, describe
from rpaccel.main_job.report import write_report
from rpaccel.main_job.schedule import plan_job, profile_inputs
from rpaccel.perfmodel.report import format_table
from rpaccel.perfmodel.timeline import machine_events
from rpaccel.perfmodel.trace_events import trace_json
from rpaccel.results import RunFolder
from rpaccel.rtl.netlist import system_netlist
from rpaccel.scheduler.choice_text import choice_json, explanation
from rpaccel.spec.accelerator import load_accelerator

BUILD = BUILD_DIR
STEPS = 8


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """What the main job is asked to do."""

    data: str
    preset: str
    queries: int
    cocotb_queries: int
    load_qps: float
    sla_ms: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.cocotb_queries <= self.queries:
            raise ValueError(
                f"cocotb_queries must be in 0..{self.queries}, not {self.cocotb_queries}"
            )
        for name in ("load_qps", "sla_ms"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}")


def run_job(ask: JobConfig, out: Path) -> list[dict[str, Any]]:
    """Run the main job into `out` and return its summary; raises RuntimeError if bits differ."""
    config = load_accelerator(ask.preset)
    progress, folder = Progress(STEPS), RunFolder(out)
    with progress.step(f"click log {ask.data} and its two trained rankers"):
        inputs = load_inputs(ask.data, ask.seed)
        users = [int(user) for user in inputs.some_users(ask.queries, ask.seed)]
        _describe_inputs(inputs, progress)
    with progress.step(f"int8, memory image and stage program for preset {config.name}"):
        job = compile_job(inputs, config, ask.seed)
        for name, quantisation in job.quantisations.items():
            progress.note(f"{name}: {describe(quantisation)}")
        progress.note(f"image {len(job.compiled.image)} bytes, {len(job.compiled.tables)} tables")
        folder.write_json("manifest", job.compiled.manifest)
    with ThreadPoolExecutor(2) as background:  # compilers work while NumPy measures quality
        with progress.step("Verilog of the whole accelerator"):
            netlist = system_netlist(config, build_dir=BUILD, progress=progress.note)
            progress.note(f"{netlist.verilog.name}: {netlist.modules} modules")
            library = background.submit(
                build_simulator, config, build_dir=BUILD, progress=progress.note
            )
            cocotb = background.submit(build_cocotb, config, ask.cocotb_queries, progress)
        with progress.step("quality on the hold-out (simulators are built meanwhile)"):
            quality, hit = cached_quality(job, BUILD / "cache", progress.note)
            _describe_quality(quality, hit, progress, folder)
        with progress.step(f"{ask.queries} users' queries through the netlist in Verilator"):
            run = run_queries(
                job,
                library.result(),
                users,
                MemoryTiming(),
                lambda done, total: progress.count(done, total, "bit-exact"),
            )
            progress.note(
                f"{len(run.users)} of {ask.queries} queries bit-exact: ids, logits, CTRs, counts; "
                f"{run.cycles} cycles at {run.cycles_per_second:.0f} cycles/s"
            )
            each = round(run.overlapped_cycles / len(run.users))
            progress.note(f"again with {OVERLAPPED} in flight, bit-exact: {each} cycles per query")
            folder.figure("with several in flight", each, "cycles/query")
            folder.write_json(
                "queries",
                [completion_json(u, c) for u, c in zip(run.users, run.completions, strict=True)],
            )
        with progress.step(f"{ask.cocotb_queries} of them again under cocotb with cocotbext-axi"):
            check_in_cocotb(
                cocotb.result(),
                {"data": ask.data, "preset": ask.preset, "seed": ask.seed,
                 "count": ask.cocotb_queries},
                run, MemoryTiming(), progress, folder,
            )  # fmt: skip
    with progress.step("predicted against measured cycles; the scheduler's choice"):
        _predict(job, run, progress, folder)
        _schedule(ask, job, quality, progress, folder)
    with progress.step("results"):
        _recommend(job, run, progress, folder)
        folder.figure("queries bit-exact", len(run.users), "queries")
        folder.figure("simulation speed", round(run.cycles_per_second), "cycles/s")
        folder.write_json("seconds", progress.seconds)
        folder.finish(
            asdict(ask) | {"accelerator": config.model_dump(), "data_sha256": inputs.log.digest}
        )
        progress.note(f"see {write_report(out)}")
    print(f"bit-exact: {len(run.users)} queries; done in {progress.elapsed_s:.0f} s")
    return folder.summary


def _describe_inputs(inputs: JobInputs, progress: Progress) -> None:
    log, split = inputs.log, inputs.split
    progress.note(
        f"{log.interactions.height} ratings, {log.user_count} users, {log.item_count} items; "
        f"hold-out per user: {split.held_out.height} ratings, {len(split.test_users)} users with a "
        f"relevant one, {split.excluded_users} without (excluded)"
    )
    for name, ranker in inputs.rankers.items():
        config = ranker.config
        progress.note(
            f"{name}: {config.vectors} vectors of {config.dim}, bottom {config.bottom}, "
            f"top {config.top}"
        )


def _describe_quality(
    quality: dict[str, Any], hit: bool, progress: Progress, folder: RunFolder
) -> None:
    if hit:
        progress.note("nothing changed: taken from the cache")
    header = ["ranking", *METRICS]
    progress.note(format_table(header, quality_rows(quality)))
    for name, gap in quality["differences"].items():
        progress.note(
            f"NDCG@10, {name}: {100 * gap['estimate']:+.1f} % "
            f"[{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]"
        )
    for name, metrics in quality["rows"].items():
        folder.figure(f"NDCG@10 {name}", round(metrics["ndcg@10"]["estimate"], 4), "")
    folder.write_json("quality", quality)


def _predict(job: CompiledJob, run: NetlistRun, progress: Progress, folder: RunFolder) -> None:
    table, means, timeline = predict_queries(job, run, MemoryTiming())
    progress.note(table.to_text())
    progress.note(
        f"told only how many rows a record names on average: worst total "
        f"{100 * means.worst_total:.2f} %"
    )
    folder.write_json("prediction", table.to_json())
    folder.write_json("prediction_means", means.to_json())
    folder.write_json("timeline", timeline)
    machine = predict_overlap(job, run, MemoryTiming())
    error = 100 * (machine.cycles / run.overlapped_cycles - 1)
    progress.note(
        f"{OVERLAPPED} in flight, by the model of the machine: {machine.cycles} cycles, "
        f"{error:+.2f} %; both in trace.json (ui.perfetto.dev)"
    )
    folder.figure("prediction error, several in flight", round(error, 2), "%")
    tags = [completion.tag for completion in run.overlapped]
    model = machine_events(machine, process=3, start=min(run.fetched), tags=tags)
    (folder.path / "trace.json").write_text(trace_json(run.events, model))
    folder.figure("worst prediction error per query", round(100 * table.worst_total, 2), "%")
    if not table.passed:
        raise RuntimeError(
            f"the performance model must be within 5 % of every query, "
            f"not {100 * table.worst_total:.1f} %"
        )


def _schedule(
    ask: JobConfig, job: CompiledJob, quality: dict[str, Any], progress: Progress, folder: RunFolder
) -> None:
    profile = profile_inputs(job.inputs, ask.data)
    (folder.path / "profile_cpu.json").write_text(profile.to_text())
    choice = plan_job(job, quality, profile, qps=ask.load_qps, sla_ms=ask.sla_ms, seed=ask.seed)
    progress.note(f"at {ask.load_qps:g} queries/s and p99 <= {ask.sla_ms:g} ms:")
    progress.note(explanation(choice))
    folder.write_json("schedule", choice_json(choice))


def _recommend(job: CompiledJob, run: NetlistRun, progress: Progress, folder: RunFolder) -> None:
    """Show the user with the most hits beside the films that user really rated highly later."""
    split, log = job.inputs.split, job.inputs.log
    hits = [
        len(np.intersect1d(completion.ids, split.relevant[user]))
        for user, completion in zip(run.users, run.completions, strict=True)
    ]
    best = int(np.argmax(hits))
    user, completion = run.users[best], run.completions[best]
    relevant = {int(item) for item in split.relevant[user]}
    served = [
        {
            "title": log.title(int(item)),
            "ctr": round(float(ctr) / 65535, 3),
            "hit": int(item) in relevant,
        }
        for item, ctr in zip(completion.ids, completion.ctr, strict=True)
    ]
    later = [log.title(item) for item in sorted(relevant)]
    folder.write_json(
        "recommendation",
        {
            "user": user,
            "served": served,
            "later": later,
            "hits_per_user": hits,
            "chosen": "the user with the most hits among those simulated",
        },
    )
    progress.note(f"user {user} (most hits of the {len(hits)} simulated), ten recommended titles:")
    for row in served:
        progress.note(f"  {'*' if row['hit'] else ' '} {row['title']}  (CTR {row['ctr']:.3f})")
    progress.note(f"* rated 4 or 5 later; so were {len(later) - max(hits)} others")
    progress.note(f"hits among ten, all simulated users: mean {np.mean(hits):.2f}")
    assert len(STAGES) == 2 and len(served) == TOP_N
