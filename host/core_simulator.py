"""A Verilated compute core, fed by C++ as gather feeds it; nothing in Python runs per cycle.

Gather's part: two banks; a bank is written again from the cycle after `release_stb` on, one vector
write per cycle, while the core computes; a sub-batch is offered from the cycle after its last
write on; scores are taken at once.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rpaccel.host.core_workload import Workload, Write, program_shape
from rpaccel.host.verilator import BUILD_DIR, CPP_DIR, build_program
from rpaccel.perfmodel.lane import SCORE_CYCLES
from rpaccel.perfmodel.sequencer import CoreTimes, core_times
from rpaccel.rtl.compute_core import ComputeCore
from rpaccel.rtl.interfaces import load_data_bits
from rpaccel.rtl.netlist import Port, cached_netlist
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import SLOT

__all__ = ["CoreError", "CoreRun", "build_core", "expected_scores", "predict", "run_core"]

Array = np.ndarray
_LIMIT_FACTOR, _LIMIT_CYCLES = 4, 10_000  # times the predicted cycles, and more: it has stopped


class CoreError(RuntimeError):
    """The simulated core broke its contract: a failed check, too few or too many scores."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreRun:
    """What a core did. Cycles count from the first sub-batch that is taken, which is cycle 0.

    counts, writes : int64[sub-batches]  Items, and the cycles that writing their data took.
    transfers, releases, last_scores : int64[sub-batches]  A sub-batch is taken, its
        `release_stb`, its last score leaves.
    array_busy_then : int64[sub-batches]  Busy cycles of the array up to the last score.
    logits, ctr : int64[items]  In the order in which they left.
    array_busy, interaction_busy : int  Cycles of the whole run.
    """

    counts: Array
    writes: Array
    transfers: Array
    releases: Array
    last_scores: Array
    array_busy_then: Array
    logits: Array
    ctr: Array
    array_busy: int
    interaction_busy: int

    @property
    def total_cycles(self) -> int:
        """Cycles from the first transfer to the last score, both included."""
        return int(self.last_scores[-1]) + 1

    def differences(self, other: CoreRun) -> dict[str, int]:
        """Return the largest difference from `other` in each of the times [cycles]."""
        names = ("transfers", "releases", "last_scores", "array_busy", "interaction_busy")
        return {
            name: int(np.abs(np.subtract(getattr(self, name), getattr(other, name))).max())
            for name in names
        }


def build_core(
    config: AcceleratorConfig,
    *,
    build_dir: Path = BUILD_DIR,
    checks: bool = True,
    progress: Callable[[str], None] = print,
) -> Path:
    """Return the program that runs `config`'s compute core; cached by content.

    checks : keep the assertions of the RTL; a failing one ends a run with CoreError.
    """
    netlist = cached_netlist(
        lambda: ComputeCore(config),
        config,
        name="core",
        build_dir=build_dir,
        checks=checks,
        progress=progress,
    )
    ports = " ".join(f"X({port})" for port in range(config.gather_ports))
    return build_program(
        netlist.verilog,
        f"#define RPACCEL_FOR_EACH_WRITE_PORT(X) {ports}\n"
        + _pins(netlist.ports)
        + (CPP_DIR / "core.cpp").read_text(),
        top=netlist.name,
        progress=progress,
        build_dir=build_dir,
    )


def _pins(ports: Iterable[Port]) -> str:
    """Return C++ that gives the model's ports their names, and says how many bytes each has."""
    lines = ['#include "Vrpaccel.h"', '#include "verilated.h"', "struct Pins {"]
    lines.append("    Vrpaccel* model;")
    for port in ports:
        name = port.name.replace("__", "_")
        member = port.name.replace("__", "___05F")  # as Verilator writes two underscores
        lines.append(f"    auto& {name}() {{ return model->{member}; }}")
        lines.append(f"    static constexpr size_t {name.upper()}_BYTES = {-(-port.bits // 8)};")
    return "\n".join([*lines, "};", ""])


def _merged(writes: Iterable[Write]) -> Iterator[Write]:
    """Yield `writes`; those to one word that follow each other are one, as of a wide gather."""
    last: Write | None = None
    for write in writes:
        place = (write.port, write.user, write.vector, write.address)
        if last is not None and place == (last.port, last.user, last.vector, last.address):
            last = Write(*place, last.data | write.data, last.mask | write.mask)
            continue
        if last is not None:
            yield last
        last = write
    if last is not None:
        yield last


def _load_records(config: AcceleratorConfig, entries: Iterable[tuple[int, int, int]]) -> bytes:
    """Return {target u32, index u32, data} of each entry of the load bus."""
    size = load_data_bits(config) // 8
    return b"".join(
        target.to_bytes(4, "little") + index.to_bytes(4, "little") + value.to_bytes(size, "little")
        for target, index, value in entries
    )


