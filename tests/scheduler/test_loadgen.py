import gc
import json
import sys
import threading
import time
from queue import SimpleQueue

import numpy as np
import pytest

from rpaccel.scheduler.loadgen import (
    answer,
    read_report,
    read_trace,
    require_loadgen,
    run_server,
)

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
    report, trace = run_server(issue, folder=folder, **{**ASK, **change})
    waiting.put(None)
    thread.join()
    assert trace.asked.tolist() == asked
    return asked, report, trace


def test_asks_every_query_once(tmp_path):
    asked, report, trace = serve_all(tmp_path)
    assert report.queries == len(asked) == 60
    assert set(asked) <= set(range(7))
    assert report.scheduled_qps == pytest.approx(400, rel=0.5)
    assert 0 < report.latency_ms[50] <= report.latency_ms[90] <= report.latency_ms[99]
    assert report.latency_ms[99] <= report.max_ms
    again, same, planned = serve_all(tmp_path)
    assert (again, same.scheduled_qps) == (asked, report.scheduled_qps)
    assert planned.scheduled_s == pytest.approx(trace.scheduled_s, abs=1e-6)
    other, drawn, _ = serve_all(tmp_path, seed=4)
    assert other != asked
    assert drawn.scheduled_qps != report.scheduled_qps


def test_latency_counts_from_the_schedule(tmp_path):
    # 20 ms each at 400 queries/s: the last one waits for all before it.
    _, report, trace = serve_all(tmp_path, delay_s=0.02)
    done = trace.scheduled_s + trace.latency_s
    assert np.all(np.diff(done) >= 0.02)
    assert report.max_ms == pytest.approx(1e3 * trace.latency_s.max(), rel=1e-6)
    assert report.mean_ms == pytest.approx(1e3 * trace.latency_s.mean(), rel=1e-6)
    assert not (tmp_path / "mlperf_log_trace.json").exists()
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


def test_needs_every_query(tmp_path):
    line = (
        '{"name":"Sample","cat":"default","ph":"b","pid":1,"id":0,"ts":4.5,"args":{"sample_seq":%d,'
        '"query_seq":0,"sample_idx":7,"issue_start_ns":3,"complete_ns":2500}},'
    )
    path = tmp_path / "trace.json"
    path.write_text("\n".join(['{"traceEvents":[', line % 1, line % 0]))
    found = read_trace(path)
    assert (found.asked.tolist(), found.latency_s.tolist()) == ([7, 7], [2.5e-6, 2.5e-6])
    for lines in ([], [line % 0, line % 2]):
        path.write_text("\n".join(lines))
        with pytest.raises(ValueError, match=r"^trace\.json must hold every query once, not \d in"):
            read_trace(path)


def test_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(ModuleNotFoundError, match=r"^mlperf_loadgen must .*rpaccel\[serve\]"):
        require_loadgen()
