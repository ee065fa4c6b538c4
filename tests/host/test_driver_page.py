"""The blocks of docs/driver.md run as they stand."""

import re
import subprocess
from collections import deque
from pathlib import Path

import pytest

from rpaccel.spec.isa import Status

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "driver.md").read_text()
APPLICATION, C_JOB = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(BUILD,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_application_is_answered(capsys):
    exec(compile(APPLICATION, "docs/driver.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{Status.OK.name} [") for line in lines)


def test_every_back_end_is_named():
    for name in ("SoftwareDevice", "VerilatedDevice", "MappedDevice", "run_driver"):
        assert f"`{name}(" in PAGE


@pytest.mark.slow
def test_example_in_c_is_built_and_answered(tmp_path, monkeypatch):
    (tmp_path / "host").symlink_to(ROOT / "host")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(f"{APPLICATION}\n{C_JOB}", "docs/driver.md", "exec"), names)
    done = subprocess.run(["bash", "-e", "-c", BUILD], capture_output=True, text=True, check=True)
    assert not done.stderr
    lines, answers = deque(done.stdout.splitlines()), {}
    while lines:
        tag, status, count = map(int, lines.popleft().split())
        assert tag not in answers and status == Status.OK
        answers[tag] = [lines.popleft() for _ in range(count)]
    assert answers.pop(0) == []  # LOAD
    assert len(answers) == len(names["queries"]) and all(answers.values())
