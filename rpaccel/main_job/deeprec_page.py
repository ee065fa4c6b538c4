"""The page of DeepRecInfra's models: their sizes, their measured times, and cited devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rpaccel.main_job.markdown import markdown_table
from rpaccel.scheduler.derived_profiles import (
    CITED,
    MEASURED,
    OPERATORS,
    across_link,
    from_ssd,
    load_speedups,
    sped_up,
)
from rpaccel.scheduler.operator_mix import KINDS, PUBLISHED, OperatorMix, load_mixes
from rpaccel.scheduler.service_profile import ServiceProfile, find_profile, load_profiles
from rpaccel.spec.deeprec import DeeprecConfig, deeprec_names, load_deeprec
from rpaccel.spec.platform import LinkPlatform, load_platform
from rpaccel.spec.ssd import SsdTier, load_ssd

T4_BATCHES = (100, 300, 1000)
LINK_PLATFORM, LINK_ITEMS = "paper", (1, 64, 1024)
SSD_MODEL, SSD_ITEMS = "dlrm-rmc3", 64

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def size_rows(configs: Sequence[DeeprecConfig]) -> Table:
    """Sizes of the models, from their specifications."""
    head = (
        "model", "tables [GB]", "rows per item", "bytes per item", "FC [MMAC]",
        "attention [MMAC]", "GRU [MMAC]", "parameters", "SLA low / medium / high [ms]",
    )  # fmt: skip
    return head, [
        (
            config.name,
            f"{config.table_bytes / 1e9:.3f}",
            f"{config.lookups_per_item:,}",
            f"{config.row_bytes_per_item:,}",
            *(f"{config.macs[kind] / 1e6:.3f}" for kind in ("dense", "attention", "recurrent")),
            f"{config.parameters:,}",
            f"{config.sla.low_ms:g} / {config.sla.medium_ms:g} / {config.sla.high_ms:g}",
        )
        for config in configs
    ]


def time_rows(profiles: Sequence[ServiceProfile], cited: Sequence[ServiceProfile]) -> Table:
    """Measured latency by batch [ms], and the cost of one more item, beside a published one."""
    batches = profiles[0].batch
    head = ("model", *(f"{items}" for items in batches), "us per item", "on c5n.2xlarge")
    published = {p.model: f"{_slope_us(p):.1f}" for p in cited if p.device == "c5n.2xlarge"}
    return head, [
        (
            profile.model,
            *(f"{profile.ms(items):.3f}" for items in batches),
            f"{_slope_us(profile):.1f}",
            published.get(profile.model, "-"),
        )
        for profile in profiles
    ]


def _slope_us(profile: ServiceProfile) -> float:
    """What one more item costs between the last two batch sizes [us]."""
    few, many = profile.batch[-2:]
    return 1e3 * (profile.ms(many) - profile.ms(few)) / (many - few)


def mix_rows(mixes: Sequence[OperatorMix]) -> Table:
    """Shares of each model's time [%], and the published ones of layers and lookups."""
    head = ("model", "FC", "lookups", "recurrent", "other", "published FC", "published lookups")
    return head, [
        (
            mix.model,
            *(f"{100 * mix.share[kind]:.1f}" for kind in KINDS),
            *(f"{share:g}" for share in PUBLISHED[mix.model]),
        )
        for mix in mixes
    ]


def gpu_rows(profiles: Sequence[ServiceProfile], cited: Sequence[ServiceProfile]) -> Table:
    """First batch that a GTX 1080 Ti wins, its time of 1024 items, and a T4 over its host."""
    speedups = load_speedups()
    head = (
        "model", "first batch", "1024 items [ms]",
        *(f"T4 at {items}" for items in T4_BATCHES),
    )  # fmt: skip
    rows = []
    known = {(profile.model, profile.device) for profile in cited}
    for profile in profiles:
        over: list[str] = ["-"] * len(T4_BATCHES)
        if (profile.model, "t4") in known:
            gpu, host = (find_profile(cited, profile.model, d) for d in ("t4", "c5n.2xlarge"))
            over = [f"{host.ms(items) / gpu.ms(items):.2f}" for items in T4_BATCHES]
        fast = sped_up(profile, speedups)
        first = speedups.crossover(profile.model)
        rows.append((profile.model, f"{first}", f"{fast.ms(profile.batch[-1]):.3f}", *over))
    return head, rows


def link_rows(
    configs: Sequence[DeeprecConfig], profiles: Sequence[ServiceProfile], link: LinkPlatform
) -> Table:
    """What a request's ids, dense values and logits take across the link, both ways [ms]."""
    head = ("model", "bytes per item", *(f"{items} items [ms]" for items in LINK_ITEMS))
    rows = []
    for config in configs:
        alone = find_profile(profiles, config.name, "cpu")
        across = across_link(
            alone, link, in_bytes=config.input_bytes_per_item, out_bytes=4 * config.outputs
        )
        times = [f"{across.ms(items) - alone.ms(items):.3f}" for items in LINK_ITEMS]
        rows.append((config.name, f"{config.input_bytes_per_item:,}", *times))
    return head, rows


