"""`rpaccel area`: gate equivalents and mm2 of `paper` at 12 nm, beside the paper's figure 11."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rpaccel.host.asic_area import FILL, NAND2_UM2, logic_um2, macro_um2, unit_gates
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.markdown import markdown_table
from rpaccel.perfmodel.row_hits import cache_bytes
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator

__all__ = ["GATES_EACH", "AreaReport", "AreaRow", "area_of", "area_report", "area_text"]

MACRO_BYTES = 32 << 10  # of the array's memories; the caches' are of 256 KB, as the paper's
# RecPipe's figure 11 by its artifact's reports [mm2]: baseline, RPAccel.
PAPER_MM2 = {
    "array, sums, crossbars": (8.124, 8.627), "filters": (0.0, 0.464),
    "activation memory": (3.730, 4.796), "weight memory": (2.933, 2.933),
    "embedding memory": (11.731, 11.731),
}  # fmt: skip
# NAND2 equivalents of each component: docs/generated/area.md, which `make area` writes; the split:
# of a block of 32 x 32 there.
GATES_EACH = {
    "cells": 1_531, "requantisers": 4_924, "interaction engines": 72_062,
    "gather shares": 73_257, "filters": 28_505, "served lists": 101_588,
    "split of the array": 218_610 / 32, "prefetcher": 8_562, "task grant": 8_536,
}  # fmt: skip
# RecPipe section 6.2: what splitting costs without memories, area and power [%]; Planaria's.
PAPER_FISSION = (6.2, 10.7)


@dataclass(frozen=True, kw_only=True)
class AreaRow:
    """A component. idea : that it is there for; empty: the base has it. gates : of one."""

    name: str
    idea: str
    count: float
    gates: float
    mm2: float


@dataclass(frozen=True, kw_only=True)
class AreaReport:
    """All components of a machine."""

    rows: tuple[AreaRow, ...]

    def mm2(self, *, ideas: bool, memories: bool = True) -> float:
        """Return the area of the base, or of what the ideas add [mm2]."""
        return sum(
            row.mm2 for row in self.rows if bool(row.idea) == ideas and (memories or row.gates)
        )

    @property
    def overhead(self) -> float:
        """What the ideas add to the base [%]."""
        return 100 * self.mm2(ideas=True) / self.mm2(ideas=False)

    @property
    def fission(self) -> float:
        """What splitting the array adds to the logic of the array [%]."""
        split = sum(row.mm2 for row in self.rows if row.idea == "O.3")
        return 100 * split / sum(row.mm2 for row in self.rows if row.name in ARRAY)

    def to_json(self) -> dict[str, Any]:
        """Return everything that is printed."""
        return asdict(self) | {"overhead_percent": self.overhead, "fission_percent": self.fission}


ARRAY = ("cells", "requantisers")


def _small(base: AcceleratorConfig, **changes: object) -> AcceleratorConfig:
    return AcceleratorConfig.model_validate(base.model_dump() | changes)


def _memories(config: AcceleratorConfig) -> list[AreaRow]:
    width = config.array_size
    static, ahead = cache_bytes(config)
    sizes = {
        "weights": (config.weight_words * width, MACRO_BYTES),
        "activations, two": (2 * config.act_words * width, MACRO_BYTES),
        "vectors, crossed, dense, two banks": (
            2 * (config.feature_words + config.cross_words + config.dense_words) * width,
            MACRO_BYTES,
        ),
        "embedding caches": (static + ahead, 256 << 10),
    }
    return [
        AreaRow(name=f"{name}: {size / 2**20:.2f} MiB", idea="", count=1, gates=0.0,
                mm2=1e-6 * macro_um2(size, macro))
        for name, (size, macro) in sizes.items()
    ]  # fmt: skip


def area_of(config: AcceleratorConfig, gates: Mapping[str, float]) -> AreaReport:
    """Return the area of a machine.

    gates : of one of each component, by name (GATES_EACH has them); `split of the array`: of a
    block, by its side in cells. A machine of one lane splits nothing.
    """
    each = dict(gates) | {"split of the array": gates["split of the array"] * config.block_size}
    parts = [
        ("cells", "", config.array_macs),
        ("requantisers", "", config.array_size),
        ("interaction engines", "", config.engines),
        ("gather shares", "", config.gather_ports),
        ("filters", "O.2", config.funnels),
        ("served lists", "O.2", config.funnels),
        ("split of the array", "O.3", config.blocks**2 if config.lanes > 1 else 0),
        ("prefetcher", "O.4", 1),
        ("task grant", "O.5", 1),
    ]
    logic = [
        AreaRow(name=name, idea=idea, count=count, gates=each[name],
                mm2=1e-6 * logic_um2(count * each[name]))
        for name, idea, count in parts
    ]  # fmt: skip
    return AreaReport(rows=(*logic, *_memories(config)))


def area_report(
    *, build_dir: Path = BUILD_DIR, progress: Callable[[str], None] = print
) -> AreaReport:
    """Return the report: gates of units of `tiny`, `edge` and `paper`, times how many there are.

    Cells, requantisers, gather shares and interaction engines are alike and counted from small
    machines. Splitting: an array of four blocks for five lanes against one block for one, of
    8 x 8; by the side of a block, to 16 blocks of 32.
    """
    paper, tiny, edge = (load_accelerator(name) for name in ("paper", "tiny", "edge"))
    side = tiny.array_size

    def gates(config: AcceleratorConfig, unit: str) -> float:
        return unit_gates(config, (unit,), build_dir=build_dir, progress=progress)[unit]

    one = _small(tiny, name="whole", block_size=side, lanes=1, lane_blocks=())
    four = _small(tiny, name="split", block_size=side // 2, lanes=5, lane_blocks=(2, 1, 1, 1, 1))
    edges = gates(four, "systolic_array") - gates(one, "systolic_array")
    found = {
        "cells": gates(tiny, "cells") / side**2,
        "requantisers": gates(tiny, "vector_unit") / side,
        "interaction engines": gates(edge, "interaction") / edge.engines,
        "gather shares": gates(tiny, "gather") / tiny.gather_ports,
        "filters": gates(paper, "bucket_filter"),
        "served lists": gates(paper, "ordered_top_n"),
        "split of the array": edges / 4 / (side // 2),
        "prefetcher": gates(paper, "prefetcher"),
        "task grant": gates(paper, "task_grant"),
    }
    return area_of(paper, found)


def area_text(report: AreaReport) -> str:
    """Return docs/generated/area.md."""
    base = report.mm2(ideas=False)
    table = markdown_table(
        ["component", "for", "count", "NAND2 each", "mm2", "of the base [%]"],
        [
            [row.name, row.idea or "base", f"{row.count:,.0f}", f"{row.gates:,.0f}" if row.gates
             else "-", f"{row.mm2:.3f}", f"{100 * row.mm2 / base:.2f}"]
            for row in report.rows
        ],
    )  # fmt: skip
    least, most = (sum(pair[n] for pair in PAPER_MM2.values()) for n in (0, 1))
    theirs = markdown_table(
        ["component", "baseline [mm2]", "RPAccel [mm2]", "of the base [%]"],
        [
            [name, f"{a:.3f}", f"{b:.3f}", f"{100 * (b - a) / least:+.2f}"]
            for name, (a, b) in PAPER_MM2.items()
        ]
        + [["sum", f"{least:.2f}", f"{most:.2f}", f"{100 * (most / least - 1):+.2f}"]],
    )
    return f"""# Area at 12 nm

