"""A candidate pipeline: models, items and devices of its stages, and its queueing stations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from rpaccel.scheduler.devices import Device, Transfers
from rpaccel.scheduler.queueing import Station


@dataclass(frozen=True, kw_only=True, order=True)
class Pipeline:
    """Stage s ranks items[s] candidates with models[s] on devices[s]."""

    models: tuple[str, ...]
    items: tuple[int, ...]
    devices: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.models) == len(self.items) == len(self.devices) >= 1:
            raise ValueError(
                f"models, items and devices must have equal lengths, not {len(self.models)}, "
                f"{len(self.items)}, {len(self.devices)}"
            )

    @property
    def label(self) -> str:
        """One line, e.g. small 1600 @cpu -> large 256 @accelerator."""
        stages = zip(self.models, self.items, self.devices, strict=True)
        return " -> ".join(f"{model} {items} @{device}" for model, items, device in stages)

    def groups(self) -> list[tuple[str, int, int]]:
        """Return (device, first stage, end stage) of each run of stages on one device."""
        runs, first = [], 0
        for device, members in groupby(self.devices):
            end = first + len(list(members))
            runs.append((device, first, end))
            first = end
        return runs


@dataclass(frozen=True, kw_only=True)
class Route:
    """A pipeline as stations in a row, with the transfers between them."""

    stations: tuple[Station, ...]
    last_delay_s: float
    service_s: float  # mean, all stations
    transfer_s: float


def route(
    pipeline: Pipeline,
    devices: Mapping[str, Device],
    transfers: Transfers,
    top_n: int,
    queries: int,
    seed: int,
) -> Route:
    """Return the stations of `pipeline`. The query comes from the host and is answered there.

    Consecutive stages on one device are one service: a worker, or a lane, runs them to the end.
    Survivors pass through host memory between devices. Call `refusal` first.
    """
    groups = pipeline.groups()
    stations: list[Station] = []
    delay_s = transfer_s = 0.0
    for index, (name, first, end) in enumerate(groups):
        device = devices[name]
        results = pipeline.items[end] if end < len(pipeline.items) else top_n
        if not device.on_host:
            delay_s += transfers.to_device_s(pipeline.items[first])
        stations.append(
            _station(pipeline, device, first, end, results, delay_s, queries, seed + index)
        )
        transfer_s += delay_s
        delay_s = 0.0 if device.on_host else transfers.to_host_s(results)
    service_s = sum(float(np.mean(station.service_s)) for station in stations)
    return Route(
        stations=tuple(stations),
        last_delay_s=delay_s,
        service_s=service_s,
        transfer_s=transfer_s + delay_s,
    )


def refusal(pipeline: Pipeline, devices: Mapping[str, Device], top_n: int) -> str | None:
    """Return why the devices cannot run `pipeline` at all, or None."""
    groups = pipeline.groups()
    names = [device for device, _, _ in groups]
    if len(set(names)) < len(names):
        return f"stages of one device must follow each other, not {' '.join(names)}"
    for name, first, end in groups:
        if name not in devices:
            return f"there is no device {name}"
        results = pipeline.items[end] if end < len(pipeline.items) else top_n
        reason = devices[name].refusal(
            pipeline.models[first:end], pipeline.items[first:end], results
        )
        if reason:
            return reason
    return None


def _station(
    pipeline: Pipeline,
    device: Device,
    first: int,
    end: int,
    results: int,
    delay_s: float,
    queries: int,
    seed: int,
) -> Station:
    models: Sequence[str] = pipeline.models[first:end]
    base_s = device.service_s(models, pipeline.items[first:end], results)
    ratios = device.ratios(models)
    if len(ratios) == 1:
        service: float | np.ndarray = base_s * float(ratios[0])
    else:
        service = base_s * np.random.default_rng([seed, 1]).choice(ratios, queries)
    return Station(name=device.name, servers=device.servers, service_s=service, delay_s=delay_s)
