"""Cycles of the memory fabric on an idle port. Exact: equal to the RTL (test_memory_fabric)."""

from __future__ import annotations

REGION_CHECK_CYCLES = 2  # request to AR, or to the write channel
RESPONSE_CYCLES = 1  # ReadChannel: R to the answer
ORDER_CYCLES = 2  # ReadOrder: answer to the requester
QUEUE_CYCLES = 2  # RowBank: rows before a bank, and FreeList: SyncFIFOBuffered
LOOKUP_CYCLES = 4  # RowFront: static cache, where there is one
LOOK_CYCLES = 3  # RowBank: look-ahead cache
RESOLVE_CYCLES = 1  # RowBank: the cache's answer to what is made of it
BUFFER_CYCLES = 1  # RowBank: StreamBuffer of answers, and of bursts
STORE_CYCLES = 3  # RowBank: memory's answer until it enters the cache
# RowBank: a row of one beat that misses, to the request to memory; or that hits, to its answer
BANK_REQUEST_CYCLES = QUEUE_CYCLES + LOOK_CYCLES + RESOLVE_CYCLES + BUFFER_CYCLES
BANK_HIT_CYCLES = BANK_REQUEST_CYCLES
# RowBank: memory's answer to the bank's
BANK_FILL_CYCLES = STORE_CYCLES + LOOK_CYCLES + RESOLVE_CYCLES + BUFFER_CYCLES
WRITE_STEPS = 2  # write channel: take the burst; notice its last beat


def read_cycles(memory_cycles: int) -> int:
    """Return the cycles from a request taken to its first beat taken.

    memory_cycles : AR taken to first R beat taken. Further beats and requests take 1 cycle each.
    """
    return REGION_CHECK_CYCLES + memory_cycles + RESPONSE_CYCLES + ORDER_CYCLES


def lookup_cycles(static_cache_lines: int) -> int:
    """Return the cycles that a bank's static cache of so many lines takes before all else."""
    return LOOKUP_CYCLES if static_cache_lines else 0


def row_cycles(memory_cycles: int | None, beats: int = 1, lookup: int = 0) -> int:
    """Return the cycles from a row's request to its first beat taken, nothing else on the way.

    memory_cycles : AR taken to first R beat taken; None: the row hits in the look-ahead cache.
    lookup : `lookup_cycles` of the bank.
    """
    if memory_cycles is None:
        return lookup + BANK_HIT_CYCLES + ORDER_CYCLES
    asked = lookup + BANK_REQUEST_CYCLES + beats - 1  # a burst is due with the row's last beat
    return asked + read_cycles(memory_cycles) + BANK_FILL_CYCLES


def pinned_row_cycles() -> int:
    """Return the cycles from a pinned row's request to its first beat taken."""
    return QUEUE_CYCLES + LOOKUP_CYCLES + BUFFER_CYCLES + ORDER_CYCLES


def write_cycles(beats: int, memory_cycles: int) -> int:
    """Return the cycles from a write request taken to its response taken.

    memory_cycles : last W beat taken to B valid; the port never stalls, the payload waits.
    """
    last_beat = REGION_CHECK_CYCLES + beats
    return last_beat + max(WRITE_STEPS, memory_cycles) + 1
