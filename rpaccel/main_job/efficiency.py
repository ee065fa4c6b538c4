"""MAC efficiency of the compute core in RTL on Criteo's rankers, beside bounds and models.

Efficiency is useful MACs of the layers / (MACs of the array x cycles). Cycles count from the first
pass that is taken to the last score: fill, drain and exposed weight loads are in them.

Ref: U. Gupta et al., "RecPipe", MICRO 2021, table 1 (rankers).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.core_simulator import (
    CoreRun,
    build_core,
    expected_scores,
    predict,
    run_core,
)
from rpaccel.host.core_workload import Workload
from rpaccel.perfmodel.lane import SCORE_CYCLES, split_items
from rpaccel.perfmodel.networks import RM_LARGE, RM_SMALL
from rpaccel.perfmodel.pass_plan import PassPlan, best_passes
from rpaccel.perfmodel.scale_sim import scale_sim_cycles
from rpaccel.perfmodel.sequencer import ProgramShape, core_times
from rpaccel.perfmodel.shapes import NetworkShape
from rpaccel.spec.accelerator import BURST_BEATS, AcceleratorConfig, load_accelerator
from rpaccel.spec.program_plan import ModelPlan, plan_model
from rpaccel.workloads.random_models import random_query, ranker_of_sizes

__all__ = [
    "MODELS",
    "SIZES",
    "Efficiency",
    "core_config",
    "core_ranker",
    "efficiency_report",
    "measure",
]

MODELS = {network.name: network for network in (RM_SMALL, RM_LARGE)}
# Array side -> (preset, block side).
SIZES = {
    8: ("tiny", 4),
    16: ("edge", 8),
    32: ("default", 8),
    64: ("default", 16),
    128: ("paper", 32),
}
_TABLE_ROWS = 64  # of every embedding table; timing does not depend on them
_LONGER = (1, 2, 4, 8)  # runs, in times the measured one
_LEAST_MIDDLE = 5  # equal passes, so that steady state is seen


def _power_of_two(value: int) -> int:
    """Return the smallest power of two of at least `value`."""
    return 1 << (value - 1).bit_length()


def core_config(size: int, networks: Sequence[NetworkShape], sub_batch: int) -> AcceleratorConfig:
    """Return a preset with an array of `size`, whose memories hold a sub-batch of each network.

    Its beats are as long as a word, so that writing a sub-batch never takes longer than computing.
    """
    if size not in SIZES:
        raise ValueError(f"sizes must be of {', '.join(map(str, SIZES))}, not {size}")
    preset, block = SIZES[size]
    base = load_accelerator(preset).model_dump()
    beat_bits = max(64, 8 * size)
    base |= {
        "name": f"efficiency{size}",
        "array_size": size,
        "block_size": block,
        "axi_data_bits": beat_bits,
        "stripe_bytes": max(base["stripe_bytes"], BURST_BEATS * beat_bits // 8),
        "sub_batch_max": _power_of_two(sub_batch),
        "max_dim": _power_of_two(max(network.dim for network in networks)),
        "pair_entries": max(network.pairs for network in networks),
        "feature_entries": max(len(network.item_features) for network in networks),
    }
    config = AcceleratorConfig.model_validate(base)
    plans = [plan_model(network.sizes, config) for network in networks]
    shares = -(-sub_batch // config.engines) * config.engines  # items, in whole groups
    vector_words = max(plan.item_vector_words for plan in plans) * config.vector_word_bytes
    needs = {
        "weight_words": max(plan.tiles for plan in plans) * size,
        "param_entries": max(sum(x.n_steps for x in plan.layers) for plan in plans) * size,
        "dense_words": max(plan.item_dense_words for plan in plans) * sub_batch,
        "feature_words": -(-vector_words // size) * shares,
        "act_words": max(plan.act_stride for plan in plans) * sub_batch,
        "cross_words": max(plan.cross_stride for plan in plans) * shares,
    }
    sizes = {name: max(size, _power_of_two(need)) for name, need in needs.items()}
    return AcceleratorConfig.model_validate(base | sizes)


def core_ranker(
    network: NetworkShape, config: AcceleratorConfig, rng: np.random.Generator
) -> QuantisedRanker:
    """Return a ranker of `network`'s shape with random parameters."""
    return ranker_of_sizes(rng, config, network.sizes, name=network.name, max_rows=_TABLE_ROWS)


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """One ranker on one array. Shares are of 1; cycles are of `sub_batches` x `sub_batch` items.

    passes, cold_passes : items that the core takes at a time, as perfmodel.pass_plan chooses, in
        the run and for one sub-batch alone.
    bound : useful MACs / MACs of the tiles that the folds need, stacking included.
    whole, steady : efficiency over the whole run, and in the middle: between the last scores of
        two equal passes, counting the bottom and the top MLPs that the array does between them.
    cold : efficiency of one sub-batch alone, from an idle core to the last score.
    occupancy, steady_occupancy : cycles in which the array works / cycles.
    interaction_busy : cycles in which the interaction works, whole run.
    scale_sim, scale_sim_stacked : cycles of one sub-batch by SCALE-Sim's closed form.
    model_cycles : what perfmodel predicts for `cycles`; difference : the largest of all its times
        (transfers, releases, last scores, busy cycles), those of the sub-batch alone included.
    equal, equal_cold : cycles of the run, and of one sub-batch alone, by the performance model for
        passes of so many items each.
    longer : cycles of runs of 1, 2, 4, ... times as many sub-batches, by the performance model.
    run_s : seconds that the simulation of the run took.
    """

    model: str
    array_size: int
    block_size: int
    engines: int
    sub_batch: int
    sub_batches: int
    passes: tuple[int, ...]
    cold_passes: tuple[int, ...]
    macs: int
    tiles: int
    cycles: int
    cold_cycles: int
    steady_macs: int
    steady_cycles: int
    array_busy: int
    steady_array_busy: int
    interaction_busy: int
    model_cycles: int
    difference: int
    scale_sim: int
    scale_sim_stacked: int
    equal: dict[int, int]
    equal_cold: dict[int, int]
    longer: dict[int, int]
    run_s: float

    def efficiency(self, macs: int, cycles: int) -> float:
        """Return `macs` / the MACs that the array can do in `cycles`."""
        return macs / (self.array_size**2 * cycles)

    @property
    def sub_batch_macs(self) -> int:
        """Useful MACs of a sub-batch."""
        return self.sub_batch * self.macs

    @property
    def bound(self) -> float:
        """Efficiency that the folds allow."""
        return self.efficiency(self.macs, self.tiles)

    @property
    def whole(self) -> float:
        """Efficiency of the run."""
        return self.efficiency(self.sub_batches * self.sub_batch_macs, self.cycles)

    @property
    def cold(self) -> float:
        """Efficiency of one sub-batch alone."""
        return self.efficiency(self.sub_batch_macs, self.cold_cycles)

    @property
    def steady(self) -> float:
        """Efficiency in the middle of the run."""
        return self.efficiency(self.steady_macs, self.steady_cycles)

    @property
    def steady_sub_batch_cycles(self) -> float:
        """Cycles per sub-batch in the middle of the run."""
        return self.steady_cycles * self.sub_batch_macs / self.steady_macs

    @property
    def values(self) -> dict[str, Any]:
        """Fields and shares for JSON."""
        return vars(self) | {
            "bound": self.bound,
            "whole": self.whole,
            "cold": self.cold,
            "steady": self.steady,
            "whole_of_bound": self.whole / self.bound,
            "cold_of_bound": self.cold / self.bound,
            "steady_of_bound": self.steady / self.bound,
            "occupancy": self.array_busy / self.cycles,
            "steady_occupancy": self.steady_array_busy / self.steady_cycles,
            "interaction_occupancy": self.interaction_busy / self.cycles,
            "scale_sim_efficiency": self.efficiency(self.sub_batch_macs, self.scale_sim),
            "scale_sim_stacked_efficiency": self.efficiency(
                self.sub_batch_macs, self.scale_sim_stacked
            ),
        }


