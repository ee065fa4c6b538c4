"""Some of the main job's queries again, under cocotb with cocotbext-axi on the buses."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rpaccel.host.axi_memory import MemoryTiming
from rpaccel.host.verilator import BUILD_DIR
from rpaccel.main_job.netlist import NetlistRun, completion_json
from rpaccel.main_job.progress import Progress
from rpaccel.results import RunFolder, to_json
from rpaccel.spec.accelerator import AcceleratorConfig

if TYPE_CHECKING:
    from tb.runner import Bench

BUILD = BUILD_DIR


def build_cocotb(config: AcceleratorConfig, count: int, progress: Progress) -> Bench | None:
    """Return the netlist compiled for cocotb, or None if no query is asked for.

    Raises ValueError outside a checkout, where the benches are not installed.
    """
    if not count:
        return None
    try:
        from tb.runner import system_bench  # noqa: PLC0415  (needs the test dependencies)
    except ImportError as error:
        raise ValueError(
            "cocotb_queries must be 0 where the benches of a checkout and the extra `test` are "
            f"not installed, not {count}"
        ) from error
    return system_bench(config, build_dir=BUILD, progress=progress.note)


def check_in_cocotb(
    bench: Bench | None,
    ask: dict[str, Any],
    run: NetlistRun,
    timing: MemoryTiming,
    progress: Progress,
    folder: RunFolder,
) -> None:
    """Run the first queries of `run` on `bench`; answers and cycle counts must be equal.

    ask : data, preset, seed and count of queries. Raises RuntimeError with the first difference.
    """
    users = list(run.users[: ask["count"]])
    folder.write_json("cocotb", {"users": users, "timing": asdict(timing)})
    if bench is None:
        progress.note("none asked for")
        return
    from tb.runner import run_bench  # noqa: PLC0415

    work = BUILD / "main_job" / "cocotb"
    work.mkdir(parents=True, exist_ok=True)
    job_file, answers_file = (work / "job.json").resolve(), (work / "answers.json").resolve()
    answers_file.unlink(missing_ok=True)
    job_file.write_text(
        to_json(
            {
                "data": ask["data"],
                "preset": ask["preset"],
                "seed": ask["seed"],
                "users": users,
                "timing": asdict(timing),
                "out": answers_file,
            }
        )
    )
    run_bench(bench, "tb.job_bench", work, environment={"RPACCEL_JOB": str(job_file)})
    want = to_json([completion_json(u, c) for u, c in zip(users, run.completions, strict=False)])
    got = json.loads(answers_file.read_text())
    for found, expected in zip(got, json.loads(want), strict=True):
        for name, value in expected.items():
            if found[name] != value:
                raise RuntimeError(
                    f"user {expected['user']}: {name} must be {value} as with the C++ memory, "
                    f"not {found[name]} (cocotb)"
                )
    progress.note(
        f"{len(users)} queries: answers, counters and cycles equal to those with the C++ memory"
    )
