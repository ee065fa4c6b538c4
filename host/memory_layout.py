"""Where the driver's queues, inputs and results lie in device memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rpaccel.host.compile import align
from rpaccel.host.retrieval import INPUT_BYTES
from rpaccel.spec.accelerator import AcceleratorConfig, is_power_of_two
from rpaccel.spec.isa import COMPLETION, DESCRIPTOR, RESULT, RETRIEVED, TASK_LOG
from rpaccel.spec.registers import RING_MODULO

PAGE = 4096


@dataclass(frozen=True, kw_only=True)
class MemoryLayout:
    """Ranges of device memory, from the top down; models lie below `models_limit`.

    Members [B]
    -----------
    regions : name -> base, limit. What the device both reads and writes is one region, `updates`:
        the queue of row updates, lists of ids that retrieval stages find, corpora.
    models_limit : first byte that is not for models.
    candidate_offset, retrieval_offset : in an input block.
    input_bytes, result_bytes, list_bytes : of a ring entry's input block, result block and list
        of found ids; the last is 0 for a machine without retrieval.
    lists : address of the first list. corpora : base, limit.
    """

    regions: Mapping[str, tuple[int, int]]
    models_limit: int
    candidate_offset: int
    retrieval_offset: int
    input_bytes: int
    result_bytes: int
    list_bytes: int
    lists: int
    corpora: tuple[int, int]

    def inputs(self, block: int) -> int:
        """Return the address of a ring entry's input block [bytes]."""
        return self.regions["inputs"][0] + block * self.input_bytes

    def results(self, block: int) -> int:
        """Return the address of a ring entry's result block [bytes]."""
        return self.regions["results"][0] + block * self.result_bytes

    def found(self, block: int) -> int:
        """Return the address of a ring entry's list of found ids [bytes]."""
        return self.lists + block * self.list_bytes


def check_entries(name: str, value: int, *, none: bool = True) -> None:
    """Raise ValueError unless `value` is a power of two a ring can have, or 0 if `none` may be."""
    if (none and not value) or (is_power_of_two(value) and value <= RING_MODULO // 2):
        return
    rule = "0 or a power of two" if none else "a power of two"
    raise ValueError(f"{name} must be {rule} in 1..{RING_MODULO // 2}, not {value}")


def lay_out(
    config: AcceleratorConfig,
    memory_bytes: int,
    *,
    memory_base: int = 0,
    depth: int,
    update_depth: int,
    task_log_entries: int,
    feature_bytes: int,
    corpus_bytes: int,
) -> MemoryLayout:
    """Place everything that the driver lends the device; arguments as of `host.driver.Driver`.

    Raises ValueError for a wrong number of entries, or a memory that is too small, does not begin
    with a page or ends beyond what the device can address.
    """
    last = (1 << config.axi_address_bits) - memory_bytes
    if last < 0:
        raise ValueError(
            f"memory_bytes must be at most {1 << config.axi_address_bits}, not {memory_bytes}"
        )
    if memory_base % PAGE or not 0 <= memory_base <= last:
        raise ValueError(
            f"memory_base must be a multiple of {PAGE} in 0..{last:#x}, not {memory_base:#x}"
        )
    check_entries("depth", depth, none=False)
    check_entries("task_log_entries", task_log_entries)
    check_entries("update_depth", update_depth)
    candidate_offset = align(config.user_record_bytes, 64)
    retrieval_offset = input_bytes = candidate_offset + align(4 * config.max_items, 64)
    result_bytes = align(RESULT.bytes * config.max_top_n, 64)
    list_bytes = 0
    if config.retrieval_queries:
        input_bytes += align(INPUT_BYTES, 64)
        result_bytes = max(result_bytes, RETRIEVED.bytes * config.retrieval_k_max)
        list_bytes = align(4 * config.retrieval_k_max, 64)
    sizes = {
        "submissions": depth * DESCRIPTOR.bytes,
        "completions": depth * COMPLETION.bytes + task_log_entries * TASK_LOG.bytes,
        "inputs": depth * input_bytes,
        "results": depth * result_bytes,
        "features": align(feature_bytes, PAGE),
    }
    lists = align(update_depth * config.update_entry_bytes, 64)
    corpora = align(lists + depth * list_bytes, PAGE)
    if corpora:
        sizes["updates"] = corpora + align(corpus_bytes, PAGE)
    regions: dict[str, tuple[int, int]] = {}
    top = memory_base + memory_bytes // PAGE * PAGE
    for name, length in sizes.items():
        base = top - align(length, PAGE)
        regions[name] = (base, base + align(length, 64))
        top = base
    if top < memory_base + PAGE:
        raise ValueError(
            f"memory_bytes must be at least {memory_base + memory_bytes - top + PAGE} for depth "
            f"{depth}, not {memory_bytes}"
        )
    base, limit = regions.get("updates", (0, 0))
    return MemoryLayout(
        regions=regions,
        models_limit=top,
        candidate_offset=candidate_offset,
        retrieval_offset=retrieval_offset,
        input_bytes=input_bytes,
        result_bytes=result_bytes,
        list_bytes=list_bytes,
        lists=base + lists,
        corpora=(base + corpora if corpora else 0, limit),
    )
