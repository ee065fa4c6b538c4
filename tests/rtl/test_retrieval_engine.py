import numpy as np
import pytest

from rpaccel.golden import retrieval
from rpaccel.spec.isa import Status
from rpaccel.spec.retrieval import Metric
from tests.rtl.retrieval_engine_bench import Ask, Scan, expected, machine, run
from tests.streams import NIGHTLY, slow_but


def rows_of(rng, count, row_bytes):
    return rng.integers(-128, 128, (count, row_bytes)).astype(np.int8)


def a_scan(seed, count, row_bytes, ks, metric=Metric.INNER_PRODUCT, masks=False, live=False):
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, count, row_bytes)
    asks = [
        Ask(
            vector=rows_of(rng, 1, row_bytes)[0],
            k=k,
            bitmap=rng.random(count) < 0.3 if masks else None,
        )
        for k in ks
    ]
    return Scan(
        rows=rows,
        metric=metric,
        queries=asks,
        live=rng.random(count) < 0.8 if live else None,
    )


def check(scans, answers, reports):
    for scan, got, told in zip(scans, answers, reports, strict=True):
        for ask, answer, report in zip(scan.queries, got, told, strict=True):
            wanted, found = expected(scan, ask)
            assert answer == wanted
            assert report["found"] == found
            assert report["status"] == Status.OK


@pytest.mark.parametrize("stall", slow_but(["both"], ["none", "both"]))
@pytest.mark.parametrize(
    ("ports", "beat_bytes", "lanes"),
    [
        (2, 32, 1),
        *(pytest.param(*sizes, marks=NIGHTLY) for sizes in [(1, 16, 1), (4, 32, 2)]),
    ],
)
def test_matches_golden(ports, beat_bytes, lanes, stall):
    config = machine(ports, beat_bytes, retrieval_port_lanes=lanes)
    scans = [
        a_scan(1, 300, 16, (5, 16)),
        a_scan(2, 123, 32, (1,), Metric.L2),
        a_scan(3, 77, 64, (20, 3), Metric.COSINE, live=True),
        a_scan(4, 40, 128, (64, 7), Metric.L2, masks=True),
        a_scan(5, 21, 256, (4, 30), masks=True, live=True),
    ]
    answers, reports, _ = run(config, scans, stall=stall, latency=(3, 30))
    check(scans, answers, reports)


@pytest.mark.parametrize("stall", slow_but(["both"], ["none", "both"]))
def test_two_queries_share_a_multiplier(stall):
    """The third has none beside it; the metric changes from scan to scan."""
    config = machine(1, 32, queries=3, k_max=16, retrieval_products_per_dsp=2)
    scans = [
        a_scan(1, 60, 16, (5, 16, 2), Metric.L2),
        a_scan(2, 30, 64, (9, 3), Metric.COSINE),
        a_scan(3, 9, 128, (4, 2, 16), Metric.L2),
        a_scan(4, 33, 32, (4, 7, 16)),
    ]
    answers, reports, _ = run(config, scans, stall=stall, latency=(3, 9))
    check(scans, answers, reports)


@pytest.mark.parametrize("beat_bytes", [32, pytest.param(64, marks=NIGHTLY)])
def test_the_last_word_comes_with_the_start(beat_bytes):
    """An idle engine waits for its terms; the first scan waits for the filters' counters too."""
    config = machine(1, beat_bytes, k_max=16, retrieval_products_per_dsp=2)
    scans = [
        a_scan(1, 5, 16, (5, 2), Metric.L2),
        a_scan(2, 4, 256, (3, 4), Metric.L2),
        a_scan(3, 6, 32, (6,)),
    ]
    answers, reports, _ = run(config, scans, together=True)
    check(scans, answers, reports)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("stall", ["none", "both"])
