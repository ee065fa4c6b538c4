import sys

import pytest

from rpaccel.cli import main
from rpaccel.main_job.inputs import load_inputs
from rpaccel.main_job.rankers import compile_job
from rpaccel.spec.accelerator import load_accelerator


@pytest.fixture(scope="session")
def job():
    return compile_job(load_inputs("synthetic"), load_accelerator("edge"))


@pytest.fixture
def rpaccel(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; return (exit status, standard output, error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rpaccel", *map(str, arguments)])
        try:
            status = main()
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
