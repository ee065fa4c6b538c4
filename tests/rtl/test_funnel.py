from dataclasses import replace

import numpy as np
import pytest

from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import StageMode, Status, StatusFlag
from rpaccel.spec.stage_tasks import StageTasks
from tests.rtl.funnel_bench import FunnelBench
from tests.rtl.funnel_queries import Model, expect, random_query
from tests.streams import slow_but

CONFIG = load_accelerator("tiny").model_copy(update={"lanes": 3, "funnels": 1})
TWO = CONFIG.model_copy(update={"funnels": 2})
QUICK, UNEVEN = (1.0, 1.0, 1.0), (0.9, 0.3, 0.6)


def check_all(bench, monkeypatch):
    """Hold all queries to golden, and the counters of filters and lists to the scores."""
    filtered = listed = 0
    for tag, query in enumerate(bench.queries):
        expected = expect(monkeypatch, query, bench.models, bench.config)
        bench.check(tag, expected)
        last = len(query.stages) - 1
        filtered += sum(expected.items[:last])
        listed += expected.items[last]
    counters = bench.counters
    assert sum(each["filter"]["items"] for each in counters) == filtered
    assert sum(each["ordered_top_n"]["items"] for each in counters) == listed
    busy = sum(each["filter"]["busy_cycles"] for each in counters)
    assert busy >= filtered
    waited = sum(done[f"filter_cycles{s}"] for done, _ in bench.answers.values() for s in range(4))
    lists = sum(each["ordered_top_n"]["busy_cycles"] for each in counters)
    assert 0 < waited <= busy + lists


