"""The page of `rpaccel units`: what every unit costs, synthesised alone."""

from __future__ import annotations

from collections.abc import Mapping

from rpaccel.host.unit_costs import RESOURCES
from rpaccel.main_job.markdown import markdown_table

__all__ = ["modules_text", "units_text"]


def units_text(costs: Mapping[str, Mapping[str, int]], preset: str, family: str) -> str:
    """Return the Markdown of `unit_costs`; the same costs give the same bytes."""
    rows = [[unit, *(f"{cost[name]:,}" for name in RESOURCES)] for unit, cost in costs.items()]
    return _TEXT.format(
        preset=preset, family=family, table=markdown_table(["unit", *RESOURCES], rows)
    )


def modules_text(
    costs: Mapping[str, Mapping[str, int]], unit: str, preset: str, family: str, macs: int
) -> str:
    """Return the Markdown of `module_costs`; the same costs give the same bytes.

    macs : of the preset's array.
    """
    names = ("instances", *RESOURCES)
    rows = [[module, *(f"{cost[name]:,}" for name in names)] for module, cost in costs.items()]
    sums = [f"{sum(cost[name] for cost in costs.values()):,}" for name in names]
    return _MODULES.format(
        unit=unit,
        preset=preset,
        family=family,
        macs=macs,
        per_mac=sum(cost["lut"] for cost in costs.values()) / macs,
        table=markdown_table(["module", *names], [*rows, ["sum", *sums]]),
    )


_MODULES = """\
# What is inside `{unit}`

Written by `rpaccel units --preset {preset} --family {family} --inside {unit}`: every distinct
module is synthesised once by Yosys, apart from its children; a row is all its instances. In all
{per_mac:.1f} LUT for each of the array's {macs:,} MACs.

{table}"""

_TEXT = """\
# What each unit costs

Written by `rpaccel units --preset {preset} --family {family} --out docs/generated/units.md`: every
unit of the preset is synthesised alone with Yosys, so that nothing of it is shared with others or
optimised away by them. On ecp5: lut is of the LUT4 class, lutram counts TRELLIS_DPR16X4.

{table}"""
