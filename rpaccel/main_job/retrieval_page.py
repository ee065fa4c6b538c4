"""The page of the retrieval study: `rpaccel retrieval-study`."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.retrieval_board_page import PAPER_QUERIES, board_sections, goal_batch
from rpaccel.main_job.retrieval_study import AGAIN, CLOCK_HZ, SWITCH_S, RetrievalStudy
from rpaccel.main_job.scan_gpu_page import gpu_section
from rpaccel.main_job.shard_runs import shard_study_text
from rpaccel.perfmodel.retrieval_board import ROW_BYTES
from rpaccel.perfmodel.retrieval_budget import CROSSING_BEATS, CROSSING_LUT
from rpaccel.perfmodel.retrieval_latency import (
    answer_bound_cycles,
    overrun_bound_cycles,
    pass_deviation,
    scan_latency_s,
)
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["retrieval_text", "retrieval_values"]


def retrieval_values(study: RetrievalStudy) -> dict[str, Any]:
    """Return the figures for JSON."""
    values = asdict(study)
    values["constants"] = [
        {"channels": channels, "beat_bytes": beat, **asdict(constant), "total": constant.total}
        for (channels, beat), constant in study.constants.items()
    ]
    values["costs"] = [
        {
            "channels": channels,
            "beat_bytes": beat,
            "products_per_dsp": products,
            "filter": asdict(costs.filter),
            "units": {
                name: {"areas": [asdict(area) for area in unit.areas], "growth": unit.growth.value}
                for name, unit in costs.units.items()
            },
        }
        for (channels, beat, products), costs in study.costs.items()
    ]
    return values


def retrieval_text(study: RetrievalStudy) -> str:
    """Return the page; the same study gives the same bytes."""
    board, goals = board_sections(study)
    goals = [_pass_goal(study), *goals]
    return "\n".join(
        [
            _HEAD.format(rows=study.rows, k=study.k, clock=CLOCK_HZ / 1e6),
            "## Goals\n\n" + "".join(f"* {goal}\n" for goal in goals),
            _constants(study),
            _passes(study),
            _memory(study),
            board,
            _faiss(study),
            gpu_section(study.gpu, study.constants[16, 32].total, CLOCK_HZ, _batches(study)),
            _scale(study),
            shard_study_text(study.simulated),
            _ASSUMPTIONS.format(switch=1e9 * SWITCH_S, crossing=CROSSING_LUT, beats=CROSSING_BEATS),
        ]
    )


def _percent(found: float, expected: float) -> str:
    return f"{100 * (found / expected - 1):+.1f}"


def _pass_goal(study: RetrievalStudy) -> str:
    row = study.passes[-1]
    away = row.queued / row.queued_published - 1
    verdict = "reached" if abs(away) <= 0.1 else "missed"
    return (
        f"Rows let through within 10 % of the published table at its refresh interval ({row.lanes} "
        f"lanes): {100 * away:+.1f} % at the {row.interval_cycles:.0f} cycles that a sweep really "
        f"takes ({verdict}), {_percent(row.queued, row.queued_sweep)} % of its row of 256 cycles. "
        f"An exact threshold: {study.ideal_passes:,.0f} +- "
        f"{pass_deviation(study.rows, study.k):.0f}."
    )


def _constants(study: RetrievalStudy) -> str:
    rows = []
    for (channels, beat), constant in study.constants.items():
        parts = asdict(constant)
        micros = 1e6 * constant.total / CLOCK_HZ
        rows.append(
            [f"{channels} x {beat} B", *map(str, parts.values()), str(constant.total),
             f"{micros:.2f}"]
        )  # fmt: skip
    head = ["channels", "memory", "scoring", "overrun", "closing", "answer", "C", "C [us]"]
    answers = [
        [str(k), f"{cycles:,}", f"{answer_bound_cycles(k, 1 << _levels(k)):,}"]
        for k, cycles in study.answers.items()
    ]
    return (
        "## L = M / B + C\n\n"
        "C in cycles. Memory: until the first beat is there. Scoring: from a row's last beat to "
        "its score, with two products per DSP; 3 cycles less with one. Overrun: cycles in which "
        "the scan waits for a queue. Closing: rows on their way to the selector. Answer: the "
        "sorter's last run, the merges before it, K rows; where queries queue the next scan hides "
        "it.\n\n"
        + markdown_table(head, rows)
        + "\nThe answer by K, 16 lanes:\n\n"
        + markdown_table(["K", "answer [cycles]", "2 run + 2 K"], answers)
    )


def _levels(k: int) -> int:
    return RetrievalConfig(lanes=1, k_max=k).levels


def _passes(study: RetrievalStudy) -> str:
    rows = [
        [
            str(row.lanes),
            f"{row.interval_cycles:.0f}",
            f"{row.queued:,.0f}",
            f"{row.queued_formula:,.0f}",
            _percent(row.queued, row.queued_formula),
            f"{row.queued_published:,.0f}",
            _percent(row.queued, row.queued_published),
            f"{row.passes:,.0f}",
            str(row.peak_entries),
            f"{row.peak_bound:.0f}",
        ]
        for row in study.passes
    ]
    head = ["lanes", "sweep [cycles]", "queued", "formula", "off [%]", "exact buckets", "off [%]",
            "enter the sorter", "longest queue", "bound"]  # fmt: skip
    depths = []
    for depth, row in zip(study.depths, study.passes, strict=True):
        bound = overrun_bound_cycles(study.k, depth.lanes)
        more = row.queued - study.ideal_passes
        depths.append(
            [str(depth.lanes), *(f"{n:,}" for n in depth.stalled_cycles.values()), f"{bound:,.0f}",
             f"{bound + more:,.0f}"]
        )  # fmt: skip
    sizes = [f"{depth} entries" for depth in study.depths[0].stalled_cycles]
    return (
        "## Passes, backlog, overrun\n\n"
        f"{study.rows:,} rows in random order, K = {study.k}, means over {study.seeds} seeds. "
        "Counted by the register-exact model of the filter (perfmodel.retrieval), which "
        "tests/rtl/test_retrieval_scan.py proves equal to the netlist; formulas: "
        "perfmodel/retrieval_latency.py. Queued: rows that enter a lane's queue. Formula: with the "
        "histogram's edges and a threshold half a sweep old. That age was chosen of none, a half "
        "and one after the counts were seen; the rest of the formula was not. Exact buckets: "
        "lanes x sweep + the sum of K / s over the later sweeps, the formula behind the published "
        "table (16 lanes: 8.7k at 64 cycles, 10.3k at 256). Fewer rows than an exact threshold "
        "lets pass enter the sorter: while they queue, the threshold rises, and heads are checked "
        "again.\n\n"
        + markdown_table(head, rows)
        + "\nStalled cycles of a scan by the depth of the queues. Bound: K ln(lanes), for a "
        "threshold that is never old; beside it with a cycle more for each row that the old one "
        "lets pass.\n\n" + markdown_table(["lanes", *sizes, "bound", "with those"], depths)
    )


def _memory(study: RetrievalStudy) -> str:
    rows = [
        [
            str(row.beat_bytes),
            row.what,
            str(row.burst_bytes),
            f"{row.model_bytes_per_s / 1e9:.2f}",
            f"{row.formula_bytes_per_s / 1e9:.2f}",
            _percent(row.formula_bytes_per_s, row.model_bytes_per_s),
        ]
        for row in study.memory
    ]
    head = ["beat [B]", "requests", "burst [B]", "bank model [GB/s]", "formula [GB/s]", "off [%]"]
    return (
        "## One HBM2 pseudo-channel\n\n"
        f"At {CLOCK_HZ / 1e6:.0f} MHz; the bank model is that of docs/memory_model.md (refresh, "
        "banks, bank groups), the ideal requester reads. Formula: the least of a beat per cycle, "
        "13.27 GB/s, and bursts in flight over latency; scattered: 13.3 ns per burst at least. The "
        "formula knows no map of addresses: where the stripes of a port leave gaps (the other "
        "ports' stripes), short stripes meet few banks. The port's bits must be taken out of the "
        "address (spec.stripe.port_address), or stripes be 4096 bytes.\n\n"
        + markdown_table(head, rows)
    )


def _batches(study: RetrievalStudy) -> tuple[int, ...]:
    """Return numbers of queries that share a scan: one, those of `paper`, those of the goal."""
    return (1, PAPER_QUERIES, goal_batch(study, 16, 32, CLOCK_HZ))


def _faiss(study: RetrievalStudy) -> str:
    timings = study.faiss
    rates = sorted(t.memory_bytes_per_s for t in timings)
    slow, ours, fast = (
        scan_latency_s(study.rows * ROW_BYTES, rate, study.constants[16, 32].total, CLOCK_HZ)
        for rate in (rates[0], median(rates), rates[-1])
    )
    rows = [
        [t.index, f"{t.threshold} ({t.threshold_value:,})", str(t.threads), f"{t.cores:.1f}",
         str(t.queries), f"{1e3 * t.call_s:.1f}", f"{t.queries / t.call_s:.1f}",
         f"{t.call_s / ours:.2f}", f"{t.memory_bytes_per_s / 1e9:.1f}"]
        for t in timings
    ]  # fmt: skip
    head = ["index", "BLAS threshold", "threads", "cores", "queries", "call [ms]", "queries/s",
            "call / ours", "memory [GB/s]"]  # fmt: skip
    best = max(t.queries / t.call_s for t in timings)
    gains = ", ".join(
        f"{name} {least / ours:.2f} ({least / slow:.2f} to {least / fast:.2f})"
        for name, least in (
            (name, min(t.call_s for t in timings if t.index == name and t.queries == 1))
            for name in dict.fromkeys(t.index for t in timings)
        )
    )
    shared = "; ".join(
        f"{n} in a scan {n / ours:,.0f}/s, {n / ours / best:.2f} times "
        f"({n / slow / best:.2f} to {n / fast / best:.2f})"
        for n in _batches(study)
    )
    return (
        "## Beside Faiss\n\n"
        f"faiss-cpu {timings[0].version} on this machine ({study.cpu}, shared with other work), "
        f"inner product, the same int8 corpus ({study.rows:,} x {ROW_BYTES}, K = {timings[0].k}), "
        "its scores equal to golden's; the least of a few calls. float32: IndexFlatIP, 512 bytes "
        "per row; int8: IndexScalarQuantizer with QT_8bit_direct_signed, 128 bytes. Memory: what "
        "NumPy's sums on all cores read right behind each measurement, "
        f"{rates[0] / 1e9:.1f} to {rates[-1] / 1e9:.1f} GB/s, median {median(rates) / 1e9:.1f}. "
        f"Ours, throttled to the median by the model: {1e3 * ours:.2f} ms for all queries of a "
        "scan; in brackets with the "
        "least and the most. Cores: CPU time over time; a row with fewer cores than threads was "
        "starved by other work and says nothing of Faiss.\n\n"
        + markdown_table(head, rows)
        + f"\nA single query, Faiss's best setting over ours: {gains}. Rate against Faiss's best "
        f"of all, {best:,.0f} queries/s: {shared}. Clock and batch of ours are the model's, not a "
        "board's.\n"
    )


def _scale(study: RetrievalStudy) -> str:
    rows = []
    for row in study.scale:
        cells = [str(row.devices)]
        for scaled in (row.copies, row.shards, row.short):
            cells += [f"{1e3 * scaled.latency_s:.3f}", f"{scaled.queries_per_s:,.0f}"]
        rows.append([*cells, str(row.kept), f"{1e4 * row.again:.1f}"])
    head = ["devices", "copies: L [ms]", "queries/s", "shards, K rows: L [ms]", "queries/s",
            "shards, k' rows: L [ms]", "queries/s", "k'", "again [1e-4]"]  # fmt: skip
    rounds = [
        [str(shards), str(kept), f"{formula:.4f}", f"{simulated:.4f}"]
        for shards, kept, formula, simulated in study.rounds
    ]
    return (
        "## Several devices\n\n"
        "The model, a device of 16 x 32 B ports with 4 queries per scan. Copies: rates add up. "
        "Shards: a scan is as much shorter, the host merges. Host: "
        f"{1e9 * study.merge_s_per_row:.0f} ns per row by golden.top_k (NumPy's lexsort of all "
        "rows, one thread, measured here); its merge bounds the rate from some shards on. k': rows "
        f"that a shard gives so that at most {AGAIN:g} of the queries need a second round. No "
        "network is in it.\n\n"
        + markdown_table(head, rows)
        + "\nA second round is needed if the last row of a shard that gave k' is better than the "
        "merged K-th: if some shard holds k' of the best K - 1. Formula (multivariate "
        f"hypergeometric) and {study.round_trials:,} simulated cuts:\n\n"
        + markdown_table(["shards", "k'", "formula", "simulated"], rounds)
    )


_HEAD = """\
# The retrieval engine in the model

Written by `rpaccel retrieval-study` (`make retrieval-study`); plots in results/retrieval/. From
formulas, the register-exact model, the bank model of memory, Yosys, Verilated netlists (simulated
devices) and a measured CPU: nothing here ran on a board. {rows:,} rows of 128 bytes, K = {k},
{clock:.0f} MHz (assumed) unless a table says otherwise.
"""

_ASSUMPTIONS = """\
## Assumptions

* Clock: assumed; the engine has not been placed on this part. {switch:.1f} ns of HBM's switch and
  the latency of a closed page (137.8 ns) are in C; doorbell, descriptors and the link are not.
* All ports are in step, rows in random order. Ports of a real memory drift by their refreshes.
* The whole C but the answer lies between two scans: reading ahead would hide more.
* SNARY's latency is its M / B: its constant is not published. FAERY's and Faiss's points are those
  figures divided by the published ratios.
* LUTs and flip-flops by Yosys, module by module: upper bounds. Clock crossing of a port:
  {crossing} LUTs and a queue of {beats} beats (assumed).
"""
