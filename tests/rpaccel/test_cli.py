import json
import re
import sys
from itertools import product

import numpy as np
import pytest

from rpaccel.main_job import rankers, schedule
from rpaccel.main_job.quality import LATER_ITEMS
from rpaccel.results import to_json
from rpaccel.spec.accelerator import PRESETS_DIR
from rpaccel.spec.recpipe import recpipe_names
from rpaccel.workloads.movielens import SHA256
from rpaccel.workloads.quality import FLOAT_LARGE
from tests.factories import cpu_profile

VERBS = ["run", "verilog", "sim", "sweep", "bench", "lint", "train", "compile", "profile",
         "profile cpu", "profile gpu", "profile scan", "profile operators", "schedule",
         "report", "event", "redraw", "units", "fpga", "fpga-page", "synth", "synth-page",
         "efficiency",
         "layers", "array-bench", "figures", "calibrate", "filter-study", "row-study", "criteo",
         "row-caches",
         "retrieve", "retrieval-scan", "retrieval-study", "retrieval-area", "serve",
         "deeprec", "deeprecsched", "queue-scale", "validate",
         "scale-sim", "artifact", "energy", "area", "claims", "recpipe",
         "serving-figures", "online"]  # fmt: skip


def one_line(result):
    """Check that `result` is exit status 2 and one line of error; return the line."""
    status, _, error = result
    assert status == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(rpaccel, verb):
    status, out, _ = rpaccel(*verb.split(), "--help")
    assert status == 0
    assert f"rpaccel {verb}" in out


def test_help_lists_every_verb(rpaccel):
    _, out, _ = rpaccel("--help")
    listed = {line.split()[1] for line in out.splitlines() if line.startswith("│ ")}
    assert {verb for verb in VERBS if " " not in verb} <= listed


