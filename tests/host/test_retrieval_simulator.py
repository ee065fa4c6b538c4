"""The retrieval engine on AXI memory, as a Verilated netlist: answers of whole scans."""

import numpy as np
import pytest

from rpaccel.golden import retrieval
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.ideal_requester import requester_report
from rpaccel.host.retrieval_simulator import (
    RetrievalError,
    ScanQuery,
    ScanTask,
    build_retrieval,
    run_retrieval,
)
from rpaccel.spec.isa import Status
from rpaccel.spec.retrieval import K_LIMIT, LANES_LIMIT, Metric
from rpaccel.spec.stripe import port_of
from tests.rtl.retrieval_engine_bench import machine
from tests.streams import slow_but

SCORES = {Metric.INNER_PRODUCT: retrieval.inner_product, Metric.L2: retrieval.l2}
SMALL = machine(2, 32, queries=2, k_max=64, retrieval_port_lanes=2)

pytestmark = pytest.mark.slow  # a netlist of its own


def scores_of(rows, scales, metric, vector):
    if metric is Metric.COSINE:
        return retrieval.cosine(rows, vector, scales)
    return SCORES[metric](rows, vector)


def wanted(corpus, metric, query):
    """Return ids, scores and how many rows qualify, by a full sort."""
    rows, live, scales = corpus
    scores = scores_of(rows, scales, metric, query.vector)
    keep = np.ones(len(rows), bool) if live is None else live.copy()
    if query.bitmap is not None:
        keep &= query.bitmap
    if query.floor is not None:
        keep &= scores >= query.floor
    ids = np.flatnonzero(keep)
    best = retrieval.top_k(scores[keep], query.k, ids) if len(ids) else ids
    return ids[best], scores[keep][best], len(ids)


def random_corpus(rng, row_bytes, most=900):
    rows = rng.integers(-128, 128, (int(rng.integers(1, most)), row_bytes)).astype(np.int8)
    live = rng.random(len(rows)) < 0.9 if rng.random() < 0.5 else None
    return rows, live, retrieval.cosine_scales(rows).astype(np.uint16)


def random_query(rng, corpus, metric, k_max=64):
    rows, _, scales = corpus
    vector = rng.integers(-128, 128, rows.shape[1]).astype(np.int8)
    scores = scores_of(rows, scales, metric, vector)
    return ScanQuery(
        vector=vector,
        k=int(rng.integers(1, k_max + 1)),
        base=int(rng.integers(-100_000, 100_000)),
        shift=int(rng.integers(0, 20)),
        bitmap=rng.random(len(rows)) < rng.choice([0.02, 0.5]) if rng.random() < 0.5 else None,
        floor=int(np.median(scores)) if rng.random() < 0.3 else None,
    )


def random_load(seed, scans):
    rng = np.random.default_rng(seed)
    corpora = [random_corpus(rng, row_bytes) for row_bytes in (16, 32, 64, 128, 256, 512)]
    tasks = []
    for _ in range(scans):
        number, metric = int(rng.integers(len(corpora))), Metric(int(rng.integers(3)))
        asked = [random_query(rng, corpora[number], metric) for _ in range(int(rng.integers(1, 3)))]
        tasks.append(ScanTask(corpus=number, metric=metric, queries=asked))
    return corpora, tasks


def check(corpora, tasks, run):
    assert [len(answers) for answers in run.answers] == [len(task.queries) for task in tasks]
    failed = 0
    for task, answers in zip(tasks, run.answers, strict=True):
        for query, answer in zip(task.queries, answers, strict=True):
            if answer.status != Status.OK:
                failed += 1
                continue
            ids, scores, found = wanted(corpora[task.corpus], task.metric, query)
            assert answer.ids.tolist() == ids.tolist()
            assert answer.scores.tolist() == scores.tolist()
            assert answer.found == found
    return failed


