import json
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.job import JobConfig, run_job
from rpaccel.main_job.netlist import (
    MEMORY_BYTES,
    STAGES,
    TOP_N,
    NetlistRun,
    answers,
    completion_json,
    difference,
)
from rpaccel.main_job.predict import (
    predict_overlap,
    predict_queries,
    predict_query_of,
    predict_records,
)
from rpaccel.main_job.quality import METRICS
from rpaccel.main_job.random_queries import (
    draw_rankers,
    draw_sizes,
    draw_timing,
    run_session,
    simulate_random,
)
from rpaccel.main_job.rankers import KEEP
from rpaccel.main_job.report import write_report
from rpaccel.main_job.session import Session
from rpaccel.results import to_json
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Status

TINY = load_accelerator("tiny")
COUNTERS = ("stage_cycles", "gather_cycles", "array_cycles", "interaction_cycles", "filter_cycles")


@pytest.fixture(scope="module")
def run(job):
    """Three users' queries answered by the software device, with the cycles of the model."""
    users = tuple(int(user) for user in job.inputs.some_users(3, seed=0))
    device = SoftwareDevice(job.config, MEMORY_BYTES)
    golden = tuple(job.golden(user, STAGES, TOP_N) for user in users)
    completions, end = [], 10_000
    for user, want, found in zip(users, golden, answers(job, device, users), strict=True):
        fields = predict_query_of(job, user, want, MemoryTiming()).completion()
        cycles = {name: tuple(fields.get(f"{name}{s}", 0) for s in range(4)) for name in COUNTERS}
        end += fields["total_cycles"] + 100  # one after the other
        completions.append(
            replace(found, total_cycles=fields["total_cycles"], ended_at=end, **cycles)
        )
    return NetlistRun(
        users=users,
        completions=tuple(completions),
        golden=golden,
        places=(1 << 20, (1 << 20) + 1024, 1 << 21),
        cycles=1000,
        seconds=2.0,
        overlapped=tuple(completions),
        events=(),
    )


def test_queries_that_do_not_meet_are_predicted_as_alone(job, run):
    report = predict_overlap(job, run, MemoryTiming())
    alone = [completion.total_cycles for completion in run.completions]
    assert [query.total_cycles for query in report.queries] == alone
    assert abs(report.cycles - run.overlapped_cycles) <= 2
    items = sum(batch.items for batch in report.sub_batches)
    assert items == sum(len(stage.ids) for golden in run.golden for stage in golden.stages)


def test_inputs_are_split_and_reproducible(job):
    inputs = job.inputs
    again = load_inputs("synthetic")
    assert again.log.digest == inputs.log.digest
    assert set(inputs.rankers) == {"small", "large"}
    users = inputs.some_users(5, seed=3)
    assert users.tolist() == sorted(set(users.tolist()))
    assert set(users.tolist()) <= set(inputs.split.test_users.tolist())
    assert inputs.some_users(5, seed=3).tolist() == users.tolist()
    for user in users:  # nothing that was trained on is offered again
        candidates = set(inputs.split.candidates(int(user)).tolist())
        assert {int(item) for item in inputs.split.relevant[int(user)]} <= candidates
    for count in (0, len(inputs.split.test_users) + 1):
        with pytest.raises(ValueError, match=rf"^queries must be in 1\.\.\d+, not {count}$"):
            inputs.some_users(count, seed=0)


def test_seed_changes_the_inputs(job):
    assert load_inputs("synthetic", 1).log.digest != job.inputs.log.digest


def test_records_have_one_row_each(job):
    assert job.user_records.shape[0] == job.inputs.log.user_count
    assert job.feature_table.shape[0] == job.inputs.log.item_count
    assert job.compiled.names == ("small", "large")


