"""`rpaccel artifact`: the artifact's latencies, and the way from them to ours, term by term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.perfmodel.artifact_walk import PHASES, WalkStep, serial_walk
from rpaccel.perfmodel.lane import END_CYCLES, GRANT_CYCLES, OPEN_CYCLES, stage_tail_cycles
from rpaccel.perfmodel.recpipe_artifact import (
    ARTIFACT_RANKERS,
    PAPER,
    array_point,
    design_steps,
    stage_phases,
    sub_batched_ms,
)
from rpaccel.perfmodel.task_profile import task_profile
from rpaccel.scheduler.ablation import IDEAS, Design, Setup, measure
from rpaccel.spec.isa import BINS

__all__ = ["STAGES", "artifact_text", "artifact_values", "walk_steps"]

# Stages of the artifact's logs: ranker, items, size class.
STAGES = (
    ("rmlarge", 4096, 1), ("rmsmall", 4096, 1), ("rmsmall", 4096, 4), ("rmsmall", 4096, 16),
    ("rmlarge", 512, 1), ("rmlarge", 512, 4), ("rmlarge", 512, 16), ("rmmed", 512, 4),
    ("rmlarge", 128, 4),
)  # fmt: skip
SUB_BATCHES = (1, 2, 4, 8)


def walk_steps() -> tuple[list[WalkStep], list[tuple[str, float]]]:
    """Return the serial steps, and what follows them: (change, latency of one query [ms])."""
    ideas = frozenset({"O.1", "O.2", "O.4"})
    whole = Setup(Design(name="O.1, O.2, O.4", ideas=ideas))
    split = Setup(Design(name="all", ideas=frozenset(IDEAS)))
    config = whole.config.lane(0)
    profiles = {}
    for number, (stage, (network, items)) in enumerate(
        zip(whole.stages, whole.design.stages, strict=True)
    ):
        profiles[network.name] = task_profile(
            config,
            whole.machine.lanes[0][stage.model],
            items,
            stage.sub_batch,
            whole.machine.memory,
            whole.records,
            first=number == 0,
            row_hits=whole.machine.row_hits[network.name],
        )
    kept = whole.design.stages[1][1]
    control = OPEN_CYCLES + 2 * GRANT_CYCLES + END_CYCLES + kept
    control += sum(stage_tail_cycles(last=last, bins_scanned=BINS) for last in (False, True))
    control += sum(profile.start for profile in profiles.values())
    link_s = whole.link_s + whole.platform.link.fixed_s + whole.last_s
    steps = serial_walk(
        config,
        profiles,
        clock_hz=whole.platform.accelerator.clock_hz,
        link_us=1e6 * link_s,
        filter_cycles=control,
    )
    return steps, [
        ("gather, array and interaction overlap: one lane, event model",
         measure(whole, 1.0, 1).p50_ms),
        ("8 + 2 lanes, stages overlap in tasks (all ideas)", measure(split, 1.0, 1).p50_ms),
    ]  # fmt: skip


def artifact_values(
    steps: Sequence[WalkStep], events: Sequence[tuple[str, float]]
) -> dict[str, Any]:
    """Return everything that is printed."""
    return {
        "stages": [
            {"ranker": name, "items": items, "class": size_class, "total_ms": phases.total_ms}
            | asdict(phases)
            for name, items, size_class in STAGES
            for phases in [stage_phases(ARTIFACT_RANKERS[name], items, size_class)]
        ],
        "figure_10a": {
            name: {side: array_point(ranker, side) for side in (8, 16, 32, 64, 128)}
            for name, ranker in ARTIFACT_RANKERS.items()
        },
        "ideas": design_steps(),
        "walk": [{"change": s.change, "total_ms": s.total_ms} | dict(s.phases_us) for s in steps],
        "events": [{"change": change, "total_ms": total} for change, total in events],
    }


def _stage_table() -> str:
    rows = []
    for name, items, size_class in STAGES:
        ranker = ARTIFACT_RANKERS[name]
        phases = stage_phases(ranker, items, size_class)
        parts = list(asdict(phases).values())
        faster = stage_phases(ranker, items, size_class, PAPER)
        rows.append(
            [name, str(items), str(size_class), f"{phases.total_ms:.4f}",
             *(f"{part:.1f}" for part in parts), f"{faster.total_ms:.4f}"]
        )  # fmt: skip
    return markdown_table(
        ["ranker", "items", "class", "ms", "link in [us]", "rows, DRAM", "rows, SRAM", "weights",
         "bottom", "top", "filter", "link out", "at 250 MHz [ms]"],
        rows,
    )  # fmt: skip


def _pipelined_ms(count: int) -> list[float]:
    """Return latencies by sub-batches: two halves reloaded, resident; 8 + 2 likewise [ms]."""
    small, large = ARTIFACT_RANKERS["rmsmall"], ARTIFACT_RANKERS["rmlarge"]
    return [
        sub_batched_ms((small, 4096, front), (large, 512, 4), count, resident=kept)
        for front in (4, 16)
        for kept in (False, True)
    ]


def artifact_text(steps: Sequence[WalkStep], events: Sequence[tuple[str, float]]) -> str:
    """Return docs/generated/artifact.md."""
    sides = (32, 64, 128)
    points = markdown_table(
        [
            "ranker",
            *(f"{side}: cycles" for side in sides),
            *(f"{side}: used [%]" for side in sides),
        ],
        [
            [
                name,
                *(f"{array_point(ranker, side)[0]:,}" for side in sides),
                *(f"{100 * array_point(ranker, side)[1]:.1f}" for side in sides),
            ]
            for name, ranker in ARTIFACT_RANKERS.items()
        ],
    )
    ideas = markdown_table(
        ["ideas", "latency [ms]", "queries/s"],
        [[name, f"{ms:.3f}", f"{qps:.0f}"] for name, (ms, qps) in design_steps().items()],
    )
    batches = markdown_table(
        ["sub-batches", "2 + 2, reloaded", "resident", "8 + 2, reloaded", "resident"],
        [[str(count), *(f"{ms:.3f}" for ms in _pipelined_ms(count))] for count in SUB_BATCHES],
    )
    walk = markdown_table(
        ["step", "ms", *(f"{phase} [us]" for phase in PHASES)],
        [
            [s.change, f"{s.total_ms:.3f}", *(f"{s.phases_us[phase]:.1f}" for phase in PHASES)]
            for s in steps
        ]
        + [[change, f"{total:.3f}", *["-"] * len(PHASES)] for change, total in events],
    )
    return f"""# RecPipe's artifact and ours

Written by `rpaccel artifact` (`make artifact`). `perfmodel/recpipe_artifact.py` is the artifact's
latency model in its own terms: an oracle, and a curve in figures; nothing of ours uses it.

## Its stages
Serial phases at 125 MHz and 32 GiB/s; class 1, 4, 16: arrays of 128, 64, 32. All nine totals are
those of its logs to 4 digits (tests/perfmodel/test_recpipe_artifact.py).

{_stage_table()}
## Figure 10(a)
SCALE-Sim's closed form, 4096 items. RMsmall and RMmed are the figure's points; RMlarge is within 5
to 10 % of it (the figure used another list of layers).

{points}
## The ideas in its terms
{ideas}
Two stages on arrays of their own, by sub-batches [ms]; the artifact has no such mode, these are its
terms in a pipeline. With weights that are loaded again, sub-batches make a query slower.

{batches}
## From there to ours
A query of RMsmall on 4096 and RMlarge on 512 on 128 x 128 MACs, idle machine. Phases follow each
other until the last two rows. Rows: ours includes the candidates' records, which the artifact takes
to be on the array. Filter and control: ours counts lists, grants, user records and survivors.

{walk}"""
