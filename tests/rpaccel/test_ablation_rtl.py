"""The ablation on the netlist: its host on the software device, its page; the netlist nightly."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job.ablation_rtl import TRACED, run_place, run_rtl_ablation
from rpaccel.main_job.ablation_rtl_causes import Waits, find_causes, waits_of
from rpaccel.main_job.ablation_rtl_machine import Questions, RtlHost, make_places
from rpaccel.main_job.ablation_rtl_model import predict
from rpaccel.main_job.ablation_rtl_rows import (
    HostTimes,
    RtlAsk,
    card_of,
    sign,
)
from rpaccel.main_job.criteo_machine import MEMORY_BYTES
from rpaccel.main_job.criteo_models import quantise_criteo
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import StageMode
from rpaccel.spec.registers import ADDRESS
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload
from tests.rpaccel.ablation_case import DEFAULT, DESIGNS, PAPER, PLATFORM, row

DELAY = 1000
RATE = 6.67e9 / 16


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
    host = RtlHost(device, places[questions.name], models, DEFAULT, depth=16, tables=8)
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
    second = questions.second(query, questions.kept(scores))
    assert second.candidates.tolist() == best.tolist() == scores.ids.tolist()
    assert (second.stages, second.top_n) == (((1, 2),), 2)


def test_more_survivors_than_the_list_go_on():
    many = quantise_criteo(
        CriteoWorkload(CriteoConfig(items=1024, scale_rows=500, shape="sixteenth"))
    )
    _, host, questions = host_of(many, make_places(many, DEFAULT), "O.1")
    query = questions.first(3)
    assert query.top_n == DEFAULT.max_top_n == 64
    golden = run_query(query, many.rankers, DEFAULT)
    kept = questions.kept(golden)
    assert len(set(kept.tolist())) == 128
    assert kept[:64].tolist() == golden.ids.tolist()
    logits = golden.stages[0].logits
    assert sorted(logits[kept].tolist()) == sorted(logits.tolist())[-128:]
    host.ask(questions, [3], 1, DELAY)
    assert [len(part.query.candidates) for part in host.answered] == [1024, 128]


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
    assert run.queries == 2 * 2 + 1  # two of one stage on one lane, and one alone
    assert [Questions(models, DESIGNS[n], DEFAULT).in_flight for n in ("O.1", "O.3 alone")] == [
        DEFAULT.funnels, DEFAULT.funnels,
    ]  # fmt: skip
    assert run.figures["base"] is run.figures["O.2 alone"]
    assert run.cycles == device.cycles > 0


def test_loads_are_in_timelines(models, places, tmp_path):
    names = ("O.1 alone", "O.1")
    asked = {n: Questions(models, DESIGNS[n], DEFAULT) for n in names}
    run = run_place(
        Clocked(), places["whole"], asked, models, PLATFORM, lambda _: None,
        trace=(tmp_path / "new", MemoryTiming()), loads=3,
    )  # fmt: skip
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["O.1_alone.json"]
    assert run.queries == 3 * DEFAULT.funnels + 1
    events = json.loads((tmp_path / "new" / "O.1_alone.json").read_text())["traceEvents"]
    queries = {
        pid: {e["tid"] // 16 for e in events if e["name"] == "query" and e["pid"] == pid}
        for pid in (2, 4)
    }
    assert queries[2] == queries[4]
    assert len(queries[2]) == 2 * (3 * DEFAULT.funnels)  # two parts of each of the load's queries
    lanes = {e["tid"] // 3 for e in events if e["ph"] == "X" and e["pid"] == 3}
    assert lanes == {0}
    bare = run_place(Clocked(), places["whole"], asked, models, PLATFORM, lambda _: None, loads=3)
    assert bare.figures == run.figures


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


def test_link_is_in_the_proportion_of_the_macs():
    assert PLATFORM.link.bytes_per_s * 16 == PAPER.link.bytes_per_s
    assert PLATFORM.link.fixed_s == PAPER.link.fixed_s
    assert PLATFORM.accelerator == PAPER.accelerator
    assert card_of(load_accelerator("paper")) == PAPER


def test_causes_are_those_of_the_model(models, places):
    asked = {name: Questions(models, DESIGNS[name], DEFAULT) for name in TRACED}
    said = {
        name: predict(
            places[each.name], each, range(4), before=(), in_flight=2, round_trip_cycles=DELAY,
            memory=PLATFORM.accelerator.memory, sub_batches=True,
        )
        for name, each in asked.items()
    }  # fmt: skip
    memory = PLATFORM.accelerator.memory
    made = find_causes(places, asked, said, memory, dict.fromkeys(asked, 4))
    whole, quarters = (
        made.uses[f"RMlarge, {what}"].array for what in ("whole array", "four quarters")
    )
    assert 0.98 < whole / quarters < 1.02
    assert made.uses["RMsmall, whole array"].gather > 26  # a row a cycle
    small = made.paper["RMsmall, whole array"]
    assert small.gather < small.array
    assert (
        made.paper["RMlarge, whole array"].array > 1.05 * made.paper["RMlarge, four quarters"].array
    )
    for each in made.waits.values():
        assert 0 < each.changes <= 2
        assert each.cycles > 500 * each.changes
    few = find_causes(places, {"base": asked["base"]}, said, memory, {"base": 4})
    assert set(few.uses) == {"RMlarge, whole array"} and not few.waits


@pytest.mark.parametrize("parts", [1, 2])
def test_waits_are_those_of_gathers_between_models(parts):
    """Two queries: first stages, first at 0 and 100, then second ones at 250 and 300, 310."""
    gathers = [(0, 0, 0, 40), (1, 0, 40, 100), (0, 1, 250, 280), (0, 1, 280, 300), (1, 1, 310, 350)]
    spans, tasks = [], []
    for query, stage, begin, end in gathers:
        number, own = (query + 2 * stage, 0) if parts == 2 else (query, stage)
        spans.append(SimpleNamespace(query=number, stage=own, gathering=begin, gathered=end))
        if not any((task.query, task.stage) == (number, own) for task in tasks):
            tasks.append(SimpleNamespace(query=number, stage=own))
    report = SimpleNamespace(sub_batches=spans, tasks=tasks[::-1])
    said = SimpleNamespace(report=report)
    found = waits_of(SimpleNamespace(parts=parts), said, 2)
    assert found == Waits(changes=1 / 2, cycles=150 / 2)


def test_host_times():
    base, first, whole = (
        HostTimes.of(DESIGNS[name], 128, PLATFORM) for name in ("base", "O.1", "O.1 to O.2")
    )
    assert base.way_in == pytest.approx(40e-6 + 128 * 156 / RATE)
    assert base.busy == pytest.approx(128 * 156 / RATE)
    assert (base.between, whole.between) == (0, 0)
    assert first.between == pytest.approx(2 * 40e-6 + 0.03e-3 + (128 * 8 + 16 * 4) / RATE)
    assert base.last == pytest.approx(40e-6 + 128 * 8 / RATE + 0.03e-3)
    assert first.last == pytest.approx(40e-6 + 16 * 8 / RATE + 0.03e-3)
    assert whole.last == pytest.approx(40e-6 + 2 * 8 / RATE)


def test_signs_have_a_tolerance():
    assert [sign(gain) for gain in (0.5, 0.979, 0.981, 1.0, 1.019, 1.021)] == [
        "worse", "worse", "same", "same", "same", "better",
    ]  # fmt: skip


def test_link_bounds_the_rate():
    fast = row("base", 1000, 10.0)
    assert fast.speed(fast.rtl).qps == pytest.approx(RATE / (128 * 156))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 0}, r"^items must be a multiple of 128 in 128\.\.512, not 0$"),
        ({"items": 200}, r"^items must be a multiple of 128 in 128\.\.512, not 200$"),
        ({"items": 640}, r"^items must be a multiple of 128 in 128\.\.512, not 640$"),
        ({"items": 4224, "shape": "sixteenth"}, r"^items must be .* in 128\.\.4096, not 4224$"),
        ({"loads": 4}, r"^loads must be 2 or 3, not 4$"),
        ({"designs": ("O.6",)}, r"^designs must be of base, O\.1 alone, .*, not O\.6$"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        RtlAsk(**change)


def test_options_of_the_netlist_come_with_it(rpaccel):
    status, _, error = rpaccel("ablation", "--scaled")
    assert (status, error) == (2, "error: scaled must come with --rtl\n")
    status, _, error = rpaccel("ablation", "--trace", "folder")
    assert status == 2 and error.startswith("error: trace must come with --rtl: ")
    for others in ((), ("--rtl", "--scaled")):
        status, _, error = rpaccel("ablation", "--items", 128, *others)
        assert status == 2 and error.startswith("error: items must come with --rtl, and not with")
    status, _, error = rpaccel("ablation", "--items", 0, "--rtl")
    assert (status, error) == (2, "error: items must be a multiple of 128 in 128..512, not 0\n")


def test_chosen_designs_begin_with_the_base():
    assert [d.name for d in RtlAsk(designs=("O.5 alone", "O.2 alone")).chosen] == [
        "base", "O.2 alone", "O.5 alone",
    ]  # fmt: skip
    assert RtlAsk(items=256).larger == (512,) and not RtlAsk().larger
    assert RtlAsk(items=4096, shape="sixteenth", loads=3).unscaled == RtlAsk(loads=3)


@pytest.mark.nightly
@pytest.mark.slow
def test_netlist_has_the_signs_of_the_model(tmp_path):
    ask = RtlAsk(items=128, designs=("O.2 alone", "O.1", "O.1 to O.2"))
    made = run_rtl_ablation(ask, trace=tmp_path)
    for name in ("base", "O.1", "O.1_to_O.2"):
        events = json.loads((tmp_path / f"{name}.json").read_text())["traceEvents"]
        ends = {
            pid: {
                e["tid"] // 16: e["ts"] + e["dur"]
                for e in events
                if e["name"] == "query" and e["pid"] == pid
            }
            for pid in (2, 4)
        }
        assert ends[2].keys() == ends[4].keys()
        first = min(e["ts"] for e in events if e["name"] == "waits" and e["pid"] == 2)
        device, model = (max(ends[pid].values()) - first for pid in (2, 4))
        assert model == pytest.approx(device, rel=0.05)
        tags = {e["args"]["query"] for e in events if e["ph"] == "X" and e["pid"] == 1}
        assert tags == set(ends[2])
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
