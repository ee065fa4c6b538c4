"""`rpaccel criteo`: Criteo-shaped queries through the netlist of a split machine, bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.criteo_machine import MEMORY_BYTES, CriteoAnswer, CriteoMachine
from rpaccel.main_job.criteo_models import (
    EIGHT_TWO,
    QUARTERS,
    CriteoImages,
    CriteoModels,
    compile_criteo,
    quantise_criteo,
)
from rpaccel.main_job.criteo_page import write_criteo_page
from rpaccel.main_job.criteo_quality import criteo_quality
from rpaccel.main_job.netlist import completion_json
from rpaccel.main_job.progress import Progress
from rpaccel.main_job.run_trace import LOG_ENTRIES, Answered, RunTrace, hit_share, task_log_of
from rpaccel.main_job.stopwatch import timed
from rpaccel.results import RunFolder
from rpaccel.rtl.netlist import system_netlist
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload

__all__ = ["CriteoAsk", "CriteoPart", "criteo_parts", "rows_of", "run_criteo", "traced_parts"]

STEPS = 6
DEPTH = 32  # of the rings: more queries than the machine works on at a time


@dataclass(frozen=True, kw_only=True)
class CriteoAsk:
    """What is asked for.

    queries : asked at once under 8 + 2. live : asked at once after each of two changes of the
    split, to quarters and back; 0: the split stays. The array is split anew while the last half of
    the queries are in flight, the new lanes are loaded when those are answered. quality : queries
    that quality is measured on. pin_banks : of compile_criteo: whose static caches hold rows
    until the first change. trace : a timeline is written; the device then logs its tasks in memory,
    which takes a few cycles.
    """

    preset: str
    queries: int
    live: int
    quality: int
    pin_banks: int | None
    workload: CriteoConfig
    trace: bool = False

    def __post_init__(self) -> None:
        for name, least in (("queries", 1), ("live", 0)):
            value = getattr(self, name)
            if not least <= value <= DEPTH:
                raise ValueError(f"{name} must be in {least}..{DEPTH}, not {value}")

    @property
    def splits(self) -> tuple[tuple[str, int], ...]:
        """The splits in their order, and how many queries are asked under each."""
        changes = ((QUARTERS, self.live), (EIGHT_TWO, self.live))
        return ((EIGHT_TWO, self.queries), *(changes if self.live else ()))


@dataclass(frozen=True, kw_only=True, eq=False)
class CriteoPart:
    """Queries in flight together under one split.

    change_cycles : of the loads after a change of the split; of the first part: of all loads.
    cycles : from the first submission to the last answer. crossed : queries that were in flight
    when the next split was asked for; None: there is none. rows : row counters at its end; each
    LOAD sets them to 0, but for the pinned ones.
    """

    split: str
    answers: tuple[CriteoAnswer, ...]
    change_cycles: int
    cycles: int
    crossed: int | None
    rows: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the figures of the part and every answer."""
        return {
            "split": self.split,
            "change_cycles": self.change_cycles,
            "cycles": self.cycles,
            "cycles_per_query": self.cycles / len(self.answers),
            "crossed": self.crossed,
            "queries": [
                completion_json(answer.number, answer.completion)
                | {
                    "mode": answer.mode.name,
                    "queue_cycles": answer.completion.queue_cycles,
                    "lanes": answer.completion.lanes,
                    "overshoot": answer.completion.overshoot,
                }
                for answer in self.answers
            ],
        }


def criteo_parts(
    machine: CriteoMachine,
    ask: CriteoAsk,
    clock: Callable[[], int],
    done: Callable[[CriteoAnswer], None],
) -> Iterator[CriteoPart]:
    """Run the queries of every split on a machine that was just made; yield each part.

    clock : cycles of the device since it began. done : is told every answer.
    Raises RuntimeError with the first bit that differs from the golden model.
    """
    first, start = 0, 0
    following = [split for split, _ in ask.splits[1:]]
    for (split, count), then in zip(ask.splits, (*following, None), strict=True):
        if split != machine.split:
            machine.use(split)
        begin, answers = clock(), []
        for answer in machine.ask(range(first, first + count), then):
            answers.append(answer)
            done(answer)
        first += count
        end = clock()
        yield CriteoPart(
            split=split,
            answers=tuple(answers),
            change_cycles=begin - start,
            cycles=end - begin,
            crossed=None if then is None else _crossed(answers),
            rows=machine.row_counters(),
        )
        start = end


