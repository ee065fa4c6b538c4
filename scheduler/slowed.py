"""How much it matters that requests to a host slow each other down: tails with less and more of it.

Pipelines on the CPU alone that reach a quality, by the number of their stages: at each load the
shortest tail of all, and of those whose stages are one request each, as RecPipe runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rpaccel.scheduler.arrivals import Floats
from rpaccel.scheduler.recpipe_evaluate import Evaluator
from rpaccel.scheduler.recpipe_node import Design
from rpaccel.scheduler.recpipe_space import RecPipeSpace

__all__ = ["SHARES", "SlowedTail", "slowed_tails"]

SHARES = (0.0, 0.5, 1.0, 1.5)  # of the slowdown that the space has


@dataclass(frozen=True, kw_only=True)
class SlowedTail:
    """The shortest tails at a load. whole : every stage is one request.

    tails_ms : of each of SHARES; infinite where nothing settles.
    """

    stages: int
    whole: bool
    load_qps: float
    tails_ms: tuple[float, ...]


def slowed_tails(
    space: RecPipeSpace, evaluator: Evaluator, loads_qps: Sequence[float]
) -> tuple[SlowedTail, ...]:
    """Return the tails of pipelines of the slice's quality; () if the CPU has no slowdown."""
    hosts = space.node.hosts
    if "cpu" not in hosts or hosts["cpu"].slowdown == 0:
        return ()
    alone = [
        design for design in space.designs()
        if {*design.devices, design.retrieval} <= {"cpu", ""}
    ]  # fmt: skip
    quality = evaluator.qualities(alone)
    designs = [
        design for design, value in zip(alone, quality, strict=True)
        if value >= space.spec.slices.quality
    ]  # fmt: skip
    found = [_tails_ms(space, evaluator, designs, loads_qps, share) for share in SHARES]
    kinds = sorted({(len(design.devices), whole) for design in designs for whole in (False, True)})
    rows = []
    for stages, whole in kinds:
        there = [
            place for place, design in enumerate(designs)
            if len(design.devices) == stages and not (whole and design.batch)
        ]  # fmt: skip
        for at, load in enumerate(loads_qps):
            tails = tuple(float(tails[there, at].min(initial=np.inf)) for tails in found)
            rows.append(SlowedTail(stages=stages, whole=whole, load_qps=load, tails_ms=tails))
    return tuple(rows)


def _tails_ms(
    space: RecPipeSpace,
    evaluator: Evaluator,
    designs: Sequence[Design],
    loads_qps: Sequence[float],
    share: float,
) -> Floats:
    """Return float64[designs, loads] tails with a share of the slowdown [ms]."""
    node = space.node
    hosts = {
        name: replace(host, slowdown=share * host.slowdown) for name, host in node.hosts.items()
    }
    other = Evaluator(
        replace(node, hosts=hosts), space.quality, percentile=evaluator.percentile,
        queries=evaluator.queries, seed=evaluator.seed,
    )  # fmt: skip
    row = np.repeat(np.arange(len(designs)), len(loads_qps))
    loads = np.tile(np.asarray(loads_qps, np.float64), len(designs))
    table = other.table(designs)
    measures = other.measure(table, row, loads, other.qualities(designs))
    return measures.tail_ms.reshape(len(designs), len(loads_qps))
