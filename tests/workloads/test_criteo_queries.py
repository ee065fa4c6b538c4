import numpy as np
import pytest
from pydantic import ValidationError

from rpaccel.golden.dlrm import logits
from rpaccel.host.records import build_records
from rpaccel.perfmodel.sequencer import ProgramShape
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.program_plan import plan_model
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload
from rpaccel.workloads.criteo_shapes import CRITEO, SIXTEENTH
from rpaccel.workloads.criteo_trace import TABLE_ROWS
from rpaccel.workloads.filter_study import CTR_SHARE, SECOND_MEAN, SECOND_STD


@pytest.fixture(scope="module")
def workload():
    return CriteoWorkload(CriteoConfig(seed=3))


@pytest.fixture(scope="module")
def query(workload):
    return workload.query(5)


def ranks(values):
    return np.argsort(np.argsort(values))


def test_shape_is_criteos(workload, query):
    assert (query.data.items, query.data.item_dense.shape[1]) == (4096, 13)
    assert len(CRITEO.table_names) == 26
    assert workload.config.rows == tuple(min(rows, 20_000) for rows in TABLE_ROWS)
    records = build_records(query.data, "item", 128)
    assert records.shape == (4096, 128)
    assert not records[:, 120:].any()  # 13 dense in 16 bytes, 26 ids of 4
    for column, name in enumerate(CRITEO.table_names):
        ids = records.view("<u4")[:, 4 + column]
        assert np.array_equal(ids, query.data.ids[name][:, 0])
        assert ids.max() < workload.config.rows[column]


def test_utilities_have_the_statistics_of_clicks(query):
    assert query.utility.mean() == pytest.approx(SECOND_MEAN, abs=0.1)
    assert query.utility.std() == pytest.approx(SECOND_STD, rel=0.05)
    assert len(query.clicked) / 4096 == pytest.approx(CTR_SHARE, abs=0.03)
    clicked = np.isin(np.arange(4096), query.clicked)
    assert query.utility[clicked].mean() > query.utility[~clicked].mean() + 1


def test_best_are_the_greatest(query):
    best = query.best(64)
    rest = np.setdiff1d(np.arange(4096), best)
    assert query.utility[best].min() >= query.utility[rest].max()


def test_large_ranker_knows_the_utilities_and_small_one_nearly(workload, query):
    ids = np.arange(4096)
    found = {
        parameters.config.name: logits(parameters, query.data, 0, ids)
        for parameters in (workload.small, workload.large)
    }
    wanted = ranks(query.utility)
    assert np.corrcoef(ranks(found["rmlarge"]), wanted)[0, 1] > 0.9995
    assert np.abs(found["rmlarge"] - query.utility).max() < 0.1
    assert 0.87 < np.corrcoef(ranks(found["rmsmall"]), wanted)[0, 1] < 0.93
    kept = np.argsort(-found["rmsmall"])[:512]
    assert np.isin(query.best(64), kept).mean() > 0.9


def test_scaled_rankers_know_the_utilities_too():
    workload = CriteoWorkload(CriteoConfig(seed=3, shape="sixteenth"))
    query = workload.query(5)
    records = build_records(query.data, "item", 32)
    assert not records[:, 12:].any()  # 3 dense in 4 bytes, 2 ids of 4
    assert query.utility.std() == pytest.approx(SECOND_STD, rel=0.05)
    test_large_ranker_knows_the_utilities_and_small_one_nearly(workload, query)


def test_scaled_rankers_take_the_array_as_long():
    paper, default = load_accelerator("paper"), load_accelerator("default")
    tiles = {}
    for config, shape in ((paper, CRITEO), (default, SIXTEENTH)):
        for ranker in (shape.small, shape.large):
            for lane in (0, 2, 6):  # the whole array, a quarter, a block
                plan = plan_model(ranker.sizes, config.lane(lane))
                program = ProgramShape.of(plan.program, plan.slot["row_bytes"])
                tiles[config.name, ranker.name, lane] = program.tiles
    for lane, most in ((0, 0), (2, 0.12), (6, 0.03)):
        for name in ("rmsmall", "rmlarge"):
            theirs = tiles["paper", name, lane]
            assert tiles["default", name, lane] == pytest.approx(theirs, rel=most)
    assert tiles["paper", "rmsmall", 0] == 6 and tiles["paper", "rmlarge", 0] == 17


def test_rankers_have_the_published_shapes(workload):
    small, large = workload.small.config, workload.large.config
    assert (small.dim, small.bottom, small.top) == (4, (64, 4), (64, 1))
    assert (large.dim, large.bottom, large.top) == (32, (512, 256, 128, 64, 32), (96, 1))
    assert small.interaction == large.interaction == "dot"


def test_config_makes_the_workload(workload, query):
    again = CriteoWorkload(CriteoConfig(seed=3)).query(5)
    assert np.array_equal(again.utility, query.utility)
    assert np.array_equal(again.clicked, query.clicked)
    assert not np.array_equal(workload.query(6).utility, query.utility)
    assert not np.array_equal(CriteoWorkload(CriteoConfig(seed=4)).query(5).utility, query.utility)


def test_together_are_the_queries_one_after_the_other(workload, query):
    data = workload.together([4, 5])
    assert (data.users, data.items) == (2, 8192)
    assert np.array_equal(data.item_dense[4096:], query.data.item_dense)
    assert all(np.array_equal(data.ids[n][4096:], query.data.ids[n]) for n in CRITEO.table_names)


@pytest.mark.parametrize("name", ["seed", "items", "scale_rows"])
def test_rejects(name):
    with pytest.raises(ValidationError, match=name):
        CriteoConfig.model_validate({name: -1})
