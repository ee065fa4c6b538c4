import gc
import json
import sys
import threading
import time
from queue import SimpleQueue

import pytest

from rpaccel.scheduler.loadgen import answer, read_report, require_loadgen, run_server

ASK = {"samples": 7, "qps": 400.0, "queries": 60, "sla_ms": 500.0, "percentile": 90.0, "seed": 3}


def serve_all(folder, delay_s=0.0, **change):
    """Run LoadGen against a thread that answers after `delay_s`; return what it asked and said."""
    asked, waiting = [], SimpleQueue()

    def issue(query, sample):
        asked.append(sample)
        waiting.put(query)

    def work():
        while (query := waiting.get()) is not None:
            time.sleep(delay_s)
            answer(query)

    thread = threading.Thread(target=work)
    thread.start()
    report = run_server(issue, folder=folder, **{**ASK, **change})
    waiting.put(None)
    thread.join()
    return asked, report


def test_asks_every_query_once(tmp_path):
    asked, report = serve_all(tmp_path)
    assert report.queries == len(asked) == 60
    assert set(asked) <= set(range(7))
    assert report.scheduled_qps == pytest.approx(400, rel=0.5)
    assert 0 < report.latency_ms[50] <= report.latency_ms[90] <= report.latency_ms[99]
    assert report.latency_ms[99] <= report.max_ms
    again, same = serve_all(tmp_path)
    assert (again, same.scheduled_qps) == (asked, report.scheduled_qps)
    other, drawn = serve_all(tmp_path, seed=4)
    assert other != asked
    assert drawn.scheduled_qps != report.scheduled_qps


def test_latency_counts_from_the_schedule(tmp_path):
    # 20 ms each at 400 queries/s: the last one waits for all before it.
    _, report = serve_all(tmp_path, delay_s=0.02)
    assert report.max_ms > 60 * 20 - 2 * 1e3 * 60 / 400
    assert report.latency_ms[50] > 5 * 20
    assert report.verdict == "INVALID"


def test_threads_are_prompt_while_it_measures(tmp_path):
    """No collection, and short turns; both are as before afterwards."""
    seen, before = set(), (gc.isenabled(), sys.getswitchinterval())

    def issue(query, _sample):
        seen.add((gc.isenabled(), round(sys.getswitchinterval(), 6)))
        answer(query)

    run_server(issue, folder=tmp_path, **ASK)
    assert seen == {(False, 1e-4)}
    assert (gc.isenabled(), sys.getswitchinterval()) == before == (True, before[1])


def test_rejects(tmp_path):
    with pytest.raises(ValueError, match=r"^qps, queries and samples must be positive, not 0, 60"):
        run_server(print, folder=tmp_path, **{**ASK, "qps": 0})


def test_needs_a_result(tmp_path):
    line = {"key": "loadgen_version", "value": "6"}
    (tmp_path / "log.txt").write_text(f":::MLLOG {json.dumps(line)}\n")
    with pytest.raises(ValueError, match=r"^log\.txt must hold a result"):
        read_report(tmp_path / "log.txt")


def test_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(ModuleNotFoundError, match=r"^mlperf_loadgen must .*rpaccel\[serve\]"):
        require_loadgen()
