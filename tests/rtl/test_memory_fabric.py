import random

import pytest

from rpaccel.rtl.memory_fabric import MemoryFabric, port_of_requester, requester_count
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from tests.memory_model import DECERR, SLVERR, MemoryModel
from tests.streams import STALLS, idle_cycles, no_idle_cycles, receive, send, simulate

TINY = load_accelerator("tiny")
SIZE = 1 << 15
REGION = (0x1000, 0x6000)
READ, WRITE = 1, 2


def contents():
    return bytearray(random.Random(5).randbytes(SIZE))


def regions(ctx, dut, permission=READ | WRITE):
    ctx.set(dut.regions[3], {"base": REGION[0], "limit": REGION[1], "permission": permission})


def stable_channels(axi):
    async def watch(ctx):
        names = {
            "ar": ("arid", "araddr", "arlen", "arsize", "arburst"),
            "aw": ("awid", "awaddr", "awlen", "awsize", "awburst"),
            "w": ("wdata", "wstrb", "wlast"),
        }
        signals = [getattr(axi, f"{c}{end}") for c in names for end in ("valid", "ready")] + [
            getattr(axi, n) for c in names for n in names[c]
        ]
        held = {}
        async for _, _, *values in ctx.tick().sample(*signals):
            flags, rest = values[:6], values[6:]
            for index, channel in enumerate(names):
                payload, rest = rest[: len(names[channel])], rest[len(names[channel]) :]
                valid, ready = flags[2 * index : 2 * index + 2]
                if channel in held:
                    assert valid and payload == held[channel], f"{channel} changed while stalled"
                    del held[channel]
                if valid and not ready:
                    held[channel] = payload

    return watch


def reader_bench(port, bursts, limit, idle, got):
    """Issue `bursts` with at most `limit` outstanding; collect [(data, error)] per burst."""
    state = {"answered": 0}

    async def issue(ctx):
        for number, (address, beats) in enumerate(bursts):
            while number - state["answered"] >= limit:
                await ctx.tick()
            await send(ctx, port.request, [{"address": address, "beats": beats}])

    async def collect(ctx):
        for _, beats in bursts:
            burst = []
            for index in range(beats):
                (beat,) = await receive(ctx, port.response, 1, idle)
                assert beat["last"] == (index + 1 == beats)
                burst.append((beat["data"], beat["error"]))
            got.append(burst)
            state["answered"] += 1

    return issue, collect


