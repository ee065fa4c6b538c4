"""`make bench`: how fast the parts are, as rates and ratios. Nothing here is a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden.cache_sim import CacheConfig
from rpaccel.golden.cache_sim import simulate as simulate_cache
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.verilated_device import build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.netlist import STAGES, TOP_N, run_queries
from rpaccel.main_job.rankers import compile_job
from rpaccel.perfmodel.analytic import evaluate
from rpaccel.perfmodel.design_space import DesignSpace
from rpaccel.perfmodel.machine import simulate as simulate_machine
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.report import format_table
from rpaccel.perfmodel.sweep_chunks import CHUNK_POINTS
from rpaccel.results import RunFolder
from rpaccel.scheduler.ablation import Setup, designs
from rpaccel.scheduler.arrivals import exponential_gaps, poisson_arrivals_s
from rpaccel.scheduler.policy import Node, Policy, run_policy
from rpaccel.scheduler.queueing import Station, simulate
from rpaccel.scheduler.shapes import compiled_shape, query_cycles
from rpaccel.scheduler.sizes import heavy_tail
from rpaccel.scheduler.stage_queues import Stage, StageNode, serve_stages
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.sweep import load_sweep

BUILD = BUILD_DIR
EVENT_QUERIES, EVENT_QPS = 1000, 9000.0  # three quarters of what 8 + 2 can
LEAST_S = 0.5  # a rate is measured over at least this time


def rate(run: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return units per second of `run`, which returns how many it did; best of three.

    clock : process_time for seconds of one core, whatever else the machine does.
    """
    run()
    best = 0.0
    for _ in range(3):
        start, done = clock(), 0
        while clock() - start < LEAST_S:
            done += run()
        best = max(best, done / (clock() - start))
    return best


def cache_rates(seed: int) -> dict[str, float]:
    """Return accesses per second of the golden cache simulators on a skewed trace."""
    keys = (np.random.default_rng(seed).pareto(0.2, 1_000_000) * 3 % 10_000_000).astype(np.int64)
    rates = {}
    for policy in ("fifo", "lru", "pinned"):
        cache = CacheConfig(policy=policy, rows=32768, outstanding=64)
        pinned = keys[:10000] if policy == "pinned" else None

        def accesses(
            cache: CacheConfig = cache, pinned: npt.NDArray[np.int64] | None = pinned
        ) -> int:
            simulate_cache(cache, keys, pinned=pinned)
            return keys.size

        rates[policy] = rate(accesses)
    return rates


def queue_rate(seed: int) -> float:
    """Return queries per second through 3 stages of 4 servers each, quantiles and intervals too."""
    arrivals = poisson_arrivals_s(100_000, 1000.0, seed)
    stations = [
        Station(name=str(stage), servers=4, service_s=0.003 * exponential_gaps(100_000, stage))
        for stage in range(3)
    ]

    def queries() -> int:
        return round(len(arrivals) * (simulate(arrivals, stations).p99_ms > 0))

    return rate(queries, time.process_time)


def policy_rate(seed: int) -> float:
    """Return queries per second of a heavy tail through 40 cores, parts of 25, and an accelerator.

    Split, merged up to a deadline, in two priorities: everything that costs time.
    """
    return _policies_rate(seed, {"priority": 1})


def deadline_rate(seed: int) -> float:
    """Return the rate of `policy_rate` with two deadlines in place of the priorities."""
    return _policies_rate(seed, {"deadline_s": 0.05})


def _policies_rate(seed: int, second: dict[str, Any]) -> float:
    """Return the rate of two kinds of queries. second : what the policy of the second changes."""
    arrivals, sizes = poisson_arrivals_s(100_000, 2500.0, seed), heavy_tail().draw(100_000, seed)
    items = np.arange(2001, dtype=np.float64)
    node = Node(
        cores=40,
        cpu_s=(0.8e-3 + 0.04e-3 * items)[None],
        accelerators=1,
        accelerator_s=(2e-3 + 0.007e-3 * items)[None],
    )
    policy = Policy(batch=25, threshold=600, merge=True, window_s=0.5e-3, merge_items=2000)
    policies = [policy, replace(policy, **second)]
    kinds = (sizes > 200).astype(np.int32)

    def queries() -> int:
        return run_policy(node, policies, arrivals, sizes, kinds).finish_s.size

    return rate(queries, time.process_time)


