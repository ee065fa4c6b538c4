"""Random layers on lanes of a split array, in the netlist and by the performance model's formulas.

A point is a layer of K inputs and N outputs over B items on a lane's rectangle of an array, stacked
or not. All lanes of a split work at the same time, each on layers of its own, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.host.layer_netlist import Corner, LaneEvents, LayerJob, LayerNetlist
from rpaccel.perfmodel.layer_engine import (
    ArrayState,
    LayerShape,
    layer_cycles,
    layer_results,
    place_layer,
    result_cycles,
    row_cycles,
    score_cycles,
    tile_cycles,
)
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import Destination, Source
from rpaccel.spec.program_plan import LayerPlan, least_stack, stack_of

__all__ = ["SIZES", "LayerCycles", "SweptLayer", "layer_sweep", "sweep_config"]

SIZES = {8: 4, 16: 4, 32: 8, 64: 16}  # array side -> block side
MOST_WORDS = 5  # of a layer's inputs, and of its outputs
MOST_ITEMS = 1024
SILENCE_CYCLES = 100  # nothing may come after the last result

# Blocks that lanes are made for, and splits: lane -> corner of its rectangle. By blocks of a side.
LANES = {
    2: (2, (1, 2), (2, 1), 1, 1),
    4: (4, (2, 4), (4, 2), 2, 2, (4, 1), (1, 2), 1),
}
SPLITS: dict[int, dict[str, dict[int, Corner]]] = {
    2: {
        "whole": {0: (0, 0)},
        "half and blocks": {1: (0, 0), 3: (1, 0), 4: (1, 1)},
        "upright half and blocks": {2: (0, 0), 3: (0, 1), 4: (1, 1)},
    },
    4: {
        "whole": {0: (0, 0)},
        "half and quarters": {1: (0, 0), 3: (2, 0), 4: (2, 2)},
        "upright half, column, block": {2: (0, 0), 5: (0, 2), 7: (1, 3)},
        "pair, block, quarters": {6: (0, 0), 7: (1, 2), 3: (2, 0), 4: (2, 2)},
    },
}


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """When a layer is taken, its first and last row are read, and its first and last result leave.

    done : its chain has ended; -1 if it ends none. Cycles of one run.
    """

    taken: int
    first_row: int
    last_row: int
    first_result: int
    last_result: int
    done: int


@dataclass(frozen=True, kw_only=True)
class SweptLayer:
    """One point: a layer of `plan` over `items` on a lane of shape `lane` [blocks] of an array.

    idle : nothing of the layer before is in the array. alone_cycles : perfmodel's `layer_cycles`.
    results : that leave the array; late : of those, not in the cycle that the model says.
    """

    array_size: int
    block_size: int
    split: str
    lane: tuple[int, int]
    plan: LayerPlan
    stacked: bool
    items: int
    idle: bool
    measured: LayerCycles
    model: LayerCycles
    alone_cycles: int
    results: int
    late: int

    @property
    def equal(self) -> bool:
        """Whether every cycle is the model's."""
        cycles = self.measured.last_result - self.measured.taken
        alone = not self.idle or cycles == self.alone_cycles
        return self.measured == self.model and alone and not self.late


