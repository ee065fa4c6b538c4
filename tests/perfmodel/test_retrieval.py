import numpy as np
import pytest

from rpaccel.golden.retrieval import ideal_passes
from rpaccel.perfmodel import retrieval
from rpaccel.perfmodel.retrieval_overrun import main, measure
from rpaccel.rtl.retrieval_filter import ScoreFilter
from rpaccel.spec.retrieval import RetrievalConfig
from rpaccel.workloads.score_orders import score_orders
from tests.streams import simulate, slow_rows_but

BITS = 14
LOW = -(1 << BITS - 1)
ORDERS = tuple(score_orders(8, 2, 2, BITS, 0))


def config_of(**update):
    sizes = {"lanes": 4, "k_max": 40, "score_bits": BITS, "id_bits": 12, "fifo_depth": 32}
    return RetrievalConfig(**{**sizes, **update})


def measured(config, scores, k, base, shift, valid):
    """Drive a query after reset without stalls; return what ScanReport says."""
    dut = ScoreFilter(config)
    report = {"stalled_cycles": 0, "passes": 0, "queued": 0, "peak_entries": 0}
    swept = []
    lanes, sets = config.lanes, -(-len(scores) // config.lanes)

    async def bench(ctx):
        ctx.set(dut.start.payload, {"k": k, "base": base, "shift": shift})
        ctx.set(dut.start.valid, 1)
        await ctx.tick().until(dut.start.ready)
        ctx.set(dut.start.valid, 0)
        ctx.set(dut.result.ready, 1)
        ctx.set(dut.rows.valid, 1)
        number, cycle, entries = 0, 0, [0] * lanes
        while True:
            places = range(number * lanes, number * lanes + lanes)
            rows = [
                {"valid": bool(p < len(scores) and valid[p]), "score": int(scores[p]), "id": p}
                if p < len(scores)
                else {"valid": 0, "score": 0, "id": 0}
                for p in places
            ]
            ctx.set(dut.rows.payload, {"lanes": rows, "last": number == sets - 1})
            _, _, *now = await ctx.tick().sample(
                dut.rows.ready,
                dut.stalled,
                dut.passes,
                dut.queued,
                dut.left,
                dut.swept,
                dut.result.valid & dut.result.payload.end,
                dut.start.ready,
            )
            ready, stalled, passes, queued, left, sweep, end, closed = now
            report["queued"] += queued.bit_count()
            report["peak_entries"] = max(report["peak_entries"], *entries)
            for lane in range(lanes):
                entries[lane] += (queued >> lane & 1) - (left >> lane & 1)
            swept.append(sweep)
            report["stalled_cycles"] += stalled
            report["passes"] += passes
            if ready:
                number += 1
                report["scan_cycles"] = cycle + 1
            if number == sets:
                ctx.set(dut.rows.valid, 0)
                if closed and "close_cycle" not in report:
                    report["close_cycle"] = cycle - 1  # in the next cycle a query may start
            if end:
                report["end_cycle"] = cycle
                report["sweeps"] = sum(swept[: report["close_cycle"]])
                break
            cycle += 1

    simulate(dut, bench)
    return report


SCANS = [
    (4, 13, 402, LOW, BITS - 8), (1, 1, 70, LOW, 0), (8, 40, 601, 0, 3), (2, 16, 200, 0, BITS),
]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("lanes", "k", "count", "base", "shift"),
    slow_rows_but(
        [(1, 1, 70, LOW, 0)],
        [
            (4, 13, 402, LOW, BITS - 8),
            (8, 40, 601, 0, 3),
            (1, 1, 70, LOW, 0),
            (2, 16, 200, 0, BITS),
        ],
    ),
)
def test_equals_rtl(order, lanes, k, count, base, shift):
    scores = score_orders(count, lanes, k, BITS, seed=lanes)[order]
    valid = np.random.default_rng(k).random(count) < (0.8 if lanes == 2 else 2)
    config = config_of(lanes=lanes)
    report = retrieval.scan(config, scores, k, base, shift, valid)
    found = measured(config, scores, k, base, shift, valid)
    assert {name: getattr(report, name) for name in found} == found
    assert len(found) == 8


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_overrun_at_k_1024(lanes):
    """Of the model; tests/rtl/test_retrieval_scan.py compares it with the netlist."""
    config = RetrievalConfig(lanes=lanes, k_max=1024)
    for order, most in (("random", 0.01), ("ascending", 0.05), ("linear", 0.05), ("equal", 0.05)):
        report = measure(config, order, 1 << 20, 1024)
        assert 0 <= report.overrun <= most
        assert report.scan_cycles == report.sets + report.stalled_cycles <= report.close_cycle
        assert report.peak_entries <= config.fifo_depth


def test_trials_are_what_bounds_rising_scores():
    """A bucket holds 16 K rows: without trials all of them pass."""
    config = RetrievalConfig(lanes=8, k_max=256, fifo_depth=128)
    scores = np.arange(1 << 16)
    fast, slow = (retrieval.scan(config, scores, 256, 0, 12, trials=t) for t in (True, False))
    assert fast.overrun < 0.05 and slow.overrun > 3


def test_ideal_passes():
    count, k = 1_000_000, 1024
    mean = retrieval.mean_passes(count, k)
    assert round(mean) == 8073  # the Poisson-binomial mean of 10**6 rows
    scores = np.random.default_rng(2).permutation(count)
    assert abs(ideal_passes(scores, k) - mean) <= 3 * 78  # 78: its standard deviation
    assert retrieval.mean_passes(5, 5) == 5 and retrieval.mean_passes(3, 1) == 1 + 1 / 2 + 1 / 3


def test_table(capsys):
    arguments = ["--rows", "20000", "--k", "64", "--lanes", "4", "--orders", "random", "equal"]
    assert main(arguments) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("20000 rows, K = 64, 512 entries; ideal passes ")
    assert [line.split()[:3] for line in lines] == [["4", "random", "5000"], ["4", "equal", "5000"]]


def test_rejects():
    with pytest.raises(ValueError, match=r"^scores must have at least one row, not 0$"):
        retrieval.scan(config_of(), [], 1, 0, 0)
    with pytest.raises(ValueError, match=r"^order must be one of random, .*, not 'up'$"):
        measure(config_of(), "up", 10, 1)
