"""Verbs that write timelines of several devices into a folder."""

import pytest


@pytest.mark.parametrize(
    ("verb", "study"),
    [
        ("validate", "validation.validate_machine"),
        ("row-caches", "row_cache_study.row_cache_study"),
        ("retrieval-scan", "retrieval_scan.law_study"),
        ("retrieval-study", "retrieval_study.run_retrieval_study"),
    ],
)
def test_a_folder_of_timelines_is_asked_for(rpaccel, monkeypatch, verb, study):
    def run(*_, trace, **__):
        raise ValueError(f"timelines: {trace}")

    monkeypatch.setattr("rpaccel.main_job.retrieval_scan.scan_study", lambda *_, **__: [])
    monkeypatch.setattr(f"rpaccel.main_job.{study}", run)
    assert rpaccel(verb, "--trace", "pictures") == (2, "", "error: timelines: pictures\n")
    assert rpaccel(verb) == (2, "", "error: timelines: None\n")
