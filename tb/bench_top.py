"""All units side by side in one netlist, so that one simulator build serves every unit bench."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from rpaccel.rtl.bucket_filter import BucketFilter
from rpaccel.rtl.compute_core import ComputeCore
from rpaccel.rtl.gather import Gather
from rpaccel.rtl.list_reader import ListReader
from rpaccel.rtl.ordered_top_n import OrderedTopN
from rpaccel.rtl.requantise import Requantise
from rpaccel.rtl.retrieval_filter import ScoreFilter
from rpaccel.rtl.sigmoid import Sigmoid
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.retrieval import RetrievalConfig

__all__ = ["FILTER", "UNITS", "BenchTop"]

# `tiny` retrieves nothing: a small filter of its own.
FILTER = RetrievalConfig(
    lanes=4, k_max=40, score_bits=14, id_bits=12, fifo_depth=16, generation_bits=2
)

UNITS: dict[str, Callable[[AcceleratorConfig], wiring.Component]] = {
    "bucket_filter": BucketFilter,
    "compute_core": ComputeCore,
    "gather": Gather,
    "list_reader": ListReader,
    "ordered_top_n": OrderedTopN,
    "requantise": lambda _: Requantise(),
    "score_filter": lambda _: ScoreFilter(FILTER),
    "sigmoid": lambda _: Sigmoid(),
}


class BenchTop(wiring.Component):
    """The named units of `UNITS`, their members as ports `<unit>__<member>`."""

    def __init__(self, config: AcceleratorConfig, units: Sequence[str] = tuple(UNITS)) -> None:
        self.config = config
        self.units = {name: UNITS[name](config) for name in units}
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            # leaf by leaf: Amaranth 0.5 cannot flip an interface that holds arrays of interfaces
            outer = unit.signature.flatten(getattr(self, name))
            for (_, member, port), (_, _, inner) in zip(
                outer, unit.signature.flatten(unit), strict=True
            ):
                m.d.comb += port.eq(inner) if member.flow is Out else inner.eq(port)
        return m
