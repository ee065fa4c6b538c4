import pytest

from rpaccel.main_job.deeprecsched import Options, ask_of
from rpaccel.scheduler.deeprec_study import LEVELS, run_study
from rpaccel.spec.deeprec import deeprec_names

OPTIONS = Options(cores=40, sizes="heavy", queries=16384, seed=0)  # as the page's


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("model", deeprec_names())
@pytest.mark.parametrize("file", ["measured", "assumed"])
def test_ours_is_near_the_optimum_at_a_tenth_of_its_evaluations(file, model):
    cases = run_study(ask_of(file, [model], OPTIONS))
    assert [case.level for case in cases] == list(LEVELS)
    for case in cases:
        for node in ("", "+"):
            ours, best = case.outcomes["ours" + node], case.outcomes["optimum" + node]
            assert case.of_optimum("ours" + node) >= 0.98, (case.level, ours, best)
            assert ours.settings == best.settings == {"": 144, "+": 4848}[node]
            assert ours.evaluations <= best.settings / 10
            assert ours.queries <= case.plain["optimum" + node] / 10
            assert ours.evaluations <= best.evaluations  # though our bounds help the other, too
