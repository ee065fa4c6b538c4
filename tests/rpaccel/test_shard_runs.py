"""Devices that share a corpus, in simulation, beside the model."""

import pytest

from rpaccel.main_job.shard_runs import ShardRun, shard_study, shard_study_text
from rpaccel.perfmodel.retrieval_shards import kept_rows, second_round

SLOW = pytest.mark.slow  # a netlist


@pytest.fixture(scope="module")
def found():
    return shard_study(rows=1 << 12, k=100, queries=16, progress=lambda _: None)


def test_refuses_scans_that_are_not_full():
    with pytest.raises(ValueError, match=r"^queries must be a multiple of 16, not 12$"):
        shard_study(queries=12)
    with pytest.raises(ValueError, match=r"^rows must be a multiple of 4, not 1022$"):
        shard_study(rows=1022)


@SLOW
def test_copies_shards_and_both(found):
    """Every answer was equal to a sort, or the study would have raised."""
    short = [kept_rows(1 << 12, 100, n, chance) for n in (2, 4) for chance in (0.01, 0.5)]
    assert [(run.devices, run.shards, run.kept) for run in found.runs] == [
        (1, 1, 100),
        (2, 1, 100), (2, 2, 100), (2, 2, short[0]), (2, 2, short[1]),
        (4, 1, 100), (4, 2, 100), (4, 4, 100), (4, 4, short[2]), (4, 4, short[3]),
    ]  # fmt: skip
    assert all(run.queries == 3 + 8 + 16 for run in found.runs)
    assert shard_study_text(found).count("\n|") == 2 + len(found.runs)


def by(found, devices, shards, kept=100) -> ShardRun:
    (run,) = [r for r in found.runs if (r.devices, r.shards, r.kept) == (devices, shards, kept)]
    return run


@SLOW
def test_the_model_is_near(found):
    for run in found.runs:
        beyond = run.latency_cycles - run.model_latency_cycles
        assert abs(beyond) < 900, run
        if run.again == 0:
            assert beyond > 200, run
            assert abs(run.queries_per_mcycle / run.model_queries_per_mcycle - 1) < 0.1, run


@SLOW
def test_what_devices_bring(found):
    one = by(found, 1, 1)
    for devices in (2, 4):
        copies, shards = by(found, devices, 1), by(found, devices, devices)
        assert copies.latency_cycles == pytest.approx(one.latency_cycles, rel=0.01)
        assert shards.latency_cycles < 0.9 * one.latency_cycles / devices**0.5
        for run in (copies, shards):
            assert run.queries_per_mcycle > 0.85 * devices * one.queries_per_mcycle


@SLOW
def test_short_answers_are_asked_again_as_often_as_expected(found):
    for run in found.runs:
        chance = second_round(1 << 12, 100, run.shards, run.kept) if run.shards > 1 else 0.0
        assert run.expected_again == pytest.approx(run.queries * chance)
        spread = 3 * (run.queries * chance * (1 - chance)) ** 0.5
        assert abs(run.again - run.expected_again) <= spread + 1
    assert sum(run.again for run in found.runs) > 5