def _crossed(answers: Sequence[CriteoAnswer]) -> int:
    """Return how many queries ended later than what the first half's wait had been told."""
    ends = [answer.completion.ended_at for answer in answers]
    told, others = max(ends[: len(ends) // 2], default=0), ends[len(ends) // 2 :]
    return sum(end > told for end in others)


def traced_parts(
    machine: CriteoMachine, parts: Iterable[CriteoPart], trace: RunTrace
) -> Iterator[CriteoPart]:
    """Yield parts while they run, and add each to `trace`. machine : keeps a log of tasks."""
    log = task_log_of(machine.driver)
    pinned = 0
    for part in parts:
        answered = [
            Answered(query=each.query, golden=each.golden, completion=each.completion)
            for each in part.answers
        ]
        before = dict.fromkeys(part.rows, 0) | {"pinned": pinned}
        trace.add(machine.loaded, answered, log.take(), hit_share(before, part.rows))
        pinned = part.rows["pinned"]
        yield part


def rows_of(parts: Sequence[CriteoPart]) -> dict[str, int]:
    """Return the row counters of all parts together."""
    total = {name: sum(part.rows[name] for part in parts) for name in parts[0].rows}
    return total | {"pinned": parts[-1].rows["pinned"]}


def run_criteo(ask: CriteoAsk, out: Path, page: Path | None) -> list[dict[str, Any]]:
    """Run all of it into `out`, write the page, and return the summary.

    Raises RuntimeError if a bit differs, ValueError for a machine that cannot be split so.
    """
    config, progress = load_accelerator(ask.preset), Progress(STEPS)
    with progress.step("queries, planted rankers, int8"):
        models = quantise_criteo(CriteoWorkload(ask.workload))
    with progress.step(f"images for the lanes of {config.name}"):
        images = compile_criteo(models, config, pin_banks=ask.pin_banks)
        folder = RunFolder(out)
        folder.write_json("manifest", [images.large.manifest, images.first.manifest])
    with progress.step(f"quality on {ask.quality} queries"):
        rankings = [ranking.to_json() for ranking in criteo_quality(models, ask.quality)]
        folder.write_json("quality", rankings)
    with progress.step(f"netlist of {config.name}"), timed() as written:
        system_netlist(config, build_dir=BUILD_DIR, progress=progress.note)
    with progress.step(f"simulator of {config.name}"), timed() as built:
        library = build_simulator(config, build_dir=BUILD_DIR, progress=progress.note)
    for name, (wall_s, cpu_s) in (("netlist written", written), ("simulator built", built)):
        folder.figure(name, round(wall_s), "s")
        folder.figure(f"{name}, CPU", round(cpu_s), "s")
    total = sum(count for _, count in ask.splits)
    with progress.step(f"{total} queries through it"):
        _simulate(models, images, ask, library, progress, folder)
    for ranking in rankings:
        value = round(ranking["ndcg_clicks"]["estimate"], 4)
        folder.figure(f"NDCG@{models.funnel.served} {ranking['name']}", value, "")
    folder.write_json("seconds", progress.seconds)
    folder.finish(asdict(ask) | {"accelerator": config.model_dump()})
    text = write_criteo_page(out)
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
    print(f"bit-exact: {total} queries; done in {progress.elapsed_s:.0f} s; see {out}/index.html")
    return folder.summary


def _simulate(
    models: CriteoModels,
    images: CriteoImages,
    ask: CriteoAsk,
    library: Path,
    progress: Progress,
    folder: RunFolder,
) -> None:
    """Run the netlist; write its queries, counters and speed."""

    def told(answer: CriteoAnswer) -> None:
        cycles = answer.completion.total_cycles
        progress.note(
            f"query {answer.number}, {answer.mode.name}, {answer.split}: bit-exact, {cycles} cycles"
        )

    start, start_cpu, config = time.monotonic(), time.process_time(), images.config
    timing = MemoryTiming()
    with VerilatedDevice(config, timing, memory_bytes=MEMORY_BYTES, library=library) as device:
        machine = CriteoMachine(
            device, models, images, depth=DEPTH, log_entries=LOG_ENTRIES if ask.trace else 0
        )
        trace = RunTrace(config, models.rankers, timing)
        running = criteo_parts(machine, ask, lambda: device.cycles, told)
        parts = list(traced_parts(machine, running, trace) if ask.trace else running)
        cycles, seconds = device.cycles, time.monotonic() - start
        cpu_seconds = time.process_time() - start_cpu
        ports = [asdict(device.port_traffic(port)) for port in range(config.memory_ports)]
    if ask.trace:
        trace.write(folder.path / "trace.json")
        progress.note(f"timeline: {folder.path}/trace.json (ui.perfetto.dev)")
    folder.write_json("parts", [part.to_json() for part in parts])
    folder.write_json("counters", {"rows": rows_of(parts), "ports": ports})
    folder.figure("queries bit-exact", sum(len(part.answers) for part in parts), "queries")
    folder.figure("cycles per query, 8 + 2", round(parts[0].cycles / ask.queries), "cycles")
    folder.figure("changes of the split", len(parts) - 1, "")
    folder.figure("simulated", cycles, "cycles")
    folder.figure("simulation", round(seconds), "s")
    folder.figure("simulation, CPU", round(cpu_seconds), "s")
    folder.figure("simulation speed", round(cycles / cpu_seconds), "cycles/CPU s")
