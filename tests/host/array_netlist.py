"""A SystolicArray as a Verilated program."""

from __future__ import annotations

import numpy as np

from rpaccel.host.flat_netlist import Drive, FlatNetlist, PortPath
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.spec.accelerator import AcceleratorConfig


class ArrayNetlist(FlatNetlist):
    """The built simulator of an array of `config` with `lanes` lanes."""

    def __init__(self, config: AcceleratorConfig, lanes: int) -> None:
        super().__init__(lambda: SystolicArray(config, lanes), config, f"array{lanes}")

    def results(self, drive: list[Drive]) -> list[dict[PortPath, int]]:
        """Return the valid outputs of every cycle; `drive` has the inputs that are not 0."""
        words = self.run(dict(enumerate(drive)), len(drive))
        got: list[dict[PortPath, int]] = [{} for _ in drive]
        for path in self.outputs:
            if path[-1] != "valid":
                continue
            offset, width = self.outputs[path[:-1]]
            first, last = offset // 32, (offset + width + 31) // 32
            for cycle in np.flatnonzero(self.column(words, path)):
                raw = int.from_bytes(words[cycle, first:last].tobytes(), "little")
                got[cycle][path[:-1]] = raw >> offset % 32 & (1 << width) - 1
        return got