@pytest.mark.parametrize("verb", ["compile", "verilog", "lint", "sim", "schedule", "run"])
def test_unknown_preset(rpaccel, verb):
    line = one_line(rpaccel(verb, "--preset", "huge"))
    assert "preset must be one of default, ecp5, edge, paper, tiny, not 'huge'" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("colour: 3\n", "colour: Extra inputs are not permitted"),
        ("array_size: 7\n", "array_size must be a power of two, not 7"),
        ("lanes: many\n", "lanes: Input should be a valid integer"),
        ("lanes: [1\n", "must be YAML"),
    ],
)
def test_wrong_preset_file(rpaccel, tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    key = change.split(":")[0]
    lines = (PRESETS_DIR / "tiny.yaml").read_text().splitlines(keepends=True)
    path.write_text("".join(x for x in lines if not x.startswith(f"{key}:")) + change)
    assert message in one_line(rpaccel("sim", "--preset", path))


def test_missing_preset_file(rpaccel):
    assert "none.yaml: No such file" in one_line(rpaccel("sim", "--preset", "none.yaml"))


def test_wrong_data_folder(rpaccel, tmp_path):
    line = one_line(rpaccel("compile", "--data", tmp_path / "nowhere"))
    assert "data must be ml-100k, synthetic or an existing folder, not" in line
    assert "must hold one .inter file, not 0" in one_line(rpaccel("compile", "--data", tmp_path))


def test_truncated_movielens(rpaccel, tmp_path):
    folder = tmp_path / "build" / "data" / "ml-100k"
    folder.mkdir(parents=True)
    for name in SHA256:
        (folder / name).write_text("user_id:token\titem_id:token\n")
    line = one_line(rpaccel("compile", "--data", "ml-100k"))
    assert "ml-100k.inter must have sha256" in line
    assert "truncated or changed; delete it and run again" in line


def own_log(folder):
    """Write a small log of ratings into `folder`."""
    rng = np.random.default_rng(0)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(8):
        for when, item in enumerate(rng.choice(30, size=20, replace=False)):
            lines.append(f"u{user}\ti{item}\t{1 + int(item) % 5}\t{1000 + when}")
    folder.mkdir()
    (folder / "own.inter").write_text("\n".join(lines) + "\n")
    return folder


def test_profile_of_a_model(rpaccel, tmp_path):
    status, out, _ = rpaccel(
        "profile", "cpu", "--model", "ncf", "--batch", "1,8", "--repeats", "2",
        "--scale-rows", "0.001", "--out", "p.json", "--json",
    )  # fmt: skip
    assert status == 0
    (measured,) = json.loads(out)
    (stored,) = json.loads((tmp_path / "p.json").read_text())["profiles"]
    assert measured["scale_rows"] == 0.001
    assert measured["profile"] == stored
    assert stored["batch"] == [1, 8]


def test_profile_of_scans(rpaccel, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    status, out, _ = rpaccel(
        "profile", "scan", "--rows", "4096", "--k", "16", "--batch", "1", "--repeats", "1",
        "--out", "s.json", "--json",
    )  # fmt: skip
    assert status == 0
    stored = json.loads((tmp_path / "s.json").read_text())
    assert stored.pop("version") == 1 and stored == json.loads(out)
    line = one_line(rpaccel("retrieval-study", "--cpu", "s.json"))
    assert "must be 1000000, not 4096" in line
    monkeypatch.setitem(sys.modules, "torch", None)
    line = one_line(rpaccel("profile", "scan", "--device", "gpu", "--rows", "4096"))
    assert "torch must be installed to measure a GPU" in line


def test_serve_refuses_pipelines_that_cannot_be(rpaccel):
    line = one_line(rpaccel("serve", "--stages", "wnd"))
    assert "a stage must be MODEL[@cpu|@accelerator]:KEEP, not 'wnd'" in line
    line = one_line(rpaccel("serve", "--stages", "wnd:4,bert@accelerator:2"))
    assert "models of the accelerator must be one of rmsmall, rmlarge, not 'bert'" in line


def test_profile_names_the_models(rpaccel):
    line = one_line(rpaccel("profile", "cpu", "--model", "rmc1"))
    assert "model must be one of dien, din, dlrm-rmc1" in line
    line = one_line(rpaccel("profile", "cpu", "--model", "ncf", "--batch", "4,x"))
    assert "batch must be whole numbers, like 1,16,256, not '4,x'" in line


def test_profile_of_rankers_takes_no_options_of_models(rpaccel, tmp_path):
    line = one_line(rpaccel("profile", "cpu", "--batch", "1", "--out", "p.json"))
    assert "model must be given with batch, repeats, rounds, scale_rows, threads or tables" in line
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("efficiency --sizes x", "sizes must be whole numbers, like 1,16,256, not 'x'"),
        ("layers --sizes 8,", "sizes must be whole numbers, like 1,16,256, not '8,'"),
        ("retrieval-area --queues 32;64", "queues must be whole numbers"),
        ("report --candidates many", "candidates must be whole numbers"),
        ("row-study --ports 4,x", "ports must be whole numbers"),
        ("row-study --ports 3", "ports must be a power of two in 1..16, not 3"),
        ("retrieval-scan --ports 3", "ports must be of 1, 2, 4, 8, 16, not '3'"),
        ("run --sla-ms -1", "sla_ms must be positive, not -1.0"),
        ("run --load-qps nan", "load_qps must be positive, not nan"),
        ("row-caches --preset nope", "preset must be one of "),
        ("recpipe --preset nope", "preset must be one of "),
        ("row-model --data nope", "data must be ml-100k, synthetic or an existing folder"),
        ("figures --data nope", "data must be ml-100k, synthetic or an existing folder"),
        ("queue-scale --cluster foo", "cluster must be like tcp://host:port, not 'foo'"),
        ("units --family foo", "family must be one of ecp5, xcup, not 'foo'"),
        ("lint --family foo", "family must be one of ecp5, xcup, not 'foo'"),
        ("fpga --target-mhz -3", "target_mhz must be in 1..1000, not -3.0"),
        ("event --axis split=foo", "a split must be like "),
    ],
)
def test_input_is_refused_before_work_begins(rpaccel, tmp_path, asked, message):
    before = sorted(tmp_path.rglob("*"))
    assert message in one_line(rpaccel(*asked.split()))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", ["compile", "schedule", "run", "profile cpu"])
