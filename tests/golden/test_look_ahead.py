import numpy as np
import pytest

from rpaccel.golden.cache_sim import Event
from rpaccel.golden.look_ahead import LookAheadConfig, Operation, operate, read_window, set_of

LOOK, PREFETCH, FILL, ABORT, UPDATE, ADVANCE = Operation
COUNTS = (
    "hits", "merged", "misses", "refused", "evictions", "prefetches", "dropped", "used", "late",
    "unused",
)  # fmt: skip


class Oracle:
    """The rules of `golden.look_ahead` with a list of dictionaries per set."""

    def __init__(self, sets, ways, owners=1, free_ways=0):
        self.free_ways = free_ways
        self.sets = [{"next": 0, "lines": [None] * ways} for _ in range(sets)]
        self.epochs = [0] * owners
        self.tickets = []
        self.counts = dict.fromkeys(COUNTS, 0)

    def fold(self, key):
        bits, count = len(self.sets).bit_length() - 1, len(self.sets)
        parts = [key >> s for s in range(0, 64, bits)] if bits else [0]
        return int(np.bitwise_xor.reduce(parts)) % count

    def find(self, key):
        lines = self.sets[self.fold(key)]["lines"]
        return next((line for line in lines if line and line["key"] == key), None)

    def marked(self, line):
        return line["mark"] is not None and self.epochs[line["mark"][0]] % 4 == line["mark"][1]

    def held(self, line):
        return line["flying"] or self.marked(line)

    def may_mark(self, group, line):
        """Return whether enough lines other than `line` stay without a mark."""
        others = list(group["lines"])
        others.remove(line)
        unmarked = [each for each in others if each is None or not self.marked(each)]
        return len(unmarked) >= self.free_ways

    def access(self, key, owner):
        """Return (event, line, victim); owner : None of a LOOK."""
        group, line, victim = self.sets[self.fold(key)], self.find(key), -1
        ahead = owner is not None
        mark = (owner, self.epochs[owner] % 4) if ahead else None
        if line:
            line["mark"] = mark if self.may_mark(group, line) else None
            if line["unread"] and not ahead:
                line["unread"] = False
                self.counts["used"] += 1
                self.counts["late"] += line["flying"]
            return (Event.MERGED if line["flying"] else Event.HIT), line, victim
        ways = len(group["lines"])
        for way in [(group["next"] + i) % ways for i in range(ways)]:
            old = group["lines"][way]
            if not old or not self.held(old):
                if ahead and not self.may_mark(group, old):
                    return Event.REFUSED, None, -1
                new = {"key": key, "mark": mark, "flying": True, "unread": ahead,
                       "at": self.fold(key) * ways + way}  # fmt: skip
                group["lines"][way], group["next"] = new, (way + 1) % ways
                self.counts["evictions"] += old is not None
                self.counts["unused"] += bool(old and old["unread"])
                return Event.MISS, new, old["key"] if old else -1
        return Event.REFUSED, None, -1

    def run(self, kind, operand, owner=0):
        """Return (event, line number, victim)."""
        self.tickets.append(None)
        if kind in (LOOK, PREFETCH):
            event, line, victim = self.access(operand, owner if kind == PREFETCH else None)
            self.tickets[-1] = line
            if kind == LOOK:
                self.counts[("hits", "merged", "misses", "refused")[event]] += 1
            else:
                self.counts["prefetches"] += event == Event.MISS
                self.counts["dropped"] += event == Event.REFUSED
            return event, line["at"] if line else -1, victim
        found = True
        if kind == UPDATE:
            found = self.find(operand) is not None
        elif kind == ADVANCE:
            self.epochs[operand] += 1
        else:
            line = self.tickets[operand]
            found = line is not None
            if found:
                line["flying"] = False
            if found and kind == ABORT:
                at, way = divmod(line["at"], len(self.sets[0]["lines"]))
                self.sets[at]["lines"][way] = None
        return (Event.DONE if found else Event.IGNORED), -1, -1