def stage_rate(seed: int) -> float:
    """Return queries per second of two pipelines of three stages each, on 40 cores and a GPU.

    Split, merged up to a window, priorities between stages and pipelines, deadlines.
    """
    arrivals, sizes = poisson_arrivals_s(100_000, 1500.0, seed), heavy_tail().draw(100_000, seed)
    items = np.arange(4001, dtype=np.float64)
    core_s, gpu_s = 0.8e-3 + 0.04e-3 * items, 2e-3 + 0.007e-3 * items

    def pipeline(later: int, deadline_s: float) -> list[Stage]:
        cores = Stage(
            pool="cpu", table_s=core_s, batch=256, split=True, merge=True, window_s=0.2e-3,
            priority=later + 1, deadline_s=deadline_s,
        )  # fmt: skip
        gpu = replace(
            cores, pool="gpu", table_s=gpu_s, most_items=64, batch=4000, split=False,
            before_s=0.1e-3,
        )  # fmt: skip
        return [cores, gpu, replace(cores, most_items=32, batch=64, priority=later)]

    node = StageNode(servers={"cpu": 40, "gpu": 1}, by_deadline=True)
    pipelines = [pipeline(0, 0.02), pipeline(1, 0.05)]
    kinds = (sizes > 200).astype(np.int32)

    def queries() -> int:
        return serve_stages(node, pipelines, arrivals, sizes, kinds).finish_s.size

    return rate(queries, time.process_time)


def analytic_rate() -> float:
    """Return the design points of a two-stage Criteo query per second, of one core."""
    space = DesignSpace(load_sweep("criteo_10m"))
    middle = space.points // 2
    return rate(lambda: len(evaluate(space, middle, middle + CHUNK_POINTS).columns["number"]))


def event_rate(seed: int) -> float:
    """Return the events of sub-batches per second of one core, of the two-stage Criteo load 8 + 2.

    An event is a step of one sub-batch in one unit that is granted and whose end is found: its
    gather, its bottom chain with the interaction, its top chain. What the events of tasks, queries
    and filters take is in the time, and so is what it takes to make tables of the load.
    """
    setup = Setup(designs()[-1])
    arrivals = poisson_arrivals_s(EVENT_QUERIES, EVENT_QPS, seed)
    loads = setup.loads([setup.cycles(arrival) for arrival in arrivals])
    return rate(lambda: simulate_machine(setup.machine, loads).steps, time.process_time)


def run_bench(out: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Measure the synthetic workload on `edge`, print the table, and return it."""
    config = load_accelerator("edge")
    job = compile_job(load_inputs("synthetic", seed), config, seed)
    folder = RunFolder(out)
    users = [int(user) for user in job.inputs.some_users(4, seed)]
    library = build_simulator(config, build_dir=BUILD)
    run = run_queries(job, library, users, MemoryTiming(), lambda _done, _total: None)
    query_mean = run.cycles / len(users)
    folder.figure("netlist in Verilator", round(run.cycles_per_second), "cycles/s")
    folder.figure("netlist in Verilator", round(len(users) / run.seconds, 2), "queries/s")

    golden = rate(lambda: len([job.golden(user, STAGES, TOP_N) for user in users]))
    folder.figure("integer golden model", round(golden, 1), "queries/s")

    shapes = {
        name: compiled_shape(job.compiled, name, job.user_records, job.feature_table)
        for name in job.compiled.names
    }
    sizes = RecordSizes(user_bytes=job.user_records.shape[1], item_bytes=job.feature_table.shape[1])
    from rpaccel.spec.platform import MemoryTiming as ModelTiming  # noqa: PLC0415

    timing = ModelTiming(latency_cycles=32, source="the simulated memory")
    cycles = query_cycles(config, shapes, timing, sizes)
    event = rate(lambda: int(cycles(("small", "large"), (1600, 256), 10) > 0))
    folder.figure("performance model, event", round(event), "queries/s")
    folder.figure("model against netlist", round(event * query_mean / run.cycles_per_second), "x")

    folder.figure(
        "performance model, event, one core", round(event_rate(seed)), "sub-batch events/s"
    )
    folder.figure("performance model, analytic, one core", round(analytic_rate()), "points/s")

    folder.figure("queueing, 3 stages x 4 servers", round(queue_rate(seed)), "queries/s")
    folder.figure("queueing, policies on 40 cores", round(policy_rate(seed)), "queries/s")
    folder.figure("queueing, deadlines on 40 cores", round(deadline_rate(seed)), "queries/s")
    folder.figure("queueing, policies of three stages", round(stage_rate(seed)), "queries/s")
    for policy, accesses in cache_rates(seed).items():
        folder.figure(f"cache simulator, {policy}", round(accesses), "accesses/s")
    folder.finish({"seed": seed, "preset": config.name, "data": "synthetic"})
    print(
        format_table(
            ["what", "rate", "unit"], [[r["name"], r["value"], r["unit"]] for r in folder.summary]
        )
    )
    return folder.summary
