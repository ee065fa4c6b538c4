"""The baseline as RecPipe published it: one model, one phase after the other, the host sorts.

A query has the card for itself. It takes, one after the other: records over the link, weights from
memory, rows, the layers one by one, all scores over the link, and the host's choice.

Ref: RecPipe (MICRO'21), section 6, and its artifact: closed forms per stage. Cycles of a layer are
SCALE-Sim's, weight loads exposed (`perfmodel.scale_sim`); the interaction costs nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass

from rpaccel.perfmodel.memory import RecordSizes, traffic_of
from rpaccel.perfmodel.networks import RM_LARGE
from rpaccel.perfmodel.scale_sim import scale_sim_cycles
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import PlatformConfig
from rpaccel.spec.program_plan import plan_model

__all__ = ["Phase", "published_phases"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a query's time [s]."""

    name: str
    seconds: float


def published_phases(
    config: AcceleratorConfig,
    platform: PlatformConfig,
    shape: ModelShape,
    records: RecordSizes,
    *,
    items: int,
    bytes_in: int,
    row_hits: float,
    sort_s: float,
) -> list[Phase]:
    """Return the phases of a query of `items` on the whole array; the sum is its latency.

    shape : of RMlarge. row_hits : of the static cache. sort_s : of the host.
    """
    link, memory = platform.link, platform.accelerator.memory
    traffic = traffic_of(config.beat_bytes, shape, records)
    plan = plan_model(RM_LARGE.sizes, config)
    weights = sum(layer.macs for layer in plan.layers)  # int8: a byte each
    port_beats = config.memory_ports * config.beat_bytes
    rows = items * traffic.item_rows * traffic.row_beats
    fetched = rows * (1 - row_hits) + items * traffic.item_record_beats
    layers = sum(
        scale_sim_cycles(items, layer.inputs, layer.outputs, config.array_size, stacked=False)
        for layer in plan.layers
    )
    cycles = {
        "weights": memory.latency_cycles + weights / port_beats,
        "rows and records from memory": memory.latency_cycles + fetched / config.memory_ports,
        "rows from the cache": rows * row_hits,  # RecPipe's artifact: 64 bytes a cycle
        "layers": float(layers),
    }
    return [
        Phase(name="link, in", seconds=link.seconds(bytes_in)),
        *(
            Phase(name=name, seconds=platform.accelerator.seconds(count))
            for name, count in cycles.items()
        ),
        Phase(name="link, out", seconds=link.seconds(items * RESULT.bytes)),
        Phase(name="host top-k", seconds=sort_s),
    ]
