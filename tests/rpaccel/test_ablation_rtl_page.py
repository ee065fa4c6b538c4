"""The pages of the ablation on the netlist."""

from dataclasses import replace

import pytest

from rpaccel.main_job.ablation_rtl_page import rtl_text, rtl_values
from rpaccel.main_job.ablation_rtl_rows import Figure, HostTimes, RtlAsk, Speed, sign
from rpaccel.main_job.ablation_rtl_scaled_page import scaled_text
from rpaccel.scheduler.ablation import Setup
from tests.rpaccel.ablation_case import DESIGNS, PAPER, PLATFORM, row, study


def test_signs_and_page():
    same = Figure(alone=40_000, per_query=20_000.0, hits=0.25)
    base, second = row("base", 40_000, 20_000.0), row("O.4 alone", 40_000, 20_000.0)
    slow = row("O.5 alone", 50_000, 30_000.0, model=same)
    made = study(base, second, slow, larger={256: (base, second, slow)})
    steps = {step.name: step for step in made.steps}
    assert list(steps) == ["O.4 alone", "O.5 alone"]
    assert (
        sign(steps["O.5 alone"].rtl.latency) == sign(steps["O.5 alone"].rtl.throughput) == "worse"
    )
    assert sign(steps["O.5 alone"].model.latency) == "same"
    assert steps["O.5 alone"].rtl.throughput == pytest.approx(2 / 3)
    text = rtl_text(made)
    assert "Written by `rpaccel ablation --rtl` (`make ablation ARGS=--rtl`)" in text
    assert "Of 4 signs of the netlist, 2 are those of the model" in text
    assert "* O.5 alone, throughput: netlist worse (0.67x), model same (1.00x)" in text
    assert "* O.4 alone" not in text
    assert "| O.5 alone |   same 1.00x |" in text.split("## More candidates")[1]
    values = rtl_values(made)
    assert values["steps"][1]["throughput"]["netlist"]["sign"] == "worse"
    assert values["designs"][0]["rtl"]["qps"] == pytest.approx(12_500)


def test_reasons_have_the_figures_of_their_causes():
    base, one = row("base", 40_000, 90_000.0), row("O.1", 30_000, 60_000.0)
    paper = base.paper
    quarters = row("O.3 alone", 90_000, 90_000.0, paper=replace(paper, qps=1.2 * paper.qps))
    both = row("O.1 to O.2", 20_000, 75_000.0, paper=one.paper)
    text = " ".join(rtl_text(study(base, quarters, one, both)).split())
    assert "* O.3 alone, throughput: netlist same (1.00x), `paper` better (1.20x): layers" in text
    assert (
        "takes the array 217.0 cycles, four quarters 215.5, at most 1.01x; on `paper` 17.0" in text
    )
    assert "changes its model 0.25 times a query" in text and "20,571 cycles" in text
    assert "(50.1 cycles an item, its array 29.0)" in text
    assert "| RMsmall, whole array | 29.0 | 50.1 | 6.0 | 2.0 |" in text
    assert "| O.1 to O.2 | 1.00 | 20,571 |" in text


def test_scaled_rankers_have_a_page():
    slow, fast = Speed(latency_ms=2.0, qps=5e3), Speed(latency_ms=2.0, qps=6e3)

    def scaled(per_query):
        rows = [
            row(name, 40_000, cycles, paper=speed, host=HostTimes.of(DESIGNS[name], 4096, PAPER))
            for name, cycles, speed in (("base", 60_000.0, slow), ("O.3 alone", per_query, fast))
        ]
        plain = [row(name, 40_000, 60_000.0, paper=speed) for name, speed in
                 (("base", slow), ("O.3 alone", fast))]  # fmt: skip
        ask = RtlAsk(items=4096, shape="sixteenth", loads=3)
        return " ".join(scaled_text(replace(study(*rows), ask=ask, unscaled=tuple(plain))).split())

    text = scaled(50_000.0)
    assert '`rpaccel ablation --rtl --scaled` (`make ablation ARGS="--rtl --scaled"`)' in text
    assert "has 16 times the cells" in text and "2 tables for 26" in text
    assert "4096 candidates, of which 512 are kept and 64 served" in text
    assert "156 bytes per candidate at 6.67 GB/s" in text
    assert "RMlarge, 512 candidates and 0.42 GB/s" in text
    assert "the device lists the first 64" in text
    assert "| whole | 6 | 6 | 17 | 17 |" in text
    assert (
        "| O.3 alone | same 1.00x | same 1.00x | same 1.00x | same 1.00x "
        "| better 1.20x | better 1.20x | same 1.00x | better 1.20x |" in text
    )
    assert (
        "Of the unscaled signs 1 are not those of `paper`; of these 1 are on the netlist with "
        "scaled rankers: O.3 alone (throughput)." in text
    )
    assert "Of 2 signs of the netlist, 2 are those of the model for the same queries and 2" in text
    text = scaled(60_000.0)
    assert "netlist same (1.00x), `paper` better (1.20x): not explained." in text
    assert "of these 0 are on the netlist with scaled rankers: none." in text


def test_scaled_rankers_take_the_link_as_on_paper():
    ask = RtlAsk(items=4096, shape="sixteenth")
    assert (ask.platform, RtlAsk().platform) == (PAPER, PLATFORM)
    assert ask.scaled and not RtlAsk().scaled
    for name in ("base", "O.1", "O.1 to O.5"):
        design, setup = DESIGNS[name], Setup(DESIGNS[name])
        host = HostTimes.of(design, ask.items, ask.platform)
        assert host.busy == pytest.approx(setup.link_s)
        assert host.last == pytest.approx(setup.last_s)
        if host.between:
            assert host.between == pytest.approx(setup.round_trip_s)


def test_what_another_link_would_change_is_told():
    rows = [row("base", 4000, 4000.0), row("O.5 alone", 4000, 3000.0)]  # the link takes 11,977
    text = " ".join(rtl_text(study(*rows)).split())
    assert "| O.5 alone | same 1.00x | same 1.00x | same 1.00x | same 1.00x |" in text
    assert "were no link the bound: O.5 alone better 1.33x." in text
    assert "0.42 GB/s" in text and "6.67 GB/s, in the proportion of the MACs, 1/16" in text
    assert rtl_values(study(*rows))["causes"]["waits"]["O.1 alone"]["changes"] == 0.25
