import pytest

from rpaccel.perfmodel.recpipe_artifact import ARTIFACT_RANKERS, half_block_phases, stage_phases
from rpaccel.scheduler import online_options
from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.online_options import (
    CHANGE_CYCLES,
    accelerator_options,
    commodity_options,
    stage_items,
)
from rpaccel.scheduler.published_pipelines import (
    LEAST_KEPT,
    SPLITS,
    Contention,
    ndcg,
    published_pipeline,
    split_stations,
)
from rpaccel.scheduler.queueing import capacity_qps, simulate
from rpaccel.workloads.criteo_published import LOG, ONE_STAGE, SEVERAL_STAGES, largest_cut
from tests.rpaccel.test_readme import PAGES, table

TWO = (("rmsmall", 4096, "cpu"), ("rmlarge", 256, "cpu"))


def test_a_query_alone_takes_the_logs_times():
    one = published_pipeline((("rmlarge", 4096, "cpu"),))
    assert sum(s.service_s for s in one) == pytest.approx(54.8e-3)
    assert [s.servers for s in one] == [64, 1]
    two = published_pipeline(TWO)
    assert sum(s.service_s for s in two) == pytest.approx((30.7 + 5.9) * 1e-3)
    assert [s.servers for s in two] == [32, 1, 32, 1]
    mixed = published_pipeline((("rmsmall", 4096, "t4"), TWO[1]))
    assert sum(s.service_s for s in mixed) == pytest.approx((10.5 + 5.9) * 1e-3)
    assert [s.servers for s in mixed] == [1, 1, 64, 1]


def test_a_host_that_prepares_frees_the_gpu():
    stages = (("rmlarge", 4096, "t4"),)
    alone, shared = published_pipeline(stages), published_pipeline(stages, prepared=True)
    assert sum(s.service_s for s in shared) == pytest.approx(sum(s.service_s for s in alone))
    assert capacity_qps(shared) == pytest.approx(1 / 6.2e-3)
    assert capacity_qps(alone) == pytest.approx(1 / (12.2e-3 - 1.28e-3))


def test_contention_by_hand():
    model = Contention(per_engine=0.01)
    assert model.stretch(0.05, 0.0, 64) == 1.0
    # 500 x 0.05 = 25 engines alone; 25 / (1 - 0.25) = 33.3 with it.
    assert model.stretch(0.05, 500, 64) == pytest.approx(1 + 0.01 * 25 / 0.75)
    assert model.stretch(0.05, 5000, 64) == pytest.approx(1.64)
    still = published_pipeline(TWO, load_qps=0.0, contention=model)
    assert still == published_pipeline(TWO)
    busy = published_pipeline(TWO, load_qps=500, contention=model)
    assert busy[0].service_s > still[0].service_s
    assert busy[1].service_s == still[1].service_s  # the sort


def test_splits_are_the_artifacts_arrays():
    large = ARTIFACT_RANKERS["rmlarge"]
    (whole,) = split_stations("whole", (4096,))
    assert whole.service_s == pytest.approx(2.0907e-3, rel=1e-4)
    front, back = split_stations("8,2", (4096, 512))
    assert (front.servers, back.servers) == (8, 2)
    assert front.service_s == pytest.approx(1.1632e-3, rel=1e-4)
    assert back.service_s == pytest.approx(0.8371e-3, rel=1e-4)
    assert sum(s.service_s for s in split_stations("1,1,1", (4096, 512, 128))) == pytest.approx(
        1.2448e-3, rel=1e-4
    )
    # 512 MACs lie between 1,024 and 256.
    between = half_block_phases(large, 512)
    assert stage_phases(large, 512, 16).total_ms < between.total_ms
    assert between.bottom_us < 4 * stage_phases(large, 512, 16).bottom_us
    assert between.weights_us == pytest.approx(2 * stage_phases(large, 512, 16).weights_us, rel=0.1)
    assert between.total_ms < stage_phases(large, 512, 64).total_ms


