"""What a pipeline asks of a node: visits to pools of servers, by device.

A CPU stage is one or more requests to the pool of threads, a GPU stage one to a GPU, or more if
there are several GPUs; stages that follow each other on the card are one program of it, with a
transfer in front and one behind. A retrieval stage is a scan of a corpus, whole or in shards, on
the card or on threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.funnel_quality import Funnel
from rpaccel.scheduler.recpipe_card import CardTimes, Program
from rpaccel.spec.isa import RESULT
from rpaccel.spec.platform import LinkPlatform
from rpaccel.spec.sweep import LaneSplit

__all__ = ["Design", "HostTimes", "Node", "Scan", "Visit"]


@dataclass(frozen=True, kw_only=True, order=True)
class Design:
    """A pipeline: a funnel and where and how its stages run.

    devices : of the ranking stages. retrieval : device of the retrieval stage, "" if there is none;
    shards : of its corpus, 0 if there is none. batch : items of a request to the CPU, or to one of
    several GPUs; 0: a stage is one request. split, sub_batches : of the card; "" and 0 if no stage
    is on it.
    """

    funnel: Funnel
    devices: tuple[str, ...]
    retrieval: str = ""
    shards: int = 0
    batch: int = 0
    split: str = ""
    sub_batches: int = 0

    @property
    def label(self) -> str:
        """One line, e.g. rmsmall 4096 @cpu -> rmlarge 512 @accelerator [batch 256; 1*4x4 / 4]."""
        funnel = self.funnel
        parts = [
            f"{model} {items} @{device}"
            for model, items, device in zip(funnel.models, funnel.items, self.devices, strict=True)
        ]
        if funnel.retrieval_k:
            cut = f" in {self.shards} shards" if self.shards > 1 else ""
            parts.insert(0, f"retrieval {funnel.retrieval_k} @{self.retrieval}{cut}")
        notes = [f"requests of {self.batch}"] if self.batch else []
        if self.split:
            tasks = f", {self.sub_batches} sub-batches" if self.sub_batches > 1 else ""
            notes.append(f"lanes {self.split}{tasks}")
        return " -> ".join(parts) + (f" [{'; '.join(notes)}]" if notes else "")

    @property
    def found_on_card(self) -> bool:
        """Whether the ids of retrieval are on the card that found them: shards meet on the host."""
        return self.retrieval == "accelerator" and self.shards == 1

    @property
    def placed(self) -> tuple[object, ...]:
        """What it ranks where, whatever the batch, split and sub-batches."""
        return self.funnel, self.devices, self.retrieval

    def groups(self) -> list[tuple[str, int, int]]:
        """Return (device, first stage, end stage) of each run of stages on one device."""
        runs, first = [], 0
        for device, members in groupby(self.devices):
            end = first + len(list(members))
            runs.append((device, first, end))
            first = end
        return runs


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A query at a pool: requests of so long, and pure delays around them [s].

    launches_s : times of a request that holds 1, 2, ... queries; (): each holds one. With it parts
        is 1 and last_s the first of them.
    """

    pool: str
    last_s: float
    parts: int = 1
    full_s: float = 0.0  # of all requests but the last
    before_s: float = 0.0
    after_s: float = 0.0
    transfer_s: float = 0.0  # of the delays and the service, what is a transfer
    launches_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.launches_s and (self.parts > 1 or self.last_s != self.launches_s[0]):
            raise ValueError("launches_s must be of one part, and begin with last_s")

    @property
    def work_s(self) -> float:
        """Time of servers that it takes; while they are full if they take several queries."""
        if self.launches_s:
            return self.launches_s[-1] / len(self.launches_s)
        return (self.parts - 1) * self.full_s + self.last_s


