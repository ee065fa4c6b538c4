"""`rpaccel run --stages 3`: retrieval, the small and the large ranker, beside two stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden.block_retrieval import retrieve_blocks
from rpaccel.golden.bootstrap import mean_interval, relative_difference
from rpaccel.golden.bucket_filter import bucket_filter
from rpaccel.golden.metrics import rank_items, set_recall
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.bus import Bus
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job import three_stages
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.netlist import MEMORY_BYTES, TOP_N, completion_json, difference
from rpaccel.main_job.progress import Progress
from rpaccel.main_job.quality import Scorers, make_scorers
from rpaccel.main_job.rankers import KEEP, CompiledJob, compile_job
from rpaccel.main_job.run_trace import Answered, RunTrace
from rpaccel.main_job.three_stages import DeviceLog, Vectors, item_vectors
from rpaccel.perfmodel.report import format_table
from rpaccel.results import RunFolder
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.quality import METRICS, Quality, Ranking, evaluate

__all__ = ["check_three_stages", "measure_three_stages", "run_three_stages"]

STEPS = 4
SIZES = (64, 128, 256, 512)  # rows found by the retrieval stage
TWO_STAGE = f"two stages: small -> {KEEP} -> large"
Ids = npt.NDArray[np.integer]


def check_three_stages(
    job: CompiledJob,
    device: Bus,
    vectors: Vectors,
    users: list[int],
    trace: RunTrace | None = None,
) -> list[dict[str, Any]]:
    """Compare a device's answer to every user's query with the golden one; return the answers.

    trace : gets the queries; the device then logs its tasks in memory.
    Raises RuntimeError with the first difference.
    """
    answers, answered = [], []
    log = DeviceLog() if trace else None
    asked = three_stages.answers(job, device, vectors, users, log)
    for user, completion in zip(users, asked, strict=True):
        found, want = three_stages.golden(job, vectors, user)
        wrong = difference(f"user {user}", completion, want)
        if wrong is not None:
            raise RuntimeError(f"the device is not bit-exact: {wrong}")
        answers.append(completion_json(user, completion))
        query = job.query(user, three_stages.STAGES, TOP_N)
        ranked = replace(query, candidates=found.ids.astype(np.uint32))
        answered.append(Answered(query=ranked, golden=want, completion=completion))
    if trace and log:
        images = [(job.compiled, (0,))]
        trace.add(images, answered, log.tasks, log.hits, retrieved=True)
    return answers


def run_three_stages(
    data: str,
    preset: str,
    queries: int,
    seed: int,
    out: Path,
    *,
    netlist: bool = True,
    trace: bool = False,
) -> list[dict[str, Any]]:
    """Run three-stage queries and measure what retrieval costs in quality.

    They run on the software device and, with `netlist`, on the preset's netlist in Verilator.
    trace : trace.json gets the netlist's timeline and the model's.
    Writes queries.json, three_stages.json, config.json and summary.json into `out`; returns the
    summary. Raises ValueError for a preset without an engine, RuntimeError if bits differ.
    """
    config = load_accelerator(preset)
    if not config.retrieval_queries:
        raise ValueError(f"preset must have a retrieval engine for three stages, not {preset!r}")
    progress, folder = Progress(STEPS + netlist), RunFolder(out)
    with progress.step(f"click log {data}, its two trained rankers, preset {preset}"):
        inputs = load_inputs(data, seed)
        users = [int(user) for user in inputs.some_users(queries, seed)]
        job, vectors = compile_job(inputs, config, seed), item_vectors(inputs)
        progress.note(
            f"corpus: {len(vectors.items)} items of {vectors.items.shape[1]} int8, "
            "the small ranker's embeddings"
        )
    with progress.step(f"{queries} users' queries of three stages on the software device"):
        device = SoftwareDevice(config, MEMORY_BYTES)
        answers = check_three_stages(job, device, vectors, users)
        progress.note(f"{queries} of {queries} queries bit-exact")
    if netlist:
        with progress.step("the same through the netlist in Verilator"):
            library = build_simulator(config, build_dir=BUILD_DIR, progress=progress.note)
            with VerilatedDevice(
                config, MemoryTiming(), memory_bytes=MEMORY_BYTES, library=library
            ) as simulated:
                picture = RunTrace(config, job.rankers, MemoryTiming()) if trace else None
                answers = check_three_stages(job, simulated, vectors, users, picture)
            if picture:
                picture.write(folder.path / "trace.json")
                progress.note(f"timeline: {folder.path}/trace.json (ui.perfetto.dev)")
            _tell_cycles(answers, progress, folder)
    folder.write_json("queries", answers)
    folder.figure("queries bit-exact", queries, "queries")
    with progress.step("quality on the hold-out beside two stages"):
        report = measure_three_stages(job, vectors, progress.note)
        folder.write_json("three_stages", report)
        progress.note(three_stage_text(report))
        for row in report["rows"]:
            folder.figure(f"NDCG@10 {row['name']}", round(row["ndcg@10"]["estimate"], 4), "")
    with progress.step("results"):
        folder.finish({"data": data, "preset": preset, "queries": queries, "seed": seed,
                       "stages": 3, "accelerator": config.model_dump(),
                       "data_sha256": inputs.log.digest})  # fmt: skip
        progress.note(f"see {out}")
    return folder.summary


def _tell_cycles(answers: list[dict[str, Any]], progress: Progress, folder: RunFolder) -> None:
    """Note the mean cycles of a query and of its stages, one query at a time."""
    total = round(np.mean([answer["total_cycles"] for answer in answers]))
    stages = np.mean(
        [[stage["stage_cycles"] for stage in answer["stages"]] for answer in answers], axis=0
    )
    progress.note(
        f"{len(answers)} of {len(answers)} queries bit-exact, {total} cycles each: retrieval "
        f"{stages[0]:.0f}, small {stages[1]:.0f}, large {stages[2]:.0f}"
    )
    folder.figure("a query of three stages", total, "cycles")


def measure_three_stages(
    job: CompiledJob, vectors: Vectors, note: Callable[[str], None]
) -> dict[str, Any]:
    """Return the int8 quality of three stages for every size of the first, beside two stages.

    lost : relative difference of NDCG@10 to two stages, paired over users. kept_top, kept_all :
    share of the items that two stages serve, and of those that their filter keeps, which retrieval
    finds. relevant : share of the held-out items. Each with its 95 % interval over users.
    """
    scorers, split = make_scorers(job), job.inputs.split
    two = scorers.funnel(("accelerator", "accelerator"), KEEP)
    base = evaluate(TWO_STAGE, two, split)
    note("two stages measured")
    chosen = {int(user): _small_keeps(scorers, int(user), KEEP) for user in split.test_users}
    served = {int(user): two(int(user), split.candidates(int(user)))[:TOP_N] for user in chosen}
    # as few items for the large ranker as three stages leave it: what is then due to retrieval
    few = evaluate(
        f"two stages: small -> {three_stages.KEEP} -> large",
        scorers.funnel(("accelerator", "accelerator"), three_stages.KEEP),
        split,
    )
    lost = relative_difference(few.values["ndcg@10"], base.values["ndcg@10"])
    rows = [
        {"name": TWO_STAGE, "k": 0} | _intervals(base),
        {"name": few.name, "k": 0, "lost": asdict(lost)} | _intervals(few),
    ]
    for k in SIZES:
        found = {
            user: retrieve_blocks(
                vectors.corpus(), [vectors.query(user, split.candidates(user), k)]
            )[0].ids
            for user in chosen
        }
        keep = min(three_stages.KEEP, k)
        three = evaluate(
            f"three: retrieval -> {k} -> small -> {keep} -> large",
            _behind(scorers, found, keep),
            split,
        )
        shares = {
            "kept_top": [set_recall(found[user], served[user]) for user in chosen],
            "kept_all": [set_recall(found[user], chosen[user]) for user in chosen],
            "relevant": [set_recall(found[user], split.relevant[user]) for user in chosen],
        }
        lost = relative_difference(three.values["ndcg@10"], base.values["ndcg@10"])
        rows.append(
            {"name": three.name, "k": k, "lost": asdict(lost)}
            | _intervals(three)
            | {name: asdict(mean_interval(np.array(each))) for name, each in shares.items()}
        )
    return {"users": len(chosen), "rows": rows}


def _small_keeps(scorers: Scorers, user: int, k: int) -> Ids:
    """Return what the small ranker's filter keeps of all candidates of a user."""
    candidates = scorers.job.inputs.split.candidates(user)
    return _filtered(scorers, user, candidates, k)


