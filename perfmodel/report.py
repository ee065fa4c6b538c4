"""What the performance model answers: cycles of a query by stage and unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rpaccel.spec.isa import MAX_STAGES

UNIT_FIELDS = ("gather_cycles", "array_cycles", "interaction_cycles", "filter_cycles")


@dataclass(frozen=True, kw_only=True)
class SubBatchReport:
    """One sub-batch on the stage's timeline; times count from the stage's first cycle [cycles].

    compute_start : the sequencer takes it. released : its gathered data have been used.
    compute_end : after its last logit. alone_cycles : its computing if it were the only one.
    """

    items: int
    gather_start: int
    gather_end: int
    compute_start: int
    released: int
    compute_end: int
    alone_cycles: int


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One stage. Unit fields are the completion's: cycles in which that unit was busy."""

    model: str
    items: int
    stage_cycles: int  # first cycle of the stage to the first of the next, or to the query's end
    gather_cycles: int
    array_cycles: int
    interaction_cycles: int
    filter_cycles: int
    overhead_cycles: int  # stage_cycles outside the sub-batches' timeline
    sub_batches: tuple[SubBatchReport, ...] = ()

    @property
    def lower_bound_cycles(self) -> int:
        """No schedule is shorter: the busiest of gather, array and interaction."""
        gather = sum(b.gather_end - b.gather_start for b in self.sub_batches)
        return max(gather, self.array_cycles, self.interaction_cycles)

    @property
    def serial_cycles(self) -> int:
        """No schedule without idle time is longer: gather and compute one after the other."""
        return self.overhead_cycles + sum(
            b.alone_cycles + b.gather_end - b.gather_start for b in self.sub_batches
        )


@dataclass(frozen=True, kw_only=True)
class QueryReport:
    """A whole query. total_cycles = control_cycles + all stage_cycles."""

    stages: tuple[StageReport, ...]
    start_cycles: int  # before the first stage
    control_cycles: int  # outside the stages: the start, and going from stage to stage

    @property
    def total_cycles(self) -> int:
        """From the cycle after a lane takes the query until it offers its completion."""
        return self.control_cycles + sum(stage.stage_cycles for stage in self.stages)

    def completion(self) -> dict[str, int]:
        """Return the cycle fields of spec.isa.COMPLETION, and `items`; absent stages are 0."""
        fields = {"total_cycles": self.total_cycles}
        for index in range(MAX_STAGES):
            stage = self.stages[index] if index < len(self.stages) else None
            for name in ("items", "stage_cycles", *UNIT_FIELDS):
                fields[f"{name}{index}"] = getattr(stage, name) if stage else 0
        return fields


def breakdown_rows(report: QueryReport) -> list[dict[str, int | str]]:
    """Return one row per stage and one of control, whose `stage_cycles` sum to the total."""
    rows: list[dict[str, int | str]] = [
        {
            "stage": f"{index} {stage.model}",
            "items": stage.items,
            "stage_cycles": stage.stage_cycles,
            **{name: getattr(stage, name) for name in UNIT_FIELDS},
        }
        for index, stage in enumerate(report.stages)
    ]
    rows.append({"stage": "control", "stage_cycles": report.control_cycles})
    return rows


def format_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as aligned text, first column left, the others right."""
    table = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[c]) for row in table) for c in range(len(header))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
