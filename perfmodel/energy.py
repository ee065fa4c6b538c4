"""What a query costs in energy: counts of operations and accesses, times published energies.

Counted: useful MACs of layers and interaction; accesses of the array's, the gather's and the row
banks' memories; beats of DRAM; bytes of the link; the clock of all cells' registers. Not counted:
control, the other registers, wires, leakage, refresh, the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rpaccel.perfmodel.energy_tables import (
    DRAM_PJ_PER_BIT,
    FLIP_FLOP_PJ,
    LINK_PJ_PER_BIT,
    NODE_12,
    EnergyTable,
)
from rpaccel.perfmodel.memory import RecordSizes, list_beats, traffic_of
from rpaccel.perfmodel.row_hits import cache_bytes
from rpaccel.perfmodel.shapes import ModelShape, NetworkShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import RESULT
from rpaccel.spec.program_plan import ModelPlan, cross_bytes, plan_model

__all__ = [
    "CELL_BITS", "Access", "QueryActivity", "StageActivity", "clock_watts", "energy_uj",
    "queries_per_joule", "query_activity", "stage_activity",
]  # fmt: skip

CELL_BITS = 71  # flip-flops of a cell: docs/generated/units.md, 4,562 of 64 cells
SUM_BYTES = 4  # of a partial sum
WORD_BYTES = 8  # of the tables' SRAM accesses


@dataclass(frozen=True, kw_only=True)
class Access:
    """Bytes read and written in a memory of `memory_bytes`, per query."""

    what: str
    moved_bytes: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class StageActivity:
    """A stage's work. macs : of layers. pair_macs : of the interaction."""

    name: str
    items: int
    macs: int
    pair_macs: int
    accesses: tuple[Access, ...]
    dram_bytes: float


@dataclass(frozen=True, kw_only=True)
class QueryActivity:
    """A query's work. link_bytes : both ways."""

    stages: tuple[StageActivity, ...]
    link_bytes: int

    @property
    def macs(self) -> int:
        """Of all layers and interactions."""
        return sum(stage.macs + stage.pair_macs for stage in self.stages)

    @property
    def dram_bytes(self) -> float:
        """Read from DRAM; results written to it."""
        return sum(stage.dram_bytes for stage in self.stages)


