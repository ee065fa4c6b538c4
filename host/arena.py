"""First-fit allocation of device memory."""

from __future__ import annotations


class Arena:
    """A range of device memory handed out in aligned blocks.

    name : used in errors. base, limit : first byte and first byte after.
    """

    def __init__(self, name: str, base: int, limit: int) -> None:
        self.name = name
        self.base = base
        self.limit = limit
        self._free = [(base, limit)]
        self._used: dict[int, int] = {}

    def allocate(self, length: int, alignment: int = 64) -> int:
        """Return the address of `length` bytes; MemoryError if no free block is large enough."""
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        for index, (start, end) in enumerate(self._free):
            address = -(-start // alignment) * alignment
            if address + length <= end:
                rest = [(start, address), (address + length, end)]
                self._free[index : index + 1] = [(a, b) for a, b in rest if a < b]
                self._used[address] = length
                return address
        free = sum(end - start for start, end in self._free)
        raise MemoryError(
            f"{self.name}: {length} B do not fit the {free} B that are free of "
            f"{self.limit - self.base} B"
        )

    def release(self, address: int) -> None:
        """Give back a block; ValueError if `address` is not one in use."""
        if address not in self._used:
            raise ValueError(f"{self.name}: {address:#x} must be a block in use")
        blocks = sorted([*self._free, (address, address + self._used.pop(address))])
        merged = blocks[:1]
        for start, end in blocks[1:]:
            if start == merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        self._free = merged
