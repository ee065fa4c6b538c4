"""The model of the row banks: closed forms, and equal to the netlist in every count and cycle."""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.pinned_traces import NO_PINS, pin_popular
from rpaccel.host.row_memory import row_memory
from rpaccel.host.row_model import (
    KINDS,
    MACHINES,
    METRICS,
    compare_rows,
    machine,
    model_points,
    trace,
)
from rpaccel.host.row_simulator import build_rows, rows_of, run_rows
from rpaccel.perfmodel.costs import HIT_CYCLES, MISS_CYCLES
from rpaccel.perfmodel.memory_fabric import (
    QUEUE_CYCLES,
    pinned_row_cycles,
    row_cycles,
)
from rpaccel.perfmodel.row_bank_state import COUNTER_NAMES, EPOCHS
from rpaccel.perfmodel.row_banks import (
    AskedRows,
    PinnedRows,
    PrefetchedRows,
    ReaderStalls,
    constant_memory,
    exposed_cycles,
    predict_rows,
    row_slots,
)
from tests.host.test_row_simulator import CONFIG as SIMULATED
from tests.host.test_row_simulator import MEMORY_BYTES, READERS

CONFIG = SIMULATED.model_copy(update={"static_cache_lines": 0})
PINNING = SIMULATED
NOTHING = rows_of(np.zeros(0, np.int64))
COUNTS = (*COUNTER_NAMES, "port_beats", "beats", "cycles")
# The caches are cleared after the reset; a row waits in its bank's queue meanwhile.
WAIT_CYCLES = CONFIG.row_cache_sets - QUEUE_CYCLES


def predict(addresses, beats=1, latency=20, config=CONFIG):
    memory = constant_memory(config, latency)
    return predict_rows(config, [AskedRows(addresses, beats)], memory)


@pytest.fixture(scope="module")
def run():
    program = build_rows(CONFIG, READERS)

    return partial(run_rows, program, memory_bytes=MEMORY_BYTES)


def assert_equal(rtl, model):
    assert {name: getattr(model, name) for name in COUNTS} == {
        name: getattr(rtl, name) for name in COUNTS
    }


@pytest.mark.slow
@pytest.mark.parametrize("latency", [2, 20, 200])
@pytest.mark.parametrize("beats", [1, 2])
def test_one_row(run, latency, beats):
    model = predict([64], beats, latency)
    # request taken to first beat taken, and the others; the first and the last cycle count
    assert model.cycles == WAIT_CYCLES + row_cycles(latency, beats) + beats - 1 + 1
    assert (model.misses, model.hits, model.merged) == (beats, 0, 0)
    timing = MemoryTiming(read_latency_cycles=latency)
    traces = [rows_of(np.array([64]), beats)] + [NOTHING] * (READERS - 1)
    assert_equal(*compare_rows(CONFIG, run, traces, timing))


@pytest.mark.slow
def test_all_the_same_row_is_read_once(run):
    """As many as a reader has in flight, while memory takes its time: all of them merge."""
    rows = row_slots(CONFIG)
    model = predict([64] * rows, latency=200)
    assert (model.misses, model.merged, model.hits) == (1, rows - 1, 0)
    assert sum(model.port_beats) == 1
    # then one after another
    first = WAIT_CYCLES + row_cycles(200) + 1
    assert model.cycles >= first + rows - 1
    traces = [rows_of(np.full(rows, 64))] * READERS
    assert_equal(*compare_rows(CONFIG, run, traces, MemoryTiming(read_latency_cycles=200)))


@pytest.mark.slow
def test_hits_take_a_cycle_each(run):
    """A short trace of one row and a long one differ by hits alone."""
    short, long = (predict([64] * rows, latency=8) for rows in (1000, 5000))
    assert long.hits - short.hits == long.cycles - short.cycles == 4000
    assert long.exposed_cycles == short.exposed_cycles < 100
    traces = [rows_of(np.full(1000, 64))] + [NOTHING] * (READERS - 1)
    assert_equal(*compare_rows(CONFIG, run, traces, MemoryTiming(read_latency_cycles=8)))


