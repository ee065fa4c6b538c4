"""Both Criteo rankers in int8, and their images for the ways of splitting a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.golden.lane import Query
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.partition import Partition, Rectangle, split_8_2
from rpaccel.host.quantise import CalibrationSet, Recipe, quantise, with_filter
from rpaccel.host.records import feature_table, user_records
from rpaccel.host.row_pins import Pins, RowName, profile_rows
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import StageMode
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads.criteo_queries import CriteoQuery, CriteoWorkload

__all__ = [
    "EIGHT_TWO",
    "QUARTERS",
    "CriteoFunnel",
    "CriteoImages",
    "CriteoModels",
    "compile_criteo",
    "quantise_criteo",
]

EIGHT_TWO, QUARTERS = "8 + 2", "quarters"
RECIPE = Recipe(activations="max", tables="max", spread=1.0)  # of all, the least logit error
SCALE_QUERIES, SCALE_ITEMS = 16, 256  # whose activations place the scales
FILTER_QUERIES = 24  # whose logits place the filter's bin edges
PROFILE_QUERIES = 4  # whose rows are pinned
TABLE_FILL = 7 / 8  # of the table of pinned rows: a fuller one is slow to arrange
OTHERS = 1 << 20  # the first of these queries: none that is asked is among them


@dataclass(frozen=True, kw_only=True)
class CriteoFunnel:
    """Candidates, survivors asked of the first stage, and the length of the served list.

    4096 -> 512 -> 64 in RecPipe; fewer candidates keep its proportions.
    """

    items: int

    @property
    def keep(self) -> int:
        """Survivors at least."""
        return self.items // 8

    @property
    def served(self) -> int:
        """Length of the served list."""
        return self.items // 64

    def tasks(self, mode: StageMode) -> tuple[StageTasks, StageTasks]:
        """Return the tasks of both stages.

        The front end's: items / 8 where they only deal it out (WHOLE), else four sub-batches of
        items / 4 (RecPipe O.5). The back end's: items / 32.
        """
        back = StageTasks(task_items=self.items // 32)
        if mode is StageMode.WHOLE:
            return StageTasks(task_items=self.items // 8), back
        if mode is StageMode.GLOBAL:
            return StageTasks(task_items=self.items // 4, mode=mode), back
        return StageTasks.shared(self.items // 4, self.keep, self.items, mode), back


@dataclass(frozen=True, kw_only=True, eq=False)
class CriteoModels:
    """Both int8 rankers of a workload, the small one with its filter, and queries for them."""

    workload: CriteoWorkload
    small: QuantisedRanker
    large: QuantisedRanker

    @property
    def funnel(self) -> CriteoFunnel:
        """The funnel of the workload's queries."""
        return CriteoFunnel(items=self.workload.config.items)

    @property
    def rankers(self) -> tuple[QuantisedRanker, QuantisedRanker]:
        """Both rankers, as the golden model's slots."""
        return self.small, self.large

    def query(self, asked: CriteoQuery, mode: StageMode, config: AcceleratorConfig) -> Query:
        """Return the golden model's query over all items of `asked`, in `config`'s records."""
        return Query(
            user_record=user_records(asked.data, config)[0].tobytes(),
            candidates=np.arange(asked.data.items, dtype=np.uint32),
            features=feature_table(asked.data, config),
            stages=((0, self.funnel.keep), (1, self.funnel.served)),
            top_n=self.funnel.served,
            tasks=self.funnel.tasks(mode),
        )


