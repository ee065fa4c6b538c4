import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.cli import main
from rpaccel.golden.corpus import retrieve
from rpaccel.golden.metrics import set_recall
from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.netlist import MEMORY_BYTES, TOP_N
from rpaccel.main_job.rankers import compile_job
from rpaccel.main_job.run_trace import RunTrace
from rpaccel.main_job.three_stage_job import (
    SIZES,
    check_three_stages,
    measure_three_stages,
    three_stage_text,
)
from rpaccel.main_job.three_stages import (
    KEEP,
    RETRIEVED,
    golden,
    item_vectors,
)
from rpaccel.spec.accelerator import load_accelerator


@pytest.fixture(scope="module")
def job3():
    return compile_job(load_inputs("synthetic"), load_accelerator("edge"))


@pytest.fixture(scope="module")
def vectors(job3):
    return item_vectors(job3.inputs)


def test_vectors_order_like_the_embeddings(job3, vectors):
    inputs = job3.inputs
    items, users = inputs.small.tables["item"], inputs.small.tables["user"]
    assert vectors.items.dtype == vectors.users.dtype == np.int8
    assert np.abs(vectors.items.astype(int)).max() == 127
    assert (np.abs(vectors.users.astype(int)).max(axis=1) == 127).all()
    for user in range(0, len(users), 7):
        exact = items @ users[user]
        found = vectors.items.astype(int) @ vectors.users[user].astype(int)
        assert np.corrcoef(exact, found)[0, 1] > 0.999


def test_device_and_golden_agree(job3, vectors):
    users = [int(user) for user in job3.inputs.some_users(4, seed=0)]
    device = SoftwareDevice(job3.config, MEMORY_BYTES)
    answers = check_three_stages(job3, device, vectors, users)
    assert [answer["user"] for answer in answers] == users
    for user, answer in zip(users, answers, strict=True):
        found, result = golden(job3, vectors, user)
        assert answer["ids"] == result.ids.tolist() and len(answer["ids"]) == TOP_N
        items = [stage["items"] for stage in answer["stages"]]
        assert items[0] == job3.inputs.log.item_count and items[1] == len(found.ids)
        assert items[1] <= RETRIEVED and min(KEEP, items[1]) <= items[2] <= items[1]
        candidates = job3.inputs.split.candidates(user)
        assert set(answer["ids"]) <= set(found.ids.tolist()) <= set(candidates.tolist())
        query = vectors.query(user, candidates, RETRIEVED)
        assert found.ids.tolist() == retrieve(vectors.corpus(), query).ids.tolist()


def test_the_timeline_has_retrieval_and_stages(job3, vectors):
    users = [int(user) for user in job3.inputs.some_users(3, seed=0)]

    class Timed(SoftwareDevice):
        """Queries take time: 1000 cycles, of which the retrieval takes 400."""

        def _complete(self, fields):
            ended = 1000 * (self._get("QUERIES") + 1)
            super()._complete(
                fields | {"ended_at": ended, "total_cycles": 1000, "stage_cycles0": 400}
            )

    trace = RunTrace(job3.config, job3.rankers, MemoryTiming())
    device = Timed(job3.config, MEMORY_BYTES)
    check_three_stages(job3, device, vectors, users, trace)
    spans = [event for event in trace.events if event["ph"] == "X"]
    found = [event for event in spans if event["name"] == "retrieval"]
    assert [(event["ts"], event["dur"]) for event in found] == [
        (1000 * number, 400) for number in range(3)
    ]
    model = [event for event in spans if event["pid"] == 4]
    assert sorted(e["ts"] for e in model if e["name"] == "waits") == [
        400 + 1000 * number for number in range(3)
    ]
    assert {e["name"] for e in model} == {
        "waits", "query", "stage 0", "filter 0", "stage 1", "filter 1",
    }  # fmt: skip
    items = [e["args"]["items"] for e in model if e["name"] == "stage 0"]
    assert 0 < max(items) <= RETRIEVED


def test_a_difference_is_found(job3, vectors):
    users = [int(user) for user in job3.inputs.some_users(1, seed=0)]
    wrong = replace(vectors, items=np.roll(vectors.items, 1, axis=0))

    class Wrong(SoftwareDevice):
        def write_memory(self, address, payload):
            rows = vectors.items.tobytes()
            super().write_memory(address, wrong.items.tobytes() if payload == rows else payload)

    with pytest.raises(RuntimeError, match=r"^the device is not bit-exact: user \d+: "):
        check_three_stages(job3, Wrong(job3.config, MEMORY_BYTES), vectors, users)


def test_quality_beside_two_stages(job3, vectors):
    report = measure_three_stages(job3, vectors, lambda _: None)
    two, few, *rows = report["rows"]
    assert [row["k"] for row in rows] == list(SIZES) and two["k"] == few["k"] == 0
    assert few["name"] == f"two stages: small -> {KEEP} -> large"
    for row in rows:
        for name in ("ndcg@10", "kept_top", "kept_all", "relevant"):
            interval = row[name]
            assert 0 <= interval["low"] <= interval["estimate"] <= interval["high"] <= 1
        ratio = row["ndcg@10"]["estimate"] / two["ndcg@10"]["estimate"]
        assert row["lost"]["estimate"] == pytest.approx(ratio - 1)
    relevant = [row["relevant"]["estimate"] for row in rows]
    assert relevant == sorted(relevant)
    user = int(job3.inputs.split.test_users[0])
    found, _ = golden(job3, vectors, user)
    assert 0 <= set_recall(found.ids, job3.inputs.split.relevant[user]) <= 1
    text = three_stage_text(report)
    assert len(text.splitlines()) == 3 + len(SIZES)
    assert "retrieval -> 256 -> small -> 128 -> large" in text


def test_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = ["rpaccel", "run", "--stages", "3", "--data", "synthetic", "--queries", "3",
               "--no-netlist", "--json"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary[0] == {"name": "queries bit-exact", "value": 3, "unit": "queries"}
    assert len(summary) == 3 + len(SIZES)
    folder = tmp_path / "results" / "run"
    assert len(json.loads((folder / "queries.json").read_text())) == 3
    assert json.loads((folder / "config.json").read_text())["inputs"]["stages"] == 3
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert "3 of 3 queries bit-exact" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "3", "--preset", "tiny"], "preset must have a retrieval engine for three"),
        (["--no-netlist"], "netlist must be on with 2 stages"),
    ],
)
def test_refuses(monkeypatch, capsys, arguments, message):
    command = ["rpaccel", "run", "--data", "synthetic", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


@pytest.mark.slow
def test_netlist_and_golden_agree(job3, vectors):
    users = [int(user) for user in job3.inputs.some_users(4, seed=0)]
    library = build_simulator(job3.config)
    with VerilatedDevice(job3.config, memory_bytes=MEMORY_BYTES, library=library) as device:
        answers = check_three_stages(job3, device, vectors, users)
    assert [len(answer["stages"]) for answer in answers] == [3] * 4
    assert all(stage["stage_cycles"] for answer in answers for stage in answer["stages"])
