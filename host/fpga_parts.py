"""UltraScale+ parts and the smallest of them that a design fits.

Ref: AMD/Xilinx DS891, "Zynq UltraScale+ MPSoC Data Sheet: Overview", tables "EG Device Feature
Summary" and "EV Device Feature Summary"; DS890, "UltraScale Architecture and Product Data Sheet:
Overview", tables "Kintex UltraScale+ FPGA Feature Summary", "Virtex UltraScale+ FPGA Feature
Summary" and "Virtex UltraScale+ HBM FPGA Feature Summary"; the same figures, rounded, in the
product selection guides XMP104 (MPSoC) and XMP103 (FPGA).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["PARTS", "Resources", "excess", "smallest_part"]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a part has or a design needs. Block RAMs hold 36 Kbit, URAMs 288 Kbit."""

    lut: int
    ff: int
    dsp: int
    bram36: int
    uram: int = 0


def _part(lut: int, dsp: int, bram36: int, uram: int) -> Resources:
    """Return a part's resources: every UltraScale+ LUT has two flip-flops."""
    return Resources(lut=lut, ff=2 * lut, dsp=dsp, bram36=bram36, uram=uram)


# Smallest first, by LUTs: the order in which `smallest_part` tries them.
PARTS: dict[str, Resources] = {
    "ZU3EG": _part(70_560, 360, 216, 0),  # DS891, EG devices
    "ZU4EV": _part(87_840, 728, 128, 48),  # DS891, EV devices
    "ZU5EV": _part(117_120, 1_248, 144, 64),  # DS891, EV devices
    "KU3P": _part(162_720, 1_368, 360, 48),  # DS890, Kintex UltraScale+
    "KU5P": _part(216_960, 1_824, 480, 64),  # DS890, Kintex UltraScale+
    "ZU7EV": _part(230_400, 1_728, 312, 96),  # DS891, EV devices
    "ZU9EG": _part(274_080, 2_520, 912, 0),  # DS891, EG devices
    "ZU15EG": _part(341_280, 3_528, 744, 112),  # DS891, EG devices
    "VU3P": _part(394_080, 2_280, 720, 320),  # DS890, Virtex UltraScale+
    "VU33P": _part(439_680, 2_880, 672, 320),  # DS890, Virtex UltraScale+ HBM
    "VU7P": _part(788_160, 4_560, 1_440, 640),  # DS890, Virtex UltraScale+
    "VU35P": _part(871_680, 5_952, 1_344, 640),  # DS890, Virtex UltraScale+ HBM
    "VU9P": _part(1_182_240, 6_840, 2_160, 960),  # DS890, Virtex UltraScale+
    "VU11P": _part(1_296_000, 9_216, 2_016, 960),  # DS890, Virtex UltraScale+
    "VU37P": _part(1_303_680, 9_024, 2_016, 960),  # DS890, Virtex UltraScale+ HBM
    "VU13P": _part(1_728_000, 12_288, 2_688, 1_280),  # DS890, Virtex UltraScale+
}


def excess(need: Resources, part: Resources) -> list[str]:
    """Return what `part` lacks for `need`, each as "16,384 of 12,288 DSP"; empty if it fits."""
    has = asdict(part)
    return [
        f"{wanted:,} of {has[name]:,} {name.upper()}"
        for name, wanted in asdict(need).items()
        if wanted > has[name]
    ]


def smallest_part(choices: list[Resources]) -> tuple[str | None, int, str]:
    """Return the smallest part that one of `choices` fits, which of them, and one line for it.

    choices : ways to build the same design, the preferred one first; a design whose memories may
        be block RAMs or URAMs has two. If none fits, the part is None and the line says what the
        part that comes nearest, the last one with the fewest shortages, lacks.
    """
    for name, part in PARTS.items():
        for index, need in enumerate(choices):
            if not excess(need, part):
                return name, index, f"fits {name}"
    nearest = min(
        ((len(excess(need, part)), -order, index)
         for order, part in enumerate(PARTS.values())
         for index, need in enumerate(choices))
    )  # fmt: skip
    name, part = list(PARTS.items())[-nearest[1]]
    return None, nearest[2], f"fits none: {', '.join(excess(choices[nearest[2]], part))} ({name})"
