"""The ablation on the netlist: its host on the software device, its page; the netlist nightly."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job.ablation_rtl import run_place, run_rtl_ablation
from rpaccel.main_job.ablation_rtl_machine import Questions, RtlHost, make_places
from rpaccel.main_job.ablation_rtl_model import predict
from rpaccel.main_job.ablation_rtl_page import rtl_text, rtl_values
from rpaccel.main_job.ablation_rtl_rows import (
    Figure,
    HostTimes,
    RtlAblation,
    RtlAsk,
    RtlRow,
    Speed,
    sign,
)
from rpaccel.main_job.criteo_machine import MEMORY_BYTES
from rpaccel.main_job.criteo_models import quantise_criteo
from rpaccel.scheduler.ablation import designs
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import StageMode
from rpaccel.spec.platform import load_platform
from rpaccel.spec.registers import ADDRESS
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload

DEFAULT, PLATFORM = load_accelerator("default"), load_platform("paper")
DESIGNS = {design.name: design for design in designs()}
DELAY = 1000


@pytest.fixture(scope="module")
def models():
    return quantise_criteo(CriteoWorkload(CriteoConfig(items=128, scale_rows=500)))


@pytest.fixture(scope="module")
def places(models):
    return make_places(models, DEFAULT)


class Clocked(SoftwareDevice):
    """A software device whose clock the host lets run; keeps when it was asked."""

    def __init__(self):
        super().__init__(DEFAULT, MEMORY_BYTES)
        self.cycles, self.asked = 0, []

    def run(self, cycles):
        assert cycles >= 1
        self.cycles += cycles

    def write_register(self, address, value):
        if address == ADDRESS["SQ_TAIL"]:
            self.asked.append(self.cycles)
        super().write_register(address, value)


def host_of(models, places, name):
    questions = Questions(models, DESIGNS[name], DEFAULT)
    device = Clocked()
    host = RtlHost(device, places[questions.name], models, DEFAULT, depth=16)
    device.asked.clear()
    return device, host, questions


@pytest.mark.parametrize("name", ["base", "O.3 alone", "O.4 alone", "O.1 to O.2", "O.1 to O.5"])
def test_answers_are_golden(models, places, name):
    device, host, questions = host_of(models, places, name)
    times = host.ask(questions, range(5), 2, DELAY)
    assert len(times.ends) == len(device.asked) == 5
    assert device.asked[0] == device.asked[1] < device.asked[2] == device.asked[3]


def test_host_asks_second_stages_when_they_are_due(models, places):
    device, host, questions = host_of(models, places, "O.1")
    host.ask(questions, range(3), 2, DELAY)
    first, second, third = device.asked[:2], device.asked[2:4], device.asked[4:]
    assert questions.parts == 2 and len(device.asked) == 6
    assert first[0] == first[1]
    assert DELAY <= second[0] - first[0] <= DELAY + 64
    assert third[0] > second[0] and third[1] - third[0] >= DELAY


def test_second_stage_ranks_what_the_first_chose(models):
    questions = Questions(models, DESIGNS["O.1"], DEFAULT)
    query = questions.first(0)
    scores = run_query(query, models.rankers, DEFAULT)
    order = np.lexsort((scores.stages[0].ids, -scores.stages[0].logits))
    best = scores.stages[0].ids[order[:16]]
    second = questions.second(query, scores.ids.astype(np.uint32))
    assert second.candidates.tolist() == best.tolist()
    assert (second.stages, second.top_n) == (((1, 2),), 2)


def test_wrong_bit_and_wrong_place_are_found(models, places):
    _, host, _ = host_of(models, places, "base")
    with pytest.raises(ValueError, match=r"^place must be quarters, not whole$"):
        host.ask(Questions(models, DESIGNS["O.3 alone"], DEFAULT), [0], 1, 0)
    last = models.large.top[-1]
    top = (*models.large.top[:-1], replace(last, bias=last.bias + np.int32(4000)))
    wrong = replace(models, large=replace(models.large, top=top))
    host.models = wrong
    with pytest.raises(RuntimeError, match=r"^the device is not bit-exact: base, query 0, part 0"):
        host.ask(Questions(wrong, DESIGNS["base"], DEFAULT), [0], 1, 0)


def test_designs_differ_by_their_ideas(models, places):
    asked = {name: Questions(models, design, DEFAULT) for name, design in DESIGNS.items()}
    assert asked["base"].key == asked["O.2 alone"].key
    keys = [asked[name].key for name in DESIGNS if name not in ("O.2 alone", "O.1 alone")]
    assert len(set(keys)) == len(keys)
    assert {each.name for each in asked.values()} == set(places)
    assert [name for name, place in places.items() if place.pins] == [
        "whole, pinned", "8 + 2, pinned",
    ]  # fmt: skip
    front, back = asked["O.1 to O.5"].tasks
    assert (front.mode, front.task_items, back.task_items) == (StageMode.PROPORTIONAL, 16, 8)
    assert asked["O.5 alone"].tasks[0].task_items == 32


def test_place_asks_equal_questions_once(models, places):
    asked = {n: Questions(models, DESIGNS[n], DEFAULT) for n in ("base", "O.2 alone")}
    device = Clocked()
    run = run_place(device, places["whole"], asked, models, PLATFORM, lambda _: None)
    assert run.queries == 2 * 2 + 1
    assert run.figures["base"] is run.figures["O.2 alone"]
    assert run.cycles == device.cycles > 0


def test_model_is_told_pins_and_the_round_trip(models, places):
    def said(name, **options):
        questions = Questions(models, DESIGNS[name], DEFAULT)
        found = {"before": [9], "in_flight": 1, "round_trip_cycles": 0} | options
        return predict(
            places[questions.name], questions, [0], memory=PLATFORM.accelerator.memory, **found
        )

    assert said("O.4 alone").hits > said("base").hits + 0.05
    near, far = (said("O.1", round_trip_cycles=cycles).times.ends[0] for cycles in (0, 5000))
    assert far - near == 5000
    assert said("O.1 to O.2").times.ends[0] < said("base").times.ends[0]


def test_host_times():
    base, first, whole = (
        HostTimes.of(DESIGNS[name], 128, PLATFORM) for name in ("base", "O.1", "O.1 to O.2")
    )
    assert base.way_in == pytest.approx(40e-6 + 128 * 156 / 6.67e9)
    assert base.busy == pytest.approx(128 * 156 / 6.67e9)
    assert (base.between, whole.between) == (0, 0)
    assert first.between == pytest.approx(2 * 40e-6 + 0.03e-3 + (128 * 8 + 16 * 4) / 6.67e9)
    assert base.last == pytest.approx(40e-6 + 128 * 8 / 6.67e9 + 0.03e-3)
    assert first.last == pytest.approx(40e-6 + 16 * 8 / 6.67e9 + 0.03e-3)
    assert whole.last == pytest.approx(40e-6 + 2 * 8 / 6.67e9)


def row(name, alone, per_query, **options):
    figure = Figure(alone=alone, per_query=per_query, hits=0.5)
    fields = {
        "design": DESIGNS[name],
        "in_flight": 2,
        "clock_hz": 250e6,
        "host": HostTimes.of(DESIGNS[name], 128, PLATFORM),
        "rtl": figure,
        "model": figure,
        "steady": per_query,
        "paper": Speed(latency_ms=1e5 / alone, qps=1e5 / per_query),
    }
    return RtlRow(**(fields | options))


def study(*rows, larger=None):
    return RtlAblation(
        ask=RtlAsk(), rows=rows, larger=larger or {}, queries=7, cycles=10**6, cpu_seconds=60.0
    )


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


def test_signs_have_a_tolerance():
    assert [sign(gain) for gain in (0.5, 0.979, 0.981, 1.0, 1.019, 1.021)] == [
        "worse", "worse", "same", "same", "same", "better",
    ]  # fmt: skip


def test_link_bounds_the_rate():
    fast = row("base", 1000, 10.0)
    assert fast.speed(fast.rtl).qps == pytest.approx(6.67e9 / (128 * 156))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 0}, r"^items must be a multiple of 128 in 128\.\.512, not 0$"),
        ({"items": 200}, r"^items must be a multiple of 128 in 128\.\.512, not 200$"),
        ({"items": 640}, r"^items must be a multiple of 128 in 128\.\.512, not 640$"),
        ({"designs": ("O.6",)}, r"^designs must be of base, O\.1 alone, .*, not O\.6$"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        RtlAsk(**change)


def test_chosen_designs_begin_with_the_base():
    assert [d.name for d in RtlAsk(designs=("O.5 alone", "O.2 alone")).chosen] == [
        "base", "O.2 alone", "O.5 alone",
    ]  # fmt: skip
    assert RtlAsk(items=256).larger == (512,)


@pytest.mark.nightly
@pytest.mark.slow
def test_netlist_has_the_signs_of_the_model():
    ask = RtlAsk(designs=("O.2 alone", "O.1", "O.1 to O.2"))
    made = run_rtl_ablation(ask)
    signs = {}
    for step in made.steps:
        assert sign(step.rtl.latency) == sign(step.model.latency)
        assert sign(step.rtl.throughput) == sign(step.model.throughput)
        signs[step.name] = sign(step.rtl.latency), sign(step.rtl.throughput)
    for each in made.rows:
        assert each.model.alone == pytest.approx(each.rtl.alone, rel=0.05)
        assert each.model.per_query == pytest.approx(each.rtl.per_query, rel=0.05)
    assert signs["O.2 alone"] == ("better", "same")
    assert signs["base + O.1"][1] == "better"
    assert signs["O.1 + O.2"] == ("better", "worse")
