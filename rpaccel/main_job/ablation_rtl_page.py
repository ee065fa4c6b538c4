"""The page of `rpaccel ablation --rtl`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rpaccel.main_job.ablation_rtl_causes import Causes
from rpaccel.main_job.ablation_rtl_rows import (
    PLATFORM,
    SAME,
    RtlAblation,
    RtlAsk,
    RtlRow,
    Step,
    card_of,
    sign,
    steps_of,
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

# Why signs differ, by step and quantity; figures in braces are those of `Causes`.
_ROUND_TRIP = (
    "link and host take as long between the stages however few the candidates, more than so few "
    "save"
)
_SHORT_TASKS = (
    "a quarter of so few candidates is no more than one sub-batch of the lane (64 items of "
    "RMlarge); on `paper` a task is four"
)
_REASONS: dict[tuple[str, str], str] = {
    ("O.1 alone", "latency"): _ROUND_TRIP,
    ("base + O.1", "latency"): _ROUND_TRIP,
    ("O.3 alone", "throughput"): (
        "layers of 32 to 96 channels fill 32 x 32 cells as well as quarters of them; of 128 x 128 "
        "they leave columns idle. An item of RMlarge takes the array {whole:.1f} cycles, four "
        "quarters {quarters:.1f}, at most {fewer:.2f}x; on `paper` {paper_whole:.1f} and "
        "{paper_quarters:.1f}, {paper_fewer:.2f}x"
    ),
    ("O.5 alone", "latency"): _SHORT_TASKS,
    ("O.5 alone", "throughput"): _SHORT_TASKS,
    ("O.1 + O.2", "throughput"): (
        "a task's gather waits until the array is done with another model. With the host between "
        "the stages a lane changes its model {few:.2f} times a query, as first stages of several "
        "queries follow each other and then second ones, without it {many:.2f} times; its gather "
        "stands still {few_cycles:,.0f} and {many_cycles:,.0f} cycles of a query for it. RMsmall "
        "is bound by its gather here ({gather:.1f} cycles an item, its array {array:.1f}), so that "
        "is lost; on `paper` by its array ({paper_array:.1f}, its gather {paper_gather:.1f})"
    ),
    ("O.1 to O.4 + O.5", "throughput"): (
        "tasks of an eighth of the candidates, half of the survivors, are no larger than the "
        "lanes' sub-batches (32), and a tile of 8 x 8 weights takes 16 cycles for fewer than 16 "
        "items; `paper` is bound by the link before and after"
    ),
}


def _reason(step: str, quantity: str, causes: Causes) -> str:
    """Return why a sign is not that of `paper`, or that it is not known."""
    text = _REASONS.get((step, quantity), "not explained")
    return text.format(**_figures(causes)) if "{" in text else text


def _figures(causes: Causes) -> dict[str, float]:
    """Return the figures of the reasons: of what was asked."""
    found: dict[str, float] = {}
    for prefix, uses in (("", causes.uses), ("paper_", causes.paper)):
        if {"RMlarge, whole array", "RMlarge, four quarters"} <= set(uses):
            whole = uses["RMlarge, whole array"].array
            quarters = uses["RMlarge, four quarters"].array
            found |= {f"{prefix}whole": whole, f"{prefix}quarters": quarters}
            found[f"{prefix}fewer"] = whole / quarters
        if "RMsmall, whole array" in uses:
            use = uses["RMsmall, whole array"]
            found |= {f"{prefix}array": use.array, f"{prefix}gather": use.gather}
    for prefix, name in (("few", "O.1 alone"), ("many", "O.1 to O.2")):
        if name in causes.waits:
            waits = causes.waits[name]
            found |= {prefix: waits.changes, f"{prefix}_cycles": waits.cycles}
    return found


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
        steps=_steps(study.steps),
        verdict=_verdict(study.steps),
        differences="".join(f"* {line}\n" for line in _differences(study)),
        uses=_uses(study.causes, ask.preset),
        waits=_waits(study.causes),
        larger=_larger(study),
        designs=_designs(study.rows),
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
                "latency": {name: _said(gain) for name, gain in _latency(step)},
                "throughput": {name: _said(gain) for name, gain in _throughput(step)},
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


def _latency(step: Step) -> list[tuple[str, float]]:
    return [
        ("netlist", step.rtl.latency),
        ("model", step.model.latency),
        ("`paper`", step.paper.latency),
    ]


def _throughput(step: Step) -> list[tuple[str, float]]:
    return [
        ("netlist", step.rtl.throughput),
        ("model", step.model.throughput),
        ("many", step.steady),
        ("`paper`", step.paper.throughput),
    ]


def _steps(steps: Sequence[Step]) -> str:
    head = ["step"]
    head += ["latency: netlist", "model", "`paper`"]
    head += ["throughput: netlist", "model", "many", "`paper`"]
    rows = [
        [
            step.name,
            *(f"{sign(gain)} {gain:.2f}x" for _, gain in (*_latency(step), *_throughput(step))),
        ]
        for step in steps
    ]
    return markdown_table(head, rows)


def _verdict(steps: Sequence[Step]) -> str:
    pairs = [
        (sign(found[0][1]), sign(found[1][1]), sign(found[-1][1]))
        for step in steps
        for found in (_latency(step), _throughput(step))
    ]
    model = sum(rtl == said for rtl, said, _ in pairs)
    paper = sum(rtl == said for rtl, _, said in pairs)
    return (
        f"Of {len(pairs)} signs of the netlist, {model} are those of the model for the same "
        f"queries and {paper} are those of `paper` (O.1 alone is in both lists)."
    )


def _differences(study: RtlAblation) -> Iterator[str]:
    """Yield a line for every sign of the netlist that another source does not share."""
    for step in study.steps:
        for quantity, found in (("latency", _latency(step)), ("throughput", _throughput(step))):
            rtl = found[0][1]
            others = [(name, gain) for name, gain in found[1:] if sign(gain) != sign(rtl)]
            if others:
                listed = ", ".join(f"{name} {sign(gain)} ({gain:.2f}x)" for name, gain in others)
                reason = _reason(step.name, quantity, study.causes)
                found_here = f"netlist {sign(rtl)} ({rtl:.2f}x)"
                yield f"{step.name}, {quantity}: {found_here}, {listed}: {reason}."


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


def _designs(rows: Sequence[RtlRow]) -> str:
    head = (
        "design", "alone", "model", "error [%]", "in flight", "per query", "model", "error [%]",
        "rows [%]", "model", "outside [ms]", "between [ms]", "latency [ms]", "queries/s",
    )  # fmt: skip

    def cells(row: RtlRow) -> Sequence[str]:
        rtl, model, speed = row.rtl, row.model, row.speed(row.rtl)
        return (
            row.design.name,
            f"{rtl.alone:,}",
            f"{model.alone:,}",
            f"{100 * (model.alone / rtl.alone - 1):+.2f}",
            f"{row.in_flight}",
            f"{rtl.per_query:,.0f}",
            f"{model.per_query:,.0f}",
            f"{100 * (model.per_query / rtl.per_query - 1):+.2f}",
            f"{100 * rtl.hits:.1f}",
            f"{100 * model.hits:.1f}",
            f"{1e3 * (row.host.way_in + row.host.last):.3f}",
            f"{1e3 * row.host.between:.3f}",
            f"{speed.latency_ms:.3f}",
            f"{speed.qps:.0f}",
        )

    return markdown_table(head, [cells(row) for row in rows])
