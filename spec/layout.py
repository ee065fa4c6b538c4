"""Packed little-endian bit layouts shared by the compiler, the driver, the RTL and the C header."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Field:
    """One named field of a layout: `bits` wide, its lowest bit at `offset`."""

    name: str
    bits: int
    offset: int
    signed: bool = False


class PackedLayout:
    """Ordered fields packed without gaps, first field lowest, padded to `bits`.

    Parameters
    ----------
    name : str  Name used in messages and in the generated C header.
    fields : (name, bits) pairs; a negative width means a signed field of that many bits.
    bits : int  Total width; a multiple of 64 for everything that lives in memory.
    """

    def __init__(self, name: str, fields: list[tuple[str, int]], bits: int) -> None:
        self.name = name
        self.bits = bits
        self.fields: dict[str, Field] = {}
        offset = 0
        for field_name, width in fields:
            field = Field(name=field_name, bits=abs(width), offset=offset, signed=width < 0)
            self.fields[field_name] = field
            offset += field.bits
        if offset > bits:
            raise ValueError(f"{name}: fields must fit {bits} bits, not {offset}")

    @property
    def bytes(self) -> int:
        """Size in memory [B]."""
        return self.bits // 8

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields.values())

    def pack(self, values: Mapping[str, int]) -> int:
        """Return the integer that holds `values`; fields left out are 0.

        Raises ValueError for an unknown field or a value that does not fit.
        """
        unknown = sorted(set(values) - set(self.fields))
        if unknown:
            raise ValueError(f"{self.name}: unknown field {unknown[0]!r}")
        word = 0
        for field in self:
            value = int(values.get(field.name, 0))
            low = -(1 << (field.bits - 1)) if field.signed else 0
            high = (1 << (field.bits - 1 if field.signed else field.bits)) - 1
            if not low <= value <= high:
                raise ValueError(f"{self.name}.{field.name} must be in {low}..{high}, not {value}")
            word |= (value & ((1 << field.bits) - 1)) << field.offset
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """Return every field of `word` by name."""
        values = {}
        for field in self:
            value = (word >> field.offset) & ((1 << field.bits) - 1)
            if field.signed and value >> (field.bits - 1):
                value -= 1 << field.bits
            values[field.name] = value
        return values

    def to_bytes(self, values: Mapping[str, int]) -> builtins.bytes:
        """Return `values` packed, little-endian, `self.bytes` long."""
        return self.pack(values).to_bytes(self.bytes, "little")

    def from_bytes(self, raw: builtins.bytes) -> dict[str, int]:
        """Return the fields of `raw`, which must be `self.bytes` long."""
        if len(raw) != self.bytes:
            raise ValueError(f"{self.name} must have {self.bytes} bytes, not {len(raw)}")
        return self.unpack(int.from_bytes(raw, "little"))
