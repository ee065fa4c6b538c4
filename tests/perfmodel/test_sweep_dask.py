import os
import signal

import polars as pl
import pytest

from rpaccel.main_job.sweep import CHUNKS_AHEAD, executor_of, run
from rpaccel.perfmodel.sweep import Sweep, run_sweep
from rpaccel.spec.sweep import SweepSpec

distributed = pytest.importorskip("distributed")

SPEC = SweepSpec.model_validate(
    {
        "name": "test",
        "axes": {
            "memory_latency_cycles": {"from": 20, "to": 160, "step": 20},
            "front_sub_batch": {"from": 8, "to": 80, "step": 8},
            "back_sub_batch": {"from": 8, "to": 80, "step": 8},
            "front_task_items": [0, 128, 256, 512],
            "back_task_items": [0, 64, 128],
            "k": {"from": 64, "to": 512, "step": 64},
            "memory_ports": [1, 2, 4],
        },
    }
)
NUMBERS = 8 * 10 * 10 * 4 * 3 * 8 * 3
CHUNK = 10_000


@pytest.fixture
def address():
    """Yield the address of a cluster of one worker with two threads, in this process."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.filterwarnings("default")  # of the cluster's own threads and sockets
def test_the_cluster_is_the_executor(address):
    with executor_of(0, address) as (executor, in_flight):
        assert executor.submit(pow, 3, 4).result() == 81
    assert in_flight == 2 * CHUNKS_AHEAD


@pytest.mark.slow  # the model is compiled
@pytest.mark.filterwarnings("default")
def test_the_command_runs_on_a_cluster(address, tmp_path):
    spec = tmp_path / "few.yaml"
    spec.write_text("name: few\naxes: {k: [256, 512], memory_ports: [1, 2]}\n")
    summary = run(str(spec), tmp_path / "out", cluster=address)
    assert address.startswith("tcp://")
    assert summary["points"] == summary["numbers"] == 4


@pytest.mark.slow  # two workers start, and a third one
@pytest.mark.filterwarnings("default")  # of the cluster's own threads and sockets
def test_a_cluster_that_loses_a_worker_loses_no_point(tmp_path):
    killed, busy = [], []
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster.scheduler_address) as client,
    ):
        pids = client.run(os.getpid)

        def kill_one(done, _total):
            if done < 2 * CHUNK or killed:
                return
            work = client.processing()
            victim = max(work, key=lambda address: len(work[address]))
            busy.append(len(work[victim]))
            killed.append(victim)
            os.kill(pids[victim], signal.SIGKILL)

        summary = run_sweep(
            SPEC, tmp_path, client.get_executor(), chunk_points=CHUNK, in_flight=8,
            progress=kill_one, plots=False,
        )  # fmt: skip
        assert killed[0] not in client.scheduler_info()["workers"]
    assert busy[0] > 0  # it had work that was lost
    assert summary["points"] == NUMBERS
    numbers = pl.read_parquet(tmp_path / "parts" / "*.parquet", columns=["number"])["number"]
    assert numbers.to_list() == list(range(NUMBERS))
    again = Sweep(SPEC, tmp_path, chunk_points=CHUNK)
    assert len(again.done) == len(again.bounds)
