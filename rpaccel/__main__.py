"""The command as `python -m rpaccel`."""

import sys

from rpaccel.cli import main

if __name__ == "__main__":
    sys.exit(main())
