import numpy as np
import pytest

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.row_simulator import RowError, build_rows, rows_of, run_rows
from rpaccel.host.row_study import study, study_machine
from rpaccel.spec.accelerator import load_accelerator

MEMORY_BYTES = 1 << 20
CONFIG = load_accelerator("tiny").model_copy(
    update={
        "name": "rows", "memory_ports": 2, "row_banks": 4, "stripe_bytes": 128, "axi_id_bits": 5,
        "row_cache_sets": 32, "row_cache_ways": 2, "reads_in_flight": 32,
    }
)  # fmt: skip
READERS = 3
FAULTS = {
    "slave errors": {"error_per_mille": 20},
    "spikes of 10,000 cycles": {"spike_per_million": 200, "spike_cycles": 10_000},
    "reordering": {"hold_per_mille": 200, "hold_cycles": 200, "jitter_cycles": 40},
    "back-pressure": {"stall_per_mille": 300},
    "all": {
        "error_per_mille": 5, "spike_per_million": 100, "hold_per_mille": 100,
        "jitter_cycles": 20, "stall_per_mille": 150,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def program():
    return build_rows(CONFIG, READERS)


def traces(seed, rows):
    """Zipf-like rows of 1 and 2 beats over the memory, with runs of equal rows and pauses."""
    rng = np.random.default_rng(seed)
    found = []
    for reader in range(READERS):
        beats = 1 + reader % 2
        size = beats * CONFIG.beat_bytes
        numbers = rng.zipf(1.2, rows) % (MEMORY_BYTES // size)
        trace = rows_of(numbers * size, beats)
        trace["after"] = rng.choice([0, 0, 0, 0, 1, 7], rows)
        found.append(trace)
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_100_000_rows_with_faults_none_lost_none_wrong(program, fault):
    """20,001 rows for each kind of fault, every answer compared in the simulator."""
    timing = MemoryTiming(in_order=False, seed=7, **FAULTS[fault])
    run = run_rows(
        program, traces(list(FAULTS).index(fault), 6_667), timing, memory_bytes=MEMORY_BYTES,
        wait_per_mille=200 if fault in ("back-pressure", "all") else 0,
    )  # fmt: skip
    assert run.rows == 3 * 6_667
    assert run.hits + run.merged + run.misses + run.refused == run.beats
    assert run.misses + run.refused == sum(run.port_beats)
    assert run.merged and run.hits and all(run.port_beats)
    assert (run.errors > 0) == ("error_per_mille" in FAULTS[fault])


def test_a_wrong_answer_is_found(program):
    """A row beyond the memory's end is refused: not a status that the bench expects."""
    trace = rows_of(np.array([0, MEMORY_BYTES]))
    with pytest.raises(ValueError, match="addresses must be below memory_bytes"):
        run_rows(program, [trace] * READERS, MemoryTiming(), memory_bytes=MEMORY_BYTES)
    trace = rows_of(np.array([0, MEMORY_BYTES - 8]), beats=2)
    with pytest.raises(RowError, match="row 1: status 10"):
        run_rows(program, [trace] * READERS, MemoryTiming(), memory_bytes=MEMORY_BYTES)


@pytest.mark.parametrize("banks", [0, 3, 128])
def test_bad_banks(banks):
    with pytest.raises(ValueError, match=f"banks must be a power of two in 1..64, not {banks}"):
        study_machine(banks)


@pytest.mark.slow
def test_gets_what_an_ideal_requester_gets():
    """Random rows: at least 95 % of its beats; 256 B and more: 90 % of the peak it can have."""
    rows = list(study())
    assert len(rows) == 12
    for row in rows:
        assert row.of_ideal >= 0.95, row
        if row.row_bytes >= 256 and row.memory != "hbm2":  # there the ideal one gets 89.5 %
            assert row.of_peak >= 0.9, row
