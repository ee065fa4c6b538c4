from itertools import pairwise

import pytest

from rpaccel.perfmodel.lane import StageInput, predict_query
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.networks import FILM_LARGE, FILM_SMALL
from rpaccel.perfmodel.report import breakdown_rows
from rpaccel.perfmodel.shapes import compile_shape
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import COMPLETION
from rpaccel.spec.platform import MemoryTiming

EDGE = load_accelerator("edge")
RECORDS = RecordSizes(user_bytes=1008, item_bytes=64)


def timing(latency=30):
    return MemoryTiming(latency_cycles=latency, source="test")


def query(config=EDGE, latency=30, items=(1600, 256), sub_batch=0):
    stages = [
        StageInput(shape=compile_shape(network, config), items=count, sub_batch=sub_batch)
        for network, count in zip((FILM_SMALL, FILM_LARGE), items, strict=True)
    ]
    return predict_query(config, stages, timing(latency), RECORDS, 10)


def edge(**changes):
    return AcceleratorConfig.model_validate(EDGE.model_dump() | changes)


def test_rows_sum_to_the_total():
    report = query()
    assert sum(row["stage_cycles"] for row in breakdown_rows(report)) == report.total_cycles
    for stage in report.stages:
        assert sum(batch.items for batch in stage.sub_batches) == stage.items


def test_fields_are_the_completions():
    fields = query().completion()
    assert set(fields) <= {field.name for field in COMPLETION}
    assert fields["items0"] == 1600
    assert fields["items1"] == 256
    assert fields["stage_cycles2"] == 0
    assert all(isinstance(value, int) for value in fields.values())


@pytest.mark.parametrize("items", [(1, 1), (127, 5), (128, 128), (1600, 256)])
def test_between_bounds(items):
    for stage in query(items=items).stages:
        assert stage.lower_bound_cycles <= stage.stage_cycles <= stage.serial_cycles


def test_unit_busy_fits_the_stage():
    for stage in query().stages:
        assert max(stage.array_cycles, stage.interaction_cycles) <= stage.stage_cycles
        assert stage.gather_cycles <= stage.stage_cycles


def test_more_bandwidth_is_never_slower():
    totals = [
        query(config=edge(axi_data_bits=bits, retrieval_queries=0)).total_cycles
        for bits in (64, 128)
    ]
    assert totals == sorted(totals, reverse=True)


def test_more_latency_is_never_faster():
    totals = [query(latency=latency).total_cycles for latency in (10, 30, 100, 300)]
    assert totals == sorted(totals)


def test_more_items_are_never_faster():
    totals = [query(items=(n, min(n, 64))).total_cycles for n in (64, 100, 128, 129, 500, 1600)]
    assert totals == sorted(totals)


def test_descriptor_cuts_the_sub_batch():
    report = query(items=(100, 50), sub_batch=16)
    assert [b.items for b in report.stages[0].sub_batches] == [16] * 6 + [4]
    for before, after in pairwise(report.stages[0].sub_batches):
        assert before.compute_start < after.compute_start
        assert before.released < after.released
        assert before.compute_end < after.compute_end


def test_rejects_too_many_stages():
    stage = StageInput(shape=compile_shape(FILM_SMALL, EDGE), items=4)
    with pytest.raises(ValueError, match=r"^stages must be in 1\.\.4, not 5"):
        predict_query(EDGE, [stage] * 5, timing(), RECORDS, 1)
