"""Tables of the ablation on the netlist: gains and signs of its steps, its designs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rpaccel.main_job.ablation_rtl_causes import Causes
from rpaccel.main_job.ablation_rtl_rows import RtlAblation, RtlRow, Step, sign
from rpaccel.main_job.markdown import markdown_table

__all__ = [
    "designs_table", "differences", "latency_gains", "steps_table", "throughput_gains", "verdict",
]  # fmt: skip

# Why signs differ, by step and quantity; figures in braces are those of `Causes`.
_ROUND_TRIP = (
    "link and host take as long between the stages however few the candidates, more than so few "
    "save"
)
_SHORT_TASKS = (
    "a quarter of so few candidates is no more than one sub-batch of the lane (64 items of "
    "RMlarge); on `paper` a task is four"
)
REASONS: dict[tuple[str, str], str] = {
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


def _reason(step: str, quantity: str, study: RtlAblation) -> str:
    """Return why a sign is not that of `paper`, or that it is not known."""
    known = {} if study.ask.scaled else REASONS
    text = known.get((step, quantity), "not explained")
    return text.format(**_figures(study.causes)) if "{" in text else text


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


def latency_gains(step: Step) -> list[tuple[str, float]]:
    return [
        ("netlist", step.rtl.latency),
        ("model", step.model.latency),
        ("`paper`", step.paper.latency),
    ]


def throughput_gains(step: Step) -> list[tuple[str, float]]:
    return [
        ("netlist", step.rtl.throughput),
        ("model", step.model.throughput),
        ("many", step.steady),
        ("`paper`", step.paper.throughput),
    ]


def steps_table(steps: Sequence[Step]) -> str:
    head = ["step"]
    head += ["latency: netlist", "model", "`paper`"]
    head += ["throughput: netlist", "model", "many", "`paper`"]
    rows = [
        [
            step.name,
            *(
                f"{sign(gain)} {gain:.2f}x"
                for _, gain in (*latency_gains(step), *throughput_gains(step))
            ),
        ]
        for step in steps
    ]
    return markdown_table(head, rows)


def verdict(steps: Sequence[Step]) -> str:
    pairs = [
        (sign(found[0][1]), sign(found[1][1]), sign(found[-1][1]))
        for step in steps
        for found in (latency_gains(step), throughput_gains(step))
    ]
    model = sum(rtl == said for rtl, said, _ in pairs)
    paper = sum(rtl == said for rtl, _, said in pairs)
    return (
        f"Of {len(pairs)} signs of the netlist, {model} are those of the model for the same "
        f"queries and {paper} are those of `paper` (O.1 alone is in both lists)."
    )


def differences(study: RtlAblation) -> Iterator[str]:
    """Yield a line for every sign of the netlist that another source does not share.

    Of scaled rankers without the model of many in flight, as their page.
    """
    for step in study.steps:
        for quantity, found in (
            ("latency", latency_gains(step)),
            ("throughput", throughput_gains(step)),
        ):
            rtl = found[0][1]
            others = [
                (name, gain)
                for name, gain in found[1:]
                if sign(gain) != sign(rtl) and not (name == "many" and study.ask.scaled)
            ]
            if others:
                listed = ", ".join(f"{name} {sign(gain)} ({gain:.2f}x)" for name, gain in others)
                reason = _reason(step.name, quantity, study)
                found_here = f"netlist {sign(rtl)} ({rtl:.2f}x)"
                yield f"{step.name}, {quantity}: {found_here}, {listed}: {reason}."


def designs_table(rows: Sequence[RtlRow]) -> str:
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
