"""Tasks: the parts of a query's stage that lanes run, and what lanes say of them."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from rpaccel.rtl.interfaces import STATUS_BITS, struct
from rpaccel.rtl.record_reader import gather_start_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import EDGES, MAX_STAGES

__all__ = [
    "TASK_COUNTERS",
    "TASK_TIMES",
    "edges_note_layout",
    "lane_score_layout",
    "owner_layout",
    "task_done_layout",
    "task_layout",
]

TASK_COUNTERS = ("gather_cycles", "array_cycles", "interaction_cycles")
TASK_TIMES = ("given_at", "gathered_at", "computed_at", "first_score_at", "scored_at")


def owner_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Whose something is: the stage of the query in a funnel."""
    return data.StructLayout({"funnel": range(max(2, config.funnels)), "stage": range(MAX_STAGES)})


def task_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A part of a stage. Its ids come from memory if `listed`, else from the funnel, in order.

    gather : of these items; `user_bank` is the lane's to choose.
    """
    return data.StructLayout(
        {
            "owner": owner_layout(config),
            "model": range(max(2, config.model_slots)),
            "listed": unsigned(1),
            "list_address": unsigned(config.axi_address_bits),
            "gather": gather_start_layout(config),
        }
    )


def lane_score_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A score on its way to a funnel. last : of its task. status : of the task, with its last."""
    return data.StructLayout(
        {
            "owner": owner_layout(config),
            "id": unsigned(32),
            "logit": signed(16),
            "ctr": unsigned(16),
            "last": unsigned(1),
            "status": unsigned(STATUS_BITS),
        }
    )


def task_done_layout(config: AcceleratorConfig) -> data.StructLayout:
    """The end of a task: cycles in which units worked for it, and its times (spec.isa.TASK_LOG).

    lost : the lane was reset, and all else is 0.
    """
    words = {name: unsigned(32) for name in ("items", *TASK_COUNTERS, *TASK_TIMES)}
    return data.StructLayout({"owner": owner_layout(config), "lost": unsigned(1), **words})


def edges_note_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Bins of the filter after a stage: those of the stage's model."""
    return data.StructLayout({"owner": owner_layout(config), "edges": struct(EDGES)})
