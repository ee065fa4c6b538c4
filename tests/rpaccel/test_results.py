import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rpaccel.results import VERSIONED, RunFolder, to_json, versions
from rpaccel.spec.accelerator import load_accelerator


@dataclass(frozen=True)
class Figure:
    value: int
    path: Path


def test_to_json_resolves_what_the_code_uses():
    value = {
        "b": np.int64(3),
        "a": np.array([1.5, 2.0]),
        "figure": Figure(value=1, path=Path("x") / "y"),
        "config": load_accelerator("tiny"),
    }
    text = to_json(value)
    assert text.endswith("}\n")
    found = json.loads(text)
    assert list(found) == ["a", "b", "config", "figure"]
    assert found["a"] == [1.5, 2.0]
    assert found["b"] == 3
    assert found["config"]["array_size"] == 8
    assert found["figure"] == {"value": 1, "path": "x/y"}
    assert to_json(dict(reversed(value.items()))) == text


@pytest.mark.parametrize(("value", "name"), [({1, 2}, "set"), (Figure, "type")])
def test_to_json_refuses_the_rest(value, name):
    with pytest.raises(TypeError, match=rf"^value must be JSON-like, not {name}$"):
        to_json({"value": value})


def test_run_folder(tmp_path):
    folder = RunFolder(tmp_path / "results" / "run")
    folder.figure("speed", 12, "cycles/s")
    folder.figure("preset", "edge", "")
    assert folder.write_json("queries", [1, 2]) == tmp_path / "results" / "run" / "queries.json"
    folder.finish({"seed": 4})
    assert folder.read_json("queries") == [1, 2]
    assert folder.read_json("summary") == [
        {"name": "speed", "value": 12, "unit": "cycles/s"},
        {"name": "preset", "value": "edge", "unit": ""},
    ]
    assert folder.read_json("config")["inputs"] == {"seed": 4}
    with pytest.raises(FileNotFoundError):
        folder.read_json("nothing")
    again = RunFolder(folder.path)  # a folder that exists keeps its files
    assert again.read_json("queries") == [1, 2]


def test_versions_name_every_package():
    found = versions()
    assert set(found) == set(VERSIONED)
    assert found["amaranth"] == "0.5.10"


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setattr("rpaccel.results.VERSIONED", ("no-such-package",))
    assert versions() == {"no-such-package": "not installed"}
