"""Train the small and the large ranker: `python scripts/train.py --data ml-100k --seeds 1`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rpaccel.workloads.train_job import run_training


def main(argv: list[str] | None = None) -> int:
    """Train, save, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    data_help = "ml-100k, or a folder of .inter, .item and .user files"
    parser.add_argument("--data", default="ml-100k", help=data_help)
    parser.add_argument("--seed", type=int, default=0, help="first seed: the one that is used")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    out_help = "folder to write instead of the place `make run` reads"
    parser.add_argument("--out", type=Path, default=None, help=out_help)
    args = parser.parse_args(argv)
    try:
        run_training(args.data, seed=args.seed, seeds=args.seeds, out=args.out)
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
