import json
import re

import numpy as np
import pytest

from rpaccel.host.faiss_timing import FaissTiming, time_faiss
from rpaccel.host.gpu_timing import GpuTiming
from rpaccel.host.scan_profile import ScanProfile
from rpaccel.main_job import retrieval_study as study
from rpaccel.main_job.retrieval_area import AreaRow, area_rows, area_text, least_per_entry
from rpaccel.main_job.retrieval_board_page import design_of, goal_batch, snary_at
from rpaccel.main_job.retrieval_page import retrieval_text, retrieval_values
from rpaccel.main_job.retrieval_plots import write_retrieval
from rpaccel.main_job.scan_gpu_page import gpu_section
from rpaccel.main_job.shard_runs import ShardRun, ShardStudy
from rpaccel.perfmodel.retrieval_budget import Area, Growth, UnitArea, UnitCosts
from rpaccel.perfmodel.retrieval_latency import Constant
from rpaccel.results import to_json

ROWS, K = 32_768, 1024
CONSTANT = Constant(memory=39, scoring=9, overrun=0, closing=5, answer=1565)


def timing(**update):
    values = {"index": "float32", "threshold": "default", "threshold_value": 128_000, "queries": 1,
              "k": K, "threads": 2, "cores": 1.9, "call_s": 1e-3, "memory_bytes_per_s": 20e9,
              "version": "1"}  # fmt: skip
    return FaissTiming(**{**values, **update})


def gpu_timing(**update):
    values = {"precision": "int8", "queries": 1, "k": K, "call_s": 1e-3, "product_s": 2e-4,
              "memory_bytes_per_s": 1e12, "version": "9"}  # fmt: skip
    return GpuTiming(**{**values, **update})


def gpu_profile(*timings):
    return ScanProfile(
        device="gpu", name="a GPU", rows=ROWS, row_bytes=128, k=K, merge_s_per_row=0.0,
        timings=timings,
    )  # fmt: skip


RUN = ShardRun(
    devices=4,
    shards=2,
    kept=99,
    latency_cycles=1500.4,
    model_latency_cycles=1000.0,
    queries_per_mcycle=190.0,
    model_queries_per_mcycle=200.0,
    queries=27,
    again=3,
    expected_again=2.4,
)