@pytest.mark.parametrize(
    ("timing", "waits"),
    [
        (MemoryTiming(), 0),
        (MemoryTiming(in_order=False, jitter_cycles=60, hold_per_mille=30), 300),
        (MemoryTiming.of("hbm2"), 0),
    ],
)
def test_random_scans(timing, waits):
    corpora, tasks = random_load(1, 60)
    run = run_retrieval(build_retrieval(SMALL), SMALL, corpora, tasks, timing, wait_per_mille=waits)
    assert check(corpora, tasks, run) == 0


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("ports", "queries"),
    [(2, 3), (16, 11)],  # 11 on 16 ports: what docs/generated/retrieval.md counts on
)
def test_queries_that_share_multipliers(ports, queries):
    config = machine(ports, 32, queries=queries, k_max=64, retrieval_products_per_dsp=2)
    rng = np.random.default_rng(4)
    corpora = [random_corpus(rng, row_bytes) for row_bytes in (16, 128, 512)]
    least = np.full((700, 128), -128, np.int8)
    corpora.append((least, None, retrieval.cosine_scales(least).astype(np.uint16)))
    tasks = []
    for number, corpus in enumerate(corpora):
        for metric in Metric:
            asked = [random_query(rng, corpus, metric) for _ in range(queries)]
            asked[-1] = ScanQuery(vector=np.full(corpus[0].shape[1], -128, np.int8), k=64)
            tasks.append(ScanTask(corpus=number, metric=metric, queries=asked))
    run = run_retrieval(build_retrieval(config), config, corpora, tasks, MemoryTiming.of("hbm2"))
    assert check(corpora, tasks, run) == 0


STALLS = MemoryTiming(
    in_order=False, jitter_cycles=60, hold_per_mille=30, stall_per_mille=200, seed=5
)


@pytest.mark.nightly
@pytest.mark.parametrize("products", [1, 2])
def test_five_queries_share_a_scan(products):
    """A number of queries that no power of two is: random order, all stalls, places left empty."""
    config = machine(
        4, 32, queries=5, k_max=100, retrieval_port_lanes=2, retrieval_products_per_dsp=products
    )
    rng = np.random.default_rng(products)
    corpora = [random_corpus(rng, row_bytes, 5000) for row_bytes in (16, 64, 512)]
    tasks = []
    for number in rng.permutation(36) % len(corpora):
        metric, asking = Metric(int(rng.integers(3))), 5 if rng.random() < 0.7 else 3
        asked = [random_query(rng, corpora[number], metric, 100) for _ in range(asking)]
        tasks.append(ScanTask(corpus=int(number), metric=metric, queries=asked))
    assert sum(len(task.queries) == 5 for task in tasks) > 15
    run = run_retrieval(build_retrieval(config), config, corpora, tasks, STALLS, wait_per_mille=300)
    assert check(corpora, tasks, run) == 0


def test_the_largest_k():
    """K up to 4096, of more rows and of fewer, in random and in rising order."""
    config = machine(4, 32, queries=2, k_max=K_LIMIT, retrieval_port_lanes=2)
    rng = np.random.default_rng(6)
    corpora, tasks = [], []
    for count in (30_000, 4096, 5000):
        rows = rng.integers(-128, 128, (count, 16)).astype(np.int8)
        vector = rng.integers(-128, 128, 16).astype(np.int8)
        if count == 5000:
            rows = rows[np.argsort(retrieval.inner_product(rows, vector), kind="stable")]
        corpora.append((rows, None, None))
        for pair in ((4096, 4095), (2049, 4096)):
            asked = [ScanQuery(vector=vector, k=k, base=0, shift=9) for k in pair]
            tasks.append(ScanTask(corpus=len(corpora) - 1, metric=Metric.L2, queries=asked))
            tasks.append(
                ScanTask(corpus=len(corpora) - 1, metric=Metric.INNER_PRODUCT, queries=asked)
            )
    run = run_retrieval(build_retrieval(config), config, corpora, tasks, MemoryTiming.of("hbm2"))
    assert check(corpora, tasks, run) == 0
    assert max(len(answer.ids) for answers in run.answers for answer in answers) == 4096


