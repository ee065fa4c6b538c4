import json
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.main_job.online_machine import MACHINE_ITEMS, STAGES, machine_pipeline
from rpaccel.main_job.online_page import (
    CASE_HEAD,
    draw_online,
    online_text,
    online_values,
    run_online,
)
from rpaccel.results import to_json
from rpaccel.scheduler.online import build_ladder
from rpaccel.scheduler.online_options import OptionSet, accelerator_options, split_options
from rpaccel.scheduler.online_study import (
    EVENING,
    KNOWN,
    ON_LINE,
    Day,
    Score,
    hysteresis_of,
    run_day,
    run_on_line,
    verdict,
)
from rpaccel.scheduler.published_pipelines import LEAST_KEPT, SPLITS


@pytest.fixture(scope="module")
def options():
    chosen = [o for o in accelerator_options().options if o.partition in ("2,2", "8,8", "whole")]
    return OptionSet(name="card", options=tuple(chosen), sla_ms=(6.0,))


@pytest.fixture(scope="module")
def study(options):
    return run_online(
        [options], queries=300_000, days=1, peaks=(0.9,), split_peaks=(0.95,),
        progress=lambda _: None,
    )  # fmt: skip


def score(choice, quality, late=0.0, changes=0):
    return Score(
        choice=choice,
        quality=quality,
        late=late,
        late_windows=0.0,
        p99_ms=1.0,
        mean_ms=1.0,
        changes=changes,
    )


@pytest.mark.parametrize("partition", STAGES)
def test_our_machine_ranks_what_its_quality_is_of(partition):
    for items in MACHINE_ITEMS:
        stages = machine_pipeline(partition, items).stages
        assert len(stages) == STAGES[partition]
        assert stages[0].items == items
        assert stages[-1].items >= (LEAST_KEPT if len(stages) > 1 else 64)


def test_verdict_by_hand():
    days = [
        [score(ON_LINE, 0.9, 0.1, 4), score(KNOWN, 0.95), score("a", 0.8, 0.2), score("b", 0.5)],
        [score(ON_LINE, 0.7, 0.3, 2), score(KNOWN, 0.85), score("a", 0.6), score("b", 0.75)],
    ]
    found = verdict(days)
    assert found.best_static == "a"
    assert (found.online, found.static, found.known) == pytest.approx((0.8, 0.7, 0.9))
    # Against the best of each day, not against the best on average.
    assert found.gains == pytest.approx((0.1, -0.05))
    assert not found.wins and not found.equals
    assert not verdict(days[:1]).equals
    tie = [days[0][0], days[0][1], score("a", 0.9)]
    assert verdict([tie]).equals and not verdict([tie, days[1][:3]]).wins
    assert (found.late, found.static_late, found.changes) == pytest.approx((0.2, 0.1, 3))
    assert found.constant and found.known_changes == 0
    moved = [[days[0][0], replace(days[0][1], changes=1), *days[0][2:]], days[1]]
    assert not verdict(moved).constant
    assert verdict(days[:1]).wins
    with pytest.raises(ValueError, match=r"^days must be at least one"):
        verdict([])


def test_day_has_the_load_that_it_says(options):
    ladder = build_ladder(options.options, 6e-3, queries=5000)
    day = Day(peak=0.9, queries=50_000, seed=3)
    most = ladder.rungs[ladder.largest].limit_qps
    assert day.load_qps(ladder) == pytest.approx(0.9 * most / 1.8)
    rate = day.rate_qps(ladder)
    times = day.arrivals_s(ladder)
    assert max(rate(t) for t in times[::500]) == pytest.approx(0.9 * most, rel=1e-3)
    assert times.size / times[-1] == pytest.approx(day.load_qps(ladder), rel=0.02)
    bursts = Day(peak=0.9, queries=50_000, seed=3, bursts=True)
    assert bursts.rate_qps(ladder)(5.0) == bursts.load_qps(ladder) == day.load_qps(ladder)
    assert day.largest == 0.9
    # 1 / (0.9 + 0.1 x 4) is the calm rate over the mean, half of 0.9 of the largest load
    assert bursts.largest == pytest.approx(0.5 * 4 / 1.3)
    many = Day(peak=0.9, queries=2_000_000, seed=3, bursts=True).arrivals_s(ladder)
    bins = np.bincount((many * most / 2000).astype(int)) / 2000  # over the largest load
    assert np.quantile(bins, 0.99) == pytest.approx(bursts.largest, rel=0.1)
    assert hysteresis_of(ladder).tick_s == pytest.approx(200 / most)
    for bad in ({"peak": 0.0}, {"peak": 1.0, "queries": 10}):
        with pytest.raises(ValueError, match=r"^peak must be above 0 and queries at least 1000"):
            Day(**bad)


def test_a_day_follows_the_evening_before(options):
    ladder = build_ladder(options.options, 6e-3, queries=5000)
    day = Day(peak=0.9, queries=80_000, seed=3)
    trace = day.trace(ladder)
    assert trace.first == EVENING
    assert trace.arrival_s[0] == 0 and np.all(np.diff(trace.arrival_s) >= 0)
    assert trace.arrival_s[trace.first - 1] < trace.start_s < trace.arrival_s[trace.first]
    assert trace.arrival_s[trace.first :] - trace.start_s == pytest.approx(day.arrivals_s(ladder))
    # The wave goes on: towards midnight the rate is the mean's again.
    last = trace.arrival_s[trace.first - 4000 : trace.first]
    assert 4000 / np.ptp(last) == pytest.approx(day.load_qps(ladder), rel=0.2)
    run = run_on_line(ladder, trace, hysteresis_of(ladder))
    assert run.arrival_s.size == run.rung.size == day.queries
    assert run.changes[0][0] == 0 and all(time_s > 0 for time_s, _ in run.changes[1:])
    assert run.rung[0] == run.changes[0][1]
    short = Day(peak=0.9, queries=2000, seed=3).trace(ladder)
    assert 1500 < short.first <= 2000


