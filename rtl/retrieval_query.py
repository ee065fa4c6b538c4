"""What goes into the retriever, waits in it, and comes out of it."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data

from rpaccel.rtl.interfaces import STATUS_BITS, descriptor_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.registers import RETRIEVAL_COUNTERS

__all__ = [
    "found_layout", "note_layout", "passed_layout", "retrieval_counters_layout", "retrieve_layout"
]  # fmt: skip


def retrieve_layout() -> data.StructLayout:
    """A checked query whose stage 0 retrieves, and when it was fetched and accepted (`clock`)."""
    return data.StructLayout(
        {
            "descriptor": descriptor_layout(),
            "fetched_at": unsigned(32),
            "accepted_at": unsigned(32),
        }
    )


def note_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A query of a scan that has begun.

    list : where the ids go if a stage follows. floor : it has one. rows : of the corpus.
    epoch : row updates dealt with before the scan. status : of what was read for it.
    """
    return data.StructLayout(
        {
            "query": retrieve_layout(),
            "list": unsigned(config.axi_address_bits),
            "floor": unsigned(1),
            "rows": unsigned(32),
            "epoch": unsigned(16),
            "status": unsigned(STATUS_BITS),
        }
    )


def found_layout() -> data.StructLayout:
    """Of a RETRIEVE stage: what its query's completion says of it (spec.isa.COMPLETION)."""
    return data.StructLayout(
        {
            "fetched_at": unsigned(32),
            "accepted_at": unsigned(32),
            "rows": unsigned(32),
            "scan_cycles": unsigned(32),
            "beats": unsigned(32),
            "epoch": unsigned(16),
            "stalled_cycles": unsigned(32),
            "overshoot": unsigned(32),
            "flags": unsigned(8),
        }
    )


def retrieval_counters_layout() -> data.StructLayout:
    """Counters of a retriever since reset; beats and waits are added up over its queries."""
    return data.StructLayout(dict.fromkeys(RETRIEVAL_COUNTERS, unsigned(32)))


def passed_layout() -> data.StructLayout:
    """A query that goes on to a funnel: its other stages, from 0 on, and its stage that was."""
    return data.StructLayout({"descriptor": descriptor_layout(), "found": found_layout()})