def random_operations(rng, config, size, keys):
    """Draw legal operations; return (kinds, operands, owners, what the oracle said, the oracle)."""
    oracle = Oracle(config.sets, config.ways, config.owners, config.free_ways)
    kinds, operands, said, to_fill = [], [], [], []
    owners = rng.integers(0, config.owners, size).tolist()
    for i in range(size):
        crowd = min(1.0, len(to_fill) / (1 + 0.7 * config.rows))
        chances = [0.4 * (1 - crowd), 0.3 * (1 - crowd), 0.8 * crowd, 0.2 * crowd,
                   0.2 * (1 - crowd), 0.1 * (1 - crowd)]  # fmt: skip
        kind = int(rng.choice(6, p=chances))
        if kind in (FILL, ABORT):
            operand = to_fill.pop(int(rng.integers(len(to_fill))))
        else:
            operand = int(rng.integers(config.owners) if kind == ADVANCE else rng.choice(keys))
        line = oracle.find(operand) if kind == UPDATE else None
        if line and line["flying"]:
            kind = LOOK
        kinds.append(kind)
        operands.append(operand)
        said.append(oracle.run(kind, operand, owners[i]))
        if kind in (LOOK, PREFETCH) and said[-1][0] in (Event.MISS, Event.REFUSED):
            to_fill.append(i)
    return kinds, operands, owners, said, oracle


def told(run):
    events = map(Event, run.events.tolist())
    return list(zip(events, run.lines.tolist(), run.victims.tolist(), strict=True))


def names(run):
    return [Event(event).name for event in run.events]


def operated(config, steps):
    """Run (kind, operand, or kind, operand, owner) each."""
    kinds, operands, owners = zip(*[(*step, 0)[:3] for step in steps], strict=True)
    return operate(config, kinds, operands, owners)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("sets", "ways", "owners", "free_ways"),
    [(1, 1, 1, 0), (1, 3, 2, 2), (4, 2, 1, 1), (8, 4, 64, 0), (8, 4, 2, 2), (16, 1, 3, 0)],
)
def test_matches_the_oracle(sets, ways, owners, free_ways, seed):
    config = LookAheadConfig(sets=sets, ways=ways, owners=owners, free_ways=free_ways)
    rng = np.random.default_rng([seed, sets, ways])
    keys = rng.integers(0, 1 << 40, 3 * sets * ways + 2)
    kinds, operands, who, said, oracle = random_operations(rng, config, 1500, keys)
    run = operate(config, kinds, operands, who)
    assert told(run) == said
    assert {name: getattr(run, name) for name in COUNTS} == oracle.counts
    assert run.reads == run.misses + run.refused + run.prefetches
    assert set(names(run)) == set(Event.__members__)
    assert min(oracle.counts.values()) > 0


@pytest.mark.parametrize("outstanding", [1, 5, 40])
@pytest.mark.parametrize(("sets", "ways"), [(1, 1), (1, 8), (8, 2), (4, 16)])
def test_a_window_is_looks_with_their_fills(sets, ways, outstanding):
    config = LookAheadConfig(sets=sets, ways=ways)
    keys = np.random.default_rng(7).integers(0, 3 * sets * ways, 2000)
    run = read_window(config, keys, outstanding, record=True)
    oracle, events, at = Oracle(sets, ways), [], []
    for i, key in enumerate(keys.tolist()):
        if i >= outstanding and events[i - outstanding][0] == Event.MISS:
            oracle.run(FILL, at[i - outstanding])
        at.append(len(oracle.tickets))
        events.append(oracle.run(LOOK, key))
    assert told(run) == events
    assert {name: getattr(run, name) for name in COUNTS} == oracle.counts


def test_a_warm_window_leaves_nothing_flying():
    config = LookAheadConfig(sets=1, ways=4)
    warm = read_window(config, np.arange(4), 4, warm_up=np.arange(4))
    assert (warm.hits, warm.merged, warm.misses) == (4, 0, 0)


