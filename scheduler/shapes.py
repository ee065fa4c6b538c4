"""Compiled rankers as the performance model sees them, and the accelerator's time for a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rpaccel.golden.quantised import QuantisedFeature
from rpaccel.host.compile import CompiledModels
from rpaccel.host.program import SlotBases, instructions, slot_fields
from rpaccel.perfmodel.gather_traces import GatherStage, TracedFeature, TracedRecords
from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.report import QueryReport
from rpaccel.perfmodel.sequencer import item_banks
from rpaccel.perfmodel.shapes import FeatureShape, ModelShape
from rpaccel.perfmodel.traced_query import TracedStage
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import BINS, Op
from rpaccel.spec.platform import MemoryTiming

Bytes = npt.NDArray[np.uint8]


def feature_shape(feature: QuantisedFeature, records: Bytes | None) -> FeatureShape:
    """Return the timing shape of `feature` over these records; None: every list is full.

    records : uint8[n, record_bytes]
    """
    ids, empty = float(feature.max_ids), 0.0
    if feature.multi_hot and records is not None and len(records):
        counts = np.ascontiguousarray(records).view("<u4")[:, feature.word]
        counts = np.where(counts > feature.max_ids, 0, counts)  # refused: read as an empty list
        ids, empty = float(counts.mean()), float((counts == 0).mean())
    return FeatureShape(multi_hot=feature.multi_hot, max_ids=feature.max_ids, ids=ids, empty=empty)


def compiled_shape(
    compiled: CompiledModels,
    name: str,
    user_records: Bytes | None = None,
    item_records: Bytes | None = None,
) -> ModelShape:
    """Return the shape of model `name` for queries of these records; None: the worst case.

    user_records, item_records : uint8[n, record_bytes]
    """
    slot = compiled.slot(name)
    ranker, layout = compiled.rankers[slot], compiled.layouts[slot]
    bases = SlotBases()
    return ModelShape(
        name=name,
        slot=slot_fields(ranker, layout, bases),
        program=tuple(s for s in instructions(layout, bases) if s["op"] != Op.END),
        user_features=tuple(feature_shape(f, user_records) for f in ranker.user_features),
        item_features=tuple(feature_shape(f, item_records) for f in ranker.item_features),
    )


def bins_scanned(logits: npt.NDArray[np.int64], edges: npt.NDArray[np.int16], k: int) -> int:
    """Return how many bins the filter looks at before it has k, 1..BINS.

    logits : of the items that pass the threshold; edges : int16[15], ascending.
    """
    bins = np.searchsorted(edges.astype(np.int64), logits, side="right")
    counts = np.cumsum(np.bincount(bins, minlength=BINS)[::-1])
    return min(BINS, int(np.searchsorted(counts, k)) + 1)


def predict_request(
    compiled: CompiledModels,
    memory: MemoryTiming,
    *,
    user_record: bytes,
    features: Bytes,
    candidates: Sequence[npt.NDArray[np.integer]],
    models: Sequence[str],
    top_n: int,
    sub_batch: int = 0,
    scans: Sequence[int] = (),
    row_hits: Sequence[float] = (),
    bank_skews: Sequence[float] = (),
) -> QueryReport:
    """Return the cycles of one real query.

    user_record : padded to beats. features : uint8[rows, record_bytes]. candidates : ids that
    enter each stage. scans : bins scanned by each filter, `bins_scanned`; left out: all.
    row_hits : of each stage, share of the rows' beats that read no memory; left out: 0.
    bank_skews : of each stage, see perfmodel.costs.GatherMachine; left out: 1.
    """
    user = np.frombuffer(user_record, np.uint8)[None, :]
    stages = [
        StageInput(
            shape=compiled_shape(compiled, model, user, features[ids]),
            items=len(ids),
            sub_batch=sub_batch,
            bins_scanned=scans[index] if index < len(scans) else BINS,
            row_hits=row_hits[index] if index < len(row_hits) else 0.0,
            bank_skew=bank_skews[index] if index < len(bank_skews) else 1.0,
        )
        for index, (model, ids) in enumerate(zip(models, candidates, strict=True))
    ]
    sizes = RecordSizes(user_bytes=len(user_record), item_bytes=features.shape[1])
    return predict_query(compiled.config, stages, memory, sizes, top_n)


def traced_request(
    compiled: CompiledModels,
    *,
    user_record: bytes,
    user_address: int,
    features: Bytes,
    features_address: int,
    list_address: int,
    candidates: Sequence[npt.NDArray[np.integer]],
    models: Sequence[str],
    sub_batch: int = 0,
    scans: Sequence[int] = (),
) -> list[TracedStage]:
    """Return the stages of one real query for `perfmodel.traced_query`; see `predict_request`.

    user_address, features_address, list_address : where the driver put them [bytes].
    """
    return [
        TracedStage(
            stage=StageInput(
                shape=compiled_shape(compiled, model),
                items=len(ids),
                sub_batch=sub_batch,
                bins_scanned=scans[index] if index < len(scans) else BINS,
            ),
            gather=gather_stage(
                compiled,
                model,
                index,
                user_record=user_record,
                user_address=user_address,
                features=features,
                features_address=features_address,
                list_address=list_address,
                ids=ids,
                sub_batch=sub_batch,
            ),
        )
        for index, (model, ids) in enumerate(zip(models, candidates, strict=True))
    ]


def gather_stage(
    compiled: CompiledModels,
    model: str,
    index: int,
    *,
    user_record: bytes,
    user_address: int,
    features: Bytes,
    features_address: int,
    list_address: int,
    ids: npt.NDArray[np.integer],
    sub_batch: int = 0,
) -> GatherStage:
    """Return what stage `index` of a real query gathers; see `traced_request`.

    ids : of the items that enter it.
    """
    slot = compiled.slot(model)
    ranker, fields = compiled.rankers[slot], compiled_shape(compiled, model).slot
    beats = {
        side: -(-fields[f"{side}_dense_words"] * compiled.config.array_size
                // compiled.config.beat_bytes)
        for side in ("user", "item")
    }  # fmt: skip
    size = min(sub_batch or fields["sub_batch"], fields["sub_batch"])
    return GatherStage(
        user=TracedRecords(
            words=np.frombuffer(user_record, "<u4")[None, :],
            addresses=np.array([user_address], np.int64),
            dense_beats=beats["user"],
            features=_traced(compiled, ranker.user_features, model),
        ),
        items=TracedRecords(
            words=np.ascontiguousarray(features[ids]).view("<u4"),
            addresses=features_address + np.asarray(ids, np.int64) * features.shape[1],
            dense_beats=beats["item"],
            features=_traced(compiled, ranker.item_features, model),
        ),
        row_bytes=fields["row_bytes"],
        sub_batch=size,
        banks=item_banks(fields, size),
        list_address=list_address if index == 0 else None,
        number=min(index, 1),
    )


def _traced(
    compiled: CompiledModels, features: Iterable[QuantisedFeature], model: str
) -> tuple[TracedFeature, ...]:
    return tuple(
        TracedFeature(
            word=feature.word,
            rows=feature.rows,
            address=compiled.table(model, feature.name).address,
            multi_hot=feature.multi_hot,
            max_ids=feature.max_ids,
        )
        for feature in features
    )


def query_cycles(
    config: AcceleratorConfig,
    shapes: Mapping[str, ModelShape],
    memory: MemoryTiming,
    records: RecordSizes,
) -> Callable[[Sequence[str], Sequence[int], int], float]:
    """Return the function (models, items, top_n) -> total cycles that `PlanInputs` wants."""

    def cycles(models: Sequence[str], items: Sequence[int], top_n: int) -> float:
        stages = [
            StageInput(shape=shapes[model], items=count)
            for model, count in zip(models, items, strict=True)
        ]
        return float(predict_query(config, stages, memory, records, top_n).total_cycles)

    return cycles