def _compare(workload: Workload, run: CoreRun) -> None:
    """Raise RuntimeError unless every score of `run` is golden's."""
    logits, ctr = expected_scores(workload, run)
    wrong = np.flatnonzero((run.logits != logits) | (run.ctr != ctr))
    if wrong.size:
        raise RuntimeError(
            f"scores must equal the golden model's: {wrong.size} of {logits.size} differ, "
            f"the first at item {wrong[0]}: {run.logits[wrong[0]]}, not {logits[wrong[0]]}"
        )


def measure(
    size: int,
    network: NetworkShape,
    *,
    networks: Sequence[NetworkShape] = tuple(MODELS.values()),
    sub_batch: int = 1024,
    sub_batches: int = 8,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> Efficiency:
    """Run `sub_batches` sub-batches of `network` on an array of `size`, then one, bit for bit.

    The core walks through them in the passes that `best_passes` chooses.
    networks : for which the memories are made, so that they share a simulator.
    Raises RuntimeError if a score differs from the golden model's, ValueError if there are too few
    equal passes to see steady state.
    """
    config = core_config(size, networks, sub_batch)
    rng = np.random.default_rng(seed)
    ranker = core_ranker(network, config, rng)
    plan, items = plan_model(ranker.sizes, config), sub_batch * sub_batches
    passes, cold_passes = (best_passes(plan, n, _item_writes(plan)) for n in (items, sub_batch))
    if passes.middle(items) < _LEAST_MIDDLE:
        raise ValueError(
            f"sub_batches must leave {_LEAST_MIDDLE} equal passes of {passes.size} items, "
            f"not {passes.middle(items)} as {sub_batches} of {sub_batch} items do"
        )
    program = build_core(config, progress=progress)
    progress(f"running {network.name} on {size} x {size}")
    start = time.monotonic()
    ran = _run(program, ranker, config, passes.counts(items), rng)
    seconds = time.monotonic() - start
    cold = _run(program, ranker, config, cold_passes.counts(sub_batch), rng)
    return _figures(network, plan, passes, (ran, cold), (sub_batch, sub_batches), seconds)


def _item_writes(plan: ModelPlan) -> int:
    """Return the cycles in which the simulated gather writes an item's data."""
    return plan.item_dense_words // plan.config.words_per_beat + plan.item_vector_words


def _run(
    program: Path,
    ranker: QuantisedRanker,
    config: AcceleratorConfig,
    counts: list[int],
    rng: np.random.Generator,
) -> tuple[Workload, CoreRun]:
    """Run passes of `counts` random items, whose scores must be golden's."""
    items = sum(counts)
    query = random_query(rng, config, [ranker], items=items, feature_rows=items)
    workload = Workload(config, ranker, counts, query=query)
    run = run_core(program, workload)
    _compare(workload, run)
    return workload, run


def _figures(
    network: NetworkShape,
    plan: ModelPlan,
    passes: PassPlan,
    runs: tuple[tuple[Workload, CoreRun], tuple[Workload, CoreRun]],
    batches_of: tuple[int, int],
    seconds: float,
) -> Efficiency:
    (_, run), (_, cold) = runs
    config = plan.config
    sub_batch, sub_batches = batches_of
    items = sub_batch * sub_batches
    predicted = [predict(*each) for each in runs]

    # At both ends of the middle the array has just taken the bottom MLP two passes later, as large.
    middle = passes.middle(items)
    first, last = (len(passes.head) + n for n in (middle // 4, middle - 3))
    begin, end = run.last_scores[[first, last]]
    taken = int(run.counts[(run.transfers > begin) & (run.transfers <= end)].sum())
    scored = int(run.counts[first + 1 : last + 1].sum())
    top, bottom = (sum(x.macs for x in chain) for chain in (plan.top, plan.bottom))

    def scale_sim(stacked: bool) -> int:
        return sum(
            scale_sim_cycles(sub_batch, x.inputs, x.outputs, config.array_size, stacked=stacked)
            for x in plan.layers
        )

    return Efficiency(
        model=network.name,
        array_size=config.array_size,
        block_size=config.block_size,
        engines=config.engines,
        sub_batch=sub_batch,
        sub_batches=sub_batches,
        passes=tuple(run.counts.tolist()),
        cold_passes=tuple(cold.counts.tolist()),
        macs=plan.macs,
        tiles=plan.tiles,
        cycles=run.total_cycles,
        cold_cycles=cold.total_cycles,
        steady_macs=scored * top + taken * bottom,
        steady_cycles=int(end - begin),
        array_busy=run.array_busy,
        steady_array_busy=int(run.array_busy_then[last] - run.array_busy_then[first]),
        interaction_busy=run.interaction_busy,
        model_cycles=predicted[0].total_cycles,
        difference=max(
            max(guess.differences(did).values())
            for guess, (_, did) in zip(predicted, runs, strict=True)
        ),
        scale_sim=scale_sim(False),
        scale_sim_stacked=scale_sim(True),
        equal=_equal(plan, sub_batch, items),
        equal_cold=_equal(plan, sub_batch, sub_batch),
        longer={
            sub_batches * factor: _cycles(plan, passes.counts(items * factor)) for factor in _LONGER
        },
        run_s=seconds,
    )


def _equal(plan: ModelPlan, sub_batch: int, items: int) -> dict[int, int]:
    """Return the cycles of `items` in passes of sub_batch, sub_batch / 2, ... items."""
    parts = (sub_batch >> shift for shift in range(6) if sub_batch >> shift)
    return {part: _cycles(plan, split_items(items, part)) for part in parts}


def _cycles(plan: ModelPlan, counts: list[int]) -> int:
    """Return the cycles of passes of `counts` items by the performance model."""
    shape, writes = ProgramShape.of(plan.program, plan.row_bytes), _item_writes(plan)
    walks = [writes * count for count in counts]
    times = core_times(plan.config, shape, counts, walks, -walks[0])
    return int(times.logit[-1, 0]) + SCORE_CYCLES + 1


def efficiency_report(
    sizes: Sequence[int],
    models: Sequence[str],
    *,
    sub_batch: int = 1024,
    sub_batches: int = 8,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> list[Efficiency]:
    """Measure every model on every array size; builds are cached."""
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise ValueError(f"models must be of {', '.join(MODELS)}, not {unknown[0]!r}")
    return [
        measure(
            size,
            MODELS[name],
            sub_batch=sub_batch,
            sub_batches=sub_batches,
            seed=seed,
            progress=progress,
        )
        for size in sizes
        for name in models
    ]
