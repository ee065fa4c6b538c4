"""The page of `rpaccel row-study`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rpaccel.host.row_study import StudyRow, UpdateRow
from rpaccel.main_job.markdown import markdown_table

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
_UPDATES = """
## While rows are updated
Zipf-like reads of 4096 rows, alone and beside a writer that keeps the queue of row updates full.
Every answer is one version of its row, and none is older than the last that was done when the row
was asked for. One update in eight is not newer than its row. *Reads*: cycles of the reads alone
over those beside the updates.

"""
_UPDATE_HEAD = ("memory", "row [B]", "cycles/update", "updates/s at 300 MHz", "reads [%]")


def row_study_text(rows: Sequence[StudyRow], updates: Sequence[UpdateRow]) -> str:
    """Return the page; the same rows give the same bytes."""
    cells = [
        [
            row.memory,
            str(row.row_bytes),
            f"{row.run.beats_per_cycle:.3f}",
            f"{row.ideal_beats_per_cycle:.3f}",
            f"{row.peak_beats_per_cycle:.3f}",
            f"{100 * row.of_ideal:.1f}",
            f"{100 * row.of_peak:.1f}",
        ]
        for row in rows
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
    return _TEXT + markdown_table(_HEAD, cells) + _UPDATES + markdown_table(_UPDATE_HEAD, changed)


def row_study_values(
    rows: Sequence[StudyRow], updates: Sequence[UpdateRow]
) -> dict[str, list[dict[str, Any]]]:
    """Return the figures for JSON, one entry per row."""
    return {
        "rows": [asdict(row) | {"of_ideal": row.of_ideal, "of_peak": row.of_peak} for row in rows],
        "updates": [
            asdict(row) | {"rows_per_second": row.rows_per_second, "read_share": row.read_share}
            for row in updates
        ],
    }
