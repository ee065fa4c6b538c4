"""The page of `rpaccel row-study`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rpaccel.host.row_bounds import BoundRow
from rpaccel.host.row_study import StudyRow, UpdateRow, readers_of, reads_of
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.paper_gather import GatherRate
from rpaccel.perfmodel.row_banks import ROWS_WAITING

__all__ = ["row_study_text", "row_study_values"]

_HEAD = (
    "memory", "row [B]", "ours [beats/cycle]", "ideal", "peak", "of ideal [%]", "of peak [%]"
)  # fmt: skip

_TEXT = """\
# What row banks get of a memory

Written by `rpaccel row-study`: rows at random over 64 MiB through one port of 64-byte beats with
its row banks, in the netlist of `rtl/row_system.py`, every answer compared; the ideal requester
(unlimited reads in flight, the same order) on the same trace; and the most that port and memory
carry at 300 MHz. A row above 256 B is asked for in parts of 256 B. The memories are those of
[the memory model](../memory_model.md).

"""
_SEVERAL = """
## Several ports
The same with as many banks for each port, every port with a memory of its own; {readers}.
Rows are dealt to readers in turn. In flight: rows that a reader has asked for and not got. The
ideal requester of each port reads its own in that order. *Ideal of peak*: a finite trace at random
does not load all ports equally, ours or the ideal one's.

"""
_SEVERAL_HEAD = (
    "ports", "memory", "row [B]", "ours [beats/cycle]", "ideal", "peak", "of ideal [%]",
    "of peak [%]", "ideal of peak [%]",
)  # fmt: skip
_BOUNDS = """
## What bounds several ports
Shares of the ideal requester's beats [%], rows of 256 B, memory `simple`, in
`perfmodel/row_banks.py`, which is equal to the netlist cycle for cycle. *In flight*: rows of one
reader, asked for and not got.

A bank holds {waiting} rows that wait and {flying} on their way; the banks of a port hold {held}. A
reader asks in order: if the bank of its next row is full, it stops, and the banks that it would
have asked next run dry. So the readers of a port should have fewer rows in flight than its banks
hold, and more than its memory needs: the study above gives all readers of a port 128 together.
More in flight is less, most of all with few readers, and so is a shorter queue before each bank; a
longer one gives the loss back at the same readers and reads in flight.

One reader per port stays behind with any window: it takes one answer per cycle, no more than its
port gives, and an answer that waits for its turn at its reader keeps its bank.

