"""Stages that split, merge and go before each other, beside a SimPy twin and the other engines."""

import math
from dataclasses import replace

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from rpaccel.scheduler import stage_queues
from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.policy import Node, Policy, run_policy
from rpaccel.scheduler.sizes import heavy_tail
from rpaccel.scheduler.stage_queues import ALL_ITEMS, Stage, StageNode, serve_stages
from tests.scheduler.test_recpipe_twin import drawn

ITEMS = np.arange(4001)
SLOW_S = 0.5e-3 + 0.041e-3 * ITEMS
FAST_S = 2.1e-3 + 0.0083e-3 * ITEMS


class Twin:
    """The same in SimPy: servers take what they can when all else of a time has happened."""

    def __init__(self, node, pipelines, arrivals, sizes, kinds):
        self.env, self.node, self.pipelines = simpy.Environment(), node, pipelines
        self.arrivals, self.sizes, self.kinds = arrivals.tolist(), sizes.tolist(), kinds.tolist()
        self.finish = [0.0] * len(arrivals)
        self.idle = dict(node.servers)
        self.queues = {
            (kind, step): [] for kind, row in enumerate(pipelines) for step in range(len(row))
        }
        self.left, self.ready, self.open = {}, {}, {}
        self.requests = dict.fromkeys(self.queues, 0)
        for query in range(len(arrivals)):
            self.env.process(self.come(query))
        self.env.run()

    def stage(self, place):
        return self.pipelines[place[0]][place[1]]

    def come(self, query):
        yield self.env.timeout(self.arrivals[query])
        place = (self.kinds[query], 0)
        yield from self.go(query, place, self.stage(place).before_s)

    def go(self, query, place, delay_s):
        if delay_s:
            yield self.env.timeout(delay_s)
        stage = self.stage(place)
        self.left[query] = min(self.sizes[query], stage.most_items)
        self.open[query] = 0
        self.ready[query] = self.env.now
        self.queues[place].append(query)
        self.env.process(self.serve(stage.pool))
        if stage.window_s:
            yield self.env.timeout(stage.window_s)
            self.env.process(self.serve(stage.pool))

    def due(self, place):
        queue, stage = self.queues[place], self.stage(place)
        if not queue or stage.window_s == 0:
            return bool(queue)
        full = sum(self.left[query] for query in queue) >= stage.batch
        return full or self.ready[queue[0]] + stage.window_s <= self.env.now

    def key(self, place):
        first, stage = self.queues[place][0], self.stage(place)
        if self.node.by_deadline:
            return stage.priority, self.arrivals[first] + stage.deadline_s, first
        return stage.priority, self.ready[first], first

    def serve(self, pool):
        yield self.env.timeout(0)  # whatever else happens now comes first
        while self.idle[pool]:
            mine = [place for place in self.queues if self.stage(place).pool == pool]
            places = sorted(filter(self.due, mine), key=self.key)
            if not places:
                return
            self.env.process(self.request(places[0], self.parts(places[0])))

    def parts(self, place):
        queue, stage = self.queues[place], self.stage(place)
        first, batch = queue[0], stage.batch
        part = self.left[first]
        if stage.split:
            if stage.even:
                size = min(self.sizes[first], stage.most_items)
                batch = math.ceil(size / math.ceil(size / batch))
            part = min(part, batch)
        parts = {first: part}
        if stage.merge and part == self.left[first]:
            for query in queue[1:]:
                room = stage.batch - sum(parts.values())
                if room <= 0 or (not stage.split and self.left[query] > room):
                    break
                parts[query] = min(room, self.left[query])
        for query, items in parts.items():
            self.left[query] -= items
            self.open[query] += 1
        queue[:] = [query for query in queue if self.left[query]]
        pool = stage.pool
        self.idle[pool] -= 1
        others = self.node.servers[pool] - self.idle[pool] - 1
        slow = 1 + self.node.slowdown.get(pool, 0.0) * others
        self.requests[place] += 1
        return list(parts), stage.table_s[sum(parts.values())] * slow

    def request(self, place, taken):
        queries, time_s = taken
        yield self.env.timeout(time_s)
        stage = self.stage(place)
        self.idle[stage.pool] += 1
        for query in sorted(queries):
            self.open[query] -= 1
            if self.open[query] == 0 and self.left[query] == 0:
                self.leave(query, place)
        self.env.process(self.serve(stage.pool))

    def leave(self, query, place):
        kind, step = place
        after = self.stage(place).after_s
        if step + 1 == len(self.pipelines[kind]):
            self.finish[query] = self.env.now + after
            return
        following = kind, step + 1
        delay = after + self.stage(following).before_s
        if delay:
            self.env.process(self.go(query, following, delay))
        else:
            for _ in self.go(query, following, 0.0):  # now, but for a window's end
                self.env.process(self.wake(following))

    def wake(self, place):
        stage = self.stage(place)
        yield self.env.timeout(stage.window_s)
        self.env.process(self.serve(stage.pool))


