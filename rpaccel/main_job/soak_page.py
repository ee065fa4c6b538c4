"""The page of `rpaccel soak`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.soak import (
    DEADLINE,
    DEPTH,
    FAULT,
    LANE_RESET,
    MALFORMED,
    MALFORMED_FIELDS,
    NEW_SPLIT,
    QUERIES,
    SOFT_RESET,
    SPLIT,
)

__all__ = ["soak_text"]

_PAGE = """\
# Random queries under everything at once

Written by `rpaccel soak{options}`: random queries on the Verilated netlist of a small machine
(`{name}` of `rpaccel/main_job/soak.py`: {size} x {size} MACs in blocks of {block}, {lanes} lanes,
{funnels} funnels), {depth} in flight, of 1 to 3 stages with models of their own in tasks of every
mode, on lanes that were drawn; {sessions} sets of rankers and timings of the memory. {queries:,}
queries, no wrong answer: every answer was the golden model's bit for bit and kept its deadline, or
said that the query was given up, brought nothing, and had a cause: its deadline had passed, or one
of its lanes or the device was reset after it was asked; or, while memory failed, said MEMORY.
{cycles:,} cycles in {cpu:.0f} s of CPU. Seed {seed}.

One query in {deadline} has a deadline of up to 20,000 cycles; one in {malformed} a field that is
wrong, {fields} in all, and must get the status of its class. After one in {lane_reset} a lane is
reset at a random cycle, after one in {soft_reset} the whole device; after one in {fault} a part of
a table fails; after one in {new_split} the array is split in another way while queries are in
flight, and the models are loaded again.

## What happened
{events}

## Statuses
{outcomes}

## Stages
{stages}
"""


def soak_text(report: Mapping[str, Any]) -> str:
    """Return the page of a report of `soak`."""
    options = "" if report["queries"] == QUERIES else f" --queries {report['queries']}"
    options += f" --seed {report['seed']}" if report["seed"] else ""
    options += f" --trace FILE --traced {report['traced']}" if report["traced"] else ""

    def table(title: str, counts: Mapping[Any, int]) -> str:
        return markdown_table(
            [title, "count"], [[str(name), f"{count:,}"] for name, count in counts.items()]
        )

    return _PAGE.format(
        options=options,
        name=SPLIT.name,
        size=SPLIT.array_size,
        block=SPLIT.block_size,
        lanes=SPLIT.lanes,
        funnels=SPLIT.funnels,
        depth=DEPTH,
        sessions=report["sessions"],
        queries=report["queries"],
        cycles=report["cycles"],
        cpu=report["cpu_seconds"],
        seed=report["seed"],
        deadline=DEADLINE,
        malformed=MALFORMED,
        fields=len(MALFORMED_FIELDS),
        lane_reset=LANE_RESET,
        soft_reset=SOFT_RESET,
        fault=FAULT,
        new_split=NEW_SPLIT,
        events=table("event", report["events"]),
        outcomes=table("status", report["outcomes"]),
        stages=table("stages", report["stages"]),
    )