def ssd_reads() -> dict[str, SsdTier]:
    """Return both drives, each reading a row for a row, and a page for a row."""
    drives = load_ssd("recpipe"), load_ssd("nvme")
    sizes = {"a row": drives[0].page_bytes, "a page": drives[1].page_bytes}
    return {
        f"{drive.name}, {what}": SsdTier.model_validate(drive.model_dump() | {"page_bytes": size})
        for drive in drives
        for what, size in sizes.items()
    }


def ssd_rows(profiles: Sequence[ServiceProfile]) -> Table:
    """What an SSD under the tables adds to one batch."""
    config = load_deeprec(SSD_MODEL)
    profile = find_profile(profiles, SSD_MODEL, "cpu")
    tiers = ssd_reads()
    head = ("tables on the SSD", "misses [%]", "hidden [%]", *(f"{name} [ms]" for name in tiers))
    rows = []
    for point in load_ssd("recpipe").points:
        found = [
            from_ssd(profile, tier, point, lookups_per_item=config.lookups_per_item)
            for tier in tiers.values()
        ]
        rows.append(
            (
                f"{100 * point.table_share:.1f} %",
                f"{100 * point.miss_rate:.1f}",
                f"{100 * point.hidden_share:.1f}",
                *(f"{each.ms(SSD_ITEMS):.2f}" for each in found),
            )
        )
    return head, rows


def deeprec_tables() -> dict[str, Table]:
    """Return every table of the page by its name."""
    configs = [load_deeprec(name) for name in deeprec_names()]
    profiles, cited = load_profiles(MEASURED), load_profiles(CITED)
    return {
        "sizes": size_rows(configs),
        "measured": time_rows(profiles, cited),
        "operators": mix_rows(load_mixes(OPERATORS)),
        "gpu": gpu_rows(profiles, cited),
        "link": link_rows(configs, profiles, load_platform(LINK_PLATFORM).link),
        "ssd": ssd_rows(profiles),
    }


def deeprec_values(tables: Mapping[str, Table]) -> dict[str, Any]:
    """Return the tables for machines: name -> rows of column -> cell."""
    return {
        name: [dict(zip(head, row, strict=True)) for row in rows]
        for name, (head, rows) in tables.items()
    }


def deeprec_text(tables: Mapping[str, Table]) -> str:
    """Return the page."""
    profiles = load_profiles(MEASURED)
    total = sum(load_deeprec(name).table_bytes for name in deeprec_names()) / 1e9
    mixes, link = load_mixes(OPERATORS), load_platform(LINK_PLATFORM).link
    idle = find_profile(profiles, SSD_MODEL, "cpu").ms(SSD_ITEMS)
    reads = ssd_reads()
    rates = "\n".join(f"* {name}: {tier.reads_per_s:,.0f}" for name, tier in reads.items())
    sizes = {tier.page_bytes for tier in reads.values()}
    sources = {p.source.replace(f"--model {p.model} ", "--model MODEL ") for p in profiles}
    commands = "\n".join(f"* {source}" for source in sorted(sources))
    return f"""# The models of DeepRecInfra

Written by `rpaccel deeprec` (`make deeprec`) from `workloads/deeprec/`, `spec/presets/ssd/` and
`scheduler/profiles/`.

## Sizes
Float32; {total:.1f} GB of tables in all, mapped one model at a time. MMAC: millions of
multiply-accumulates of one item. Low and high targets are assumed.

{markdown_table(*tables["sizes"])}
## Measured on a CPU [ms]
By items of a request, one thread, fresh uniform ids: lookups in compiled loops, everything else in
ONNX Runtime. Per item: between the last two sizes; on c5n.2xlarge as published (lines fitted to
the data of Kairos, which ports DeepRecSys' code: tanh layers in DIEN).

{markdown_table(*tables["measured"])}
{commands}

## What the time goes to [%]
{mixes[0].items} items, {mixes[0].repeats} requests of each model, scale_rows
{mixes[0].scale_rows:g} (`rpaccel profile operators`); published: Caffe2 on the paper's CPU.
DIEN's layers here include the input products of its second GRU. The artifact's configuration of
DIN runs 4 tables; here it has all behaviours.

{markdown_table(*tables["operators"])}
## GPUs
First batch that a GTX 1080 Ti answers before a CPU process, and the times above divided by its
published speed-up. T4: published speed-up over c5n.2xlarge at 100, 300 and 1000 items, by lines
fitted to Kairos' data. Input loading is in all of them. Not measured here.

{markdown_table(*tables["gpu"])}
## Across a link
Ids (4 bytes), dense values and logits of a request, there and back ({link.source}):
{1e6 * link.fixed_s:.0f} us each way and {link.bytes_per_s / 1e9:.2f} GB/s.

{markdown_table(*tables["link"])}
## Tables on an SSD
{SSD_ITEMS} items of {SSD_MODEL}, {idle:.2f} ms with all tables in memory; misses and hidden shares
of RecPipe's figure 13, the drive of its Table 3 (`recpipe`) and an assumed current one (`nvme`). A
miss reads a row of {min(sizes)} bytes or a page of {max(sizes):,}; at most the time in memory is
hidden. Reads a second:

{rates}

{markdown_table(*tables["ssd"])}"""