def test_failed_reads_reach_the_scans_queries(stall):
    """Rows fail all queries of their scan, a bitmap its own query; the next scan is well."""
    config = machine(2, 32)

    def scans():
        return [
            a_scan(1, 100, 32, (5, 6), masks=True),
            a_scan(2, 100, 32, (5, 6), masks=True, live=True),
            a_scan(3, 100, 32, (5, 6), masks=True),
            a_scan(4, 100, 32, (5, 6), Metric.COSINE),
        ]

    first = scans()
    run(config, first)
    for which in ("rows", "bitmap", "live", "scales"):
        again = scans()
        number = {"rows": 0, "bitmap": 0, "live": 1, "scales": 3}[which]
        start = first[number].start
        at = start["queries"][1]["bitmap"] if which == "bitmap" else start[_FIELD[which]]
        errors = {at: Status.MEMORY}
        answers, reports, _ = run(config, again, stall=stall, errors=errors)
        for n, (scan, got, told) in enumerate(zip(again, answers, reports, strict=True)):
            for q, ask in enumerate(scan.queries):
                hit = n == number and (which != "bitmap" or q == 1)
                assert told[q]["status"] == (Status.MEMORY if hit else Status.OK), (which, n, q)
                if not hit:
                    assert got[q] == expected(scan, ask)[0]


_FIELD = {"rows": "base", "live": "live", "scales": "scales"}


def requests(log):
    """A watcher that logs how many beats each scan has asked of its ports."""

    def watch(dut, memory):
        async def bench(ctx):
            values = [p.request.valid & p.request.ready for p in dut.memory]
            beats = [p.request.payload.beats for p in dut.memory]
            async for _, _, *sampled in ctx.tick().sample(*values, *beats):
                half = len(values)
                asked = zip(sampled[:half], sampled[half:], strict=True)
                log.append(sum(b for v, b in asked if v))

        return bench

    return watch


def test_blocks_that_nobody_looks_at_are_not_read():
    config = machine(2, 32)
    scan = a_scan(1, 1600, 32, (20, 20))
    near = np.zeros(1600, bool)
    near[640:672] = True
    scan.queries[0].bitmap = near
    scan.queries[1].bitmap = np.roll(near, 800)
    log = []
    answers, reports, _ = run(config, [scan], watch=requests(log))
    check([scan], answers, reports)
    # 32 rows in 2 bursts of 16 rows, twice
    assert sum(log) == 4 * 16
    # nobody: nothing is read, and an empty beat of the bitmaps costs a cycle
    nobody = a_scan(1, 25_600, 32, (20,))
    nobody.queries[0].bitmap = np.zeros(25_600, bool)
    log = []
    _, reports, _ = run(config, [nobody], watch=requests(log))
    assert sum(log) == 0 and reports[0][0]["found"] == 0
    assert reports[0][0]["scan_cycles"] < 25_600 // 256 * 2 + 60


def free(ctx, guard, address):
    """Return whether a scan has read an address, or will not."""
    return not ctx.get(guard.low) <= address < ctx.get(guard.high)


def writer(config, scan, seed, log):
    """A watcher that changes rows and deletes them, wherever no scan has yet to read."""

    def watch(dut, memory):
        rng = np.random.default_rng(seed)
        at, row_bytes = scan.start["base"], scan.rows.shape[1]

        async def bench(ctx):
            while True:
                for _ in range(int(rng.integers(1, 3))):
                    await ctx.tick()
                    # what is written in this cycle is before a scan that begins in it
                    if ctx.get(dut.start.valid) and ctx.get(dut.start.ready):
                        log.append("start")
                row = int(rng.integers(len(scan.rows)))
                address, scale = at + row * row_bytes, scan.start["scales"] + 2 * row
                byte = scan.start["live"] + row // 8
                if scan.metric is Metric.COSINE:  # a scale alone is never changed too early
                    assert free(ctx, dut.rows_guard, address) >= free(ctx, dut.scales_guard, scale)
                if rng.random() < 0.5:
                    if free(ctx, dut.rows_guard, address) and free(ctx, dut.scales_guard, scale):
                        new = rng.integers(-128, 128, row_bytes).astype(np.int8)
                        memory.bytes[address : address + row_bytes] = new.view(np.uint8)
                        factor = retrieval.cosine_scales(new[None]).astype("<u2")
                        memory.bytes[scale : scale + 2] = factor.view(np.uint8)
                        log.append(("row", row, new))
                elif free(ctx, dut.live_guard, byte):
                    memory.bytes[byte] ^= 1 << row % 8
                    log.append(("live", row, None))

        return bench

    return watch