Written by `rpaccel area` (`make area`): gates of Yosys without ABC (an upper bound),
a NAND2 of {NAND2_UM2:.3f} um2 (four transistors of GlobalFoundries 12LP's 36.71 million a mm2),
{100 * FILL:.0f} % of a block filled (assumed). Memories: macros of RecPipe's reports, the array's
of 32 KB, the caches' of 256 KB. `host/asic_area.py` has the sources.

## `paper`, 128 x 128
Base {base:.2f} mm2, what the ideas add {report.mm2(ideas=True):.2f} mm2:
{report.overhead:+.2f} %. Splitting adds {report.fission:+.1f} % to the array's logic: its share is
scaled up from blocks of 4 x 4 with five lanes, by the side of a block, and is the least certain of
these numbers. Not counted: funnels' other parts, sequencers, row network, memory fabric, loader,
registers, retrieval, tags; clock tree and wires.

{table}
## Beside the paper
RecPipe's reports, int16 with sums of 64 bits, base {least:.2f} mm2 (ours {base:.2f}, int8 with
sums of 32): {100 * (most / least - 1):+.2f} %. Its filters are
1,024, one per 4 x 4 block; one per sub-array would be next to nothing. Its larger part are banked
activation memories; ours are the same macros in both.

{theirs}"""
