import numpy as np
import pytest

from rpaccel.golden.cache_sim import Event
from rpaccel.golden.look_ahead import LookAheadConfig, Operation, operate, read_window, set_of

READ, PREFETCH, FILL, RELEASE = Operation


class Oracle:
    """The rules of `golden.look_ahead` with a list of dictionaries per set."""

    def __init__(self, sets, ways, references):
        self.sets = [{"next": 0, "lines": [None] * ways} for _ in range(sets)]
        self.limit = references
        self.tickets = []
        self.counts = dict.fromkeys(("evictions", "used", "late", "unused", "dropped"), 0)

    def fold(self, key):
        bits, count = len(self.sets).bit_length() - 1, len(self.sets)
        parts = [key >> s for s in range(0, 64, bits)] if bits else [0]
        return int(np.bitwise_xor.reduce(parts)) % count

    def access(self, key, ahead):
        group = self.sets[self.fold(key)]
        for line in group["lines"]:
            if line and line["key"] == key:
                if not ahead and line["ahead"]:
                    line["ahead"] -= 1
                elif line["references"] == self.limit:
                    return Event.REFUSED, None, -1
                else:
                    line["references"] += 1
                    line["ahead"] += ahead
                if not ahead and line["unread"]:
                    line["unread"] = False
                    self.counts["used"] += 1
                    self.counts["late"] += line["flying"]
                return (Event.MERGED if line["flying"] else Event.HIT), line, -1
        ways = len(group["lines"])
        for way in [(group["next"] + i) % ways for i in range(ways)]:
            old = group["lines"][way]
            if not old or (not old["references"] and not old["flying"]):
                new = {"key": key, "references": 1, "ahead": int(ahead), "flying": True,
                       "unread": ahead, "at": self.fold(key) * ways + way}  # fmt: skip
                group["lines"][way], group["next"] = new, (way + 1) % ways
                self.counts["evictions"] += old is not None
                self.counts["unused"] += bool(old and old["unread"])
                return Event.MISS, new, old["key"] if old else -1
        return Event.REFUSED, None, -1

    def run(self, kind, operand):
        """Return (event, line number, victim)."""
        if kind in (READ, PREFETCH):
            event, line, victim = self.access(operand, kind == PREFETCH)
            self.tickets.append((kind, line))
            self.counts["dropped"] += kind == PREFETCH and event == Event.REFUSED
            return event, line["at"] if line else -1, victim
        first, line = self.tickets[operand]
        self.tickets.append(None)
        event = Event.DONE
        if line and kind == RELEASE and first == PREFETCH:  # the line may hold another row by now
            ways = len(self.sets[0]["lines"])
            now = self.sets[line["at"] // ways]["lines"][line["at"] % ways]
            line = now if now["key"] == line["key"] and now["ahead"] else None
        if line is None:
            event = Event.IGNORED
        elif kind == FILL:
            line["flying"] = False
        else:
            line["references"] -= 1
            line["ahead"] -= first == PREFETCH
        return event, -1, -1


def random_operations(rng, config, size, keys):
    """Draw legal operations; return (kinds, operands, what the oracle said, the oracle)."""
    oracle = Oracle(config.sets, config.ways, config.references)
    kinds, operands, said = [], [], []
    to_fill, to_release = [], []
    for i in range(size):
        free = [t for t in to_release if t not in to_fill or said[t][0] == Event.REFUSED]
        crowd = min(1.0, len(to_release) / (1.5 * config.sets * config.ways))
        kind = rng.choice(4, p=[0.6 * (1 - crowd), 0.4 * (1 - crowd), crowd / 2, crowd / 2])
        if (kind == FILL and not to_fill) or (kind == RELEASE and not free):
            kind = READ
        if kind in (READ, PREFETCH):
            operand = int(rng.choice(keys))
        else:
            tickets = to_fill if kind == FILL else free
            operand = int(rng.choice(tickets))
            (to_fill if kind == FILL else to_release).remove(operand)
        kinds.append(int(kind))
        operands.append(operand)
        said.append(oracle.run(kind, operand))
        if kind in (READ, PREFETCH):
            to_release.append(i)
            if said[-1][0] in (Event.MISS, Event.REFUSED):
                to_fill.append(i)
    return kinds, operands, said, oracle


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("sets", "ways", "references"), [(1, 1, 9), (1, 3, 2), (4, 2, 1), (8, 4, 9), (16, 1, 3)]
)
def test_matches_the_oracle(sets, ways, references, seed):
    config = LookAheadConfig(sets=sets, ways=ways, references=references)
    rng = np.random.default_rng([seed, sets, ways])
    keys = rng.integers(0, 1 << 40, 3 * sets * ways + 2)
    kinds, operands, said, oracle = random_operations(rng, config, 1200, keys)
    run = operate(config, kinds, operands)
    found = zip(map(Event, run.events.tolist()), run.lines.tolist(), run.victims.tolist(),
                strict=True)  # fmt: skip
    assert list(found) == said
    assert {name: getattr(run, name) for name in oracle.counts} == oracle.counts
    asked = [event for kind, (event, _, _) in zip(kinds, said, strict=True) if kind <= PREFETCH]
    counts = [asked.count(event) for event in list(Event)[:4]]
    assert [run.hits, run.merged, run.misses, run.refused] == counts
    assert run.reads == run.misses + run.refused - run.dropped
    assert run.evictions > 20  # nothing is proved by a cache that never fills