"""
_QUEUES = """
Two readers per port, {reads} rows of each in flight, and other queues before each bank (the
netlist's: {waiting}):

"""
_GATHER = """
## Rows that hit, for the whole array of `paper`
All its gather ports on its row banks, 26 single-hot tables and 13 dense values an item, records
from memory (32 cycles); in `perfmodel/traced_gather.py`, which is equal to the netlist cycle for
cycle where that is compared ([validation.md](validation.md); up to four ports). Any row of a table
with equal probability, all of them in a cache. 13: what the port of the dense values allows. The
goal is 10.

"""
_GATHER_HEAD = ("row [B]", "rows of a table", "in", "ports", "rows/cycle", "beats read [%]")
GOALS = (("of ideal", 95, 0), ("of peak", 90, 256))  # [%], for rows of so many bytes and more
_UPDATES = """
## While rows are updated
Zipf-like reads of 4096 rows, alone and beside a writer that keeps the queue of row updates full.
Every answer is one version of its row, and none is older than the last that was done when the row
was asked for. One update in eight is not newer than its row. *Reads*: cycles of the reads alone
over those beside the updates.

"""
_UPDATE_HEAD = ("memory", "row [B]", "cycles/update", "updates/s at 300 MHz", "reads [%]")


def _goals(rows: Sequence[StudyRow]) -> str:
    """Return what is missed, and whether the ideal requester misses it too."""
    lines = []
    for name, goal, least_bytes in GOALS:
        missed = []
        for row in rows:
            share = 100 * (row.of_ideal if name == "of ideal" else row.of_peak)
            if row.row_bytes < least_bytes or share >= goal:
                continue
            ports = f"{row.ports} ports, " if row.ports > 1 else ""
            note = f"{ports}{row.memory}, {row.row_bytes} B: {share:.1f}"
            if name == "of peak":
                ideal = 100 * row.ideal_of_peak
                why = ": it misses the goal, too" if ideal < goal else ""
                note += f" (the ideal requester itself: {ideal:.1f}{why})"
            missed.append(note)
        of = f", rows of {least_bytes} B and more" if least_bytes else ""
        lines.append(f"* {goal} % {name}{of}: " + ("; ".join(missed) if missed else "kept") + ".")
    return "\nGoals, and what misses them [%]:\n" + "\n".join(lines) + "\n"


def _shares(row: StudyRow) -> list[str]:
    return [
        row.memory,
        str(row.row_bytes),
        f"{row.run.beats_per_cycle:.3f}",
        f"{row.ideal_beats_per_cycle:.3f}",
        f"{row.peak_beats_per_cycle:.3f}",
        f"{100 * row.of_ideal:.1f}",
        f"{100 * row.of_peak:.1f}",
    ]


def _several(rows: Sequence[StudyRow]) -> str:
    """Return the table of several ports; empty without one."""
    if not rows:
        return ""
    ports = sorted({row.ports for row in rows})
    readers = ", ".join(
        f"{readers_of(count)} readers of {reads_of(count)} in flight at {count} ports"
        for count in ports
    )
    cells = [[str(row.ports), *_shares(row), f"{100 * row.ideal_of_peak:.1f}"] for row in rows]
    return _SEVERAL.format(readers=readers) + markdown_table(_SEVERAL_HEAD, cells) + _goals(rows)


def _bounds(rows: Sequence[BoundRow]) -> str:
    """Return the tables of what bounds several ports; empty without rows."""
    if not rows:
        return ""
    usual = [row for row in rows if row.rows_waiting == ROWS_WAITING]
    other = [row for row in rows if row.rows_waiting != ROWS_WAITING]
    first = usual[0]
    text = _BOUNDS.format(
        waiting=ROWS_WAITING, flying=first.held // first.banks - ROWS_WAITING, held=first.held
    )
    reads = sorted({row.reads for row in usual})
    text += _pivot(
        ("ports", "readers of a port", *(f"{count} in flight" for count in reads)),
        [((row.ports, row.readers // row.ports), row) for row in usual],
    )
    if other:
        asked = {(row.ports, row.readers, row.reads) for row in other}
        same = [row for row in rows if (row.ports, row.readers, row.reads) in asked]
        queues = sorted(same, key=lambda row: (row.ports, row.rows_waiting))
        depths = sorted({row.rows_waiting for row in queues})
        text += _QUEUES.format(reads=other[0].reads, waiting=ROWS_WAITING) + _pivot(
            ("ports", *(f"{depth} rows wait" for depth in depths)),
            [((row.ports,), row) for row in queues],
        )
    return text


def _pivot(head: Sequence[str], rows: Sequence[tuple[tuple[int, ...], BoundRow]]) -> str:
    """Return a line per key, with the shares of its rows in their order."""
    lines: dict[tuple[int, ...], list[str]] = {}
    for key, row in rows:
        lines.setdefault(key, [str(part) for part in key]).append(f"{100 * row.of_ideal:.1f}")
    return markdown_table(head, list(lines.values()))


def row_study_text(
    rows: Sequence[StudyRow],
    updates: Sequence[UpdateRow],
    several: Sequence[StudyRow] = (),
    gather: Sequence[GatherRate] = (),
    bounds: Sequence[BoundRow] = (),
) -> str:
    """Return the page; the same rows give the same bytes. several : of more than one port."""
    hits = [
        [
            str(rate.row_bytes),
            str(rate.rows),
            "static caches" if rate.pinned else "look-ahead caches",
            str(rate.ports),
            f"{rate.rows_per_cycle:.2f}",
            f"{100 * rate.read_share:.1f}",
        ]
        for rate in gather
    ]
    changed = [
        [
            row.memory,
            str(row.row_bytes),
            f"{row.cycles_each:.0f}",
            f"{row.rows_per_second:,.0f}",
            f"{100 * row.read_share:.1f}",
        ]
        for row in updates
    ]
    return (
        _TEXT
        + markdown_table(_HEAD, [_shares(row) for row in rows])
        + _goals(rows)
        + _several(several)
        + _bounds(bounds)
        + (_GATHER + markdown_table(_GATHER_HEAD, hits) if hits else "")
        + _UPDATES
        + markdown_table(_UPDATE_HEAD, changed)
    )


def row_study_values(
    rows: Sequence[StudyRow],
    updates: Sequence[UpdateRow],
    several: Sequence[StudyRow] = (),
    gather: Sequence[GatherRate] = (),
    bounds: Sequence[BoundRow] = (),
) -> dict[str, list[dict[str, Any]]]:
    """Return the figures for JSON, one entry per row."""

    def shares(row: StudyRow) -> dict[str, Any]:
        of = {"of_ideal": row.of_ideal, "of_peak": row.of_peak, "ideal_of_peak": row.ideal_of_peak}
        return asdict(row) | of

    return {
        "rows": [shares(row) for row in rows],
        "several": [shares(row) for row in several],
        "bounds": [asdict(row) for row in bounds],
        "gather": [asdict(rate) for rate in gather],
        "updates": [
            asdict(row) | {"rows_per_second": row.rows_per_second, "read_share": row.read_share}
            for row in updates
        ],
    }
