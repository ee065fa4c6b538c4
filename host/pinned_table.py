"""What to load into a static cache: places in its table for pinned rows, rows packed in lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rpaccel.rtl.static_cache import STAGES, StaticCacheConfig, entry_layout

__all__ = ["PinnedTable", "pinned_table", "places"]


@dataclass(frozen=True, kw_only=True)
class PinnedTable:
    """Loads of a static cache.

    entries : every table entry as a number (entry_layout), 0 where none is
    lines : the row memory's lines as numbers, little-endian
    pinned : per stage the keys that got a place; left_out : those that did not
    """

    entries: tuple[int, ...]
    lines: tuple[int, ...]
    pinned: tuple[tuple[int, ...], ...]
    left_out: tuple[tuple[int, ...], ...]


def places(config: StaticCacheConfig, keys: Iterable[int]) -> list[int | None]:
    """Return a table entry for each key, None where there is none left for it.

    Earlier keys come first: a key loses its place to no later one, and moves to another of its
    places if that makes room. The keys with a place are as many as can be (a greedy matching in a
    transversal matroid), so this is also the set of greatest popularity if keys come by it.
    """
    wanted = list(keys)
    owner: dict[int, int] = {}  # entry: number of the key in it
    for number in range(len(wanted)):
        _give_place(config, wanted, owner, number)
    found: list[int | None] = [None] * len(wanted)
    for entry, number in owner.items():
        found[number] = entry
    return found


def _give_place(
    config: StaticCacheConfig, keys: Sequence[int], owner: dict[int, int], number: int
) -> None:
    """Move keys along a shortest path to a free entry, if there is one, and enter the key."""
    came_from: dict[int, tuple[int, int]] = {}  # entry: (the key that wants it, its entry now)
    queue = deque([(number, -1)])
    while queue:
        mover, now = queue.popleft()
        for way in range(config.ways):
            entry = config.index(keys[mover], way)
            if entry in came_from:
                continue
            came_from[entry] = (mover, now)
            if entry in owner:
                queue.append((owner[entry], entry))
                continue
            while entry != -1:
                owner[entry], entry = came_from[entry]
            return


def pinned_table(
    config: StaticCacheConfig,
    split: int,
    row_bytes: Sequence[int],
    rows: Sequence[Mapping[int, bytes]],
) -> PinnedTable:
    """Return the loads that pin `rows`, per stage a mapping from key to row, most popular first.

    split : int        lines of stage 0; its rows fill them from 0 up, stage 1's from the last down
    row_bytes : int[2] of each stage: a power of two, 4..line_bytes
    Left out: rows beyond the stage's lines, and those without a place in the table, in which the
    stages take turns, row by row.
    Raises ValueError if split, row_bytes or the length of a row is wrong.
    """
    if not 0 <= split <= config.lines:
        raise ValueError(f"split must be in 0..{config.lines}, not {split}")
    room = _room(config, split, row_bytes)
    chosen = [list(rows[stage])[: room[stage]] for stage in range(STAGES)]
    turns = sorted((turn, stage) for stage in range(STAGES) for turn in range(len(chosen[stage])))
    found = places(config, (chosen[stage][turn] for turn, stage in turns))
    layout, entries = entry_layout(config), [0] * config.entries
    lines = [bytearray(config.line_bytes) for _ in range(config.lines)]
    pinned: tuple[list[int], ...] = tuple([] for _ in range(STAGES))
    for (turn, stage), entry in zip(turns, found, strict=True):
        if entry is None:
            continue
        key, size = chosen[stage][turn], row_bytes[stage]
        row = rows[stage][key]
        if len(row) != size:
            raise ValueError(f"row {key} of stage {stage} must have {size} bytes, not {len(row)}")
        line, part = divmod(len(pinned[stage]), config.line_bytes // size)
        line = config.lines - 1 - line if stage else line
        lines[line][part * size : (part + 1) * size] = row
        entries[entry] = layout.const(
            {
                "valid": 1,
                "stage": stage,
                "tag": config.tag(key),
                "line": line,
                "word": part * size // 4,
            }
        ).as_bits()
        pinned[stage].append(key)
    kept = [set(keys) for keys in pinned]
    return PinnedTable(
        entries=tuple(entries),
        lines=tuple(int.from_bytes(line, "little") for line in lines),
        pinned=tuple(map(tuple, pinned)),
        left_out=tuple(
            tuple(key for key in rows[stage] if key not in kept[stage]) for stage in range(STAGES)
        ),
    )


def _room(config: StaticCacheConfig, split: int, row_bytes: Sequence[int]) -> list[int]:
    """Return how many rows each stage's lines hold."""
    for size in row_bytes:
        if not 4 <= size <= config.line_bytes or size & (size - 1):
            raise ValueError(
                f"row_bytes must be a power of two in 4..{config.line_bytes}, not {size}"
            )
    lines = (split, config.lines - split)
    return [lines[stage] * (config.line_bytes // row_bytes[stage]) for stage in range(STAGES)]
