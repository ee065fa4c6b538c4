"""Rules of a run, each broken by hand: the report of a load with one number changed."""

from dataclasses import replace

import numpy as np
import pytest

from rpaccel.perfmodel import machine as machine_module
from rpaccel.perfmodel.machine import simulate
from rpaccel.perfmodel.machine_faults import (
    BUSY,
    EARLY,
    FAULTS,
    ITEMS,
    NEGATIVE,
    TOTAL,
    check_report,
)
from rpaccel.perfmodel.machine_kernels import DONE
from tests.perfmodel.test_machine_totals import random_load


@pytest.fixture(scope="module")
def report():
    """Return a load of 30 queries, with its sub-batches."""
    return simulate(*random_load(0), sub_batches=True)


def changed(report, records, field, place, by):
    """Return the report with a number of one record changed, and the record's query."""
    copy = getattr(report, records).copy()
    copy[field][place] += by
    query = place if records == "query_records" else int(copy["query"][place])
    return replace(report, **{records: copy}), query


def test_a_report_keeps_the_rules(report):
    check_report(report)
    check_report(simulate(*random_load(1)))  # without sub-batches
    check_report(simulate(random_load(1)[0], []))


@pytest.mark.parametrize(
    ("rule", "records", "field", "by"),
    [
        (NEGATIVE, "query_records", "arrival", -(1 << 40)),
        (NEGATIVE, "task_log", "start", -(1 << 40)),
        (NEGATIVE, "batch_log", "gathering", -(1 << 40)),
        (EARLY, "query_records", "accepted", 1 << 40),
        (EARLY, "query_records", "arrival", 1 << 40),
        (EARLY, "task_log", "gathered", 1 << 40),
        (EARLY, "task_log", "computing", 1 << 40),
        (EARLY, "task_log", "end", 1 << 40),
        (EARLY, "task_log", "scored", 1 << 40),
        (EARLY, "batch_log", "gathered", 1 << 40),
        (EARLY, "batch_log", "taken", 1 << 40),
        (EARLY, "batch_log", "chosen", 1 << 40),
        (EARLY, "stage_records", "start", 1 << 40),
        (ITEMS, "task_log", "items", 1),
        (ITEMS, "batch_log", "items", -1),
        (ITEMS, "stage_records", "given", 1),
        (ITEMS, "query_records", "items", 1),
        (TOTAL, "query_records", "end", 1),
        (TOTAL, "stage_records", "end", 1),
    ],
)
def test_a_broken_rule_names_the_query(report, rule, records, field, by):
    place = 7
    if records == "stage_records":  # the last one of query 7
        place = int(np.flatnonzero(report.stage_records["query"] == 7)[-1])
    broken, query = changed(report, records, field, place, by)
    with pytest.raises(RuntimeError, match=rf"^{FAULTS[rule]}: \d+ times, one in query {query}$"):
        check_report(broken)


def test_items_of_tasks_sum_without_sub_batches(report):
    broken, query = changed(report, "task_log", "items", 7, 1)
    with pytest.raises(RuntimeError, match=rf"^{FAULTS[ITEMS]}: 1 times, one in query {query}$"):
        check_report(replace(broken, batch_log=report.batch_log[:0]))


def test_survivors_are_the_items_of_the_next_stage(report):
    place = next(n for n, number in enumerate(report.stage_records["number"]) if number)
    broken, query = changed(report, "stage_records", "left", place - 1, 1)
    with pytest.raises(RuntimeError, match=rf"^{FAULTS[ITEMS]}: 1 times, one in query {query}$"):
        check_report(broken)


def test_nothing_is_busier_than_the_load_is_long(report):
    lane = next(iter(report.array_cycles))
    longer = report.cycles + 1
    busy = replace(report, array_cycles=report.array_cycles | {lane: longer})
    with pytest.raises(RuntimeError, match=rf"^{FAULTS[BUSY]}, \d+ cycles: lane {lane}$"):
        check_report(busy)
    with pytest.raises(RuntimeError, match=rf"^{FAULTS[BUSY]}, \d+ cycles: memory$"):
        check_report(replace(report, memory_cycles=float(longer)))
    with pytest.raises(RuntimeError, match=rf"^{FAULTS[NEGATIVE]}: memory$"):
        check_report(replace(report, memory_cycles=-1.0))


def test_every_run_is_looked_at(monkeypatch):
    run = machine_module.run_machine

    def late(tables, state):
        why = run(tables, state)
        state.queries["end"][3] += why == DONE
        return why

    monkeypatch.setattr(machine_module, "run_machine", late)
    with pytest.raises(RuntimeError, match=rf"^{FAULTS[TOTAL]}: 1 times, one in query 3$"):
        simulate(*random_load(0))
