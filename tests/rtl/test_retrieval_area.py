"""Look-up tables of selector and filter, against a register queue of the same length."""

import pytest

from rpaccel.host.synthesis import synthesise
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.retrieval_filter import ScoreFilter
from rpaccel.rtl.retrieval_selector import Selector
from rpaccel.spec.retrieval import RetrievalConfig

QUEUE_LUTS = 215  # per entry: FANNS (SC 2023), systolic queue of 32-bit score and 32-bit id, U55C


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "lanes", "k_max", "factor"),
    [
        (Selector, 1, 128, 1),
        (Selector, 1, 1024, 20),
        (Selector, 1, 4096, 20),
        (ScoreFilter, 16, 1024, 5),
    ],
)
def test_smaller_than_a_register_queue(unit, lanes, k_max, factor, tmp_path):
    component = unit(RetrievalConfig(lanes=lanes, k_max=k_max))
    netlist = write_netlist(component, unit.__name__.lower(), tmp_path)
    report = synthesise(netlist, "xcup", build_dir=BUILD_DIR)
    luts = report["lut"] + report["lutram"]
    print(
        f"{unit.__name__} K={k_max} lanes={lanes}: {luts} LUT (register queue"
        f" {QUEUE_LUTS * k_max}, {QUEUE_LUTS * k_max / luts:.1f}x), {report['ff']} FF,"
        f" {report['bram']} BRAM36, {report['dsp']} DSP"
    )
    assert report["dsp"] == 0 and report["bram"] > 0
    assert QUEUE_LUTS * k_max >= factor * luts