def _write_records(config: AcceleratorConfig, writes: Iterable[Write]) -> tuple[int, bytes]:
    """Return the number of writes, and {user u8, vector u8, port u16, address u32, data, mask}."""
    size = max(config.array_size, config.vector_word_bytes)
    records = [
        bytes((write.user, write.vector))
        + write.port.to_bytes(2, "little")
        + write.address.to_bytes(4, "little")
        + write.data.to_bytes(size, "little")
        + write.mask.to_bytes(-(-size // 32), "little")
        for write in _merged(writes)
    ]
    return len(records), b"".join(records)


def _times(workload: Workload, counts: Array, writes: Array) -> CoreTimes:
    """Return the performance model's timeline; the first transfer is in cycle 0."""
    return core_times(
        workload.config,
        program_shape(workload.compiled),
        counts,
        walks=writes,
        start=-int(writes[0]),
    )


def _stimulus(
    workload: Workload, counts: list[int], ready: bool, limit_cycles: int | None
) -> tuple[bytes, Array]:
    """Return a stimulus file, and the writes of each sub-batch.

    u64 load entries, writes before the first sub-batch, sub-batches, limit [cycles]; {items u32,
    writes u32} of each sub-batch; slot; load entries; writes.
    """
    config = workload.config
    entries = list(workload.entries())
    groups = [_write_records(config, workload.user_writes())]
    groups += [
        _write_records(config, workload.batch_writes(j)) for j in range(len(workload.counts))
    ]
    numbers = np.array([number for number, _ in groups], np.int64)
    before = numbers.sum() if ready else numbers[0]
    writes = np.zeros(len(counts), np.int64) if ready else numbers[1:]
    if limit_cycles is None:
        predicted = int(_times(workload, np.array(counts), writes).logit[-1, 0]) + int(writes[0])
        limit_cycles = _LIMIT_FACTOR * predicted + _LIMIT_CYCLES
    header = np.array([len(entries), before, len(counts), limit_cycles], "<u8").tobytes()
    table = np.stack([counts, writes], axis=1).astype("<u4").tobytes()
    slot = SLOT.pack(workload.slot).to_bytes(SLOT.bytes, "little")
    records = [records for _, records in groups]
    return b"".join([header, table, slot, _load_records(config, entries), *records]), writes


def run_core(
    program: Path,
    workload: Workload,
    counts: list[int] | None = None,
    *,
    limit_cycles: int | None = None,
) -> CoreRun:
    """Run a workload on a core from `build_core`.

    counts : None runs the workload's sub-batches, written while the core computes. Otherwise all
    data are ready: the workload's sub-batches, at most two, are written before the run, and
    sub-batch j of the run is the first counts[j] items of number j % 2 of them.
    limit_cycles : of the run, without loading; None: several times what the model predicts.

    Raises CoreError if a check of the RTL fails, or not exactly one score per item leaves.
    """
    ready = counts is not None
    counts = workload.counts if counts is None else counts
    if ready and any(count > workload.counts[j % 2] for j, count in enumerate(counts)):
        raise ValueError(f"counts must be at most {workload.counts} in turn, not {counts}")
    stimulus, writes = _stimulus(workload, counts, ready, limit_cycles)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "stimulus", Path(folder) / "result"
        source.write_bytes(stimulus)
        done = subprocess.run(
            [program, source, target], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CoreError(f"the core failed: {done.stderr.strip()} {done.stdout.strip()}")
        result = np.fromfile(target, "<u8").astype(np.int64)
    return _decode(result, np.array(counts), writes)


def _decode(result: Array, counts: Array, writes: Array) -> CoreRun:
    """Return the run of a result file.

    i64 busy cycles of array and interaction; transfers, releases of each sub-batch; cycles, busy
    cycles of the array so far, logit u16 and ctr u16 of each score.
    """
    batches, items = len(counts), int(counts.sum())
    busy, batch, score = np.split(result, [2, 2 + 2 * batches])
    transfers, releases = batch.reshape(2, batches)
    cycles, busy_then, scores = score.reshape(3, items)
    last = np.cumsum(counts) - 1
    begin = transfers[0]
    return CoreRun(
        counts=counts,
        writes=writes,
        transfers=transfers - begin,
        releases=releases - begin,
        last_scores=cycles[last] - begin,
        array_busy_then=busy_then[last],
        logits=(scores & 0xFFFF).astype(np.int16).astype(np.int64),
        ctr=scores >> 16,
        array_busy=int(busy[0]),
        interaction_busy=int(busy[1]),
    )


def expected_scores(workload: Workload, run: CoreRun) -> tuple[Array, Array]:
    """Return golden's (logits, ctr) for a run of `workload`, int64[items] each."""
    if len(workload.counts) == len(run.counts):
        firsts = np.cumsum([0, *workload.counts])
    else:
        firsts = np.resize([0, workload.counts[0]], len(run.counts))
    picked = [
        workload.expected[firsts[j] + n] for j, count in enumerate(run.counts) for n in range(count)
    ]
    logits, ctr = ([score[name] for score in picked] for name in ("logit", "ctr"))
    return np.array(logits), np.array(ctr)


def predict(workload: Workload, run: CoreRun) -> CoreRun:
    """Return the performance model's times of a run, given how long writing took."""
    times = _times(workload, run.counts, run.writes)
    return CoreRun(
        counts=run.counts,
        writes=run.writes,
        transfers=times.transfer[:, 0],
        releases=times.released[:, 0],
        last_scores=times.logit[:, 0] + SCORE_CYCLES,
        array_busy_then=run.array_busy_then,
        logits=run.logits,
        ctr=run.ctr,
        array_busy=int(times.array_busy[0]),
        interaction_busy=int(times.interaction_busy[0]),
    )