def test_own_data_without_training(rpaccel, tmp_path, verb):
    line = one_line(rpaccel(*verb.split(), "--data", own_log(tmp_path / "own")))
    assert "run `make train DATA=...` first" in line


def test_queries_out_of_range(rpaccel):
    line = one_line(rpaccel("run", "--data", "synthetic", "--queries", "100000"))
    assert "queries must be in 1.." in line
    line = one_line(rpaccel("run", "--queries", "1", "--cocotb-queries", "2"))
    assert "cocotb_queries must be in 0..1, not 2" in line
    for verb in ("run", "sim"):
        status, _, error = rpaccel(verb, "--queries", "0")
        assert status == 2
        assert "--queries" in error
        assert "Traceback" not in error


def test_a_file_in_the_way(rpaccel, job, monkeypatch, tmp_path):
    monkeypatch.setattr(rankers, "compile_job", lambda *_: job)
    (tmp_path / "out").write_text("")
    line = one_line(rpaccel("compile", "--data", "synthetic", "--out", tmp_path / "out"))
    assert "out: File exists" in line


def test_redraw_without_a_run(rpaccel, tmp_path):
    assert "holds no run: `make run` makes one" in one_line(rpaccel("redraw", "--folder", tmp_path))


def test_compile_is_deterministic(rpaccel, job, tmp_path):
    status, out, error = rpaccel(
        "compile", "--data", "synthetic", "--json", "--out", tmp_path / "a"
    )
    assert (status, error) == (0, "")
    assert out == to_json(job.compiled.manifest)  # compiled once before, apart from this
    assert (tmp_path / "a" / "image.bin").read_bytes() == job.compiled.image
    assert (tmp_path / "a" / "manifest.json").read_text() == out
    manifest = json.loads(out)
    assert [model["name"] for model in manifest["models"]] == ["small", "large"]
    assert manifest["image"]["bytes"] == len(job.compiled.image)


def quality():
    """Return a quality table with one figure per pipeline of the scheduler's space."""
    devices = ("cpu", "accelerator")
    points = [
        {"models": [model], "later": 0, "devices": [device], "quality": value}
        for (model, value), device in product((("small", 0.3), ("large", 0.4)), devices)
    ]
    points += [
        {"models": ["small", "large"], "later": k, "devices": list(pair), "quality": 0.38}
        for k, pair in product(LATER_ITEMS, product(devices, devices))
    ]
    for point in points:
        point["retrieval"] = 0
    return {
        "rows": {FLOAT_LARGE: {"ndcg@10": {"estimate": 0.4}}},
        "points": [point | {"low": 0.2, "high": 0.5} for point in points],
    }


def fixed_quality(_job, _folder, note):
    note("measured")
    return quality(), False


@pytest.fixture
def measured(monkeypatch, job):
    """Give the scheduler a compiled job and figures that need no measuring."""
    monkeypatch.setattr(schedule, "compile_job", lambda *_: job)
    monkeypatch.setattr(schedule, "cached_quality", fixed_quality)
    monkeypatch.setattr(schedule, "profile_inputs", lambda *_: cpu_profile())


@pytest.mark.parametrize(
    ("arguments", "binding", "nearest"),
    [
        (("--quality", "0.9"), "quality", "quality 0.4 NDCG@10 instead of 0.9"),
        (("--qps", "1e6"), "load", "queries/s instead of 1e+06"),
        (("--sla-ms", "0.001"), "latency", "ms instead of 0.001"),
    ],
)
def test_impossible_requirements_name_what_binds(rpaccel, measured, arguments, binding, nearest):
    ask = ("schedule", "--data", "synthetic", *arguments)
    status, out, error = rpaccel(*ask)
    assert status == 0, error
    assert f"No pipeline is feasible: {binding} binds" in out
    assert "Nearest feasible point: " in out
    assert nearest in out
    status, out, error = rpaccel(*ask, "--json")
    choice = json.loads(out)  # progress stays out of it
    assert "measured" in error
    assert choice["chosen"] is None
    assert choice["binding_constraint"] == binding
    assert choice["relaxations"]


