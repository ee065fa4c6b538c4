"""Random two-stage workloads of the kind that sweeps are made for: rankers, queries.

Ids follow a law of popularity, tables are large beside the caches, and both rankers read the same
records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rpaccel.golden.lane import Query, rank
from rpaccel.golden.quantised import QuantisedFeature, QuantisedRanker
from rpaccel.main_job.sweep_machines import SweepMachine
from rpaccel.spec.isa import BINS
from rpaccel.workloads.criteo_trace import FITTED, spread
from rpaccel.workloads.random_models import int8, random_ranker, record_sizes, shared_schema

__all__ = ["PROFILES", "SAMPLES", "SweepRankers", "draw_query", "draw_sweep_rankers"]

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

DIMS = ((4, 8, 16), (8, 16, 32))  # of the front's rows, and of the back's [bytes]
HIDDEN = ((16, 32, 64), (32, 64, 128))
MOST_ROWS = (512, 4096, 16384)  # of a table
MOST_IDS = (1, 4, 8)  # of a multi-hot feature
USER_TABLES, ITEM_TABLES = (1, 4), (2, 8)  # least and most
UNIFORM = 4  # one model in so many has ids that are not popular
KEPT = (0.03, 0.6)  # least and most share of the candidates that the filter's edges are made for
SAMPLES = 9  # queries from which hit rates come; the first third warms the caches
PROFILES = 6  # queries from which pinned rows come


@dataclass(frozen=True, kw_only=True)
class SweepRankers:
    """A front and a back ranker that read the same records; uniform : ids, else as Criteo's."""

    front: QuantisedRanker
    back: QuantisedRanker
    uniform: bool

    @property
    def both(self) -> list[QuantisedRanker]:
        """Front, back."""
        return [self.front, self.back]


def draw_sweep_rankers(rng: np.random.Generator, machine: SweepMachine) -> SweepRankers:
    """Return two random rankers; whether they fit the machine is for the compiler to say."""
    config = machine.config
    lanes = config.lane(0), config.lane(machine.back_lane)

    def layers(stage: int, most: int) -> tuple[int, ...]:
        count = int(rng.integers(0 if stage == 0 else 1, most + 1))
        return tuple(int(x) for x in rng.choice(HIDDEN[stage], count))

    front = random_ranker(
        rng,
        lanes[0],
        name="front",
        dim=int(rng.choice(DIMS[0])),
        user_dense=int(rng.integers(1, 14)),
        item_dense=int(rng.integers(1, 14)),
        user_tables=int(rng.integers(USER_TABLES[0], USER_TABLES[1] + 1)),
        item_tables=int(rng.integers(ITEM_TABLES[0], ITEM_TABLES[1] + 1)),
        bottom=layers(0, 1),
        top=layers(0, 1),
        max_rows=int(rng.choice(MOST_ROWS)),
        max_ids=int(rng.choice(MOST_IDS)),
        threshold=-32768,
    )
    back = shared_schema(
        rng, lanes[1], front, name="back", dim=int(rng.choice(DIMS[1])), bottom=layers(1, 2),
        top=layers(1, 2),
    )  # fmt: skip
    drawn = SweepRankers(front=front, back=back, uniform=bool(rng.integers(UNIFORM) == 0))
    return replace(drawn, front=_edged(rng, drawn))


def _edged(rng: np.random.Generator, rankers: SweepRankers) -> QuantisedRanker:
    """Return the front with bin edges where its logits lie."""
    records = draw_records(rng, rankers, "item", 256, 1024)
    user = draw_records(rng, rankers, "user", 1, 1024).tobytes()
    logits = rank(rankers.front, user, records, np.arange(256)).logits
    shares = np.geomspace(*KEPT, BINS - 1)
    edges = np.sort(np.quantile(logits, 1 - shares)).astype(np.int16)
    return replace(rankers.front, edges=edges)


def _ids(
    rng: np.random.Generator,
    rankers: SweepRankers,
    feature: QuantisedFeature,
    shape: int | tuple[int, int],
) -> Ints:
    if rankers.uniform:
        return np.asarray(rng.integers(0, feature.rows, size=shape), np.int64)
    ranks = FITTED.ranks(rng.random(shape), feature.rows)
    return spread(ranks, feature.rows) if feature.rows > 2 else ranks


def draw_records(
    rng: np.random.Generator, rankers: SweepRankers, side: str, rows: int, record_bytes: int
) -> Bytes:
    """Return uint8[rows, record_bytes] for both rankers: counts are uniform, ids popular."""
    front = rankers.front
    records = np.zeros((rows, record_bytes), np.uint8)
    words = records.view("<u4")
    dense = front.user_dense if side == "user" else front.item_dense
    records[:, :dense] = int8(rng, (rows, dense)).view(np.uint8)
    for feature in front.features:
        if feature.side != side:
            continue
        first = feature.word
        if not feature.multi_hot:
            words[:, first] = _ids(rng, rankers, feature, rows)
            continue
        count = rng.integers(0, feature.max_ids + 1, size=rows)
        ids = _ids(rng, rankers, feature, (rows, feature.max_ids))
        used = np.arange(feature.max_ids)[None, :] < count[:, None]
        words[:, first] = count
        words[:, first + 1 : first + 1 + feature.max_ids] = np.where(used, ids, 0)
    return records


def draw_query(
    rng: np.random.Generator,
    machine: SweepMachine,
    rankers: SweepRankers,
    *,
    items: int,
    k: int,
    top_n: int,
) -> Query:
    """Return a query of both stages; every candidate has a record of its own."""
    user_bytes, item_bytes = record_sizes(machine.config, rankers.both)
    return Query(
        user_record=draw_records(rng, rankers, "user", 1, user_bytes).tobytes(),
        candidates=rng.permutation(items).astype(np.uint32),
        features=draw_records(rng, rankers, "item", items, item_bytes),
        stages=((0, k), (1, top_n)),
        top_n=top_n,
    )
