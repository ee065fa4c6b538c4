"""A node for rankers of a click log: a measured CPU, a modelled card, exact retrieval on either.

Retrieval's cycles are those of `perfmodel.retrieval` on rows in random order, its constant that of
`perfmodel.retrieval_latency`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rpaccel.perfmodel.machine_load import Machine, QueryLoad, StageLoad
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.retrieval import ScanReport, scan
from rpaccel.perfmodel.retrieval_latency import MemoryPath, constant_of
from rpaccel.perfmodel.retrieval_overrun import scores_of
from rpaccel.perfmodel.shapes import ModelShape
from rpaccel.scheduler.cpu_profile import MERGE, RETRIEVE, CpuProfile
from rpaccel.scheduler.recpipe_card import Program, lanes_of_split, later_tasks
from rpaccel.scheduler.recpipe_node import HostTimes, Scan
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import RESULT, StageMode
from rpaccel.spec.platform import PlatformConfig
from rpaccel.spec.retrieval import BUCKETS, RetrievalConfig
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.spec.sweep import LaneSplit

__all__ = ["Corpus", "FilmCard", "card_scans", "cpu_hosts", "cpu_scans", "scan_cycles"]

CANDIDATE_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Rows of a corpus and their bytes."""

    rows: int
    row_bytes: int


@dataclass(kw_only=True)
class _FilmSetup:
    """A program on the card: `scheduler.ablation.Measured`."""

    machine: Machine
    platform: PlatformConfig
    query: QueryLoad
    link_s: float
    last_s: float

    def loads(self, arrivals: Sequence[int]) -> list[QueryLoad]:
        """Return the queries that come at `arrivals` [cycles]."""
        query = self.query
        return [
            QueryLoad(
                arrival=int(arrival),
                items=query.items,
                stages=query.stages,
                records=query.records,
                top_n=query.top_n,
            )
            for arrival in arrivals
        ]


@dataclass(frozen=True, kw_only=True)
class FilmCard:
    """A card with compiled rankers. shapes : model -> its shape, for records of mean lengths."""

    config: AcceleratorConfig
    platform: PlatformConfig
    shapes: Mapping[str, ModelShape]
    records: RecordSizes

    @property
    def max_items(self) -> int:
        """Candidates of a query."""
        return self.config.max_items

    @property
    def max_results(self) -> int:
        """Results of a query."""
        return self.config.max_top_n

    def setup(self, program: Program) -> _FilmSetup:
        """Return a program on the card. Raises ValueError for lanes of other shapes."""
        front, back = lanes_of_split(self.config, LaneSplit.model_validate(program.split))
        stages = []
        for number, (model, items) in enumerate(zip(program.models, program.items, strict=True)):
            tasks = later_tasks(program.sub_batches) if number else program.sub_batches
            keep = program.items[number + 1] if number + 1 < len(program.items) else 0
            size = -(-items // tasks) if tasks > 1 else 0
            dealt = StageTasks(task_items=size)
            if keep and size:
                dealt = StageTasks.shared(size, keep, items, StageMode.PROPORTIONAL)
            lanes = back if number else front
            stages.append(StageLoad(model=model, k=keep, tasks=dealt, lanes=lanes))
        link = self.platform.link
        asked = self.records.user_bytes + program.items[0] * CANDIDATE_BYTES
        return _FilmSetup(
            machine=Machine(
                config=self.config,
                memory=self.platform.accelerator.memory,
                lanes={lane: self.shapes for lane in sorted({*front, *back})},
            ),
            platform=self.platform,
            query=QueryLoad(
                arrival=0,
                items=program.items[0],
                stages=tuple(stages),
                records=self.records,
                top_n=program.results,
            ),
            link_s=asked / link.bytes_per_s,
            last_s=link.seconds(program.results * RESULT.bytes),
        )


def cpu_hosts(profile: CpuProfile, most_items: int) -> dict[str, HostTimes]:
    """Return the fitted times of a measured CPU, with its spread, for 0..most_items items."""
    items = np.arange(most_items + 1, dtype=np.float64)
    tables, ratios = {}, {}
    for name, model in profile.models.items():
        if name in (RETRIEVE, MERGE):
            continue
        tables[name] = model.fixed_s + model.per_item_s * items
        tables[name][0] = 0.0
        ratios[name] = np.asarray(model.ratios)
    return {"cpu": HostTimes(table_s=tables, ratios=ratios)}


def cpu_scans(
    profile: CpuProfile, corpus: Corpus, k_values: Sequence[int], shards: Sequence[int]
) -> dict[tuple[str, int, int], Scan]:
    """Return scans on threads: each looks at its rows, then one merges; {} if not measured."""
    if not {RETRIEVE, MERGE} <= set(profile.models):
        return {}
    scan_s, merge_s = profile.model(RETRIEVE), profile.model(MERGE)
    return {
        ("cpu", k, count): Scan(
            busy_s=scan_s.seconds(-(-corpus.rows // count)),
            latency_s=merge_s.seconds(count * k) if count > 1 else 0.0,
        )
        for k in k_values
        for count in shards
    }


def scan_cycles(
    config: AcceleratorConfig, platform: PlatformConfig, corpus: Corpus, k: int, seed: int = 0
) -> tuple[int, int]:
    """Return the cycles of a scan, and those from its beginning to the end of its answer."""
    if not config.retrieval_queries:
        raise ValueError(f"preset must have a retrieval engine, {config.name} has none")
    beats = -(-corpus.row_bytes // config.beat_bytes)
    per_beat = max(1, config.beat_bytes // corpus.row_bytes)
    lanes = config.memory_ports * min(config.retrieval_port_lanes, per_beat)
    report = _scan_report(corpus.rows, k, lanes, seed)
    memory = platform.accelerator.memory.latency_cycles
    clock_hz = platform.accelerator.clock_hz
    path = MemoryPath(
        ports=config.memory_ports,
        beat_bytes=config.beat_bytes,
        clock_hz=clock_hz,
        latency_s=memory / clock_hz,
    )
    busy = report.sets * beats + report.stalled_cycles
    constant = constant_of(report, path, beats_per_row=beats)
    return busy, report.sets * beats + constant.total


def _scan_report(rows: int, k: int, lanes: int, seed: int) -> ScanReport:
    scores = scores_of("random", rows, seed)
    base = int(scores.mean())
    shift = max(0, int(scores.max() - base).bit_length() - (BUCKETS - 1).bit_length())
    return scan(RetrievalConfig(lanes=lanes, k_max=k), scores, k, base, shift)


def card_scans(
    config: AcceleratorConfig,
    platform: PlatformConfig,
    corpus: Corpus,
    k_values: Sequence[int],
    shards: Sequence[int],
    merge_s_per_row: float,
) -> dict[tuple[str, int, int], Scan]:
    """Return scans on cards, each with a shard; the host merges k rows of each.

    merge_s_per_row : of the host; with one shard nothing is merged. {} without an engine.
    """
    if not config.retrieval_queries:
        return {}
    found = {}
    for k in k_values:
        if k > min(config.retrieval_k_max, corpus.rows):
            continue
        for count in shards:
            part = Corpus(rows=-(-corpus.rows // count), row_bytes=corpus.row_bytes)
            busy, end = scan_cycles(config, platform, part, min(k, part.rows))
            merged = count * k * merge_s_per_row if count > 1 else 0.0
            found["accelerator", k, count] = Scan(
                busy_s=busy / platform.accelerator.clock_hz,
                latency_s=end / platform.accelerator.clock_hz + merged,
            )
    return found