def test_ways_for_all_reads_in_flight_refuse_nothing():
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


def test_what_flies_stays():
    config = LookAheadConfig(sets=1, ways=2)
    steps = [(LOOK, 1), (LOOK, 2), (LOOK, 3), (FILL, 0), (LOOK, 4), (LOOK, 1), (LOOK, 2)]
    run = operated(config, steps)
    assert names(run) == ["MISS", "MISS", "REFUSED", "DONE", "MISS", "REFUSED", "MERGED"]
    assert run.victims.tolist() == [-1, -1, -1, -1, 1, -1, -1]


def test_a_mark_holds_in_its_owners_epoch_only():
    config = LookAheadConfig(sets=1, ways=1, owners=2)
    steps = [(PREFETCH, 1, 1), (FILL, 0), (LOOK, 2), (ADVANCE, 0), (LOOK, 2), (ADVANCE, 1),
             (LOOK, 2), (FILL, 6), (LOOK, 1)]  # fmt: skip
    run = operated(config, steps)
    assert names(run)[2::2] == ["REFUSED", "REFUSED", "MISS", "MISS"]
    assert run.unused == 1


def test_a_mark_holds_again_after_four_epochs():
    config = LookAheadConfig(sets=1, ways=1)
    steps = [(PREFETCH, 1), (FILL, 0), *[(ADVANCE, 0)] * 4, (LOOK, 2), (ADVANCE, 0), (LOOK, 2)]
    run = operated(config, steps)
    assert names(run)[-3:] == ["REFUSED", "DONE", "MISS"]


def test_marks_leave_lines_to_looks():
    """Of three lines one may be marked; a LOOK may use all."""
    config = LookAheadConfig(sets=1, ways=3, free_ways=2)
    steps = [
        (PREFETCH, 1), (FILL, 0), (PREFETCH, 2), (LOOK, 3), (FILL, 3), (PREFETCH, 3), (LOOK, 4),
        (FILL, 6), (LOOK, 5), (FILL, 8), (LOOK, 1), (PREFETCH, 5), (LOOK, 3),
    ]  # fmt: skip
    assert names(operated(config, steps)) == [
        "MISS", "DONE", "REFUSED", "MISS", "DONE", "HIT", "MISS",
        "DONE", "MISS", "DONE", "HIT", "HIT", "MISS",
    ]  # fmt: skip
    nothing = LookAheadConfig(sets=1, ways=2, free_ways=2)
    assert names(operated(nothing, [(PREFETCH, 1), (LOOK, 1)])) == ["REFUSED", "MISS"]


def test_the_last_prefetch_owns_the_mark():
    config = LookAheadConfig(sets=1, ways=1, owners=2)
    steps = [(PREFETCH, 1, 0), (FILL, 0), (PREFETCH, 1, 1), (ADVANCE, 1), (LOOK, 2)]
    assert names(operated(config, steps))[2:] == ["HIT", "DONE", "MISS"]


def test_a_look_clears_the_mark_and_an_update_does_not():
    config = LookAheadConfig(sets=1, ways=1)
    start = [(PREFETCH, 1), (FILL, 0)]
    run = operated(config, [*start, (UPDATE, 1), (LOOK, 2), (LOOK, 1), (LOOK, 2)])
    assert names(run)[2:] == ["DONE", "REFUSED", "HIT", "MISS"]
    late = operated(config, [(PREFETCH, 1), (LOOK, 1), (FILL, 0), (LOOK, 2)])
    assert names(late) == ["MISS", "MERGED", "DONE", "MISS"]


