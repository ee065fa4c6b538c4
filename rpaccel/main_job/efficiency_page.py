"""The page of `rpaccel efficiency`: what was measured, beside bounds and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rpaccel.main_job.efficiency import Efficiency
from rpaccel.main_job.markdown import markdown_table

__all__ = ["efficiency_text"]


def _share(part: float) -> str:
    return f"{100 * part:.1f}"


def _share_row(result: Efficiency) -> list[str]:
    names = (
        "bound", "whole", "whole_of_bound", "steady", "steady_of_bound", "occupancy",
        "steady_occupancy", "interaction_occupancy", "scale_sim_efficiency",
        "scale_sim_stacked_efficiency",
    )  # fmt: skip
    values = result.values
    return [*_place(result), str(result.pass_items), *(_share(values[name]) for name in names)]


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
    """Return the shares of the bound that `items` reach in other passes."""
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
    share_head = ["pass", "bound", "whole run", "of bound", "steady", "of bound", "array busy",
                  "steady", "interaction busy", "SCALE-Sim", "SCALE-Sim stacked"]  # fmt: skip
    cycle_head = ["MACs / item", "tiles / item", "cycles", "perf model", "difference",
                  "cycles / sub-batch", "tiles x items", "SCALE-Sim stacked",
                  "SCALE-Sim"]  # fmt: skip
    return _TEXT.format(
        sub_batches=first.sub_batches,
        sub_batch=first.sub_batch,
        shares=markdown_table([*head, *share_head], [_share_row(result) for result in results]),
        cycles=markdown_table([*head, *cycle_head], [_cycle_row(result) for result in results]),
        passes=markdown_table(
            [*head, *map(str, first.passes)],
            [_pass_row(x, x.passes, x.sub_batches * x.sub_batch) for x in results],
        ),
        alone=markdown_table(
            [*head, *map(str, first.passes_alone)],
            [_pass_row(x, x.passes_alone, x.sub_batch) for x in results],
        ),
        longer=markdown_table(
            [*head, *map(str, first.longer)], [_longer_row(result) for result in results]
        ),
    )


_TEXT = """\
# MAC efficiency of the compute core, measured in RTL

Written by `rpaccel efficiency` (`make efficiency`): the generated Verilog of the compute core runs
{sub_batches} sub-batches of {sub_batch} items with random int8 parameters; every logit and
click-through rate equals the golden model's. The core walks through them in passes of as many items
as the compiler chooses (`perfmodel/sub_batch.py`); data of the next passes are written into the two
banks while it computes.

## Efficiency [%]

Useful MACs of the layers / (A x A x cycles). Bound: what the folds allow, stacking included (useful
MACs / (tiles x A x A)). Whole run: first pass taken to last score; fill, drain, exposed loads and
the last pass's interaction count. Steady: from pass to pass in the middle.
SCALE-Sim: closed form, layer after layer, weight loads exposed, interaction left out.

{shares}
## Cycles

Difference: the largest between the RTL and the performance model over the times of all transfers,
releases and last scores and the busy cycles of array and interaction. Cycles per sub-batch: steady.

{cycles}
## Other passes, by the performance model [% of the bound]

A run pays once for filling and draining, which is mostly one interaction without a layer beside it:
short passes make that shorter, but a weight tile takes max(items, 2 b) cycles, and a layer waits
for the results of the one before. The run above, in passes of so many items:

{passes}
One sub-batch of {sub_batch} items alone, from an idle core to the last score:

{alone}
## Longer runs, by the performance model [% of the bound]

The same passes, so many sub-batches of {sub_batch} items: filling and draining are paid once.
`--sub-batches` runs them in RTL.

{longer}"""
