"""The page of `rpaccel row-model`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rpaccel.host.row_model import KINDS, METRICS, PREFETCHERS, ModelPoint, machine
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.row_traffic import PROFILE_QUERIES, TrafficRow

__all__ = ["row_model_text", "row_model_values"]

_TEXT = """\
# The model of the row banks, and the traffic that they save

Written by `rpaccel row-model`: `perfmodel/row_banks.py` beside the netlist of `rtl/row_system.py`.

## Errors
{points} points on {machines} netlists: rows that are {kinds}; 1 to as many readers as the
netlist has; rows of 1 beat up to its largest; constant latencies of 8 to 200 cycles, and the banks
of DDR4 and HBM2 at 250 MHz. Where there are static caches (*lines* of each bank), rows are of both
stages, down to 4 bytes, with pauses between them, and in three of four points the first ones are
pinned, at a random split; *ahead*: prefetchers, which ask for some of the readers' rows.

Error: difference over the netlist's figure. *Found*: beats that hit or merged; *read*: that
missed or were refused; *port beats*: of the port that is worst; *exposed*: cycles beyond one per
beat of the busiest reader, where those are more than 5 % of all.

{errors}
{equal} of {points} points are equal in every one of these figures.

{netlists}
The model ran {rate:.2f} million beats per second of one core (`default`, Zipf-like rows, constant
latency of 32 cycles), when this page was written.

## Traffic on real traces
Rows as the gather unit asks for them: a stage's user rows once, then item after item. {log} on
`edge`, the two-stage queries of the main job one after another; a Criteo-like trace of all 26
tables on `default`, a query of both int8 rankers for each of four readers. Beats:

* *asked*: what the rows hold: read if nothing is merged and nothing kept (counted in the trace);
* *in flight*: read if only equal rows in flight are read once, with as many rows in flight as the
  readers can have (counted in the trace);
* *read*: by the netlist, with its look-ahead caches, which merge too; *saved*: of those asked for.

{traffic}
## With pinned rows
The same with static caches, which are looked up first: `edge` and `default` as they are. *In them*:
beats of the rows that {profile} other queries name most often, half of the lines for each stage.
*Pinned*: beats that the static caches answered; *found*: that the look-ahead caches had, or
merged; *read*, *saved*: as above.

{pinned}
"""
_ERROR_HEAD = ("figure", "points", "mean [%]", "median [%]", "p95 [%]", "worst [%]")
_NETLIST_HEAD = (
    "netlist", "readers", "banks", "ports", "sets", "ways", "reads", "beat [B]", "beats/row", "ids",
    "lines", "ahead", "points", "equal",
)  # fmt: skip
_TRAFFIC_HEAD = (
    "trace", "memory", "rows", "asked", "in flight", "saved [%]", "read", "saved [%]", "model",
    "cycles", "model",
)  # fmt: skip


_PINNED_HEAD = (
    "trace", "memory", "in them", "asked", "pinned", "found", "read", "saved [%]", "model",
    "cycles", "model",
)  # fmt: skip


def row_model_text(points: Sequence[ModelPoint], traffic: Sequence[TrafficRow], rate: float) -> str:
    """Return the page. rate : beats per second of the model; the rest repeats byte for byte."""
    names = list(dict.fromkeys(point.machine for point in points))
    return (
        _TEXT.format(
            points=len(points),
            machines=len(names),
            kinds=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}",
            errors=markdown_table(_ERROR_HEAD, [_error_cells(name, points) for name in METRICS]),
            equal=_equal(points),
            netlists=markdown_table(
                _NETLIST_HEAD, [_netlist_cells(name, points) for name in names]
            ),
            rate=rate / 1e6,
            log=traffic[0].trace.split(",")[0],
            traffic=markdown_table(
                _TRAFFIC_HEAD, [_traffic_cells(row) for row in traffic if not row.pins]
            ),
            profile=PROFILE_QUERIES,
            pinned=markdown_table(
                _PINNED_HEAD, [_pinned_cells(row) for row in traffic if row.pins]
            ),
        ).rstrip()
        + "\n"
    )


def row_model_values(
    points: Sequence[ModelPoint], traffic: Sequence[TrafficRow], rate: float
) -> dict[str, Any]:
    """Return the figures for JSON."""
    return {
        "points": [asdict(point) | {"errors": point.errors} for point in points],
        "traffic": [asdict(row) | {"read": row.read} for row in traffic],
        "beats_per_second": rate,
    }


def _equal(points: Sequence[ModelPoint]) -> int:
    return sum(not any(point.errors.values()) for point in points)


def _error_cells(name: str, points: Sequence[ModelPoint]) -> list[str]:
    errors = [100 * point.errors[name] for point in points if name in point.errors]
    figures = (np.mean(errors), np.median(errors), np.percentile(errors, 95), np.max(errors))
    return [name, str(len(errors)), *(f"{figure:.2f}" for figure in figures)]


def _netlist_cells(name: str, points: Sequence[ModelPoint]) -> list[str]:
    config, readers = machine(name)
    own = [point for point in points if point.machine == name]
    sizes = (
        readers, config.banks, config.memory_ports, config.row_cache_sets, config.row_cache_ways,
        config.row_reads, config.beat_bytes, config.row_beats_max, 1 << config.axi_id_bits,
        config.static_cache_lines, PREFETCHERS.get(name, 0), len(own), _equal(own),
    )  # fmt: skip
    return [name, *map(str, sizes)]


def _saved(row: TrafficRow, read: int) -> str:
    return f"{100 * (1 - read / row.asked):.1f}"


def _traffic_cells(row: TrafficRow) -> list[str]:
    return [
        row.trace,
        row.memory,
        f"{row.rows:,}",
        f"{row.asked:,}",
        f"{row.in_flight:,}",
        _saved(row, row.in_flight),
        f"{row.read:,}",
        _saved(row, row.read),
        f"{sum(row.model.port_beats):,}",
        f"{row.rtl.cycles:,}",
        f"{row.model.cycles:,}",
    ]


def _pinned_cells(row: TrafficRow) -> list[str]:
    counts = (row.pins, row.asked, row.rtl.pinned, row.rtl.hits + row.rtl.merged, row.read)
    return [
        row.trace,
        row.memory,
        *(f"{count:,}" for count in counts),
        _saved(row, row.read),
        f"{sum(row.model.port_beats):,}",
        f"{row.rtl.cycles:,}",
        f"{row.model.cycles:,}",
    ]
