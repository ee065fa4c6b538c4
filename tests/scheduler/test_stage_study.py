import numpy as np
import pytest

from rpaccel.scheduler.stage_study import ITEMS, KEPT, PARTS, WAYS, stage_tails, stages_of
from rpaccel.spec.recpipe import load_recpipe


def test_ways_differ_as_they_say():
    spec = load_recpipe("criteo")
    plain, later, merged = (stages_of(spec, "cpu", way) for way in WAYS)
    for first, second in (plain, later, merged):
        assert (first.batch, first.split, first.merge) == (PARTS, True, False)
        assert second.most_items == KEPT
        assert first.table_s.size > ITEMS
    assert plain[0].priority == plain[1].priority
    assert later[0].priority > later[1].priority
    assert (plain[1].merge, merged[1].merge, merged[1].batch) == (False, True, PARTS)
    assert stages_of(spec, "gpu", WAYS[2])[1].batch == ITEMS


def test_merged_launches_carry_what_single_ones_do_not():
    tails = stage_tails(load_recpipe("criteo"), (50.0, 200.0, 500.0), queries=4000)
    found = {(tail.device, tail.way, tail.load_qps): tail for tail in tails}
    assert len(tails) == len(found) == 15
    single, merged = WAYS[0].name, WAYS[2].name
    # A launch of 256 items takes 3.7 ms: 270 a second.
    assert np.isinf(found["gpu", single, 500.0].p99_ms)
    assert found["gpu", merged, 500.0].p99_ms < found["cpu", single, 500.0].p99_ms
    assert found["gpu", merged, 500.0].requests < 0.6
    for tail in tails:
        assert tail.way == merged or not np.isfinite(tail.p99_ms) or tail.requests == 1
        assert not np.isfinite(tail.p99_ms) or tail.interval_ms[0] <= tail.p99_ms
    # Alone, a query takes eight requests at once and one more: it has no one to wait for.
    calm = found["cpu", single, 50.0].p99_ms
    assert found["cpu", WAYS[1].name, 50.0].p99_ms == pytest.approx(calm, rel=0.02)
    assert found["cpu", WAYS[1].name, 500.0].p99_ms < found["cpu", single, 500.0].p99_ms
