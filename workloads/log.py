"""A click log in memory, and the reader of its files.

A log is a folder (or one `.inter` file beside the others) of tab-separated files whose header
names each column as `name:type`, the RecBole atomic format:

| file     | columns                                                   | needed |
|----------|-----------------------------------------------------------|--------|
| `.inter` | `user_id`, `item_id`, `rating` (1..5), `timestamp` [s]    | yes    |
| `.item`  | `item_id`, `movie_title`, `release_year`, `class` (genres separated by blanks) | no |
| `.user`  | `user_id`, `age` [years], `gender`, `occupation`          | no     |

`title`, `year` and `genres` are accepted for the item columns too; other columns are ignored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

INTERACTION_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
ITEM_NAMES = {"movie_title": "title", "release_year": "year", "class": "genres"}


@dataclass(frozen=True, kw_only=True)
class ClickLog:
    """Interactions and attributes with users and items numbered from 0.

    Members
    -------
    name : str
    digest : str  SHA-256 over the files read, or over the recipe of a synthetic log.
    interactions : user int32, item int32, rating float32, timestamp int64 [s]; one row per rating
    items : item_id, title, year (str), genres (list of str); row i is item i
    users : user_id, age (int64 or null), gender, occupation (str); row u is user u
    """

    name: str
    digest: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame

    @property
    def user_count(self) -> int:
        """Number of users."""
        return self.users.height

    @property
    def item_count(self) -> int:
        """Number of items."""
        return self.items.height

    def title(self, item: int) -> str:
        """Return the title of an item, or its id where the log has no titles."""
        title = self.items["title"][item]
        return str(title or self.items["item_id"][item])


def read_log(path: str | Path, name: str | None = None) -> ClickLog:
    """Read a folder that holds one `.inter` file and at most one `.item` and one `.user` file.

    Raises FileNotFoundError for a missing folder or file, ValueError for a damaged one.
    """
    path = Path(path)
    folder = path.parent if path.suffix == ".inter" else path
    if not path.exists():
        raise FileNotFoundError(f"no click log at {path}")
    inter = path if path.suffix == ".inter" else _only(folder, ".inter")
    if inter is None:
        raise FileNotFoundError(f"{folder} must hold one .inter file, not 0")
    item, user = _only(folder, ".item"), _only(folder, ".user")
    interactions = _interactions(inter)
    items = _items(item, interactions["item_id"])
    users = _users(user, interactions["user_id"])
    digest = hashlib.sha256()
    for file in (inter, item, user):
        if file is not None:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    numbered = (
        interactions.join(_numbered(users, "user"), on="user_id", how="left")
        .join(_numbered(items, "item"), on="item_id", how="left")
        .select("user", "item", "rating", "timestamp")
    )
    for column, file in (("user", user), ("item", item)):
        missing = numbered[column].null_count()
        if missing:
            raise ValueError(
                f"{file}: every {column} of {inter.name} must have a row; {missing} ratings do not"
            )
    return ClickLog(name=name or inter.stem, digest=digest.hexdigest(), interactions=numbered,
                    items=items, users=users)  # fmt: skip


def _only(folder: Path, suffix: str) -> Path | None:
    found = sorted(folder.glob(f"*{suffix}"))
    if len(found) > 1:
        raise ValueError(f"{folder} must hold one {suffix} file, not {len(found)}")
    return found[0] if found else None


def _read_table(path: Path) -> pl.DataFrame:
    """Read a table with every column as text and the types cut off the header."""
    try:
        frame = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} must be a tab-separated table: {error}") from error
    if not path.read_bytes().endswith(b"\n"):
        raise ValueError(f"{path} must end with a line feed; is it cut off?")
    return frame.rename({column: column.split(":")[0] for column in frame.columns})


def _interactions(path: Path) -> pl.DataFrame:
    frame = _read_table(path)
    for column in INTERACTION_COLUMNS:
        if column not in frame.columns:
            raise ValueError(f"{path}: columns must be {INTERACTION_COLUMNS}, {column} is missing")
    if frame.height == 0:
        raise ValueError(f"{path} must hold at least 1 rating, not 0")
    typed = frame.select(
        "user_id",
        "item_id",
        pl.col("rating").cast(pl.Float32, strict=False),
        pl.col("timestamp").cast(pl.Float64, strict=False).cast(pl.Int64),
    )
    bad = typed.with_row_index("row").filter(pl.any_horizontal(pl.all().is_null()))
    if bad.height:
        line = int(bad["row"][0]) + 2  # the header is line 1
        raise ValueError(f"{path}:{line}: a rating must have 4 readable values; is it cut off?")
    return typed


def _items(path: Path | None, ids: pl.Series) -> pl.DataFrame:
    frame = _attributes(path, ids, "item_id")
    frame = frame.rename({old: new for old, new in ITEM_NAMES.items() if old in frame.columns})
    for column in ("title", "year", "genres"):
        if column not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(column))
    genres = (
        pl.col("genres")
        .fill_null("")
        .str.split(" ")
        .list.eval(pl.element().filter(pl.element() != ""))
    )
    return frame.select("item_id", "title", "year", genres)


def _users(path: Path | None, ids: pl.Series) -> pl.DataFrame:
    frame = _attributes(path, ids, "user_id")
    for column in ("age", "gender", "occupation"):
        if column not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(column))
    return frame.select(
        "user_id", pl.col("age").cast(pl.Int64, strict=False), "gender", "occupation"
    )


def _attributes(path: Path | None, ids: pl.Series, key: str) -> pl.DataFrame:
    if path is None:
        return pl.DataFrame({key: ids.unique().sort()})
    frame = _read_table(path)
    if key not in frame.columns:
        raise ValueError(f"{path}: column {key} is missing")
    if frame[key].null_count():
        raise ValueError(f"{path}: every row must have a {key}")
    if frame[key].n_unique() != frame.height:
        raise ValueError(f"{path}: {key} must be unique")
    return frame


def _numbered(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    return frame.select(f"{what}_id").with_row_index(what).with_columns(pl.col(what).cast(pl.Int32))
