"""Rows of an ablation on the netlist that was not run, for tests of its pages."""

from rpaccel.main_job.ablation_rtl_causes import Causes, Use, Waits
from rpaccel.main_job.ablation_rtl_rows import (
    Figure,
    HostTimes,
    RtlAblation,
    RtlAsk,
    RtlRow,
    Speed,
    card_of,
)
from rpaccel.scheduler.ablation import designs
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import load_platform

DEFAULT, PAPER = load_accelerator("default"), load_platform("paper")
PLATFORM = card_of(DEFAULT)
DESIGNS = {design.name: design for design in designs()}
CAUSES = Causes(
    uses={
        "RMlarge, whole array": Use(array=217, gather=50),
        "RMlarge, four quarters": Use(array=215.5, gather=13),
        "RMsmall, whole array": Use(array=29, gather=50.1),
    },
    paper={
        "RMlarge, whole array": Use(array=17, gather=2),
        "RMlarge, four quarters": Use(array=15.25, gather=2),
        "RMsmall, whole array": Use(array=6, gather=2),
    },
    waits={
        "O.1 alone": Waits(changes=0.25, cycles=3854),
        "O.1 to O.2": Waits(changes=1, cycles=20571),
    },
)


def row(name, alone, per_query, **options):
    figure = Figure(alone=alone, per_query=per_query, hits=0.5)
    fields = {
        "design": DESIGNS[name],
        "in_flight": 2,
        "clock_hz": 250e6,
        "host": HostTimes.of(DESIGNS[name], 128, PLATFORM),
        "rtl": figure,
        "model": figure,
        "steady": per_query,
        "paper": Speed(latency_ms=1e5 / alone, qps=1e5 / per_query),
    }
    return RtlRow(**(fields | options))


def study(*rows, larger=None):
    return RtlAblation(
        ask=RtlAsk(), rows=rows, larger=larger or {}, causes=CAUSES, queries=7, cycles=10**6,
        cpu_seconds=60.0,
    )  # fmt: skip
