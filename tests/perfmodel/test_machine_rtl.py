import numpy as np
import pytest

from rpaccel.perfmodel.machine import simulate
from tests.perfmodel.machine_bench import measure

ALONE, TOGETHER = 40, 24
QUERIES = 12  # of a load: the submission queue and the funnels hold as many


def errors(completions, report):
    pairs = zip(completions, report.queries, strict=True)
    return [found.total_cycles / real.total_cycles - 1 for real, found in pairs]


@pytest.mark.nightly
@pytest.mark.slow
def test_queries_alone():
    """Random queries in tasks on one or several lanes, one at a time."""
    found = []
    for seed in range(ALONE):
        completions, machine, loads = measure(seed, 1)
        found += errors(completions, simulate(machine, loads))
    print(f"mean |error| {np.mean(np.abs(found)):.4f}, worst {max(found, key=abs):+.4f}")
    assert np.mean(np.abs(found)) < 0.02
    assert np.max(np.abs(found)) < 0.08


@pytest.mark.nightly
@pytest.mark.slow
def test_loads():
    """Random queries at once. One that overtakes another changes both: the mean is what counts."""
    found, spans = [], []
    for seed in range(TOGETHER):
        completions, machine, loads = measure(seed, QUERIES)
        report = simulate(machine, loads)
        found += errors(completions, report)
        ends = [
            load.arrival + real.queue_cycles + real.total_cycles
            for load, real in zip(loads, completions, strict=True)
        ]
        spans.append(report.cycles / max(ends) - 1)
    print(
        f"queries: mean {np.mean(found):+.4f}, mean |error| {np.mean(np.abs(found)):.4f}, "
        f"worst {max(found, key=abs):+.4f}; makespan: mean |error| "
        f"{np.mean(np.abs(spans)):.4f}, worst {max(spans, key=abs):+.4f}"
    )
    assert np.mean(np.abs(found)) < 0.08
    assert np.mean(np.abs(spans)) < 0.02
    # Measured: 0.073. It was below 0.06 beside a reference that was wrong: queries arrive when the
    # netlist fetches them (machine_bench.measure), not when the host asks for them.
    assert np.max(np.abs(spans)) < 0.08