def test_feasible_requirement(rpaccel, measured, tmp_path):
    status, out, _ = rpaccel("schedule", "--data", "synthetic", "--qps", "10", "--json")
    choice = json.loads(out)
    assert status == 0
    assert choice["chosen"]["quality"] >= 0.97 * 0.4
    assert choice["binding_constraint"] is None
    assert choice["runner_up"]["pipeline"] in choice["explanation"]
    assert [what_if["load_qps"] for what_if in choice["what_if"]] == [5.0, 20.0]
    folder = tmp_path / "results" / "schedule"
    assert json.loads((folder / "choice.json").read_text()) == choice
    for name in ("quality_latency", "load_latency"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_measured_cpu_may_be_given_again(rpaccel, measured, monkeypatch, tmp_path):
    ask, given = ("schedule", "--data", "synthetic", "--qps", "10", "--json"), cpu_profile()

    def measure(_inputs, _data, out):
        out.parent.mkdir(parents=True)
        out.write_text(given.to_text())
        return given

    monkeypatch.setattr(schedule, "profile_inputs", measure)
    _, first, _ = rpaccel(*ask, "--devices", "cpu", "--out", "once")
    monkeypatch.setattr(schedule, "profile_inputs", lambda *_: pytest.fail("has measured"))
    again = (*ask, "--devices", "cpu", "--profile")
    _, second, _ = rpaccel(*again, tmp_path / "once" / "profile_cpu.json", "--out", "twice")
    assert json.loads(first)["chosen"] and first == second
    assert "nowhere.json: No such file" in one_line(rpaccel(*again, "nowhere.json"))
    slow = given.models["small"].model_copy(update={"per_item_s": 1.0})
    slower = given.model_copy(update={"models": given.models | {"small": slow}})
    (tmp_path / "slow.json").write_text(slower.to_text())
    _, third, _ = rpaccel(*again, tmp_path / "slow.json")
    assert third != first


def test_schedule_refuses_what_a_workload_does_not_have(rpaccel):
    ask = ("schedule", "--workload", "criteo")
    assert "data must be left out for criteo" in one_line(rpaccel(*ask, "--data", "synthetic"))
    line = one_line(rpaccel(*ask, "--profile", "mine.json"))
    assert "profile must be left out for criteo, not 'mine.json'" in line
    assert "devices must be of cpu, gpu, accelerator" in one_line(rpaccel(*ask, "--devices", "tpu"))
    line = one_line(rpaccel("schedule", "--workload", "avazu"))
    names = ", ".join(recpipe_names())
    assert f"search must be one of {names}, not 'avazu'" in line


def test_schedule_on_a_cpu_alone(rpaccel):
    ask = ("schedule", "--devices", "cpu", "--qps", "100", "--quality", "0.92")
    status, out, _ = rpaccel(*ask, "--json")
    choice = json.loads(out)
    assert status == 0
    assert choice["chosen"]["quality"] >= 0.92
    assert set(choice["chosen"]["devices"]) == {"cpu"}
    assert choice["requirement"]["quality_metric"] == "NDCG@64"
    status, out, _ = rpaccel(*ask)
    assert "lost by" in out and "At 50 queries/s" in out and "At 200 queries/s" in out


def test_calibrate_compares_every_method_on_held_out_records(rpaccel, tmp_path):
    asked = ("calibrate", "--data", "synthetic", "--seed", 1)
    page = tmp_path / "docs" / "generated" / "calibration.md"
    status, out, said = rpaccel(*asked, "--users", 20, "--json")
    assert status == 0
    assert said.splitlines()[0] == "small: calibrating by every method"
    results = json.loads(out)
    methods = ["max", "percentile", "error"]
    assert [(x["ranker"], x["method"]) for x in results] == [*product(("small", "large"), methods)]
    for result in results:
        assert 0 < result["held_out_rms"] < 0.05 * result["float_std"]
        assert result["users"] == 20
        change = result["ndcg_change"]
        assert change["estimate"] == result["int8_ndcg"] / result["float_ndcg"] - 1
        assert change["low"] <= change["estimate"] <= change["high"]
        assert f"{result['held_out_rms']:.4f}" in page.read_text()
    assert len({result["float_ndcg"] for result in results}) == 2  # one a ranker

    first = page.read_bytes()
    status, out, _ = rpaccel(*asked, "--users", 20)
    assert (status, out) == (0, first.decode() + "\n")
    assert page.read_bytes() == first
    assert json.loads(rpaccel(*asked, "--json")[1])[0]["users"] > 20


def test_calibrate_has_no_more_users(rpaccel):
    line = one_line(rpaccel("calibrate", "--data", "synthetic", "--users", 10_000))
    assert re.search(r"users must be in 1\.\.\d+, not 10000", line)


def sweep_spec(folder, text):
    path = folder / "mine.yaml"
    path.write_text(f"name: mine\n{text}\n")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes: {k: [64, 64]}", "axes.k: every value must be given once"),
        ("axes: {colour: 3}", "axes.colour: Extra inputs are not permitted"),
        ("axes: {k: 5000}", "axes.k: values must be in 64..4096"),
        ("workload: bert", "workload: must be one of movielens, criteo, or a GEMM topology"),
        ("workload: none.csv", "none.csv: No such file"),
    ],
)
def test_wrong_sweep(rpaccel, tmp_path, text, message):
    line = one_line(rpaccel("sweep", "--spec", sweep_spec(tmp_path, text), "--jobs", "1"))
    assert message in line


