"""Random rankers and queries through the netlist of any preset: `rpaccel sim`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.bus import Bus
from rpaccel.host.compile import compile_models
from rpaccel.host.driver import Completion
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.run_trace import LOG_ENTRIES
from rpaccel.main_job.session import Session
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.workloads.random_models import random_ranker, shared_schema

MEMORY_BYTES = 1 << 24
SESSION_QUERIES = 10  # queries of one device, one set of rankers and one memory timing
DEPTHS = (1, 2, 4, 8)
MOST_STAGES = 3
ATTEMPTS = 50  # draws of rankers until a set fits the on-chip memories

Sizes = dict[str, Any]


def say_aside(text: str) -> None:
    """Print a line of progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def draw_timing(rng: np.random.Generator) -> MemoryTiming:
    """Return a random timing of the memory: latencies, jitter, stalls, order, outstanding."""
    return MemoryTiming(
        read_latency_cycles=int(rng.integers(2, 100)),
        write_latency_cycles=int(rng.integers(2, 50)),
        max_outstanding=int(rng.choice([1, 4, 256])),
        jitter_cycles=int(rng.choice([0, 7, 60])),
        stall_per_mille=int(rng.choice([0, 100, 500])),
        in_order=bool(rng.integers(2)),
        seed=int(rng.integers(1, 1 << 31)),
    )


def draw_rankers(
    rng: np.random.Generator, config: AcceleratorConfig, count: int
) -> list[QuantisedRanker]:
    """Return `count` rankers of random shapes that together fit `config`."""

    def hidden(most: int) -> tuple[int, ...]:
        return tuple(int(x) for x in rng.integers(1, 3 * config.array_size, rng.integers(most)))

    for _ in range(ATTEMPTS):
        dims = [int(d) for d in rng.integers(1, config.max_dim + 1, count)]
        first = random_ranker(
            rng,
            config,
            name="model0",
            dim=dims[0],
            user_dense=int(rng.integers(1, 9)),
            item_dense=int(rng.integers(1, 9)),
            user_tables=int(rng.integers(1, 4)),
            item_tables=int(rng.integers(1, 4)),
            bottom=hidden(3),
            top=hidden(3),
            threshold=int(rng.choice([-32768, -8000, 0, 20000])),
            interaction=None,
        )
        rankers = [first]
        for index, dim in enumerate(dims[1:], start=1):
            rankers.append(
                shared_schema(
                    rng, config, first, name=f"model{index}", dim=dim, bottom=hidden(3),
                    top=hidden(3), interaction=None,
                )
            )  # fmt: skip
        try:
            compile_models(rankers, config)
        except ValueError:  # too large for one of the on-chip memories
            continue
        return rankers
    raise RuntimeError(
        f"random rankers must fit {config.name} within {ATTEMPTS} draws of {count} models"
    )


def draw_sizes(
    rng: np.random.Generator, config: AcceleratorConfig, models: int, count: int
) -> list[Sizes]:
    """Return the sizes of `count` queries: 1 item, `max_items` items, then random ones."""
    edges = [1, config.max_items]
    drawn: list[Sizes] = []
    for index in range(count):
        most = int(rng.integers(2, config.max_items + 1))
        items = edges[index] if index < len(edges) else int(rng.integers(1, most))
        stages = int(rng.integers(1, MOST_STAGES + 1))
        keep: list[int] = []
        for _ in range(stages - 1):
            keep.append(int(rng.integers(1, (keep[-1] if keep else items) + 1)))
        drawn.append(
            {
                "items": items,
                "keep": tuple(keep),
                "slots": tuple(int(slot) for slot in rng.integers(0, models, stages)),
                "top_n": int(rng.integers(1, config.max_top_n + 1)),
                "feature_rows": int(rng.integers(1, 200)),
            }
        )
    return drawn


def run_session(
    device: Bus,
    config: AcceleratorConfig,
    rng: np.random.Generator,
    count: int,
    name: str,
    trace: tuple[Path, MemoryTiming] | None = None,
) -> list[Completion]:
    """Load random rankers into `device` and run `count` random queries on it.

    trace : where a timeline is written, and the memory's timing; the device then logs its tasks.
    Raises RuntimeError with the first difference from the golden model.
    """
    models = int(rng.integers(1, min(MOST_STAGES, config.model_slots) + 1))
    session = Session(
        device,
        config,
        int(rng.integers(1 << 31)),
        depth=int(rng.choice(DEPTHS)),
        rankers=draw_rankers(rng, config, models),
        memory_bytes=MEMORY_BYTES,
        task_log_entries=LOG_ENTRIES if trace else 0,
    )
    sizes = draw_sizes(rng, config, models, count)
    if trace is None:
        return session.run_all(sizes, name)
    path, timing = trace
    timeline = session.timeline(timing)
    answered = session.answer_all(sizes, name)
    timeline.take(answered)
    timeline.write(path)
    return [each.completion for each in answered]


def simulate_random(
    preset: str,
    queries: int,
    seed: int,
    *,
    build_dir: Path = BUILD_DIR,
    say: Callable[[str], None] = say_aside,
    trace: Path | None = None,
) -> dict[str, Any]:
    """Run `queries` random queries on the Verilated netlist of `preset`, bit for bit golden.

    Every `SESSION_QUERIES` queries get another device, memory timing, ring depth and rankers.
    trace : folder of a timeline of each such device, named by its first query.
    Returns {"preset", "seed", "queries", "cycles", "cycles_per_second"}; raises RuntimeError with
    the seed, the query and the first value that differs.
    """
    if queries < 1:
        raise ValueError(f"queries must be at least 1, not {queries}")
    config = load_accelerator(preset)
    library = build_simulator(config, build_dir=build_dir, progress=say)
    cycles, start = 0, time.monotonic()
    for first in range(0, queries, SESSION_QUERIES):
        rng = np.random.default_rng([seed, first])
        timing = draw_timing(rng)
        count = min(SESSION_QUERIES, queries - first)
        name = f"preset {config.name}, seed {seed}, queries from {first}, {timing}: query"
        with VerilatedDevice(config, timing, memory_bytes=MEMORY_BYTES, library=library) as device:
            picture = (trace / f"trace_{first}.json", timing) if trace else None
            completions = run_session(device, config, rng, count, name, picture)
            cycles += device.cycles
        if min(completion.total_cycles for completion in completions) < 1:
            raise RuntimeError(f"{name}: total_cycles must be at least 1, not 0")
        say(f"{first + count} of {queries} queries bit-exact")
    return {
        "preset": config.name,
        "seed": seed,
        "queries": queries,
        "cycles": cycles,
        "cycles_per_second": cycles / (time.monotonic() - start),
    }