@pytest.mark.parametrize(
    ("latency", "metric"),
    [
        ((2, 2), Metric.COSINE),
        pytest.param((20, 200), Metric.INNER_PRODUCT, marks=NIGHTLY),
    ],
)
@pytest.mark.parametrize(("ports", "beat_bytes"), [pytest.param(1, 16, marks=NIGHTLY), (4, 32)])
@pytest.mark.slow
def test_a_scan_sees_one_state_of_the_corpus(ports, beat_bytes, latency, metric):
    config = machine(ports, beat_bytes, queries=1)
    one = a_scan(1, 4000, 16, (50,), metric, live=True)
    # every scan is of the corpus that the first one put into memory
    scans = [one, *(Scan(rows=one.rows, metric=one.metric, queries=one.queries, live=one.live)
                    for _ in range(2))]  # fmt: skip
    log = []

    def same_corpus(dut, memory):
        for scan in scans[1:]:
            scan.start = one.start
        return writer(config, one, 3, log)(dut, memory)

    answers, reports, _ = run(config, scans, latency=latency, watch=same_corpus)
    rows, live, number = one.rows.copy(), one.live.copy(), 0
    changes = 0
    for entry in log:
        if entry == "start":
            state = Scan(rows=rows.copy(), metric=one.metric, queries=one.queries, live=live.copy())
            wanted, found = expected(state, one.queries[0])
            assert answers[number][0] == wanted, number
            assert reports[number][0]["found"] == found
            number += 1
        elif entry[0] == "row":
            rows[entry[1]] = entry[2]
            changes += 1
        else:
            live[entry[1]] ^= True
            changes += 1
    assert number == len(scans) and changes > 50


@pytest.mark.slow
def test_the_next_scan_follows_at_once():
    """Scans of one corpus overlap: what a scan costs beyond its beats is small."""
    config = machine(2, 32, queries=1, k_max=16)
    one = a_scan(1, 2000, 32, (16,))
    scans = [Scan(rows=one.rows, metric=one.metric, queries=one.queries) for _ in range(6)]
    cycles = []

    def same_corpus(dut, memory):
        for scan in scans[1:]:
            scan.start = scans[0].start

        async def bench(ctx):
            cycle = 0
            async for _, _, told in ctx.tick().sample(dut.report[0].valid & dut.report[0].ready):
                cycle += 1
                if told:
                    cycles.append(cycle)

        return bench

    answers, reports, _ = run(config, scans, latency=(30, 30), watch=same_corpus)
    check(scans, answers, reports)
    each = np.diff(cycles)
    assert max(each) <= 1000 + 40, each


def test_giving_up_ends_a_scan():
    config = machine(2, 32)
    scans = [a_scan(1, 2000, 32, (5, 6), masks=True), a_scan(2, 100, 32, (5,))]

    def watch(dut, memory):
        async def bench(ctx):
            while not (ctx.get(dut.start.valid) and ctx.get(dut.start.ready)):
                await ctx.tick()
            for cycle in range(200):
                await ctx.tick()
                ctx.set(dut.give_up, 100 <= cycle < 110)

        return bench

    answers, reports, _ = run(config, scans, watch=watch)
    assert reports[0][0]["scan_cycles"] < 400 and reports[0][0]["beats"] < 1000
    check(scans[1:], answers[1:], reports[1:])
