"""Cycles of the memory fabric on an idle port. Exact: equal to the RTL (test_memory_fabric)."""

from __future__ import annotations

REGION_CHECK_CYCLES = 2  # request to AR, or to the write channel
RESPONSE_CYCLES = 1  # R to the requester
WRITE_STEPS = 2  # write channel: take the burst; notice its last beat


def read_cycles(memory_cycles: int) -> int:
    """Return the cycles from a request taken to its first beat taken.

    memory_cycles : AR taken to first R beat taken. Further beats and requests take 1 cycle each.
    """
    return REGION_CHECK_CYCLES + memory_cycles + RESPONSE_CYCLES


def write_cycles(beats: int, memory_cycles: int) -> int:
    """Return the cycles from a write request taken to its response taken.

    memory_cycles : last W beat taken to B valid; the port never stalls, the payload waits.
    """
    last_beat = REGION_CHECK_CYCLES + beats
    return last_beat + max(WRITE_STEPS, memory_cycles) + 1
