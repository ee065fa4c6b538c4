import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from rpaccel.scheduler.arrivals import PROCESSES
from rpaccel.scheduler.deeprecsched import (
    Space,
    cpu_space,
    exhaustive,
    joint,
    joint_space,
    paper_batch,
    paper_threshold,
    plain_queries,
    static,
)
from rpaccel.scheduler.derived_profiles import PROFILES_DIR, load_speedups, sped_up
from rpaccel.scheduler.peak import Peak, Probe, Sla
from rpaccel.scheduler.policy import NOT_OFFLOADED, Node, Policy
from rpaccel.scheduler.query_plant import QueryPlant, node_of
from rpaccel.scheduler.service_profile import find_profile, load_profiles
from rpaccel.scheduler.sizes import fixed, heavy_tail

PROFILES = load_profiles(PROFILES_DIR / "assumed.json")


def plant(model="mt-wnd", limit_s=0.025, cores=4, accelerator=True, **keys):
    cpu = find_profile(PROFILES, model, "cpu")
    other = sped_up(cpu, load_speedups()) if accelerator else None
    sla = Sla(limit_s=limit_s, first=2048, most=8192)
    keys = {"sizes": heavy_tail(), "sla": sla} | keys
    return QueryPlant(node=node_of(cpu, other, cores=cores), **keys)


@dataclass
class Surface:
    """A plant whose peaks are a given function of the policy."""

    height: object
    guess: object = None
    calls: list = field(default_factory=list)

    def limit_qps(self, policy):
        return 2 * self.height(policy)

    def estimate_qps(self, policy):
        return (self.guess or self.height)(policy)

    def peak(self, policy, start_qps=None):
        self.calls.append(policy)
        return Peak(qps=self.height(policy), low_qps=0, high_qps=0, probes=())

    def probe(self, policy, load_qps):
        self.calls.append(policy)
        return Probe(
            load_qps=load_qps, passes=self.height(policy) >= load_qps, sure=True, queries=10
        )


def hill(policy):
    threshold = min(policy.threshold, 1100)
    return 100 - abs(math.log2(policy.batch / 64)) - abs(threshold - 300) / 100


def test_first_climb_ends_at_the_first_decrease():
    peaks = {1: 10, 2: 20, 4: 19.9, 8: 30, 16: 25, 32: 99}
    surface = Surface(lambda policy: peaks.get(policy.batch, 0))
    found = paper_batch(surface)
    assert (found.policy.batch, found.qps) == (8, 30)  # 19.9 is 20 within the resolution; 99 unseen
    assert found.evaluations == 5
    assert [policy.batch for policy in surface.calls] == [1, 2, 4, 8, 16]


def test_second_climb_keeps_the_batch():
    batch = paper_batch(Surface(hill))
    assert batch.policy == Policy(batch=64)
    surface = Surface(hill)
    found = paper_threshold(surface, batch)
    assert found.policy == Policy(batch=64, threshold=256)
    assert [policy.threshold for policy in surface.calls] == [1 << power for power in range(10)]
    assert found.evaluations == batch.evaluations + 10


def test_exhaustive_finds_the_top():
    space = joint_space(1e-3)
    found = exhaustive(Surface(hill, guess=lambda policy: -policy.batch), space)
    assert (found.policy.batch, found.policy.threshold) == (64, 300)
    assert found.settings == len(space) == len(set(space)) == 4848


def test_a_space_holds_no_two_settings_that_do_the_same():
    space = joint_space(1e-3)
    for policy in space:
        offloads = policy.threshold != NOT_OFFLOADED
        assert policy.merge_items == 0 or offloads
        assert policy.merge_window_s == 0 or policy.merge_items > 0
    waits = {(p.merge_items, p.merge_window_s) for p in space if p.threshold == 500}
    assert waits == {(0, 0.0), (1000, 0.0), (1000, 1e-3), (4000, 0.0), (4000, 1e-3)}


def test_neighbours_are_in_the_space():
    space = joint_space(1e-3)
    every = set(space)
    edge = Policy(batch=64, threshold=950, even=True, merge_items=4000, merge_window_s=1e-3)
    near = set(space.neighbours(edge, 1))
    assert near <= every
    assert Policy(batch=64, even=True) in near  # nothing offloaded, so nothing merged or waiting
    back = set(space.neighbours(Policy(batch=64, even=True), 1))
    assert Policy(batch=64, threshold=950, even=True) in back


