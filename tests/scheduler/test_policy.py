import math

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.closed_forms import mg1_wait_s, priority_waits_s
from rpaccel.scheduler.intervals import student_t
from rpaccel.scheduler.policy import Node, Policy, PolicyRun, run_policy
from rpaccel.scheduler.sizes import heavy_tail

ITEMS = np.arange(4001)
CPU_S = 0.5e-3 + 0.04e-3 * ITEMS
ACCELERATOR_S = 2e-3 + 0.008e-3 * ITEMS
LINK_S = 0.1e-3 + 0.004e-3 * ITEMS


def node(cores=4, accelerators=1, link=False):
    return Node(
        cores=cores,
        cpu_s=np.stack([CPU_S, 2 * CPU_S]),
        accelerators=accelerators,
        accelerator_s=np.stack([ACCELERATOR_S, 0.5 * ACCELERATOR_S]),
        link_s=np.stack([LINK_S, 0.5 * LINK_S]) if link else None,
    )


class Twin:
    """The same node in SimPy: servers wake whenever something may have changed."""

    def __init__(self, node, policies, arrivals, sizes, kinds):
        self.node, self.policies, self.kinds = node, policies, kinds
        self.arrivals, self.sizes = arrivals.tolist(), sizes.tolist()
        self.env = simpy.Environment()
        self.finish = [0.0] * len(arrivals)
        self.left = list(self.sizes)
        self.ready = list(self.arrivals)
        self.cpu = [[] for _ in policies]
        self.accelerator = [[] for _ in policies]
        self.idle = {"cpu": node.cores, "accelerator": node.accelerators}
        self.link = simpy.Resource(self.env, 1)
        for query in range(len(arrivals)):
            self.env.process(self.query(query))
        self.env.run()

    def query(self, query):
        yield self.env.timeout(self.arrivals[query])
        kind, size = self.kinds[query], self.sizes[query]
        policy = self.policies[kind]
        if size < policy.threshold:
            self.cpu[kind].append(query)
            window, serve = policy.window_s, self.serve_cores
        else:
            if self.node.link_s is not None:
                with self.link.request() as request:
                    yield request
                    yield self.env.timeout(self.node.link_s[policy.table, size])
            self.ready[query] = self.env.now
            self.accelerator[kind].append(query)
            window, serve = policy.merge_window_s, self.serve_accelerators
        serve()
        yield self.env.timeout(window)
        serve()

    def order(self, queues, full, window):
        def due(kind):
            queue, policy = queues[kind], self.policies[kind]
            waiting = sum(self.left[query] for query in queue)
            return queue and (
                waiting >= full(policy) or self.ready[queue[0]] + window(policy) <= self.env.now
            )

        def key(kind):
            first = queues[kind][0]
            policy = self.policies[kind]
            return policy.priority, self.arrivals[first] + policy.deadline_s, first

        return sorted(filter(due, range(len(queues))), key=key)

    def serve_cores(self):
        while self.idle["cpu"]:
            kinds = self.order(self.cpu, lambda p: p.batch, lambda p: p.window_s)
            if not kinds:
                return
            queue, policy = self.cpu[kinds[0]], self.policies[kinds[0]]
            first = queue[0]
            part = policy.batch
            if policy.even:
                part = math.ceil(self.sizes[first] / math.ceil(self.sizes[first] / part))
            parts = {first: min(part, self.left[first])}
            if policy.merge and parts[first] == self.left[first]:
                for query in queue[1:]:
                    room = policy.batch - sum(parts.values())
                    if room > 0:
                        parts[query] = min(room, self.left[query])
            for query, items in parts.items():
                self.left[query] -= items
            queue[:] = [query for query in queue if self.left[query]]
            time = self.node.cpu_s[policy.table, sum(parts.values())]
            self.start("cpu", list(parts), time)

    def serve_accelerators(self):
        while self.idle["accelerator"]:
            kinds = self.order(
                self.accelerator, lambda p: p.merge_items, lambda p: p.merge_window_s
            )
            if not kinds:
                return
            queue, policy = self.accelerator[kinds[0]], self.policies[kinds[0]]
            taken = [queue.pop(0)]
            while queue and sum(self.sizes[q] for q in [*taken, queue[0]]) <= policy.merge_items:
                taken.append(queue.pop(0))
            time = self.node.accelerator_s[policy.table, sum(self.sizes[q] for q in taken)]
            self.start("accelerator", taken, time)

    def start(self, pool, queries, time):
        self.idle[pool] -= 1
        for query in queries:
            self.finish[query] = max(self.finish[query], self.env.now + time)
        self.env.process(self.work(pool, time))

    def work(self, pool, time):
        yield self.env.timeout(time)
        self.idle[pool] += 1
        self.serve_cores()
        self.serve_accelerators()