def test_the_papers_order_of_splits():
    """Figure 12, bottom: 8,2 answers first, 8,16 carries most."""
    stations = {name: split_stations(name, (4096, 512)) for name in ("8,2", "8,8", "8,16")}
    alone = [sum(s.service_s for s in each) for each in stations.values()]
    assert alone == sorted(alone)
    most = [capacity_qps(each) for each in stations.values()]
    assert most == sorted(most)
    low = [simulate(poisson_arrivals_s(5000, 250, 0), each).p99_ms for each in stations.values()]
    assert low == sorted(low)


def test_ndcg_is_of_the_log():
    assert ndcg("rmlarge", [4096]) == ndcg("rmlarge", [4096, 128]) == 92.47
    assert ndcg("rmsmall", [512]) == 71.25
    for values in ONE_STAGE.values():
        assert list(values.values()) == sorted(values.values())
    with pytest.raises(ValueError, match=r"^last and items must be of the log, not 'rmmed' and 7"):
        ndcg("rmmed", [7])
    with pytest.raises(ValueError, match=r"not 'rmhuge' and 512; it has rmsmall, rmmed, rmlarge"):
        ndcg("rmhuge", [512])
    kept = min(items[-1] for _, items, _, source in SEVERAL_STAGES if source == LOG)
    assert kept == LEAST_KEPT
    assert largest_cut() == pytest.approx(92.47 - 92.40)
    with pytest.raises(ValueError, match=r"^items must keep at least 128, not 32$"):
        ndcg("rmlarge", [1024, 128, 32])


def test_every_option_ranks_what_its_quality_is_of(monkeypatch):
    ranked = []

    def stations_of(split, items):
        ranked.append(tuple(items))
        return split_stations(split, items)

    def pipeline(stages, **more):
        ranked.append(tuple(items for _, items, _ in stages))
        return published_pipeline(stages, **more)

    monkeypatch.setattr(online_options, "split_stations", stations_of)
    monkeypatch.setattr(online_options, "published_pipeline", pipeline)
    count = len(commodity_options().options) + len(accelerator_options().options)
    assert len(ranked) == count
    # 64 are served; of several stages the log's NDCG is of 128 and more
    assert all(items[-1] >= (LEAST_KEPT if len(items) > 1 else 64) for items in ranked)
    assert (1024, 128, 128) in ranked and (12288, 1536, 384) in ranked
    with pytest.raises(ValueError, match=r"^candidates must be at least 128, not 127$"):
        stage_items(127, 3)


def test_options_of_both_machines():
    node, card = commodity_options(), accelerator_options()
    assert len(node.options) == 30
    assert len(card.options) == 5 * len(SPLITS)
    assert len({o.name for o in (*node.options, *card.options)}) == 60
    assert all(o.change_s == 0 for o in node.options)
    assert {o.change_s for o in card.options} == {CHANGE_CYCLES / 125e6}
    assert stage_items(4096, 3) == (4096, 512, 128)
    same = {o.quality for o in card.options if o.name.endswith(" 4096")}
    assert same == {92.47}


def test_the_change_is_the_netlists():
    _, rows = table((PAGES / "paper.md").read_text().splitlines(), "split")
    changes = [int(row[2].replace(",", "")) for row in rows]
    assert changes[1] < CHANGE_CYCLES == changes[2]


def test_rejects():
    with pytest.raises(ValueError, match=r"^stages must be on cpu or t4, not \['tpu'\]"):
        published_pipeline((("rmlarge", 4096, "tpu"),))
    with pytest.raises(ValueError, match=r"^stages must be on cpu or t4, not \[\]"):
        published_pipeline(())
    with pytest.raises(ValueError, match=r"^engines must be at least 2, not 1"):
        published_pipeline(TWO, engines=1)
    with pytest.raises(ValueError, match=r"^split must be one of whole, .*, not '4,4'"):
        split_stations("4,4", (4096, 512))
    with pytest.raises(ValueError, match=r"^items must be of 2 stages for 8,2, not 1"):
        split_stations("8,2", (4096,))