def test_a_wait_of_the_accelerator_helps_where_launches_cost_most():
    # 8 queries in one launch of 2 ms, or each in a launch of its own: 4 times the load.
    times = np.full((1, 4001), 2e-3)
    sla = Sla(limit_s=0.02, first=2048, most=8192)
    node = Node(cores=1, cpu_s=times, accelerators=1, accelerator_s=times)
    load = QueryPlant(node=node, sizes=fixed(100), sla=sla)
    alone, merged = Policy(batch=25, threshold=1), Policy(batch=25, threshold=1, merge_items=800)
    waits = replace(merged, merge_window_s=5e-3)
    assert load.peak(merged).qps > 4 * load.peak(alone).qps
    few = 300.0  # queries/s: most launches hold one
    now, later = (load.serve(policy, few, 4000)[0] for policy in (merged, waits))
    assert later.accelerator_requests < 0.6 * now.accelerator_requests
    assert load.estimate_qps(waits) < load.estimate_qps(merged)
    assert load.limit_qps(waits) == load.limit_qps(merged)


def test_arrivals_of_the_artifact_are_whole_milliseconds_and_hold_more():
    # One core, 4 ms a query: gaps of 5 ms and more that vary too little.
    table_s = np.r_[0.0, np.full(100, 4e-3)][None]
    poisson = QueryPlant(
        node=Node(cores=1, cpu_s=table_s), sizes=fixed(100), sla=Sla(limit_s=0.02, most=8192)
    )
    gaps = replace(poisson, process=PROCESSES["artifact"])
    policy, load_qps = Policy(batch=100), 180.0
    times_ms = 1e3 * gaps.arrivals_s(load_qps, 4000)
    assert np.allclose(times_ms, np.rint(times_ms)) and np.ptp(np.diff(times_ms)) > 3
    assert np.array_equal(times_ms[:100], 1e3 * gaps.arrivals_s(load_qps, 100))
    assert times_ms[-1] == pytest.approx(4000 / load_qps * 1e3, rel=0.02)
    assert gaps.peak(policy).qps > 1.1 * poisson.peak(policy).qps


@pytest.mark.parametrize("name", ["bursts", "diurnal"])
def test_a_load_that_changes_holds_less_on_average(name):
    steady = plant(accelerator=False, sla=Sla(limit_s=0.025, first=8192, most=8192))
    changing, policy = replace(steady, process=PROCESSES[name]), Policy(batch=64)
    assert changing.limit_qps(policy) == steady.limit_qps(policy)
    assert 0 < changing.peak(policy).qps < 0.9 * steady.peak(policy).qps


def test_other_peaks_are_of_other_queries():
    node, policy = plant(accelerator=False), Policy(batch=64)
    peaks = node.other_peaks(policy, 0.9 * node.limit_qps(policy), 3)
    for place, peak in enumerate(peaks, 1):
        other = plant(accelerator=False, seed=place).peak(policy, 0.9 * node.limit_qps(policy))
        assert peak == other.qps
    assert len(set(peaks)) > 1
    assert plant(limit_s=1e-4).other_peaks(policy, 0.0, 2) == [0.0, 0.0]


@pytest.mark.parametrize("wrong", [0.0, 5.0, 20.0])
def test_joint_search_needs_no_exact_guess(wrong):
    def guess(policy):
        return hill(policy) - wrong * (policy.batch > 50) * (policy.threshold < 400)

    surface = Surface(hill, guess)
    found = joint(surface, joint_space(1e-3))
    assert found.qps >= 0.98 * 100
    assert found.evaluations <= 8
    assert len(set(surface.calls)) == found.evaluations


def test_a_bound_saves_the_run():
    surface = Surface(lambda policy: 100.0 if policy.batch == 64 else 10.0)
    found = exhaustive(surface, Space(batch=(16, 32, 64, 128)))
    assert {policy.batch for policy in surface.calls} == {64}
    # The bounds of the others are below what 64 items hold, even or not.
    assert (found.settings, found.evaluations, len(set(surface.calls))) == (8, 2, 2)


def test_bounds_change_the_answer_by_little():
    node = plant(accelerator=False)
    space = Space(batch=(16, 64, 128, 256, 512))
    peaks = [node.peak(policy).qps for policy in space]
    found = exhaustive(node, space)
    assert found.evaluations < found.settings == 10
    assert found.qps == pytest.approx(max(peaks), rel=0.01)


@pytest.mark.parametrize(("above", "found"), [(1.0015, 100.0), (1.0025, 100.25)])
def test_the_exhaustive_search_passes_over_less_than_its_gain(above, found):
    surface = Surface(
        lambda policy: 100.0 * above if policy.batch == 16 else 100.0,
        guess=lambda policy: policy.batch,
    )
    best = exhaustive(surface, Space(batch=(16, 64), even=(False,)))
    assert best.qps == pytest.approx(found, rel=1e-9)


