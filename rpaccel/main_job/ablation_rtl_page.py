"""The page of `rpaccel ablation --rtl`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rpaccel.main_job.ablation_rtl_causes import Causes
from rpaccel.main_job.ablation_rtl_rows import (
    PLATFORM,
    SAME,
    RtlAblation,
    RtlAsk,
    card_of,
    sign,
    steps_of,
)
from rpaccel.main_job.ablation_rtl_tables import (
    designs_table,
    differences,
    latency_gains,
    steps_table,
    throughput_gains,
    verdict,
)
from rpaccel.main_job.markdown import markdown_table
from rpaccel.scheduler.ablation import CANDIDATES, host_sort_s
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import load_platform

__all__ = ["rtl_text", "rtl_values"]

_TEXT = """\
# What each idea brings, in the netlist

Written by `rpaccel ablation --rtl{options}` (`make ablation ARGS=--rtl`): the designs of
[ablation.md](ablation.md) on the Verilated netlist of `{preset}`, beside `perfmodel/machine.py` for
the same machine and queries, and beside the model on `paper`. Criteo-shaped queries of
`rpaccel criteo`: RMlarge on {items} candidates (one stage), or RMsmall on {items} and RMlarge on
{keep} (two); {served} are served. {queries} answers, every id, logit, CTR and count equal to the
golden model's; {cycles:,} cycles simulated in {minutes:.1f} minutes of CPU, other work may share
the machine. Seed {seed}.

## Signs
Gain of each step: each idea against the base, then one more idea at a time. *Same*: within
{same:.0%} of 1. Latency: of one query on an idle machine, from host to host. Throughput: several in
flight, a new one with each answer. *Many*: the model with 32 in flight. *`paper`*: the model on
`paper`, 4096 candidates, as in ablation.md.

{steps}
{verdict}
{differences}
## Causes
By the model. Of all lanes of a stage together, cycles per item of their arrays and of their
gathers, without what waits; on `{preset}` and on `paper`.

{uses}
{waits}
{larger}
## Designs
Cycles of the netlist, by the model, and its error. Alone: from a query's fetch to its last answer,
with the host's time between two stages. Per query: in flight. Outside: of link and host, before the
fetch and after the answer. Between: of them between two stages. Rows: share that reads no memory.

{designs}
## What is measured, what is modelled
* Measured: all cycles of the device, from the counters of its completions. Without O.2 the host
  asks the second stage when the modelled time *between* has passed in simulated cycles; it looks
  at its ring every 64 cycles. Throughput: from the answer to query W to that to query 2 W, with W
  in flight: two of one stage on one lane, else eight.
* Modelled: link ({link}) and clock ({clock:.0f} MHz). The link is that of the
  platform `paper`, {whole:.2f} GB/s, in the proportion of the MACs, 1/{share:.0f}: a query then
  takes link and array in the proportion that it has on `paper`. {unbound}
* The host's sort (`scheduler/ablation.py`, the artifact's) takes {sort:.2f} ms up to 512 scores;
  156 bytes per candidate in, 8 bytes per score out. Base and O.2 alone ask the device the same: one
  measurement.
* The device gives a list of at most 64, so the survivors that the host chooses without O.2 are the
  first stage's list of {keep}, as sent by the device; the link is charged for all scores.
* O.3: 8 + 2 lanes; one stage: four quarters. O.4 off: no pinned rows, no reading ahead; the row
  banks' look-ahead caches are part of every netlist and stay. On: pinned rows and reading ahead.
  The model leaves reading ahead out; its base on `paper` has a static cache instead of none. O.5:
  four tasks a query; on 8 + 2 lanes one for each, eight and two. On `paper`: sixteen and four.
