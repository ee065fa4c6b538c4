import pytest

from rpaccel.rtl import look_ahead_cache, look_ahead_step
from rpaccel.rtl.look_ahead_cache import LookAheadCache
from rpaccel.rtl.look_ahead_step import LookAheadCacheConfig, LookAheadStep
from tests.formal.look_ahead_properties import LookAheadProperties
from tests.formal.look_ahead_step_properties import LookAheadStepProperties
from tests.formal.mutants import mutant
from tests.formal.sby import run
from tests.streams import slow_but, slow_rows_but

SIZES = [(1, 1), (2, 1), (1, 2), (2, 2)]
DEPTH = 10
STEP, CACHE = look_ahead_step, look_ahead_cache
FREE = "free.eq(unmarked & ~Cat(line.flying for line in lines))"
BUGS = {  # the first five break the rules of a set, the others the pipeline or a row
    "flying lines are replaced": (
        STEP, FREE, "free.eq(unmarked)", "a held line is never replaced"),
    "marked lines are replaced": (
        STEP, FREE, "free.eq(~Cat(line.flying for line in lines))",
        "a held line is never replaced"),
    "marks hold for ever": (
        STEP, "line.ahead & self.now[i]", "line.ahead", "refused only while every line is held"),
    "a look keeps the mark": (
        STEP, "new.ahead.eq(marks)", "new.ahead.eq(marks | old.ahead)",
        "refused only while every line is held"),
    "an abort keeps the mark": (
        STEP, "new.eq(0)", "new.flying.eq(0)", "refused only while every line is held"),
    "an update of a flying row": (
        STEP, "self.match.any() & ~old.flying", "self.match.any()",
        "an update is of a row that is there"),
    "an abort leaves the row": (
        STEP, "[effect.event.eq(CacheEvent.DONE), effect.drop.eq(1)]",
        "[effect.event.eq(CacheEvent.DONE), effect.write.eq(1)]",
        "a victim is a row that was there"),
    "an update writes whole rows": (
        CACHE, "Mux(operation == CacheOperation.UPDATE, updated.request.mask, ~0)", "~0",
        "it is the newest version"),
    "state not forwarded": (
        CACHE, "Mux(same_set, step.new_state, state_read.data)", "state_read.data",
        "an update is of a row that is there"),
    "mark not forwarded": (
        CACHE, "(marks_of_now(state, epochs) & ~fresh) | (of_fresh & fresh)",
        "marks_of_now(state, epochs)", "refused only while every line is held"),
    "key not forwarded": (
        CACHE, "Mux(same_set & replaced[way], same_key, found & ~gone)", "found",
        "refused only while every line is held"),
    "epochs of another moment": (
        CACHE, "marks_of_now(state, epochs)", "marks_of_now(state, self.epochs)",
        "refused only while every line is held"),
    "a refused access waits": (
        CACHE, "self.request.ready.eq(advance & ~due)",
        "self.request.ready.eq(advance & ~due & ~moving)",
        "only an answer that waits stops a request"),
}  # fmt: skip


def config_of(sets, ways, owners=2, key_bits=2, row_bytes=8, free_ways=0):
    return LookAheadCacheConfig(
        sets=sets, ways=ways, row_bytes=row_bytes, key_bits=key_bits, owners=owners,
        free_ways=free_ways,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ways", "owners", "free_ways"),
    slow_rows_but(
        [(1, 2, 0), (2, 2, 1), (4, 2, 2)],
        [(1, 2, 0), (2, 3, 0), (3, 1, 0), (4, 2, 0), (2, 2, 1), (4, 2, 2)],
    ),
)
def test_rules_keep_held_lines_for_ever(ways, owners, free_ways):
    step = LookAheadStep(config_of(1, ways, owners, key_bits=3, free_ways=free_ways))
    found = run(LookAheadStepProperties(step), 2, "prove")
    assert found.passed, found


@pytest.mark.parametrize("bug", slow_but(list(BUGS)[:1], list(BUGS)[:5]))
def test_planted_bug_breaks_the_rules(bug):
    _, old, new, broken = BUGS[bug]
    step = mutant(STEP, old, new).LookAheadStep(config_of(1, 2))
    found = run(LookAheadStepProperties(step, lemmas=False), 8)
    assert not found.passed
    assert broken in found.broken, found


@pytest.mark.parametrize(("sets", "ways"), SIZES)
@pytest.mark.nightly
@pytest.mark.slow
def test_a_held_line_stays_and_every_answer_is_right(sets, ways):
    found = run(LookAheadProperties(LookAheadCache(config_of(sets, ways))), DEPTH)
    assert found.passed, found


@pytest.mark.nightly
@pytest.mark.slow
def test_what_is_proved_is_reachable():
    found = run(LookAheadProperties(LookAheadCache(config_of(1, 1))), DEPTH, "cover")
    assert found.passed, found


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.nightly
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
