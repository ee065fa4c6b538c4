"""The joint search: the kernel beside the stations, the space, fronts, NSGA-II beside all."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.funnel_quality import Funnel, QualityPoint, QualityTable, criteo_quality
from rpaccel.scheduler.queueing import Station, finish_times_s
from rpaccel.scheduler.recpipe_card import CardTimes
from rpaccel.scheduler.recpipe_evaluate import MOST_LOAD, Evaluator
from rpaccel.scheduler.recpipe_node import Design, HostTimes, Node, Scan, Visit
from rpaccel.scheduler.recpipe_search import (
    Genetic,
    exhaustive,
    genetic,
    hypervolume_ratio,
    slices,
)
from rpaccel.scheduler.recpipe_space import RecPipeSpace
from rpaccel.spec.platform import LinkPlatform
from rpaccel.spec.recpipe import RecPipeSpec, load_recpipe, recpipe_names
from rpaccel.spec.sweep import LaneSplit

LINK = LinkPlatform(fixed_s=40e-6, bytes_per_s=6.67e9, source="assumed")
RAMP = np.arange(4097) * 1e-6


class _NoCard:
    max_items = 2048
    max_results = 64

    def setup(self, program):
        raise AssertionError(f"{program} must be known")


class _Fixed(CardTimes):
    """A card whose programs all take as long per item."""

    def times(self, program):
        latency = sum(program.items) * 1e-7
        self.known[program.key] = (latency, latency / 2)
        return super().times(program)


def node(**changes) -> Node:
    made = Node(
        servers={"cpu": 4, "gpu": 1, "accelerator": 1},
        hosts={
            "cpu": HostTimes(table_s={"small": RAMP, "large": 4 * RAMP}),
            "gpu": HostTimes(table_s={"small": RAMP / 4 + 1e-3, "large": RAMP + 1e-3}),
        },
        card=_Fixed(_NoCard()),
        link=LINK,
        top_n=10,
        scans={("accelerator", 512, 1): Scan(busy_s=1e-4, latency_s=2e-4)},
        item_bytes=156,
    )
    return replace(made, **changes)


def quality() -> QualityTable:
    def point(models, items, value, **more):
        funnel = Funnel(models=models, items=items, retrieval_k=more.pop("retrieval_k", 0))
        return QualityPoint(funnel=funnel, quality=value, source="test", **more)

    return QualityTable(
        [
            point(("small",), (2048,), 0.6),
            point(("large",), (2048,), 0.9),
            point(("small", "large"), (2048, 256), 0.88),
            point(("small", "large"), (512, 256), 0.8, retrieval_k=512),
            point(("large",), (4096,), 0.95, devices=("cpu",)),
        ]
    )


def spec(**changes) -> RecPipeSpec:
    made = load_recpipe("criteo")
    update = {
        "models": ("small", "large"),
        "top_n": 10,
        "batch_items": (0, 512),
        "splits": (LaneSplit(front=(1, 4, 4)), LaneSplit(front=(8, 1, 1), back=(2, 2, 2))),
        "sub_batches": (1, 4),
        "retrieval": made.retrieval.model_copy(update={"k": (512,)}),
        "loads_qps": (50.0, 500.0, 5000.0),
        "queries": 400,
    }
    return made.model_copy(update=update | changes)


def space(**changes) -> RecPipeSpace:
    return RecPipeSpace(spec=spec(**changes), node=node(), quality=quality())


def evaluator(found: RecPipeSpace, queries: int = 400) -> Evaluator:
    return Evaluator(found.node, found.quality, queries=queries)


class _Given(Node):
    """A node whose only pipeline has these visits."""

    def visits(self, design):
        return list(VISITS)


VISITS = (
    Visit(pool="link", last_s=2e-3, before_s=1e-3, after_s=5e-4),
    Visit(pool="cpu", last_s=7e-3),
    Visit(pool="accelerator", last_s=1e-3, after_s=3e-3),
)


def test_pools_of_single_visits_are_the_stations() -> None:
    given = _Given(**{name: getattr(node(), name) for name in Node.__dataclass_fields__})
    ratio = np.array([0.5, 1.0, 2.0])
    given = replace(given, hosts={"cpu": HostTimes(table_s={}, ratios={"small": ratio})})
    found = Evaluator(given, quality(), queries=3000, seed=5)
    table = found.table([Design(funnel=quality().funnels[0], devices=("cpu",))])
    loads = np.array([100.0, 420.0])
    latency = found.latencies(table, np.zeros(2, np.int64), loads)
    ratios = given.ratios(3000, 5)[given.pools.index("cpu")]
    for row, load in enumerate(loads):
        arrivals = poisson_arrivals_s(3000, float(load), 5)
        stations = [
            Station(name="link", servers=1, service_s=2e-3, delay_s=1e-3),
            Station(name="cpu", servers=4, service_s=7e-3 * ratios, delay_s=5e-4),
            Station(name="card", servers=1, service_s=1e-3),
        ]
        finish, _ = finish_times_s(arrivals, stations, 3e-3)
        assert np.allclose(latency[row], finish - arrivals, rtol=1e-12)
    assert latency[1].mean() > 1.05 * latency[0].mean()


def test_requests_of_a_stage_end_with_the_last_one() -> None:
    one = Design(funnel=Funnel(models=("large",), items=(2048,)), devices=("cpu",), batch=300)
    found = evaluator(space())
    (visit,) = found.visits(one)
    assert (visit.parts, visit.full_s) == (7, pytest.approx(300 * 4e-6))
    assert visit.last_s == pytest.approx(248 * 4e-6)
    table = found.table([one])
    # seven requests on four threads, the seventh behind one of the first four
    assert table.idle_s[0] == pytest.approx(2 * 300 * 4e-6)
    latency = found.latencies(table, np.zeros(1, np.int64), np.array([1e-3]))
    assert np.allclose(latency, 2 * 300 * 4e-6)
    assert table.capacity_qps[0] == pytest.approx(4 / (2048 * 4e-6))


def test_several_gpus_share_the_parts_of_a_stage_and_one_takes_it_whole() -> None:
    one = Design(funnel=Funnel(models=("large",), items=(2048,)), devices=("gpu",), batch=512)
    times = 1e-3 + 4e-6 * np.arange(4097.0)
    for count, parts, alone in ((1, 1, times[2048]), (2, 4, 2 * times[512])):
        given = node(servers={"gpu": count}, hosts={"gpu": HostTimes(table_s={"large": times})})
        (visit,) = given.visits(one)
        assert visit.parts == parts
        found = Evaluator(given, quality(), queries=400)
        table = found.table([one])
        assert table.idle_s[0] == pytest.approx(alone)
        latency = found.latencies(table, np.zeros(1, np.int64), np.array([1e-3]))
        assert np.allclose(latency, alone)
        made = RecPipeSpace(spec=spec(devices=("gpu",)), node=given, quality=quality())
        whole = {design for design in made.designs() if design.funnel == one.funnel}
        assert len(whole) == count  # requests of 512, too
        genes = [made.axes["batch"].index(512) if name == "batch" else 0 for name in made.axes]
        assert made.design(genes).batch == (512 if count > 1 else 0)


def test_stages_of_one_device_share_its_servers() -> None:
    two = Design(
        funnel=Funnel(models=("small", "large"), items=(2048, 256)), devices=("cpu", "cpu")
    )
    table = evaluator(space()).table([two])
    assert table.capacity_qps[0] == pytest.approx(4 / (2048 * 1e-6 + 256 * 4e-6))


def test_card_is_a_server_and_a_delay_behind_the_link() -> None:
    one = Design(
        funnel=Funnel(models=("large",), items=(2048,)), devices=("accelerator",),
        split="1*4x4", sub_batches=1,
    )  # fmt: skip
    found = evaluator(space())
    link, card = found.visits(one)
    assert link.last_s == pytest.approx(2048 * 156 / 6.67e9)
    assert card.last_s == pytest.approx(2048e-7 / 2)
    back = LINK.seconds(10 * 8)
    assert card.after_s == pytest.approx(2048e-7 / 2 + back)
    assert found.table([one]).idle_s[0] == pytest.approx(link.last_s + 40e-6 + 2048e-7 + back)


def test_ids_that_the_card_found_stay_on_it() -> None:
    funnel = Funnel(models=("small", "large"), items=(512, 256), retrieval_k=512)
    both = {"retrieval": "accelerator", "shards": 1}
    on_card = Design(
        funnel=funnel, devices=("accelerator",) * 2, split="1*4x4", sub_batches=1, **both
    )
    on_cpu = Design(funnel=funnel, devices=("cpu", "cpu"), **both)
    found = evaluator(space())
    assert [visit.pool for visit in found.visits(on_card)] == ["accelerator", "accelerator"]
    scan, first, _ = found.visits(on_cpu)
    assert (scan.pool, first.pool) == ("accelerator", "cpu")
    assert scan.after_s == pytest.approx(1e-4 + LINK.seconds(512 * 8))
    assert found.visits(on_card)[0].after_s == pytest.approx(1e-4)


def test_ids_of_shards_go_to_the_host_and_to_the_card_again() -> None:
    scans = {("accelerator", 512, shards): Scan(busy_s=1e-4, latency_s=2e-4) for shards in (1, 2)}
    funnel = Funnel(models=("small", "large"), items=(512, 256), retrieval_k=512)
    whole = Design(
        funnel=funnel, devices=("accelerator",) * 2, retrieval="accelerator", shards=1,
        split="1*4x4", sub_batches=1,
    )  # fmt: skip
    shards = replace(whole, shards=2)
    given = node(scans=scans)
    scan, link, card = given.visits(shards)
    back, there = LINK.seconds(512 * 8), LINK.seconds(512 * 156)
    assert [scan.pool, link.pool, card.pool] == ["accelerator", "link", "accelerator"]
    assert scan.after_s == pytest.approx(1e-4 + back)
    assert link.last_s + link.after_s == pytest.approx(there)
    table = Evaluator(given, quality(), queries=400).table([whole, shards])
    assert table.idle_s[1] - table.idle_s[0] == pytest.approx(back + there)
    assert table.transfer_s[1] - table.transfer_s[0] == pytest.approx(back + there)


def test_every_pipeline_is_there_once_and_can_run() -> None:
    found = space()
    designs = list(found.designs())
    assert len(set(designs)) == len(designs)
    assert all(found.node.refusal(design) is None for design in designs)
    assert {design.funnel for design in designs} == set(quality().funnels)
    for design in designs:
        assert bool(design.split) == ("accelerator" in design.devices)
        assert design.batch == 0 or "cpu" in design.devices
        # 64 results at most: nothing leaves the card but the served list
        assert not (design.devices[0] == "accelerator" and design.devices[-1] != "accelerator")
        if design.funnel.items == (4096,):
            assert design.devices == ("cpu",)  # its quality elsewhere is not known


def test_genes_reach_every_pipeline() -> None:
    found = space()
    rng = np.random.default_rng(0)
    sizes = [len(values) for values in found.axes.values()]
    drawn = {found.design(rng.integers(0, sizes).tolist()) for _ in range(6000)}
    assert {design for design in drawn if found.legal(design)} == set(found.designs())


def test_what_does_not_settle_is_not_simulated() -> None:
    found = space()
    searched = exhaustive(found, evaluator(found))
    measures = searched.measures
    table = evaluator(found).table(searched.designs)
    beyond = measures.load_qps > MOST_LOAD * table.capacity_qps[measures.row]
    assert 0 < beyond.sum() < beyond.size
    assert np.array_equal(beyond, ~measures.stable)
    assert measures.simulated == measures.stable.sum()


def test_front_is_what_no_other_candidate_beats() -> None:
    found = space()
    searched = exhaustive(found, evaluator(found))
    measures = searched.measures
    points = np.stack([-measures.quality, measures.tail_ms, -measures.load_qps], axis=1)
    front = set(searched.front.tolist())
    assert len(front) > 3
    for place in np.flatnonzero(measures.stable).tolist():
        beaten = np.all(points <= points[place], axis=1) & np.any(points < points[place], axis=1)
        assert not (place in front and beaten.any())
        if place not in front:
            equal = np.all(points == points[place], axis=1)
            assert beaten.any() or any(int(p) in front for p in np.flatnonzero(equal))


def test_slices_hold_one_thing_fixed() -> None:
    found = space()
    fixed = spec().slices.model_copy(update={"quality": 0.85, "sla_ms": 3.0, "load_qps": 500.0})
    searched = exhaustive(found, evaluator(found))
    measures, cut = searched.measures, slices(searched, fixed)
    assert cut.quality and cut.latency and cut.throughput
    assert all(measures.quality[list(cut.quality)] >= 0.85)
    assert all(measures.tail_ms[list(cut.latency)] <= 3.0)
    assert all(measures.load_qps[list(cut.throughput)] == 500.0)
    loads, tails = measures.load_qps[list(cut.quality)], measures.tail_ms[list(cut.quality)]
    assert all(np.diff(loads) > 0) and all(np.diff(tails) > 0)
    assert all(np.diff(measures.quality[list(cut.throughput)]) > 0)
    best = measures.tail_ms[(measures.quality >= 0.85) & (measures.load_qps == loads[0])].min()
    assert tails[0] == best


def test_genetic_search_finds_the_front_of_a_small_space() -> None:
    found = space()
    every = exhaustive(found, evaluator(found))
    some = genetic(found, evaluator(found), Genetic(population=60, generations=25, seed=1))
    ratio = hypervolume_ratio(some, every)
    assert 0.98 < ratio <= 1 + 1e-12
    again = genetic(found, evaluator(found), Genetic(population=60, generations=25, seed=1))
    assert some.designs == again.designs
    few = genetic(found, evaluator(found), Genetic(population=8, generations=1, seed=1))
    assert hypervolume_ratio(few, every) < ratio


def test_genetic_search_measures_nothing_twice() -> None:
    found = space()
    some = genetic(found, evaluator(found), Genetic(population=40, generations=10, seed=3))
    asked = list(zip(some.designs, some.measures.load_qps.tolist(), strict=True))
    assert len(set(asked)) == len(asked)
    assert all(found.legal(design) for design in some.designs)


def test_too_many_candidates_are_refused() -> None:
    found = space(exhaustive_most=10)
    with pytest.raises(ValueError, match=r"^candidates must be at most 10 \(exhaustive_most\)"):
        exhaustive(found, evaluator(found))
    with pytest.raises(ValueError, match=r"^the space must hold at least one pipeline"):
        exhaustive(space(models=("medium",)), evaluator(found))


@pytest.mark.parametrize("name", recpipe_names())
def test_shipped_searches_load(name: str) -> None:
    assert load_recpipe(name).name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "colour"),
        ({"retrieval": {"rows": 3}}, "retrieval.rows"),
        ({"workload": "x"}, "workload must be criteo or movielens"),
        ({"devices": ["cpu", "tpu"]}, "devices must be of cpu, gpu, accelerator, not 'tpu'"),
        ({"slowdown": {"accelerator": 0.1}}, "slowdown must be of a cpu or gpu"),
        ({"slowdown": {"cpu": -0.1}}, "slowdown.cpu"),
        ({"launches": {"cpu": 512}}, "launches must be of a gpu with servers, not ['cpu']"),
        ({"launches": {"gpu": 0}}, "launches.gpu"),
        ({"servers": {"cpu": 2}}, "servers must hold every device"),
        ({"loads_qps": [5, 2]}, "loads_qps must ascend"),
        ({"slices": {"quality": 92.25, "sla_ms": 1, "load_qps": 500}}, "slices.quality"),
        ({"splits": ["4"]}, "a split must be like"),
        ({"batch_items": [8, 8]}, "each once"),
    ],
)
def test_wrong_specs_are_refused(change, message) -> None:
    good = load_recpipe("criteo").model_dump(mode="json") | {"splits": ["1*4x4"]}
    RecPipeSpec.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        RecPipeSpec.model_validate(good | change)
    told = "; ".join(
        f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in caught.value.errors()
    )
    assert message in told


def test_published_quality_is_the_table() -> None:
    table = criteo_quality()
    one = table.find(Funnel(models=("rmlarge",), items=(4096,)), ("cpu",))
    two = table.find(Funnel(models=("rmsmall", "rmlarge"), items=(4096, 512)), ("gpu", "cpu"))
    assert one and two and one.quality == two.quality == pytest.approx(0.9247)
    assert table.find(Funnel(models=("rmsmall", "rmlarge"), items=(2048, 256)), ()) is None
    assert all(point.source for point in table.points)
    assert len(table.points) == 36


def test_funnels_must_narrow() -> None:
    with pytest.raises(ValueError, match=r"^items must be at least 1 and must not grow"):
        Funnel(models=("a", "b"), items=(8, 16))
    with pytest.raises(ValueError, match=r"^retrieval_k must be 0 or the items"):
        Funnel(models=("a",), items=(8,), retrieval_k=16)
    with pytest.raises(ValueError, match=r"^quality must be in 0\.\.1"):
        QualityPoint(funnel=Funnel(models=("a",), items=(8,)), quality=92.25, source="x")
