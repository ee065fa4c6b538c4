import pytest

from rpaccel.host.asic_area import (
    FILL,
    NAND2_UM2,
    SRAM_MACROS_UM2,
    gate_equivalents,
    gates_of,
    logic_um2,
    macro_um2,
    unit_gates,
)
from rpaccel.rtl.netlist import cached_netlist
from rpaccel.rtl.task_grant import TaskGrant
from rpaccel.spec.accelerator import load_accelerator


def test_gates_are_weighted():
    assert gate_equivalents({"$_NAND_": 2, "$_XOR_": 1, "$_DFF_P_": 1, "$mem_v2": 9}) == 10.5
    plain, enabled, reset, both = (
        gate_equivalents({cell: 1})
        for cell in ("$_DFF_P_", "$_DFFE_PP_", "$_SDFF_PN0_", "$_SDFFE_PN0P_")
    )
    assert plain < reset < enabled < both
    assert gate_equivalents({}) == 0
    with pytest.raises(ValueError, match=r"cells must be Yosys' gates and flip-flops, not '\$mul'"):
        gate_equivalents({"$mul": 1})


def test_areas():
    assert logic_um2(FILL / NAND2_UM2) == pytest.approx(1)
    for size, area in SRAM_MACROS_UM2.items():
        assert macro_um2(size, size) == pytest.approx(area)
        assert macro_um2(3 * size, size) == pytest.approx(3 * area)
    # RecPipe's 4 MB of 32 KB and 4 KB macros: 3.730 and 4.796 mm2.
    assert 1e-6 * macro_um2(4 << 20, 32 << 10) == pytest.approx(3.730, abs=1e-3)
    assert 1e-6 * macro_um2(4 << 20, 4 << 10) == pytest.approx(4.796, abs=1e-3)
    assert SRAM_MACROS_UM2[4 << 10] < macro_um2(16 << 10, 16 << 10) < SRAM_MACROS_UM2[32 << 10]
    for wrong in (1 << 10, 1 << 20):
        with pytest.raises(ValueError, match=r"macro_bytes must be in 4096\.\.262144, not"):
            macro_um2(wrong, wrong)


@pytest.mark.slow
def test_a_unit(tmp_path):
    config = load_accelerator("tiny")

    def quiet(_line):
        pass

    gates = unit_gates(config, ("task_grant",), build_dir=tmp_path, progress=quiet)["task_grant"]
    netlist = cached_netlist(
        lambda: TaskGrant(config), config, name="task_grant", build_dir=tmp_path, checks=False,
        progress=quiet,
    )  # fmt: skip
    report = gates_of(netlist, build_dir=tmp_path, progress=quiet)
    registers = sum(count for cell, count in report["cells"].items() if "DFF" in cell)
    assert registers == 220  # docs/generated/units.md
    assert gates == report["gates"] > 6 * registers
    with pytest.raises(ValueError, match=r"unit must be one of cells, .*, not 'grid'"):
        unit_gates(config, ("grid",), build_dir=tmp_path)
