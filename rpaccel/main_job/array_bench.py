"""`make array-bench`: what a netlist and a simulator of the array alone cost, and its speed.

Every input port of the unit gets a new random value in every cycle, from a C++ loop: a row of
activations enters every block row in every cycle. One cycle in 64 has random control as well.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Elaboratable, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.host.verilator import BUILD_DIR, build_program
from rpaccel.main_job.stopwatch import timed
from rpaccel.rtl.netlist import Port, write_netlist
from rpaccel.rtl.systolic_array import ArrayLane, SystolicArray
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator

__all__ = ["ArrayTiming", "array_bench", "array_bench_text", "driver_text"]

TOP = "array"
BLOCK_SIZES = {8: 4, 16: 8, 32: 8, 64: 16, 128: 32}  # as in the presets and `efficiency`
LEAST_S = 2.0  # a rate is measured over at least this CPU time, three times
CLOCKS = ("aclk", "aresetn")

MAIN = """\
#include "Vrpaccel.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

static uint64_t state;

static uint64_t next() {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

// Prints cycles and CPU seconds: arguments are the seed and the CPU time to use.
int main(int, char** argv) {
  auto top = std::make_unique<Vrpaccel>();
  state = strtoull(argv[1], nullptr, 10) * 2 + 88172645463325253u;
  const double least = atof(argv[2]);
  uint64_t check = 0;
  const auto step = [&](long cycles) {
    for (long n = 0; n < cycles; ++n) {
@DRIVE@
      top->aclk = 0, top->eval(), top->aclk = 1, top->eval();
@FOLD@
    }
  };
  top->aresetn = 0, step(4), top->aresetn = 1, step(500);
  long cycles = 0;
  const clock_t start = clock();
  double seconds = 0;
  for (; seconds < least; cycles += 100) {
    step(100);
    seconds = double(clock() - start) / CLOCKS_PER_SEC;
  }
  printf("%ld %f %016llx\\n", cycles, seconds, (unsigned long long)check);
}
"""


@dataclass(frozen=True, kw_only=True)
class ArrayTiming:
    """Figures of one array of `size` x `size` cells in blocks of `block_size` x `block_size`.

    Wall and CPU seconds of writing the netlist and of building the simulator; cycles per CPU
    second of one thread.
    """

    size: int
    block_size: int
    generate_s: float
    generate_cpu_s: float
    build_s: float
    build_cpu_s: float
    cycles_per_second: float

    @property
    def macs_per_second(self) -> float:
        """Multiply-accumulates simulated per CPU second."""
        return self.cycles_per_second * self.size**2


class _Array(wiring.Component):
    """The array whose one lane owns all of it, and computes unless all of `rare` is 0.

    Control decides which code of the simulator runs: were it random in every cycle, the
    simulator would mostly wait for mispredicted branches, as it never does for a real program.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__({"lane": Out(ArrayLane(config)), "rare": In(6)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.array = array = SystolicArray(self.config)
        whole = array.partition[0]
        m.d.comb += [whole.rows.eq(self.config.blocks), whole.cols.eq(self.config.blocks)]

        # Most cycles: a row that starts and ends its sums in this block row; nothing else.
        lane, steady = array.lane[0], self.rare != 0
        for (_, member, inner), (_, _, outer) in zip(
            lane.signature.flatten(lane), self.lane.signature.flatten(self.lane), strict=True
        ):
            into, given = (inner, outer) if member.flow == In else (outer, inner)
            m.d.comb += Value.cast(into).eq(given)
        for token in lane.i:
            with m.If(steady):
                m.d.comb += [token[name].eq(1) for name in ("row", "tap", "first_k", "last_k")]
                m.d.comb += [token[name].eq(0) for name in ("first", "cut", "load", "fetch")]
        with m.If(steady):
            m.d.comb += lane.load.valid.eq(0)
        return m


def _unit(size: int) -> tuple[wiring.Component, int]:
    """Return the array of `size` rows of the paper's machine, and its block size."""
    paper = load_accelerator("paper").model_dump()
    block_size = BLOCK_SIZES[size]
    share = {
        name: paper[name] * size // paper["array_size"]
        for name in ("weight_words", "param_entries")
    }
    config = AcceleratorConfig.model_validate(
        paper
        | share
        | {
            "name": f"{size} x {size}",
            "array_size": size,
            "block_size": block_size,
            "lanes": 1,
            "lane_blocks": (),
            "axi_data_bits": min(paper["axi_data_bits"], 8 * size),
        }
    )
    return _Array(config), block_size


def driver_text(ports: Sequence[Port]) -> str:
    """Return the C++ of a program that drives and reads all `ports` in every cycle."""
    drive, fold = [], []
    for port in ports:
        if port.name in CLOCKS:
            continue
        name = "top->" + port.name.replace("__", "___05F")  # as Verilator writes it in C++
        words = -(-port.bits // 32)
        wide = f"for (int w = 0; w < {words}; ++w) "
        if port.direction == "output":
            item = f"check = check * 31 + {name}"
            fold.append(f"{item};" if port.bits <= 64 else f"{wide}{item}[w];")
        elif port.bits <= 64:
            drive.append(f"{name} = next() >> {64 - port.bits};")
        else:
            drive.append(f"{wide}{name}[w] = next() >> 32;")
            drive.append(f"{name}[{words - 1}] >>= {32 * words - port.bits};")
    indent = "\n" + 6 * " "
    return MAIN.replace("@DRIVE@", indent[1:] + indent.join(drive)).replace(
        "@FOLD@", indent[1:] + indent.join(fold)
    )


def array_bench(
    sizes: Sequence[int],
    *,
    seed: int = 0,
    build_dir: Path = BUILD_DIR,
    progress: Callable[[str], None] = print,
) -> list[ArrayTiming]:
    """Return the figures of arrays of `sizes` rows; nothing is taken from the build cache.

    Raises ValueError if a size is not in BLOCK_SIZES.
    """
    for size in sizes:
        if size not in BLOCK_SIZES:
            raise ValueError(f"sizes must be of {', '.join(map(str, BLOCK_SIZES))}, not {size}")
    return [_measure(size, seed, build_dir, progress) for size in sizes]


def _measure(size: int, seed: int, build_dir: Path, progress: Callable[[str], None]) -> ArrayTiming:
    def say(text: str) -> None:
        progress(f"{size} x {size}: {text}")

    say("writing the netlist")
    unit, block_size = _unit(size)
    with timed() as generate:
        netlist = write_netlist(unit, TOP, build_dir / "array_bench" / str(size))
    # A comment that changes makes a new build of it; Verilator's runtime may be cached.
    main = f"// {time.time_ns()}\n{driver_text(netlist.ports)}"
    with timed() as build:
        program = build_program(netlist.verilog, main, top=TOP, build_dir=build_dir, progress=say)
    rates = []
    for _ in range(3):
        command = [str(program), str(seed), str(LEAST_S)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        cycles, seconds, _check = result.stdout.split()
        rates.append(int(cycles) / float(seconds))
    say(f"{max(rates):.0f} cycles/s")
    return ArrayTiming(
        size=size,
        block_size=block_size,
        generate_s=generate[0],
        generate_cpu_s=generate[1],
        build_s=build[0],
        build_cpu_s=build[1],
        cycles_per_second=max(rates),
    )


def array_bench_text(timings: Sequence[ArrayTiming]) -> str:
    """Return `timings` as a Markdown page."""
    header = [
        "array",
        "block",
        "generate [s]",
        "(CPU)",
        "build [s]",
        "(CPU)",
        "cycles/s",
        "MAC/s",
    ]
    rows = [
        [
            f"{t.size} x {t.size}",
            str(t.block_size),
            f"{t.generate_s:.1f}",
            f"{t.generate_cpu_s:.1f}",
            f"{t.build_s:.1f}",
            f"{t.build_cpu_s:.1f}",
            f"{t.cycles_per_second:,.0f}",
            f"{t.macs_per_second / 1e6:,.0f} M",
        ]
        for t in timings
    ]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        [
            "# The array alone, simulated",
            "",
            "Written by `make array-bench`: netlist and Verilated simulator of `SystolicArray` "
            "with its banks, accumulators and requantise lanes, made anew. A C++ loop gives every "
            "block row new random activations in every cycle, and random control in one of 64. "
            "Wall seconds, and CPU seconds of all processes beside them: other work may share the "
            "machine. Cycles and multiply-accumulates (MAC) per CPU second of one thread.",
            "",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
        ]
    )
