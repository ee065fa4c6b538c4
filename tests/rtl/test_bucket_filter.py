# amaranth: UnusedElaboratable=no
from dataclasses import dataclass

import numpy as np
import pytest

from rpaccel.golden.bucket_filter import FilterResult, filter_sub_batches
from rpaccel.perfmodel import bucket_filter as cycles
from rpaccel.rtl.bucket_filter import BucketFilter
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import BINS
from tests.streams import STALL_CASES, STALLS, send, simulate, slow_but, stalls

CONFIG = load_accelerator("tiny")
STATISTICS = ("kept", "dropped", "emitted", "overshoot", "underfill", "overfill")
BINS_OF_UNITS = (4, 7, 16, 17, 33, 64)
MODES = {
    "plain": {},
    "adaptive": {"adaptive": True},
    "exact": {"exact": True},
    "limit": {"limit": 8},
    "all": {"adaptive": True, "exact": True, "limit": 9},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A query; `ends` and `held` cut it into sub-batches."""

    ids: np.ndarray
    logits: np.ndarray
    edges: np.ndarray
    threshold: int
    k: int
    exact: bool = False
    adaptive: bool = False
    limit: int = 0
    sizes: tuple[int, ...] = ()
    held: tuple[int, ...] = (0,)

    @property
    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        ends = np.cumsum(self.sizes)[:-1]
        return list(zip(np.split(self.ids, ends), np.split(self.logits, ends), strict=True))

    def expected(self) -> list[FilterResult]:
        return filter_sub_batches(
            self.batches, self.edges, self.threshold, self.k, self.held,
            exact=self.exact, adaptive=self.adaptive, limit=self.limit,
        )  # fmt: skip


def case(seed, items, k, spread=300, threshold=-200, bins=BINS, **more):
    rng = np.random.default_rng(seed)
    return Case(
        **{
            "ids": rng.integers(0, 1 << 32, items),
            "logits": rng.integers(-spread, spread, items),
            "edges": np.sort(rng.integers(-spread, spread, bins - 1)),
            "threshold": threshold,
            "k": k,
            "sizes": (items,),
            **more,
        }
    )


def in_batches(items, k, sizes, certain=True):
    """Sub-batches of a query; `held` releases what is certain, or as much as is even."""
    to_come = items - np.cumsum(sizes)
    held = to_come if certain else k * to_come // items
    return {"sizes": tuple(sizes), "held": tuple(held.tolist())}


class Run:
    """Drives a filter through cases; `releases` is what it did, one entry per release."""

    def __init__(self, cases, stall="none", *, config=CONFIG, bins=None):
        self.cases = cases
        self.dut = BucketFilter(config, bins)
        self.source, self.sink = stalls(stall)
        self.releases = []
        self.log = {}
        scores = sum(len(one.ids) for one in cases)
        limit = 40 * scores + 10_000
        simulate(
            self.dut,
            self.bench,
            monitors=[self.dut.id],
            background=[self.watch, self.read],
            limit_cycles=limit,
        )

    async def watch(self, ctx):
        dut = self.dut
        samples = ctx.tick().sample(
            dut.busy, dut.stalled_input, dut.stalled_output, dut.score.valid & dut.score.ready,
            dut.id.valid, dut.id.ready, dut.id.payload.id, dut.id.payload.last,
        )  # fmt: skip
        cycle = 0
        async for _, _, busy, no_input, no_reader, score, valid, ready, name, last in samples:
            cycle += 1
            if not self.log:
                continue
            assert busy + no_input + no_reader <= 1
            self.log["busy"] += busy
            if score:
                self.log["scores"].append(cycle)
            if valid and not self.log["first"]:
                self.log["first"] = cycle
            if valid and ready:
                self.log["taken"].append(cycle)
                self.log["ids"].append(int(name))
                self.log["last"].append(int(last))

    async def read(self, ctx):
        ready = 0
        while True:
            idle = next(self.sink)
            for _ in range(idle):
                if ready:
                    ctx.set(self.dut.id.ready, 0)
                    ready = 0
                await ctx.tick()
            ctx.set(self.dut.id.ready, 1)
            ready, valid = 1, 0
            while not valid:
                _, _, valid = await ctx.tick().sample(self.dut.id.valid)

    async def bench(self, ctx):
        for one in self.cases:
            edges = {f"edge{i}": int(edge) for i, edge in enumerate(one.edges)}
            ctx.set(self.dut.edges, {"threshold": one.threshold, **edges})
            for number, ((ids, logits), held) in enumerate(zip(one.batches, one.held, strict=True)):
                await self.release(ctx, one, number, ids, logits, held)

    async def release(self, ctx, one, number, ids, logits, held):
        dut = self.dut
        self.log = {"busy": 0, "scores": [], "first": 0, "taken": [], "ids": [], "last": []}
        start = {"k": one.k, "held": held, "limit": one.limit, "exact": one.exact,
                 "adaptive": one.adaptive, "carry": number > 0}  # fmt: skip
        await send(ctx, dut.start, [start])
        scores = [
            {"id": int(i), "logit": int(v), "ctr": 0, "last": n == len(ids) - 1}
            for n, (i, v) in enumerate(zip(ids, logits, strict=True))
        ]
        await send(ctx, dut.score, scores, self.source)
        for _ in range(40 * len(one.ids) + 2000):
            if ctx.get(dut.idle):
                break
            await ctx.tick()
        assert ctx.get(dut.idle) and ctx.get(dut.counted)
        await ctx.tick()  # the watcher has seen the last transfer
        self.releases.append(
            {**self.log, **{name: ctx.get(getattr(dut, name)) for name in STATISTICS}}
        )


def check(run):
    """Compare every release with golden; return the golden results."""
    results = [result for one in run.cases for result in one.expected()]
    assert len(run.releases) == len(results)
    for got, result in zip(run.releases, results, strict=True):
        count = len(result.ids)
        assert got["ids"] == result.ids.tolist()
        assert got["last"] == [0] * (count - 1) + [1] * (count > 0)
        wanted = {
            "kept": result.bins.sum(),
            "dropped": result.dropped,
            "emitted": count,
            "overshoot": result.overshoot,
            "underfill": result.underfill,
            "overfill": result.overfill,
        }
        assert {name: got[name] for name in STATISTICS} == wanted
    return results


def check_cycles(run, bins=BINS):
    """Cycles of a run without stalls are those of the performance model."""
    results = check(run)
    for got, result in zip(run.releases, results, strict=True):
        timing = (result.bins_scanned, bins, result.passes)
        scores, count = len(got["scores"]), len(result.ids)
        assert got["busy"] == cycles.busy_cycles(scores, count, *timing)
        assert np.ptp(got["scores"]) == scores - 1  # one a cycle
        if count:
            first = got["first"] - got["scores"][-1]
            assert first == cycles.first_survivor_cycles(*timing)
            assert first <= 16 + -(-bins // 4) + cycles.exact_cycles(result.passes)
            assert got["taken"] == list(range(got["first"], got["first"] + count))
    return results


@pytest.mark.parametrize("stall", STALL_CASES)
def test_matches_golden(stall):
    cases = [
        case(10 * seed + number, items=30 + seed, k=7, **mode)
        for number, mode in enumerate(MODES.values())
        for seed in range(2)
    ]
    cases += [
        case(seed, items=40, k=9, adaptive=bool(seed & 1), exact=seed < 2,
             **in_batches(40, 9, (13, 1, 20, 6), certain=seed != 3))
        for seed in range(4)
    ]  # fmt: skip
    check(Run(cases, stall))


def test_edges():
    full = CONFIG.max_items
    extremes = {
        "logits": np.array([32767, -32768, 0, -1]),
        "edges": np.array([-32768] * 7 + [0] * 4 + [32767] * 4),
    }
    cases = [
        case(1, items=1, k=1),
        case(2, items=full, k=full, threshold=-32768),
        case(3, items=full, k=1, spread=1),  # one bin holds all
        case(4, items=20, k=20, threshold=100),  # underfill
        case(5, items=20, k=1, threshold=32767),  # nobody passes
        case(6, items=20, k=5, spread=30000),
        case(7, items=4, k=2, threshold=-32768, **extremes),
        case(8, items=20, k=(1 << 32) - 1, threshold=-32768),  # k > n
        case(9, items=full, k=full, threshold=-32768, limit=(1 << 31) + 1),
        case(9, items=full, k=full, threshold=-32768, limit=full - 1),
    ]
    run = Run(cases)
    check(run)
    assert run.releases[3]["underfill"] and run.releases[3]["emitted"] < 20
    assert run.releases[4]["emitted"] == 0 and run.releases[4]["underfill"]
    assert run.releases[7]["emitted"] == 20 and run.releases[7]["underfill"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bins", slow_but([4, 17, 64], BINS_OF_UNITS, nightly=[7, 16, 33]))
def test_cycles_are_those_of_the_model(bins, mode):
    cases = [
        case(seed, items=items, k=k, bins=bins, **MODES[mode])
        for seed, (items, k) in enumerate([(20, 1), (30, 3), (40, 10), (20, 20), (1, 1), (64, 32)])
    ]
    cases.append(case(9, items=20, k=1, threshold=32767, bins=bins, **MODES[mode]))
    fewer = case(11, items=50, k=40, threshold=0, bins=bins, **MODES[mode] | {"limit": 0})
    fewer.edges[:] = np.sort(np.minimum(fewer.edges, 100))  # many in the top bin
    cases.append(fewer)
    check_cycles(Run(cases, bins=bins), bins)


@pytest.mark.parametrize("bins", slow_but([4, 17, 64], BINS_OF_UNITS, nightly=[7, 16, 33]))
@pytest.mark.parametrize("stall", STALL_CASES)
def test_random_queries(bins, stall):
    rng = np.random.default_rng([bins, STALLS.index(stall)])
    cases = []
    for seed in range(6):
        items = int(rng.integers(1, 65))
        k = int(rng.integers(1, items + 3))
        sizes = np.diff(np.unique([0, items, *rng.integers(1, items + 1, 3)]))
        exact = bool(rng.integers(2))
        cases.append(
            case(
                seed,
                items,
                k,
                spread=int(rng.choice([2, 40, 30000])),
                bins=bins,
                exact=exact,
                adaptive=bool(rng.integers(2)),
                limit=int(rng.choice([0, k])),
                **in_batches(items, k, sizes, certain=exact or bool(rng.integers(2))),
            )
        )
    check(Run(cases, stall, bins=bins))


ORDERS = {
    "rising": np.sort,
    "falling": lambda x: np.sort(x)[::-1],
    "equal": np.zeros_like,
    "two values": lambda x: x % 2,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bins", slow_but([4], [4, 16, 64], nightly=[16]))
def test_orders(bins, order):
    cases = []
    for mode in MODES.values():
        for k in (1, 31, 63, 64, 65):
            made = case(k, items=64, k=k, threshold=-32768, bins=bins)
            more = {"logits": ORDERS[order](made.logits), "ids": np.arange(64)[::-1] * 3}
            cases.append(case(k, items=64, k=k, threshold=-32768, bins=bins, **more, **mode))
    results = check_cycles(Run(cases, bins=bins), bins)
    for one, result in zip(cases, results, strict=True):
        assert result.underfill == (one.k > 64)
        if one.exact and one.k <= 64:
            keys = sorted(zip(-one.logits, one.ids, strict=True))[: min(one.k, one.limit or 64)]
            if not result.overfill:
                assert sorted(result.ids) == sorted(int(name) for _, name in keys)


def test_exact_k_of_equal_keys():
    ids = np.array([5, 5, 5, 5, 9, 2])
    more = {"ids": ids, "logits": np.array([3, 3, 3, 3, 3, 2]), "exact": True}
    cases = [case(0, items=6, k=k, **more) for k in (1, 2, 4, 5)]
    run = Run(cases)
    check_cycles(run)
    assert [sorted(got["ids"]) for got in run.releases] == [[5], [5] * 2, [5] * 4, [5] * 4 + [9]]


def test_adaptive_stores_less_and_never_underfills():
    below = {"threshold": 32767, "adaptive": True}  # the threshold does not count
    falling = np.sort(np.random.default_rng(0).integers(-300, 300, 64))[::-1]
    cases = [
        case(1, items=64, k=5, logits=falling, **below),
        case(1, items=64, k=5, logits=falling[::-1], **below),
    ]
    run = Run(cases)
    results = check_cycles(run)
    plain = [
        filter_sub_batches(one.batches, one.edges, -32768, one.k, one.held)[0] for one in cases
    ]
    for got, result, wanted in zip(run.releases, results, plain, strict=True):
        assert got["ids"] == wanted.ids.tolist() == result.ids.tolist()
        assert not got["underfill"]
    assert run.releases[0]["dropped"] > 32
    assert run.releases[1]["dropped"] == 0


@pytest.mark.parametrize("exact", [False, True])
def test_sub_batches_are_the_global_choice(exact):
    run = Run(
        [case(seed, items=60, k=20, exact=exact, **in_batches(60, 20, (15,) * 4))
         for seed in range(5)]
    )  # fmt: skip
    check_cycles(run)
    for number, one in enumerate(run.cases):
        releases = run.releases[4 * number : 4 * number + 4]
        together = [name for got in releases for name in got["ids"]]
        whole = filter_sub_batches(
            [(one.ids, one.logits)], one.edges, one.threshold, one.k, [0], exact=exact
        )[0]
        assert sorted(together) == sorted(whole.ids.tolist())
        assert releases[0]["emitted"] == releases[1]["emitted"] == 0  # k - held = 0
        assert releases[2]["emitted"] > 0


def test_a_query_forgets_the_one_before():
    one = case(1, items=64, k=4, adaptive=True)
    run = Run([one, one, one])
    check_cycles(run)
    assert len({tuple(got["ids"]) for got in run.releases}) == 1


def test_rejects_bins():
    for bins in (3, 65):
        with pytest.raises(ValueError, match=rf"bins must be in 4\.\.64, not {bins}"):
            BucketFilter(CONFIG, bins)


def test_exact_k_needs_what_left_to_be_certain():
    one = case(0, items=4, k=3, logits=np.zeros(4, dtype=int), sizes=(2, 2), held=(1, 0))
    check(Run([one]))
    sent = case(0, items=4, k=3, exact=True, logits=np.zeros(4, dtype=int), sizes=(2, 2),
                held=(1, 0))  # fmt: skip
    with pytest.raises(ValueError, match="held must be at least the items to come if exact"):
        sent.expected()
    with pytest.raises(AssertionError, match="held must be at least the items to come if exact"):
        Run([sent])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "k"),
    [("plain", 2048), ("all", 2048), ("plain", 16_384)]
    + [pytest.param("plain", k, marks=pytest.mark.nightly) for k in (1, 16_383)],
)
def test_longest_list(mode, k):
    items = 16_384
    config = CONFIG.model_copy(update={"max_items": items})
    more = {"ids": np.random.default_rng(1).permutation(items), **MODES[mode], "limit": 0}
    one = case(0, items=items, k=k, spread=9000, threshold=-32768, **more)
    run = Run([one], config=config)
    (result,) = check_cycles(run)
    assert len(result.ids) >= k
    assert result.overshoot == len(result.ids) - k
