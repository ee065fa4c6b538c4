"""The image of a LOAD: a header, then sections that fill on-chip memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpaccel.spec.isa import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    ISA_VERSION,
    SECTION_HEADER,
    Target,
    target_bits,
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Entries for one on-chip memory, from entry `start` on; each has target_bits(...) bits."""

    target: Target
    start: int
    payload: bytes

    def entries(self, array_size: int) -> int:
        """Return the number of entries."""
        return len(self.payload) // (target_bits(self.target, array_size) // 8)


def encode_image(sections: Sequence[Section], array_size: int) -> bytes:
    """Return the image's bytes: deterministic, a multiple of 8 long."""
    body = bytearray()
    for section in sections:
        entry_bytes = target_bits(section.target, array_size) // 8
        if len(section.payload) % entry_bytes:
            raise ValueError(
                f"a {section.target.name} section must be a multiple of {entry_bytes} bytes, "
                f"not {len(section.payload)}"
            )
        header = {
            "target": section.target,
            "entry_words": entry_bytes // 8,
            "start": section.start,
            "entries": section.entries(array_size),
        }
        body += SECTION_HEADER.to_bytes(header) + section.payload
    header = {
        "magic": IMAGE_MAGIC,
        "version": ISA_VERSION,
        "sections": len(sections),
        "total_bytes": IMAGE_HEADER.bytes + len(body),
    }
    return IMAGE_HEADER.to_bytes(header) + bytes(body)


def decode_image(raw: bytes, array_size: int) -> list[Section]:
    """Return the sections of an image.

    Raises ValueError for a wrong magic, version, target, entry size or length.
    """
    if len(raw) < IMAGE_HEADER.bytes:
        raise ValueError(f"an image must have {IMAGE_HEADER.bytes} bytes, not {len(raw)}")
    header = IMAGE_HEADER.from_bytes(raw[: IMAGE_HEADER.bytes])
    for name, expected in (("magic", IMAGE_MAGIC), ("version", ISA_VERSION)):
        if header[name] != expected:
            raise ValueError(f"image {name} must be {expected:#x}, not {header[name]:#x}")
    if header["total_bytes"] != len(raw):
        raise ValueError(f"image length must be {header['total_bytes']}, not {len(raw)}")
    sections, offset = [], IMAGE_HEADER.bytes
    for _ in range(header["sections"]):
        section, offset = _decode_section(raw, offset, array_size)
        sections.append(section)
    if offset != len(raw):
        raise ValueError(f"sections must end at byte {len(raw)} of the image, not {offset}")
    return sections


def _decode_section(raw: bytes, offset: int, array_size: int) -> tuple[Section, int]:
    start = offset + SECTION_HEADER.bytes
    if start > len(raw):
        raise ValueError(f"a section header must end inside {len(raw)} bytes, not at {start}")
    header = SECTION_HEADER.from_bytes(raw[offset:start])
    if header["target"] not in list(Target):
        raise ValueError(f"section target must be in 0..{max(Target)}, not {header['target']}")
    target = Target(header["target"])
    entry_bytes = target_bits(target, array_size) // 8
    if header["entry_words"] * 8 != entry_bytes:
        raise ValueError(
            f"{target.name} entries must have {entry_bytes // 8} words, not {header['entry_words']}"
        )
    end = start + entry_bytes * header["entries"]
    if end > len(raw):
        raise ValueError(f"a {target.name} section must end inside {len(raw)} bytes, not at {end}")
    return Section(target=target, start=header["start"], payload=raw[start:end]), end