def test_driver_and_golden_model_agree(run):
    assert run.cycles_per_second == 500
    for user, completion, want in zip(run.users, run.completions, run.golden, strict=True):
        assert difference(f"user {user}", completion, want) is None
        assert completion.status is Status.OK
        assert len(set(completion.ids.tolist())) == TOP_N
        assert KEEP <= completion.items[1] < completion.items[0]
        assert np.all(np.diff(completion.logits.astype(int)) <= 0)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"status": Status.MEMORY}, "status"),
        ({"ids": np.zeros(TOP_N, np.uint32)}, "ids"),
        ({"logits": np.zeros(TOP_N - 1, np.int16)}, "logits"),
        ({"ctr": np.full(TOP_N, 7, np.uint16)}, "ctr"),
        ({"items": (1, 2, 0, 0)}, "items"),
        ({"flags": 5}, "flags"),
    ],
)
def test_differences_are_named(run, change, name):
    wrong = replace(run.completions[0], **change)
    assert difference("user 7", wrong, run.golden[0]).startswith(f"user 7: {name} must be ")


def table_total(job, run):
    return predict_records(job, run, MemoryTiming())[0].total_cycles


def test_prediction_and_timeline(job, run):
    table, means, timeline = predict_queries(job, run, MemoryTiming())
    assert table.passed
    assert means.worst_total == 0  # the counters are this model's own
    exact = {row.field for row in table.rows if row.worst == 0}
    assert exact >= {f"{unit}_cycles{n}" for unit in ("array", "interaction") for n in (0, 1)}
    assert set(timeline) == {"predicted_cycles", "measured_cycles", "stages", "spans"}
    assert timeline["predicted_cycles"] == table_total(job, run)
    assert timeline["measured_cycles"] == run.completions[0].total_cycles
    assert len(timeline["stages"]) == 2
    for stage in timeline["stages"]:
        assert stage["predicted"]["array"] == stage["measured"]["array"]
        assert set(stage["measured"]) == {"gather", "array", "interaction", "filter"}
        assert min(stage["measured"].values()) > 0
    units = {span["unit"] for span in timeline["spans"]}
    assert units == {"gather", "compute", "stage (model)", "stage (netlist)"}
    assert all(
        0 <= s["start"] < s["end"] <= timeline["predicted_cycles"] for s in timeline["spans"]
    )
    slow = replace(run.completions[0], total_cycles=2 * run.completions[0].total_cycles)
    late = replace(run, completions=(slow, *run.completions[1:]))
    assert not predict_queries(job, late, MemoryTiming())[0].passed


def write_run(folder, job, run):
    """Write the JSON files that a page is drawn from."""
    table, _, timeline = predict_queries(job, run, MemoryTiming())
    interval = {"estimate": 0.3, "low": 0.2, "high": 0.4}
    point = {"tail_ms": 2.0, "quality": 0.3, "devices": ["cpu"], "models": ["small"],
             "feasible": True, "pipeline": "small 10 @cpu"}  # fmt: skip
    need = {"sla_ms": 25.0, "quality_target": 0.2, "quality_metric": "NDCG@10", "load_qps": 10.0,
            "percentile": 99.0}  # fmt: skip
    files = {
        "timeline": timeline,
        "prediction": table.to_json(),
        "queries": [completion_json(u, c) for u, c in zip(run.users, run.completions, strict=True)],
        "cocotb": {"users": []},
        "recommendation": {
            "user": 3,
            "chosen": "the first",
            "hits_per_user": [1, 0],
            "served": [{"title": "Alien <1979>", "ctr": 0.5, "hit": True}],
            "later": ["Aliens"],
        },
        "quality": {
            "users": 4,
            "excluded_users": 1,
            "rows": {"large": dict.fromkeys(METRICS, interval)},
            "differences": {"large against small": interval},
        },
        "schedule": {
            "explanation": "small is enough",
            "chosen": point,
            "pipelines": [point, point | {"tail_ms": None}],
            "requirement": need,
        },
    }
    for name, value in files.items():
        (folder / f"{name}.json").write_text(to_json(value))


