import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rpaccel.golden.deeprec import forward
from rpaccel.scheduler.deeprec_tables import open_tables
from rpaccel.scheduler.serving import LaneStage, LivePipeline
from rpaccel.scheduler.sizes import fixed, heavy_tail
from rpaccel.scheduler.workers import (
    CpuStage,
    CpuStages,
    Part,
    WorkerAsk,
    Workers,
    parts_of,
    sample_sizes,
)
from rpaccel.spec.deeprec import load_deeprec
from rpaccel.workloads.deeprec_inputs import random_inputs, random_weights

SCALE = 0.001


def worker_ask(folder, stages=(("ncf", 3),), sizes=(5, 9, 7)):
    return WorkerAsk(
        stages=tuple(CpuStage(model=model, keep=keep) for model, keep in stages),
        sizes=sizes,
        scale_rows=SCALE,
        folder=folder,
    )


def test_sizes_of_samples():
    assert sample_sizes(fixed(9), 3) == (9, 9, 9)
    sizes = sample_sizes(heavy_tail(), 64)
    assert list(sizes) == sorted(sizes)
    assert np.mean(sizes) == pytest.approx(heavy_tail().mean, rel=0.02)
    with pytest.raises(ValueError, match=r"^samples must be at least 1, not 0"):
        sample_sizes(fixed(9), 0)


def test_parts_of_samples():
    assert parts_of((5, 3), None) == (
        (Part(sample=0, first=0, end=5),),
        (Part(sample=1, first=0, end=3),),
    )
    ranges = [[(part.first, part.end) for part in parts] for parts in parts_of((5, 4, 1), 2)]
    assert ranges == [[(0, 2), (2, 4), (4, 5)], [(0, 2), (2, 4)], [(0, 1)]]
    with pytest.raises(ValueError, match=r"^batch must be at least 1, not 0"):
        parts_of((5,), 0)


def test_two_stages_rank_like_golden(tmp_path):
    ask = worker_ask(tmp_path, stages=(("ncf", 4), ("wnd", 2)))
    found, best = CpuStages(ask).rank(Part(sample=1, first=0, end=9))
    rng = np.random.default_rng([0, 4])
    ids = np.arange(9)
    for number, stage in enumerate(ask.stages):
        config = load_deeprec(stage.model)
        features = [random_inputs(config, 9, rng, SCALE) for _ in range(4)][1]
        tables = open_tables(config, tmp_path / f"stage{number}", scale_rows=SCALE)
        assert not tables.created
        scores = forward(config, random_weights(config, 0), tables.groups, features.take(ids))
        order = np.argsort(-scores[:, -1], kind="stable")[: stage.keep]
        ids = ids[order]
    assert found.tolist() == ids.tolist()
    assert best == pytest.approx(scores[order, -1], rel=1e-3)


def test_a_part_ranks_its_own_items(tmp_path):
    stages = CpuStages(worker_ask(tmp_path, stages=(("ncf", 9),)))
    whole, scores = stages.rank(Part(sample=1, first=0, end=9))
    part, own = stages.rank(Part(sample=1, first=3, end=7))
    assert sorted(part.tolist()) == [3, 4, 5, 6]
    assert part.tolist() == [item for item in whole.tolist() if 3 <= item < 7]
    assert own == pytest.approx(scores[np.isin(whole, part)], rel=1e-4, abs=1e-6)


def same(_, items):
    return items


def test_items_that_are_brought_are_ranked(tmp_path):
    ask = worker_ask(tmp_path, stages=(("ncf", 9),))
    whole = CpuStages(ask).rank(Part(sample=1, first=0, end=9))[0].tolist()
    brought = np.asarray([1, 4, 5, 8])
    with Workers(ask, 1) as workers:
        parts = [Part(sample=1, first=0, end=4), Part(sample=1, first=1, end=3)]
        items = [np.arange(0), brought, np.arange(0)]
        for (served,) in (workers.run_alone(parts[:1], items),
                          workers.run_at_once(parts[:1], items)[0]):  # fmt: skip
            assert served.ids.tolist() == [item for item in whole if item in brought]
        (served,) = workers.run_alone(parts[1:], items)
        assert sorted(served.ids.tolist()) == [4, 5]


