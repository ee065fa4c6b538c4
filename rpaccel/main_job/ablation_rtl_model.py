"""What the model of a machine says of the queries that `ablation_rtl_machine` asks a netlist.

It is told their sizes, what each filter lets pass (by the golden model), and the share of rows that
read no memory: the rows that the queries name, through the pinned rows and one cache that all banks
share. Reading ahead is left out, as in `perfmodel.machine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rpaccel.golden.lane import Query, QueryResult, run_query
from rpaccel.main_job.ablation_rtl_machine import Place, Questions, Times
from rpaccel.main_job.query_load import query_load
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_load import Machine, QueryLoad
from rpaccel.perfmodel.machine_report import MachineReport
from rpaccel.perfmodel.row_hits import stream_hits
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.scheduler.shapes import compiled_shape
from rpaccel.spec.platform import MemoryTiming

__all__ = ["Predicted", "lane_shapes", "predict"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """times : as the netlist's. hits : share of rows that read no memory, 0..1.

    row_hits : of each model's rows. report : of the machine; second parts of queries behind all
    first ones.
    """

    times: Times
    hits: float
    row_hits: Mapping[str, float]
    report: MachineReport


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    query: Query
    golden: QueryResult


def predict(
    place: Place,
    questions: Questions,
    numbers: Sequence[int],
    *,
    before: Sequence[int],
    in_flight: int,
    round_trip_cycles: int,
    memory: MemoryTiming,
    sub_batches: bool = False,
) -> Predicted:
    """Return what the model says of queries that are asked as by `RtlHost.ask`.

    before : queries that were asked before. Hits are those of queries behind the first `in_flight`,
    if there are more. sub_batches : they are in the report.
    """
    earlier = [_parts(questions, number) for number in before]
    asked = [_parts(questions, number) for number in numbers]
    more = in_flight if len(asked) > in_flight else 0
    hits, share = _hits(place, questions, earlier + asked[:more], asked[more:])
    machine = Machine(
        config=questions.config, memory=memory, lanes=lane_shapes(place), row_hits=hits
    )
    count, parts = len(asked), questions.parts
    loads = []
    for part in range(parts):
        for number, each in enumerate(asked):
            load = _load(place, questions, each[part])
            if part:
                load = replace(load, after=number, arrival=round_trip_cycles)
            elif number >= in_flight:
                load = replace(load, after=(parts - 1) * count + number - in_flight)
            loads.append(load)
    report = simulate(machine, loads, sub_batches=sub_batches)
    records = report.query_records
    starts, ends = records["arrival"][:count], records["end"][-count:]
    times = Times(starts=tuple(starts.tolist()), ends=tuple(ends.tolist()))
    return Predicted(times=times, hits=share, row_hits=hits, report=report)


def _parts(questions: Questions, number: int) -> list[_Part]:
    """Return the parts of a query and their golden answers."""
    rankers, config = questions.models.rankers, questions.config
    query = questions.first(number)
    parts = [_Part(query=query, golden=run_query(query, rankers, config))]
    if questions.parts == 2:
        query = questions.second(query, questions.kept(parts[0].golden))
        parts.append(_Part(query=query, golden=run_query(query, rankers, config)))
    return parts


def lane_shapes(place: Place) -> dict[int, dict[str, ModelShape]]:
    """Return the shapes of all models by the lanes that hold them."""
    held: dict[int, dict[str, ModelShape]] = {}
    for image, lanes in place.images:
        shapes = {name: compiled_shape(image, name) for name in image.names}
        held |= dict.fromkeys(lanes, shapes)
    return held


def _load(place: Place, questions: Questions, part: _Part) -> QueryLoad:
    """Return a part as the model is asked it, at cycle 0."""
    rankers, query = questions.models.rankers, part.query
    lanes = [place.image_of(rankers[slot].name)[1] for slot, _ in query.stages]
    return query_load(query, part.golden, rankers, lanes)


def _hits(
    place: Place,
    questions: Questions,
    earlier: Sequence[Sequence[_Part]],
    asked: Sequence[Sequence[_Part]],
) -> tuple[dict[str, float], float]:
    """Return the share of rows that `asked` find pinned or in the cache: by model, and of all."""
    config, beats = questions.config, []
    labels, counted = [], []
    names = [questions.models.rankers[slot].name for slot, _ in questions.stages]
    for parts, counts in (*((e, False) for e in earlier), *((e, True) for e in asked)):
        for part in parts:
            for stage, (slot, _) in enumerate(part.query.stages):
                name = questions.models.rankers[slot].name
                found = _beats(place, questions, part, stage)
                beats.append(found)
                labels.append(np.full(len(found), names.index(name)))
                counted.append(np.full(len(found), counts))
    label, count = np.concatenate(labels), np.concatenate(counted)
    rates = stream_hits(
        np.concatenate(beats),
        label,
        count,
        config.row_cache_sets * config.row_cache_ways * config.banks,
        config.row_cache_ways,
        config.reads_in_flight,
    )
    share = float(np.array(rates)[label[count]].mean())
    return dict(zip(names, rates, strict=True)), share


def _beats(place: Place, questions: Questions, part: _Part, stage: int) -> Ints:
    """Return the beats of the rows that a stage names, item by item; -1: the row is pinned.

    All features of the Criteo rankers name one row of an item; a row is a beat at most.
    """
    slot = part.query.stages[stage][0]
    ranker = questions.models.rankers[slot]
    image = place.image_of(ranker.name)[0]
    size = image.layouts[image.slot(ranker.name)].plan.row_bytes
    items = np.ascontiguousarray(part.query.features[part.golden.stages[stage].ids])
    words = items.view("<u4").astype(np.int64)
    starts = {each.name: image.table(ranker.name, each.name).address for each in ranker.features}
    rows = np.stack(
        [starts[each.name] + words[:, each.word] * size for each in ranker.item_features], axis=1
    ).ravel()
    pinned = place.pins.rows[min(stage, 1)] if place.pins else ()
    held = [starts[feature] + row * size for name, feature, row in pinned if name == ranker.name]
    return np.where(
        np.isin(rows, np.array(held, np.int64)), -1, rows // questions.config.beat_bytes
    )
