import numpy as np
import pytest

from rpaccel.workloads.log_trace import RowKeys
from rpaccel.workloads.rankers import LARGE_USER
from rpaccel.workloads.synthetic import synthetic_workload


@pytest.fixture(scope="module")
def workload():
    return synthetic_workload(seed=0)


@pytest.fixture(scope="module")
def keys(workload):
    return RowKeys(workload.features, [workload.small.config, workload.large.config])


def test_every_table_has_rows_of_its_own(workload, keys):
    rankers = (workload.small.config, workload.large.config)
    tables = [f for r in rankers for f in r.sparse(workload.features.schema)]
    assert keys.rows == sum(f.rows for f in tables)
    items = np.arange(40)
    small, large = (keys.stage(name, 3, items) for name in ("small", "large"))
    limit = sum(f.rows for f in rankers[0].sparse(workload.features.schema))
    assert max(small.user.max(), small.items.max()) < limit
    assert limit <= min(large.user.min(), large.items.min())
    assert max(large.user.max(), large.items.max()) < keys.rows


@pytest.mark.parametrize("ranker", ["small", "large"])
def test_rows_are_those_of_the_records_in_order(workload, keys, ranker):
    config = getattr(workload, ranker).config
    data, user, items = workload.features, 5, np.array([7, 0, 23])
    first, position = {}, 0 if ranker == "small" else None
    if position is None:
        position = sum(f.rows for f in workload.small.config.sparse(data.schema))
    for feature in config.sparse(data.schema):
        first[feature.name] = position
        position += feature.rows

    def expected(names, who):
        return [first[n] + int(i) for n in names for i in data.ids[n][who][: data.counts[n][who]]]

    found = keys.stage(ranker, user, items)
    parts = [expected(config.item_features, item) for item in items]
    ahead = expected(config.user_features, user)
    assert found.user.tolist() == ahead
    assert found.user_once.tolist() == ahead + [key for part in parts for key in part]
    assert found.user_each_time.tolist() == [key for part in parts for key in ahead + part]
    assert found.counts.tolist() == [len(part) for part in parts]


def test_a_user_with_a_history_reads_its_list(workload, keys):
    counts = sum(int(workload.features.counts[name][0]) for name in LARGE_USER)
    assert keys.stage("large", 0, np.array([1])).user.size == counts > len(LARGE_USER)


def test_rejects_equal_names(workload):
    small = workload.small.config
    with pytest.raises(ValueError, match=r"rankers must have different names"):
        RowKeys(workload.features, [small, small])