def _array_accesses(
    plan: ModelPlan, config: AcceleratorConfig, items: int, sub_batch: int
) -> list[Access]:
    width, square = config.array_size, config.array_macs
    bank = config.block_size  # every block has banks of its own
    batches = -(-items // sub_batch)
    read = sum(layer.tiles for layer in plan.layers) * width
    written = sum(layer.destination_stride for layer in plan.layers) * width
    folded = sum(layer.tiles for layer in plan.layers if layer.k_folds > 1)
    return [
        Access(
            what="activations",
            moved_bytes=float(items * (read + written)),
            memory_bytes=config.act_words * bank,
        ),
        Access(
            what="partial sums",  # read, added, written
            moved_bytes=float(2 * items * folded * width * SUM_BYTES),
            memory_bytes=SUM_BYTES * config.sub_batch_max * bank,
        ),
        Access(
            what="weights",  # every tile, once a sub-batch
            moved_bytes=float(batches * plan.tiles * square),
            memory_bytes=config.tile_weight_rows * bank,
        ),
    ]


def stage_activity(
    config: AcceleratorConfig,
    network: NetworkShape,
    shape: ModelShape,
    items: int,
    records: RecordSizes,
    *,
    first: bool,
    row_hits: float,
    extra_dram_bytes: int = 0,
) -> StageActivity:
    """Return what a stage does on lanes of one shape. config : of such a lane.

    row_hits : share of rows' beats that read no DRAM. extra_dram_bytes : beside its reads.
    """
    plan = plan_model(network.sizes, config)
    traffic = traffic_of(config.beat_bytes, shape, records)
    beat = config.beat_bytes
    rows = (traffic.user_rows + items * traffic.item_rows) * traffic.row_beats * beat
    listed = list_beats(beat, items) if first else 0
    read = listed + traffic.user_record_beats + items * traffic.item_record_beats
    misses = rows * (1 - row_hits)
    vectors = items * (network.sizes.item_tables + 1) * plan.row_bytes
    pairs = network.pairs * network.dim if network.interaction.name == "DOT" else 0
    bank = sum(cache_bytes(config)) // config.banks
    accesses = [
        Access(what="row caches", moved_bytes=rows + misses, memory_bytes=bank),
        Access(  # written by the gather, read by the interaction: each pair reads two
            what="vectors",
            moved_bytes=float(vectors + items * 2 * pairs + items * plan.row_bytes),
            memory_bytes=config.engine_vector_words * config.vector_word_bytes,
        ),
        Access(
            what="crossed",
            moved_bytes=float(items * cross_bytes(network.sizes)),
            memory_bytes=config.engine_cross_words * config.array_size,
        ),
        *_array_accesses(plan, config, items, min(items, max(1, shape.slot["sub_batch"]))),
    ]
    return StageActivity(
        name=network.name,
        items=items,
        macs=items * plan.macs,
        pair_macs=items * pairs,
        accesses=tuple(accesses),
        dram_bytes=float(read * beat + misses + extra_dram_bytes),
    )


def query_activity(
    config: AcceleratorConfig,
    stages: Sequence[tuple[NetworkShape, ModelShape, int, int]],
    records: RecordSizes,
    row_hits: Mapping[str, float],
    *,
    bytes_in: int,
    bytes_out: int,
    served: int,
) -> QueryActivity:
    """Return what a query does. stages : network, its shape, items, a lane of those that run it.

    row_hits : network -> share of rows' beats that read no DRAM. Records that come over the link
    are written to DRAM once, too.
    """
    found = []
    for number, (network, shape, items, lane) in enumerate(stages):
        extra = bytes_in if number == 0 else 0
        extra += served * RESULT.bytes if number == len(stages) - 1 else 0
        found.append(
            stage_activity(
                config.lane(lane),
                network,
                shape,
                items,
                records,
                first=number == 0,
                row_hits=row_hits.get(network.name, 0.0),
                extra_dram_bytes=extra,
            )
        )
    return QueryActivity(stages=tuple(found), link_bytes=bytes_in + bytes_out)


def energy_uj(
    activity: QueryActivity, table: EnergyTable = NODE_12, dram: str = "ddr4"
) -> dict[str, float]:
    """Return the energy of a query by what it is for [uJ]; the clock is apart, `clock_watts`.

    dram : of DRAM_PJ_PER_BIT. Raises ValueError for another.
    """
    if dram not in DRAM_PJ_PER_BIT:
        raise ValueError(f"dram must be one of {', '.join(DRAM_PJ_PER_BIT)}, not {dram!r}")
    parts = {"MACs": activity.macs * table.mac_pj}
    for stage in activity.stages:
        for access in stage.accesses:
            words = access.moved_bytes / WORD_BYTES
            pj = words * table.sram_access_pj(access.memory_bytes)
            parts[access.what] = parts.get(access.what, 0.0) + pj
    parts["DRAM"] = 8 * activity.dram_bytes * DRAM_PJ_PER_BIT[dram]
    parts["link"] = 8 * activity.link_bytes * LINK_PJ_PER_BIT
    return {name: 1e-6 * pj for name, pj in parts.items()}


def clock_watts(config: AcceleratorConfig, clock_hz: float) -> float:
    """Return what the registers of all cells take, whether they work or not [W]."""
    return config.array_macs * CELL_BITS * FLIP_FLOP_PJ * 1e-12 * clock_hz


def queries_per_joule(query_uj: float, qps: float, always_w: float) -> float:
    """Return queries per second and watt at a load: what a query takes, and what always runs.

    Raises ValueError for a load that is not above 0.
    """
    if not qps > 0:
        raise ValueError(f"qps must be above 0, not {qps}")
    return 1 / (1e-6 * query_uj + always_w / qps)
