"""A choice in words, and as JSON."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any

from rpaccel.perfmodel.report import format_table
from rpaccel.scheduler.choice_answer import Asked, Candidate, Choice, Need, WhatIf
from rpaccel.scheduler.peak import Verdict
from rpaccel.scheduler.second_look import SecondLook

__all__ = ["choice_json", "choice_text", "explanation"]

JSON_VERSION = 2
DIGITS, JSON_DIGITS = 4, 6
UNITS = {"load": "queries/s", "latency": "ms"}


def explanation(choice: Choice) -> str:
    """Return what was chosen and why, what would change, or what binds and what would do."""
    return " ".join(_lines(choice))


def _lines(choice: Choice) -> list[str]:
    need = choice.need
    if choice.chosen is None:
        return [f"No pipeline is feasible: {_why(choice)}.", *_instead(choice)]
    best = choice.chosen
    lines = [] if best.feasible else ["Longer runs refuse all; the lowest tail:"]
    lines += [
        f"{best.design.label}: {_facts(best, need)} at {need.load_qps:.4g} queries/s "
        f"(saturates at {best.capacity_qps:.4g})."
    ]
    if "chosen" in choice.again:
        lines.append(f"{_verdict(choice.again['chosen'], need)}.")
    if choice.poisson is not None:
        lines.append(_poisson(choice, choice.poisson))
    if choice.binding:
        lines += [f"So {_why(choice)}.", *_instead(choice)]
    if choice.limit_qps is not None and choice.sure_qps is not None:
        lines.append(_limit(choice.limit_qps, choice.sure_qps, need))
    lines.append(_runner_up(choice))
    return lines + [_what_if(what_if, best, need) for what_if in choice.what_ifs]


def _instead(choice: Choice) -> list[str]:
    """Return the points that are feasible, in numbers that may be asked as they are printed."""
    need, lines = choice.need, []
    if choice.nearest is not None:
        lines.append(f"Nearest feasible point: {_point(choice.nearest, need)}.")
    alone = [_alone(name, point, need) for name, point in choice.relaxations.items()]
    if alone:
        lines.append(f"One requirement changed alone: {'; or '.join(alone)}.")
    return lines


def _limit(limit_qps: float, sure_qps: tuple[float, float], need: Need) -> str:
    low, high = sure_qps
    most = f"up to {_less(limit_qps):.4g}" if limit_qps else ""
    most = f"only {most}" if limit_qps < need.load_qps else most
    met = f"It meets the SLA {most} queries/s" if limit_qps else "It meets the SLA at no load"
    sure = f"surely up to {_less(low):.4g}" if low else "no load is sure"
    return f"{met}: {sure}, not from {_more(high):.4g}, between them it is open."


def _verdict(look: SecondLook, need: Need) -> str:
    return f"{need.tail} within {need.sla_ms:.4g} ms is {_sure(look)}"


def _sure(look: SecondLook) -> str:
    if look.verdict is Verdict.OPEN:
        return f"open: no verdict is sure after {look.judged:,} queries"
    word = "met" if look.verdict is Verdict.PASSES else "missed"
    return f"surely {word} ({look.judged:,} queries)"


def _poisson(choice: Choice, look: SecondLook) -> str:
    ours, theirs = (x.spread_ms[choice.need.percentile] for x in (choice.again["chosen"], look))
    return (
        f"Arrivals are {choice.arrivals}: {choice.need.tail} {ours[0]:.4g} ms; Poisson ones would "
        f"make it {theirs[0]:.4g} [{theirs[1]:.4g}, {theirs[2]:.4g}] ms, {_sure(look)}."
    )


def _again(choice: Choice) -> list[str]:
    """Return the second looks as a table; [] if there is none."""
    if not choice.again:
        return []
    first = next(iter(choice.again.values()))
    head = ["again", *(f"p{share:g} [ms]" for share in first.spread_ms), ""]
    rows = [
        [
            name.replace("_", " "),
            *(f"{value:.4g} [{low:.4g}, {high:.4g}]" for value, low, high in
              look.spread_ms.values()),
            _verdict(look, choice.need),
        ]
        for name, look in choice.again.items()
    ]  # fmt: skip
    note = f"{first.queries:,} queries each, 95 % intervals; a sure verdict is right at 99 %:"
    return [note, format_table(head, rows)]


def _facts(option: Candidate, need: Need) -> str:
    return (
        f"{need.metric} {option.quality.quality:.4g} (needs {need.quality:.4g}), "
        f"{need.tail} {option.tail_ms:.4g} ms (needs {need.sla_ms:.4g})"
    )


def _reason(option: Candidate, need: Need) -> str:
    first = option.misses[0]
    if first == "quality":
        return f"{need.metric} {option.quality.quality:.4g} is below {need.quality:.4g}"
    if first == "load":
        return f"it settles up to {option.settled_qps:.4g} of {option.load_qps:.4g} queries/s"
    return f"{need.tail} {option.tail_ms:.4g} ms is above {need.sla_ms:.4g} ms"


def _runner_up(choice: Choice) -> str:
    best, second, need = choice.chosen, choice.runner_up, choice.need
    assert best is not None
    if second is None:
        return "Nothing else was evaluated."
    label = second.design.label
    if not second.feasible:
        nothing = "Nothing else" if best.feasible else "Nothing"
        return f"{nothing} is feasible; next, {label}: {_reason(second, need)}."
    if second.tail_ms == best.tail_ms:
        return f"{label} is as fast and lost on quality, {second.quality.quality:.4g}."
    parts = {
        "service": (second.idle_ms - second.transfer_ms, best.idle_ms - best.transfer_ms),
        "transfers": (second.transfer_ms, best.transfer_ms),
        "queueing": (second.wait_ms, best.wait_ms),
    }
    name, (theirs, ours) = max(parts.items(), key=lambda part: part[1][0] - part[1][1])
    more, less = f"{theirs:.3g}", f"{ours:.3g}"
    why = f"most of it {name}: on average {more} ms against {less} ms"
    if theirs <= ours or more == less:
        why = "not on average, where no part of it takes longer: its slowest queries meet others"
    return (
        f"{label} lost by {second.tail_ms - best.tail_ms:.3g} ms of {need.tail} "
        f"({second.tail_ms:.4g} ms, {need.metric} {second.quality.quality:.4g}), {why}."
    )


def _what_if(what_if: WhatIf, chosen: Candidate, need: Need) -> str:
    head = f"At {what_if.load_qps:.4g} queries/s"
    kept = what_if.kept
    if what_if.best is None:
        return f"{head} nothing is feasible, {what_if.binding} binds: {_reason(kept, need)}."
    if what_if.best.design == chosen.design:
        return f"{head} the choice is the same, {need.tail} {kept.tail_ms:.4g} ms."
    best = what_if.best
    then = _reason(kept, need) if kept.misses else f"{need.tail} {kept.tail_ms:.4g} ms"
    return (
        f"{head} the choice is {best.design.label}, {need.metric} {best.quality.quality:.4g}, "
        f"{need.tail} {best.tail_ms:.4g} ms (the one above: {then})."
    )


def _why(choice: Choice) -> str:
    need, reach = choice.need, choice.reach
    if choice.binding == "quality":
        return (
            f"quality binds, {need.metric} {need.quality:.4g} is asked and the best known is "
            f"{reach['quality']:.4g}"
        )
    if choice.binding == "load":
        return (
            f"load binds, {need.load_qps:.4g} queries/s is asked and the best that meets the "
            f"quality settles up to {reach['load']:.4g}"
        )
    return (
        f"latency binds, {need.tail} of {need.sla_ms:.4g} ms is asked and the best that meets "
        f"quality and load reaches {reach['latency']:.4g} ms"
    )


def _alone(name: str, point: Asked, need: Need) -> str:
    value, asked, unit = {
        "quality": (point.quality, need.quality, need.metric),
        "load": (point.load_qps, need.load_qps, UNITS["load"]),
        "latency": (point.tail_ms, need.sla_ms, UNITS["latency"]),
    }[name]
    easy = _more(value) if name == "latency" else _less(value)
    return f"{name} {easy:.4g} {unit} instead of {asked:.4g} ({point.design.label})"


def _point(point: Asked, need: Need) -> str:
    far = "to 0"  # of quality: no factor
    if math.isfinite(point.distance):
        far = f"by a factor of {math.exp(point.distance):.4g} in all"
    return (
        f"{need.metric} {_less(point.quality):.4g}, {need.tail} {_more(point.tail_ms):.4g} ms, "
        f"{_less(point.load_qps):.4g} queries/s ({' and '.join(point.moved)} moved, {far}): "
        f"{point.design.label}"
    )


def choice_text(choice: Choice, rows: int = 10) -> str:
    """Return the best `rows` placements as a table, then the explanation."""
    need = choice.need
    head = ["pipeline", need.metric, "idle [ms]", "p50 [ms]", f"{need.tail} [ms]",
            "saturates [queries/s]", ""]  # fmt: skip
    lines = []
    for option in choice.options[:rows]:
        values = (option.quality.quality, option.idle_ms, option.p50_ms, option.tail_ms,
                  option.capacity_qps)  # fmt: skip
        cells = [f"{value:.4g}" if math.isfinite(value) else "-" for value in values]
        verdict = "feasible" if option.feasible else _reason(option, need)
        lines.append([option.design.label, *cells, verdict])
    asked = (
        f"{choice.looked_at} pipelines at {need.load_qps:.4g} queries/s ({choice.arrivals}), "
        f"{choice.settled} settle; the best way of each placement:"
    )
    return "\n".join((asked, format_table(head, lines), *_again(choice), *_lines(choice)))


def _less(value: float, digits: int = DIGITS) -> float:
    """Return a number of so many digits that is no larger."""
    return float(Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(repr(float(value))))


def _more(value: float, digits: int = DIGITS) -> float:
    """Return a number of so many digits that is no smaller."""
    return float(Context(prec=digits, rounding=ROUND_CEILING).create_decimal(repr(float(value))))


def _number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{JSON_DIGITS}g}")


def _option_json(option: Candidate | None, need: Need) -> dict[str, Any] | None:
    if option is None:
        return None
    design, quality = option.design, option.quality
    return {
        "pipeline": design.label,
        "models": list(design.funnel.models),
        "items": list(design.funnel.items),
        "devices": list(design.devices),
        "retrieval_k": design.funnel.retrieval_k,
        "retrieval_device": design.retrieval or None,
        "shards": design.shards,
        "batch_items": design.batch,
        "split": design.split or None,
        "sub_batches": design.sub_batches,
        "quality": _number(quality.quality),
        "quality_low": _number(quality.low),
        "quality_high": _number(quality.high),
        "quality_source": quality.source,
        "load_qps": _number(option.load_qps),
        "idle_ms": _number(option.idle_ms),
        "transfer_ms": _number(option.transfer_ms),
        "mean_ms": _number(option.mean_ms),
        "p50_ms": _number(option.p50_ms),
        "p95_ms": _number(option.p95_ms),
        "tail_ms": _number(option.tail_ms),
        "capacity_qps": _number(option.capacity_qps),
        "feasible": option.feasible,
        "misses": list(option.misses),
        "reason": _reason(option, need) if option.misses else "",
    }


def _again_json(look: SecondLook | None) -> dict[str, Any] | None:
    if look is None:
        return None
    return {
        "queries": look.queries,
        "quantiles_ms": {
            f"p{share:g}": dict(zip(("value", "low", "high"), map(_number, values), strict=True))
            for share, values in look.spread_ms.items()
        },
        "verdict": look.verdict.value if look.verdict else None,
        "verdict_queries": look.judged,
    }


def _asked_json(point: Asked | None) -> dict[str, Any] | None:
    if point is None:
        return None
    return {
        "load_qps": _less(point.load_qps, JSON_DIGITS),
        "sla_ms": _more(point.tail_ms, JSON_DIGITS),
        "quality": _less(point.quality, JSON_DIGITS),
        "moved": list(point.moved),
        "distance": _number(point.distance),
        "pipeline": point.design.label,
    }


def choice_json(choice: Choice) -> dict[str, Any]:
    """Return a JSON-ready description; floats rounded to 6 significant digits."""
    need = choice.need
    return {
        "version": JSON_VERSION,
        "requirement": {
            "load_qps": need.load_qps,
            "sla_ms": need.sla_ms,
            "quality_target": need.quality,
            "quality_metric": need.metric,
            "percentile": need.percentile,
        },
        "looked_at": choice.looked_at,
        "settled": choice.settled,
        "chosen": _option_json(choice.chosen, need),
        "runner_up": _option_json(choice.runner_up, need),
        "again": {name: _again_json(choice.again.get(name)) for name in ("chosen", "runner_up")},
        "arrivals": choice.arrivals,
        "poisson": _again_json(choice.poisson),
        "qps_under_sla": None if choice.limit_qps is None else _less(choice.limit_qps, JSON_DIGITS),
        "qps_sure": [_number(load) for load in choice.sure_qps] if choice.sure_qps else None,
        "binding_constraint": choice.binding,
        "reach": {name: _number(value) for name, value in choice.reach.items()},
        "explanation": explanation(choice),
        "what_if": [
            {
                "load_qps": what_if.load_qps,
                "chosen": _option_json(what_if.best, need),
                "same": what_if.best is not None
                and choice.chosen is not None
                and what_if.best.design == choice.chosen.design,
                "kept": _option_json(what_if.kept, need),
                "binding_constraint": what_if.binding,
            }
            for what_if in choice.what_ifs
        ],
        "relaxations": {name: _asked_json(p) for name, p in choice.relaxations.items()},
        "nearest": _asked_json(choice.nearest),
        "pipelines": [_option_json(option, need) for option in choice.options],
    }
