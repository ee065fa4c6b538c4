"""A unit as a Verilated program: its ports are a few wide inputs and wide outputs."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from amaranth.hdl import Cat, Elaboratable, Module, Shape, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.host.verilator import BUILD_DIR, CPP_DIR, build_program, digest_of
from rpaccel.rtl.netlist import cached_netlist
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["Drive", "FlatNetlist", "PortPath"]

MAIN = CPP_DIR / "array_bench.cpp"
CPP_FLAGS = ("-O0", "-std=c++17")  # builds in half the time; these simulations are short
PORT_BITS = 1 << 15  # of a port at most; Amaranth refuses values of more than 65,536 bits
WORD_BITS = 32
DIGEST = digest_of([Path(__file__).read_bytes()])[:8]  # cached_netlist reads rtl/ alone

PortPath = tuple[str | int, ...]  # of a member of the unit, and of a field of a structure
Drive = Mapping[PortPath, int]  # inputs that are not 0
_Member = tuple[PortPath, Value, object]


def _ports(members: list[_Member]) -> list[list[_Member]]:
    """Deal `members` out to ports of at most PORT_BITS, in order."""
    ports: list[list[_Member]] = [[]]
    size = 0
    for member in members:
        if size and size + len(member[1]) > PORT_BITS:
            ports.append([])
            size = 0
        ports[-1].append(member)
        size += len(member[1])
    return ports


def _width(port: list[_Member]) -> int:
    return sum(len(value) for _, value, _ in port)


class _FlatUnit(wiring.Component):
    """A unit behind ports `i0`, ... and `o0`, ..., its members in order, first lowest."""

    def __init__(self, unit: wiring.Component) -> None:
        self.unit = unit
        members = [
            (path, member.flow, Value.cast(value), member.shape)
            for path, member, value in unit.signature.flatten(unit)
        ]
        self.inputs, self.outputs = (
            _ports([(path, value, shape) for path, flow, value, shape in members if flow == way])
            for way in (In, Out)
        )
        super().__init__(
            {f"i{n}": In(_width(port)) for n, port in enumerate(self.inputs)}
            | {f"o{n}": Out(_width(port)) for n, port in enumerate(self.outputs)}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.unit = self.unit
        for n, port in enumerate(self.inputs):
            m.d.comb += Cat(value for _, value, _ in port).eq(getattr(self, f"i{n}"))
        for n, port in enumerate(self.outputs):
            m.d.comb += getattr(self, f"o{n}").eq(Cat(value for _, value, _ in port))
        return m


def _places(ports: list[list[_Member]]) -> tuple[dict[PortPath, tuple[int, int]], int]:
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


def _main(flat: _FlatUnit) -> str:
    """Return the bench's C++ for the ports of `flat`."""
    ports = {"INPUTS": ("i", flat.inputs), "OUTPUTS": ("o", flat.outputs)}
    lists = [
        f"#define BENCH_{what}(X) {' '.join(f'X({letter}{n})' for n in range(len(members)))}"
        for what, (letter, members) in ports.items()
    ]
    return "\n".join([*lists, MAIN.read_text()])


class FlatNetlist:
    """The built simulator of the unit `make()`, with its checks; cached as `name` and this file.

    `make` must depend on nothing but `config`, `name` and rtl/.

    inputs, outputs : (offset, width) of every member, and field of a structure, in the words of a
    cycle.
    """

    def __init__(
        self,
        make: Callable[[], wiring.Component],
        config: AcceleratorConfig,
        name: str,
        *,
        build_dir: Path = BUILD_DIR,
        progress: Callable[[str], None] = print,
    ) -> None:
        flat = _FlatUnit(make())
        flat._MustUse__used = flat.unit._MustUse__used = True  # only asked for their ports
        self.inputs, self._input_bits = _places(flat.inputs)
        self.outputs, _ = _places(flat.outputs)
        netlist = cached_netlist(
            lambda: _FlatUnit(make()),
            config,
            name=f"{name}_{DIGEST}",
            build_dir=build_dir,
            checks=True,
            progress=progress,
        )
        self.program = build_program(
            netlist.verilog,
            _main(flat),
            top=netlist.name,
            cpp_flags=CPP_FLAGS,
            build_dir=build_dir,
            progress=progress,
        )

    def run(
        self, drive: Mapping[int, Drive], cycles: int, always: Drive | None = None
    ) -> np.ndarray:
        """Return the outputs, uint32[cycles, words].

        drive : by cycle, what is driven then; always : what is driven in every cycle as well.
        Raises RuntimeError if a check of the netlist fails.
        """
        steady = self._packed(always or {})
        stimulus = np.tile(steady, (cycles, 1))
        for cycle, values in drive.items():
            stimulus[cycle] |= self._packed(values)
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "stimulus", Path(folder) / "response"
            stimulus.tofile(source)
            command = [str(self.program), str(source), str(target)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the simulator stopped: {done.stdout}{done.stderr}")
            return np.fromfile(target, dtype=np.uint32).reshape(cycles, -1)

    def _packed(self, values: Drive) -> np.ndarray:
        """Return the words of a cycle, uint32[words]."""
        word = 0
        for path, value in values.items():
            offset, width = self.inputs[path]
            word |= (int(value) & (1 << width) - 1) << offset
        return np.frombuffer(word.to_bytes(self._input_bits // 8, "little"), np.uint32)

    def column(self, words: np.ndarray, path: PortPath) -> np.ndarray:
        """Return an output of at most 32 bits in every cycle, uint64[cycles]. words : of `run`."""
        offset, width = self.outputs[path]
        if width > WORD_BITS:
            raise ValueError(f"{path} must have at most {WORD_BITS} bits, not {width}")
        first, last = offset // WORD_BITS, (offset + width - 1) // WORD_BITS
        value = words[:, first].astype(np.uint64)
        if last > first:
            value |= words[:, last].astype(np.uint64) << np.uint64(WORD_BITS)
        return value >> np.uint64(offset % WORD_BITS) & np.uint64((1 << width) - 1)
