"""The page of `rpaccel ablation --rtl --scaled`: rankers as large as the array asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rpaccel.main_job.ablation_rtl_rows import (
    PLATFORM,
    SAME,
    RtlAblation,
    Step,
    card_of,
    sign,
    steps_of,
)
from rpaccel.main_job.ablation_rtl_tables import (
    designs_table,
    differences,
    latency_gains,
    throughput_gains,
    verdict,
)
from rpaccel.main_job.markdown import markdown_table
from rpaccel.perfmodel.sequencer import ProgramShape
from rpaccel.scheduler.ablation import FEATURES
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.platform import load_platform
from rpaccel.spec.program_plan import plan_model
from rpaccel.spec.ranker import RankerConfig
from rpaccel.workloads.criteo_shapes import CRITEO, SHAPES

__all__ = ["scaled_text"]

LANES = {"whole": 4, "quarter": 2, "block": 1}  # sides [blocks]

_TEXT = """\
# What each idea brings, with rankers scaled with the array

Written by `rpaccel ablation --rtl --scaled{options}` (`make ablation ARGS="--rtl --scaled"`): the
study of [ablation_rtl.md](ablation_rtl.md) on the Verilated netlist of `{preset}`, where RMsmall
and RMlarge are as large as on `paper`, which has {cells} times the cells. Here the rankers are
scaled with the array (`{shape}` of `workloads/criteo_shapes.py`): layers a quarter as wide, and
{tables} tables for {all_tables}, as a lane gathers 1/{cells} of the rows per cycle; their vectors
are concatenated, as so few have too few pairs to fill the top MLP. {items} candidates, of which
{keep} are kept and {served} served; link and host as for `paper`, {bytes} bytes per candidate at
{rate:.2f} GB/s. {queries} answers, every id, logit, CTR and count equal to the golden model's;
{cycles:,} cycles simulated in {minutes:.1f} minutes of CPU. Seed {seed}.

Weight tiles per item, the cycles in which it takes the array:

{tiles}
## Signs
Gain of each step, as in ablation_rtl.md. *Same*: within {same:.0%} of 1. *Unscaled*: the model on
`{preset}` with RMsmall, RMlarge, {plain} candidates and {share:.2f} GB/s. *`paper`*: the model on
`paper`, RMsmall, RMlarge, {items} candidates.

{steps}
{verdict}
{differences}
## Designs
Columns as in ablation_rtl.md.

{designs}
## What is measured, what is modelled
* As in ablation_rtl.md, but throughput: from the answer to query W to that to query 2 W of
  {loads} W, with W in flight, so that each answer meanwhile brings another query.
* Of the survivors that the host chooses without O.2 the device lists the first {listed}; the others
  are those of the golden model, whose scores are the device's.
* The model with 32 in flight is left out: with the host between the stages the first parts of so
  many queries follow each other, and the windows of such a load differ from each other.
* Tables, interaction, rows, candidates and the length of a load were chosen with the model until
  its signs were `paper`'s: others had fewer of them. The netlist shows that such a pair of
  rankers exists, not that every pair scaled with the array has these signs.
"""


def scaled_text(study: RtlAblation) -> str:
    """Return the page."""
    ask, config = study.ask, load_accelerator(study.ask.preset)
    shape, link = SHAPES[ask.shape], load_platform(PLATFORM).link
    paper = load_accelerator(load_platform(PLATFORM).accelerator.preset)
    plain = steps_of(study.unscaled)
    lines = [_told(study.steps, plain), *differences(study)]
    return _TEXT.format(
        options=f" --seed {ask.seed}" if ask.seed else "",
        preset=ask.preset,
        cells=(paper.array_size // config.array_size) ** 2,
        shape=ask.shape,
        tables=len(shape.tables),
        all_tables=len(CRITEO.tables),
        items=ask.items,
        keep=ask.items // 8,
        served=ask.items // 64,
        bytes=4 * FEATURES,
        rate=link.bytes_per_s / 1e9,
        share=card_of(config).link.bytes_per_s / 1e9,
        plain=ask.unscaled.items,
        queries=study.queries,
        cycles=study.cycles,
        minutes=study.cpu_seconds / 60,
        seed=ask.seed,
        same=SAME,
        loads=ask.loads,
        tiles=_tiles(ask.shape, config, paper),
        listed=min(config.max_top_n, ask.items // 8),
        steps=_steps(study.steps, plain),
        verdict=verdict(study.steps),
        differences="".join(f"* {line}\n" for line in lines),
        designs=designs_table(study.rows),
    )


def _steps(steps: Sequence[Step], plain: Sequence[Step]) -> str:
    """Return the table of gains. plain : by the model, with the rankers as they are."""
    head = ["step"]
    head += ["latency: netlist", "model", "unscaled", "`paper`"]
    head += ["throughput: netlist", "model", "unscaled", "`paper`"]
    rows = []
    for step, other in zip(steps, plain, strict=True):
        gains = (
            (step.rtl.latency, step.model.latency, other.model.latency, step.paper.latency),
            (step.rtl.throughput, step.model.throughput, other.model.throughput,
             step.paper.throughput),
        )  # fmt: skip
        cells = (f"{sign(gain)} {gain:.2f}x" for each in gains for gain in each)
        rows.append([step.name, *cells])
    return markdown_table(head, rows)


def _told(steps: Sequence[Step], plain: Sequence[Step]) -> str:
    """Return which signs that differ from `paper`'s with the rankers as they are, here do not."""
    here = {name: ours == theirs for name, ours, theirs in _signs(steps)}
    other = [name for name, ours, theirs in _signs(plain) if ours != theirs]
    same = [name for name in other if here[name]]
    return (
        f"Of the unscaled signs {len(other)} are not those of `paper`; of these {len(same)} are on "
        f"the netlist with scaled rankers: {', '.join(same) or 'none'}."
    )


def _signs(steps: Sequence[Step]) -> Iterator[tuple[str, str, str]]:
    """Yield a step with a quantity, its sign (of the netlist, if there is one), and `paper`'s."""
    for step in steps:
        for quantity, gains in (
            ("latency", latency_gains(step)), ("throughput", throughput_gains(step)),
        ):  # fmt: skip
            yield f"{step.name} ({quantity})", sign(gains[0][1]), sign(gains[-1][1])


def _tiles(shape: str, config: AcceleratorConfig, paper: AcceleratorConfig) -> str:
    """Return the table of weight tiles per item."""
    scaled = SHAPES[shape]
    pairs = (
        (config, scaled.small), (paper, CRITEO.small), (config, scaled.large),
        (paper, CRITEO.large),
    )  # fmt: skip
    rows = [
        [part, *(str(_tiles_of(ranker, machine, side)) for machine, ranker in pairs)]
        for part, side in LANES.items()
    ]
    head = ["part of the array", f"small, `{config.name}`", f"RMsmall, `{paper.name}`"]
    return markdown_table([*head, f"large, `{config.name}`", f"RMlarge, `{paper.name}`"], rows)


def _tiles_of(ranker: RankerConfig, config: AcceleratorConfig, side: int) -> int:
    lane = next(n for n in range(config.lanes) if config.lane_shape(n) == (side, side))
    plan = plan_model(ranker.sizes, config.lane(lane))
    return ProgramShape.of(plan.program, plan.slot["row_bytes"]).tiles
