"""SCALE-Sim's GEMM topologies: CSV files of layers.

Ref: A. Samajdar et al., "SCALE-Sim", arXiv:1811.02883. This is the M, N, K form of its topologies:
M rows by K inputs, N outputs.
"""

from __future__ import annotations

import csv
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GemmLayer", "read_gemm_topology"]

MOST = 1 << 20  # of M, N and K


class GemmLayer(BaseModel):
    """rows x inputs times inputs x outputs: SCALE-Sim's M, K, N."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    rows: int = Field(ge=1, le=MOST)
    inputs: int = Field(ge=1, le=MOST)
    outputs: int = Field(ge=1, le=MOST)


def read_gemm_topology(path: Path) -> tuple[GemmLayer, ...]:
    """Read a SCALE-Sim GEMM topology: a line of headings, then name, M, N, K of a layer a line.

    Raises ValueError that names line and column; OSError if it cannot be read.
    """
    lines = list(csv.reader(path.read_text().splitlines(), skipinitialspace=True))
    head = [cell.strip().lower() for cell in lines[0] if cell.strip()] if lines else []
    if head[:1] not in (["layer"], ["layer name"]) or head[1:] != ["m", "n", "k"]:
        raise ValueError(f"{path}, line 1: headings must be Layer, M, N, K, not {', '.join(head)}")
    layers = []
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip() for cell in line]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        if len(cells) != 4:
            raise ValueError(f"{path}, line {number}: must have 4 columns, not {len(cells)}")
        sizes = {}
        for column, cell in zip("MNK", cells[1:], strict=True):
            if not cell.isdecimal() or not 1 <= int(cell) <= MOST:
                raise ValueError(
                    f"{path}, line {number}, {column}: must be in 1..{MOST}, not {cell!r}"
                )
            sizes[column] = int(cell)
        layers.append(
            GemmLayer(name=cells[0], rows=sizes["M"], inputs=sizes["K"], outputs=sizes["N"])
        )
    if not layers:
        raise ValueError(f"{path}: must have at least one layer")
    return tuple(layers)