policy_of = st.builds(
    Policy,
    batch=st.sampled_from([5, 25, 64, 200, 1000]),
    threshold=st.sampled_from([1, 150, 300, 2000]),
    even=st.booleans(),
    merge=st.just(True),
    window_s=st.sampled_from([0.0, 1.3e-3, 20e-3]),
    merge_items=st.sampled_from([1, 500, 2000]),
    merge_window_s=st.sampled_from([0.0, 1.7e-3, 30e-3]),
    priority=st.integers(0, 1),
    deadline_s=st.sampled_from([0.0, 5e-3, 50e-3]),
    table=st.integers(0, 1),
) | st.builds(
    Policy,
    batch=st.sampled_from([5, 25, 64, 200, 1000]),
    threshold=st.sampled_from([1, 150, 300, 2000]),
    even=st.booleans(),
    priority=st.integers(0, 1),
)


@settings(deadline=None, max_examples=120)
@given(
    policies=st.lists(policy_of, min_size=1, max_size=3),
    cores=st.sampled_from([1, 3, 40]),
    accelerators=st.integers(1, 2),
    link=st.booleans(),
    load=st.sampled_from([20.0, 200.0, 1500.0]),
    queries=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_matches_simpy(policies, cores, accelerators, link, load, queries, seed):
    arrivals = poisson_arrivals_s(queries, load, seed)
    sizes = heavy_tail().draw(queries, seed)
    kinds = np.random.default_rng(seed).integers(0, len(policies), queries).astype(np.int32)
    where = node(cores, accelerators, link)
    found = run_policy(where, policies, arrivals, sizes, kinds)
    twin = Twin(where, policies, arrivals, sizes, kinds)
    assert np.allclose(found.finish_s, twin.finish, rtol=0, atol=1e-9)
    assert found.cpu_items + found.accelerator_items == sizes.sum()


@pytest.mark.parametrize("pool", ["core", "accelerator"])
def test_whole_queries_are_mg1(pool):
    policy = Policy(batch=1000, threshold=2000 if pool == "core" else 1)
    times = CPU_S if pool == "core" else ACCELERATOR_S
    share = heavy_tail().share
    mean, second = share @ times[: share.size], share @ times[: share.size] ** 2
    load, waits = 0.7 / mean, []
    for seed in range(12):
        arrivals = poisson_arrivals_s(100_000, load, seed)
        sizes = heavy_tail().draw(100_000, seed)
        served = run_policy(node(cores=1), [policy], arrivals, sizes)
        waits.append((served.finish_s - arrivals - times[sizes])[10_000:].mean())
    half = student_t(0.999, 11) * np.std(waits, ddof=1) / math.sqrt(12)
    assert half < 0.05 * np.mean(waits)
    assert abs(np.mean(waits) - mg1_wait_s(load, mean, second)) < half


def test_priorities_as_cobham():
    # Kind 1 goes first. Kind 0 has 100 items, kind 1 has 20.
    policies = [Policy(batch=1000, priority=1), Policy(batch=1000)]
    sizes_of = np.asarray([100, 20])
    loads = [100.0, 100.0]
    waits = []
    for seed in range(12):
        arrivals = poisson_arrivals_s(200_000, sum(loads), seed)
        kinds = np.random.default_rng(seed).integers(0, 2, 200_000).astype(np.int32)
        sizes = sizes_of[kinds].astype(np.int32)
        served = run_policy(node(cores=1), policies, arrivals, sizes, kinds)
        wait = (served.finish_s - arrivals - CPU_S[sizes])[20_000:]
        waits.append([wait[kinds[20_000:] == kind].mean() for kind in (1, 0)])
    half = student_t(0.999, 11) * np.std(waits, axis=0, ddof=1) / math.sqrt(12)
    times = CPU_S[[20, 100]]
    expected = priority_waits_s(loads, times, times**2)
    assert np.all(np.abs(np.mean(waits, axis=0) - expected) < half)
    assert np.all(half < 0.1 * np.asarray(expected))


@pytest.mark.parametrize("steps", [1, 7, 500])
def test_stops_and_goes_on(steps):
    policies = [Policy(batch=64, threshold=400, merge=True, window_s=1e-3, merge_items=1500)]
    arrivals, sizes = poisson_arrivals_s(500, 400.0, 3), heavy_tail().draw(500, 3)
    whole = run_policy(node(link=True), policies, arrivals, sizes)
    run = PolicyRun(node(link=True), policies, arrivals, sizes)
    for until in range(0, 500, 500 // steps):
        run.advance(until)
        assert np.all(np.isinf(run.latencies_s(until, 500)))
    run.advance()
    assert np.array_equal(run.served.finish_s, whole.finish_s)
    assert run.served.cpu_busy_s == pytest.approx(whole.cpu_busy_s)
    assert np.array_equal(run.latencies_s(0, 500), whole.finish_s - arrivals)


def test_new_policies_hold_from_their_arrival_on():
    arrivals, sizes = np.arange(4.0), np.full(4, 100, np.int32)
    run = PolicyRun(node(), [Policy(batch=1000)], arrivals, sizes)
    run.advance(2)
    run.set_policies([Policy(batch=1000, threshold=1)])
    run.advance()
    latencies = run.latencies_s(0, 4)
    assert latencies == pytest.approx([CPU_S[100]] * 2 + [ACCELERATOR_S[100]] * 2)


def test_parts_by_hand():
    # 250 items in parts of 100 on 2 cores: 100, 100, then 50.
    served = run_policy(
        node(cores=2), [Policy(batch=100)], np.zeros(1), np.asarray([250], np.int32)
    )
    assert served.finish_s[0] == pytest.approx(CPU_S[100] + CPU_S[50])
    assert served.cpu_requests == 3
    even = Policy(batch=100, even=True)  # 84, 84, 82
    served = run_policy(node(cores=2), [even], np.zeros(1), np.asarray([250], np.int32))
    assert served.finish_s[0] == pytest.approx(CPU_S[84] + CPU_S[82])


def test_merging_by_hand():
    # Three queries of 10 items fill a request of 30; alone, the window ends the wait.
    policy = Policy(batch=30, merge=True, window_s=5e-3)
    arrivals = np.asarray([0.0, 1e-3, 2e-3, 10e-3])
    served = run_policy(node(), [policy], arrivals, np.full(4, 10, np.int32))
    assert served.finish_s[:3] == pytest.approx([2e-3 + CPU_S[30]] * 3)
    assert served.finish_s[3] == pytest.approx(15e-3 + CPU_S[10])
    assert served.cpu_requests == 2


def test_an_accelerator_merges_only_whole_queries():
    policy = Policy(batch=30, threshold=1, merge_items=100, merge_window_s=1e-3)
    sizes = np.asarray([60, 50, 40, 999], np.int32)
    served = run_policy(node(), [policy], np.zeros(4), sizes)
    assert served.accelerator_requests == 3  # 60; 50 + 40; 999, which is more than merge_items
    expected = np.cumsum([ACCELERATOR_S[60], ACCELERATOR_S[90], ACCELERATOR_S[999]])
    assert served.finish_s == pytest.approx(expected[[0, 1, 1, 2]])


def test_the_link_works_beside_the_accelerator():
    policy = Policy(batch=30, threshold=1)
    served = run_policy(node(link=True), [policy], np.zeros(3), np.full(3, 500, np.int32))
    expected = LINK_S[500] + np.arange(1, 4) * ACCELERATOR_S[500]
    assert served.finish_s == pytest.approx(expected)
    assert served.link_busy_s == pytest.approx(3 * LINK_S[500])


def test_earliest_deadline_goes_first():
    # A core is busy; of two that wait, the later one has the nearer deadline.
    policies = [Policy(batch=1000, deadline_s=1.0), Policy(batch=1000, deadline_s=0.1)]
    arrivals = np.asarray([0.0, 1e-3, 2e-3])
    served = run_policy(
        node(cores=1), policies, arrivals, np.full(3, 1000, np.int32), np.asarray([0, 0, 1], "i4")
    )
    assert np.argsort(served.finish_s).tolist() == [0, 2, 1]


def test_equal_deadlines_keep_the_order_of_arrival():
    served = run_policy(
        node(cores=1), [Policy(batch=1000)] * 2, np.zeros(3), np.full(3, 10, np.int32),
        np.asarray([1, 0, 1], "i4"),
    )  # fmt: skip
    assert served.finish_s == pytest.approx(np.arange(1, 4) * CPU_S[10])


@pytest.mark.parametrize(("size", "offloaded"), [(399, 0), (400, 400)])
def test_a_query_of_the_threshold_is_offloaded(size, offloaded):
    policy = Policy(batch=100, threshold=400)
    served = run_policy(node(), [policy], np.zeros(1), np.asarray([size], np.int32))
    assert served.accelerator_items == offloaded


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Policy(batch=0), r"^batch and threshold must be at least 1, not 0 and"),
        (lambda: Policy(batch=1, window_s=1.0), r"^window_s must be 0 unless requests are merged"),
        (lambda: Policy(batch=1, merge_window_s=1.0), r"^merge_window_s must be 0 unless"),
        (lambda: Policy(batch=1, merge=True, window_s=-1), r"^windows, merge_items and table"),
        (lambda: node(cores=0), r"^cores must be at least 1 and accelerators not negative, not 0"),
        (
            lambda: Node(cores=1, cpu_s=np.zeros((1, 2)), accelerators=1),
            r"^accelerator_s must be given for an accelerator",
        ),
        (lambda: Node(cores=1, cpu_s=np.zeros(2)), r"^service times must be tables of times"),
        (
            lambda: run_policy(
                node(), [Policy(batch=5000, merge=True)], np.zeros(1), np.ones(1, "i4")
            ),
            r"^cpu_s must hold 5000 items, not 4000",
        ),
        (
            lambda: run_policy(
                node(accelerators=0), [Policy(batch=5, threshold=1)], np.zeros(1), np.ones(1, "i4")
            ),
            r"^threshold must be above 1: there is no accelerator",
        ),
        (
            lambda: run_policy(
                node(),
                [Policy(batch=5, threshold=1, merge_items=9999)],
                np.zeros(1),
                np.ones(1, "i4"),
            ),
            r"^accelerator_s must hold 9999 items of table 0",
        ),
        (
            lambda: run_policy(node(), [Policy(batch=5, table=2)], np.zeros(1), np.ones(1, "i4")),
            r"^table must be below 2, not 2",
        ),
        (
            lambda: run_policy(node(), [Policy(batch=5)], np.zeros(2), np.ones(1, "i4")),
            r"^sizes and kinds must be of 2 queries, not 1",
        ),
        (
            lambda: run_policy(node(), [Policy(batch=5)], np.zeros(1), np.zeros(1, "i4")),
            r"^queries must be one or more, of an item or more",
        ),
        (
            lambda: run_policy(
                node(), [Policy(batch=5)], np.zeros(1), np.ones(1, "i4"), np.ones(1, "i4")
            ),
            r"^kinds must be in 0\.\.0, one for each policy",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
