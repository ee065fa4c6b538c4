"""Presets: YAML files in a folder, found by name, or any YAML file by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["names_in", "read_preset"]


def names_in(folder: Path) -> list[str]:
    """Return the names of the presets in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_preset(source: str | Path, folder: Path, what: str) -> Any:
    """Return what a YAML file holds: preset `source` of `folder`, or the file of that path.

    what : names the parameter in errors. Raises ValueError for an unknown preset, or if the file
    is not YAML; OSError if it cannot be read.
    """
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"}:
        path = folder / f"{source}.yaml"
        if not path.exists():
            names = ", ".join(names_in(folder))
            raise ValueError(f"{what} must be one of {names}, not {source!r}")
    try:
        return yaml.load(path.read_text(), yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML: {' '.join(str(error).split())}") from error