@pytest.mark.parametrize("mode", StageMode)
def test_matches_golden(mode, monkeypatch):
    rng = np.random.default_rng(mode)
    models = [Model(rng), Model(rng, spread=30)]
    bench = FunnelBench(CONFIG, models, seed=mode + 1, paces=UNEVEN)
    for limit in (0, 0, 0, 5):
        stages = 2 + (limit == 0)
        bench.add(random_query(rng, CONFIG, mode=mode, stages=stages, items=40, limit=limit))
    bench.run()
    check_all(bench, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("paces", [QUICK, UNEVEN, (0.1, 0.1, 1.0)], ids=str)
@pytest.mark.parametrize("config", [CONFIG, TWO], ids=["one", "two funnels"])
def test_random_queries_match_golden(config, paces, monkeypatch):
    rng = np.random.default_rng(len(str(paces)) + config.funnels)
    models = [Model(rng, threshold=-(1 << 15)), Model(rng, spread=30, threshold=0)]
    bench = FunnelBench(config, models, paces=paces)
    for _ in range(40):
        query = random_query(rng, config, limit=int(rng.choice([0, 0, 5])))
        lanes = {f"stage{s}_lanes": int(rng.integers(1 << 3)) for s in range(len(query.stages))}
        bench.add(query, **lanes)
    bench.run(limit_cycles=400_000)
    check_all(bench, monkeypatch)


def test_edges(monkeypatch):
    rng = np.random.default_rng(1)
    models = [Model(rng), Model(rng, threshold=32767)]
    bench = FunnelBench(CONFIG, models, paces=UNEVEN)
    one = random_query(rng, CONFIG, stages=1, items=1)
    full = random_query(rng, CONFIG, stages=2, items=CONFIG.max_items)
    four = random_query(rng, CONFIG, mode=StageMode.LOCAL, stages=4, items=20)
    smallest = StageTasks(task_items=2, task_k=1, mode=StageMode.LOCAL)
    bench.add(one)
    bench.add(replace(full, stages=((0, CONFIG.max_items), (0, 1)), tasks=()))
    bench.add(replace(four, stages=((0, 10),) * 4, tasks=(smallest,) * 4))
    for mode in StageMode:  # nobody passes the first threshold
        nobody = random_query(rng, CONFIG, mode=mode, stages=3, items=9)
        tasks = tuple(replace(each, adaptive=False) for each in nobody.tasks)
        bench.add(replace(nobody, stages=((1, 4), (0, 2), (0, 2)), tasks=tasks))
    bench.run()
    check_all(bench, monkeypatch)
    empty = [bench.answers[tag][0] for tag in range(3, 7)]
    assert all(done["flags"] == StatusFlag.UNDERFILL and done["items1"] == 0 for done in empty)


def test_a_stage_ends_though_its_last_release_is_empty(monkeypatch):
    rng = np.random.default_rng(7)
    model = Model(rng, threshold=0)
    bench = FunnelBench(CONFIG, [model, model], paces=QUICK)
    ids = rng.integers(1 << 32, size=99, dtype=np.uint32)
    passes = np.array([model.logit(int(i)) >= 0 for i in ids])
    candidates = np.concatenate([ids[passes][:8], ids[~passes][:4]])
    query = random_query(rng, CONFIG, stages=2, items=12)
    query = replace(query, candidates=candidates, stages=((0, 12), (1, 1)))
    local = StageTasks(task_items=4, task_k=4, mode=StageMode.LOCAL)
    for task_items in (1, 2, 4, 8, 0):
        bench.add(replace(query, tasks=(local, StageTasks(task_items=task_items))))
    bench.run()
    check_all(bench, monkeypatch)
    assert all(done["items1"] == 8 for done, _ in bench.answers.values())


@pytest.mark.parametrize("mode", StageMode)
def test_the_next_stage_begins_with_the_first_release(mode, monkeypatch):
    rng = np.random.default_rng(9)
    bench = FunnelBench(CONFIG, [Model(rng)] * 2, paces=QUICK)
    query = random_query(rng, CONFIG, stages=2, items=64)
    tasks = (StageTasks.shared(8, 32, 64, mode), StageTasks(task_items=4))
    if mode in (StageMode.WHOLE, StageMode.GLOBAL):
        tasks = (StageTasks(task_items=8, mode=mode), tasks[1])
    query = replace(query, stages=((0, 32), (1, 1)), tasks=tasks)
    bench.add(query, stage0_lanes=0b011, stage1_lanes=0b100)
    bench.run()
    check_all(bench, monkeypatch)
    done, _ = bench.answers[0]
    together = done["stage_cycles0"] + done["stage_cycles1"] - done["total_cycles"]
    if mode is StageMode.WHOLE:
        assert together <= 0
    else:
        assert together > done["stage_cycles0"] // 3


def test_a_filter_waits_until_its_last_survivors_are_taken(monkeypatch):
    rng = np.random.default_rng(8)
    bench = FunnelBench(CONFIG, [Model(rng)] * 2, paces=(1.0, 0.1, 1.0))
    query = random_query(rng, CONFIG, stages=4, items=24)
    tasks = tuple(
        StageTasks(task_items=n, task_k=n, mode=StageMode.LOCAL, adaptive=True) for n in (8, 2, 1)
    )
    query = replace(query, stages=((0, 24),) * 4, tasks=tasks)
    bench.add(query, stage0_lanes=0b001, stage1_lanes=0b010, stage2_lanes=0b100)
    bench.run()
    check_all(bench, monkeypatch)


def test_lanes_that_own_nothing_get_no_task(monkeypatch):
    rng = np.random.default_rng(2)
    bench = FunnelBench(CONFIG, [Model(rng)] * 2, paces=QUICK)
    bench.owns = 0b110
    everywhere = random_query(rng, CONFIG, stages=2, items=40)
    everywhere = replace(everywhere, tasks=(StageTasks(task_items=4),) * 2)
    bench.add(everywhere)
    bench.add(everywhere, stage0_lanes=0b011, stage1_lanes=0b100)
    bench.run()
    check_all(bench, monkeypatch)
    assert bench.answers[0][0]["lanes"] == 0b110
    of_stage = [{t.lane for t in bench.tasks if t.tag and t.owner["stage"] == s} for s in (0, 1)]
    assert of_stage == [{1}, {2}]


def test_the_first_error_of_the_earliest_stage_is_the_status(monkeypatch):
    rng = np.random.default_rng(3)
    query = random_query(rng, CONFIG, stages=2, items=30)
    tasks = (StageTasks(task_items=4, mode=StageMode.LOCAL, task_k=2), StageTasks(task_items=3))
    query = replace(query, stages=((0, 15), (1, 1)), tasks=tasks)
    ids = query.candidates.tolist()
    late = {ids[25]: Status.BAD_ID, ids[29]: Status.MEMORY}  # when stage 1 has had its error
    every = dict.fromkeys(ids, Status.BAD_COUNT)
    bench = FunnelBench(
        CONFIG,
        [Model(rng, errors=late), Model(rng, errors=every)],
        seed=5,
        paces=UNEVEN,
    )
    bench.add(query)
    bench.add(replace(query, stages=((1, 15), (0, 1))))
    bench.add(replace(query, stages=((0, 15),)))
    bench.run()
    check_all(bench, monkeypatch)
    found = [bench.answers[tag][0]["status"] for tag in range(3)]
    assert found == [Status.BAD_ID, Status.BAD_COUNT, Status.BAD_ID]


@pytest.mark.parametrize("config", slow_but([CONFIG], [CONFIG, TWO]), ids=["one", "two funnels"])
def test_a_deadline_gives_a_query_up_and_leaves_the_funnel_ready(config, monkeypatch):
    rng = np.random.default_rng(4)
    bench = FunnelBench(config, [Model(rng), Model(rng)], paces=UNEVEN)
    query = random_query(rng, config, mode=StageMode.LOCAL, stages=3, items=50)
    tags = {}
    for deadline in (1, 30, 80, 150, 250, 400, 1 << 33):
        tags[bench.add(query, deadline_cycles=deadline)] = deadline
        bench.add(random_query(rng, config, stages=2, items=12))
    bench.run()
    late = []
    for tag, each in enumerate(bench.queries):
        done, _ = bench.answers[tag]
        if done["status"] == Status.LATE:
            late.append(tags[tag])
            assert done["count"] == 0
            assert done["total_cycles"] + done["queue_cycles"] >= tags[tag]
            continue
        assert done["total_cycles"] + done["queue_cycles"] <= tags.get(tag, 1 << 33)
        bench.check(tag, expect(monkeypatch, each, bench.models, config))
    assert {1, 30, 80} <= set(late) and 1 << 33 not in late


def test_a_deadline_is_kept_to_the_cycle():
    rng = np.random.default_rng(11)
    models = [Model(rng), Model(rng)]
    query = random_query(rng, CONFIG, mode=StageMode.LOCAL, stages=2, items=20)

    def ask(deadline):
        bench = FunnelBench(CONFIG, models, paces=QUICK)
        bench.add(query, deadline_cycles=deadline)
        bench.run()
        done, _ = bench.answers[0]
        return done["status"], done["queue_cycles"] + done["total_cycles"]

    status, cycles = ask(0)
    assert status == Status.OK and cycles > 50
    assert [ask(cycles + more)[0] for more in (-2, -1)] == [Status.LATE, Status.OK]


@pytest.mark.parametrize("stages", [1, 2])
def test_the_query_after_a_late_one_is_whole(stages, monkeypatch):
    """A deadline in every cycle of a query: a filter may count in the cycle that forgets it."""
    rng = np.random.default_rng(4)
    bench = FunnelBench(CONFIG, [Model(rng)] * 2, paces=QUICK)
    query = random_query(rng, CONFIG, mode=StageMode.WHOLE, stages=stages, items=8)
    query = replace(query, tasks=())
    late = []
    for after in range(1, 61):
        tag = len(bench.queries)
        late.append(bench.add(query, deadline_cycles=7 + tag + after))
        bench.add(query)
    bench.run()
    found = {bench.answers[tag][0]["status"] for tag in late}
    assert Status.LATE in found and found <= {Status.LATE, Status.OK}
    for tag in range(1, len(bench.queries), 2):
        bench.check(tag, expect(monkeypatch, query, bench.models, CONFIG))


def test_a_release_before_the_last_may_overfill(monkeypatch):
    bench = FunnelBench(CONFIG, [Model(np.random.default_rng(0))] * 2, paces=QUICK)
    early = StageTasks(task_items=38, mode=StageMode.GLOBAL, adaptive=True)
    for seed in range(6):
        query = random_query(np.random.default_rng(seed), CONFIG, stages=2, items=40)
        bench.add(replace(query, stages=((0, 36), (1, 1)), survivor_limit=5, tasks=(early,)))
    bench.run()
    check_all(bench, monkeypatch)


def test_both_filters_may_overshoot_in_one_cycle(monkeypatch):
    rng = np.random.default_rng(0)
    models = [Model(rng, spread=3, threshold=-(1 << 15))] * 2
    bench = FunnelBench(CONFIG, models, paces=QUICK)
    local = StageTasks(task_items=4, task_k=1, mode=StageMode.LOCAL)
    for _ in range(8):
        query = random_query(rng, CONFIG, stages=3, items=64)
        query = replace(
            query, stages=((0, 64), (1, 64), (0, 1)), tasks=(local, local, StageTasks())
        )
        bench.add(query, stage0_lanes=1, stage1_lanes=2, stage2_lanes=4)
    bench.run()
    check_all(bench, monkeypatch)


@pytest.mark.parametrize(
    "reset", slow_but([(1, 1)], [(0, 1), (0, 4), (1, 1), (1, 3)], nightly=[(0, 1), (1, 3)]), ids=str
)
def test_a_lost_task_gives_its_query_up(reset, monkeypatch):
    rng = np.random.default_rng(reset)
    bench = FunnelBench(TWO, [Model(rng), Model(rng)], seed=sum(reset), paces=UNEVEN)
    bench.lanes[1].reset = reset
    for _ in range(8):
        query = random_query(rng, TWO, stages=2, items=40)
        bench.add(replace(query, tasks=(StageTasks(task_items=4),) * 2))
    bench.run()
    assert 0 < len(set(bench.lost)) < 8
    for tag, query in enumerate(bench.queries):
        done, _ = bench.answers[tag]
        if tag in bench.lost:
            assert (done["status"], done["count"]) == (Status.LANE_RESET, 0)
        else:
            bench.check(tag, expect(monkeypatch, query, bench.models, TWO))
