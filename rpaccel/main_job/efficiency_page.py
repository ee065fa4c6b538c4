"""The page of `rpaccel efficiency`: what was measured, beside bounds and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rpaccel.main_job.efficiency import Efficiency
from rpaccel.main_job.markdown import markdown_table

__all__ = ["efficiency_text"]


def _share(part: float) -> str:
    return f"{100 * part:.1f}"


def _share_row(result: Efficiency) -> list[str]:
    names = (
        "bound", "whole", "whole_of_bound", "cold", "cold_of_bound", "steady", "steady_of_bound",
        "occupancy", "steady_occupancy", "interaction_occupancy", "scale_sim_efficiency",
        "scale_sim_stacked_efficiency",
    )  # fmt: skip
    values = result.values
    return [*_place(result), *(_share(values[name]) for name in names)]


def _plan(passes: Sequence[int]) -> str:
    """Return passes as "512, 8 x 768, 256"."""
    groups = ((items, len(list(equal))) for items, equal in groupby(passes))
    return ", ".join(f"{count} x {items}" if count > 1 else str(items) for items, count in groups)


def _plan_row(result: Efficiency) -> list[str]:
    return [*_place(result), _plan(result.passes), _plan(result.cold_passes)]


def _cycle_row(result: Efficiency) -> list[str]:
    numbers = (
        result.macs, result.tiles, result.cycles, result.model_cycles, result.difference,
        round(result.steady_sub_batch_cycles), result.tiles * result.sub_batch,
        result.scale_sim_stacked, result.scale_sim,
    )  # fmt: skip
    return [*_place(result), *(f"{number:,}" for number in numbers)]


def _of_bound(result: Efficiency, items: int, cycles: int) -> str:
    return _share(result.efficiency(items * result.macs, cycles) / result.bound)


def _pass_row(result: Efficiency, passes: Mapping[int, int], items: int) -> list[str]:
    """Return the shares of the bound that `items` reach in equal passes."""
    return [*_place(result), *(_of_bound(result, items, cycles) for cycles in passes.values())]


def _longer_row(result: Efficiency) -> list[str]:
    """Return the shares of the bound that longer runs reach."""
    shares = (
        _of_bound(result, batches * result.sub_batch, cycles)
        for batches, cycles in result.longer.items()
    )
    return [*_place(result), *shares]


def _place(result: Efficiency) -> list[str]:
    return [f"{result.array_size} / {result.block_size}", result.model]


def efficiency_text(results: Sequence[Efficiency]) -> str:
    """Return the Markdown of `results`; the same results give the same bytes."""
    first = results[0]
    head = ["A / block", "model"]
    share_head = ["bound", "whole run", "of bound", "one cold", "of bound", "steady", "of bound",
                  "array busy", "steady", "interaction busy", "SCALE-Sim",
                  "SCALE-Sim stacked"]  # fmt: skip
    cycle_head = ["MACs / item", "tiles / item", "cycles", "perf model", "difference",
                  "cycles / sub-batch", "tiles x items", "SCALE-Sim stacked",
                  "SCALE-Sim"]  # fmt: skip
    return _TEXT.format(
        sub_batches=first.sub_batches,
        sub_batch=first.sub_batch,
        shares=markdown_table([*head, *share_head], [_share_row(result) for result in results]),
        cycles=markdown_table([*head, *cycle_head], [_cycle_row(result) for result in results]),
        plans=markdown_table(
            [*head, "run", "one cold sub-batch"], [_plan_row(result) for result in results]
        ),
        equal=markdown_table(
            [*head, *map(str, first.equal)],
            [_pass_row(x, x.equal, x.sub_batches * x.sub_batch) for x in results],
        ),
        equal_cold=markdown_table(
            [*head, *map(str, first.equal_cold)],
            [_pass_row(x, x.equal_cold, x.sub_batch) for x in results],
        ),
        longer=markdown_table(
            [*head, *map(str, first.longer)], [_longer_row(result) for result in results]
        ),
    )


_TEXT = """\
# MAC efficiency of the compute core, measured in RTL

Written by `rpaccel efficiency` (`make efficiency`): the generated Verilog of the compute core runs
{sub_batches} sub-batches of {sub_batch} items with random int8 parameters; every logit and
click-through rate equals the golden model's. The core walks through them in passes, whose sizes are
below; data of the next passes are written into the two banks while it computes.

## Efficiency [%]

Useful MACs of the layers / (A x A x cycles). Bound: what the folds allow, stacking included (useful
MACs / (tiles x A x A)). Whole run: first pass taken to last score; fill, drain, exposed loads and
the last pass's interaction count. One cold: the same for one sub-batch of {sub_batch} items alone,
from an idle core, in RTL too. Steady: from pass to pass among the equal ones in the middle.
SCALE-Sim: closed form, layer after layer, weight loads exposed, interaction left out.

{shares}
## Passes [items]

A run pays once for filling and draining, which is mostly one interaction without a layer beside it:
a short pass makes that shorter, but a weight tile takes max(items, 2 b) cycles, and a layer waits
for the results of the one before. So a pass plan begins with short passes, each twice the one
before, goes on with equal ones, and ends with passes that are half the one before; what the equal
ones leave over is one more of the last. `perfmodel/pass_plan.py` places all such plans by the
performance model, sizes being powers of two (of the equal ones also three times such) from 2 b up
to what fits, with any part of the beginning and of the end left out, and takes the fastest; nothing
is set by hand.

{plans}
The core takes passes of any size, each with its own number of items. The device's gather does not
make such plans: it cuts a stage into equal sub-batches (`sub_batch` of the descriptor or of the
model) of which the last one may be smaller. So the whole runs above are what the core reaches if it
is fed so, and the tables of equal passes are what the device's sub-batches reach.

## Equal passes, by the performance model [% of the bound]

The run above, in passes of so many items each:

{equal}
One sub-batch of {sub_batch} items alone, from an idle core to the last score:

{equal_cold}
## Cycles

Difference: the largest between the RTL and the performance model over the times of all transfers,
releases and last scores and the busy cycles of array and interaction, of the run and of the cold
sub-batch. Cycles per sub-batch: steady.

{cycles}
## Longer runs, by the performance model [% of the bound]

The same head and tail with more equal passes between, so many sub-batches of {sub_batch} items:
filling and draining are paid once. `--sub-batches` runs them in RTL.

{longer}"""
