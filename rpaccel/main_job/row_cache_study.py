"""What pinned rows and prefetches do to the main job's queries, in the netlist."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rpaccel.host.axi_memory import MEMORIES, MemoryTiming
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.driver import Completion, Driver, FeatureTable
from rpaccel.host.row_pins import Pins, profile_rows
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.netlist import MEMORY_BYTES, STAGES, TOP_N, difference, user_request
from rpaccel.main_job.rankers import CompiledJob, compile_job
from rpaccel.main_job.run_trace import LOG_ENTRIES, Answered, DeviceTrace, row_totals
from rpaccel.spec.accelerator import load_accelerator

__all__ = ["CacheCase", "row_cache_study", "row_cache_text", "row_cache_values"]

CLOCK_HZ = 250e6  # of DDR4 and HBM2: assumed
SLOW_CYCLES = 400  # latency of a memory that is far away: assumed
NOTICED = 0.1  # [%] of a query's cycles: assumed
PROFILE_USERS = 32  # whose queries say which rows are popular

_TEXT = """\
# Static caches and prefetches in the machine

Written by `rpaccel row-caches`: the two-stage queries of {users} users of {data} on `{preset}`, one
at a time, each answer equal to the golden model's bit for bit. *Pinned*: the rows that {profile}
other users' queries name most often, half of the lines for each stage. *Ahead*: rows of probable
survivors are read while the front end is still scored. *Beats read*: of embedding rows, by the row
banks. *Used*, *late*, *unused*: of the beats that were read ahead, found by a read, those of them
that were still on their way, replaced unread. Memory *far*: `simple` with {far} cycles of latency.

{table}

{ahead}
"""
_HEAD = (
    "memory", "pinned", "ahead", "cycles/query", "gather, front", "gather, back", "beats read",
    "pinned beats", "read ahead", "used", "late", "unused",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CacheCase:
    """Totals over the queries of one memory and one choice of caches; `counts`: of all banks."""

    memory: str
    pinned: bool
    ahead: bool
    queries: int
    cycles: int
    gather_cycles: tuple[int, int]
    counts: dict[str, int]

    @property
    def name(self) -> str:
        """The memory, and what the caches do, as a file is called."""
        return self.memory + "_pinned" * self.pinned + "_ahead" * self.ahead

    @property
    def beats_read(self) -> int:
        """Beats of rows that came from memory."""
        return sum(self.counts[name] for name in ("misses", "refused", "prefetches"))


def row_cache_study(
    data: str,
    preset: str,
    users: int,
    seed: int,
    *,
    progress: Callable[[str], None] = print,
    trace: Path | None = None,
) -> Iterator[CacheCase]:
    """Yield a case for each memory, with and without pins, with and without prefetches.

    trace : folder of a timeline of each case, which is simulated again for it, on a device that
    logs its tasks; the model beside it does not read ahead. Raises RuntimeError if an answer is not
    the golden one.
    """
    config = load_accelerator(preset)
    inputs = load_inputs(data, seed)
    job = compile_job(inputs, config, seed)
    drawn = [int(user) for user in inputs.some_users(users + PROFILE_USERS, seed)]
    asked, others = drawn[:users], drawn[users:]
    library = build_simulator(config, progress=progress)
    names = profile_rows(job.rankers, (job.query(user, STAGES, TOP_N) for user in others))
    pins = Pins(
        split=config.static_cache_lines // 2,
        rows=tuple([name for name, _ in each.most_common()] for each in names),
    )
    pinned_models = compile_models(job.compiled.rankers, config, pins=pins)
    timings = {memory: MemoryTiming.of(memory, clock_hz=CLOCK_HZ) for memory in MEMORIES}
    timings["far"] = MemoryTiming(read_latency_cycles=SLOW_CYCLES)
    for memory, timing in timings.items():
        for pinned in (False, True):
            for ahead in (False, True):
                compiled = pinned_models if pinned else job.compiled
                progress(f"{memory}, pinned {pinned}, ahead {ahead}")
                bench = _Bench(job, compiled, library, timing, ahead)
                completions, counts = bench.run(asked)
                case = CacheCase(
                    memory=memory,
                    pinned=pinned,
                    ahead=ahead,
                    queries=len(asked),
                    cycles=sum(each.total_cycles for each in completions),
                    gather_cycles=(
                        sum(each.gather_cycles[0] for each in completions),
                        sum(each.gather_cycles[1] for each in completions),
                    ),
                    counts=counts,
                )
                if trace is not None:
                    bench.run(asked, trace / f"{case.name}.json")
                yield case


@dataclass(frozen=True, eq=False)
class _Bench:
    """A machine that `compiled` is loaded into, with a memory of `timing`; it may read `ahead`."""

    job: CompiledJob
    compiled: CompiledModels
    library: Path
    timing: MemoryTiming
    ahead: bool

    def run(
        self, users: Sequence[int], trace: Path | None = None
    ) -> tuple[list[Completion], dict[str, int]]:
        """Ask every user's query, one after another, on a device that was just made.

        trace : where a timeline is written; the device then logs its tasks. Returns the answers and
        the counters of all row banks together.
        """
        config, completions = self.job.config, []
        with VerilatedDevice(
            config, self.timing, memory_bytes=MEMORY_BYTES, library=self.library
        ) as device:
            driver = Driver(
                device, config, MEMORY_BYTES, depth=1, prefetch=self.ahead,
                task_log_entries=LOG_ENTRIES if trace else 0,
            )  # fmt: skip
            driver.load_models(self.compiled)
            images = [(self.compiled, (0,))]
            timeline = DeviceTrace(driver, self.job.rankers, self.timing, images) if trace else None
            table = driver.register_feature_table(self.job.feature_table)
            for user in users:
                answered = self._ask(driver, table, user)
                completions.append(answered.completion)
                if timeline:
                    timeline.take([answered])
            if trace and timeline:
                timeline.write(trace)
            return completions, row_totals(driver)

    def _ask(self, driver: Driver, table: FeatureTable, user: int) -> Answered:
        """Ask a user's query. Raises RuntimeError if the answer is not the golden one."""
        completion = driver.wait(driver.submit(user_request(self.job, table, user)))
        golden = self.job.golden(user, STAGES, TOP_N)
        wrong = difference(f"user {user}", completion, golden)
        if wrong is not None:
            raise RuntimeError(f"the netlist is not bit-exact: {wrong}")
        query = self.job.query(user, STAGES, TOP_N)
        return Answered(query=query, golden=golden, completion=completion)


