"""Why signs on a netlist are not those of `paper`: what an item takes, what changes of model cost.

By the model: a lane's cycles per item on both machines, and how long a lane's gather stands still
because the array works on another model (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from rpaccel.host.records import padded_record_bytes
from rpaccel.main_job.ablation_rtl_machine import Place, Questions
from rpaccel.main_job.ablation_rtl_model import Predicted, lane_shapes
from rpaccel.perfmodel.memory import RecordSizes
from rpaccel.perfmodel.task_profile import task_profile
from rpaccel.scheduler.ablation import Design, Setup, lane_use
from rpaccel.spec.platform import MemoryTiming

__all__ = ["Causes", "Use", "Waits", "find_causes", "paper_uses", "waits_of"]

# A stage of a design, on one of its lanes: name -> (design, number of the stage).
STAGES = {
    "RMlarge, whole array": ("base", 0),
    "RMlarge, four quarters": ("O.3 alone", 0),
    "RMsmall, whole array": ("O.1 alone", 0),
}


@dataclass(frozen=True, kw_only=True)
class Use:
    """Cycles per item of all lanes of a stage together: of their arrays, of their gathers."""

    array: float
    gather: float


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Of a query: changes of the lane's model, and cycles of its gather from task to task then.

    In these cycles the array works on the model before.
    """

    changes: float
    cycles: float


@dataclass(frozen=True, kw_only=True)
class Causes:
    """uses, paper : by STAGES, of the netlist's machine and of `paper`. waits : by design."""

    uses: Mapping[str, Use]
    paper: Mapping[str, Use]
    waits: Mapping[str, Waits]


def paper_uses() -> dict[str, Use]:
    """Return STAGES on `paper`."""
    found = {}
    for name, (design, number) in STAGES.items():
        ideas = frozenset() if design == "base" else frozenset({design.split()[0]})
        setup = Setup(Design(name=design, ideas=ideas))
        stage = setup.stages[number]
        use = lane_use(setup, stage, stage.lanes[0])
        count = len(stage.lanes)
        found[name] = Use(array=use["array"] / count, gather=use["gather"] / count)
    return found


def _use(
    place: Place, questions: Questions, said: Predicted, number: int, memory: MemoryTiming
) -> Use:
    """Return a stage's use of the netlist's machine."""
    config, schema = questions.config, questions.models.workload.schema
    model = questions.models.rankers[questions.stages[number][0]].name
    lanes = place.image_of(model)[1]
    if place.name == "whole":
        lanes = lanes[:1]
    shape = lane_shapes(place)[lanes[0]][model]
    items = shape.slot["sub_batch"]
    profile = task_profile(
        config.lane(lanes[0]),
        shape,
        items,
        0,
        memory,
        RecordSizes(
            user_bytes=padded_record_bytes(schema, "user", config),
            item_bytes=padded_record_bytes(schema, "item", config),
        ),
        first=False,
        row_hits=said.row_hits[model],
    )
    each = items * len(lanes)
    return Use(array=profile.array / each, gather=sum(w for _, w, _ in profile.batches) / each)


def waits_of(questions: Questions, said: Predicted, queries: int) -> Waits:
    """Return what changes of model cost a query, of `queries` asked, one task a stage, one lane.

    said : with sub-batches.
    """
    report = said.report
    begun: dict[tuple[int, int], int] = {}
    ended: dict[tuple[int, int], int] = {}
    for batch in report.sub_batches:
        begun.setdefault((batch.query, batch.stage), batch.gathering)
        ended[batch.query, batch.stage] = batch.gathered
    tasks = sorted(report.tasks, key=lambda task: begun[task.query, task.stage])
    changes = cycles = 0
    for before, after in pairwise(tasks):
        # second parts of queries are behind all first ones
        models = [t.query // queries if questions.parts == 2 else t.stage for t in (before, after)]
        if models[0] != models[1]:
            changes += 1
            cycles += begun[after.query, after.stage] - ended[before.query, before.stage]
    return Waits(changes=changes / queries, cycles=cycles / queries)


def find_causes(
    places: Mapping[str, Place],
    asked: Mapping[str, Questions],
    said: Mapping[str, Predicted],
    memory: MemoryTiming,
    queries: Mapping[str, int],
) -> Causes:
    """Return the causes of the designs that were asked.

    said : of each design's load, with sub-batches; queries : of that load.
    """
    uses = {
        name: _use(places[asked[design].name], asked[design], said[design], number, memory)
        for name, (design, number) in STAGES.items()
        if design in asked
    }
    waits = {
        name: waits_of(asked[name], said[name], queries[name])
        for name in ("O.1 alone", "O.1 to O.2")
        if name in asked
    }
    return Causes(uses=uses, paper=paper_uses(), waits=waits)
