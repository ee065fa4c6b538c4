"""`rpaccel energy`: energies per operation, energy of a query, queries per second and watt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.paper_loads import capacity_qps, criteo_pipelines
from rpaccel.perfmodel.energy import (
    CELL_BITS,
    QueryActivity,
    clock_watts,
    energy_uj,
    queries_per_joule,
    query_activity,
)
from rpaccel.perfmodel.energy_tables import (
    DRAM_PJ_PER_BIT,
    FLIP_FLOP_PJ,
    LINK_PJ_PER_BIT,
    NODE_12,
    NODES,
)
from rpaccel.scheduler.paper_pipelines import PipelineSetup
from rpaccel.spec.isa import RESULT

__all__ = ["COMMON_LOAD_QPS", "EnergyRow", "activity_of", "energy_rows", "energy_text"]

COMMON_LOAD_QPS = 500.0  # that one stage and several serve
# RecPipe's table 2 (TDP) and figures 7 and 8: the load at NDCG 92.25 that a platform still serves.
PAPER_PLATFORMS = {"CPU, two stages": (300.0, 500.0), "GPU, one stage": (70.0, 175.0)}
# RecPipe's figure 11, from its artifact's reports [mW]: baseline, RPAccel.
PAPER_POWER_MW = (3653.0, 4655.0)


@dataclass(frozen=True, kw_only=True)
class EnergyRow:
    """A pipeline. parts_uj : of a query, 12 nm, DDR4. capacity_qps : of machine and link."""

    name: str
    activity: QueryActivity
    parts_uj: Mapping[str, float]
    hbm2_uj: float
    capacity_qps: float
    clock_w: float

    @property
    def query_uj(self) -> float:
        """Energy of a query without the clock [uJ]."""
        return sum(self.parts_uj.values())

    def watts(self, qps: float) -> float:
        """Return the power at a load [W]."""
        return 1e-6 * self.query_uj * qps + self.clock_w

    def qps_per_watt(self, qps: float) -> float:
        """Return queries per second and watt at a load."""
        return queries_per_joule(self.query_uj, qps, self.clock_w)

    def on_chip_watts(self, qps: float | None = None) -> float:
        """Return the power without DRAM and link, at a load or at the capacity [W]."""
        inside = sum(uj for name, uj in self.parts_uj.items() if name not in ("DRAM", "link"))
        return 1e-6 * inside * (self.capacity_qps if qps is None else qps) + self.clock_w

    def to_json(self) -> dict[str, Any]:
        """Return everything that is printed."""
        return {
            "name": self.name,
            "activity": asdict(self.activity),
            "parts_uj": dict(self.parts_uj),
            "query_uj": self.query_uj,
            "query_hbm2_uj": self.hbm2_uj,
            "capacity_qps": self.capacity_qps,
            "qps_per_watt": self.qps_per_watt(self.capacity_qps),
            "qps_per_watt_at_500": self.qps_per_watt(COMMON_LOAD_QPS),
        }


def activity_of(setup: PipelineSetup) -> QueryActivity:
    """Return what a query of a pipeline does."""
    stages = [
        (
            stage.network,
            setup.machine.lanes[stage.lanes[0]][stage.network.name],
            stage.items,
            stage.lanes[0],
        )
        for stage in setup.pipeline.stages
    ]
    served = setup.pipeline.served
    return query_activity(
        setup.config,
        stages,
        setup.records,
        setup.machine.row_hits,
        bytes_in=setup.pipeline.stages[0].items * setup.pipeline.item_bytes,
        bytes_out=served * RESULT.bytes,
        served=served,
    )


def energy_rows(
    names: Sequence[str] = ("one stage", "two stages", "three stages"),
) -> list[EnergyRow]:
    """Return Criteo's pipelines on `paper`: `main_job.paper_loads.criteo_pipelines`."""
    rows = []
    for name in names:
        setup = criteo_pipelines()[name]
        activity = activity_of(setup)
        rows.append(
            EnergyRow(
                name=name,
                activity=activity,
                parts_uj=energy_uj(activity),
                hbm2_uj=sum(energy_uj(activity, dram="hbm2").values()),
                capacity_qps=capacity_qps(setup),
                clock_w=clock_watts(setup.config, setup.platform.accelerator.clock_hz),
            )
        )
    return rows


def _operations() -> str:
    rows = [
        ["int8 multiply", *(f"{table.multiply_int8_pj:.4f}" for table in NODES)],
        ["int8 add", *(f"{table.add_int8_pj:.4f}" for table in NODES)],
        ["int32 add", *(f"{table.add_int32_pj:.4f}" for table in NODES)],
        ["MAC: int8 multiply, int32 add", *(f"{table.mac_pj:.4f}" for table in NODES)],
        *(
            [
                f"SRAM of {size >> 10} KiB, 64 bits",
                *(f"{t.sram_access_pj(size):.1f}" for t in NODES),
            ]
            for size in (8 << 10, 32 << 10, 256 << 10, 1 << 20)
        ),
    ]
    return markdown_table(["operation [pJ]", *(f"{t.node_nm:g} nm" for t in NODES)], rows)