def test_a_load_that_asks_for_one_option_is_a_static_choice(options):
    ladder = build_ladder(options.options, 6e-3)
    day = Day(peak=0.02, queries=100_000, seed=5)
    online, known, *statics = run_day(ladder, day)
    assert online.changes == known.changes == 0
    found = verdict([[online, known, *statics]])
    assert (found.gains, found.wins, found.equals) == ((0.0,), False, True)


def test_every_static_choice_is_there(options):
    ladder = build_ladder(options.options, 6e-3, queries=5000)
    scores = run_day(ladder, Day(peak=0.5, queries=20_000))
    names = [each.choice for each in scores]
    assert names == [ON_LINE, KNOWN, *(rung.option.name for rung in ladder.rungs)]
    assert all(each.changes == 0 for each in scores[2:])
    assert max(each.quality for each in scores) <= ladder.rungs[0].option.quality
    assert scores == run_day(ladder, Day(peak=0.5, queries=20_000))  # same input, same output
    few = run_day(ladder, Day(peak=0.5, queries=20_000), rungs=[0])
    assert [each.choice for each in few] == names[:3]


def test_on_line_beats_every_static_choice_on_a_day(study):
    day = [case for case in study.cases if not case.bursts]
    assert [case.shed for case in day] == [False, True]
    for case in day:
        assert case.verdict.wins
        assert min(case.verdict.gains) > (0.05 if case.shed else 1.0)
        assert case.verdict.late < 0.01
        assert case.verdict.changes > 2


def test_splits_alone_answer_sooner(study):
    (day,) = study.splits
    names = [score.choice for score in day.scores[0]]
    assert {name for name in names[2:]} == {f"{split} 4096" for split in SPLITS}
    assert day.wins
    assert names[day.best] == "8,8 4096"
    assert day.mean_ms(0) < day.mean_ms(day.best)
    assert day.late(0) < 0.2 * day.late(day.best)
    with pytest.raises(ValueError, match=r"^sla_ms must be above 5\.49, the slowest split, not 5"):
        split_options(5)


def test_what_is_lost_is_said(study):
    first, *others = study.cases
    verdict = replace(first.verdict, gains=(0.5, -0.25), static_late=0.034, late=0.1)
    lost = replace(first, peak=1.1, verdict=verdict)
    text = online_text(replace(study, cases=(lost, *others)))
    assert "in 1 of 2 cases of days (and equals the best in 0)" in text
    assert (
        "Days on which a static choice is better, 1 of 1: card, 6 ms, peak 1.1: -0.2500 (it is "
        "late with 3.4 %). With peaks above 1 on-line is late with 10.0 to 10.0 % of the queries, "
        "the best static choice with 3.4 to 3.4 %."
    ) in text
    verdict = replace(verdict, gains=(0.0, 0.0004), static_late=0.0, known_changes=0.0)
    equal = replace(first, peak=0.1, verdict=verdict)
    text = online_text(replace(study, cases=(equal, lost, *others)))
    assert "in 1 of 3 cases of days (and equals the best in 1)" in text
    assert (
        "1 of 2: card, 6 ms, peak 1.1: -0.2500 (it is late with 3.4 %). On 1 one is as good; on 1 "
        "of these the load never asks for another option"
    ) in text
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert [row[9] for row in rows if row[1:4] == ["card", "6", "day"]] == ["equals", "no", "yes"]
    (day,) = study.splits
    worse = tuple((replace(s[0], mean_ms=1e9), *s[1:]) for s in day.scores)
    text = online_text(replace(study, splits=(day, replace(day, scores=worse))))
    assert "sooner than every split on all days at peaks 0.95 of\n2 peaks" in text


def test_page_json_and_plots(study, options, tmp_path):
    text = online_text(study)
    assert "Written by `rpaccel online`" in text
    assert "in 2 of 2 cases of days (and equals the best in 0) and in" in text
    assert "On no day of 1 is a static choice better." in text
    assert "the rate of the last 2,000 arrivals" in text and "is\nworth more at 5 % above" in text
    assert "0.2 to 1.8 of its mean" in text and "of 4 times the calm\nrate" in text
    assert "(the log's cuts cost at most\n0.07)" in text
    assert "with seeds 0 and 1, none of this page's" in text
    again = online_text(replace(study, seed=1))
    assert "with seeds 0 and 1, some of this page's" in again
    peaks = [line.split("|")[4].strip() for line in text.splitlines() if " bursts |" in line]
    assert peaks == ["1.54", "1.54"]
    heads = [line for line in text.splitlines() if line.startswith("| machine")]
    assert len(heads) == 2
    assert [cell.strip() for cell in heads[0].strip("|").split("|")] == CASE_HEAD
    values = json.loads(to_json(online_values(study)))
    assert len(values["cases"]) == 4
    assert values["cases"][0]["verdict"]["wins"] is True
    assert len(draw_online(study, tmp_path)) == 2
    with pytest.raises(ValueError, match=r"^days must be at least 1, not 0"):
        run_online([options], days=0)
