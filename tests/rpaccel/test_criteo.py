"""The Criteo job with few candidates on the software device; on the netlist where it is slow."""

import itertools
import json
import time
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import run_query
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import PortTraffic
from rpaccel.main_job import criteo
from rpaccel.main_job.criteo import (
    CriteoAsk,
    criteo_parts,
    rows_of,
    run_criteo,
    traced_parts,
)  # fmt: skip
from rpaccel.main_job.criteo_machine import MEMORY_BYTES, CriteoMachine
from rpaccel.main_job.criteo_models import (
    EIGHT_TWO,
    QUARTERS,
    CriteoFunnel,
    compile_criteo,
    quantise_criteo,
)
from rpaccel.main_job.criteo_quality import criteo_quality
from rpaccel.main_job.run_trace import RunTrace
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import StageMode, Status
from rpaccel.spec.registers import ADDRESS
from rpaccel.workloads.criteo_queries import CriteoConfig, CriteoWorkload

DEFAULT = load_accelerator("default")
WORKLOAD = CriteoConfig(items=512, scale_rows=500)
ASK = CriteoAsk(preset="default", queries=4, live=4, quality=4, pin_banks=None, workload=WORKLOAD)


@pytest.fixture(scope="module")
def models():
    return quantise_criteo(CriteoWorkload(WORKLOAD))


@pytest.fixture(scope="module")
def images(models):
    return compile_criteo(models, DEFAULT)


def machine(models, images):
    return CriteoMachine(SoftwareDevice(DEFAULT, MEMORY_BYTES), models, images, depth=8)


def test_funnel_is_recpipes():
    funnel = CriteoFunnel(items=4096)
    assert (funnel.keep, funnel.served) == (512, 64)
    for mode in StageMode:
        front, back = funnel.tasks(mode)
        assert front.legal and front.mode is mode
        assert front.sizes(4096) == ([512] * 8 if mode is StageMode.WHOLE else [1024] * 4)
        assert back.sizes(512) == [128] * 4
    assert funnel.tasks(StageMode.LOCAL)[0].shares(512, 4) == [128, 256, 384, 512]


def test_images_leave_the_large_ranker_where_it_is(images):
    eight_two, quarters = (images.splits[name] for name in (EIGHT_TWO, QUARTERS))
    assert {lane: eight_two[lane] for lane in images.back} == {
        lane: quarters[lane] for lane in images.back
    }
    assert len(images.front[EIGHT_TWO]) == 8
    assert len(images.front[QUARTERS]) == len(images.back) == 2
    for name, small in images.small.items():
        assert small.base == images.first.base == images.large.limit
        assert set(images.front[name]) | set(images.back) == set(images.splits[name])
        assert [t.address for t in small.tables] == [t.address for t in images.first.tables]
    pinned = images.first.manifest["static_caches"]
    assert pinned["split"] == DEFAULT.static_cache_lines // 2
    assert min(pinned["pinned_beats"]) > 1000


def test_images_without_pins(models, images):
    bare = compile_criteo(models, DEFAULT, pin_banks=0)
    assert bare.first.image == bare.small[EIGHT_TWO].image == images.small[EIGHT_TWO].image
    assert "static_caches" not in bare.first.manifest


@pytest.mark.parametrize("pin_banks", [0, 2])
def test_paper_runs_the_same_queries(models, pin_banks):
    paper = load_accelerator("paper")
    images = compile_criteo(models, paper, pin_banks=pin_banks)
    words = (len(images.first.image) - len(images.small[EIGHT_TWO].image)) // 8
    bank_words = paper.pin_line_parts + 2 * paper.pin_entries  # 81,920
    assert words == (pin_banks * bank_words + 4 if pin_banks else 0)  # and two section headers
    device = CriteoMachine(SoftwareDevice(paper, MEMORY_BYTES), models, images, depth=8)
    for number, split in enumerate((QUARTERS, EIGHT_TWO)):
        device.use(split)
        assert [answer.number for answer in device.ask([number])] == [number]


def test_machine_without_such_lanes_is_refused(models):
    three = DEFAULT.model_copy(update={"lanes": 11, "lane_blocks": (2, 2, 2, *(1,) * 8)})
    with pytest.raises(ValueError, match=r"^lane_blocks must have four 2s, not \[2, 2, 2, 1"):
        compile_criteo(models, three)
    with pytest.raises(ValueError, match=r"^blocks must be 4 per side for 8 \+ 2, not 2$"):
        compile_criteo(models, load_accelerator("tiny"))


def test_parts_are_bit_exact_and_counted(models, images):
    device, told = machine(models, images), []
    clock = itertools.count(0, 10)
    parts = list(criteo_parts(device, ASK, lambda: next(clock), told.append))
    assert [part.split for part in parts] == [EIGHT_TWO, QUARTERS, EIGHT_TWO]
    assert [len(part.answers) for part in parts] == [4, 4, 4]
    assert [answer.number for answer in told] == list(range(12))
    for part in parts:
        assert {answer.mode for answer in part.answers} == set(StageMode)
        assert part.cycles == 10
        for answer in part.answers:
            assert answer.completion.status is Status.OK
            assert answer.completion.items[0] == 512
            assert answer.completion.items[1] >= 64
            assert len(set(answer.completion.ids.tolist())) == 8
    assert parts[1].change_cycles == 10
    assert [part.crossed for part in parts] == [0, 0, None]  # this device answers at once
    assert not device.driver.poll()


