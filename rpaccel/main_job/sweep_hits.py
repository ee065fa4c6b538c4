"""What a sweep is told of random queries: sizes, means, and hit rates from other queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.golden.cache_sim import by_frequency
from rpaccel.golden.lane import Query
from rpaccel.golden.quantised import QuantisedFeature, QuantisedRanker
from rpaccel.main_job.sweep_queries import SweepRankers
from rpaccel.perfmodel.design_space import CACHE_WAYS, HitKey, HitRates, HitSource
from rpaccel.perfmodel.networks import SweepWorkload
from rpaccel.perfmodel.row_hits import bank_skew, stream_reads
from rpaccel.perfmodel.shapes import FeatureShape, NetworkShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.program_plan import row_bytes_of

__all__ = ["CountedHits", "SampledHits", "workload_of"]

Ints = npt.NDArray[np.int64]


def _shape(feature: QuantisedFeature) -> FeatureShape:
    """Return the mean of what `draw_records` draws: counts of 0..max_ids, each as often."""
    if not feature.multi_hot:
        return FeatureShape()
    most = feature.max_ids
    return FeatureShape(multi_hot=True, max_ids=most, ids=most / 2, empty=1 / (most + 1))


def _network(ranker: QuantisedRanker) -> NetworkShape:
    return NetworkShape(
        name=ranker.name,
        dim=ranker.dim,
        user_dense=ranker.user_dense,
        item_dense=ranker.item_dense,
        user_features=tuple(map(_shape, ranker.user_features)),
        item_features=tuple(map(_shape, ranker.item_features)),
        bottom=tuple(layer.outputs for layer in ranker.bottom),
        top=tuple(layer.outputs for layer in ranker.top),
        interaction=ranker.interaction,
    )


def workload_of(rankers: SweepRankers, items: int, k: int, top_n: int) -> SweepWorkload:
    """Return what a sweep is told of such queries: sizes and means, no record."""
    stages = ((_network(rankers.front), items), (_network(rankers.back), k))
    return SweepWorkload(name="drawn", stages=stages, top_n=top_n)


def _rows_of(
    ranker: QuantisedRanker, query: Query, items: Ints, starts: Mapping[str, int]
) -> list[Ints]:
    """Return the rows that the user and then each item name: (first byte of each), in order.

    starts : of the tables, by feature.
    """
    size, found = row_bytes_of(ranker.dim), []
    for features, records in (
        (ranker.user_features, np.frombuffer(query.user_record, np.uint8)[None, :]),
        (ranker.item_features, query.features[items]),
    ):
        words = np.ascontiguousarray(records).view("<u4").astype(np.int64)
        columns = []
        for feature in features:
            first = feature.word + feature.multi_hot
            ids = words[:, first : first + feature.max_ids] * size + starts[feature.name]
            if feature.multi_hot:
                used = np.arange(feature.max_ids)[None, :] < words[:, feature.word, None]
                ids = np.where(used, ids, -1)
            columns.append(ids)
        if columns:
            rows = np.hstack(columns).ravel()
            found.append(rows[rows >= 0])
    return found


class SampledHits:
    """Hit rates of caches, from other queries of the same law; a source of DesignSpace's.

    Parameters
    ----------
    rankers : SweepRankers
    queries : as many as SAMPLES  profiles : from which pinned rows were chosen
    config : of the machine, for places in its table of pinned rows and its reads in flight.
    kept : items of each stage  The second stage's are the first candidates.
    addresses : of each stage: feature -> first byte of its table.
    """

    def __init__(
        self,
        rankers: SweepRankers,
        queries: Sequence[Query],
        profiles: Sequence[Query],
        config: AcceleratorConfig,
        kept: tuple[int, int],
        addresses: tuple[Mapping[str, int], Mapping[str, int]],
    ) -> None:
        self._rankers, self._kept, self._config = rankers.both, kept, config
        self._addresses = addresses
        self._known: dict[HitKey, tuple[Ints, Ints, npt.NDArray[np.bool_]]] = {}
        self._queries, self._profiles = queries, profiles

    def learn(self, known: Sequence[tuple[HitKey, HitRates]]) -> None:
        """Take nothing: rates are found when they are asked for."""

    def _asked(self, stage: int, query: Query, beat: int) -> tuple[Ints, Ints]:
        """Return the beats that a stage asks for, and what of each can be pinned: the row, or it.

        A row that is smaller than a beat is pinned alone, in a line with others.
        """
        ranker = self._rankers[stage]
        items = query.candidates[: self._kept[stage]]
        asked = np.concatenate(_rows_of(ranker, query, items, self._addresses[stage]))
        size = row_bytes_of(ranker.dim)
        if size <= beat:
            return asked // beat, asked // size
        beats = (asked[:, None] + np.arange(0, size, beat)).ravel() // beat
        return beats, beats

    def _places(self, lines: tuple[int, int], beat: int) -> tuple[int, int]:
        """Return how many rows, or beats, of each stage are pinned at most."""
        units = [min(row_bytes_of(ranker.dim), beat) for ranker in self._rankers]
        front, back = (count * beat // unit for count, unit in zip(lines, units, strict=True))
        entries = self._config.banks * self._config.pin_entries  # the stages take turns
        half = entries // 2
        return min(front, max(half, entries - back)), min(back, max(half, entries - front))

    def rates(self, key: HitKey) -> HitRates:
        """Return both stages' rates."""
        _, label, read = self._reads(key)
        stages = (read[label == number].mean() for number in range(2))
        front, back = (1 - float(share) for share in stages)
        return front, back

    def skews(self, key: HitKey) -> HitRates:
        """Return both stages' skews of the banks' reads."""
        stream, label, read = self._reads(key)
        reads = (key[0] * stream[read & (label == number)] for number in range(2))
        front, back = (bank_skew(self._config, addresses) for addresses in reads)
        return front, back

    def _reads(self, key: HitKey) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Return (beats, their stages, which of them read memory) in the order they are asked for.

        Those that only warm the caches are left out.
        """
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def _find(
        self, beat: int, static_kib: int, percent: int, ahead_kib: int, banks: int
    ) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        lines, ahead = ((kib << 10) // (banks * beat) * banks for kib in (static_kib, ahead_kib))
        front = lines * percent // 100
        pinned = [
            by_frequency(np.concatenate([self._asked(stage, q, beat)[1] for q in self._profiles]))[
                :places
            ]
            for stage, places in enumerate(self._places((front, lines - front), beat))
        ]
        parts, labels, counted = [], [], []
        for number, query in enumerate(self._queries):
            for stage in range(2):
                beats, units = self._asked(stage, query, beat)
                parts.append(np.where(np.isin(units, pinned[stage]), -1, beats))
                labels.append(np.full(len(beats), stage))
                counted.append(np.full(len(beats), number >= len(self._queries) // 3))
        stream, label = np.concatenate(parts), np.concatenate(labels)
        read = stream_reads(stream, ahead, CACHE_WAYS, self._config.reads_in_flight)
        kept = np.concatenate(counted)
        return stream[kept], label[kept], read[kept]


class CountedHits:
    """Hit rates of which all misses, of both stages, are so many times as many as another's.

    The banks do not count by stage: so a query's own share of hits is told to both in proportion.
    """

    def __init__(self, told: HitSource, misses: float) -> None:
        self._told, self._misses = told, misses

    def learn(self, known: Sequence[tuple[HitKey, HitRates]]) -> None:
        """Take nothing."""

    def rates(self, key: HitKey) -> HitRates:
        """Return both stages' rates."""
        front, back = (1 - min(1.0, (1 - rate) * self._misses) for rate in self._told.rates(key))
        return front, back

    def skews(self, key: HitKey) -> HitRates:
        """Return both stages' skews of the banks' reads."""
        return self._told.skews(key)
