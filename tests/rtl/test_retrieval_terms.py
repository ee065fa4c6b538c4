import re

import numpy as np
import pytest
from amaranth.back import rtlil

from rpaccel.rtl.retrieval_terms import QueryTerms
from rpaccel.spec.retrieval import Metric, RetrievalConfig
from tests.streams import simulate

QUERIES = 2
BEATS = pytest.mark.parametrize("beat_bytes", [16, 32, 64])


def unit_of(beat_bytes):
    config = RetrievalConfig(
        lanes=1, k_max=16, score_bits=32, id_bits=12, beat_bytes=beat_bytes, products_per_dsp=2
    )
    return QueryTerms(config, QUERIES)


def wanted(vector, metric):
    """What the scores have beside the sums of u v - 128 v, or of 2 u v - v^2."""
    query = vector.astype(np.int64)
    return -((query + 128) ** 2).sum() if metric is Metric.L2 else -128 * query.sum()


async def load(ctx, dut, vectors, beat_bytes):
    """Write the words of all queries, one per cycle."""
    for query, vector in enumerate(vectors):
        repeated = np.tile(vector, max(1, beat_bytes // len(vector)))
        for index, word in enumerate(repeated.reshape(-1, beat_bytes)):
            content = int.from_bytes(word.tobytes(), "little")
            ctx.set(dut.word, {"valid": 1, "query": query, "first": index == 0, "data": content})
            await ctx.tick()
    ctx.set(dut.word.valid, 0)


async def take(ctx, dut, row_bytes, metric):
    ctx.set(dut.row_size, (row_bytes // 16).bit_length() - 1)
    ctx.set(dut.metric, metric)
    ctx.set(dut.take, 1)
    await ctx.tick()
    ctx.set(dut.take, 0)


@BEATS
def test_matches_golden(beat_bytes):
    """Short and long vectors, extremes; a word is inside for as long as it is said."""
    rng = np.random.default_rng(beat_bytes)
    dut = unit_of(beat_bytes)

    async def bench(ctx):
        for row_bytes in (16, 32, 64, 512):
            for metric in Metric:
                for values in (np.arange(-128, 128), [-128], [127], [-128, 127]):
                    vectors = rng.choice(values, (QUERIES, row_bytes)).astype(np.int8)
                    await load(ctx, dut, vectors, beat_bytes)
                    cycles = 1
                    while not ctx.get(dut.idle):
                        await ctx.tick()
                        cycles += 1
                    assert cycles == dut.latency_cycles
                    await take(ctx, dut, row_bytes, metric)
                    terms = [ctx.get(term) for term in dut.terms]
                    assert terms == [wanted(vector, metric) for vector in vectors]

    simulate(dut, bench)


def test_a_word_inside_is_not_left_out():
    dut = unit_of(16)

    async def bench(ctx):
        await load(ctx, dut, np.ones((QUERIES, 16), np.int8), 16)
        await ctx.tick().repeat(dut.latency_cycles - 2)
        await take(ctx, dut, 16, Metric.L2)

    with pytest.raises(AssertionError, match="terms are taken while a word is inside"):
        simulate(dut, bench)


@BEATS
@pytest.mark.parametrize(("name", "bits"), [("squares", 16), ("plain", 8)])
def test_a_register_behind_each_adder_a_bit_wider_per_level(beat_bytes, name, bits):
    text = rtlil.convert(unit_of(beat_bytes), emit_src=False)
    found = re.findall(rf"wire width (\d+)(?: signed)? \\{name}_(\d+)_\d+$", text, re.MULTILINE)
    levels = beat_bytes.bit_length() - 1
    assert sorted(found, key=lambda each: int(each[1])) == [
        (str(bits + level + 1), str(level))
        for level in range(levels)
        for _ in range(beat_bytes >> level + 1)
    ]


def test_the_longest_beat():
    """No sum is nested deeper than its levels."""
    assert "squares_8_0" in rtlil.convert(unit_of(512), emit_src=False)