def random_point(seed):
    """Return a machine whose engine has sizes drawn from all that are allowed."""
    rng = np.random.default_rng(seed)

    def draw(*values):
        return int(rng.choice(values))

    beat_bytes, ports = draw(16, 32, 64), draw(1, 2, 4, 8)
    most = min(8, beat_bytes // 16, LANES_LIMIT // ports)
    return machine(
        ports,
        beat_bytes,
        queries=draw(*range(1, 8)),
        k_max=draw(16, 17, 100, 511, 1000, 2048),
        retrieval_port_lanes=draw(*(n for n in (1, 2, 4) if n <= most)),
        retrieval_fifo_depth=draw(16, 32, 128, 512),
        retrieval_products_per_dsp=draw(1, 2),
        reads_in_flight=draw(4, 16, 64),
    )


@pytest.mark.parametrize("seed", slow_but([1, 2], range(1, 11), nightly=range(3, 11)))
def test_random_design_points(seed):
    """Rows of all sizes, all metrics, bitmaps, floors and deleted rows, against a full sort."""
    config, rng = random_point(seed), np.random.default_rng(seed)
    sizes = [n for n in (16, 32, 64, 128, 256, 512) if n <= config.retrieval_row_bytes_max]
    corpora = [random_corpus(rng, row_bytes, 3000) for row_bytes in sizes]
    tasks = []
    for _ in range(24):
        number, metric = int(rng.integers(len(corpora))), Metric(int(rng.integers(3)))
        asked = [
            random_query(rng, corpora[number], metric, config.retrieval_k_max)
            for _ in range(int(rng.integers(1, config.retrieval_queries + 1)))
        ]
        tasks.append(ScanTask(corpus=number, metric=metric, queries=asked))
    run = run_retrieval(build_retrieval(config), config, corpora, tasks, STALLS, wait_per_mille=100)
    assert check(corpora, tasks, run) == 0


def test_failed_reads_are_told_and_nothing_else_is_wrong():
    corpora, tasks = random_load(2, 80)
    timing = MemoryTiming(error_per_mille=3, spike_per_million=2000, spike_cycles=2000)
    run = run_retrieval(build_retrieval(SMALL), SMALL, corpora, tasks, timing)
    asked = sum(len(task.queries) for task in tasks)
    assert 5 < check(corpora, tasks, run) < asked - 20


def test_a_silent_memory_fails():
    corpora, tasks = random_load(3, 3)
    with pytest.raises(RetrievalError, match="the limit of cycles was reached"):
        run_retrieval(
            build_retrieval(SMALL), SMALL, corpora, tasks, MemoryTiming(), limit_cycles=300
        )


def scan_all(corpus, queries, metric=Metric.INNER_PRODUCT, config=SMALL, **timing):
    """Run one scan for each two queries and check all answers; return them in one list."""
    pairs = [queries[i : i + 2] for i in range(0, len(queries), 2)]
    tasks = [ScanTask(corpus=0, metric=metric, queries=pair) for pair in pairs]
    run = run_retrieval(build_retrieval(config), config, [corpus], tasks, MemoryTiming(**timing))
    assert check([corpus], tasks, run) == 0
    return [answer for answers in run.answers for answer in answers]


@pytest.mark.parametrize("row_bytes", [16, 32, 512])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65, 129])
def test_edges_of_k_and_rows(count, row_bytes):
    rng = np.random.default_rng(count)
    rows = rng.integers(-128, 128, (count, row_bytes)).astype(np.int8)
    vectors = rng.integers(-128, 128, (4, row_bytes)).astype(np.int8)
    queries = [ScanQuery(vector=v, k=k) for v, k in zip(vectors, (1, 8, 63, 64), strict=True)]
    answers = scan_all((rows, None, None), queries)
    assert [len(answer.ids) for answer in answers] == [min(count, k) for k in (1, 8, 63, 64)]


@pytest.mark.parametrize("order", ["equal", "ascending", "descending", "least", "one lane"])
def test_orders(order):
    count = 3000
    values = {
        "equal": np.full(count, 3),
        "ascending": np.sort(np.random.default_rng(1).integers(-128, 128, count)),
        "descending": np.sort(np.random.default_rng(1).integers(-128, 128, count))[::-1],
        "least": np.full(count, -128),
        "one lane": np.where(np.arange(count) % 4 == 2, 100, -100) + np.arange(count) % 16,
    }
    rows = np.ones((count, 16), np.int8)
    rows[:, 0] = values[order]
    vector = np.zeros(16, np.int8)
    vector[0] = 127
    queries = [ScanQuery(vector=v, k=k, shift=7) for v in (vector, -vector) for k in (64, 17)]
    scan_all((rows, None, None), queries)