def test_workers_answer_every_query(tmp_path):
    answered = []
    ask = worker_ask(tmp_path)
    stages = CpuStages(ask)
    wholes = [parts[0] for parts in parts_of(ask.sizes, None)]
    ranked = [stages.rank(whole)[0].tolist() for whole in wholes]
    with Workers(ask, 2) as workers:
        alone = workers.run_alone(wholes[:2])
        assert [served.part for served in alone] == wholes[:2]
        assert all(served.cpu_s > 0 and 0 < served.service_s < 1 for served in alone)
        waiting, taken_s = workers.run_at_once([wholes[2]] * 9)
        assert len(waiting) == 9 and taken_s > 0
        waiting = [*waiting, *workers.run_at_once(wholes[:2])[0]]
        assert sorted(served.part for served in waiting) == [*wholes[:2], *[wholes[2]] * 9]
        assert all(list(served.ids) == ranked[served.part.sample] for served in waiting)
        stage = LaneStage(
            name="a", lanes=1, items=(3,) * 3, service_s=(1e-4,) * 3, link_s=(0.0,) * 3
        )
        parts = parts_of(ask.sizes, 2)
        pipeline = LivePipeline(workers, parts, 3, (stage, same), answered.append)
        pipeline.start(10)
        for query in range(10):
            pipeline.submit(100 + query, query % 3)
        pipeline.join()
    assert sorted(answered) == list(range(100, 110))
    # Two items a request: all of a part is kept, and the parts together rank as the whole does.
    assert pipeline.ranked == {100 + query: ranked[query % 3] for query in range(10)}
    assert len(pipeline.served) == sum(len(parts[query % 3]) for query in range(10))
    assert 2e7 < workers.peak_bytes < 2e9


def test_a_worker_that_cannot_start_is_an_error(tmp_path, capfd):
    (tmp_path / "file").write_text("")  # no folder of tables
    workers = Workers(worker_ask(tmp_path / "file"), 1)
    with pytest.raises(RuntimeError, match=r"^a worker must live; it ended"), workers:
        pass
    assert "Not a directory" in capfd.readouterr().err


def test_models_that_memory_does_not_hold_are_refused(tmp_path):
    stages = tuple(CpuStage(model=name, keep=9) for name in ("dlrm-rmc1", "dlrm-rmc2", "mt-wnd"))
    ask = WorkerAsk(stages=stages, sizes=(9,), scale_rows=1.0, folder=tmp_path)
    message = (
        r"^memory must be at most 12 GB, not 12\.70 GB \(12\.10 GB of tables of dlrm-rmc1, dlrm-"
    )
    with pytest.raises(ValueError, match=message):
        Workers(ask, 2)
    assert not list(tmp_path.iterdir())
    Workers(replace(ask, scale_rows=0.9), 2)  # not started


def start_and_die(folder, queue):
    workers = Workers(worker_ask(folder), 1)
    workers.__enter__()
    queue.put([process.pid for process in multiprocessing.active_children()])
    time.sleep(0.5)  # until the queue's thread has sent it
    os.kill(os.getpid(), signal.SIGKILL)


def running(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_workers_end_with_their_parent(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    parent = context.Process(target=start_and_die, args=(tmp_path, queue))
    parent.start()
    (worker,) = queue.get(timeout=120)
    parent.join()
    end = time.monotonic() + 30
    while running(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not running(worker)


def test_rejects(tmp_path):
    with pytest.raises(ValueError, match=r"^keep must be at least 1, not 0"):
        CpuStage(model="ncf", keep=0)
    with pytest.raises(ValueError, match=r"^workers must be at least 1, not 0"):
        Workers(worker_ask(tmp_path), 0)
    with pytest.raises(ValueError, match=r"^stages and sizes must hold at least one each"):
        worker_ask(tmp_path, sizes=())
