import random
from collections import Counter

import pytest

from rpaccel.rtl.memory_fabric import MemoryFabric, reader_count, reader_slots, requester_of_bank
from rpaccel.rtl.write_channel import WRITER
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status
from rpaccel.spec.stripe import port_of
from tests.memory_model import DECERR, SLVERR, MemoryModel
from tests.streams import (
    STALL_CASES,
    idle_cycles,
    no_idle_cycles,
    receive,
    send,
    simulate,
    slow_rows_but,
)

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


def random_bursts(seed, count, config, most_beats, outside=0.0):
    generator = random.Random(seed)
    bursts, boundary = [], config.burst_boundary_bytes
    for _ in range(count):
        beats = generator.randint(1, most_beats)
        page = generator.randrange(REGION[0], REGION[1], boundary)
        if generator.random() < outside:
            page = generator.choice([0, REGION[1], 0x7000, 0xFFFFF000])
        first = generator.randrange(0, boundary // config.beat_bytes - beats + 1)
        bursts.append((page + first * config.beat_bytes, beats))
    return bursts


def bank_bench(port, config, bank, count, got):
    """Issue single beats of the bank's port, as many at once as there are places."""
    generator = random.Random(bank)
    addresses = []
    while len(addresses) < count:
        address = generator.randrange(REGION[0], REGION[1] + 0x1000, config.beat_bytes)
        if port_of(config, address) == bank % config.memory_ports:
            addresses.append(address)
    state = {"free": list(range(config.row_reads)), "asked": {}}

    async def issue(ctx):
        for address in addresses:
            while not state["free"]:
                await ctx.tick()
            place = state["free"].pop(generator.randrange(len(state["free"])))
            state["asked"][place] = address
            await send(ctx, port.request, [{"address": address, "beats": 1, "place": place}])

    async def collect(ctx):
        async for _, _, valid, answer in ctx.tick().sample(port.answer_valid, port.answer):
            if valid:
                address = state["asked"].pop(answer.place)
                status = Status.REGION if answer.refused else Status.MEMORY * answer.failed
                got.append((address, (answer.data, status)))
                state["free"].append(answer.place)

    async def finish(ctx):
        while len(got) < count:
            await ctx.tick()

    return addresses, [issue, finish], collect


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


@pytest.mark.parametrize("stall", STALL_CASES)
@pytest.mark.parametrize(
    "lanes, ports, banks",
    slow_rows_but([(1, 1, 1), (2, 2, 2)], [(1, 1, 1), (1, 1, 2), (2, 2, 2), (2, 4, 4)]),
)
def test_routes_every_beat(stall, lanes, ports, banks):
    update = {"memory_ports": ports, "row_banks": banks, "stripe_bytes": 128, "row_reads": 8}
    config = TINY.model_copy(update=update | {"lanes": lanes})
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
    benches, checks, bank_checks, errors = [], [], [], []
    background = []
    for reader in range(reader_count(config)):
        slots, most = reader_slots(config, reader)
        bursts = random_bursts(reader, 12, config, most, outside=0.2)
        got = []
        idle = idle_cycles(reader) if stall in ("sink", "both") else no_idle_cycles()
        benches += reader_bench(dut.readers[reader], bursts, 2 * slots, idle, got)
        checks.append((reader, bursts, got))
    for bank in range(banks):
        got = []
        addresses, work, collect = bank_bench(dut.banks[bank], config, bank, 40, got)
        benches += work
        background.append(collect)
        bank_checks.append((requester_of_bank(config, bank), addresses, got))

    async def setup(ctx):
        regions(ctx, dut)

    async def capture(ctx):
        async for _, _, stb, address, status, requester in ctx.tick().sample(
            dut.error_stb, dut.error_address, dut.error_status, dut.error_requester
        ):
            if stb:
                errors.append((requester, address, status))

    background.append(capture)
    for port, memory in enumerate(memories):
        background += [*memory.serve_axi(dut.axi[port]), stable_channels(dut.axi[port])]
    monitors = [dut.readers[reader].response for reader in range(reader_count(config))]
    simulate(dut, setup, *benches, monitors=monitors, background=background)

    asked = Counter()
    for requester, bursts, got in checks + [
        (number, [(a, 1) for a in addresses], got) for number, addresses, got in bank_checks
    ]:
        want = expected(memories[0], bursts)
        if requester < reader_count(config):
            assert got == want
        else:
            assert sorted(got) == sorted((b[0], w[0]) for b, w in zip(bursts, want, strict=True))
        allowed = [
            b for b, answer in zip(bursts, want, strict=True) if answer[0][1] != Status.REGION
        ]
        asked.update((port_of(config, address), address, beats) for address, beats in allowed)
        # failed beats report their burst's address, refused bursts theirs
        seen = {(a, s) for r, a, s in errors if r == requester}
        assert seen <= {(b[0], answer[i][1]) for b, answer in zip(bursts, want, strict=True)
                        for i in range(b[1]) if answer[i][1]}  # fmt: skip
    reads = Counter((p, a, n) for p, memory in enumerate(memories) for _, a, n in memory.reads)
    assert reads == asked
    assert errors


def test_a_port_carries_a_read_for_every_id():
    config = TINY.model_copy(update={"axi_id_bits": 6, "row_reads": 64})
    dut = MemoryFabric(config)
    memory = MemoryModel(contents(), TINY.beat_bytes, latency=(300, 300))
    port, got = dut.banks[0], []
    burst = [{"address": 0x1000 + 8 * i, "beats": 1, "place": i} for i in range(64)]

    async def issue(ctx):
        regions(ctx, dut)
        await send(ctx, port.request, burst)

    async def collect(ctx):
        while len(got) < 64:
            _, _, valid, answer = await ctx.tick().sample(port.answer_valid, port.answer)
            if valid:
                got.append((answer.place, answer.data))

    simulate(dut, issue, collect, background=memory.serve_axi(dut.axi[0]))
    assert sorted(got) == [(i, memory.beat(0x1000 + 8 * i)) for i in range(64)]
    assert len(memory.most_outstanding) == 64 and set(memory.most_outstanding.values()) == {1}


def test_full_throughput():
    dut = MemoryFabric(TINY)
    memory = MemoryModel(contents(), TINY.beat_bytes, latency=(3, 3))
    bank, got = dut.banks[0], []
    singles = [{"address": 0x1000 + 8 * i, "beats": 1, "place": i % 8} for i in range(200)]
    cycles = {"all": 0}

    async def issue(ctx):
        regions(ctx, dut)
        await send(ctx, bank.request, singles)

    async def finish(ctx):
        while len(got) < 200:
            await ctx.tick()

    async def count(ctx):
        async for _, _, valid, answer in ctx.tick().sample(bank.answer_valid, bank.answer):
            cycles["all"] += 1
            if valid:
                got.append(answer.data)

    simulate(dut, issue, finish, background=[*memory.serve_axi(dut.axi[0]), count])
    assert got == [memory.beat(0x1000 + 8 * i) for i in range(200)]
    overhead = dut.request_latency_cycles + dut.response_latency_cycles + 6
    assert 200 <= cycles["all"] <= 200 + overhead


@pytest.mark.parametrize("permission, address, failing, status", [
    (WRITE, 0x2000, {}, Status.OK),
    (READ, 0x2000, {}, Status.REGION),
    (WRITE, 0x5FF8, {}, Status.REGION),
    (WRITE, 0xFFFFFFF8, {}, Status.REGION),
    (WRITE, 0x2000, {0x2008: SLVERR}, Status.MEMORY),
    (WRITE, 0x2000, {0x2008: DECERR}, Status.MEMORY),
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
            dut.error_stb, dut.error_address, dut.error_status, dut.error_write,
            dut.error_requester,
        ):  # fmt: skip
            if stb:
                errors.append(info)

    simulate(
        dut, write, monitors=[dut.writer.response],
        background=[*memory.serve_axi(dut.axi[0]), stable_channels(dut.axi[0]), capture],
    )  # fmt: skip
    if status != Status.REGION:
        before[address + 4 : address + 8] = bytes(4)
        before[address + 8 : address + 16] = b"\x01" * 8
        assert memory.writes == [(0, address, 2)] * 2
    else:
        assert not memory.writes
    assert memory.contents == before
    assert errors == ([[address, status, 1, WRITER]] * 2 if status else [])