def test_array_is_split_while_queries_are_in_flight(models, images, monkeypatch):
    """Half of the queries are answered by then; those behind end later."""
    device = machine(models, images)
    driver, events, ends = device.driver, [], iter((5, 9, 7, 12, 11))
    partition, wait = driver.partition, driver.wait

    def split(blocks):
        events.append(blocks)
        partition(blocks)

    def waited(tag):
        events.append(tag)
        return replace(wait(tag), ended_at=next(ends, 0))

    monkeypatch.setattr(driver, "partition", split)
    monkeypatch.setattr(driver, "wait", waited)
    answers = list(device.ask(range(5), QUARTERS))
    assert events[2] == images.splits[QUARTERS]
    assert [each.completion.tag for each in answers] == events[:2] + events[3:]
    assert device.split == EIGHT_TWO and all(each.split == EIGHT_TWO for each in answers)
    assert criteo._crossed(answers) == 2  # 12 and 11 are later than 9
    device.use(QUARTERS)
    assert [answer.split for answer in device.ask([5])] == [QUARTERS]


class Applies(SoftwareDevice):
    """A software device that counts how often its array is split."""

    applies = 0

    def write_register(self, address, value):
        self.applies += address == ADDRESS["PARTITION_APPLY"] and value & 1
        super().write_register(address, value)


def test_every_change_of_the_split_is_applied_once(models, images):
    device = Applies(DEFAULT, MEMORY_BYTES)
    split = CriteoMachine(device, models, images, depth=8)
    assert device.applies == 1
    ask = replace(ASK, queries=2, live=2)
    parts = list(criteo_parts(split, ask, lambda: 0, lambda _: None))
    assert [part.split for part in parts] == [EIGHT_TWO, QUARTERS, EIGHT_TWO]
    assert device.applies == 3
    split.use(QUARTERS)
    split.use(QUARTERS)
    assert device.applies == 4
    assert [answer.split for answer in split.ask([6])] == [QUARTERS]