@pytest.fixture(scope="module")
def small():
    """A study of few rows; Faiss, Yosys and Verilator did not run for it."""
    score = {
        products: UnitArea(
            areas=tuple(Area(lut=16 * 1700 * n, dsp=16 * 34 * n // products) for n in (1, 2)),
            ports=16,
            growth=Growth.PER_PORT,
        )
        for products in study.PRODUCTS
    }
    costs = {
        products: UnitCosts(units={"ScoreUnit": unit}, filter=Area(lut=9500, bram36=48))
        for products, unit in score.items()
    }
    constants = {(channels, beat): CONSTANT for channels in (16, 28) for beat in (32, 64)}
    made = study.RetrievalStudy(
        rows=ROWS,
        k=K,
        seeds=2,
        ideal_passes=4000.0,
        passes=study.pass_rows(ROWS, K, 2),
        depths=[
            study.DepthRow(lanes=lanes, stalled_cycles={16: 900, 512: 0}) for lanes in study.LANES
        ],
        constants=constants,
        answers={512: 1030, 1024: 1984},
        memory=study.memory_rows(500),
        costs={(*key, products): each for key in constants for products, each in costs.items()},
        faiss=[timing(), timing(index="int8", queries=4, call_s=2e-3), timing(index="int8")],
        cpu="a processor",
        merge_s_per_row=5e-8,
        gpu=None,
        simulated=ShardStudy(preset="edge", rows=64, row_bytes=32, k=K, queries=16, runs=(RUN,)),
        scale=[],
        rounds=study.round_rows(ROWS, K, 50, 1),
        round_trials=50,
    )
    design = design_of(made, 16, 32, 4)
    scale = study.scale_rows(design, CONSTANT, ROWS, K, 5e-8)
    return study.RetrievalStudy(**{**vars(made), "scale": scale})


def test_page_says_what_was_counted(small):
    text = retrieval_text(small)
    assert text == retrieval_text(small)
    for row in small.passes:
        assert f" {row.queued:,.0f} |" in text and f" {row.queued_formula:,.0f} |" in text
    for line in text.splitlines():
        assert "nan" not in line and "inf" not in line.split()
    assert "Not measured: `rpaccel profile scan --device gpu`" in text
    assert "1.21 to 12.27" in text and "4.29" in text
    assert text.count("missed)") + text.count("reached)") == 1


def test_goal_is_the_fewest_queries(small):
    batch = goal_batch(small, 16, 32, 250e6)
    target = 3 * snary_at(K).queries_per_s(ROWS)
    scan = design_of(small, 16, 32, 1).scan_s(ROWS)
    assert batch / scan >= target > (batch - 1) / scan
    assert goal_batch(small, 16, 32, 125e6) >= batch


def test_budget_sums_are_printed(small):
    text = retrieval_text(small)
    section = text[text.index("## Budgets") : text.index("## How much hangs")]
    sums = [
        [int(number.replace(",", "")) for number in found]
        for found in re.findall(r"(\d+) x ([\d,]+) = ([\d,]+)", section)
    ]
    assert len(sums) == 4 * 3 * 4  # designs, units, resources
    assert all(copies * each == total for copies, each, total in sums)
    luts = [total for _, _, total in sums[::4]]
    for design in range(4):
        assert f" {sum(luts[3 * design : 3 * design + 3]):,} (" in section


def test_the_goal_must_fit(small):
    text = retrieval_text(small)
    assert "1 per DSP: does not fit (DSP 100.5 %)" in text
    assert "(reached, by synthesis" in text and "2 per DSP: within 60 % (" in text
    tight = {key: costs for key, costs in small.costs.items() if key[2] == 1}
    swapped = small.costs | {(*key[:2], 2): costs for key, costs in tight.items()}
    missed = study.RetrievalStudy(**{**vars(small), "costs": swapped})
    assert "(missed, by synthesis" in retrieval_text(missed)


def test_scale(small):
    assert [row.devices for row in small.scale] == list(study.DEVICES)
    rates = [row.copies.queries_per_s for row in small.scale]
    assert rates == pytest.approx([rates[0] * n for n in study.DEVICES])
    for row in small.scale[1:]:
        assert row.short.merged_rows < row.shards.merged_rows
        assert 0 < row.again <= study.AGAIN


def test_simulated_devices(small):
    text = " ".join(retrieval_text(small).split())
    assert "Netlists of `edge` (a port of 16 bytes, 2 queries per scan, DDR4)" in text
    cells = "| 4 | 2 x 2 | 99 | 1,000 | 1,500 | +500 | 200.0 | 190.0 | -5.0 | 3 of 27 | 2.4 |"
    assert cells in text


def test_a_gpu_is_on_the_page(small):
    profile = gpu_profile(
        gpu_timing(call_s=2e-3),
        gpu_timing(),
        gpu_timing(queries=64, call_s=8e-3),
        gpu_timing(queries=256, call_s=20e-3),  # late
    )
    page = retrieval_text(study.RetrievalStudy(**{**vars(small), "gpu": profile}))
    assert "Not measured" not in page
    section = page[page.index("## Beside a GPU") : page.index("## Several devices")]
    section = " ".join(section.split())
    ours = ROWS * 128 / 1e12 + CONSTANT.total / 250e6
    assert f"the GPU's least over ours: {1e-3 / ours:.2f}." in section
    assert f"the GPU's best 8,000/s: ours 1 in a scan {1 / ours:,.0f}/s, " in section
    assert "| 80 |" in section and f"| {8e-3 / ours:.2f} |" in section


def test_a_gpu_that_is_late_has_no_rate():
    late = gpu_profile(gpu_timing(call_s=11e-3))
    assert "No call of the GPU stays within 10 ms." in gpu_section(late, 1000, 250e6, (1,))
    assert "Ours takes more than 10 ms." in gpu_section(late, 3e6, 250e6, (1,))


def test_times_of_another_corpus_are_refused():
    with pytest.raises(ValueError, match=r"^rows of the scan profile of 'a GPU' must be 9999, not"):
        study.run_retrieval_study(rows=9999, gpu=gpu_profile(gpu_timing()))


def test_memory_formula_is_near_the_bank_model():
    rows = study.memory_rows(5000)
    for row in rows:
        dense = "1024 B" not in row.what or row.beat_bytes == 32
        away = row.formula_bytes_per_s / row.model_bytes_per_s - 1
        assert abs(away) <= 0.15 if dense else away > 0.3, row


def test_a_spread_scan_takes_a_set_per_row():
    whole, spread = (study.scan_of(16, 9000, 64, 1, beats_per_row=n) for n in (1, 4))
    assert spread.sets == 4 * whole.sets == 4 * 563
    assert spread.stalled_cycles == whole.stalled_cycles == 0


def test_folder(small, tmp_path):
    values = retrieval_values(small)
    paths = write_retrieval(small, values, tmp_path)
    assert sorted(path.name for path in paths) == [
        "devices.png", "devices.svg", "latency.png", "latency.svg", "rate.png", "rate.svg",
        "retrieval.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "retrieval.json").read_text()) == json.loads(to_json(values))


def test_faiss_finds_goldens_scores():
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(1)
    rows, queries = (rng.integers(-128, 128, (n, 32), dtype=np.int8) for n in (2000, 4))
    before = faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    found = time_faiss(rows, queries, 16, (1, 4), 1, progress=lambda _: None)
    assert before == (faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads())
    assert {(t.index, t.threshold, t.queries) for t in found} == {
        (index, threshold, queries)
        for index in ("float32", "int8")
        for threshold in ("default", "20")
        for queries in (1, 4)
    }
    assert all(t.call_s > 0 and t.cores > 0 and t.memory_bytes_per_s > 1e8 for t in found)


def test_area_page():
    rows = [AreaRow(unit="Selector", k=128, lut=1900, ff=1700, bram36=4)]
    rows += [AreaRow(unit="RegisterQueue", k=k, lut=100 * k + 50, ff=66 * k, bram36=0)
             for k in (64, 128)]  # fmt: skip
    assert least_per_entry(rows[1:], "lut") == 100 + 50 / 128
    text = area_text(rows)
    assert "100.4 LUT and 66.0 FF." in " ".join(text.split())
    assert " 6.8 " in text and "46.8 LUT more" in text  # 12,850 over 1,900


@pytest.mark.nightly
@pytest.mark.slow
def test_area_of_small_units():
    *units, before, last, beyond = area_rows([16, 64], [8, 16], progress=lambda _: None)
    assert [row.unit for row in units] == ["Selector"] * 2 + ["ScoreFilter"] * 2
    assert (before.k, last.k, beyond.k) == (8, 16, 64)
    each = least_per_entry([before, last], "lut")
    assert beyond.extrapolated and beyond.lut == round(64 * each) and 60 < each < 400


@pytest.mark.nightly
@pytest.mark.slow
def test_whole_study():
    pytest.importorskip("faiss")
    found = study.run_retrieval_study(
        rows=65_536, seeds=1, trials=200, repeats=1, batches=(1,), progress=lambda _: None
    )
    assert set(found.constants) == {(16, 32), (16, 64), (28, 32), (28, 64)}
    for shards, kept, formula, simulated in found.rounds:
        assert abs(formula - simulated) <= 0.15, (shards, kept)
    assert "## Beside Faiss" in retrieval_text(found)