def quantise_criteo(workload: CriteoWorkload) -> CriteoModels:
    """Return both rankers in int8, calibrated on queries of their own."""
    items, rng = workload.config.items, np.random.default_rng([workload.config.seed, 5])
    count = min(SCALE_ITEMS, items)
    rows = [
        query * items + np.sort(rng.choice(items, count, replace=False))
        for query in range(SCALE_QUERIES)
    ]
    chosen = CalibrationSet(users=np.arange(SCALE_QUERIES), items=np.stack(rows))
    data = workload.together(range(OTHERS, OTHERS + SCALE_QUERIES))
    small, large = (
        quantise(parameters, data, chosen, [RECIPE]).ranker
        for parameters in (workload.small, workload.large)
    )
    data = workload.together(range(OTHERS, OTHERS + FILTER_QUERIES))
    users = np.arange(FILTER_QUERIES)
    candidates = [query * items + np.arange(items) for query in range(FILTER_QUERIES)]
    keep = CriteoFunnel(items=items).keep
    return CriteoModels(
        workload=workload, small=with_filter(small, data, users, candidates, keep), large=large
    )


@dataclass(frozen=True, kw_only=True)
class CriteoImages:
    """Images of both rankers for a machine split in two ways.

    splits : by name; the large ranker's lanes own the same blocks in both.
    front, back : lanes that run the small ranker under each split, and the large one always.
    small : by split, at one address; large : beside it.
    first : the small ranker's image for 8 + 2, and what the static caches hold at first: `pins`.
    """

    config: AcceleratorConfig
    splits: dict[str, Partition]
    front: dict[str, tuple[int, ...]]
    back: tuple[int, ...]
    small: dict[str, CompiledModels]
    large: CompiledModels
    first: CompiledModels
    pins: Pins | None


def compile_criteo(
    models: CriteoModels, config: AcceleratorConfig, *, pin_banks: int | None = None
) -> CriteoImages:
    """Compile both rankers for the lanes that run them.

    pin_banks : banks, from the first on, in whose static caches popular rows of both lie until the
    first change of the split; 0: none, None: all.
    Raises ValueError for a machine that has no lanes for 8 + 2 and for quarters, too little memory
    in one of them, or fewer banks.
    """
    eight_two = split_8_2(config)
    twos = [lane for lane in range(config.lanes) if config.lane_shape(lane) == (2, 2)]
    back = tuple(lane for lane in twos if lane in eight_two)
    others = tuple(lane for lane in twos if lane not in eight_two)[:2]
    if len(others) < 2:
        raise ValueError(f"lane_blocks must have four 2s, not {list(config.lane_blocks)}")
    upper = {lane: Rectangle.square(0, 2 * n, 2) for n, lane in enumerate(others)}
    front = {
        EIGHT_TWO: tuple(lane for lane in eight_two if lane not in back),
        QUARTERS: others,
    }
    large = compile_models([models.large], config.lane(back[0]))
    small = {
        name: compile_models([models.small], config.lane(lanes[0]), base=large.limit)
        for name, lanes in front.items()
    }
    popular = None if pin_banks == 0 else _popular(models, config, pin_banks)
    first = compile_models(
        [models.small],
        config.lane(front[EIGHT_TWO][0]),
        base=large.limit,
        pins=popular,
        beside=[large],
    )
    return CriteoImages(
        config=config,
        splits={EIGHT_TWO: eight_two, QUARTERS: {lane: eight_two[lane] for lane in back} | upper},
        front=front,
        back=back,
        small=small,
        large=large,
        first=first,
        pins=popular,
    )


def _popular(models: CriteoModels, config: AcceleratorConfig, banks: int | None) -> Pins:
    """Return the rows that other queries name most often, half of the lines for each stage.

    Of small rows, more than the table has entries for would fit into the lines.
    """
    numbers = range(OTHERS, OTHERS + PROFILE_QUERIES)
    others = [models.query(models.workload.query(n), StageMode.WHOLE, config) for n in numbers]
    split = config.static_cache_lines // 2
    entries = int(TABLE_FILL * config.pin_entries * config.banks)
    front, back = (
        split * config.banks * config.beat_bytes // ranker.dim for ranker in models.rankers
    )
    rooms = (min(front, entries - back), back)
    rows: list[Sequence[RowName]] = [
        [name for name, _ in counts.most_common(room)]
        for counts, room in zip(profile_rows(models.rankers, others), rooms, strict=True)
    ]
    return Pins(split=split, banks=banks, rows=tuple(rows))
