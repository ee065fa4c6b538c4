"""Figures of the ablation on the netlist: of each design, and of each step between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from rpaccel.main_job.ablation_rtl_causes import Causes
from rpaccel.scheduler.ablation import (
    CANDIDATES,
    FEATURES,
    ID_BYTES,
    IDEAS,
    Design,
    designs,
    host_sort_s,
)
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import PlatformConfig, load_platform

__all__ = [
    "PLATFORM", "SAME", "Figure", "Gains", "HostTimes", "PlaceRun", "RtlAblation", "RtlAsk",
    "RtlRow", "Speed", "Step", "card_of", "sign", "steps_of",
]  # fmt: skip

PLATFORM = "paper"  # its link and clock; its memory's latency is that of the simulated memory
PATH = ("base", "O.1", "O.1 to O.2", "O.1 to O.3", "O.1 to O.4", "O.1 to O.5")
SAME = 0.02  # gains within 2 % of 1 are no change
ITEMS_STEP = 128  # tasks of a first stage hold whole beats of ids


def card_of(config: AcceleratorConfig) -> PlatformConfig:
    """Return PLATFORM, with the share of its link's rate that `config` has of its machine's MACs.

    What a query takes of array and link is then in the proportion that it has on PLATFORM.
    """
    platform = load_platform(PLATFORM)
    whole = load_accelerator(platform.accelerator.preset)
    share = (config.array_size / whole.array_size) ** 2
    link = platform.link.model_copy(update={"bytes_per_s": platform.link.bytes_per_s * share})
    return platform.model_copy(update={"link": link})


@dataclass(frozen=True, kw_only=True)
class RtlAsk:
    """What is asked for.

    items : candidates of a query; a first stage keeps an eighth, and 1/64 is served. At most 512,
    so that without O.2 the device's list of 64 has the survivors; of scaled rankers 4096.
    shape : of workloads.criteo_shapes. "sixteenth": rankers that take an array of 1/16 of the MACs
    as long per item as RecPipe's take the whole, behind the link of the whole.
    loads : times as many queries as are in flight, 2 or 3; of 3, each answer in the window that
    throughput is measured in brings another query. designs : by name; the base is always there.
    """

    preset: str = "default"
    items: int = 512
    shape: Literal["criteo", "sixteenth"] = "criteo"
    loads: int = 2
    seed: int = 0
    designs: tuple[str, ...] = tuple(design.name for design in designs())

    def __post_init__(self) -> None:
        most = CANDIDATES if self.scaled else 512
        if not 0 < self.items <= most or self.items % ITEMS_STEP:
            raise ValueError(
                f"items must be a multiple of {ITEMS_STEP} in {ITEMS_STEP}..{most}, "
                f"not {self.items}"
            )
        if self.loads not in (2, 3):
            raise ValueError(f"loads must be 2 or 3, not {self.loads}")
        known = [design.name for design in designs()]
        wrong = [name for name in self.designs if name not in known]
        if wrong:
            raise ValueError(f"designs must be of {', '.join(known)}, not {wrong[0]}")

    @property
    def scaled(self) -> bool:
        """Whether the rankers are scaled with the array."""
        return self.shape != "criteo"

    @property
    def unscaled(self) -> RtlAsk:
        """The same with the rankers as they are, and as many candidates as by default."""
        return replace(self, shape="criteo", items=RtlAsk.items)

    @property
    def platform(self) -> PlatformConfig:
        """The card: of scaled rankers PLATFORM itself, as their items take no longer than there."""
        if self.scaled:
            return load_platform(PLATFORM)
        return card_of(load_accelerator(self.preset))

    @property
    def larger(self) -> tuple[int, ...]:
        """More candidates, for the model alone."""
        return tuple(items for items in (256, 512) if items > self.items)

    @property
    def chosen(self) -> list[Design]:
        """The designs, in their order, the base first."""
        return [d for d in designs() if d.name in {*self.designs, "base"}]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What machine and host between them take [cycles].

    alone : one query on an idle machine, from its fetch to the last answer. per_query : with
    several in flight, from answer to answer. hits : share of rows that read no memory then.
    """

    alone: int
    per_query: float
    hits: float


