import pytest

from rpaccel.rtl import look_ahead_cache, look_ahead_step
from rpaccel.rtl.look_ahead_cache import LookAheadCache
from rpaccel.rtl.look_ahead_step import LookAheadCacheConfig, LookAheadStep
from tests.formal.look_ahead_properties import LookAheadProperties
from tests.formal.look_ahead_step_properties import LookAheadStepProperties
from tests.formal.mutants import mutant
from tests.formal.sby import run

SIZES = [(1, 1), (2, 1), (1, 2)]
DEPTH = 10
STEP, CACHE = look_ahead_step, look_ahead_cache
BUGS = {  # the first four break the rules of a set, the others the pipeline or a row
    "flying lines are replaced": (
        STEP, "~(line.references.any() | line.flying)", "~line.references.any()",
        "a held line is never replaced"),
    "referenced lines are replaced": (
        STEP, "~(line.references.any() | line.flying)", "~line.flying",
        "a held line is never replaced"),
    "release without a reference": (
        STEP, "(old.references != old.ahead)", "1", "reads never underflow"),
    "no limit": (
        STEP, "full = old.references == self.config.references", "full = 0",
        "references stay in their limit"),
    "a fill over an update": (
        STEP, "effect.write.eq(~old.newer)", "effect.write.eq(1)", "it is the newest version"),
    "state not forwarded": (
        CACHE, "Mux(same_set, step.new_state, state_read.data)", "state_read.data",
        "a held line is never replaced"),
    "key not forwarded": (
        CACHE, "Mux(same_set & replaced[way], same_key, found & ~gone)", "found",
        "the line holds the row that is found"),
    "a refused access waits": (
        CACHE, "self.request.ready.eq(advance & ~due)",
        "self.request.ready.eq(advance & ~due & ~moving)",
        "only an answer that waits stops a request"),
}  # fmt: skip


def config_of(sets, ways, references=2, key_bits=2):
    return LookAheadCacheConfig(
        sets=sets, ways=ways, row_bytes=4, key_bits=key_bits, references=references
    )


@pytest.mark.parametrize(("ways", "references"), [(1, 2), (2, 3), (3, 2), (4, 3)])
def test_rules_keep_held_lines_for_ever(ways, references):
    step = LookAheadStep(config_of(1, ways, references, key_bits=3))
    found = run(LookAheadStepProperties(step), 2, "prove")
    assert found.passed, found


@pytest.mark.parametrize("bug", list(BUGS)[:4])
def test_planted_bug_breaks_the_rules(bug):
    _, old, new, broken = BUGS[bug]
    step = mutant(STEP, old, new).LookAheadStep(config_of(1, 2))
    found = run(LookAheadStepProperties(step, lemmas=False), 8)
    assert not found.passed
    assert broken in found.broken, found


@pytest.mark.parametrize(("sets", "ways"), SIZES)
@pytest.mark.slow
def test_a_held_line_stays_and_counts_never_underflow(sets, ways):
    found = run(LookAheadProperties(LookAheadCache(config_of(sets, ways))), DEPTH)
    assert found.passed, found


@pytest.mark.slow
def test_what_is_proved_is_reachable():
    found = run(LookAheadProperties(LookAheadCache(config_of(1, 1))), DEPTH, "cover")
    assert found.passed, found


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.slow
def test_planted_bug_is_found(bug):
    module, old, new, broken = BUGS[bug]
    changed = mutant(module, old, new)
    cache = changed if module is CACHE else mutant(CACHE, "__all__ = [", "__all__ = [")
    if module is STEP:
        cache.LookAheadStep = changed.LookAheadStep
    found = run(LookAheadProperties(cache.LookAheadCache(config_of(1, 1))), DEPTH)
    assert not found.passed
    assert broken in found.broken, found