def random_bursts(seed, count, beat_bytes, outside=0.0):
    generator = random.Random(seed)
    bursts = []
    for _ in range(count):
        beats = generator.randint(1, 16)
        page = generator.randrange(REGION[0], REGION[1], 4096)
        if generator.random() < outside:
            page = generator.choice([0, REGION[1], 0x7000, 0xFFFFF000])
        first = generator.randrange(0, 4096 // beat_bytes - beats + 1)
        bursts.append((page + first * beat_bytes, beats))
    return bursts


def expected(memory, bursts):
    answers = []
    for address, beats in bursts:
        inside = address >= REGION[0] and address + beats * memory.beat_bytes <= REGION[1]
        burst = []
        for beat in range(address, address + beats * memory.beat_bytes, memory.beat_bytes):
            if not inside:
                burst.append((0, Status.REGION))
            elif beat in memory.failing:
                burst.append((0, Status.MEMORY))
            else:
                burst.append((memory.beat(beat), 0))
        answers.append(burst)
    return answers


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("lanes, ports", [(1, 1), (2, 2)])
def test_routes_every_beat(stall, lanes, ports):
    config = TINY.model_copy(update={"lanes": lanes, "memory_ports": ports})
    dut = MemoryFabric(config)
    data = contents()
    failing = {a: random.Random(a).choice([SLVERR, DECERR]) for a in range(0x2000, 0x2200, 24)}
    memories = [
        MemoryModel(
            data, config.beat_bytes, latency=(1, 30), seed=port, failing=failing,
            stall=0.3 if stall in ("source", "both") else 0.0,
        )
        for port in range(ports)
    ]  # fmt: skip
    benches, checks, errors = [], [], []
    used = [r for r in range(requester_count(config)) if port_of_requester(config, r) is not None]
    for requester in used:
        bursts = random_bursts(requester, 12, config.beat_bytes, outside=0.2)
        got = []
        idle = idle_cycles(requester) if stall in ("sink", "both") else no_idle_cycles()
        benches += reader_bench(dut.readers[requester], bursts, config.reads_in_flight, idle, got)
        checks.append((requester, bursts, got))

    async def setup(ctx):
        regions(ctx, dut)

    async def capture(ctx):
        async for _, _, stb, address, status, requester in ctx.tick().sample(
            dut.error_stb, dut.error_address, dut.error_status, dut.error_requester
        ):
            if stb:
                errors.append((requester, address, status))

    background = [capture]
    for port, memory in enumerate(memories):
        background += [*memory.serve_axi(dut.axi[port]), stable_channels(dut.axi[port])]
    monitors = [dut.readers[requester].response for requester in used]
    simulate(dut, setup, *benches, monitors=monitors, background=background)

    served = 0
    for requester, bursts, got in checks:
        memory = memories[port_of_requester(config, requester)]
        want = expected(memory, bursts)
        assert got == want
        allowed = [
            b for b, answer in zip(bursts, want, strict=True) if answer[0][1] != Status.REGION
        ]
        assert [(a, n) for i, a, n in memory.reads if i == requester] == allowed
        served += sum(beats for _, beats in allowed)
        # failed beats report their burst's address, refused bursts theirs
        seen = {(a, s) for r, a, s in errors if r == requester}
        assert seen <= {(b[0], answer[i][1]) for b, answer in zip(bursts, want, strict=True)
                        for i in range(b[1]) if answer[i][1]}  # fmt: skip
    assert served == sum(memory.read_beats for memory in memories)
    assert errors


def test_full_throughput():
    dut = MemoryFabric(TINY)
    memory = MemoryModel(contents(), TINY.beat_bytes, latency=(3, 3))
    requests = [{"address": 0x1000 + 8 * i, "beats": 1} for i in range(200)]
    cycles = {}

    async def issue(ctx):
        regions(ctx, dut)
        await send(ctx, dut.readers[0].request, requests)

    async def collect(ctx):
        for number in range(200):
            (beat,) = await receive(ctx, dut.readers[0].response, 1)
            assert beat["data"] == memory.beat(0x1000 + 8 * number)
        cycles["end"] = number

    async def count(ctx):
        async for _ in ctx.tick():
            cycles["all"] = cycles.get("all", 0) + 1

    simulate(dut, issue, collect, background=[*memory.serve_axi(dut.axi[0]), count])
    overhead = dut.request_latency_cycles + dut.response_latency_cycles + 3
    assert 200 <= cycles["all"] <= 200 + overhead + 3


@pytest.mark.parametrize("permission, address, failing, status", [
    (WRITE, 0x2000, {}, Status.OK),
    (READ, 0x2000, {}, Status.REGION),
    (WRITE, 0x5FF8, {}, Status.REGION),
    (WRITE, 0xFFFFFFF8, {}, Status.REGION),
    (WRITE, 0x2000, {0x2008: SLVERR}, Status.MEMORY),
])  # fmt: skip
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_writes(permission, address, failing, status, stall):
    dut = MemoryFabric(TINY)
    before = contents()
    memory = MemoryModel(bytearray(before), 8, stall=stall, failing=failing)
    words = [{"data": 0x0101010101010101 * i, "strobe": 0xFF if i else 0xF0} for i in range(2)]
    errors = []

    async def write(ctx):
        regions(ctx, dut, permission)
        for _ in range(2):
            await send(ctx, dut.writer.request, [{"address": address, "beats": 2}])
            await send(ctx, dut.writer.payload, words)
            assert await receive(ctx, dut.writer.response, 1) == [{"error": status}]

    async def capture(ctx):
        async for _, _, stb, *info in ctx.tick().sample(
            dut.error_stb, dut.error_address, dut.error_status, dut.error_write
        ):
            if stb:
                errors.append(info)

    simulate(
        dut, write, monitors=[dut.writer.response],
        background=[*memory.serve_axi(dut.axi[0]), stable_channels(dut.axi[0]), capture],
    )  # fmt: skip
    if status != Status.REGION:
        before[address + 4 : address + 8] = bytes(4)
        before[address + 8 : address + 16] = b"\x01" * 8
        assert memory.writes == [(4 * TINY.lanes, address, 2)] * 2
    else:
        assert not memory.writes
    assert memory.contents == before
    assert errors == ([[address, status, 1]] * 2 if status else [])