@dataclass(frozen=True, kw_only=True)
class HostTimes:
    """What is modelled outside the device [s].

    way_in : of the link, before a query is fetched; busy : how long that keeps the link. between :
    of link, host and link again between two stages, 0 with O.2; the simulated host waits so long.
    last : from the machine's answer to the host's.
    """

    way_in: float
    busy: float
    between: float
    last: float

    @classmethod
    def of(cls, design: Design, items: int, platform: PlatformConfig) -> HostTimes:
        """Return the times of a design; as `scheduler.ablation.Setup`, of `items` candidates.

        An item brings a published record, whatever the rankers' shape.
        """
        link, keep = platform.link, items // 8
        bytes_in, scored = items * 4 * FEATURES, keep if design.has("O.1") else items
        between = 0.0
        if design.has("O.1") and not design.has("O.2"):
            scores, ids = link.seconds(items * RESULT.bytes), link.seconds(keep * ID_BYTES)
            between = scores + host_sort_s(items) + ids
        last = link.seconds(items // 64 * RESULT.bytes)
        if not design.has("O.2"):
            last = link.seconds(scored * RESULT.bytes) + host_sort_s(scored)
        return cls(
            way_in=link.seconds(bytes_in),
            busy=bytes_in / link.bytes_per_s,
            between=between,
            last=last,
        )


@dataclass(frozen=True, kw_only=True)
class Speed:
    """latency_ms : of one query, from host to host. qps : with several in flight."""

    latency_ms: float
    qps: float


@dataclass(frozen=True, kw_only=True)
class RtlRow:
    """A design on the netlist, by the model for the same queries, and on `paper` by the model.

    in_flight : queries of the netlist and of `model`; `steady` has SATURATED of them.
    """

    design: Design
    in_flight: int
    clock_hz: float
    host: HostTimes
    rtl: Figure
    model: Figure
    steady: float  # cycles per query
    paper: Speed

    def speed(self, figure: Figure) -> Speed:
        """Return what the host sees of a figure."""
        seconds = figure.alone / self.clock_hz + self.host.way_in + self.host.last
        return Speed(latency_ms=1e3 * seconds, qps=self._qps(figure.per_query))

    @property
    def steady_qps(self) -> float:
        """What the model says of many queries in flight."""
        return self._qps(self.steady)

    @property
    def unbound_qps(self) -> float:
        """What the netlist would do if its link were never the bound."""
        return self.clock_hz / self.rtl.per_query

    def _qps(self, cycles: float) -> float:
        return min(self.clock_hz / cycles, 1 / self.host.busy)


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Gains of a step: latency before / after, throughput after / before."""

    latency: float
    throughput: float

    @classmethod
    def of(cls, before: Speed, after: Speed) -> Gains:
        """Return the gains from one speed to another."""
        return cls(latency=before.latency_ms / after.latency_ms, throughput=after.qps / before.qps)


def sign(gain: float) -> str:
    """Return better, worse, or same (within SAME of 1)."""
    if abs(gain - 1) <= SAME:
        return "same"
    return "better" if gain > 1 else "worse"


@dataclass(frozen=True, kw_only=True)
class Step:
    """An idea that is added to a design."""

    name: str
    before: RtlRow
    after: RtlRow

    @property
    def rtl(self) -> Gains:
        """Measured."""
        return Gains.of(self.before.speed(self.before.rtl), self.after.speed(self.after.rtl))

    @property
    def unbound(self) -> float:
        """Measured throughput, if the link were never the bound."""
        return self.after.unbound_qps / self.before.unbound_qps

    @property
    def model(self) -> Gains:
        """By the model, for the same queries."""
        return Gains.of(self.before.speed(self.before.model), self.after.speed(self.after.model))

    @property
    def steady(self) -> float:
        """Throughput by the model with many queries in flight."""
        return self.after.steady_qps / self.before.steady_qps

    @property
    def paper(self) -> Gains:
        """By the model, on `paper`."""
        return Gains.of(self.before.paper, self.after.paper)


@dataclass(frozen=True, kw_only=True)
class PlaceRun:
    """What was measured of the designs of one place. queries : answers compared bit for bit."""

    figures: Mapping[str, Figure]
    queries: int
    cycles: int
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class RtlAblation:
    """All rows. queries : answers compared bit for bit. cpu_seconds : of the simulation.

    larger : rows of queries of more candidates, by the model alone, in `rtl` too. causes : of signs
    that are not those of `paper`. unscaled : of scaled rankers, rows of those as they are, by the
    model alone.
    """

    ask: RtlAsk
    rows: tuple[RtlRow, ...]
    larger: Mapping[int, tuple[RtlRow, ...]]
    causes: Causes
    queries: int
    cycles: int
    cpu_seconds: float
    unscaled: tuple[RtlRow, ...] = ()

    @property
    def steps(self) -> list[Step]:
        """The steps of `rows`."""
        return steps_of(self.rows)


def steps_of(rows: Sequence[RtlRow]) -> list[Step]:
    """Return each idea alone, against the base, then one more idea at a time.

    Steps from or to a design without a row are left out.
    """
    named = {row.design.name: row for row in rows}
    pairs = [("base", f"{idea} alone", f"{idea} alone") for idea in IDEAS]
    pairs += [(a, b, f"{a} + {idea}") for (a, b), idea in zip(pairwise(PATH), IDEAS, strict=True)]
    return [
        Step(name=name, before=named[before], after=named[after])
        for before, after, name in pairs
        if before in named and after in named
    ]
