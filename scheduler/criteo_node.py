"""Criteo's node of a joint search: published CPU and GPU, our card behind the published link."""

from __future__ import annotations

from collections.abc import Mapping

from rpaccel.scheduler.ablation import FEATURES
from rpaccel.scheduler.derived_profiles import CITED
from rpaccel.scheduler.recpipe_card import CardTimes, CriteoCard
from rpaccel.scheduler.recpipe_node import HostTimes, Node
from rpaccel.scheduler.service_profile import find_profile, load_profiles
from rpaccel.spec.platform import load_platform
from rpaccel.spec.recpipe import RecPipeSpec

__all__ = ["cited_hosts", "criteo_node"]

CARD_PLATFORM = "paper"


def cited_hosts(spec: RecPipeSpec) -> dict[str, HostTimes]:
    """Return the times of the CPU and GPU that the spec names, as published.

    Nothing beyond the largest request that was published; below the smallest its time.
    """
    shipped = load_profiles(CITED)
    hosts = {}
    for device in spec.devices:
        if device == "accelerator":
            continue
        if device not in spec.profiles:
            raise ValueError(f"profiles must name the {device}'s service profile")
        tables = {}
        for model in spec.models:
            profile = find_profile(shipped, model, spec.profiles[device])
            tables[model] = profile.table_s(profile.batch[-1])
        launch, most = spec.launches.get(device, 0), min(len(each) for each in tables.values()) - 1
        if launch > most:
            raise ValueError(f"launches must be at most {most} items (published), not {launch}")
        hosts[device] = HostTimes(
            table_s=tables, slowdown=spec.slowdown.get(device, 0.0), launch_items=launch
        )
    return hosts


def criteo_node(spec: RecPipeSpec, known: Mapping[str, tuple[float, float]] | None = None) -> Node:
    """Return the published host and GPU with our card behind the published link.

    known : times of the card's programs from before; see `CardTimes`.
    """
    if spec.platform != CARD_PLATFORM:
        raise ValueError(f"platform must be {CARD_PLATFORM} for criteo, not {spec.platform!r}")
    return Node(
        servers={device: spec.servers[device] for device in spec.devices},
        hosts=cited_hosts(spec),
        card=CardTimes(CriteoCard(), known),
        link=load_platform(spec.platform).link,
        top_n=spec.top_n,
        item_bytes=4 * FEATURES,
    )
