import numpy as np
import pytest

from rpaccel.golden import retrieval
from rpaccel.rtl.retrieval_score import ScoreUnit, set_layout
from rpaccel.spec.retrieval import Metric, RetrievalConfig
from tests.streams import STALLS, expect_silence, receive, send, simulate, stalls

SCORES = {Metric.INNER_PRODUCT: retrieval.inner_product, Metric.L2: retrieval.l2}


def config_of(beat_bytes=32):
    return RetrievalConfig(lanes=1, k_max=16, score_bits=26, id_bits=12, beat_bytes=beat_bytes)


def scan(row_bytes, rows, metric, seed=1, first_id=0, values=None):
    rng = np.random.default_rng(seed)
    pick = rng.integers(-128, 128, (rows + 1, row_bytes)) if values is None else None
    data = rng.choice(values, (rows + 1, row_bytes)) if pick is None else pick
    data = data.astype(np.int8)
    return {"query": data[0], "rows": data[1:], "metric": metric, "first_id": first_id}


def words(array, beat_bytes, filler):
    """The bytes of `array` by beat; what is left of the last one is `filler`."""
    content = array.tobytes()
    content += bytes([filler]) * (-len(content) % beat_bytes)
    starts = range(0, len(content), beat_bytes)
    return [int.from_bytes(content[at : at + beat_bytes], "little") for at in starts]


def run(config, scans, stall="none"):
    """Return the sets of every scan: [[(score, id)] per set], and the cycles of beats and sets."""
    dut = ScoreUnit(config)
    source, sink = stalls(stall)
    beat_bytes = config.beat_bytes
    answers, times = [], {"beats": [], "sets": []}

    async def feed(ctx):
        for one in scans:
            row_bytes = len(one["query"])
            query = np.tile(one["query"], max(1, beat_bytes // row_bytes))
            items = [{"index": i, "data": d} for i, d in enumerate(words(query, beat_bytes, 0))]
            await send(ctx, dut.query, items, source)
            size = (row_bytes // 16).bit_length() - 1
            start = {"rows": len(one["rows"]), "first_id": one["first_id"], "row_size": size}
            await send(ctx, dut.start, [{**start, "metric": one["metric"]}])
            await send(ctx, dut.beat, words(one["rows"], beat_bytes, 0x5A), source)

    async def drain(ctx):
        for _ in scans:
            sets = []
            while not sets or not sets[-1]["last"]:
                sets += await receive(ctx, dut.sets, 1, sink)
            answers.append(
                [[(r["score"], r["id"]) for r in s["lanes"] if r["valid"]] for s in sets]
            )
        await expect_silence(ctx, dut.sets)

    async def watch(ctx):
        cycle = 0
        async for _, _, beat, out in ctx.tick().sample(
            dut.beat.valid & dut.beat.ready, dut.sets.valid & dut.sets.ready
        ):
            times["beats"] += [cycle] * beat
            times["sets"] += [cycle] * out
            cycle += 1

    simulate(dut, feed, drain, monitors=[dut.sets], background=[watch])
    return answers, times


def check(scans, answers):
    assert len(answers) == len(scans)
    for one, sets in zip(scans, answers, strict=True):
        scores = SCORES[one["metric"]](one["rows"], one["query"])
        ids = range(one["first_id"], one["first_id"] + len(scores))
        rows = [row for group in sets for row in group]
        assert rows == list(zip(scores.tolist(), ids, strict=True))


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("beat_bytes", [16, 32, 64])
def test_matches_golden(beat_bytes, metric, stall):
    scans = [
        scan(row_bytes, rows, metric, seed=rows, first_id=7 * rows)
        for row_bytes, rows in ((16, 9), (32, 8), (64, 7), (128, 3), (512, 2), (16, 1))
    ]
    check(scans, run(config_of(beat_bytes), scans, stall)[0])


@pytest.mark.parametrize("row_bytes", [16, 32, 512])
def test_extremes(row_bytes):
    scans = [
        scan(row_bytes, 6, metric, values=values)
        for metric in Metric
        for values in ([-128], [127], [-128, 127], [0], [-128, -127, 0, 1, 127])
    ]
    check(scans, run(config_of(), scans)[0])


def test_largest_distance():
    one = scan(512, 2, Metric.L2, values=[-128])
    one["query"] = np.full(512, 127, dtype=np.int8)
    answers, _ = run(config_of(), [one])
    assert answers == [[[(-512 * 255**2, 0)], [(-512 * 255**2, 1)]]]


@pytest.mark.parametrize("stall", ["none", "both"])
def test_no_rows(stall):
    scans = [scan(16, 0, Metric.L2), scan(64, 3, Metric.L2), scan(512, 0, Metric.INNER_PRODUCT)]
    answers, _ = run(config_of(), scans, stall)
    check(scans, answers)
    assert answers[0] == [[]] and answers[2] == [[]]


def test_sets_hold_whole_beats():
    one = scan(16, 7, Metric.INNER_PRODUCT)
    answers, _ = run(config_of(64), [one])
    assert [len(group) for group in answers[0]] == [4, 3]


@pytest.mark.parametrize(("row_bytes", "beats_per_set"), [(16, 1), (32, 1), (64, 2), (512, 16)])
def test_latency_and_throughput(row_bytes, beats_per_set):
    rows = 128 // row_bytes * 4 or 4
    one = scan(row_bytes, rows, Metric.L2)
    dut = ScoreUnit(config_of())
    times = run_fast(dut, one)
    beats, sets = times["beats"], times["sets"]
    assert beats == list(range(beats[0], beats[0] + rows * row_bytes // 32))
    ends = beats[beats_per_set - 1 :: beats_per_set]
    assert sets == [cycle + dut.latency_cycles for cycle in ends]


def run_fast(dut, one):
    """Offer a beat in every cycle, take a set in every cycle; return when they came and left."""
    times = {"beats": [], "sets": []}
    beats = words(one["rows"], 32, 0)

    async def bench(ctx):
        size = (len(one["query"]) // 16).bit_length() - 1
        start = {"rows": len(one["rows"]), "first_id": 0, "row_size": size}
        await send(ctx, dut.start, [{**start, "metric": one["metric"]}])
        ctx.set(dut.sets.ready, 1)
        ctx.set(dut.beat.valid, 1)
        for cycle in range(len(beats) + 20):
            ctx.set(dut.beat.valid, len(times["beats"]) < len(beats))
            _, _, came, left = await ctx.tick().sample(
                dut.beat.valid & dut.beat.ready, dut.sets.valid & dut.sets.ready
            )
            times["beats"] += [cycle] * came
            times["sets"] += [cycle] * left

    simulate(dut, bench)
    return times


def test_rejects():
    config = RetrievalConfig(lanes=1, k_max=16, score_bits=25)
    message = r"^score_bits must be at least 26 for rows of 512 bytes, not 25$"
    with pytest.raises(ValueError, match=message):
        set_layout(config)