def test_sweep_without_a_point(rpaccel, tmp_path):
    path = sweep_spec(tmp_path, "axes: {front_sub_batch: 4000}")
    status, _, error = rpaccel("sweep", "--spec", path, "--jobs", 1)
    assert status == 2
    assert error.endswith("error: axes must have a point that can be: none of 1 can\n")


def test_unknown_sweep(rpaccel):
    assert "sweep must be one of criteo, criteo_10m" in one_line(rpaccel("sweep", "--spec", "huge"))


def test_sweep_goes_on_and_refuses_another(rpaccel, tmp_path):
    path = sweep_spec(tmp_path, "axes: {k: [64, 128], memory_ports: [1, 2]}")
    status, out, _ = rpaccel("sweep", "--spec", path, "--jobs", 1, "--json")
    first = json.loads(out)
    assert (status, first["points"], first["numbers"]) == (0, 4, 4)
    assert first["folder"] == "results/sweep/mine"
    part = tmp_path / "results" / "sweep" / "mine" / "parts" / "part-000000.parquet"
    written = part.stat().st_mtime_ns
    status, out, _ = rpaccel("sweep", "--spec", path, "--jobs", 1)
    assert status == 0 and "4 points (4 asked for)" in out
    assert part.stat().st_mtime_ns == written
    sweep_spec(tmp_path, "axes: {k: [64, 256]}")
    assert "out must be a new folder or hold the same sweep" in one_line(
        rpaccel("sweep", "--spec", path, "--jobs", 1)
    )


def test_sweep_beside_the_event_model(rpaccel, tmp_path):
    path = sweep_spec(tmp_path, "axes: {k: [64, 128], memory_ports: [1, 2]}")
    status, out, _ = rpaccel("sweep", "--spec", path, "--check", 3, "--json")
    rows = {row["figure"]: row for row in json.loads(out)}
    assert status == 0
    assert rows["latency_cycles"]["mean"] == 0  # a task per stage
    assert rows["interval_cycles"]["mean"] < 0.1
    assert {row["points"] for row in rows.values()} == {3}


@pytest.mark.slow
def test_sweep_on_processes_writes_the_same_parts(rpaccel, tmp_path):
    path = sweep_spec(tmp_path, "axes: {k: {from: 64, to: 4096, step: 1}, back_sub_batch: [32, 64],"
                      " front_task_items: [0, 128, 256, 512], back_task_items: [0, 32, 64, 128],"
                      " memory_ports: [1, 2, 4]}")  # fmt: skip
    parts = {}
    for jobs in (1, 2):
        status, _, _ = rpaccel(
            "sweep", "--spec", path, "--jobs", jobs, "--out", tmp_path / str(jobs)
        )
        assert status == 0
        found = sorted((tmp_path / str(jobs) / "parts").iterdir())
        parts[jobs] = {part.name: part.read_bytes() for part in found}
    assert len(parts[1]) == 2
    assert parts[1] == parts[2]
