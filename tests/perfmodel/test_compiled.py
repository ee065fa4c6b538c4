"""What compiled code is made of is in its cache's key."""

import importlib
import inspect
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

from rpaccel import perfmodel, scheduler
from rpaccel.perfmodel import compiled, core_kernels, machine_kernels, point_kernels, task_kernels
from rpaccel.perfmodel.compiled import sources

CACHED = [
    f"{room.__name__}.{path.stem}"
    for room in (perfmodel, scheduler)
    for path in sorted(Path(room.__file__).parent.glob("*.py"))
    if "njit(**ENTRY)" in path.read_text()
]


@pytest.mark.parametrize("name", CACHED)
def test_cached_functions_are_keyed_by_all_that_their_module_imports(name):
    module = importlib.import_module(name)
    functions = [each for each in vars(module).values() if isinstance(each, Dispatcher)]
    mine = [each.py_func for each in functions if each.__module__ == module.__name__]
    numbers = [inspect.signature(each).parameters.get("_sources") for each in mine]
    found = [number.default for number in numbers if number]
    assert found == [sources(module)] * Path(module.__file__).read_text().count("@njit(")


@pytest.mark.parametrize(
    ("module", "part"),
    [
        (machine_kernels, "spec.isa"),  # of machine_load, of which a function is compiled
        (machine_kernels, "perfmodel.machine_load"),
        (point_kernels, "spec.isa"),
        (point_kernels, "perfmodel.compiled"),
        (task_kernels, "perfmodel.compiled"),
        (task_kernels, "perfmodel.core_kernels"),
    ],
)
def test_a_part_that_changes_changes_the_number(module, part, monkeypatch, tmp_path):
    before, file_of = sources(module), compiled._file
    name = f"rpaccel.{part}"
    changed = tmp_path / "changed.py"
    changed.write_bytes(file_of(name).read_bytes() + b"\n")
    monkeypatch.setattr(
        compiled, "_file", lambda each: changed if each == name else file_of(each)
    )  # fmt: skip
    assert sources(module) != before


def test_what_is_not_imported_changes_nothing(monkeypatch):
    before, file_of, read = sources(core_kernels), compiled._file, []
    monkeypatch.setattr(compiled, "_file", lambda each: read.append(each) or file_of(each))
    assert sources(core_kernels) == before
    assert "rpaccel.perfmodel.core_kernels" in read
    assert "rpaccel.perfmodel.machine_kernels" not in read
