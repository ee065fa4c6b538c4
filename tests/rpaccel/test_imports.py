"""Rules of the rooms: docs/decisions/0001 and the direction of imports."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["spec", "workloads", "golden", "rtl", "perfmodel", "host", "scheduler"]
ALLOWED = {
    "spec": {"spec"},
    "workloads": {"spec", "golden", "workloads"},
    "golden": {"spec", "golden"},
    "rtl": {"spec", "rtl"},
    "perfmodel": {"spec", "golden", "workloads", "rtl", "perfmodel"},
    "host": {"spec", "workloads", "golden", "rtl", "perfmodel", "host"},
    "scheduler": {"spec", "workloads", "golden", "rtl", "perfmodel", "host", "scheduler"},
}


def imported_modules(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    paths = sorted((ROOT / room).rglob("*.py"))
    assert len(paths) > 5
    for path in paths:
        for name in imported_modules(path):
            assert name.split(".")[0] not in ROOMS, f"{path}: import rpaccel.{name}"
            assert name.split(".")[0] not in {"tests", "tb"}, f"{path} imports {name}"
            match = re.match(r"rpaccel\.(\w+)", name)
            assert not match or match[1] not in {"cli", "main_job"}, f"{path} imports {name}"
            if match and match[1] in ROOMS:
                assert match[1] in ALLOWED[room], f"{path} imports {name}"


def test_the_links_lead_to_the_rooms() -> None:
    for room in ROOMS:
        assert (ROOT / "rpaccel" / room).resolve() == ROOT / room
