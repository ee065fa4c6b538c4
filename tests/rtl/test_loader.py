import random

import pytest

from rpaccel.rtl.loader import Loader
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    ISA_VERSION,
    SECTION_HEADER,
    Status,
    Target,
    target_bits,
)
from tests.memory_model import MemoryModel
from tests.streams import STALL_CASES, receive, send, simulate

TINY = load_accelerator("tiny")
EDGE = load_accelerator("edge")
BASE = 0xF80
SECTIONS = [
    (Target.FEATURE, 3, 4), (Target.EDGES, 1, 1), (Target.WEIGHT, 100, 37), (Target.PAIR, 5, 0),
    (Target.SLOT, 0, 1), (Target.PARAM, 7, 9), (Target.PROGRAM, 2, 3),
]  # fmt: skip


def image(config, sections=SECTIONS, header=None, section_header=None):
    generator = random.Random(3)
    body, entries = b"", []
    for target, start, count in sections:
        bits = target_bits(target, config.array_size)
        fields = {"target": target, "entry_words": bits // 64, "start": start, "entries": count}
        body += SECTION_HEADER.to_bytes(fields | (section_header or {}))
        for index in range(start, start + count):
            value = generator.getrandbits(bits)
            entries.append((target, index, value))
            body += value.to_bytes(bits // 8, "little")
    fields = {
        "magic": IMAGE_MAGIC,
        "version": ISA_VERSION,
        "sections": len(sections),
        "total_bytes": IMAGE_HEADER.bytes + len(body),
    }
    return IMAGE_HEADER.to_bytes(fields | (header or {})) + body, entries


def run(config, loads, stall="none", failing=None):
    """Do `loads` [(raw image, bytes)], return [(status, entries on the bus)] and the memory."""
    dut = Loader(config)
    memory = MemoryModel(
        bytearray(1 << 14), config.beat_bytes, latency=(3, 40), failing=failing or {},
        stall=0.3 if stall in ("source", "both") else 0.0,
    )  # fmt: skip
    results, bus = [], []

    async def bench(ctx):
        for raw, length in loads:
            memory.contents[BASE : BASE + len(raw)] = raw
            bus.clear()
            await send(ctx, dut.start, [{"address": BASE, "bytes": length}])
            (done,) = await receive(ctx, dut.done, 1)
            asked = sum(beats for _, _, beats in memory.reads)
            assert asked == memory.read_beats, "every answer must have come before done"
            results.append((done["status"], list(bus)))

    async def watch(ctx):
        async for _, _, valid, target, index, data in ctx.tick().sample(
            dut.load.valid, dut.load.target, dut.load.index, dut.load.data
        ):
            if valid:
                mask = (1 << target_bits(Target(target), config.array_size)) - 1
                bus.append((target, index, data & mask))

    simulate(
        dut, bench, monitors=[dut.memory.request, dut.done],
        background=[memory.serve(dut.memory), watch],
    )  # fmt: skip
    return results, memory


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize("config", [TINY, EDGE], ids=["tiny", "edge"])
def test_entries_reach_the_bus(config, stall):
    raw, entries = image(config)
    results, memory = run(config, [(raw, len(raw))] * 2, stall)
    assert results == [(Status.OK, entries)] * 2
    assert memory.read_beats == 2 * -(-len(raw) // config.beat_bytes)


@pytest.mark.parametrize(
    "header, section_header, cut",
    [
        ({"magic": 1}, {}, 0),
        ({"version": ISA_VERSION + 1}, {}, 0),
        ({"total_bytes": 64}, {}, 0),
        ({"sections": len(SECTIONS) + 1}, {}, 0),
        ({"sections": len(SECTIONS) - 1}, {}, 0),
        ({}, {"target": 7}, 0),
        ({}, {"target": 16}, 0),
        ({}, {"entry_words": 5}, 0),
        ({}, {"start": 1 << 31}, 0),
        ({}, {"entries": 17}, 0),
        ({}, {}, 8),
        ({}, {}, 4),
    ],
)
def test_rejects_a_bad_image_then_loads_a_good_one(header, section_header, cut):
    bad, _ = image(TINY, header=header, section_header=section_header)
    good, entries = image(TINY)
    results, _ = run(TINY, [(bad, len(bad) - cut), (good, len(good))])
    assert results[0][0] == Status.BAD_IMAGE
    assert results[1] == (Status.OK, entries)


@pytest.mark.parametrize("length", [0, 8, 16])
def test_rejects_a_short_image(length):
    raw, _ = image(TINY)
    results, _ = run(TINY, [(raw, length)])
    assert results == [(Status.BAD_IMAGE, [])]


@pytest.mark.parametrize("beat, status", [(0, Status.REGION), (25, Status.MEMORY)])
def test_failed_read_ends_the_load(beat, status):
    raw, entries = image(TINY)
    results, _ = run(TINY, [(raw, len(raw))], failing={BASE + 8 * beat: status})
    assert results[0][0] == status
    assert results[0][1] == entries[: len(results[0][1])] != entries
