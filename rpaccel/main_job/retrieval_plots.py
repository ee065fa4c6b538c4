"""Plots of `rpaccel retrieval-study`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rpaccel.main_job.cache_plots import COLOURS, new_axes, save_figure
from rpaccel.main_job.retrieval_board_page import (
    CLOCKS_HZ,
    PAPER_QUERIES,
    design_of,
    goal_batch,
    snary_at,
)
from rpaccel.main_job.retrieval_study import CHANNELS, CLOCK_HZ, RetrievalStudy
from rpaccel.perfmodel.retrieval_board import CORPUS_BANDS
from rpaccel.results import RunFolder

__all__ = ["write_retrieval"]


def write_retrieval(study: RetrievalStudy, values: object, out: Path) -> list[Path]:
    """Write figures and plots to `out`; return the files."""
    folder = RunFolder(out)
    return [
        folder.write_json("retrieval", values),
        *_latency(study, out),
        *_rate(study, out),
        *_devices(study, out),
    ]


def _latency(study: RetrievalStudy, out: Path) -> list[Path]:
    figure, axes = new_axes()
    corpora = np.linspace(0.25e6, 12e6, 48)
    snary = np.array([snary_at(study.k).latency_s(rows) for rows in corpora])
    faery = [CORPUS_BANDS["FAERY"].latency_s(latency) for latency in snary]
    millions = corpora / 1e6
    axes.plot(millions, 1e3 * snary, color=COLOURS[0], label="SNARY, 16 channels")
    axes.fill_between(millions, [1e3 * band.low for band in faery],
                      [1e3 * band.high for band in faery], color=COLOURS[1], alpha=0.3,
                      label="FAERY on SNARY's board")  # fmt: skip
    for (channels, beat), colour in zip(study.constants, (*COLOURS[2:], "#9d755d"), strict=False):
        design = design_of(study, channels, beat, 1)
        rest = study.constants[channels, beat].total / CLOCK_HZ
        axes.plot(millions, [1e3 * (design.scan_s(rows) + rest) for rows in corpora], "--",
                  color=colour, label=f"ours, {channels} x {beat} B")  # fmt: skip
    axes.axhline(10, color="grey", linewidth=0.8)
    axes.set_ylim(0, 20)
    _label(axes, "rows of 128 bytes [million]", f"latency of a query, K = {study.k} [ms]")
    return save_figure(figure, out, "latency")


def _rate(study: RetrievalStudy, out: Path) -> list[Path]:
    figure, axes = new_axes()
    clocks = np.array(CLOCKS_HZ)
    for channels, colour in zip(CHANNELS, COLOURS, strict=False):
        for queries, line in (
            (PAPER_QUERIES, "--"),
            (goal_batch(study, channels, 32, CLOCK_HZ), "-"),
        ):
            rates = [queries / design_of(study, channels, 32, 1, clock).scan_s(study.rows)
                     for clock in clocks]  # fmt: skip
            axes.plot(clocks / 1e6, rates, f"o{line}", markersize=4, color=colour,
                      label=f"{channels} channels, {queries} queries per scan")  # fmt: skip
    snary = snary_at(study.k).queries_per_s(study.rows)
    axes.axhline(snary, color="grey", linewidth=0.8, label="SNARY")
    axes.axhline(3 * snary, color="grey", linewidth=0.8, linestyle=":", label="3 x SNARY")
    axes.set_ylim(bottom=0)
    _label(axes, "clock [MHz]", f"rate, {study.rows:,} rows, K = {study.k} [queries/s]")
    return save_figure(figure, out, "rate")


def _devices(study: RetrievalStudy, out: Path) -> list[Path]:
    figure, panels = new_axes(2, width=11.0, share=False)
    devices = [row.devices for row in study.scale]
    kinds = (("copies", "copies"), ("shards", "shards, K rows"), ("short", "shards, k' rows"))
    for (name, label), colour in zip(kinds, COLOURS, strict=False):
        scaled = [getattr(row, name) for row in study.scale]
        panels[0].plot(devices, [s.queries_per_s for s in scaled], "o-", color=colour, label=label)
        panels[1].plot(devices, [1e3 * s.latency_s for s in scaled], "o-", color=colour,
                       label=label)  # fmt: skip
    for axes in panels:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
    _label(panels[0], "devices", "rate [queries/s]")
    _label(panels[1], "devices", "latency of a query [ms]")
    return save_figure(figure, out, "devices")


def _label(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
