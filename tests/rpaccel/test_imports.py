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

ORACLE = "rpaccel.perfmodel.recpipe_artifact"  # RecPipe's artifact as it is: never our answer
# What stands for the paper, or shows the artifact beside ours, and why.
ORACLE_USERS = {
    "perfmodel/artifact_walk.py": "from its terms to ours, one at a time",
    "scheduler/published_pipelines.py": "the published side's service times",
    "rpaccel/main_job/artifact_page.py": "its latencies, the walk",
    "rpaccel/main_job/claim_groups.py": "beside ours in reasons",
    "rpaccel/main_job/paper_static.py": "its series in figures",
    "rpaccel/main_job/scale_sim_study.py": "its layers, for SCALE-Sim",
    "rpaccel/main_job/serving_curves.py": "the published side's figures",
}
# Outside main_job, what may reach it by way of those.
PUBLISHED_SIDE = {"scheduler/online_options.py": "options of the published machines"}


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


def modules_of(path: Path) -> set[str]:
    """Return what a file imports, and each name that it imports out of a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def path_of(module: str) -> str:
    """Return the file of a module of ours, from the root."""
    parts = module.split(".")[1:]
    return "/".join(parts if parts[0] in ROOMS else ["rpaccel", *parts]) + ".py"


def reaches(target: str, imports: dict[str, set[str]]) -> set[str]:
    """Return the files that import `target`, or one that does."""
    found: set[str] = set()
    wanted = {target}
    while wanted:
        wanted = {path for path, names in imports.items() if names & wanted} - found
        found |= wanted
    return found


def test_the_artifact_is_an_oracle_only() -> None:
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    paths += [*(ROOT / "rpaccel").glob("*.py"), *(ROOT / "rpaccel" / "main_job").glob("*.py")]
    imports = {
        path.relative_to(ROOT).as_posix(): {
            path_of(name) for name in modules_of(path) if name.startswith("rpaccel.")
        }
        for path in paths
    }
    oracle = path_of(ORACLE)
    assert oracle in imports and len(imports) > 300
    assert {path for path, names in imports.items() if oracle in names} == set(ORACLE_USERS)
    by_way = {path for path in reaches(oracle, imports) if not path.startswith("rpaccel/")}
    assert by_way == {
        path for path in (*ORACLE_USERS, *PUBLISHED_SIDE) if not path.startswith("rpaccel/")
    }