def row_cache_text(cases: Sequence[CacheCase], data: str, preset: str) -> str:
    """Return the page."""

    def cells(case: CacheCase) -> list[str]:
        per_query = [n / case.queries for n in (case.cycles, *case.gather_cycles)]
        names = ("pinned", "prefetches", "used", "late", "unused")
        return [
            case.memory,
            "yes" if case.pinned else "no",
            "yes" if case.ahead else "no",
            *(f"{value:,.0f}" for value in per_query),
            f"{case.beats_read:,}",
            *(f"{case.counts[name]:,}" for name in names),
        ]

    return _TEXT.format(
        users=cases[0].queries,
        data=data,
        preset=preset,
        profile=PROFILE_USERS,
        far=SLOW_CYCLES,
        table=markdown_table(_HEAD, [cells(case) for case in cases]).rstrip(),
        ahead=_ahead_text(cases),
    )


def _ahead_text(cases: Sequence[CacheCase]) -> str:
    """Return what reading ahead did to the queries, and why, from pairs of rows."""
    found = {(case.memory, case.pinned, case.ahead): case for case in cases}
    pairs = [
        (found[memory, pinned, False], case)
        for (memory, pinned, ahead), case in found.items()
        if ahead
    ]
    pins = [
        (found[memory, False, False], case)
        for (memory, pinned, ahead), case in found.items()
        if pinned and not ahead
    ]

    def change(pair: tuple[CacheCase, CacheCase]) -> float:
        return 100 * (pair[1].cycles / pair[0].cycles - 1)

    least, most = min(map(change, pairs)), max(map(change, pairs))
    pins_least, pins_most = min(map(change, pins)), max(map(change, pins))
    bare, pinned = (sum(pair[x].beats_read for pair in pins) for x in range(2))
    saved = 100 * (1 - pinned / bare)
    without, ahead = max(pairs, key=lambda pair: abs(change(pair)))
    n = ahead.queries
    front, back = (
        f"{before / n:,.0f} -> {after / n:,.0f}"
        for before, after in zip(without.gather_cycles, ahead.gather_cycles, strict=True)
    )
    read, used = ahead.counts["prefetches"] / n, ahead.counts["used"] / n
    more = (ahead.beats_read - without.beats_read) / n
    share = 100 * ahead.counts["used"] / without.beats_read
    worth = "In no row are queries noticeably" if least > -NOTICED else "In some rows queries are"
    held = "pinned" if without.pinned else "nothing pinned"
    return "\n".join(
        textwrap.wrap(
            f"{worth} shorter: reading ahead changes the cycles of a query by {least:+.2f} to "
            f"{most:+.2f} %, most on *{without.memory}*, {held}: gather of the front end {front} "
            f"cycles, of the back end {back}. All that it can save is the back end's wait for "
            f"beats that were read ahead, there {used:.0f} a query, {share:.1f} % of the beats "
            f"that are read without it. Pinning alone takes {saved:.1f} % of the reads away and "
            f"changes a query by {pins_least:+.2f} to {pins_most:+.2f} %: a gather has many reads "
            "in flight and waits little for one. What it costs falls on the front end, which "
            "gathers meanwhile: turns of banks and ports, and lines of the look-ahead cache, "
            f"which marked beats hold ({more:+.0f} beats read a query, with {read:.0f} read "
            "ahead).",
            100,
            break_on_hyphens=False,
        )
    )


def row_cache_values(cases: Sequence[CacheCase]) -> list[dict[str, object]]:
    """Return the cases as JSON data."""
    return [
        {
            "memory": case.memory,
            "pinned": case.pinned,
            "ahead": case.ahead,
            "queries": case.queries,
            "cycles": case.cycles,
            "gather_cycles": list(case.gather_cycles),
            "beats_read": case.beats_read,
            **case.counts,
        }
        for case in cases
    ]