def test_floor_and_pages():
    """A floor counts what qualifies; pages together are the whole order, each row once."""
    rng = np.random.default_rng(5)
    rows = rng.integers(-128, 128, (190, 32)).astype(np.int8)
    rows[::3] = rows[0]  # equal scores
    vector = rng.integers(-128, 128, 32).astype(np.int8)
    corpus = (rows, None, None)
    scores = retrieval.inner_product(rows, vector)
    names, page = [], None
    for _ in range(5):
        queries = [ScanQuery(vector=vector, k=42, page=page)]
        tasks = [ScanTask(corpus=0, metric=Metric.INNER_PRODUCT, queries=queries)]
        run = run_retrieval(build_retrieval(SMALL), SMALL, [corpus], tasks, MemoryTiming())
        answer = run.answers[0][0]
        names += answer.ids.tolist()
        page = (int(answer.scores[-1]), int(answer.ids[-1]))
    assert names == retrieval.top_k(scores, 190).tolist()
    floor = int(np.sort(scores)[60])
    above = int(scores.max()) + 1
    queries = [
        ScanQuery(vector=vector, k=k, floor=f) for k, f in ((64, floor), (5, floor), (5, above))
    ]
    answers = scan_all(corpus, queries)
    assert [a.found for a in answers] == [int((scores >= floor).sum())] * 2 + [0]
    assert len(answers[2].ids) == 0


def a_beat_per_port_and_cycle(config, row_bytes):
    """From the first beat to the last, but for the filter's waits."""
    count = (1 << 18) * config.memory_ports // row_bytes
    rng = np.random.default_rng(1)
    rows = rng.integers(-128, 128, (count, row_bytes)).astype(np.int8)
    vector = rng.integers(-128, 128, row_bytes).astype(np.int8)
    query = ScanQuery(vector=vector, k=16, shift=10)
    answer = scan_all((rows, None, None), [query], config=config)[0]
    beats = rows.size // config.beat_bytes
    assert answer.beats == beats
    assert answer.stalled_cycles < 200
    assert answer.scan_cycles - answer.stalled_cycles < beats / config.memory_ports * 1.005 + 150


@pytest.mark.parametrize("row_bytes", [16, 64, 512])
def test_a_beat_per_port_and_cycle(row_bytes):
    a_beat_per_port_and_cycle(SMALL, row_bytes)


@pytest.mark.parametrize("row_bytes", [16, 128])
@pytest.mark.parametrize(
    ("ports", "beat_bytes", "lanes"),
    [pytest.param(*sizes, marks=pytest.mark.nightly) for sizes in [(1, 16, 1), (8, 64, 4)]],
)
def test_a_beat_per_port_and_cycle_of_other_machines(ports, beat_bytes, lanes, row_bytes):
    config = machine(ports, beat_bytes, queries=1, k_max=16, retrieval_port_lanes=lanes)
    a_beat_per_port_and_cycle(config, row_bytes)


@pytest.mark.parametrize("order", ["random", "ascending"])
def test_a_million_rows_at_the_speed_of_memory(order):
    """K = 1024 of 2**20 rows of 64 B on four HBM2 ports, two queries a scan."""
    config = machine(4, 64, queries=2, k_max=1024, reads_in_flight=64)
    rng = np.random.default_rng(1)
    count, row_bytes, k = 1 << 20, 64, 1024
    rows = rng.integers(-128, 128, (count, row_bytes)).astype(np.int8)
    vectors = rng.integers(-128, 128, (2, row_bytes)).astype(np.int8)
    if order == "ascending":
        rows = rows[np.argsort(retrieval.inner_product(rows, vectors[0]), kind="stable")]
    queries = [ScanQuery(vector=vector, k=k, base=0, shift=10) for vector in vectors]
    timing = MemoryTiming.of("hbm2")
    corpus = (rows, None, None)
    tasks = [ScanTask(corpus=0, metric=Metric.INNER_PRODUCT, queries=queries)] * 2
    run = run_retrieval(build_retrieval(config), config, [corpus], tasks, timing)
    assert check([corpus], tasks, run) == 0
    addresses = config.stripe_bytes * (4 + np.arange(count * row_bytes // 1024))
    ideal = requester_report(timing, addresses, 1024, port_of(config, addresses))
    for answers in run.answers:
        cycles = answers[0].reported - answers[0].started
        assert ideal.cycles / cycles >= 0.97
        assert cycles - ideal.cycles <= (0.01 if order == "random" else 0.05) * ideal.cycles
