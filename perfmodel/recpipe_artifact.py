"""RecPipe's own latency model, as its artifact has it: an oracle and a curve in figures.

Nothing of ours is predicted with it. A stage is a row of phases, one after the other: link in,
missed rows, rows from the cache, weights, bottom layers, top layers, filter, link out. Known to be
wrong on purpose: half of the row bytes hit whatever the cache, a hit takes longer than a miss, the
link is paid by every stage, weights come again with every query, and the rankers concatenate their
vectors where the trained ones take dot products.

Ref: github.com/harvard-acc/RecPipe, RecPipeAccelModel.py and configs/accel_configs (2daff5b): the
formulas and constants, in own words; Table 3 of the paper for the other set of constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

from rpaccel.perfmodel.scale_sim import scale_sim_cycles, scale_sim_utilisation

__all__ = [
    "ARTIFACT", "ARTIFACT_RANKERS", "HOST_SORT_MS", "PAPER", "SIDES", "ArtifactConstants",
    "ArtifactRanker", "StagePhases", "array_point", "design_steps", "half_block_phases",
    "host_sort_ms", "layers_cycles", "stage_phases", "sub_batched_ms",
]  # fmt: skip

Layer = tuple[int, int]  # inputs, outputs

TABLES = 26  # of Criteo, one row of each an item
FLOAT_BYTES = 4  # weights and vectors are FP32
HIT_SHARE = 0.5  # fixed in the artifact
SRAM_BYTES_PER_CYCLE = 64
WEIGHT_SLICE_BYTES = 1_000_000  # the artifact's weight SRAM: layers come in slices of it
LATENCY_CYCLES = 100  # of memory
FILTER_ITEMS_PER_CYCLE = 16
SIDES = {1: 128, 4: 64, 16: 32, 64: 16}  # size class -> side of its array
# Share of memory's bandwidth; class 64 has a quarter of what its MACs would give it.
BANDWIDTH_SHARE = {1: 1.0, 4: 1 / 4, 16: 1 / 16, 64: 1 / 256}
# Host top-k [ms] of at most so many scores; the branch that no released configuration takes.
HOST_SORT_MS: Mapping[int, float] = {511: 0.03, 1024: 0.07, 4096: 0.35}


@dataclass(frozen=True, kw_only=True)
class ArtifactConstants:
    """Clock and memory of the model.

    clock_ns : period [ns]. bandwidth_gib_s : of all memory [GiB/s].
    """

    clock_ns: float
    bandwidth_gib_s: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name} must be above 0, not {value}")

    def bytes_per_cycle(self, size_class: int) -> float:
        """Return what memory gives an array of a class, which has its share and no more."""
        share = BANDWIDTH_SHARE[size_class]
        return self.bandwidth_gib_s * 2**30 * share * self.clock_ns * 1e-9


ARTIFACT = ArtifactConstants(clock_ns=8.0, bandwidth_gib_s=32.0)  # hardconf_1.json
PAPER = ArtifactConstants(clock_ns=4.0, bandwidth_gib_s=64.0)  # Table 3: 250 MHz, 64 GB/s


@dataclass(frozen=True, kw_only=True)
class ArtifactRanker:
    """A ranker as the artifact's accelerator sees it: vectors are concatenated.

    bottom, top : widths after the dense inputs and after the concatenation.
    """

    name: str
    dim: int
    bottom: tuple[int, ...]
    top: tuple[int, ...]

    @property
    def bottom_layers(self) -> list[Layer]:
        """Layers of the dense inputs."""
        widths = (13, *self.bottom)
        return list(pairwise(widths))

    @property
    def top_layers(self) -> list[Layer]:
        """Layers after the 27 vectors of `dim`."""
        widths = ((TABLES + 1) * self.dim, *self.top)
        return list(pairwise(widths))

    @property
    def layers(self) -> list[Layer]:
        """All layers."""
        return self.bottom_layers + self.top_layers

    @property
    def macs(self) -> int:
        """Multiplications of one item."""
        return sum(k * n for k, n in self.layers)


ARTIFACT_RANKERS = {
    ranker.name: ranker
    for ranker in (
        ArtifactRanker(name="rmsmall", dim=4, bottom=(64, 4), top=(64, 1)),
        ArtifactRanker(name="rmmed", dim=16, bottom=(64, 16), top=(64, 1)),
        ArtifactRanker(name="rmlarge", dim=32, bottom=(512, 256, 128, 64, 32), top=(96, 1)),
    )
}


@dataclass(frozen=True, kw_only=True)
class StagePhases:
    """What a stage of a query takes, phase by phase [us]."""

    link_in_us: float
    rows_dram_us: float
    rows_sram_us: float
    weights_us: float
    bottom_us: float
    top_us: float
    filter_us: float
    link_out_us: float

    @property
    def total_ms(self) -> float:
        """The sum: nothing overlaps [ms]."""
        return 1e-3 * sum(getattr(self, field.name) for field in fields(self))

    @property
    def on_card_ms(self) -> float:
        """Without the link [ms]."""
        return self.total_ms - 1e-3 * (self.link_in_us + self.link_out_us)


def _check(size_class: int, items: int) -> None:
    if size_class not in SIDES:
        raise ValueError(
            f"size_class must be one of {', '.join(map(str, SIDES))}, not {size_class}"
        )
    if items < 1:
        raise ValueError(f"items must be at least 1, not {items}")


def stage_phases(
    ranker: ArtifactRanker,
    items: int,
    size_class: int,
    constants: ArtifactConstants = ARTIFACT,
    *,
    returned: int = 0,
) -> StagePhases:
    """Return the phases of `items` on one array of a class.

    returned : items that the link takes back; the artifact passes 0 whatever the filter keeps.
    Raises ValueError for a class that the artifact does not have, or items below 1.
    """
    _check(size_class, items)
    side, rate = SIDES[size_class], constants.bytes_per_cycle(size_class)
    return _phases(ranker, items, (side, side), rate, constants, returned)


def half_block_phases(
    ranker: ArtifactRanker, items: int, constants: ArtifactConstants = ARTIFACT
) -> StagePhases:
    """Return the phases of `items` on an array of 512 MACs with a 32nd of the bandwidth.

    What 8,16 of figure 12 asks for and no configuration has: 16 inputs x 32 outputs are assumed.
    Raises ValueError for items below 1.
    """
    _check(1, items)
    rate = constants.bytes_per_cycle(1) / 32
    return _phases(ranker, items, (16, 32), rate, constants, 0)


def _phases(
    ranker: ArtifactRanker,
    items: int,
    shape: tuple[int, int],
    rate: float,
    constants: ArtifactConstants,
    returned: int,
) -> StagePhases:
    row_bytes = FLOAT_BYTES * ranker.dim * TABLES * items
    hit_bytes = HIT_SHARE * row_bytes
    weights = 0.0
    for inputs, outputs in ranker.layers:
        size = FLOAT_BYTES * inputs * outputs
        slices = -(-size // WEIGHT_SLICE_BYTES)
        weights += slices * (LATENCY_CYCLES + min(size, WEIGHT_SLICE_BYTES) / rate)
    period_us = constants.clock_ns * 1e-3
    return StagePhases(
        # Meant as microseconds, added to cycles: the link is faster with a faster clock.
        link_in_us=1000 * (5 + 12 * items / 4096) * period_us,
        rows_dram_us=(LATENCY_CYCLES + (row_bytes - hit_bytes) / rate) * period_us,
        rows_sram_us=hit_bytes / SRAM_BYTES_PER_CYCLE * period_us,
        weights_us=weights * period_us,
        bottom_us=layers_cycles(ranker.bottom_layers, items, *shape) * period_us,
        top_us=layers_cycles(ranker.top_layers, items, *shape) * period_us,
        # Divided by the clock once more than it should be.
        filter_us=items / FILTER_ITEMS_PER_CYCLE / constants.clock_ns * period_us,
        link_out_us=1000 * (5 + 5 * returned / 4096) * period_us,
    )


def layers_cycles(layers: list[Layer], items: int, inputs: int, outputs: int | None = None) -> int:
    """Return the artifact's cycles of layers, one after another: a fold is k + n + items.

    inputs, outputs : of the array; a square if only one is given.
    """
    outputs = outputs or inputs
    return sum(
        (min(n, outputs) + min(k, inputs) + items) * -(-k // inputs) * -(-n // outputs)
        for k, n in layers
    )


def host_sort_ms(scores: int) -> float:
    """Return the host's top-k [ms]. Raises ValueError beyond 4096 scores."""
    for most, value in HOST_SORT_MS.items():
        if scores <= most:
            return value
    raise ValueError(f"scores must be at most {max(HOST_SORT_MS)}, not {scores}")


