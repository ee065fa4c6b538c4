import numpy as np
import pytest
from amaranth.hdl import Module

from rpaccel.golden import retrieval
from rpaccel.host.synthesis import synthesise
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.retrieval_score import ScoreUnit, set_layout
from rpaccel.rtl.retrieval_terms import QueryTerms
from rpaccel.spec.retrieval import Metric, RetrievalConfig
from tests.streams import STALL_CASES, expect_silence, receive, send, simulate, stalls

SCORES = {
    Metric.INNER_PRODUCT: retrieval.inner_product,
    Metric.L2: retrieval.l2,
    Metric.COSINE: lambda rows, query: retrieval.cosine(rows, query, retrieval.cosine_scales(rows)),
}
QUERIES = 2
PRODUCTS = pytest.mark.parametrize("products", [1, 2])


def config_of(beat_bytes=32, products=1):
    return RetrievalConfig(
        lanes=1,
        k_max=16,
        score_bits=32,
        id_bits=12,
        beat_bytes=beat_bytes,
        products_per_dsp=products,
    )


def scan(row_bytes, rows, metric, seed=1, first_id=0, values=None, queries=QUERIES):
    """Rows, as many queries as places, and which rows each query looks at."""
    rng = np.random.default_rng(seed)
    shape = (rows + queries, row_bytes)
    data = rng.integers(-128, 128, shape) if values is None else rng.choice(values, shape)
    data = data.astype(np.int8)
    masks = rng.integers(0, 2, (queries, rows)) if seed % 2 else np.ones((queries, rows), int)
    return {
        "queries": data[:queries],
        "rows": data[queries:],
        "masks": masks,
        "metric": metric,
        "first_id": first_id,
    }


def words(array, beat_bytes, filler):
    """The bytes of `array` by beat; what is left of the last one is `filler`."""
    content = array.tobytes()
    content += bytes([filler]) * (-len(content) % beat_bytes)
    starts = range(0, len(content), beat_bytes)
    return [int.from_bytes(content[at : at + beat_bytes], "little") for at in starts]


