"""Legal traces of the look-ahead cache, golden's answers, and the unit that must give them."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from rpaccel.golden.cache_sim import Event
from rpaccel.golden.look_ahead import LookAheadConfig, LookAheadRun, Operation, operate
from rpaccel.rtl.look_ahead_cache import COUNTERS, LookAheadCache
from rpaccel.rtl.look_ahead_step import LookAheadCacheConfig
from tests.streams import expect_silence, receive, send, simulate, stalls

LOOK, PREFETCH, FILL, ABORT, UPDATE, ADVANCE = Operation
FOUND = (Event.HIT, Event.MERGED, Event.MISS)
CHANCES = {LOOK: 0.35, PREFETCH: 0.35, UPDATE: 0.2, ADVANCE: 0.1}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Operations as golden takes them, with rows and masks of the RTL's; and golden's run."""

    kinds: list[int]
    operands: list[int]
    owners: list[int]
    rows: list[int]
    masks: list[int]
    run: LookAheadRun


def config_of(sets, ways, owners=1, key_bits=32, row_bytes=8, free_ways=0):
    return LookAheadCacheConfig(
        sets=sets, ways=ways, owners=owners, free_ways=free_ways, key_bits=key_bits,
        row_bytes=row_bytes,
    )  # fmt: skip


def line_of(config, line):
    """Return the RTL's number of a line of golden."""
    at, way = divmod(int(line), config.ways)
    return way * config.sets + at


def run_of(config, kinds, operands, owners):
    golden = LookAheadConfig(
        sets=config.sets, ways=config.ways, owners=config.owners, free_ways=config.free_ways
    )
    return operate(golden, np.array(kinds), np.array(operands), np.array(owners))


def trace_of(config, steps, seed=0):
    """Return the trace of (kind, operand, or kind, operand, owner) each; rows and masks drawn."""
    rng, words = np.random.default_rng(seed), config.row_bytes // 4
    kinds, operands, owners = (
        list(part) for part in zip(*[(*s, 0)[:3] for s in steps], strict=True)
    )
    return Trace(
        kinds=kinds,
        operands=operands,
        owners=owners,
        rows=[int.from_bytes(rng.bytes(config.row_bytes), "little") for _ in steps],
        masks=rng.integers(0, 1 << words, len(steps)).tolist(),
        run=run_of(config, kinds, operands, owners),
    )


def random_trace(config, seed, size, keys=None, crowding=0.7, chances=CHANCES):
    """Return a legal trace; what misses is filled or aborted in a random order.

    crowding : rows on their way per line that the trace tends to. chances : of the other kinds.
    """
    rng = np.random.default_rng([seed, config.sets, config.ways])
    if keys is None:
        keys = rng.integers(0, 1 << config.key_bits, 2 * config.rows + 2, dtype=np.uint64)
    kinds, weights = list(chances), np.array(list(chances.values()))
    steps, to_fill = [], {}  # position: its key, or None if it has no line
    while len(steps) < size:
        # golden says what was missed: draw and fill burst by burst
        first, burst = len(steps), int(rng.integers(1, 6))
        if rng.random() < len(to_fill) / (1 + crowding * config.rows):
            for ticket in rng.permutation(list(to_fill))[:burst].tolist():
                steps.append((ABORT if rng.random() < 0.2 else FILL, ticket))
                del to_fill[ticket]
            continue
        asked = set(to_fill.values())
        for _ in range(burst):
            kind, operand = Operation(rng.choice(kinds, p=weights)), int(rng.choice(keys))
            if kind == UPDATE and operand in asked:
                continue
            if kind in (LOOK, PREFETCH):
                asked.add(operand)
            owner = int(rng.integers(config.owners))
            steps.append((kind, owner if kind == ADVANCE else operand, owner))
        if len(steps) == first:
            continue
        kinds_so_far, operands, owners = zip(*[(*s, 0)[:3] for s in steps], strict=True)
        run = run_of(config, kinds_so_far, operands, owners)
        for ticket in range(first, len(steps)):
            if kinds_so_far[ticket] in (LOOK, PREFETCH):
                if run.events[ticket] == Event.MISS:
                    to_fill[ticket] = operands[ticket]
                elif run.events[ticket] == Event.REFUSED:
                    to_fill[ticket] = None
    return trace_of(config, steps, seed)