def energy_text(rows: Sequence[EnergyRow]) -> str:
    """Return docs/generated/energy.md."""
    parts = list(rows[0].parts_uj)
    per_query = markdown_table(
        ["a query [uJ]", *(row.name for row in rows)],
        [
            *([part, *(f"{row.parts_uj[part]:.1f}" for row in rows)] for part in parts),
            ["sum, DDR4", *(f"{row.query_uj:.1f}" for row in rows)],
            ["sum, HBM2", *(f"{row.hbm2_uj:.1f}" for row in rows)],
            ["million MACs", *(f"{row.activity.macs / 1e6:.1f}" for row in rows)],
            ["DRAM bytes", *(f"{row.activity.dram_bytes:,.0f}" for row in rows)],
            ["link bytes", *(f"{row.activity.link_bytes:,}" for row in rows)],
        ],
    )
    loads = markdown_table(
        ["pipeline", "load [queries/s]", "power [W]", "queries/s per W"],
        [
            [row.name, f"{load:,.0f}", f"{row.watts(load):.2f}", f"{row.qps_per_watt(load):,.0f}"]
            for row in rows
            for load in (COMMON_LOAD_QPS, row.capacity_qps)
        ]
        + [
            [f"paper's {name}", f"{qps:,.0f}", f"{tdp:.0f} (TDP)", f"{qps / tdp:.1f}"]
            for name, (tdp, qps) in PAPER_PLATFORMS.items()
        ],
    )
    one, two = rows[0], rows[1] if len(rows) > 1 else rows[0]
    least, most = PAPER_POWER_MW
    cell_pj = 166.4 / 1024 / 0.25  # mW of a 32 x 32 array, a cell, GHz
    return f"""# Energy

Written by `rpaccel energy` (`make energy`). Counts of operations, accesses and bytes of a Criteo
query on `paper` (figure 12's pipelines), times energies of published tables
(`perfmodel/energy_tables.py`).

## Energies
45 nm: M. Horowitz, ISSCC 2014; 7 nm: N. Jouppi et al., ISCA 2021 (TPUv4i). 12 nm, the paper's
process: between the two, log to log (assumed). DDR4 {DRAM_PJ_PER_BIT["ddr4"]:.1f} pJ/bit, HBM2
{DRAM_PJ_PER_BIT["hbm2"]:.2f} pJ/bit (the same ISCA table, middle of its range); link
{LINK_PJ_PER_BIT:.0f} pJ/bit (between packages on a board: A. Arunkumar et al., MCM-GPU, ISCA 2017).
Registers of a cell: {CELL_BITS} bits, {1e3 * FLIP_FLOP_PJ:.0f} fJ a bit and a cycle (assumed),
always clocked: {one.clock_w:.3f} W for all cells.

{_operations()}
## A query
12 nm, DDR4. Two stages need {one.query_uj / two.query_uj:.2f} times less than one: fewer MACs,
partial sums and vectors; what is left is DRAM and link, and most of that are the candidates'
records, which both need.

{per_query}
## Power and queries per watt
At {COMMON_LOAD_QPS:.0f} queries/s, and at what each sustains. The paper's platforms: thermal design
power over the load that its figures 7 and 8 still show; not measured, hosts not counted.

{loads}
## Beside the paper
* Its reports add up to {least:,.0f} mW for the baseline and {most:,.0f} mW for RPAccel:
  {100 * (most / least - 1):+.1f} %, at one activity for all, DRAM and link left out. An energy per
  query is nowhere in paper or artifact.
* Ours without DRAM and link, each at its own capacity: one stage
  {one.on_chip_watts():.2f} W, two stages {two.on_chip_watts():.2f} W
  ({100 * (two.on_chip_watts() / one.on_chip_watts() - 1):+.1f} %), for
  {two.capacity_qps / one.capacity_qps:.2f} times the queries. At {COMMON_LOAD_QPS:.0f} queries/s
  both: {one.on_chip_watts(COMMON_LOAD_QPS):.2f} and {two.on_chip_watts(COMMON_LOAD_QPS):.2f} W
  ({100 * (two.on_chip_watts(COMMON_LOAD_QPS) / one.on_chip_watts(COMMON_LOAD_QPS) - 1):+.1f} %).
* A cell: the paper's takes {cell_pj:.2f} pJ a cycle (166.4 mW for 1,024 at 250 MHz, int16 with
  sums of 64 bits, activity not annotated; the reports name no clock); ours
  {NODE_12.mac_pj + CELL_BITS * FLIP_FLOP_PJ:.2f} pJ (int8, sums of 32 bits).
* Not counted: control, other registers, wires, leakage, refresh, the host. Cells that multiply
  zeros are taken to cost nothing but their clock.
"""
