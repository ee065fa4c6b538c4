"""What a file may say is read by something: a key without effect is an error, not an option."""

import ast
import importlib
from pathlib import Path

import pytest
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
ROOMS = ("spec", "workloads", "golden", "rtl", "perfmodel", "host", "scheduler", "rpaccel")
SOURCES = {"source", "clock_source"}  # where numbers come from: for readers, and never left out


def models():
    """Return the models of every file in spec/."""
    modules = [
        importlib.import_module(f"rpaccel.spec.{path.stem}")
        for path in sorted((ROOT / "spec").glob("*.py"))
    ]
    return {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each is not BaseModel
    }


@pytest.fixture(scope="module")
def read():
    """Return the names of all attributes that the code reads."""
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    trees = [ast.parse(path.read_text()) for path in paths]
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_every_field_is_read(read):
    fields = {(model.__name__, name) for model in models() for name in model.model_fields}
    assert {model for model, _ in fields} > {"AcceleratorConfig", "SsdTier", "SweepAxes"}
    assert {(model, name) for model, name in fields if name not in read | SOURCES} == set()