def test_a_plain_search_finds_every_peak():
    node = plant(accelerator=False)
    space = Space(batch=(16, 64, 256))
    queries = [node.peak(policy).queries for policy in space]
    assert plain_queries(node, space) == sum(queries)  # fewer settings than are sampled
    assert plain_queries(node, space, 2) == 3 * (queries[1] + queries[2])


@pytest.mark.parametrize("space", [cpu_space(1e-3), joint_space(1e-3)])
def test_what_a_plain_search_samples_is_spread_over_the_space(space):
    surface = Surface(hill)
    plain_queries(surface, space)
    seen = surface.calls
    assert len(set(seen)) == 12
    for name in ("even", "merge", "merge_items", "window_s", "merge_window_s"):
        assert {getattr(policy, name) for policy in seen} == set(getattr(space, name))
    assert len({policy.batch for policy in seen}) == 12
    for values, found in (
        (space.threshold, {policy.threshold for policy in seen}),
        (space.batch, {policy.batch for policy in seen}),
    ):
        assert found & set(values[:2])
        assert found & set(values[-2:])


def test_hopeless_guesses_are_not_tried():
    surface = Surface(hill, lambda policy: 100.0 if policy.batch == 64 else 97.0)
    found = joint(surface, Space(batch=(16, 32, 64, 128), even=(False,)), share=1.0)
    assert [policy.batch for policy in surface.calls] == [64]
    assert (found.settings, found.evaluations) == (4, 1)


def test_nothing_meets_the_target():
    none = plant(limit_s=1e-4)
    for found in (static(none), joint(none, Space(batch=(1, 25))), paper_batch(none)):
        assert found.qps == 0


def test_limit_is_where_a_pool_is_busy_all_the_time():
    node = plant()
    for policy in (
        Policy(batch=25), Policy(batch=100, even=True), Policy(batch=256, threshold=400),
        Policy(batch=64, threshold=100),
    ):  # fmt: skip
        limit = node.limit_qps(policy)
        served, _ = node.serve(policy, limit, 8192)
        span_s = 8192 / limit
        busiest = max(served.cpu_busy_s / 4, served.accelerator_busy_s) / span_s
        assert busiest == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    "policy", [Policy(batch=25), Policy(batch=256), Policy(batch=25, even=True)]
)
def test_estimate_is_near_the_peak(policy):
    node = plant(limit_s=0.05, cores=40)
    assert node.estimate_qps(policy) == pytest.approx(node.peak(policy).qps, rel=0.05)


def test_merged_launches_cannot_beat_their_bound():
    node = plant(limit_s=0.2)
    policy = Policy(batch=25, threshold=1, merge_items=4000, merge=True)
    alone = Policy(batch=25, threshold=1)
    assert node.limit_qps(alone) < node.peak(policy).qps <= node.limit_qps(policy)


@pytest.mark.parametrize("limit_s", [0.0125, 0.0375])
@pytest.mark.parametrize("accelerator", [False, True])
def test_ours_is_near_the_optimum_at_a_tenth_of_the_cost(limit_s, accelerator):
    node = plant(limit_s=limit_s, accelerator=accelerator, cores=20)
    space = cpu_space(0.05 * limit_s)
    if accelerator:
        space = Space(
            batch=(16, 32, 64, 128, 256, 512, 1024),
            threshold=(1, 100, 200, 300, 400, 600, 800, NOT_OFFLOADED),
            merge_items=(0, 1000, 4000),
        )
    best, ours = exhaustive(node, space), joint(node, space)
    assert ours.qps >= 0.98 * best.qps
    assert ours.evaluations <= len(space) / 10
    assert ours.qps > static(node).qps


def test_same_seed_same_outcome():
    space = Space(batch=(25, 50, 100))
    assert joint(plant(), space) == joint(plant(), space)


def test_queries_of_one_size_split_evenly_are_best():
    # 100 items on 4 idle cores: four parts of 25.
    node = plant(sizes=fixed(100), limit_s=2.2e-3, accelerator=False)
    assert static(node).qps > 0
    assert static(node, batch=100).qps == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Space(batch=(2, 1)), r"^batch must ascend, not \(2, 1\)"),
        (lambda: Space(threshold=()), r"^threshold must ascend, not \(\)"),
        (
            lambda: Space(merge_window_s=(1e-3, 2e-3)),
            r"^window_s and merge_window_s must begin with 0",
        ),
        (lambda: joint(plant(), Space(), share=0), r"^share must be in 0\.\.1, not 0"),
        (
            lambda: node_of(find_profile(PROFILES, "ncf", "cpu"), cores=0),
            r"^cores must be at least 1",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