def request_of(config, trace, number):
    """Return the RTL's operation `number`: a line and `kept` come from golden's answer.

    What an operation does not use is noise.
    """
    kind, operand = trace.kinds[number], trace.operands[number]
    rng = np.random.default_rng(number)
    request = {
        "operation": int(kind),
        "key": int(rng.integers(1 << min(config.key_bits, 62))),
        "owner": trace.owners[number],
        "mask": trace.masks[number],
        "kept": int(rng.integers(2)),
        "line": int(rng.integers(config.rows)),
        "row": trace.rows[number],
    }
    if kind in (LOOK, PREFETCH, UPDATE):
        return request | {"key": operand}
    kept = trace.run.events[operand] == Event.MISS
    return (
        request
        | {"kept": int(kept)}
        | ({"line": line_of(config, trace.run.lines[operand])} if kept else {})
    )


class Rows:
    """Rows in golden's lines, by its events."""

    def __init__(self, config, trace):
        self.config, self.trace = config, trace
        self.lines, self.line_of_key = {}, {}  # golden's line: its row

    def update(self, key, mask, row):
        line = self.line_of_key[key]
        for word in range(self.config.row_bytes // 4):
            if mask >> word & 1:
                bits = 0xFFFFFFFF << 32 * word
                self.lines[line] = self.lines[line] & ~bits | row & bits

    def answer(self, number):
        """Return what the answer must have."""
        trace, run = self.trace, self.trace.run
        kind, operand, event = trace.kinds[number], trace.operands[number], run.events[number]
        wanted = {"event": event, "evicted": 0, "present": 0, "kept": int(event == Event.MISS)}
        if event in FOUND:
            at, victim = run.lines[number], int(run.victims[number])
            wanted["line"] = line_of(self.config, at)
            if victim >= 0:
                wanted |= {"evicted": 1, "victim": victim}
            self.line_of_key[operand] = at
            if kind == LOOK and event == Event.HIT:
                wanted |= {"present": 1, "row": self.lines[at]}
        elif event == Event.DONE and kind == FILL:
            self.lines[run.lines[operand]] = trace.rows[number]
        elif event == Event.DONE and kind == UPDATE:
            self.update(operand, trace.masks[number], trace.rows[number])
        return wanted


def drive(config, requests, stall="none", seed=1, epochs=None):
    """Return the answers and the counters after them. epochs : as each request meets them."""
    dut = LookAheadCache(config)
    source, sink = stalls(stall, seed)
    got, counters = [], {}
    met = epochs or [(0,) * config.owners] * len(requests)

    async def feed(ctx):
        for now, pairs in groupby(zip(met, requests, strict=True), key=lambda pair: pair[0]):
            ctx.set(dut.epochs, list(now))
            await send(ctx, dut.request, [request for _, request in pairs], source)

    async def drain(ctx):
        got.extend(await receive(ctx, dut.answer, len(requests), sink))
        await expect_silence(ctx, dut.answer)
        assert ctx.get(dut.idle)
        counters.update({name: ctx.get(dut.counters[name]) for name in COUNTERS})

    simulate(dut, feed, drain, monitors=[dut.answer], limit_cycles=20 * len(requests) + 1000)
    return got, counters


def check(config, trace, stall="none", seed=1):
    """Compare every answer and every counter with golden's; return golden's run."""
    rows, requests, wanted = Rows(config, trace), [], []
    epochs, met = [0] * config.owners, []
    for number, kind in enumerate(trace.kinds):
        if kind == ADVANCE:
            epochs[trace.operands[number]] = (epochs[trace.operands[number]] + 1) % 4
            continue
        requests.append(request_of(config, trace, number))
        wanted.append(rows.answer(number))
        met.append(tuple(epochs))
    got, counters = drive(config, requests, stall, seed, met)
    assert len(got) == len(wanted)
    for number, (answer, want) in enumerate(zip(got, wanted, strict=True)):
        assert {name: answer[name] for name in want} == want, number
    assert counters == {name: getattr(trace.run, name) for name in COUNTERS}
    return trace.run
