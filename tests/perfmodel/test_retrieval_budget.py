from dataclasses import replace

import pytest

from rpaccel.perfmodel import retrieval_budget as budget
from rpaccel.perfmodel.retrieval_board import ScanDesign
from rpaccel.perfmodel.retrieval_budget import Area, Growth, UnitArea
from rpaccel.perfmodel.retrieval_latency import MemoryPath

PATH = MemoryPath(ports=16, beat_bytes=32, clock_hz=250e6)
DESIGN = ScanDesign(path=PATH, queries=11)
PART = Area(lut=871_680, ff=1_743_360, dsp=5_952, bram36=1_344)
# 16 ports: 1700 LUT and 34 DSP each for a query, two for each two more; the second needs 34 DSP
SCORE = UnitArea(
    areas=tuple(
        Area(lut=16 * lut, dsp=16 * dsp) for lut, dsp in ((1700, 34), (2800, 68), (3600, 70))
    ),
    ports=16,
    growth=Growth.PER_PORT,
)
CROSSBAR = UnitArea(areas=(Area(lut=1000), Area(lut=1000)), ports=16, growth=Growth.SQUARE)
BLOCKS = UnitArea(areas=(Area(lut=100, ff=7), Area(lut=130, ff=9)), ports=16, growth=Growth.PORTS)
TERMS = UnitArea(areas=(Area(dsp=32), Area(dsp=32)), ports=16, growth=Growth.NONE)
COSTS = budget.UnitCosts(
    units={"score": SCORE, "crossbar": CROSSBAR, "blocks": BLOCKS, "terms": TERMS},
    filter=Area(lut=9500, ff=7500, bram36=48),
)


def test_queries_add_steps():
    assert [SCORE.at(queries, 16).dsp for queries in range(1, 8)] == [
        16 * dsp for dsp in (34, 68, 70, 104, 106, 140, 142)
    ]
    assert [BLOCKS.at(queries, 16).lut for queries in (1, 2, 11)] == [100, 130, 400]


def test_ports_scale():
    assert SCORE.at(1, 28).dsp == 28 * 34
    assert BLOCKS.at(1, 28).lut == 175
    assert CROSSBAR.at(1, 32).lut == 4000
    assert TERMS.at(5, 28).dsp == 32


def test_budget_adds_up():
    found = budget.budget_of(DESIGN, COSTS)
    assert found.parts["score"] == (16, Area(lut=1700 + 5 * 1900, dsp=34 + 5 * 36))
    crossings = 16 * budget.CROSSING_LUT
    assert found.total == Area(
        lut=16 * 11_200 + 1000 + 400 + 11 * 9500 + crossings,
        ff=27 + 11 * 7500,
        dsp=16 * 214 + 32,
        bram36=11 * 48 + 16 * 4,
    )
    assert found.shares(PART) == {
        "LUT": found.total.lut / 871_680,
        "FF": found.total.ff / 1_743_360,
        "DSP": 3456 / 5952,
        "BRAM36": 592 / 1344,
    }


def test_largest_batch_is_the_last_that_fits():
    for share in (0.6, 1.0):
        most = budget.largest_batch(PATH, COSTS, PART, share=share, limit=64)
        fits = [
            max(budget.budget_of(replace(DESIGN, queries=n), COSTS).shares(PART).values()) <= share
            for n in (most, most + 1)
        ]
        assert fits == [True, False]
        assert budget.largest_batch(PATH, COSTS, PART, share=share, limit=most - 1) == most - 1
    assert (
        budget.largest_batch(PATH, COSTS, Area(lut=1, ff=1, dsp=1, bram36=1), share=1.0, limit=9)
        == 0
    )


def test_rejects():
    with pytest.raises(ValueError, match=r"^queries must be at least 1, not 0$"):
        SCORE.at(0, 16)
