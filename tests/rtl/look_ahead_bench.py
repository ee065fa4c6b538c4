"""Legal traces of the look-ahead cache, golden's answers, and the unit that must give them."""

import numpy as np

from rpaccel.golden.cache_sim import Event
from rpaccel.golden.look_ahead import LookAheadConfig, Operation, operate
from rpaccel.rtl.look_ahead_cache import COUNTERS, LookAheadCache
from rpaccel.rtl.look_ahead_step import CacheOperation, LookAheadCacheConfig
from tests.streams import expect_silence, receive, send, simulate, stalls

READ, PREFETCH, FILL, RELEASE = Operation
KEPT = (Event.HIT, Event.MERGED, Event.MISS)


def config_of(sets, ways, references=9, key_bits=32, row_bytes=4):
    return LookAheadCacheConfig(
        sets=sets, ways=ways, references=references, key_bits=key_bits, row_bytes=row_bytes
    )


def golden_of(config):
    return LookAheadConfig(sets=config.sets, ways=config.ways, references=config.references)


def line_of(config, line):
    """Return the RTL's number of a line of golden."""
    at, way = divmod(int(line), config.ways)
    return way * config.sets + at


def random_trace(config, seed, size, keys=None, crowding=1.5):
    """Return legal (kinds, operands) and golden's run of them.

    Tickets are filled and released in a random order. crowding : references per line that the trace
    tends to.
    """
    rng = np.random.default_rng([seed, config.sets, config.ways])
    if keys is None:
        keys = rng.integers(0, 1 << config.key_bits, 2 * config.rows + 2, dtype=np.uint64)
    kinds, operands, to_fill, to_release = [], [], [], []
    limit = crowding * config.rows
    run = None
    while len(kinds) < size:
        # golden says which tickets fetched: draw accesses and spend tickets burst by burst
        crowd = min(1.0, len(to_release) / limit)
        burst = int(rng.integers(1, 6))
        if rng.random() >= crowd:
            first = len(kinds)
            for _ in range(burst):
                kinds.append(int(rng.choice((READ, PREFETCH), p=(0.6, 0.4))))
                operands.append(int(rng.choice(keys)))
            run = operate(golden_of(config), np.array(kinds), np.array(operands))
            for ticket in range(first, len(kinds)):
                to_release.append(ticket)
                if run.events[ticket] in (Event.MISS, Event.REFUSED):
                    to_fill.append(ticket)
            continue
        for _ in range(burst):
            ready = [t for t in to_release if t not in to_fill or run.events[t] != Event.MISS]
            if to_fill and (not ready or rng.random() < 0.5):
                kinds.append(int(FILL))
                operands.append(to_fill.pop(int(rng.integers(len(to_fill)))))
            elif ready:
                kinds.append(int(RELEASE))
                operands.append(ready[int(rng.integers(len(ready)))])
                to_release.remove(operands[-1])
    run = operate(golden_of(config), np.array(kinds), np.array(operands))
    return kinds, operands, run


def request_of(config, trace, number):
    """Return the RTL's operation `number`: a line and `kept` come from golden's answer."""
    kinds, operands, run = trace
    kind, operand = kinds[number], operands[number]
    if kind in (READ, PREFETCH):
        return {"operation": kind, "key": operand}
    kept = run.events[operand] in KEPT
    cancels = kind == RELEASE and kinds[operand] == PREFETCH
    return {
        "operation": int(CacheOperation.CANCEL) if cancels else kind,
        "key": operands[operand] if cancels else 0,
        "kept": kept,
        "line": line_of(config, run.lines[operand]) if kept else 0,
        "row": number,
    }


class Rows:
    """Rows in the lines: the number of the operation that wrote them, by the events of golden."""

    def __init__(self, config, trace):
        self.config, (self.kinds, self.operands, self.run) = config, trace
        self.lines = {}  # golden's line: its key, its row or None, whether a fill is older

    def update(self, key, number):
        for line in self.lines.values():
            if line["key"] == key:
                line["newer"] = line["flying"]
                line["row"] = number
                return {"event": Event.DONE, "kept": 0, "present": 0}
        return {"event": Event.IGNORED, "kept": 0, "present": 0}

    def answer(self, number):
        """Return what the answer must have."""
        kind, operand, event = self.kinds[number], self.operands[number], self.run.events[number]
        found = {"event": event, "evicted": 0, "present": 0, "kept": 0}
        if kind in (READ, PREFETCH):
            at, victim = self.run.lines[number], int(self.run.victims[number])
            found["kept"] = int(event in KEPT)
            if event in KEPT:
                found["line"] = line_of(self.config, at)
            if victim >= 0:
                found |= {"evicted": 1, "victim": victim}
            if event == Event.MISS:
                self.lines[at] = {"key": operand, "row": None, "flying": True, "newer": False}
            if kind == READ and event == Event.HIT:
                found |= {"present": 1, "row": self.lines[at]["row"]}
        elif event == Event.DONE:
            line = self.lines[self.run.lines[operand]]
            if kind == FILL:
                line["row"] = line["row"] if line["newer"] else number
                line["flying"] = line["newer"] = False
            elif self.kinds[operand] == READ and not line["flying"]:
                found |= {"present": 1, "row": line["row"]}
        return found


def drive(config, requests, stall="none", seed=1):
    """Return the answers and the counters after them."""
    dut = LookAheadCache(config)
    source, sink = stalls(stall, seed)
    got, counters = [], {}

    async def feed(ctx):
        await send(ctx, dut.request, requests, source)

    async def drain(ctx):
        got.extend(await receive(ctx, dut.answer, len(requests), sink))
        await expect_silence(ctx, dut.answer)
        assert ctx.get(dut.idle)
        counters.update({name: ctx.get(dut.counters[name]) for name in COUNTERS})

    simulate(dut, feed, drain, monitors=[dut.answer], limit_cycles=20 * len(requests) + 1000)
    return got, counters


def check(config, trace, stall="none", seed=1, updates=()):
    """Compare every answer. updates : keys; one of them follows each operation, in turn."""
    rows, requests, wanted = Rows(config, trace), [], []
    for number in range(len(trace[0])):
        requests.append(request_of(config, trace, number))
        wanted.append(rows.answer(number))
        if updates:
            key, row = updates[number % len(updates)], 1_000_000 + number
            requests.append({"operation": int(CacheOperation.UPDATE), "key": key, "row": row})
            wanted.append(rows.update(key, row))
    got, counters = drive(config, requests, stall, seed)
    assert len(got) == len(wanted)
    for number, (answer, want) in enumerate(zip(got, wanted, strict=True)):
        assert {name: answer[name] for name in want} == want, number
    run = trace[2]
    assert counters == {name: getattr(run, name) for name in COUNTERS}
    return run