@pytest.mark.parametrize("outstanding", [1, 5, 40])
@pytest.mark.parametrize(("sets", "ways"), [(1, 1), (1, 8), (8, 2), (4, 16)])
def test_a_window_is_reads_with_their_fills_and_releases(sets, ways, outstanding):
    config = LookAheadConfig(sets=sets, ways=ways)
    keys = np.random.default_rng(7).integers(0, 3 * sets * ways, 2000)
    run = read_window(config, keys, outstanding, record=True)
    oracle, events = Oracle(sets, ways, config.references), []
    at = []
    for i, key in enumerate(keys.tolist()):
        if i >= outstanding:
            if events[i - outstanding][0] == Event.MISS:
                oracle.run(FILL, at[i - outstanding])
            oracle.run(RELEASE, at[i - outstanding])
        at.append(len(oracle.tickets))
        events.append(oracle.run(READ, key))
    found = zip(map(Event, run.events.tolist()), run.lines.tolist(), run.victims.tolist(),
                strict=True)  # fmt: skip
    assert list(found) == events


def test_ways_for_all_references_refuse_nothing():
    keys = np.random.default_rng(2).integers(0, 1000, 20000)
    assert read_window(LookAheadConfig(sets=4, ways=16), keys, 16).refused == 0
    distinct = np.arange(20000)
    assert read_window(LookAheadConfig(sets=1, ways=16), distinct, 16).refused == 0
    assert read_window(LookAheadConfig(sets=1, ways=15), distinct, 16).refused > 1000


def test_one_row_serves_everything():
    keys = np.random.default_rng(3).integers(0, 50, 5000)
    run = read_window(LookAheadConfig(sets=1, ways=1), keys, 32)
    assert run.hits + run.merged + run.misses + run.refused == 5000
    assert run.refused > 4000


def test_what_is_held_stays():
    config = LookAheadConfig(sets=1, ways=2)
    steps = [(READ, 1), (READ, 2), (READ, 3), (FILL, 0), (READ, 4), (RELEASE, 0), (READ, 5),
             (READ, 1)]  # fmt: skip
    run = operate(config, *zip(*steps, strict=True))
    assert [Event(e).name for e in run.events] == [
        "MISS", "MISS", "REFUSED", "DONE", "REFUSED", "DONE", "MISS", "REFUSED",
    ]  # fmt: skip
    assert run.victims.tolist() == [-1, -1, -1, -1, -1, -1, 1, -1]


