"""Sweep the performance model: python scripts/sweep.py --out results/sweep."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rpaccel.perfmodel.sweep import run_sweep


def main(argv: list[str] | None = None) -> int:
    """Write CSV, JSON and plots, and print the Pareto fronts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/sweep"), help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="recorded with the results")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, not {arguments.jobs}")
    if arguments.jobs == 1:
        summary = run_sweep(arguments.out, seed=arguments.seed)
    else:
        with ProcessPoolExecutor(arguments.jobs) as executor:
            summary = run_sweep(arguments.out, seed=arguments.seed, executor=executor)
    text = summary.pop("text")
    print(json.dumps(summary, indent=1, sort_keys=True) if arguments.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