@pytest.mark.slow
@pytest.mark.parametrize("memory", [2, 200, "ddr4", "hbm2"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_netlist(run, kind, memory):
    rng = np.random.default_rng([KINDS.index(kind), 5])
    beats = (1, 2, 1)
    traces = [rows_of(trace(rng, kind, n * CONFIG.beat_bytes, 700), n) for n in beats]
    timing = (
        MemoryTiming.of(memory)
        if isinstance(memory, str)
        else MemoryTiming(read_latency_cycles=memory)
    )
    rtl, model = compare_rows(CONFIG, run, traces, timing)
    assert_equal(rtl, model)
    assert model.beats == 2800
    assert model.hits + model.merged + model.misses + model.refused == model.beats
    assert model.misses + model.refused == sum(model.port_beats)
    assert model.exposed_cycles == exposed_cycles(rtl.cycles, [700, 1400, 700])
    assert sum(model.port_busy) * model.cycles == pytest.approx(sum(model.port_beats))


@pytest.mark.slow
def test_equals_the_netlist_when_answers_overtake(run):
    rng = np.random.default_rng(9)
    timing = MemoryTiming(in_order=False, jitter_cycles=40, hold_per_mille=50, hold_cycles=200)
    traces = [rows_of(trace(rng, "zipf", CONFIG.beat_bytes, 2000)) for _ in range(READERS)]
    assert_equal(*compare_rows(CONFIG, run, traces, timing))


@pytest.fixture(scope="module")
def pinning_run():
    return partial(run_rows, build_rows(PINNING, READERS), memory_bytes=MEMORY_BYTES)


def small_rows(rng, kind, stage_bytes):
    """Rows of both stages, each with its size: a part of a beat, a beat, or two; with pauses."""
    found = []
    for _ in range(READERS):
        stage = rng.integers(0, 2, 500)
        size = np.array(stage_bytes)[stage]
        address = trace(rng, kind, 8, 500) + 4 * rng.integers(0, 2, 500)
        rows = rows_of(address - address % size, np.maximum(1, size // PINNING.beat_bytes))
        rows["bytes"], rows["stage"] = size, stage
        rows["after"] = rng.choice([0, 0, 0, 1, 7, 60], 500)
        found.append(rows)
    return found


@pytest.mark.parametrize("stage_bytes", [(4, 16), (16, 16), (8, 4), (16, 8)])
@pytest.mark.parametrize("split", [0, 8, 11, 16])
@pytest.mark.parametrize("per_mille", [0, 100, 800])
@pytest.mark.slow
def test_equals_the_netlist_with_pinned_rows(pinning_run, per_mille, split, stage_bytes):
    rng = np.random.default_rng([per_mille, split, *stage_bytes])
    kind, latency = str(rng.choice(KINDS)), int(rng.choice([2, 8, 20, 90]))
    traces = small_rows(rng, kind, stage_bytes)
    pins = replace(pin_popular(PINNING, traces, 8), split=split)
    stalls = ReaderStalls(per_mille=per_mille, seed=split)
    timing = MemoryTiming(read_latency_cycles=latency)
    rtl, model = compare_rows(PINNING, pinning_run, traces, timing, pins=pins, stalls=stalls)
    assert_equal(rtl, model)
    assert model.pinned > 0
    assert model.pinned + model.hits + model.merged + model.misses + model.refused >= model.beats


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_netlist_while_the_split_moves(pinning_run, seed):
    rng = np.random.default_rng(seed)
    traces = small_rows(rng, str(rng.choice(KINDS)), (8, 16))
    still = pin_popular(PINNING, traces, 8)
    edges = len(still.loads) + np.sort(rng.integers(0, 3000, 40))
    splits = rng.integers(0, PINNING.static_cache_lines + 1, 40)
    pins = replace(still, moves=tuple(zip(edges.tolist(), splits.tolist(), strict=True)))
    stalls = ReaderStalls(per_mille=[0, 300][seed % 2], seed=seed)
    timing = MemoryTiming.of("hbm2") if seed % 4 == 3 else MemoryTiming(read_latency_cycles=9)
    rtl, model = compare_rows(PINNING, pinning_run, traces, timing, pins=pins, stalls=stalls)
    assert_equal(rtl, model)
    rtl, model = compare_rows(PINNING, pinning_run, traces, timing, pins=still, stalls=stalls)
    assert_equal(rtl, model)


def test_a_split_that_moves_by_hand():
    """A row of stage 0 whose line the other stage gets, and gives back: found, not, found."""
    row, none = np.array([64]), np.zeros(0, np.int64)
    memory = constant_memory(PINNING, 20)
    asked = [AskedRows([64] * 6, after=[100] * 6)]
    counts = []
    for moves in ((), ((250, (none, none)),), ((250, (none, none)), (450, (row, none)))):
        pins = PinnedRows(addresses=(row, none), moves=moves)
        report = predict_rows(PINNING, asked, memory, pinned=pins)
        counts.append((report.pinned, report.hits, report.misses))
    assert counts == [(6, 0, 0), (2, 3, 1), (4, 1, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["ddr4", "hbm2"])
def test_equals_the_netlist_with_nothing_pinned_yet(pinning_run, memory):
    rng = np.random.default_rng(4)
    traces = small_rows(rng, "zipf", (8, 16))
    rtl, model = compare_rows(PINNING, pinning_run, traces, MemoryTiming.of(memory))
    assert_equal(rtl, model)
    assert model.pinned == 0


@pytest.mark.slow
def test_equals_the_netlist_with_stalled_readers(run):
    rng = np.random.default_rng(6)
    traces = [rows_of(trace(rng, "zipf", CONFIG.beat_bytes, 700)) for _ in range(READERS)]
    for rows in traces:
        rows["after"] = rng.choice([0, 0, 3, 100], 700)
    cycles = []
    for per_mille in (0, 300, 950):
        stalls = ReaderStalls(per_mille=per_mille, seed=5)
        rtl, model = compare_rows(CONFIG, run, traces, MemoryTiming(), stalls=stalls)
        assert_equal(rtl, model)
        cycles.append(model.cycles)
    assert cycles == sorted(cycles) and cycles[2] >= 10 * 700


@pytest.mark.slow
def test_a_pinned_row_alone(pinning_run):
    """Its answer needs no memory; both stages have lines, a row is found in its own only."""
    rows = rows_of(np.array([64]))
    pins = pin_popular(PINNING, [rows], 8)
    assert pins.beats == 1
    for stage, pinned in ((0, 1), (1, 0)):
        rows["stage"] = stage
        rtl, model = compare_rows(
            PINNING, pinning_run, [rows, NOTHING, NOTHING], MemoryTiming(), pins=pins
        )
        assert_equal(rtl, model)
        assert (model.pinned, sum(model.port_beats)) == (pinned, 1 - pinned)
        if pinned:  # its request and its last beat count
            assert model.cycles == pinned_row_cycles() + 1


AHEAD = PINNING.model_copy(update={"row_cache_sets": 8, "row_cache_ways": 4})


@pytest.fixture(scope="module")
def ahead_run():
    return partial(run_rows, build_rows(AHEAD, READERS, 2), memory_bytes=MEMORY_BYTES)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_netlist_with_prefetches(ahead_run, seed):
    """A prefetcher of rows that readers will want, and one of others; marks of old epochs too."""
    rng = np.random.default_rng(seed)
    kind, latency = KINDS[seed % len(KINDS)], int(rng.choice([2, 8, 20, 90]))
    traces = small_rows(rng, kind, (8, 16))
    wanted, other = traces[0][rng.random(500) < 0.5], small_rows(rng, kind, (8, 16))[0]
    for rows in (wanted, other):
        rows["after"] = rng.choice([0, 3, 30], len(rows))
        rows["stage"] = np.cumsum(rng.random(len(rows)) < 0.05) % EPOCHS
    traces[0]["after"][0] = 300
    stalls = ReaderStalls(per_mille=300, seed=seed) if seed % 3 == 1 else None
    pins = pin_popular(AHEAD, [rows[:9] for rows in traces], 8) if seed % 2 else NO_PINS
    timing = MemoryTiming(read_latency_cycles=latency)
    rtl, model = compare_rows(
        AHEAD, ahead_run, traces, timing, pins=pins, stalls=stalls, prefetches=[wanted, other]
    )
    assert_equal(rtl, model)
    assert model.prefetches and model.used and model.dropped
    assert (model.pinned > 0) == (pins.beats > 0)
    assert model.misses + model.refused + model.prefetches == sum(model.port_beats)


def test_a_prefetched_row_hits():
    """Read once, by the prefetch; late if it is asked for while it is on its way."""
    memory = constant_memory(CONFIG, 90)
    for wait, late in ((200, 0), (60, 1)):
        model = predict_rows(
            CONFIG, [AskedRows([64], after=wait)], memory, prefetches=[PrefetchedRows([64])]
        )
        assert (model.prefetches, model.used, model.late) == (1, 1, late)
        assert (model.hits, model.merged, model.misses) == (1 - late, late, 0)
        assert sum(model.port_beats) == 1
        assert late or model.cycles == row_cycles(None) + 1


def test_marks_hold_lines_in_their_epoch_only():
    """Two ways, one left to looks: a mark of this epoch keeps others out, an old one does not."""
    sizes = {"memory_ports": 1, "row_banks": 1, "row_cache_sets": 1, "row_cache_ways": 2}
    config = CONFIG.model_copy(update=sizes)
    memory = constant_memory(config, 20)
    # a row meets the epoch of the row that is next
    for epochs, dropped in (([0, 0, 0, 0], 3), ([0, 0, 1, 1], 2), ([0, 0, 1, 2], 1)):
        ahead = PrefetchedRows(8 * np.arange(4), epochs=epochs, after=100)
        model = predict_rows(config, [AskedRows([64], after=600)], memory, prefetches=[ahead])
        assert (model.prefetches, model.dropped) == (4 - dropped, dropped)
        assert (model.misses, model.refused) == (1, 0)
        assert model.unused == max(0, model.prefetches + model.misses - config.row_cache_ways)


@pytest.mark.slow
def test_prefetches_go_on_after_the_last_answer(ahead_run):
    ahead = rows_of(64 + 8 * np.arange(50), after=9)
    rows = rows_of(np.array([1 << 12]))
    rtl, model = compare_rows(
        AHEAD, ahead_run, [rows, NOTHING, NOTHING], MemoryTiming(), prefetches=[ahead, NOTHING]
    )
    assert_equal(rtl, model)
    assert model.prefetches + model.dropped == 50 and model.cycles < 100


def test_a_pause_may_end_in_any_cycle_of_clearing():
    memory = constant_memory(CONFIG, 2)
    for wait in range(2 * CONFIG.row_cache_sets):
        model = predict_rows(CONFIG, [AskedRows([64, 1 << 12], after=[0, wait])], memory)
        assert (model.misses, model.beats) == (2, 2)
        assert model.cycles >= wait


def test_no_rows():
    model = predict_rows(CONFIG, [AskedRows([])], constant_memory(CONFIG, 20))
    assert all(not np.any(getattr(model, field.name)) for field in fields(model))


def test_rejects():
    with pytest.raises(ValueError, match=r"^addresses must be multiples of 4, not 10$"):
        predict([8, 10])
    with pytest.raises(ValueError, match=r"^beats must be in 1..2, not 3$"):
        predict([8, 16], [1, 3])
    with pytest.raises(ValueError, match=r"^stages must be in 0..1, not 2$"):
        memory = constant_memory(CONFIG, 20)
        predict_rows(CONFIG, [AskedRows([8, 16], stages=[1, 2])], memory)
    with pytest.raises(ValueError, match=r"^epochs must be in 0..3, not 4$"):
        predict_rows(CONFIG, [AskedRows([8])], memory, prefetches=[PrefetchedRows([8], epochs=4)])
    with pytest.raises(ValueError, match=r"^rows_waiting must be at least 2, not 1$"):
        predict_rows(CONFIG, [AskedRows([8])], memory, rows_waiting=1)
    nothing = PinnedRows(addresses=(np.zeros(0, np.int64), np.zeros(0, np.int64)))
    with pytest.raises(
        ValueError, match=r"^static_cache_lines must be at least 1 for pinned rows, not 0$"
    ):
        predict_rows(CONFIG, [AskedRows([8])], memory, pinned=nothing)
    back = replace(nothing, moves=((9, nothing.addresses), (8, nothing.addresses)))
    with pytest.raises(ValueError, match=r"^moves must be at most 62, of rising edges, not .9, 8"):
        predict_rows(PINNING, [AskedRows([8])], memory, pinned=back)
    with pytest.raises(ValueError, match=r"^latency_cycles must be at least 2, not 1$"):
        constant_memory(CONFIG, 1)
    for timing, message in [
        (MemoryTiming(stall_per_mille=5), r"^stall_per_mille must be 0, not 5$"),
        (MemoryTiming(error_per_mille=5), r"^error_per_mille must be 0, not 5$"),
        (MemoryTiming(max_outstanding=31), r"^max_outstanding must be at least 32, not 31$"),
    ]:
        with pytest.raises(ValueError, match=message), row_memory(CONFIG, timing):
            pass
    with pytest.raises(ValueError, match=r"^machine must be one of edge, .*, not 'none'$"):
        machine("none")
    with pytest.raises(ValueError, match=r"^kind must be one of uniform, .*, not 'none'$"):
        trace(np.random.default_rng(1), "none", 8, 1)


@pytest.mark.parametrize("rows", [100, 400, 800, 10_000])
def test_a_bank_takes_what_the_closed_form_says(rows):
    """A cycle for a beat that hits or merges, two for one that misses; memory is near."""
    sizes = {"memory_ports": 1, "row_banks": 1, "row_cache_sets": 64, "row_cache_ways": 4}
    config = CONFIG.model_copy(update=sizes)
    addresses = config.beat_bytes * np.random.default_rng(1).integers(0, rows, 20_000)
    model = predict(addresses, latency=4, config=config)
    share = (model.hits + model.merged) / model.beats
    cycles = model.beats * (share * HIT_CYCLES + (1 - share) * MISS_CYCLES)
    assert cycles <= model.cycles <= 1.02 * cycles


@pytest.mark.nightly
@pytest.mark.slow
def test_points():
    """At least 100 points on netlists of all sizes: the goal is 5 %, the model is exact."""
    points = list(model_points())
    assert len(points) >= 100
    assert {point.machine for point in points} == set(MACHINES)
    assert {"ddr4", "hbm2"} < {point.memory for point in points}
    for name in METRICS:
        errors = [point.errors[name] for point in points if name in point.errors]
        figures = (np.mean(errors), np.median(errors), np.percentile(errors, 95), max(errors))
        print(name, len(errors), *(f"{100 * figure:.3f} %" for figure in figures))
    for point in points:
        assert max(point.errors.values()) <= 0.05, point
        assert_equal(point.rtl, point.model)