def sub_batched_ms(
    front: tuple[ArtifactRanker, int, int],
    back: tuple[ArtifactRanker, int, int],
    sub_batches: int,
    *,
    resident: bool,
    constants: ArtifactConstants = ARTIFACT,
) -> float:
    """Return the latency of two stages on arrays of their own, overlapped by sub-batches [ms].

    front, back : ranker, items of the query, class. resident : weights stay on the array. The
    link is paid once, in and out. The artifact has no such mode; these are its terms in a pipeline.
    """
    if sub_batches < 1 or front[1] % sub_batches or back[1] % sub_batches:
        raise ValueError(f"sub_batches must divide {front[1]} and {back[1]}, not {sub_batches}")
    whole = stage_phases(*front, constants)
    times = []
    for ranker, items, size_class in (front, back):
        part = stage_phases(ranker, items // sub_batches, size_class, constants)
        times.append(part.on_card_ms - (1e-3 * part.weights_us if resident else 0.0))
    link = 1e-3 * (whole.link_in_us + whole.link_out_us)
    return link + sum(times) + (sub_batches - 1) * max(times)


def design_steps(constants: ArtifactConstants = ARTIFACT) -> dict[str, tuple[float, float]]:
    """Return latency [ms] and queries per second of the paper's ideas, in the artifact's terms.

    base : RMlarge on 4096, the host sorts. O.1 : RMsmall on 4096 and RMlarge on 512, the whole
    array for both, scores go to the host between them. O.2 : they do not. O.3 : two arrays of 64
    for each stage. O.5 : the best number of sub-batches, weights resident.
    """
    small, large = ARTIFACT_RANKERS["rmsmall"], ARTIFACT_RANKERS["rmlarge"]
    front, back = (small, 4096, 1), (large, 512, 1)
    base = stage_phases(large, 4096, 1, constants, returned=4096).total_ms + host_sort_ms(4096)
    hosted = sum(
        stage_phases(*stage, constants, returned=stage[1]).total_ms + host_sort_ms(stage[1])
        for stage in (front, back)
    )
    filtered = sub_batched_ms(front, back, 1, resident=False, constants=constants)
    halves = [(ranker, items, 4) for ranker, items, _ in (front, back)]
    split = sub_batched_ms(halves[0], halves[1], 1, resident=False, constants=constants)
    # Two servers a stage; the link in counts to the front, the link out to the back.
    parts = [stage_phases(*stage, constants) for stage in halves]
    busy = (parts[0].total_ms - 1e-3 * parts[0].link_out_us,
            parts[1].total_ms - 1e-3 * parts[1].link_in_us)  # fmt: skip
    rate = 2e3 / max(busy)
    overlapped = min(
        sub_batched_ms(halves[0], halves[1], count, resident=True, constants=constants)
        for count in (1, 2, 4, 8)
    )
    return {
        "base": (base, 1e3 / base),
        "O.1": (hosted, 1e3 / hosted),
        "O.1 to O.2": (filtered, 1e3 / filtered),
        "O.1 to O.3": (split, rate),
        "O.1 to O.5": (overlapped, rate),
    }


def array_point(ranker: ArtifactRanker, side: int, items: int = 4096) -> tuple[int, float]:
    """Return cycles and utilisation of figure 10(a), by SCALE-Sim's stacked closed form."""
    cycles = sum(scale_sim_cycles(items, k, n, side) for k, n in ranker.layers)
    return cycles, scale_sim_utilisation(items, ranker.layers, side)
