"""Cards of the joint search: their lanes, programs and scans, beside the models they come from."""

from dataclasses import replace

import pytest

from rpaccel.perfmodel.machine import simulate
from rpaccel.scheduler.ablation import measure
from rpaccel.scheduler.cpu_profile import MERGE, RETRIEVE
from rpaccel.scheduler.criteo_node import cited_hosts, criteo_node
from rpaccel.scheduler.published_pipelines import CPU_ENGINES
from rpaccel.scheduler.recpipe_card import CardTimes, CriteoCard, Program, lanes_of_split
from rpaccel.scheduler.recpipe_film import Corpus, card_scans, cpu_hosts, cpu_scans, scan_cycles
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.platform import load_platform
from rpaccel.spec.recpipe import load_recpipe
from rpaccel.spec.sweep import LaneSplit
from tests.factories import cpu_profile

FUNNEL = {"models": ("rmsmall", "rmlarge"), "items": (1024, 128), "results": 64}
FILMS = Corpus(rows=1682, row_bytes=16)


@pytest.fixture(scope="module")
def card() -> CriteoCard:
    made = CriteoCard()
    made.hits = lambda models, items: dict.fromkeys(models, 0.8)  # the trace takes seconds
    return made


def split(text: str) -> LaneSplit:
    return LaneSplit.model_validate(text)


def test_lanes_are_those_of_the_shape() -> None:
    paper = load_accelerator("paper")
    assert lanes_of_split(paper, split("1*4x4")) == ((0,), (0,))
    front, back = lanes_of_split(paper, split("8*1x1+2*2x2"))
    assert (len(front), len(back)) == (8, 2)
    assert {paper.lane_shape(lane) for lane in front} == {(1, 1)}
    front, back = lanes_of_split(paper, split("2*2x2+2*2x2"))
    assert len({*front, *back}) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2*4x4", r"^split must have at most 16 blocks, not 32 \(2\*4x4\)$"),
        ("9*1x1", r"^split must use at most 8 lanes of 1x1, not 9"),
        ("1*1x4", r"^split must use at most 0 lanes of 1x4, not 1"),
        ("3*2x2+2*2x2", r"^split must have at most 16 blocks, not 20"),
    ],
)
def test_impossible_lanes_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lanes_of_split(load_accelerator("paper"), split(text))


def test_times_are_those_of_the_machine(card: CriteoCard) -> None:
    program = Program(**FUNNEL, split="4*2x2", sub_batches=4)
    setup = card.setup(program)
    times = CardTimes(card).times(program)
    alone = simulate(setup.machine, setup.loads([0])).cycles
    assert times.latency_s == pytest.approx(alone / 250e6)
    assert 0 < times.interval_s <= times.latency_s
    known = CardTimes(card, {program.key: (2.0, 3.0)}).times(program)
    assert (known.latency_s, known.interval_s) == (2.0, 2.0)
    # tasks let lanes work on one query at a time, and later stages begin early
    whole = CardTimes(card).times(replace(program, sub_batches=1))
    assert times.latency_s < whole.latency_s


def test_link_is_that_of_the_paper_pipelines(card: CriteoCard) -> None:
    node = criteo_node(load_recpipe("criteo"))
    program = Program(**FUNNEL, split="1*4x4", sub_batches=1)
    setup = card.setup(program)
    asked = node.item_bytes * 1024 / node.link.bytes_per_s
    assert asked == pytest.approx(setup.link_s)
    assert node.link.seconds(64 * 8) == pytest.approx(setup.last_s)


def test_a_query_at_a_time_takes_what_the_machine_says(card: CriteoCard) -> None:
    program = Program(**FUNNEL, split="1*4x4", sub_batches=1)
    setup, node = card.setup(program), criteo_node(load_recpipe("criteo"))
    alone = CardTimes(card).times(program).latency_s
    link = node.link
    total = setup.link_s + link.fixed_s + alone + setup.last_s
    assert measure(setup, 1.0, 1).p50_ms == pytest.approx(1e3 * total, rel=1e-3)


@pytest.mark.parametrize("name", ["criteo", "criteo_wide"])
def test_the_searched_cpu_is_the_published_one(name: str) -> None:
    assert load_recpipe(name).servers["cpu"] == CPU_ENGINES


def test_cited_times_end_where_the_published_ones_do() -> None:
    hosts = cited_hosts(load_recpipe("criteo"))
    table = hosts["cpu"].table_s["rmsmall"]
    assert table[4096] == pytest.approx(30.7e-3)
    assert table[100] == table[512] == pytest.approx(5.9e-3)
    assert (
        hosts["gpu"].refusal("rmlarge", 6140) == "has times of rmlarge up to 4096 items, not 6140"
    )
    assert hosts["gpu"].refusal("rmlarge", 4096) is None
    spec = load_recpipe("criteo")
    with pytest.raises(ValueError, match=r"^profiles must name the gpu's service profile"):
        cited_hosts(spec.model_copy(update={"profiles": {"cpu": "cascade-lake"}}))
    with pytest.raises(ValueError, match=r"^platform must be paper for criteo"):
        criteo_node(spec.model_copy(update={"platform": "edge"}))


def test_scan_is_near_the_netlists() -> None:
    # `make run ARGS="--stages 3"` on the netlist of edge: 2,394 cycles of the retrieval stage
    busy, end = scan_cycles(load_accelerator("edge"), load_platform("edge"), FILMS, 256)
    assert FILMS.rows <= busy < end
    assert end == pytest.approx(2394, rel=0.15)
    half, _ = scan_cycles(
        load_accelerator("edge"), load_platform("edge"), replace(FILMS, rows=841), 256
    )
    assert half < busy
    with pytest.raises(ValueError, match=r"^preset must have a retrieval engine, tiny has none"):
        scan_cycles(load_accelerator("tiny"), load_platform("edge"), FILMS, 64)


def test_scans_of_shards_are_shorter_and_merged() -> None:
    edge, platform = load_accelerator("edge"), load_platform("edge")
    scans = card_scans(edge, platform, FILMS, (64, 2048), (1, 2), 1e-6)
    assert set(scans) == {("accelerator", 64, 1), ("accelerator", 64, 2)}  # 2048: beyond its K
    one, two = scans["accelerator", 64, 1], scans["accelerator", 64, 2]
    assert two.busy_s < one.busy_s
    assert card_scans(load_accelerator("tiny"), platform, FILMS, (64,), (1,), 1e-6) == {}
    assert cpu_scans(cpu_profile(), FILMS, (64,), (1,)) == {}
    model = cpu_profile().models["small"]
    measured = cpu_profile().model_copy(
        update={"models": cpu_profile().models | {RETRIEVE: model, MERGE: model}}
    )
    both = cpu_scans(measured, FILMS, (64,), (1, 2))
    assert both["cpu", 64, 2].busy_s == pytest.approx(model.seconds(841))
    assert both["cpu", 64, 2].latency_s == pytest.approx(model.seconds(128))
    assert both["cpu", 64, 1].latency_s == 0.0
    assert set(cpu_hosts(measured, 100)["cpu"].table_s) == {"small", "large"}
