"""Energy per operation from published tables, and what lies between two of them.

Ref: [1] M. Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9 (45 nm).
[2] N. Jouppi et al., "Ten lessons from three generations shaped Google's TPUv4i", ISCA 2021, table
of energy per operation (45 nm as in [1], 7 nm; DRAM per 64 bits).
[3] A. Arunkumar et al., "MCM-GPU", ISCA 2017, table of integration tiers (10 pJ/bit on a board).
[4] RecPipe's artifact, Synthesis_Report (GlobalFoundries 12LP): facts of the paper's figure 11.
[5] M. O'Connor et al., "Fine-grained DRAM", MICRO 2017 (HBM2: 3.92 pJ/bit, the lower end of [2]).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

__all__ = [
    "DRAM_PJ_PER_BIT", "FLIP_FLOP_PJ", "LINK_PJ_PER_BIT", "NODES", "NODE_7", "NODE_12", "NODE_45",
    "EnergyTable", "between",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """Energies of a process [pJ].

    sram_pj : of an access of 64 bits, by the bytes of the memory.
    """

    node_nm: float
    multiply_int8_pj: float
    add_int8_pj: float
    add_int32_pj: float
    sram_pj: Mapping[int, float]
    source: str

    @property
    def mac_pj(self) -> float:
        """A product of int8, added to an int32 sum."""
        return self.multiply_int8_pj + self.add_int32_pj

    def sram_access_pj(self, memory_bytes: int) -> float:
        """Return an access of 64 bits to a memory of so many bytes, from log to log.

        Outside the table the nearest entry: smaller memories cost more than they should, larger
        ones are taken to be banks of the largest. Raises ValueError below 1 byte.
        """
        if memory_bytes < 1:
            raise ValueError(f"memory_bytes must be at least 1, not {memory_bytes}")
        sizes = sorted(self.sram_pj)
        if memory_bytes <= sizes[0]:
            return self.sram_pj[sizes[0]]
        for low, high in pairwise(sizes):
            if memory_bytes <= high:
                share = math.log(memory_bytes / low) / math.log(high / low)
                return _between(self.sram_pj[low], self.sram_pj[high], share)
        return self.sram_pj[sizes[-1]]


def _between(low: float, high: float, share: float) -> float:
    return low * (high / low) ** share


NODE_45 = EnergyTable(
    node_nm=45,
    multiply_int8_pj=0.2,
    add_int8_pj=0.03,
    add_int32_pj=0.1,
    sram_pj={8 << 10: 10.0, 32 << 10: 20.0, 1 << 20: 100.0},
    source="[1], [2]",
)
NODE_7 = EnergyTable(
    node_nm=7,
    multiply_int8_pj=0.07,
    add_int8_pj=0.007,
    add_int32_pj=0.03,
    sram_pj={8 << 10: 7.5, 32 << 10: 8.5, 1 << 20: 14.0},
    source="[2]",
)


def between(node_nm: float, old: EnergyTable = NODE_45, new: EnergyTable = NODE_7) -> EnergyTable:
    """Return energies of a process between two: equal factors for equal factors of feature size.

    Assumed: no table of 12 or 16 nm is used. Raises ValueError outside the two.
    """
    if not new.node_nm <= node_nm <= old.node_nm:
        raise ValueError(f"node_nm must be in {new.node_nm}..{old.node_nm}, not {node_nm}")
    share = math.log(old.node_nm / node_nm) / math.log(old.node_nm / new.node_nm)
    return EnergyTable(
        node_nm=node_nm,
        multiply_int8_pj=_between(old.multiply_int8_pj, new.multiply_int8_pj, share),
        add_int8_pj=_between(old.add_int8_pj, new.add_int8_pj, share),
        add_int32_pj=_between(old.add_int32_pj, new.add_int32_pj, share),
        sram_pj={size: _between(pj, new.sram_pj[size], share) for size, pj in old.sram_pj.items()},
        source="between 45 and 7 nm, log to log",
    )


NODE_12 = between(12)  # the paper's process
NODES = (NODE_45, NODE_12, NODE_7)
DRAM_PJ_PER_BIT = {
    "ddr4": 1300 / 64,  # [2]
    "hbm2": (250 + 450) / 2 / 64,  # [2], the middle of its range; [5]: 3.92
}
LINK_PJ_PER_BIT = 10.0  # [3]: between packages on a board; PCIe is one such link
FLIP_FLOP_PJ = 0.002  # a bit and a cycle, clock and data; assumed (12 nm)