@st.composite
def stages(draw):
    split, merge = draw(st.booleans()), draw(st.booleans())
    return Stage(
        pool=draw(st.sampled_from(["cpu", "gpu"])),
        table_s=draw(st.sampled_from([SLOW_S, FAST_S])),
        most_items=draw(st.sampled_from([ALL_ITEMS, 300, 40])),
        batch=draw(st.sampled_from([7, 64, 250, 1000])),
        split=split,
        even=split and draw(st.booleans()),
        merge=merge,
        window_s=draw(st.sampled_from([0.0, 1.3e-3, 20e-3])) if merge else 0.0,
        priority=draw(st.integers(0, 1)),
        deadline_s=draw(st.sampled_from([0.0, 5e-3, 50e-3])),
        before_s=draw(st.sampled_from([0.0, 0.7e-3])),
        after_s=draw(st.sampled_from([0.0, 0.9e-3])),
    )


@settings(deadline=None, max_examples=150)
@given(
    pipelines=st.lists(st.lists(stages(), min_size=1, max_size=3), min_size=1, max_size=3),
    servers=st.tuples(st.sampled_from([1, 3, 40]), st.integers(1, 2)),
    slowdown=st.sampled_from([0.0, 0.05]),
    by_deadline=st.booleans(),
    load=st.sampled_from([20.0, 200.0, 1500.0]),
    queries=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_matches_simpy(pipelines, servers, slowdown, by_deadline, load, queries, seed):
    node = StageNode(
        servers=dict(zip(("cpu", "gpu"), servers, strict=True)),
        slowdown={"cpu": slowdown},
        by_deadline=by_deadline,
    )
    arrivals = poisson_arrivals_s(queries, load, seed)
    sizes = heavy_tail().draw(queries, seed)
    kinds = np.random.default_rng(seed).integers(0, len(pipelines), queries).astype(np.int32)
    found = serve_stages(node, pipelines, arrivals, sizes, kinds)
    twin = Twin(node, pipelines, arrivals, sizes, kinds)
    assert np.allclose(found.finish_s, twin.finish, rtol=0, atol=1e-9)
    for kind, row in enumerate(pipelines):
        mine = sizes[kinds == kind]
        for step, stage in enumerate(row):
            count = found.counts[kind][step]
            assert count.queries == mine.size
            assert count.items == np.minimum(mine, stage.most_items).sum()
            assert count.requests == twin.requests[kind, step]


@pytest.mark.parametrize("seed", range(4))
def test_first_come_first_served_is_the_other_engine(seed):
    # Two requests of each of 120 queries at most; constant times and no spread of ratios.
    found, designs = drawn(seed, slowdown=0.2)
    found = replaced_ratios(found)
    table = found.table(designs)
    loads = 0.9 * table.capacity_qps
    ours = found.latencies(table, np.arange(len(designs)), loads)
    node = StageNode(
        servers={"link": 1, **found.node.servers},
        slowdown={pool: host.slowdown for pool, host in found.node.hosts.items()},
    )
    for row, design in enumerate(designs):
        pipeline = [
            Stage(
                pool=visit.pool,
                # A visit of so many parts: items of a batch of 1, the last one shorter.
                table_s=np.asarray([0.0, visit.last_s, visit.full_s]),
                most_items=2 * visit.parts - 1,
                batch=2,
                split=True,
                before_s=visit.before_s,
                after_s=visit.after_s,
            )
            for visit in found.visits(design)
        ]
        arrivals = poisson_arrivals_s(found.queries, loads[row], found.seed)
        sizes = np.full(arrivals.size, 1000, np.int32)
        theirs = serve_stages(node, [pipeline], arrivals, sizes).finish_s - arrivals
        assert np.allclose(ours[row], theirs, rtol=0, atol=1e-12)


def replaced_ratios(found):
    """The evaluator without a spread of service times."""
    hosts = {pool: replace(host, ratios={}) for pool, host in found.node.hosts.items()}
    fields = {name: getattr(found.node, name) for name in type(found.node).__dataclass_fields__}
    node = type(found.node)(**fields | {"hosts": hosts})
    return type(found)(node, found.quality, queries=found.queries, seed=found.seed)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("even", [False, True])
def test_one_stage_is_the_policy_engine(merge, even):
    window = 1.7e-3 if merge else 0.0
    policies = [
        Policy(batch=64, merge=merge, even=even, window_s=window, priority=1),
        Policy(batch=150, merge=merge, even=even, window_s=window),
    ]
    pipelines = [
        [Stage(pool="cpu", table_s=SLOW_S, batch=each.batch, split=True, merge=merge, even=even,
               window_s=window, priority=each.priority)]
        for each in policies
    ]  # fmt: skip
    arrivals, sizes = poisson_arrivals_s(3000, 130.0, 5), heavy_tail().draw(3000, 5)
    kinds = np.random.default_rng(5).integers(0, 2, 3000).astype(np.int32)
    expected = run_policy(Node(cores=4, cpu_s=SLOW_S[None]), policies, arrivals, sizes, kinds)
    found = serve_stages(StageNode(servers={"cpu": 4}), pipelines, arrivals, sizes, kinds)
    assert np.array_equal(found.finish_s, expected.finish_s)
    counts = [row[0] for row in found.counts]
    assert sum(one.requests for one in counts) == expected.cpu_requests
    assert sum(one.busy_s for one in counts) == pytest.approx(expected.cpu_busy_s)


def test_merged_and_later_stages_first_by_hand():
    # Three queries of an item come to a GPU that starts the first alone (2 ms) and then both
    # others (3 ms); a core ranks what comes: 4 ms a query. The second pipeline's goes first.
    gpu = Stage(pool="gpu", table_s=np.asarray([0, 2e-3, 3e-3]), batch=2, merge=True)
    core = Stage(pool="cpu", table_s=np.asarray([0, 4e-3]), before_s=1e-3, after_s=0.5e-3)
    first = replace(core, before_s=0.0, priority=-1)
    node = StageNode(servers={"gpu": 1, "cpu": 1})
    arrivals, sizes = np.asarray([0.0, 1e-3, 1e-3, 6.5e-3]), np.ones(4, np.int32)
    kinds = np.asarray([0, 0, 0, 1], np.int32)
    found = serve_stages(node, [[gpu, core], [first]], arrivals, sizes, kinds)
    # GPU: 0 to 2, 2 to 5. Core: 3 to 7, then the one of 6.5, 7 to 11, then 11 to 15 and 15 to 19.
    assert found.finish_s == pytest.approx([7.5e-3, 15.5e-3, 19.5e-3, 11.5e-3])
    assert [one.requests for one in found.counts[0]] == [2, 3]


def test_a_query_that_is_lost_is_noticed(monkeypatch):
    advance = stage_queues.advance

    def lose(stages, pools, queries, states, *rest):
        advance(stages, pools, queries, states, *rest)
        states["done"] -= 1

    monkeypatch.setattr(stage_queues, "advance", lose)
    stage = Stage(pool="cpu", table_s=SLOW_S)
    with pytest.raises(AssertionError, match="every query ends once"):
        serve_stages(StageNode(servers={"cpu": 1}), [[stage]], np.zeros(2), np.ones(2, np.int32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, r"^most_items and batch must be at least 1, not \d+ and 0"),
        ({"most_items": 0}, r"^most_items and batch must be at least 1, not 0 and"),
        ({"window_s": 1e-3}, r"^window_s must be 0 unless requests are merged"),
        ({"before_s": -1e-3}, r"^window_s, before_s and after_s must not be negative"),
        ({"even": True}, r"^even must be False unless requests are split"),
        ({"table_s": np.asarray([0.0, -1.0])}, r"^table_s must be a row of times"),
    ],
)
def test_rejects_stages(change, message):
    with pytest.raises(ValueError, match=message):
        Stage(**{"pool": "cpu", "table_s": SLOW_S, **change})