* `{preset}` has 1/{share:.0f} of the MACs of `paper`, and a query 1/{scale} of its candidates.
"""


def _uses(causes: Causes, preset: str) -> str:
    """Return the table of cycles per item."""
    head = ["stage", f"array, `{preset}`", "gather", "array, `paper`", "gather"]
    rows = [
        [name, *(f"{cycles:.1f}" for use in (use, causes.paper[name])
                 for cycles in (use.array, use.gather))]
        for name, use in causes.uses.items()
    ]  # fmt: skip
    return markdown_table(head, rows)


def _waits(causes: Causes) -> str:
    """Return the table of changes of model."""
    head = ["one lane, two stages", "changes of model per query", "gather then stands still"]
    rows = [
        [name, f"{waits.changes:.2f}", f"{waits.cycles:,.0f}"]
        for name, waits in causes.waits.items()
    ]
    return markdown_table(head, rows) if rows else ""


def _unbound(study: RtlAblation) -> str:
    """Return which signs of throughput another link would change, by the same cycles."""
    other = [step for step in study.steps if sign(step.unbound) != sign(step.rtl.throughput)]
    listed = ", ".join(f"{step.name} {sign(step.unbound)} {step.unbound:.2f}x" for step in other)
    return f"By the same cycles, were no link the bound: {listed or 'the same signs'}."


def rtl_text(study: RtlAblation) -> str:
    """Return the page."""
    ask, config = study.ask, load_accelerator(study.ask.preset)
    link, whole = card_of(config).link, load_platform(PLATFORM).link
    options = f" --items {ask.items}" if ask.items != RtlAsk().items else ""
    options += f" --seed {ask.seed}" if ask.seed else ""
    return _TEXT.format(
        options=options,
        preset=ask.preset,
        items=ask.items,
        keep=ask.items // 8,
        served=ask.items // 64,
        queries=study.queries,
        cycles=study.cycles,
        minutes=study.cpu_seconds / 60,
        seed=ask.seed,
        same=SAME,
        steps=steps_table(study.steps),
        verdict=verdict(study.steps),
        differences="".join(f"* {line}\n" for line in differences(study)),
        uses=_uses(study.causes, ask.preset),
        waits=_waits(study.causes),
        larger=_larger(study),
        designs=designs_table(study.rows),
        link=f"{1e6 * link.fixed_s:.0f} us each way, {link.bytes_per_s / 1e9:.2f} GB/s",
        whole=whole.bytes_per_s / 1e9,
        share=whole.bytes_per_s / link.bytes_per_s,
        unbound=_unbound(study),
        clock=study.rows[0].clock_hz / 1e6,
        sort=1e3 * host_sort_s(ask.items),
        scale=CANDIDATES // ask.items,
    )


def rtl_values(study: RtlAblation) -> dict[str, Any]:
    """Return the figures for JSON."""
    return {
        "ask": asdict(study.ask),
        "queries_bit_exact": study.queries,
        "cycles": study.cycles,
        "cpu_seconds": study.cpu_seconds,
        "designs": [
            {
                "design": row.design.name,
                "in_flight": row.in_flight,
                "host_s": asdict(row.host),
                "rtl": asdict(row.rtl) | asdict(row.speed(row.rtl)),
                "model": asdict(row.model) | asdict(row.speed(row.model)),
                "model_many_qps": row.steady_qps,
                "paper": asdict(row.paper),
            }
            for row in study.rows
        ],
        "steps": [
            {
                "step": step.name,
                "latency": {name: _said(gain) for name, gain in latency_gains(step)},
                "throughput": {name: _said(gain) for name, gain in throughput_gains(step)},
            }
            for step in study.steps
        ],
        "causes": asdict(study.causes),
        "larger": {
            str(items): [
                {"step": step.name, "model": asdict(step.model)} for step in steps_of(rows)
            ]
            for items, rows in study.larger.items()
        },
    }


def _said(gain: float) -> dict[str, float | str]:
    return {"gain": gain, "sign": sign(gain)}


def _larger(study: RtlAblation) -> str:
    """Return the section of the model's gains for more candidates."""
    if not study.larger:
        return ""
    steps = {items: steps_of(rows) for items, rows in study.larger.items()}
    head, columns = ["step"], [[step.name for step in study.steps]]
    for quantity in ("latency", "throughput"):
        for items, found in steps.items():
            head.append(f"{quantity}: {items}")
            gains = [getattr(step.model, quantity) for step in found]
            columns.append([f"{sign(gain)} {gain:.2f}x" for gain in gains])
        head.append("`paper`")
        gains = [getattr(step.paper, quantity) for step in study.steps]
        columns.append([f"{sign(gain)} {gain:.2f}x" for gain in gains])
    table = markdown_table(head, list(zip(*columns, strict=True)))
    return (
        "## More candidates, by the model\n"
        f"The model on `{study.ask.preset}` for queries of more candidates; with 256 a query has "
        "1/16 of those of\n`paper`, as the machine has of its MACs.\n\n" + table
    )