def sweep_config(size: int) -> AcceleratorConfig:
    """Return the machine of the array of `size`, whose data memories are small: addresses wrap.

    Raises ValueError for a size that there is not.
    """
    if size not in SIZES:
        raise ValueError(f"sizes must be of {', '.join(map(str, SIZES))}, not {size}")
    block = SIZES[size]
    lanes = LANES[size // block]
    base = load_accelerator("tiny").model_dump()
    return AcceleratorConfig.model_validate(
        base
        | {
            "name": f"layers{size}",
            "array_size": size,
            "block_size": block,
            "lanes": len(lanes),
            "lane_blocks": lanes,
            "sub_batch_max": MOST_ITEMS,
            "weight_words": 32 * size,  # of MOST_WORDS**2 tiles
            "param_entries": 8 * size,
        }
    )


def random_plan(rng: np.random.Generator, lane: AcceleratorConfig) -> tuple[LayerPlan, bool]:
    """Return a layer of 1..MOST_WORDS words of inputs and of outputs, and whether it may stack.

    As the compiler cuts it (spec.program_plan). Two thirds have one word of inputs at most, uniform
    in its logarithm, so that they may stack, and two thirds of all may; one in eight ends in a
    logit.
    """
    size = lane.array_size

    def width() -> int:
        return size * int(rng.integers(MOST_WORDS)) + int(rng.integers(1, size + 1))

    inputs = width() if rng.integers(3) == 0 else int(size ** rng.uniform())
    outputs = width()
    destination = Destination(int(rng.choice([1, 2, 3])))
    if rng.integers(8) == 0:
        outputs, destination = 1, Destination.SCORE
    folds, words = -(-inputs // size), -(-outputs // size)
    is_act = destination in (Destination.ACT0, Destination.ACT1)
    may_stack = bool(rng.integers(3)) and is_act
    stack = stack_of(folds, inputs, words, lane) if may_stack else least_stack(lane)
    step_words = lane.groups_across << stack if is_act else 1
    words_a = int(rng.integers(folds + 1))
    plan = LayerPlan(
        name="random",
        inputs=inputs,
        outputs=outputs,
        source=Source(int(rng.integers(1, len(Source)))),
        words_a=words_a,
        words_b=folds - words_a,
        stride=folds - words_a,
        destination=destination,
        n_steps=-(-words // step_words),
        stack=stack,
        step_words=step_words,
    )
    return plan, stack > least_stack(lane)


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A job and where the model puts it. after : state once its last tile has begun."""

    plan: LayerPlan
    stacked: bool
    job: LayerJob
    idle: bool
    model: LayerCycles
    after: ArrayState


def _place(
    lane: AcceleratorConfig, plan: LayerPlan, job: LayerJob, before: ArrayState
) -> tuple[LayerCycles, ArrayState]:
    """Return the model's cycles of a layer, and the array's state behind it."""
    shape, items = LayerShape.of(plan.fields), np.array([job.items])
    times = place_layer(lane, shape, items, np.array([job.offered]), before)
    first, last = layer_results(lane, shape, items, times.after)
    row = int(times.after.row[0])
    ends = {Destination.SCORE: score_cycles(lane), Destination.BOTTOM: row_cycles(lane)}
    last_row = row + job.items - 1
    return LayerCycles(
        taken=int(times.taken[0]),
        first_row=row - (shape.tiles - 1) * int(tile_cycles(lane, job.items)),
        last_row=last_row,
        first_result=int(first[0]),
        last_result=int(last[0]),
        done=last_row + ends[plan.destination] if plan.destination in ends else -1,
    ), times.after


def _random_jobs(
    rng: np.random.Generator, lane: AcceleratorConfig, layers: int
) -> Iterator[_Placed]:
    """Yield layers that follow each other at once, or (a third) when the lane is idle again."""
    state, offered, quiet = ArrayState.idle(), 0, 0
    for number in range(layers):
        plan, stacked = random_plan(rng, lane)
        idle = number == 0 or int(rng.integers(3)) == 0
        if idle:
            offered = max(offered, quiet) + int(rng.integers(20))
        items = int(np.exp(rng.uniform(0, np.log(MOST_ITEMS + 1))))
        job = LayerJob(fields=plan.fields, items=items, offered=offered)
        model, state = _place(lane, plan, job, state)
        yield _Placed(plan=plan, stacked=stacked, job=job, idle=idle, model=model, after=state)
        quiet, offered = model.last_result + 1, offered + 1


def layer_sweep(
    sizes: Sequence[int],
    *,
    layers: int = 10,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> Iterator[SweptLayer]:
    """Yield the points of arrays of `sizes`: `layers` on each lane of each split.

    Raises RuntimeError if a lane does not take every job, read every row and give every result,
    once.
    """
    for size in sizes:
        config = sweep_config(size)
        netlist = LayerNetlist(config, progress=progress)
        for number, split in enumerate(SPLITS[config.blocks]):
            rng = np.random.default_rng([seed, size, number])
            progress(f"{size} x {size}: {split}")
            yield from _run_split(rng, netlist, split, layers)


def _run_split(
    rng: np.random.Generator, netlist: LayerNetlist, split: str, layers: int
) -> Iterator[SweptLayer]:
    """Yield the points of the lanes of a split."""
    config = netlist.config
    partition = SPLITS[config.blocks][split]
    placed = {n: list(_random_jobs(rng, config.lane(n), layers)) for n in partition}
    ends = (one.model.last_result for each in placed.values() for one in each)
    jobs = {n: [one.job for one in each] for n, each in placed.items()}
    events = netlist.run(partition, jobs, max(ends) + SILENCE_CYCLES)
    for n, each in placed.items():
        yield from _compare(config, split, n, each, events[n])


def _parts(what: str, cycles: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Return the events of each layer, which has `counts` of them."""
    if len(cycles) != sum(counts):
        raise RuntimeError(f"{what} must be {sum(counts)}, not {len(cycles)}")
    return np.split(cycles, np.cumsum(counts)[:-1])


def _compare(
    config: AcceleratorConfig,
    split: str,
    number: int,
    placed: Sequence[_Placed],
    events: LaneEvents,
) -> Iterator[SweptLayer]:
    """Yield a lane's layers, as they were and by the model."""
    lane, name = config.lane(number), f"{config.name}, {split}, lane {number}: "
    items = [one.job.items for one in placed]
    taken = _parts(f"{name}jobs taken", events.taken, [1] * len(placed))
    rows = _parts(
        f"{name}rows", events.rows, [n * x.plan.tiles for n, x in zip(items, placed, strict=True)]
    )
    results = {
        tile: _parts(
            f"{name}results of tile {tile}", cycles, [_results(lane, x, tile) for x in placed]
        )
        for tile, cycles in events.results.items()
    }
    layers = [
        {tile: parts[n] for tile, parts in results.items() if len(parts[n])}
        for n in range(len(placed))
    ]
    ends = [_end(lane, one.plan, mine) for one, mine in zip(placed, layers, strict=True)]
    if set(events.done.tolist()) - {*ends}:
        raise RuntimeError(f"{name}ends must be in cycles {ends}, not {events.done.tolist()}")
    for n, (one, mine) in enumerate(zip(placed, layers, strict=True)):
        yield SweptLayer(
            array_size=config.array_size,
            block_size=config.block_size,
            split=split,
            lane=config.lane_shape(number),
            plan=one.plan,
            stacked=one.stacked,
            items=one.job.items,
            idle=one.idle,
            measured=LayerCycles(
                taken=int(taken[n][0]),
                first_row=int(rows[n][0]),
                last_row=int(rows[n][-1]),
                first_result=min(int(cycles[0]) for cycles in mine.values()),
                last_result=max(int(cycles[-1]) for cycles in mine.values()),
                done=ends[n] if ends[n] in events.done else -1,
            ),
            model=one.model,
            alone_cycles=int(layer_cycles(lane, LayerShape.of(one.plan.fields), one.job.items)),
            results=sum(map(len, mine.values())),
            late=sum(
                int((cycles != _expected(lane, one, tile[1])).sum())
                for tile, cycles in mine.items()
            ),
        )


def _end(lane: AcceleratorConfig, plan: LayerPlan, results: dict[Corner, np.ndarray]) -> int:
    """Return when a layer's chain ends: with its last logit, or result of a square; -1: never.

    Two chains may end at once, and a logit before a bottom layer that went in before it.
    """
    columns = {Destination.SCORE: 1, Destination.BOTTOM: lane.blocks}.get(plan.destination, 0)
    ends = (int(cycles[-1]) for (_, column), cycles in results.items() if column < columns)
    return max(ends, default=-1)


def _results(lane: AcceleratorConfig, one: _Placed, tile: Corner) -> int:
    """Return the results of a layer that leave a tile: one per item and N fold at a tap.

    Taps are in the last block row of every group; of the first group alone if the layer ends a
    chain.
    """
    height = lane.block_rows >> one.plan.stack
    ends = one.plan.destination in (Destination.SCORE, Destination.BOTTOM)
    tap = tile[0] == height - 1 if ends else tile[0] % height == height - 1
    return one.job.items * one.plan.n_steps if tap else 0


def _expected(lane: AcceleratorConfig, one: _Placed, column: int) -> np.ndarray:
    """Return the model's cycles of a layer's results in a block column."""
    folds = np.arange(one.plan.n_steps)[::-1, None] * one.plan.k_folds
    firsts = one.after.row - folds * tile_cycles(lane, one.job.items)
    rows = firsts + np.arange(one.job.items)
    return rows.ravel() + result_cycles(lane, one.plan.stack, column)
