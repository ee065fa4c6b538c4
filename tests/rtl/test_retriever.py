from itertools import chain, pairwise

import pytest

from rpaccel.spec.isa import Status, StatusFlag
from rpaccel.spec.retrieval import Metric
from tests.rtl.retriever_bench import Bench, machine
from tests.rtl.retriever_checks import (
    check,
    check_failed,
    send_all,
    states,
)
from tests.streams import STALL_CASES, slow_but, stalls

CONFIG = machine()


@pytest.mark.parametrize("stall", STALL_CASES)
def test_matches_golden(stall, monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    stores = [
        bench.corpus(40, 16, Metric.INNER_PRODUCT),
        bench.corpus(25, 32, Metric.L2),
        bench.corpus(9, 128, Metric.COSINE),
    ]
    order = [0, 0, 0, 1, 0, 2, 2, 1, 1, 1, 0, 2]
    for number, which in enumerate(order):
        bench.query(
            stores[which],
            k=1 + int(bench.rng.integers(40)),
            stages=1 + number % 4,
            waited=number,
            floor=None if number % 3 else 0,
        )
    before = states(bench, *stores)
    source, _ = stalls(stall, 7)
    bench.run(send_all(bench, source=source), stall=stall)
    for query in bench.queries:
        check(bench, query, before[id(query.store)])
    counters = [sum(1 for q in scan.start["queries"] if q["valid"]) for scan in bench.scans]
    assert sum(counters) == len(order)
    # neighbours of a corpus share a scan, in their order
    found = [
        [scan.start["base"]] * count for scan, count in zip(bench.scans, counters, strict=True)
    ]
    assert list(chain(*found)) == [stores[which].base for which in order]
    assert max(counters) == 2


@pytest.mark.parametrize("beat_bytes", slow_but([64], [16, 64, 128]))
@pytest.mark.parametrize("queries", slow_but([2], [1, 2, 4], nightly=[4]))
def test_widths(beat_bytes, queries, monkeypatch):
    config = machine(
        axi_data_bits=8 * beat_bytes, stripe_bytes=16 * beat_bytes, retrieval_queries=queries
    )
    bench = Bench(config, monkeypatch)
    stores = [bench.corpus(12, 16 << size, metric) for size, metric in ((0, 0), (2, 1), (4, 2))]
    for number in range(6):
        bench.query(stores[number // 2], k=[3, 20][number % 2], stages=1 + number % 2)
    before = states(bench, *stores)
    bench.run(send_all(bench))
    for query in bench.queries:
        check(bench, query, before[id(query.store)])


def test_no_row_and_nothing_found(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    empty, store = bench.corpus(0), bench.corpus(30)
    for stages in (1, 3):
        bench.query(empty, stages=stages)
        bench.query(store, stages=stages, floor=1 << 20)
    before = states(bench, empty, store)
    bench.run(send_all(bench))
    for query in bench.queries:
        check(bench, query, before[id(query.store)])
        assert query.done["count"] == 0 and query.done["flags"] == StatusFlag.UNDERFILL


BEAT = CONFIG.beat_bytes
FAR = 1 << CONFIG.axi_address_bits


@pytest.mark.parametrize(
    ("poke", "status"),
    [
        ({"version": 2}, Status.BAD_CORPUS),
        pytest.param({"corpus": 8}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        ({"vector": BEAT // 2}, Status.BAD_CORPUS),
        pytest.param({"list": 4}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        pytest.param({"bitmap": 1}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        ({"corpus": FAR}, Status.REGION),
        pytest.param({"vector": FAR}, Status.REGION, marks=pytest.mark.slow),
        ({"list": FAR << 20}, Status.REGION),
        pytest.param({"bitmap": FAR}, Status.REGION, marks=pytest.mark.slow),
    ],
)
def test_bad_records(poke, status, monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    store = bench.corpus()
    bad = {0, 2, 3}
    for number in range(6):
        bench.query(store, poke=poke if number in bad else {}, stages=1 + number % 2)
    before = states(bench, store)
    bench.run(send_all(bench))
    for number, query in enumerate(bench.queries):
        if number in bad:
            check_failed(bench, query, status)
        else:
            check(bench, query, before[id(store)])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"version": 2}, Status.BAD_CORPUS),
        ({"row_bytes": 48}, Status.BAD_CORPUS),
        pytest.param({"row_bytes": 8}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        pytest.param({"row_bytes": 512}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        ({"metric": 3}, Status.BAD_CORPUS),
        pytest.param({"base": CONFIG.stripe_bytes // 2}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        pytest.param({"live": 8}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        pytest.param({"scales": 2}, Status.BAD_CORPUS, marks=pytest.mark.slow),
        ({"base": FAR}, Status.REGION),
        pytest.param({"live": FAR}, Status.REGION, marks=pytest.mark.slow),
        pytest.param({"scales": FAR}, Status.REGION, marks=pytest.mark.slow),
        ({"rows": 1 << 31}, Status.REGION),
    ],
)
def test_bad_corpora(fields, status, monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    good, bad = bench.corpus(), bench.corpus()
    for number, store in enumerate([good, bad, bad, good, bad]):
        bench.query(store, stages=1 + number % 2)
    before = states(bench, good)
    bench.poke_corpus(bad, **fields)
    bench.run(send_all(bench))
    for query in bench.queries:
        if query.store is bad:
            check_failed(bench, query, status)
        else:
            check(bench, query, before[id(good)])
    assert len(bench.scans) == 2


@pytest.mark.parametrize("what", ["record", "vector", "last vector", "header"])
@pytest.mark.parametrize("status", slow_but([Status.MEMORY], [Status.REGION, Status.MEMORY]))
def test_failed_reads(what, status, monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    good, bad = bench.corpus(), bench.corpus(row_bytes=64)
    order = (good, bad, bad, good)
    queries = [bench.query(store, stages=2) for store in order]
    failed = queries[2 if what == "last vector" else 1]
    place = {
        "record": queries[1].address + BEAT,
        "vector": failed.place + BEAT,
        "last vector": failed.place + BEAT,
        "header": bad.header,
    }[what]
    bench.failing[place] = status
    before = states(bench, good, bad)
    bench.run(send_all(bench))
    for query in queries:
        if query.store is bad and (what == "header" or query is failed):
            check_failed(bench, query, status)
        else:
            check(bench, query, before[id(query.store)])


def test_a_failed_scan_fails_its_queries(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    stores = [bench.corpus(), bench.corpus()]
    for number in (0, 1, 1, 0):
        bench.query(stores[number], stages=1 + number)
    before = states(bench, *stores)
    bench.failed_scans[1] = Status.MEMORY
    bench.run(send_all(bench))
    for query in bench.queries:
        if query.store is stores[1]:
            check_failed(bench, query, Status.MEMORY)
        else:
            check(bench, query, before[id(query.store)])


@pytest.mark.parametrize("stages", [1, 2])
def test_a_failed_write_fails_its_query(stages, monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    store = bench.corpus()
    queries = [bench.query(store, k=30, stages=stages) for _ in range(3)]
    bench.bad_writes[queries[1].result if stages == 1 else queries[1].list] = Status.REGION
    before = states(bench, store)
    bench.run(send_all(bench))
    assert (queries[1].done["status"], queries[1].done["count"]) == (Status.REGION, 0)
    for query in (queries[0], queries[2]):
        check(bench, query, before[id(store)])


def test_late_queries(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    stores = [bench.corpus(60), bench.corpus(60)]
    # late when its scan is over; as it comes; when its scan would begin, behind another; never
    deadlines = [
        (0, 250, 100),
        (0, 50, 100),
        (0, 0, 0),
        (1, 300, 100),
        (0, 0, 0),
        (1, 550, 100),
        (0, 1 << 40, 0),
    ]
    for which, deadline, waited in deadlines:
        bench.query(stores[which], deadline=deadline, waited=waited, stages=1)
    before = states(bench, *stores)
    bench.row_cycles = (4, 4)
    bench.run(send_all(bench))
    late = [query.tag for query in bench.queries if query.done["status"] == Status.LATE]
    assert late == [0, 1, 3, 5]
    scanned = [scan.start["base"] for scan in bench.scans]
    assert scanned.count(stores[1].base) <= 1  # of the second, none of the first that was late
    for query in bench.queries:
        if query.tag in late:
            check_failed(bench, query, Status.LATE)
        else:
            check(bench, query, before[id(query.store)])


def test_abort_ends_all(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    stores = [bench.corpus(60), bench.corpus(60)]
    for number in range(4):
        bench.query(stores[number % 2], stages=1 + number % 2)
    before = states(bench, *stores)

    async def abort(ctx):
        await ctx.tick().repeat(30)
        ctx.set(bench.dut.retriever.give_up, 1)
        while not all(query.done for query in bench.queries):
            await ctx.tick()
        ctx.set(bench.dut.retriever.give_up, 0)
        bench.query(stores[0])
        await bench.submit(ctx, bench.queries[-1])

    bench.run(send_all(bench), abort)
    for query in bench.queries[:-1]:
        check_failed(bench, query, Status.ABORTED)
    check(bench, bench.queries[-1], before[id(stores[0])])


def test_the_next_scan_is_prepared_while_one_runs(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    store, other = bench.corpus(200), bench.corpus(200)
    for which in (store, other, store, other):
        bench.query(which)
    bench.run(send_all(bench))
    gaps = [after.begun_at - before.read_at for before, after in pairwise(bench.scans)]
    assert max(gaps) <= 5, gaps


def test_idle_is_low_from_the_query_on(monkeypatch):
    bench = Bench(CONFIG, monkeypatch)
    bench.query(bench.corpus())
    idle = []

    async def watch(ctx):
        retriever = bench.dut.retriever
        while not (bench.queries[0].done):
            _, _, valid, ready, now = await ctx.tick().sample(
                retriever.query.valid, retriever.query.ready, retriever.idle
            )
            if idle or (valid and ready):
                idle.append(now)

    async def feed(ctx):
        await bench.submit(ctx, bench.queries[0])

    bench.background = [watch]
    bench.run(feed)
    assert idle and not any(idle[1:-3])


def test_a_writer_waits_for_the_answer_alone(monkeypatch):
    """The port is asked for when a burst is there: rows that come late hold up nobody."""
    bench = Bench(CONFIG, monkeypatch)
    bench.query(bench.corpus(60), k=60)
    bench.answer_cycles = (400, 400)
    held = []

    async def watch(ctx):
        port, owned = bench.dut.retriever.port, 0
        async for _, _, asked, beat, answered in ctx.tick().sample(
            port.request.valid & port.request.ready,
            port.payload.valid & port.payload.ready,
            port.response.valid & port.response.ready,
        ):
            owned = 1 if asked else 0 if answered else owned
            held.append((owned, beat))

    bench.background = [watch]
    bench.run(send_all(bench))
    cycles, beats = sum(owned for owned, _ in held), sum(beat for _, beat in held)
    assert beats == -(-8 * bench.queries[0].done["count"] // BEAT)
    assert cycles <= 3 * beats + 20, (cycles, beats)
