"""Lanes of an array in tests: random passes, and the tokens and loads that carry them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rpaccel.golden.split_array import Pass, Rectangle, check_partition, lane_results
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.rtl.tile import tile_latency_cycles
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import PARAM, Destination, Target

Rng = np.random.Generator
ARRAY_CYCLES = SystolicArray.input_cycles + SystolicArray.output_cycles
Cycles = dict[int, dict]  # token or load by cycle


def int8_bytes(values: np.ndarray) -> int:
    """Return int8 values as an integer, the first one lowest."""
    return int.from_bytes(np.asarray(values).astype(np.int8).tobytes(), "little")


def grouping(rows: int, group: int) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Return (cuts, taps) of `rows` block rows in groups of `group`; the last may be smaller."""
    cuts = tuple(row % group == 0 for row in range(rows))
    return cuts, (*cuts[1:], True)


def random_pass(
    rng: Rng, config: AcceleratorConfig, shape: tuple[int, int], items: int, group: int, **update
) -> Pass:
    """Return a pass over `shape` blocks with random weights, inputs and parameters."""
    size, (rows, cols) = config.block_size, shape
    cuts, taps = grouping(rows, group)
    lanes = (rows, cols, size)
    one = Pass(
        inputs=rng.integers(-128, 128, (items, rows, size)),
        weights=rng.integers(-128, 128, (*lanes, size)),
        cuts=cuts,
        taps=taps,
        bias=rng.integers(-(1 << 16), 1 << 16, lanes),
        multiplier=rng.integers(1 << 14, 1 << 16, lanes),
        shift=rng.integers(22, 26, lanes),
        relu=bool(rng.integers(2)),
    )
    return replace(one, **update)


def random_burst(
    rng: Rng, config: AcceleratorConfig, shape: tuple[int, int], layers: int = 3
) -> list[Pass]:
    """Return the passes of `layers` random N folds: K folds, groups and rows differ."""
    passes = []
    for _ in range(layers):
        items = int(rng.integers(1, config.sub_batch_max + 1))
        group, folds = int(rng.integers(1, shape[0] + 1)), int(rng.integers(1, 4))
        score = bool(rng.integers(4) == 0)
        passes += [
            random_pass(
                rng, config, shape, items, group,
                first_k=k == 0, last_k=k == folds - 1, score=score,
            )
            for k in range(folds)
        ]  # fmt: skip
    return passes


@dataclass(kw_only=True)
class LaneTraffic:
    """What a lane sends and what it must get back, in cycles of the array's ports.

    tokens : by block row; loads; results : {(cycle, block row, block column): fields of `out`}.
    """

    tokens: dict[int, Cycles] = field(default_factory=dict)
    loads: Cycles = field(default_factory=dict)
    results: dict[tuple[int, int, int], dict] = field(default_factory=dict)
    end: int = 0

    def token(self, block_row: int, cycle: int, **values: int) -> None:
        """Add fields to a token."""
        self.tokens.setdefault(block_row, {}).setdefault(cycle, {}).update(values)


def burst_loads(
    config: AcceleratorConfig, passes: Sequence[Pass], base: int = 0
) -> Iterator[tuple[Target, int, int]]:
    """Yield (target, index, data) of all weights and parameters of `passes`."""
    size, blocks = config.block_size, config.blocks
    for p, one in enumerate(passes):
        for r, blocks_of_row in enumerate(one.weights):
            for n in range(size):
                index = r * config.tile_weight_rows + (base + p) * size + n
                yield (
                    Target.WEIGHT,
                    index,
                    int8_bytes(np.concatenate([w[n] for w in blocks_of_row])),
                )
    folds = [one for one in passes if one.last_k]
    for fold, one in enumerate(folds, start=base):
        for r, j, c in np.ndindex(one.bias.shape):
            index = r * config.param_entries + fold * blocks * size + j * size + c
            values = {name: int(getattr(one, name)[r, j, c]) for name in PARAM.fields}
            yield Target.PARAM, index, PARAM.pack(values)


def lane_traffic(
    config: AcceleratorConfig,
    passes: Sequence[Pass],
    *,
    start: int,
    gap: int = 0,
    latency: int,
    base: int = 0,
) -> LaneTraffic:
    """Return the traffic of `passes`: loads from `start` on, then passes as tight as possible.

    gap : idle cycles between passes. latency : from a token to `out`. base : first tile and N fold
    of the banks.
    """
    size = config.block_size
    traffic = LaneTraffic()
    for n, (target, index, data) in enumerate(burst_loads(config, passes, base)):
        traffic.loads[start + n] = {"valid": 1, "target": target, "index": index, "data": data}
    rows = passes[0].inputs.shape[1]
    free = [start + len(traffic.loads) + size + 2] * rows  # first cycle for a pass, by block row
    expected = iter(lane_results(passes))
    fold = base
    for p, one in enumerate(passes, start=base):
        lags = [size * (r - max(n for n in range(r + 1) if one.cuts[n])) for r in range(rows)]
        first = max(at - lag for at, lag in zip(free, lags, strict=True)) + gap
        result = next(expected) if one.last_k else {}
        for r, lag in enumerate(lags):
            at = first + lag
            _pass_tokens(traffic, config, one, r, at, p, fold)
            free[r] = at + max(len(one.inputs), 2 * size)
            for c, values in enumerate(result.get(r, ())):
                _results(traffic, one, (r, c), at + latency + c * size, values)
        fold += one.last_k
    traffic.end = max(free) + latency + size * one.weights.shape[1]
    return traffic