def test_report_is_drawn_from_json_alone(tmp_path, job, run):
    write_run(tmp_path, job, run)
    page = write_report(tmp_path)
    text = page.read_text()
    assert page == tmp_path / "index.html"
    assert "Alien &lt;1979&gt;" in text
    assert "<script" not in text
    assert "small is enough" in text
    assert "every id, logit, CTR and count is" in text
    for user in run.users:
        assert f"<td>{user}</td>" in text
    for name in ("timeline.png", "cycles_by_unit.png", "quality_latency.png"):
        assert f'src="{name}"' in text
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_report(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert json.loads((tmp_path / "cocotb.json").read_text()) == {"users": []}


def test_run_refuses_before_it_builds(tmp_path):
    ask = JobConfig(
        data="synthetic", preset="tiny", queries=10_000, cocotb_queries=0, load_qps=1.0,
        sla_ms=1.0, seed=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"^queries must be in 1\.\.\d+, not 10000$"):
        run_job(ask, tmp_path)
    with pytest.raises(ValueError, match=r"^cocotb_queries must be in 0\.\.10000, not 10001$"):
        replace(ask, cocotb_queries=10_001)


class Faulty(SoftwareDevice):
    """A device whose results have a wrong bit, once `spoil` is set."""

    spoil = False

    def read_memory(self, address, length):
        raw = super().read_memory(address, length)
        if self.spoil and length and length % 128:
            return bytes([raw[0] ^ 1]) + raw[1:]
        return raw


@pytest.mark.parametrize("seed", range(3))
def test_random_sessions_agree(seed):
    device = SoftwareDevice(TINY, 1 << 24)
    completions = run_session(device, TINY, np.random.default_rng(seed), 6, "query")
    assert [completion.items[0] for completion in completions[:2]] == [1, TINY.max_items]
    assert len(completions) == 6


def test_a_wrong_bit_is_found():
    device = Faulty(TINY, 1 << 20)
    session = Session(device, TINY, seed=0)
    session.run([5, 64])
    device.spoil = True
    with pytest.raises(
        RuntimeError, match=r"^the device is not bit-exact: query 0 .*: ids must be"
    ):
        session.run([5, 64])


def test_draws_cover_the_edges():
    rng = np.random.default_rng(0)
    sizes = draw_sizes(rng, TINY, 2, 200)
    assert [size["items"] for size in sizes[:2]] == [1, TINY.max_items]
    assert {len(size["slots"]) for size in sizes} == {1, 2, 3}
    assert {size["top_n"] for size in sizes} == set(range(1, TINY.max_top_n + 1))
    for size in sizes:
        limits = (size["items"], *size["keep"])
        assert all(1 <= k <= limit for k, limit in zip(size["keep"], limits, strict=False))
    timings = [draw_timing(rng) for _ in range(50)]
    assert {timing.in_order for timing in timings} == {True, False}
    assert {timing.stall_per_mille > 0 for timing in timings} == {True, False}
    assert [r.name for r in draw_rankers(rng, TINY, 2)] == ["model0", "model1"]


def test_simulate_random_refuses():
    with pytest.raises(ValueError, match=r"^queries must be at least 1, not 0$"):
        simulate_random("tiny", 0, 0)
    small = TINY.model_copy(update={"weight_words": 8, "name": "small"})
    with pytest.raises(RuntimeError, match=r"^random rankers must fit small within 50 draws"):
        draw_rankers(np.random.default_rng(0), small, 2)


@pytest.mark.slow
def test_the_machine_placed_on_an_ecp5_answers_bit_for_bit():
    """Its array is one block: no other test has a netlist of it."""
    report = simulate_random("ecp5", 60, 1, say=lambda _: None)
    assert (report["preset"], report["queries"]) == ("ecp5", 60)
    assert report["cycles"] > 60 * 500