def test_parts_are_in_the_timeline(models, images):
    device = CriteoMachine(
        SoftwareDevice(DEFAULT, MEMORY_BYTES), models, images, depth=8, log_entries=64
    )
    ask, trace = replace(ASK, queries=2, live=1), RunTrace(DEFAULT, models.rankers, MemoryTiming())
    parts = list(traced_parts(device, criteo_parts(device, ask, lambda: 0, lambda _: None), trace))
    assert [part.split for part in parts] == [EIGHT_TWO, QUARTERS, EIGHT_TWO]
    tags = [answer.completion.tag for part in parts for answer in part.answers]
    lanes = {
        (event["args"]["name"].split()[1])
        for event in trace.events
        if event["name"] == "thread_name" and event["pid"] == 3
    }
    used = {*images.front[EIGHT_TWO], *images.front[QUARTERS], *images.back}
    assert lanes == {str(lane) for lane in used}
    for process in (2, 4):  # queries of the device and of the model
        spans = [e for e in trace.events if e["ph"] == "X" and e["pid"] == process]
        assert {e["tid"] // 16 for e in spans if e["name"] == "query"} == set(tags)
    bare = machine(models, images)
    with pytest.raises(ValueError, match=r"^driver must keep a log of tasks for a timeline, not"):
        next(traced_parts(bare, iter(()), trace))


def test_row_counters_are_of_all_parts(models, images, monkeypatch):
    """A LOAD between two parts sets all but the pinned ones to 0."""
    device = CriteoMachine(
        SoftwareDevice(DEFAULT, MEMORY_BYTES), models, images, depth=8, log_entries=64
    )
    others = dict.fromkeys(("merged", "refused", "used"), 0)
    seen = iter(
        {"pinned": pinned, "hits": hits, "misses": misses} | others
        for pinned, hits, misses in ((10, 0, 10), (14, 2, 2), (14, 1, 9))
    )
    monkeypatch.setattr(device, "row_counters", lambda: next(seen))
    shares = []

    class Told(RunTrace):
        def add(self, images, answered, log, hits, *, retrieved=False):
            shares.append(hits)

    ask, trace = replace(ASK, queries=1, live=1), Told(DEFAULT, models.rankers, MemoryTiming())
    parts = list(traced_parts(device, criteo_parts(device, ask, lambda: 0, lambda _: None), trace))
    assert shares == [10 / 20, 6 / 8, 1 / 10]
    assert rows_of(parts) == {"pinned": 14, "hits": 3, "misses": 21} | others


def test_wrong_bit_is_found(models, images):
    last = models.large.top[-1]
    top = (*models.large.top[:-1], replace(last, bias=last.bias + np.int32(4000)))
    wrong = replace(models, large=replace(models.large, top=top))
    with pytest.raises(RuntimeError, match=r"^the netlist is not bit-exact: query 0, WHOLE, "):
        list(machine(wrong, images).ask([0]))


def test_quality_of_every_way(models):
    rankings = {ranking.name: ranking.to_json() for ranking in criteo_quality(models, 6)}
    clicks = {name: row["ndcg_clicks"]["estimate"] for name, row in rankings.items()}
    utility = {name: row["ndcg_utility"]["estimate"] for name, row in rankings.items()}
    assert len(rankings) == 1 + 4 + 1 + len(StageMode)
    assert utility["random"] < 0.2
    assert utility["float one-stage small"] < 0.9 < utility["float one-stage large"]
    whole = "int8 two-stage, WHOLE"
    assert utility[whole] > utility["int8 one-stage small"]
    assert clicks[whole] > clicks["random"] + 0.3
    for mode in StageMode:
        row = rankings[f"int8 two-stage, {mode.name}"]
        assert row["survivors"] >= 64 or mode is StageMode.LOCAL
        assert row["recall"] > 0.9
    assert rankings["int8 two-stage, GLOBAL"]["survivors"] == rankings[whole]["survivors"]


def test_quality_is_that_of_the_served_lists(models):
    query = models.workload.query(1 << 19)
    ranking = criteo_quality(models, 1)[-len(StageMode)]
    golden = run_query(models.query(query, StageMode.WHOLE, DEFAULT), models.rankers, DEFAULT)
    assert ranking.name.endswith("WHOLE")
    assert ranking.survivors == (golden.items[1],)
    hits = np.isin(golden.ids, query.best(8))
    assert (ranking.utility[0] == 1) == hits.all()


class Clocked(SoftwareDevice):
    """A software device with what the job asks of a simulated one."""

    def __init__(self, config, _timing, *, memory_bytes, library):
        super().__init__(config, memory_bytes)
        assert library is None
        self.reads = 0

    @property
    def cycles(self):
        self.reads += 1000
        return self.reads

    def port_traffic(self, port):
        return PortTraffic(read_bursts=port, read_beats=12345, write_bursts=1, write_beats=2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize(
    ("pin_banks", "option", "told"),
    [
        (None, "", "in tables of full size.\n"),
        (1, " --pin-banks 1", "static caches of 1 of 8 banks: a bank's cache is loaded as a whole"),
    ],
)
def test_job_writes_its_results(monkeypatch, tmp_path, pin_banks, option, told):
    monkeypatch.setattr(criteo, "VerilatedDevice", Clocked)
    monkeypatch.setattr(criteo, "system_netlist", lambda *_, **__: time.sleep(0.6))
    monkeypatch.setattr(criteo, "build_simulator", lambda *_, **__: None)
    page = tmp_path / "docs" / "criteo.md"
    summary = run_criteo(replace(ASK, pin_banks=pin_banks), tmp_path / "run", page)
    figures = {row["name"]: row["value"] for row in summary}
    assert figures["queries bit-exact"] == 12
    assert figures["changes of the split"] == 2
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        *(f"{name}.json" for name in ("config", "counters", "manifest", "parts", "quality",
                                      "seconds", "summary")),
        "index.html", "quality.png", "cycles.png",
    }  # fmt: skip
    parts = json.loads((tmp_path / "run" / "parts.json").read_text())
    assert [query["user"] for part in parts for query in part["queries"]] == list(range(12))
    text = page.read_text()
    assert f"Written by `rpaccel criteo --preset default --queries 4 --live 4{option}`" in text
    assert told in text
    (small,) = json.loads((tmp_path / "run" / "manifest.json").read_text())[1:]
    assert small["static_caches"]["banks"] == (pin_banks or DEFAULT.banks)
    assert "512 -> 64 -> 8" in text
    assert "| port 1, read beats | 12,345 |" in " ".join(text.split())
    assert "12 queries, every id" in text
    assert "Netlist written in 1 s" in text
    assert "simulator built in 0 s (0 s of CPU; 0: taken from a cache)" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 0}, r"^queries must be in 1\.\.32, not 0$"),
        ({"live": 33}, r"^live must be in 0\.\.32, not 33$"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        replace(ASK, **change)


@pytest.mark.nightly
@pytest.mark.slow
def test_netlist_is_bit_exact_over_two_changes_of_the_split(tmp_path):
    ask = replace(ASK, live=2)
    summary = {row["name"]: row["value"] for row in run_criteo(ask, tmp_path, None)}
    assert summary["queries bit-exact"] == 8
    assert summary["changes of the split"] == 2
    counters = json.loads((tmp_path / "counters.json").read_text())
    assert min(counters["rows"][name] for name in ("pinned", "hits", "misses")) > 0
    assert min(port["read_beats"] for port in counters["ports"]) > 0
