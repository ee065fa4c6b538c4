"""`rpaccel ablation --rtl`: RPAccel's ideas, alone and together, on the netlist beside the model.

Cycles of the device are measured, with every answer equal to the golden model's; the link is the
machine's share of that of the platform `paper`, the host's sort that of `scheduler.ablation`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rpaccel.cache import cached, source_digest
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job import ablation_rtl_machine, criteo_models
from rpaccel.main_job.ablation_rtl_causes import Causes, find_causes
from rpaccel.main_job.ablation_rtl_machine import (
    ClockedBus,
    Place,
    Questions,
    RtlHost,
    Times,
    make_places,
)
from rpaccel.main_job.ablation_rtl_model import Predicted, predict
from rpaccel.main_job.ablation_rtl_rows import (
    Figure,
    HostTimes,
    PlaceRun,
    RtlAblation,
    RtlAsk,
    RtlRow,
    Speed,
)
from rpaccel.main_job.criteo_machine import MEMORY_BYTES
from rpaccel.main_job.criteo_models import CriteoModels, quantise_criteo
from rpaccel.main_job.run_trace import LOG_ENTRIES, RunTrace, hit_share
from rpaccel.scheduler.ablation import Design, Setup, measure, saturated_qps
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import PlatformConfig
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload

__all__ = ["run_place", "run_rtl_ablation"]

DEPTH = 16  # of the rings
MOST = 8  # queries in flight, of any design
SATURATED = 32  # queries in flight of the model's long load
TRACED = ("base", "O.3 alone", "O.1 alone", "O.1 to O.2")  # for the causes


def run_rtl_ablation(
    ask: RtlAsk,
    *,
    progress: Callable[[str], None] = print,
    build_dir: Path = BUILD_DIR,
    trace: Path | None = None,
) -> RtlAblation:
    """Return the study.

    What is measured depends on no model of performance: it is kept, by content, under `build_dir`.
    trace : folder of a timeline of each design's load; the devices then log their tasks, which
    takes a few cycles, and are always simulated. Designs of equal questions share the first's.
    Raises RuntimeError with the first bit that differs, ValueError for a machine that cannot be
    split so.
    """
    config = load_accelerator(ask.preset)
    platform = ask.platform
    models = _models(ask, ask.items)
    places = make_places(models, config)
    library = build_simulator(config, progress=progress, build_dir=build_dir)
    asked = {d.name: Questions(models, d, config) for d in ask.chosen}
    runs = []
    for place in places.values():
        here = {name: each for name, each in asked.items() if each.name == place.name}
        if not here:
            continue
        progress(f"{place.name}: {', '.join(here)}")
        simulate = partial(
            _simulated, place, here, models, platform, library, progress, trace, ask.loads
        )
        if trace is not None:
            found = simulate()
        else:
            found, _ = cached(
                build_dir / "ablation_rtl",
                place.name.replace(" ", ""),
                _key(ask, library, here, platform),
                simulate,
            )
        figures = {name: Figure(**figure) for name, figure in found.pop("figures").items()}
        runs.append(PlaceRun(figures=figures, **found))
    measured = {name: figure for run in runs for name, figure in run.figures.items()}
    progress("models")
    papers = {design.name: _paper(design, ask.seed) for design in ask.chosen}
    rows = [
        _row(places[each.name], each, measured[name], papers[name], platform, ask.loads)
        for name, each in asked.items()
    ]
    return RtlAblation(
        ask=ask,
        rows=tuple(rows),
        larger={items: _modelled(ask, items, papers) for items in ask.larger},
        causes=_causes(places, asked, platform, ask.loads),
        unscaled=_modelled(ask.unscaled, ask.unscaled.items, papers) if ask.scaled else (),
        queries=sum(run.queries for run in runs),
        cycles=sum(run.cycles for run in runs),
        cpu_seconds=sum(run.cpu_seconds for run in runs),
    )


def _models(ask: RtlAsk, items: int) -> CriteoModels:
    workload = CriteoConfig(seed=ask.seed, items=items, shape=ask.shape)
    return quantise_criteo(CriteoWorkload(workload))


def _key(
    ask: RtlAsk, library: Path, asked: Mapping[str, Questions], platform: PlatformConfig
) -> list[str | bytes]:
    """Return all that a measurement depends on."""
    files = (ablation_rtl_machine.__file__, criteo_models.__file__)
    loads = [(n, q.in_flight, _delay_cycles(q, platform)) for n, q in asked.items()]
    return [
        library.parent.name,
        repr((ask.items, ask.shape, ask.seed, DEPTH, ask.loads, MOST * ask.loads, loads)),
        source_digest(["golden", "host", "spec", "workloads"]),
        *(Path(file).read_bytes() for file in files),
    ]


def _delay_cycles(questions: Questions, platform: PlatformConfig) -> int:
    """Return the cycles of link and host between two stages."""
    host = HostTimes.of(questions.design, questions.models.funnel.items, platform)
    return round(host.between * platform.accelerator.clock_hz)


def _simulated(
    place: Place,
    asked: Mapping[str, Questions],
    models: CriteoModels,
    platform: PlatformConfig,
    library: Path,
    progress: Callable[[str], None],
    trace: Path | None,
    loads: int,
) -> dict[str, Any]:
    """Run the designs of a place on the netlist; return the fields of a PlaceRun."""
    config = next(iter(asked.values())).config
    timing = MemoryTiming(read_latency_cycles=platform.accelerator.memory.latency_cycles)
    with VerilatedDevice(config, timing, memory_bytes=MEMORY_BYTES, library=library) as device:
        traced = None if trace is None else (trace, timing)
        run = run_place(device, place, asked, models, platform, progress, trace=traced, loads=loads)
        return asdict(run)


def run_place(
    device: ClockedBus,
    place: Place,
    asked: Mapping[str, Questions],
    models: CriteoModels,
    platform: PlatformConfig,
    progress: Callable[[str], None],
    *,
    trace: tuple[Path, MemoryTiming] | None = None,
    loads: int = 2,
) -> PlaceRun:
    """Ask the designs of a place on a device that was just made; equal questions once.

    device : with MEMORY_BYTES of memory. trace : folder of the loads' timelines, and the memory's
    timing; the device then logs its tasks. loads : see RtlAsk. Raises RuntimeError with the first
    bit that differs.
    """
    start, queries = time.process_time(), 0
    config = next(iter(asked.values())).config
    entries = LOG_ENTRIES if trace else 0
    host = RtlHost(
        device, place, models, config, depth=DEPTH, tables=loads * config.funnels,
        log_entries=entries,
    )  # fmt: skip
    figures: dict[str, Figure] = {}
    known: dict[tuple[object, ...], Figure] = {}
    for name, questions in asked.items():
        if questions.key not in known:
            delay_cycles = _delay_cycles(questions, platform)
            picture = RunTrace(config, models.rankers, trace[1]) if trace else None
            known[questions.key] = _measured(host, questions, delay_cycles, loads, picture)
            if trace and picture:
                picture.write(trace[0] / f"{name.replace(' ', '_')}.json")
            queries += loads * questions.in_flight + 1
        figures[name] = known[questions.key]
        progress(f"{name}: bit-exact, {figures[name]}")
    return PlaceRun(
        figures=figures,
        queries=queries,
        cycles=device.cycles,
        cpu_seconds=time.process_time() - start,
    )


def _measured(
    host: RtlHost,
    questions: Questions,
    delay_cycles: int,
    loads: int,
    picture: RunTrace | None = None,
) -> Figure:
    """Ask a load, which `picture` gets, then one query alone."""
    count, log = questions.in_flight, host.driver.task_log
    if log:
        log.take()  # of designs before
    before = host.row_counters()
    load = host.ask(questions, range(loads * count), count, delay_cycles)
    hits = hit_share(before, host.row_counters())
    if log and picture:
        picture.add(host.place.images, host.answered, log.take(), hits)
    alone = host.ask(questions, [MOST * loads], 1, delay_cycles)
    return _figure(load, alone, count, hits)


def _figure(load: Times, alone: Times, in_flight: int, hits: float) -> Figure:
    ends = sorted(load.ends)
    return Figure(
        alone=alone.ends[0] - alone.starts[0],
        per_query=(ends[2 * in_flight - 1] - ends[in_flight - 1]) / in_flight,
        hits=hits,
    )


def _paper(design: Design, seed: int) -> Speed:
    """Return what the model says of a design on `paper`, as `scheduler.ablation_study`."""
    setup = Setup(design)
    return Speed(
        latency_ms=measure(setup, 1.0, 1, seed).p50_ms,
        qps=min(saturated_qps(setup), 1 / setup.link_s),
    )


def _modelled(ask: RtlAsk, items: int, papers: Mapping[str, Speed]) -> tuple[RtlRow, ...]:
    """Return rows of queries of `items` candidates, by the model alone."""
    config, models = load_accelerator(ask.preset), _models(ask, items)
    places = make_places(models, config)
    asked = [Questions(models, design, config) for design in ask.chosen]
    return tuple(
        _row(places[each.name], each, None, papers[each.design.name], ask.platform, ask.loads)
        for each in asked
    )


def _causes(
    places: Mapping[str, Place],
    asked: Mapping[str, Questions],
    platform: PlatformConfig,
    loads: int,
) -> Causes:
    chosen = {name: asked[name] for name in TRACED if name in asked}
    said = {
        name: _said(
            places[each.name], each, range(loads * each.in_flight), platform, sub_batches=True
        )
        for name, each in chosen.items()
    }
    queries = {name: loads * each.in_flight for name, each in chosen.items()}
    return find_causes(places, chosen, said, platform.accelerator.memory, queries)


def _said(
    place: Place,
    questions: Questions,
    numbers: Sequence[int],
    platform: PlatformConfig,
    *,
    in_flight: int | None = None,
    before: Sequence[int] = (),
    sub_batches: bool = False,
) -> Predicted:
    """Return what the model says. in_flight : by default the design's."""
    return predict(
        place,
        questions,
        numbers,
        before=before,
        in_flight=questions.in_flight if in_flight is None else in_flight,
        round_trip_cycles=_delay_cycles(questions, platform),
        memory=platform.accelerator.memory,
        sub_batches=sub_batches,
    )


def _row(
    place: Place,
    questions: Questions,
    rtl: Figure | None,
    paper: Speed,
    platform: PlatformConfig,
    loads: int,
) -> RtlRow:
    """Return a design's row. rtl : None: by the model alone, and not of many in flight."""
    count, last = questions.in_flight, loads * questions.in_flight - 1
    load = _said(place, questions, range(last + 1), platform)
    alone = _said(place, questions, [MOST * loads], platform, in_flight=1, before=[last])
    model = _figure(load.times, alone.times, count, load.hits)
    steady = model.per_query
    if rtl is not None:
        many = _said(place, questions, range(loads * SATURATED), platform, in_flight=SATURATED)
        steady = _figure(many.times, alone.times, SATURATED, many.hits).per_query
    return RtlRow(
        design=questions.design,
        in_flight=count,
        clock_hz=platform.accelerator.clock_hz,
        host=HostTimes.of(questions.design, questions.models.funnel.items, platform),
        rtl=rtl or model,
        model=model,
        steady=steady,
        paper=paper,
    )