def _pass_tokens(traffic, config, one, r, at, tile, fold):
    """Add the tokens of block row `r`, whose first row comes in cycle `at`."""
    size, items = config.block_size, len(one.inputs)
    destination = Destination.SCORE if one.score else Destination.ACT1
    for n in range(size):
        address = (tile + 1) * size - 1 - n
        traffic.token(r, at - size - 2 + n, load=1, weight_address=address)
        if one.last_k and one.taps[r]:
            traffic.token(r, at + size - 2 + n, fetch=1, param_address=fold * size + n)
    for n in range(items):
        traffic.token(
            r, at + n, row=1, first=n == 0, cut=one.cuts[r], tap=one.taps[r],
            first_k=one.first_k, last_k=one.last_k, relu=one.relu, destination=destination,
            address=_address(one, r, n), data=int8_bytes(one.inputs[n, r]),
        )  # fmt: skip


def _results(traffic, one, place, at, values):
    for n, value in enumerate(values):
        result = {"address": _address(one, place[0], n)}
        if one.score:
            result |= {"destination": Destination.SCORE, "logit": int(value)}
        else:
            result |= {"destination": Destination.ACT1, "data": int8_bytes(value)}
        traffic.results[at + n, *place] = result


def _address(one: Pass, row: int, item: int) -> int:
    return (row + 2 * item) % 32


def corner(rectangle: Rectangle) -> dict[str, int]:
    """Return `rectangle` as a value of the array's `partition` port."""
    return {name: getattr(rectangle, name) for name in ("row", "col", "rows", "cols")}


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Passes of one lane in one rectangle, from cycle `start` on."""

    rectangle: Rectangle
    passes: list[Pass]
    start: int
    gap: int = 0

    def traffic(self, config: AcceleratorConfig) -> LaneTraffic:
        """Return the cycles of the burst at the ports of a SystolicArray."""
        latency = tile_latency_cycles(config) + ARRAY_CYCLES
        return lane_traffic(config, self.passes, start=self.start, gap=self.gap, latency=latency)


def random_bursts(
    rng: Rng,
    config: AcceleratorConfig,
    partitions: Sequence[Sequence[Rectangle]],
    layers: int = 2,
) -> list[list[Burst]]:
    """Return the bursts of each lane: all lanes in the first partition, then in the next, ...

    A partition begins when every lane is idle; its lanes start at different times.
    """
    bursts: list[list[Burst]] = [[] for _ in range(max(map(len, partitions)))]
    start = 2
    for partition in partitions:
        check_partition(config.blocks, partition)
        for lane, rectangle in enumerate(partition):
            passes = random_burst(rng, config, (rectangle.rows, rectangle.cols), layers)
            begin, gap = start + int(rng.integers(20)), int(rng.integers(3))
            bursts[lane].append(Burst(rectangle=rectangle, passes=passes, start=begin, gap=gap))
        running = [b for lane in bursts for b in lane if b.start >= start]
        start = max(burst.traffic(config).end for burst in running) + 1
    return bursts


def whole(blocks: int) -> list[Rectangle]:
    """Return the partition with one lane."""
    return [Rectangle(row=0, col=0, rows=blocks, cols=blocks)]


def partitions(blocks: int) -> dict[str, list[Rectangle]]:
    """Return the splits of a grid by name; RecPipe's 8 + 2 and 8 + 8 need 4 blocks, 8 + 16 8."""
    half = blocks // 2

    def squares(size: int, rows: range, cols: range) -> list[Rectangle]:
        return [
            Rectangle(row=r, col=c, rows=size, cols=size)
            for r in rows[::size]
            for c in cols[::size]
        ]

    everything, top, bottom = range(blocks), range(half), range(half, blocks)
    splits = {
        "whole": whole(blocks),
        "quarters": squares(half, everything, everything),
        "half and quarters": [
            Rectangle(row=0, col=0, rows=half, cols=blocks),
            *squares(half, bottom, everything),
        ],
        "upright half and quarters": [
            Rectangle(row=0, col=half, rows=blocks, cols=half),
            *squares(half, everything, top),
        ],
    }
    if blocks == 4:
        splits["8 + 2"] = [*squares(1, top, everything), *squares(2, bottom, everything)]
        splits["8 + 8"] = squares(1, everything, everything)
        splits["odd"] = [
            Rectangle(row=1, col=0, rows=3, cols=1),
            Rectangle(row=0, col=1, rows=1, cols=3),
            Rectangle(row=2, col=2, rows=2, cols=2),
        ]
    if blocks == 8:
        front = squares(2, top, everything)
        splits["8 + 2"] = [*front, *squares(4, bottom, everything)]
        splits["8 + 8"] = [*front, *squares(2, bottom, everything)]
        splits["8 + 16"] = [
            *front,
            *(Rectangle(row=r, col=c, rows=1, cols=2) for r in bottom for c in everything[::2]),
        ]
    return splits
