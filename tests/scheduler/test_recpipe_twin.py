"""Pipelines beside a SimPy twin: stages, split requests, pools that stages share, the link."""

import numpy as np
import pytest
import simpy

from rpaccel.scheduler.arrivals import PROCESSES, poisson_arrivals_s
from rpaccel.scheduler.funnel_quality import Funnel
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_node import Design, HostTimes, Node, Visit
from tests.scheduler.test_recpipe_search import node, quality, space

POOLS = ("link", "cpu", "gpu", "accelerator")
SPLIT = ("cpu", "gpu")
# Ratios of a measured device, all different: who goes first of a tie is the kernel's own rule.
SPREAD = np.random.default_rng(0).lognormal(sigma=0.5, size=100_000)


def simpy_twin(arrivals, visits, servers, ratios, slowdown):
    """Latencies of queries that make `visits` one after another; ratios : by pool, of a query.

    slowdown : by pool, of a request for each other server that is busy when it begins.
    """
    environment = simpy.Environment()
    pools = {pool: simpy.Resource(environment, count) for pool, count in servers.items()}
    latency = np.zeros(len(arrivals))

    def request(pool, service_s):
        with pools[pool].request() as turn:
            others = pools[pool].count - 1
            if not turn.triggered:
                yield turn
                others = pools[pool].count - 1
            yield environment.timeout(service_s * (1 + slowdown.get(pool, 0.0) * others))

    def query(index):
        yield environment.timeout(arrivals[index])
        for visit in visits:
            yield environment.timeout(visit.before_s)
            ratio = ratios[visit.pool][index]
            times = [visit.full_s] * (visit.parts - 1) + [visit.last_s]
            yield environment.all_of(
                [environment.process(request(visit.pool, ratio * time)) for time in times]
            )
            yield environment.timeout(visit.after_s)
        latency[index] = environment.now - arrivals[index]

    for index in range(len(arrivals)):
        environment.process(query(index))
    environment.run()
    return latency


class _Given(Node):
    """A node whose pipelines are numbered, by the shards of a design."""

    def visits(self, design):
        return PIPELINES[design.shards]


PIPELINES: dict[int, list[Visit]] = {}


def draw_visits(rng):
    """One to six visits; pools come again, the CPU's and GPU's are split, some delays are 0."""
    found = []
    for _ in range(rng.integers(1, 7)):
        pool = str(rng.choice(POOLS))
        found.append(
            Visit(
                pool=pool,
                parts=int(rng.choice([1, 2, 3, 7])) if pool in SPLIT else 1,
                full_s=float(rng.uniform(1e-3, 4e-3)),
                last_s=float(rng.uniform(1e-4, 6e-3)),
                before_s=float(rng.choice([0.0, rng.uniform(1e-4, 2e-3)])),
                after_s=float(rng.choice([0.0, rng.uniform(1e-4, 2e-3)])),
            )
        )
    return found


def drawn(seed, pipelines=6, queries=120, slowdown=0.0):
    """A node of random pools, its pipelines, and an evaluator of them. slowdown : of SPLIT."""
    rng = np.random.default_rng(seed)
    given = node(
        servers={pool: int(rng.integers(1, 6)) for pool in POOLS[1:]},
        hosts={
            pool: HostTimes(table_s={}, ratios={"small": SPREAD}, slowdown=slowdown)
            for pool in SPLIT
        },
    )
    given = _Given(**{name: getattr(given, name) for name in Node.__dataclass_fields__})
    PIPELINES.clear()
    PIPELINES.update({number: draw_visits(rng) for number in range(pipelines)})
    funnel = Funnel(models=("small",), items=(2048,))
    designs = [Design(funnel=funnel, devices=("cpu",), shards=n) for n in range(pipelines)]
    return Evaluator(given, quality(), queries=queries, seed=seed), designs


def twin_latencies(found, visits, load_qps, draw=poisson_arrivals_s, queries=None):
    """The twin's of the evaluator's queries at a load."""
    arrivals = draw(queries or found.queries, load_qps, found.seed)
    ratios = dict(zip(POOLS, found.node.ratios(found.queries, found.seed), strict=True))
    slowdown = {pool: host.slowdown for pool, host in found.node.hosts.items()}
    return simpy_twin(arrivals, visits, {"link": 1, **found.node.servers}, ratios, slowdown)


@pytest.mark.parametrize("slowdown", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(8))
def test_random_pipelines_match_simpy(seed, slowdown) -> None:
    found, designs = drawn(seed, slowdown=slowdown)
    table = found.table(designs)
    for share in (0.5, 0.9, 1.3):  # of the load that saturates; above it queues only grow
        loads = share * table.capacity_qps
        ours = found.latencies(table, np.arange(len(designs)), loads)
        for row, design in enumerate(designs):
            theirs = twin_latencies(found, found.visits(design), loads[row])
            assert np.allclose(ours[row], theirs, rtol=0, atol=1e-12)
            assert share < 1 or theirs.max() > 1.5 * theirs.min()


def test_pipelines_of_a_space_match_simpy() -> None:
    given = space()
    found = Evaluator(given.node, given.quality, queries=40, seed=3)
    designs = list(given.designs())
    table = found.table(designs)
    loads = 0.9 * table.capacity_qps
    ours = found.latencies(table, np.arange(len(designs)), loads)
    seen = set()
    for row, design in enumerate(designs):
        visits = found.visits(design)
        pools = [visit.pool for visit in visits]
        seen |= {("link", "link" in pools), ("split", max(v.parts for v in visits) > 1),
                 ("shared", len(set(pools)) < len(pools)), ("stages", len(pools))}  # fmt: skip
        assert np.allclose(ours[row], twin_latencies(found, visits, loads[row]), atol=1e-12)
    assert {("link", True), ("split", True), ("shared", True), ("stages", 3)} <= seen


@pytest.mark.parametrize("name", ["artifact", "diurnal", "bursts"])
def test_other_arrivals_are_those_of_the_load_and_of_the_run(name) -> None:
    # The artifact's whole milliseconds are of one load; a day is as long as the run.
    process = PROCESSES[name]
    poisson, designs = drawn(3, pipelines=3)
    found = poisson.longer(120, process)
    table = found.table(designs)
    row = np.array([0, 1, 2, 0, 1, 2])
    loads = np.repeat([150.0, 400.0], 3)
    for queries in (120, 50):
        ours = found.latencies(table, row, loads, queries)
        for place, load in enumerate(loads):
            visits = found.visits(designs[row[place]])
            theirs = twin_latencies(found, visits, load, process.draw, queries)
            assert np.allclose(ours[place], theirs, rtol=0, atol=1e-12)