@dataclass(frozen=True, kw_only=True)
class HostTimes:
    """Times of a CPU or a GPU: float64[items + 1] by model, 0..items of a request [s].

    ratios : model -> equally likely factors, the spread of a measured device.
    slowdown : by how much of itself a request takes longer for each other server that is busy when
        it begins. What begins or ends later changes nothing for it: on average over a steady load
        that is what it meets on its way.
    launch_items : of a request at most that may hold several queries; 0: each holds one.
    """

    table_s: Mapping[str, Floats]
    ratios: Mapping[str, Floats] = field(default_factory=dict)
    slowdown: float = 0.0
    launch_items: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.slowdown < 1:
            raise ValueError(f"slowdown must be in 0..1, not {self.slowdown}")
        if self.launch_items and self.ratios:
            raise ValueError("launch_items must be 0 where the times of queries are spread")

    def refusal(self, model: str, items: int) -> str | None:
        """Return why there is no time, or None."""
        if model not in self.table_s:
            return f"has no times of {model}"
        most = len(self.table_s[model]) - 1
        return None if items <= most else f"has times of {model} up to {most} items, not {items}"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A retrieval stage on a device by (k, shards): busy_s of its server, latency_s [s].

    On threads the shards are requests: busy_s is one of them, latency_s what the merge adds.
    """

    busy_s: float
    latency_s: float


@dataclass(frozen=True, kw_only=True)
class Node:
    """A host, its devices and the link. scans : (device, k, shards) -> its times.

    user_bytes, item_bytes : over the link to the card, of a query and of each candidate [B].
    """

    servers: Mapping[str, int]
    hosts: Mapping[str, HostTimes]
    card: CardTimes
    link: LinkPlatform
    top_n: int
    scans: Mapping[tuple[str, int, int], Scan] = field(default_factory=dict)
    user_bytes: int = 0
    item_bytes: int = 0

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the pools; the link has one server."""
        return ("link", *self.servers)

    @property
    def slowdowns(self) -> Floats:
        """Return float64[pools]: the slowdown of each; 0 of what is no host."""
        hosts = self.hosts
        return np.array([hosts[p].slowdown if p in hosts else 0.0 for p in self.pools])

    def cuts(self, devices: Iterable[str]) -> bool:
        """Whether stages on these devices may be several requests: on threads, or several GPUs.

        One GPU would take the parts one after another, which together cost more than the whole.
        """
        return any(
            device == "cpu" or (device == "gpu" and self.servers[device] > 1) for device in devices
        )

    def results(self, design: Design, end: int) -> int:
        """Return the ids that leave the stage before `end`."""
        items = design.funnel.items
        return items[end] if end < len(items) else self.top_n

    def refusal(self, design: Design) -> str | None:
        """Return why the node cannot run a design, or None."""
        if design.funnel.items[-1] < self.top_n:
            return f"items must be at least {self.top_n} (served), not {design.funnel.items[-1]}"
        if design.devices.count("accelerator") and not design.split:
            return "the accelerator needs a split"
        for device, first, end in design.groups():
            reason = self._refused(design, device, first, end)
            if reason is not None:
                return f"{device}: {reason}"
        if design.funnel.retrieval_k:
            asked = design.retrieval, design.funnel.retrieval_k, design.shards
            if asked not in self.scans:
                return f"{asked[0]}: has no scan for {asked[1]} rows in {asked[2]} shards"
        return None

    def _refused(self, design: Design, device: str, first: int, end: int) -> str | None:
        items, results = design.funnel.items, self.results(design, end)
        if device != "accelerator":
            for stage in range(first, end):
                reason = self.hosts[device].refusal(design.funnel.models[stage], items[stage])
                if reason is not None:
                    return reason
            return None
        card = self.card.card
        if items[first] > card.max_items:
            return f"takes at most {card.max_items} items, not {items[first]}"
        if results > card.max_results:
            return f"returns at most {card.max_results} results, not {results}"
        if end - first == 1 and LaneSplit.model_validate(design.split).back is not None:
            return f"one stage has no use for the lanes of another ({design.split})"
        return None

    def visits(self, design: Design) -> list[Visit]:
        """Return the visits of a query. Call `refusal` first."""
        found: list[Visit] = []
        if design.funnel.retrieval_k:
            found.append(self._scan(design))
        for device, first, end in design.groups():
            if device == "accelerator":
                there = design.found_on_card and first == 0
                found += self._program(design, first, end, there=there)
            else:
                found += [self._request(design, device, stage) for stage in range(first, end)]
        return found

    def _request(self, design: Design, device: str, stage: int) -> Visit:
        host = self.hosts[device]
        table = host.table_s[design.funnel.models[stage]]
        items = design.funnel.items[stage]
        together = host.launch_items // items
        if together > 1:
            times = tuple(float(table[items * count]) for count in range(1, together + 1))
            return Visit(pool=device, last_s=times[0], launches_s=times)
        size = min(design.batch, items) if design.batch and self.cuts([device]) else items
        parts = -(-items // size)
        return Visit(
            pool=device,
            parts=parts,
            full_s=float(table[size]),
            last_s=float(table[items - (parts - 1) * size]),
        )

    def _program(self, design: Design, first: int, end: int, *, there: bool) -> list[Visit]:
        """Return the visits to link and card. there : the ids are on the card already."""
        program = self.program(design, first, end)
        times = self.card.times(program)
        answer_s = self.link.seconds(program.results * RESULT.bytes)
        server = Visit(
            pool="accelerator",
            last_s=times.interval_s,
            after_s=times.latency_s - times.interval_s + answer_s,
            transfer_s=answer_s,
        )
        if there:
            return [server]
        asked = self.user_bytes + program.items[0] * self.item_bytes
        fixed, sent_s = self.link.fixed_s, asked / self.link.bytes_per_s
        return [
            Visit(pool="link", last_s=sent_s, after_s=fixed, transfer_s=fixed + sent_s),
            server,
        ]

    def program(self, design: Design, first: int, end: int) -> Program:
        """Return the card's program of stages first..end - 1."""
        return Program(
            models=design.funnel.models[first:end],
            items=design.funnel.items[first:end],
            results=self.results(design, end),
            split=design.split,
            sub_batches=design.sub_batches,
        )

    def _scan(self, design: Design) -> Visit:
        device, k = design.retrieval, design.funnel.retrieval_k
        scan = self.scans[device, k, design.shards]
        if device == "accelerator":
            asked = self.link.seconds(self.user_bytes)
            # Ids that another device ranks, or that the host merges, go to the host; every card of
            # a shard has a link of its own.
            stay = design.found_on_card and design.devices[0] == "accelerator"
            back = 0.0 if stay else self.link.seconds(k * RESULT.bytes)
            return Visit(
                pool="accelerator",
                last_s=scan.busy_s,
                before_s=asked,
                after_s=scan.latency_s - scan.busy_s + back,
                transfer_s=asked + back,
            )
        return Visit(
            pool="cpu",
            parts=design.shards,
            full_s=scan.busy_s,
            last_s=scan.busy_s,
            after_s=scan.latency_s,
        )

    def ratios(self, queries: int, seed: int) -> Floats:
        """Return float64[pools, queries]: factors on the service times of each query in a pool."""
        found = np.ones((len(self.pools), queries))
        for row, pool in enumerate(self.pools):
            spreads: Sequence[Floats] = tuple(
                self.hosts[pool].ratios.values() if pool in self.hosts else ()
            )
            if spreads:
                widest = max(spreads, key=lambda ratios: float(ratios.max() / ratios.min()))
                found[row] = np.random.default_rng([seed, row]).choice(widest, queries)
        return found