def test_rejects_nodes_and_queries():
    with pytest.raises(ValueError, match=r"^servers must be at least 1 of each pool"):
        StageNode(servers={"cpu": 0})
    with pytest.raises(ValueError, match=r"^slowdown must be of pools, not of \['gpu'\]"):
        StageNode(servers={"cpu": 1}, slowdown={"gpu": 0.1})
    node, stage = StageNode(servers={"cpu": 1}), Stage(pool="cpu", table_s=SLOW_S)
    one, size = np.zeros(1), np.ones(1, np.int32)
    for pipelines, arrivals, sizes, kinds, message in (
        ([[replace(stage, pool="gpu")]], one, size, None, r"^pool must be one of cpu, not 'gpu'"),
        ([[stage]], one, 9000 * size, None, r"^table_s must hold 9000 items, not 4000"),
        ([[stage], []], one, size, None, r"^pipelines must have at least one stage each"),
        ([[stage]], one, size, size, r"^kinds must be in 0..0, one for each pipeline"),
        ([[stage]], one, np.ones(2, np.int32), None, r"^sizes and kinds must be of 1 queries"),
        ([[stage]], np.asarray([1.0, 0.0]), np.ones(2, np.int32), None, r"^queries must be one"),
    ):
        with pytest.raises(ValueError, match=message):
            serve_stages(node, pipelines, arrivals, sizes, kinds)
    merged = replace(stage, merge=True, batch=9000)
    with pytest.raises(ValueError, match=r"^table_s must hold 9000 items"):
        serve_stages(node, [[merged]], one, size)