def _filtered(scorers: Scorers, user: int, ids: Ids, k: int) -> Ids:
    ranker = scorers.job.rankers[scorers.job.compiled.slot("small")]
    logits = scorers.integers["small"](user, ids.astype(np.int32)).astype(np.int64)
    return np.sort(bucket_filter(ids, logits, ranker.edges, ranker.threshold, k).ids)


def _behind(scorers: Scorers, found: dict[int, npt.NDArray[np.int64]], keep: int) -> Ranking:
    def ranking(user: int, candidates: npt.NDArray[np.int32]) -> Ids:
        kept = _filtered(scorers, user, found[user], keep)
        return rank_items(kept, scorers.integers["large"](user, kept.astype(np.int32)))

    return ranking


def _intervals(quality: Quality) -> dict[str, Any]:
    return {metric: asdict(quality.interval(metric)) for metric in METRICS}


def three_stage_text(report: dict[str, Any]) -> str:
    """Return the table of a report: means with 95 % intervals over users."""

    def cell(row: dict[str, Any], name: str, factor: float = 1.0, sign: str = "") -> str:
        if name not in row:
            return "-"
        values = [factor * row[name][part] for part in ("estimate", "low", "high")]
        digits = 4 if factor == 1 else 1
        mean, low, high = (f"{value:{sign}.{digits}f}" for value in values)
        return f"{mean} [{low}, {high}]"

    head = ["int8", "NDCG@10", "against two stages [%]", "of their 10 [%]",
            "of those kept [%]", "of the held-out [%]"]  # fmt: skip
    rows = [
        [row["name"], cell(row, "ndcg@10"), cell(row, "lost", 100, "+"), cell(row, "kept_top", 100),
         cell(row, "kept_all", 100), cell(row, "relevant", 100)]
        for row in report["rows"]
    ]  # fmt: skip
    return format_table(head, rows)