def test_prefetches_are_counted_as_used_late_or_unused():
    config = LookAheadConfig(sets=1, ways=2)
    steps = [(PREFETCH, 1), (PREFETCH, 2), (PREFETCH, 3), (FILL, 0), (LOOK, 1), (LOOK, 2),
             (FILL, 1), (PREFETCH, 4), (FILL, 7), (ADVANCE, 0), (LOOK, 5), (LOOK, 6)]  # fmt: skip
    run = operated(config, steps)
    assert names(run) == [
        "MISS", "MISS", "REFUSED", "DONE", "HIT", "MERGED", "DONE", "MISS", "DONE", "DONE", "MISS",
        "MISS",
    ]  # fmt: skip
    assert (run.used, run.late, run.unused, run.dropped, run.prefetches) == (2, 1, 1, 1, 3)
    assert (run.hits, run.merged, run.misses, run.refused) == (1, 1, 2, 0)


def test_an_abort_empties_the_line():
    config = LookAheadConfig(sets=1, ways=1)
    steps = [(PREFETCH, 1), (LOOK, 2), (ABORT, 0), (UPDATE, 1), (LOOK, 2), (ABORT, 4), (LOOK, 2)]
    run = operated(config, steps)
    assert names(run) == ["MISS", "REFUSED", "DONE", "IGNORED", "MISS", "DONE", "MISS"]
    assert (run.evictions, run.unused) == (0, 0)


def test_sets_fold_every_bit_of_the_key():
    assert [set_of(1 << bit, 16) for bit in range(8)] == [1, 2, 4, 8, 1, 2, 4, 8]
    assert set_of(0b1010_0110, 16) == 0b1100
    assert set_of(123456, 1) == 0
    counts = np.bincount([set_of(key, 64) for key in range(0, 64 * 1000, 16)], minlength=64)
    assert counts.max() < 1.2 * counts.mean()  # a power-of-two stride does not pile up


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        ([(LOOK, -1)], r"operation 0 must be legal: LOOK -1"),
        ([(PREFETCH, 1, 2)], r"operation 0 must be legal: PREFETCH 1"),
        ([(LOOK, 1), (FILL, 1)], r"operation 1 must be legal: FILL 1"),
        ([(LOOK, 1), (FILL, 0), (FILL, 0)], r"operation 2 must be legal: FILL 0"),
        ([(LOOK, 1), (FILL, 0), (ABORT, 0)], r"operation 2 must be legal: ABORT 0"),
        ([(LOOK, 1), (PREFETCH, 1), (FILL, 1)], r"operation 2 must be legal: FILL 1"),
        ([(LOOK, 1), (UPDATE, 1)], r"operation 1 must be legal: UPDATE 1"),
        ([(ADVANCE, 2)], r"operation 0 must be legal: ADVANCE 2"),
    ],
)
def test_rejects_impossible_operations(steps, wrong):
    with pytest.raises(ValueError, match=wrong):
        operated(LookAheadConfig(sets=1, ways=1, owners=2), steps)


def test_rejects_sizes():
    with pytest.raises(ValueError, match=r"sets must be a power of two, not 3"):
        LookAheadConfig(sets=3, ways=1)
    with pytest.raises(ValueError, match=r"ways must be at least 1, not 0"):
        LookAheadConfig(sets=1, ways=0)
    with pytest.raises(ValueError, match=r"owners must be in 1..64, not 65"):
        LookAheadConfig(sets=1, ways=1, owners=65)
    with pytest.raises(ValueError, match=r"free_ways must be in 0\.\.2, not 3"):
        LookAheadConfig(sets=1, ways=2, free_ways=3)
    config = LookAheadConfig(sets=1, ways=1)
    with pytest.raises(ValueError, match=r"outstanding must be at least 1, not 0"):
        read_window(config, np.arange(3), 0)
    with pytest.raises(ValueError, match=r"keys must be at least 0"):
        read_window(config, np.array([-1]), 1)
    with pytest.raises(ValueError, match=r"operands must have shape \(1,\), not \(2,\)"):
        operate(config, [0], [1, 2])
    with pytest.raises(ValueError, match=r"owners must have shape \(1,\), not \(2,\)"):
        operate(config, [0], [1], [0, 0])
    with pytest.raises(ValueError, match=r"kinds must be in 0..5, not 6"):
        operate(config, [6], [1])