def test_prefetches_are_counted_as_used_late_or_unused():
    config = LookAheadConfig(sets=1, ways=2)
    steps = [(PREFETCH, 1), (PREFETCH, 2), (PREFETCH, 3), (FILL, 0), (READ, 1), (READ, 2),
             (FILL, 1), (RELEASE, 4), (RELEASE, 5), (PREFETCH, 4), (FILL, 9), (RELEASE, 9),
             (READ, 5), (READ, 6)]  # fmt: skip
    run = operate(config, *zip(*steps, strict=True))
    assert [Event(e).name for e in run.events] == [
        "MISS", "MISS", "REFUSED", "DONE", "HIT", "MERGED", "DONE", "DONE", "DONE", "MISS",
        "DONE", "DONE", "MISS", "MISS",
    ]  # fmt: skip
    assert (run.used, run.late, run.unused, run.dropped) == (2, 1, 1, 1)


def test_a_read_takes_over_the_reference_of_its_prefetch():
    config = LookAheadConfig(sets=1, ways=1)
    steps = [(PREFETCH, 1), (FILL, 0), (READ, 1), (RELEASE, 2), (RELEASE, 0), (READ, 2)]
    run = operate(config, *zip(*steps, strict=True))
    assert Event(run.events[4]) is Event.IGNORED  # cancelled too late: nothing is dropped twice
    assert Event(run.events[5]) is Event.MISS


def test_cancelling_spares_the_row_that_came_after():
    config = LookAheadConfig(sets=1, ways=1)
    steps = [(PREFETCH, 1), (FILL, 0), (READ, 1), (RELEASE, 2), (PREFETCH, 2), (FILL, 4),
             (RELEASE, 0), (READ, 3), (RELEASE, 4), (READ, 3)]  # fmt: skip
    run = operate(config, *zip(*steps, strict=True))
    assert [Event(e).name for e in run.events[6:]] == ["IGNORED", "REFUSED", "DONE", "MISS"]


def test_sets_fold_every_bit_of_the_key():
    assert [set_of(1 << bit, 16) for bit in range(8)] == [1, 2, 4, 8, 1, 2, 4, 8]
    assert set_of(0b1010_0110, 16) == 0b1100
    assert set_of(123456, 1) == 0
    counts = np.bincount([set_of(key, 64) for key in range(0, 64 * 1000, 16)], minlength=64)
    assert counts.max() < 1.2 * counts.mean()  # a power-of-two stride does not pile up


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        ([(READ, -1)], r"operation 0 must be legal: READ -1"),
        ([(READ, 1), (FILL, 1)], r"operation 1 must be legal: FILL 1"),
        ([(READ, 1), (FILL, 0), (FILL, 0)], r"operation 2 must be legal: FILL 0"),
        ([(READ, 1), (READ, 1), (FILL, 1)], r"operation 2 must be legal: FILL 1"),
        ([(READ, 1), (RELEASE, 0)], r"operation 1 must be legal: RELEASE 0"),
        ([(READ, 1), (FILL, 0), (RELEASE, 1)], r"operation 2 must be legal: RELEASE 1"),
    ],
)
def test_rejects_impossible_operations(steps, wrong):
    with pytest.raises(ValueError, match=wrong):
        operate(LookAheadConfig(sets=1, ways=1), *zip(*steps, strict=True))


def test_rejects_sizes():
    with pytest.raises(ValueError, match=r"sets must be a power of two, not 3"):
        LookAheadConfig(sets=3, ways=1)
    with pytest.raises(ValueError, match=r"ways must be at least 1, not 0"):
        LookAheadConfig(sets=1, ways=0)
    with pytest.raises(ValueError, match=r"references must be at least 1, not 0"):
        LookAheadConfig(sets=1, ways=1, references=0)
    config = LookAheadConfig(sets=1, ways=1)
    with pytest.raises(ValueError, match=r"outstanding must be at least 1, not 0"):
        read_window(config, np.arange(3), 0)
    with pytest.raises(ValueError, match=r"keys must be at least 0"):
        read_window(config, np.array([-1]), 1)
    with pytest.raises(ValueError, match=r"operands must have shape \(1,\), not \(2,\)"):
        operate(config, [0], [1, 2])
    with pytest.raises(ValueError, match=r"kinds must be in 0..3, not 4"):
        operate(config, [4], [1])
