"""The candidates of a joint search: every pipeline of a space, and genes for a search that jumps.

Inactive choices (requests of a pipeline without a stage that is cut, lanes of one without the card,
...) have one value, so that no pipeline is there twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from rpaccel.scheduler.funnel_quality import Funnel, QualityTable
from rpaccel.scheduler.recpipe_node import Design, Node
from rpaccel.spec.recpipe import RecPipeSpec

__all__ = ["MOST_STAGES", "RecPipeSpace"]

MOST_STAGES = 3  # ranking stages


@dataclass(frozen=True, kw_only=True)
class RecPipeSpace:
    """Pipelines whose quality is known and which the node can run, crossed with loads."""

    spec: RecPipeSpec
    node: Node
    quality: QualityTable

    @cached_property
    def funnels(self) -> tuple[Funnel, ...]:
        """Funnels of the space, sorted."""
        spec = self.spec
        rows = (0, *spec.retrieval.k)
        return tuple(
            funnel
            for funnel in self.quality.funnels
            if len(funnel.models) in spec.stages
            and set(funnel.models) <= set(spec.models)
            and funnel.retrieval_k in rows
        )

    @cached_property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Values of every gene by name; a stage has its device, the load is the last one."""
        spec = self.spec
        devices = {f"device{stage}": spec.devices for stage in range(MOST_STAGES)}
        return {
            "funnel": self.funnels,
            **devices,
            "retrieval": spec.retrieval.devices,
            "shards": spec.retrieval.shards,
            "batch": spec.batch_items,
            "split": tuple(str(split) for split in spec.splits),
            "sub_batches": spec.sub_batches,
            "load": spec.loads_qps,
        }

    def design(self, genes: Sequence[int]) -> Design:
        """Return the pipeline of genes, each a place on its axis; inactive ones do not matter."""
        chosen = {
            name: values[gene]
            for (name, values), gene in zip(self.axes.items(), genes, strict=True)
            if values
        }
        funnel: Funnel = chosen["funnel"]
        devices = tuple(chosen[f"device{stage}"] for stage in range(len(funnel.models)))
        card, found = "accelerator" in devices, bool(funnel.retrieval_k)
        return Design(
            funnel=funnel,
            devices=devices,
            retrieval=chosen["retrieval"] if found else "",
            shards=chosen["shards"] if found else 0,
            batch=chosen["batch"] if self.node.cuts(devices) else 0,
            split=chosen["split"] if card else "",
            sub_batches=chosen["sub_batches"] if card else 0,
        )

    def legal(self, design: Design) -> bool:
        """Whether its quality is known and the node runs it."""
        known = self.quality.find(design.funnel, design.devices) is not None
        return known and self.node.refusal(design) is None

    def designs(self) -> Iterator[Design]:
        """Yield every pipeline once, in order."""
        spec = self.spec
        splits = tuple(str(split) for split in spec.splits)
        for funnel in self.funnels:
            scans: Sequence[tuple[str, int]] = [("", 0)]
            if funnel.retrieval_k:
                scans = list(product(spec.retrieval.devices, spec.retrieval.shards))
            for devices in product(spec.devices, repeat=len(funnel.models)):
                card = "accelerator" in devices
                for (device, shards), batch, split, tasks in product(
                    scans,
                    spec.batch_items if self.node.cuts(devices) else (0,),
                    splits if card else ("",),
                    spec.sub_batches if card else (0,),
                ):
                    design = Design(
                        funnel=funnel,
                        devices=devices,
                        retrieval=device,
                        shards=shards,
                        batch=batch,
                        split=split,
                        sub_batches=tasks,
                    )
                    if self.legal(design):
                        yield design
