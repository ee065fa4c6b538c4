"""What a card takes for the stages it is given: a query alone, and the time between queries.

Both are those of the model of the machine under load (`perfmodel.machine`). In the search a card is
a server that takes a query every `interval_s` and answers it `latency_s` after it came;
`rpaccel recpipe` prints how far the tail is then from the machine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.networks import RM_LARGE, RM_MED, RM_SMALL
from rpaccel.perfmodel.row_hits import machine_hits
from rpaccel.scheduler.ablation import SPLIT_SUB_BATCH, Measured, saturated_qps
from rpaccel.scheduler.paper_pipelines import (
    Pipeline,
    PipelineSetup,
    PipelineStage,
    lanes_of_shape,
)
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.sweep import LaneSplit

__all__ = [
    "Card", "CardTimes", "CriteoCard", "Program", "ProgramTimes", "lanes_of_split", "later_tasks",
]  # fmt: skip

LATER_TASKS = 4  # of a stage behind the first, at most: RecPipe O.5, WHOLE_TASKS
SATURATED = 32  # queries of the shorter load: the rate is that of 96 to six digits


@dataclass(frozen=True, kw_only=True, order=True)
class Program:
    """Consecutive stages that a card runs. results : ids that it hands back."""

    models: tuple[str, ...]
    items: tuple[int, ...]
    results: int
    split: str
    sub_batches: int

    @property
    def key(self) -> str:
        """The program in one word, for files."""
        stages = zip(self.models, self.items, strict=True)
        chain = "-".join(f"{model}:{items}" for model, items in stages)
        return f"{chain}-{self.results}/{self.split}/{self.sub_batches}"


@dataclass(frozen=True, kw_only=True)
class ProgramTimes:
    """latency_s : from the card's queue to the answer, alone. interval_s : between queries."""

    latency_s: float
    interval_s: float


class Card(Protocol):
    """A card that can be asked for any program; sizes are what its hardware holds."""

    @property
    def max_items(self) -> int: ...  # noqa: D102
    @property
    def max_results(self) -> int: ...  # noqa: D102
    def setup(self, program: Program) -> Measured: ...  # noqa: D102


class CardTimes:
    """Times of a card's programs, each computed once.

    known : times by `Program.key` from before, e.g. from a file.
    """

    def __init__(self, card: Card, known: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.card = card
        self.known: dict[str, tuple[float, float]] = dict(known or {})

    def times(self, program: Program) -> ProgramTimes:
        """Return the times of a program."""
        if program.key not in self.known:
            setup = self.card.setup(program)
            clock_hz = setup.platform.accelerator.clock_hz
            latency = simulate(setup.machine, setup.loads([0])).cycles / clock_hz
            self.known[program.key] = (latency, 1 / saturated_qps(setup, SATURATED))
        latency, interval = self.known[program.key]
        return ProgramTimes(latency_s=latency, interval_s=min(interval, latency))


def lanes_of_split(
    config: AcceleratorConfig, split: LaneSplit
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the lanes of the first and of the later stages; the same if they share them.

    Raises ValueError if the machine has not so many lanes of a shape, or blocks.
    """
    blocks = sum(rows * cols for rows, cols in split.lanes)
    if blocks > config.block_rows * config.block_cols:
        raise ValueError(
            f"split must have at most {config.block_rows * config.block_cols} blocks, "
            f"not {blocks} ({split})"
        )
    taken: set[int] = set()
    found = []
    for count, rows, cols in filter(None, (split.front, split.back)):
        able = [lane for lane in lanes_of_shape(config, (rows, cols)) if lane not in taken]
        if len(able) < count:
            raise ValueError(
                f"split must use at most {len(able)} lanes of {rows}x{cols}, not {count} ({split})"
            )
        found.append(tuple(able[:count]))
        taken.update(able[:count])
    return found[0], found[-1]


def later_tasks(sub_batches: int) -> int:
    """Return the tasks of a stage behind the first."""
    return min(sub_batches, LATER_TASKS)


class CriteoCard:
    """The published machine with Criteo's rankers; filters and the served list are on the card."""

    networks = {network.name: network for network in (RM_SMALL, RM_MED, RM_LARGE)}

    def __init__(self) -> None:
        self.config = load_accelerator("paper")
        self.hits = cache(self._hits)

    @property
    def max_items(self) -> int:
        """Candidates of a query."""
        return self.config.max_items

    @property
    def max_results(self) -> int:
        """Results of a query."""
        return self.config.max_top_n

    def _hits(self, models: tuple[str, ...], items: tuple[int, ...]) -> Mapping[str, float]:
        stages = [(m, self.networks[m].dim, n) for m, n in zip(models, items, strict=True)]
        return machine_hits(self.config, stages)

    def setup(self, program: Program) -> Measured:
        """Return a program on the machine."""
        split = LaneSplit.model_validate(program.split)
        front, back = lanes_of_split(self.config, split)
        stages = []
        for number, (model, items) in enumerate(zip(program.models, program.items, strict=True)):
            lanes = back if number else front
            tasks = later_tasks(program.sub_batches) if number else program.sub_batches
            block = self.config.lane_shape(lanes[0]) == (1, 1) and number == 0
            stages.append(
                PipelineStage(
                    network=self.networks[model],
                    items=items,
                    lanes=lanes,
                    task_items=-(-items // tasks) if tasks > 1 else 0,
                    sub_batch=SPLIT_SUB_BATCH if block else 0,
                )
            )
        return PipelineSetup(
            Pipeline(
                name=program.key,
                stages=tuple(stages),
                row_hits=self.hits(program.models, program.items),
                served=program.results,
            ),
            self.config,
        )
