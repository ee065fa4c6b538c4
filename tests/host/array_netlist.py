"""A SystolicArray as a Verilated program: its ports are a few wide inputs and wide outputs."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from amaranth.hdl import Cat, Elaboratable, Module, Shape, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.host.verilator import BUILD_DIR, CPP_DIR, build_program
from rpaccel.rtl.netlist import cached_netlist
from rpaccel.rtl.systolic_array import SystolicArray
from rpaccel.spec.accelerator import AcceleratorConfig

MAIN = CPP_DIR / "array_bench.cpp"
CPP_FLAGS = ("-O0", "-std=c++17")  # builds in half the time; these simulations are short
PORT_BITS = 1 << 15  # of a port at most; Amaranth refuses values of more than 65,536 bits
WORD_BITS = 32
Path_ = tuple[str | int, ...]
PortMember = tuple[Path_, Value, object]


def _ports(members: list[PortMember]) -> list[list[PortMember]]:
    """Deal `members` out to ports of at most PORT_BITS, in order."""
    ports: list[list[PortMember]] = [[]]
    size = 0
    for member in members:
        if size and size + len(member[1]) > PORT_BITS:
            ports.append([])
            size = 0
        ports[-1].append(member)
        size += len(member[1])
    return ports


def _width(port: list[PortMember]) -> int:
    return sum(len(value) for _, value, _ in port)


class FlatArray(wiring.Component):
    """A SystolicArray behind ports `i0`, ... and `o0`, ..., its members in order, first lowest."""

    def __init__(self, config: AcceleratorConfig, lanes: int) -> None:
        self.array = SystolicArray(config, lanes)
        members = [
            (path, member.flow, Value.cast(value), member.shape)
            for path, member, value in self.array.signature.flatten(self.array)
        ]
        self.inputs = _ports(
            [(path, value, shape) for path, flow, value, shape in members if flow == In]
        )
        self.outputs = _ports(
            [(path, value, shape) for path, flow, value, shape in members if flow == Out]
        )
        super().__init__(
            {f"i{n}": In(_width(port)) for n, port in enumerate(self.inputs)}
            | {f"o{n}": Out(_width(port)) for n, port in enumerate(self.outputs)}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.array = self.array
        for n, port in enumerate(self.inputs):
            m.d.comb += Cat(value for _, value, _ in port).eq(getattr(self, f"i{n}"))
        for n, port in enumerate(self.outputs):
            m.d.comb += getattr(self, f"o{n}").eq(Cat(value for _, value, _ in port))
        return m


def _bits(ports: list[list[PortMember]]) -> tuple[dict[Path_, tuple[int, int]], int]:
    """Return (offset, width) of every member and of every field of a structure, and all bits.

    Ports follow each other in whole words, as in the bench's files.
    """
    places, base = {}, 0
    for port in ports:
        offset = base
        for path, value, shape in port:
            places[path] = (offset, len(value))
            if isinstance(shape, data.StructLayout):
                for name, field in shape:
                    places[*path, name] = (offset + field.offset, Shape.cast(field.shape).width)
            offset += len(value)
        base += -(-_width(port) // WORD_BITS) * WORD_BITS
    return places, base


def _main(flat: FlatArray) -> str:
    """Return the bench's C++ for the ports of `flat`."""
    ports = {"INPUTS": ("i", flat.inputs), "OUTPUTS": ("o", flat.outputs)}
    lists = [
        f"#define BENCH_{what}(X) {' '.join(f'X({letter}{n})' for n in range(len(members)))}"
        for what, (letter, members) in ports.items()
    ]
    return "\n".join([*lists, MAIN.read_text()])


class ArrayNetlist:
    """The built simulator of an array of `config` with `lanes` lanes."""

    def __init__(self, config: AcceleratorConfig, lanes: int) -> None:
        self.lanes = lanes
        flat = FlatArray(config, lanes)
        flat._MustUse__used = True  # only asked for its ports
        flat.array._MustUse__used = True
        self._inputs, self._input_bits = _bits(flat.inputs)
        self._outputs, _ = _bits(flat.outputs)
        netlist = cached_netlist(
            lambda: FlatArray(config, lanes),
            config,
            name=f"array{lanes}",
            build_dir=BUILD_DIR,
            checks=True,
        )
        self.program = build_program(
            netlist.verilog, _main(flat), top=netlist.name, cpp_flags=CPP_FLAGS
        )

    def run(self, drive: list[Mapping[Path_, int]]) -> list[dict[Path_, int]]:
        """Return the valid outputs of every cycle; `drive` has the inputs that are not 0."""
        with tempfile.TemporaryDirectory() as folder:
            stimulus, response = Path(folder) / "stimulus", Path(folder) / "response"
            stimulus.write_bytes(b"".join(self._packed(values) for values in drive))
            command = [str(self.program), str(stimulus), str(response)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the simulator stopped: {done.stdout}{done.stderr}")
            words = np.fromfile(response, dtype=np.uint32).reshape(len(drive), -1)
        return self._valid(words)

    def _packed(self, values: Mapping[Path_, int]) -> bytes:
        word = 0
        for path, value in values.items():
            offset, width = self._inputs[path]
            word |= (int(value) & (1 << width) - 1) << offset
        return word.to_bytes(self._input_bits // 8, "little")

    def _valid(self, words: np.ndarray) -> list[dict[Path_, int]]:
        got: list[dict[Path_, int]] = [{} for _ in words]
        for path, (at, _) in self._outputs.items():
            if path[-1] != "valid":
                continue
            offset, width = self._outputs[path[:-1]]
            first, last = offset // 32, (offset + width + 31) // 32
            for cycle in np.flatnonzero(words[:, at // 32] >> at % 32 & 1):
                raw = int.from_bytes(words[cycle, first:last].tobytes(), "little")
                got[cycle][path[:-1]] = raw >> offset % 32 & (1 << width) - 1
        return got