def beats(one, beat_bytes):
    """The beats of a scan: short rows are packed, with what is behind the last one masked."""
    rows, row_bytes = one["rows"], one["rows"].shape[1]
    in_beat, of_row = max(1, beat_bytes // row_bytes), max(1, row_bytes // beat_bytes)
    lanes = beat_bytes // 16
    scales = retrieval.cosine_scales(rows)
    for number, word in enumerate(words(rows, beat_bytes, 0x5A)):
        first = number // of_row * in_beat
        inside = range(first, min(first + in_beat, len(rows)))
        bits = [sum(int(mask[i]) << i - first for i in inside) for mask in one["masks"]]
        yield {
            "data": word,
            "id": one["first_id"] + first,
            "word": number % of_row,
            "ends": number % of_row == of_row - 1,
            "masks": bits,
            "scales": [int(scales[i]) for i in inside] + [7] * (lanes - len(inside)),
        }


def unit_of(config, queries):
    """A scoring unit; with two products per DSP, what tells it the queries' terms as well."""
    m = Module()
    m.submodules.unit = unit = ScoreUnit(config, queries)
    if config.products_per_dsp == 1:
        return m, unit, None
    m.submodules.terms = terms = QueryTerms(config, queries)
    m.d.comb += [
        terms.word.valid.eq(unit.word.valid),
        terms.word.query.eq(unit.word.query),
        terms.word.first.eq(unit.word.index == 0),
        terms.word.data.eq(unit.word.data),
        terms.metric.eq(unit.metric),
        terms.row_size.eq(unit.row_size),
        *(to.eq(term) for to, term in zip(unit.terms, terms.terms, strict=True)),
    ]
    return m, unit, terms


async def load(ctx, dut, one, bank, beat_bytes):
    """Write the words of all queries into a bank."""
    for query, vector in enumerate(one["queries"]):
        repeated = np.tile(vector, max(1, beat_bytes // len(vector)))
        for index, word in enumerate(words(repeated, beat_bytes, 0)):
            entry = {"valid": 1, "query": query, "bank": bank, "index": index, "data": word}
            ctx.set(dut.word, entry)
            await ctx.tick()
    ctx.set(dut.word.valid, 0)


def run(config, scans, stall="none"):
    """Return the sets of every scan: [[[(score, id)] per query] per set], and cycles in and out."""
    m, dut, terms = unit_of(config, len(scans[0]["queries"]))
    source, sink = stalls(stall)
    beat_bytes = config.beat_bytes
    answers, times = [], {"beats": [], "sets": []}
    sizes = [-(-len(s["rows"]) // max(1, beat_bytes // s["rows"].shape[1])) for s in scans]

    async def feed(ctx):
        for number, one in enumerate(scans):
            await load(ctx, dut, one, number % 2, beat_bytes)
            while not ctx.get(dut.idle):
                await ctx.tick()
            ctx.set(dut.bank, number % 2)
            ctx.set(dut.row_size, (one["rows"].shape[1] // 16).bit_length() - 1)
            ctx.set(dut.metric, one["metric"])
            if terms is not None:
                await ctx.tick().repeat(terms.latency_cycles - 1)
                ctx.set(terms.take, 1)
                await ctx.tick()
                ctx.set(terms.take, 0)
            await send(ctx, dut.beat, beats(one, beat_bytes), source)

    async def drain(ctx):
        for count in sizes:
            sets = await receive(ctx, dut.sets, count, sink)
            answers.append(
                [
                    [[(r["score"], r["id"]) for r in lanes if r["valid"]] for lanes in s["queries"]]
                    for s in sets
                ]
            )
        await expect_silence(ctx, dut.sets)
        assert ctx.get(dut.idle)

    async def watch(ctx):
        cycle = 0
        async for _, _, beat, out in ctx.tick().sample(
            dut.beat.valid & dut.beat.ready, dut.sets.valid & dut.sets.ready
        ):
            times["beats"] += [cycle] * beat
            times["sets"] += [cycle] * out
            cycle += 1

    simulate(m, feed, drain, monitors=[dut.sets], background=[watch])
    return answers, times


def check(scans, answers):
    assert len(answers) == len(scans)
    for one, sets in zip(scans, answers, strict=True):
        for query, vector in enumerate(one["queries"]):
            scores = SCORES[one["metric"]](one["rows"], vector).tolist()
            wanted = [(scores[i], one["first_id"] + i) for i in np.flatnonzero(one["masks"][query])]
            assert [row for group in sets for row in group[query]] == wanted


@pytest.mark.parametrize("stall", STALL_CASES)
@PRODUCTS
@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("beat_bytes", [16, 32, 64])
def test_matches_golden(beat_bytes, metric, products, stall):
    scans = [
        scan(row_bytes, rows, metric, seed=rows, first_id=7 * rows)
        for row_bytes, rows in ((16, 9), (32, 8), (64, 7), (128, 3), (256, 2), (512, 2), (16, 1))
    ]
    check(scans, run(config_of(beat_bytes, products), scans, stall)[0])


@pytest.mark.parametrize("queries", [1, 3])
def test_a_query_without_another_beside_it(queries):
    scans = [
        scan(row_bytes, 3, metric, seed=2 * row_bytes, queries=queries)
        for metric in Metric
        for row_bytes in (16, 64)
    ]
    check(scans, run(config_of(products=2), scans)[0])


@PRODUCTS
@pytest.mark.parametrize("row_bytes", [16, 32, 512])
def test_extremes(row_bytes, products):
    scans = [
        scan(row_bytes, 6, metric, seed=2, values=values)
        for metric in Metric
        for values in ([-128], [127], [-128, 127], [0], [-128, -127, 0, 1, 127])
    ]
    check(scans, run(config_of(products=products), scans)[0])


@PRODUCTS
def test_largest_distance(products):
    one = scan(512, 2, Metric.L2, seed=2, values=[-128])
    one["queries"] = np.full((QUERIES, 512), 127, dtype=np.int8)
    answers, _ = run(config_of(products=products), [one])
    assert answers == [[[[(-512 * 255**2, row)]] * QUERIES for row in (0, 1)]]


@PRODUCTS
@pytest.mark.parametrize(("row_bytes", "beats_per_set"), [(16, 1), (32, 1), (64, 2), (512, 16)])
def test_latency_and_throughput(row_bytes, beats_per_set, products):
    one = scan(row_bytes, 128 // row_bytes * 4 or 4, Metric.L2)
    _, times = run(config_of(products=products), [one])
    came, left = times["beats"], times["sets"]
    assert came == list(range(came[0], came[0] + one["rows"].size // 32))
    ends = came[beats_per_set - 1 :: beats_per_set]
    assert left == [cycle + ScoreUnit.latency_of(products) for cycle in ends]


def test_rejects():
    config = RetrievalConfig(lanes=1, k_max=16, score_bits=25)
    message = r"^score_bits must be at least 26 for rows of 512 bytes, not 25$"
    with pytest.raises(ValueError, match=message):
        set_layout(config, 1)
    with pytest.raises(ValueError, match=r"^products_per_dsp must be in 1\.\.2, not 3$"):
        config_of(products=3)


@pytest.mark.slow
@pytest.mark.parametrize(("products", "dsp"), [(1, [34, 68, 102, 136]), (2, [34, 68, 70, 104])])
def test_multipliers(products, dsp, tmp_path):
    """32 per query, or 32 for two of queries and row; 2 per query for the scale of cosine."""
    for queries, wanted in enumerate(dsp, 1):
        unit = ScoreUnit(config_of(products=products), queries)
        netlist = write_netlist(unit, "unit", tmp_path / str(queries))
        report = synthesise(netlist, "xcup", memories_only=True, build_dir=tmp_path)
        assert report["dsp"] == wanted
