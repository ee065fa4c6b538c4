"""A sweep of a design space: chunks on any executor, Parquet, the front; goes on where it stopped.

The folder of a sweep:

    sweep.json            the resolved spec, and a digest of it and of the model
    hits.json             hit rates of the caches, found before the first chunk
    journal.jsonl         a line per chunk that is done
    parts/*.parquet       a file per chunk; all of them are the table of the points
    front.parquet         the front
    summary.json, *.png

A chunk is done when its line is in the journal, which is written after its file. What is not done
is evaluated (again), so that every point is there once, however often a sweep is interrupted.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any

from rpaccel.cache import source_digest
from rpaccel.perfmodel.design_space import HitKey, HitRates
from rpaccel.perfmodel.sweep_chunks import (
    CHUNK_FRONT,
    CHUNK_POINTS,
    ChunkResult,
    chunk_bounds,
    hit_rates,
    run_chunk,
    space_of,
)
from rpaccel.perfmodel.sweep_front import front_mask
from rpaccel.spec.platform import load_platform
from rpaccel.spec.sweep import SweepSpec

__all__ = ["Sweep", "run_sweep"]

ROOMS = ("spec", "perfmodel")  # the model: its parts are not mixed with those of another
Progress = Callable[[int, int], None]


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    part = path.with_suffix(f"{path.suffix}.tmp")
    part.write_bytes(data)
    os.replace(part, path)


class Sweep:
    """A sweep and its folder.

    Parameters
    ----------
    spec : SweepSpec
    folder : Path  Made if it is missing. Raises ValueError if it holds another sweep.
    chunk_points : int  Points of a chunk, about.
    """

    def __init__(self, spec: SweepSpec, folder: Path, *, chunk_points: int = CHUNK_POINTS) -> None:
        self.spec, self.folder = spec, folder
        self.json = spec.model_dump_json(by_alias=True)
        self.space = space_of(self.json)
        self.bounds = chunk_bounds(self.space, chunk_points)
        self.parts = folder / "parts"
        self._journal = folder / "journal.jsonl"
        self._claim({"spec": json.loads(self.json), "chunk_points": chunk_points})
        self.hits: list[tuple[HitKey, HitRates]] = []
        self.done = self._read_journal()

    def _claim(self, asked: dict[str, Any]) -> None:
        """Write sweep.json, or check that it is the same."""
        text = json.dumps(asked, sort_keys=True) + source_digest(ROOMS)
        asked["digest"] = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / "sweep.json"
        self.parts.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write(path, (json.dumps(asked, indent=1, sort_keys=True) + "\n").encode())
        elif json.loads(path.read_text()).get("digest") != asked["digest"]:
            raise ValueError(
                f"out must be a new folder or hold the same sweep of the same model: {self.folder} "
                "holds another one; remove it or name another"
            )
        for torn in self.folder.rglob("*.tmp"):
            torn.unlink()

    def _read_journal(self) -> dict[int, dict[str, Any]]:
        """Return the lines of the chunks that are done; a line that is torn is none."""
        done: dict[int, dict[str, Any]] = {}
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if self._part(entry["chunk"]).exists():
                done[entry["chunk"]] = entry
        self._write_journal(done)
        return done

    def _write_journal(self, done: dict[int, dict[str, Any]]) -> None:
        lines = "".join(json.dumps(done[number]) + "\n" for number in sorted(done))
        _write(self._journal, lines.encode())

    def _part(self, number: int) -> Path:
        return self.parts / f"part-{number:06d}.parquet"

    @property
    def points_done(self) -> int:
        """Points of the chunks that are done, those that cannot be included."""
        return sum(stop - first for first, stop in map(self.bounds.__getitem__, self.done))

    def run(
        self, executor: Executor | None, *, in_flight: int = 4, progress: Progress | None = None
    ) -> None:
        """Evaluate what is not done on `executor` (None: here); raises what a chunk raises.

        in_flight : chunks that are asked for at a time.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, not {in_flight}")
        todo = [number for number in range(len(self.bounds)) if number not in self.done]
        if todo:
            self.hits = self._find_hits(executor)
        if progress:
            progress(self.points_done, self.space.points)
        for result in self._results(todo, executor, in_flight):
            self._keep(result)
            if progress:
                progress(self.points_done, self.space.points)
        self._write_journal(self.done)

    def _find_hits(self, executor: Executor | None) -> list[tuple[HitKey, HitRates]]:
        """Return the rates in hits.json, which is written if it is missing."""
        path = self.folder / "hits.json"
        if not path.exists():
            beats = self.spec.axes.beat_bytes
            if executor is None:
                found = [hit_rates(self.json, beat) for beat in beats]
            else:
                asked = [executor.submit(hit_rates, self.json, beat) for beat in beats]
                found = [future.result() for future in asked]
            entries = [{"key": key, "rates": rates} for part in found for key, rates in part]
            _write(path, (json.dumps(entries, indent=1) + "\n").encode())
        return [
            (tuple(entry["key"]), tuple(entry["rates"])) for entry in json.loads(path.read_text())
        ]

    def _results(
        self, todo: list[int], executor: Executor | None, in_flight: int
    ) -> Iterator[ChunkResult]:
        if executor is None:
            for number in todo:
                yield run_chunk(self.json, self.hits, number, *self.bounds[number])
            return
        waiting, flying = iter(todo), set[Future[ChunkResult]]()
        try:
            while True:
                for number in waiting:
                    flying.add(self._submit(executor, number))
                    if len(flying) >= in_flight:
                        break
                if not flying:
                    return
                ready, flying = wait(flying, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        finally:
            for future in flying:
                future.cancel()

    def _submit(self, executor: Executor, number: int) -> Future[ChunkResult]:
        return executor.submit(run_chunk, self.json, self.hits, number, *self.bounds[number])

    def _keep(self, result: ChunkResult) -> None:
        """Write a chunk's file, then its line."""
        _write(self._part(result.number), result.table)
        entry = {
            "chunk": result.number, "points": result.points, "pairs": result.pairs,
            "slower": result.slower, "worst": result.worst,
        }  # fmt: skip
        with self._journal.open("a") as journal:
            journal.write(json.dumps(entry) + "\n")
        self.done[result.number] = entry

    def table(self) -> Any:
        """Return all points, as a polars LazyFrame."""
        import polars as pl  # noqa: PLC0415  (slow import)

        return pl.scan_parquet([self._part(number) for number in sorted(self.done)])

    def front(self) -> Any:
        """Return the front, as a polars DataFrame: ascending by the first objective."""
        import polars as pl  # noqa: PLC0415  (slow import)

        rows = self.table().filter(pl.col(CHUNK_FRONT)).drop(CHUNK_FRONT).collect()
        used = self.spec.front
        names = (*used.minimise, *used.maximise, *used.within)
        columns = {
            name: (column.to_physical() if column.dtype == pl.Enum else column).to_numpy()
            for name, column in ((name, rows[name]) for name in names)
        }
        kept = rows.filter(pl.Series(front_mask(columns, used), dtype=pl.Boolean))
        return kept.sort([*used.within, *used.minimise, *used.maximise, "number"])


def run_sweep(
    spec: SweepSpec,
    out: Path,
    executor: Executor | None = None,
    *,
    chunk_points: int = CHUNK_POINTS,
    in_flight: int = 4,
    progress: Progress | None = None,
    plots: bool = True,
) -> dict[str, Any]:
    """Run a sweep, or the rest of it, into the folder `out`; return summary.json's values.

    executor : of concurrent.futures, or like one (dask.distributed.Client.get_executor()).
    """
    from rpaccel.perfmodel.sweep_plots import write_plots  # noqa: PLC0415  (slow import)

    sweep = Sweep(spec, out, chunk_points=chunk_points)
    sweep.run(executor, in_flight=in_flight, progress=progress)
    if not any(entry["points"] for entry in sweep.done.values()):
        raise ValueError(f"axes must have a point that can be: none of {sweep.space.points} can")
    front = sweep.front()
    _write(out / "front.parquet", _parquet_bytes(front))
    clock_hz = load_platform("paper").accelerator.clock_hz
    done = sweep.done.values()
    summary = {
        "name": spec.name,
        "numbers": sweep.space.points,
        "points": sum(entry["points"] for entry in done),
        "clock_hz": clock_hz,
        "front": len(front),
        "bandwidth_pairs": sum(entry["pairs"] for entry in done),
        "bandwidth_slower": sum(entry["slower"] for entry in done),
        "bandwidth_worst": max(entry["worst"] for entry in done),
        "files": write_plots(sweep, front, clock_hz, out) if plots else [],
    }
    _write(out / "summary.json", (json.dumps(summary, indent=1, sort_keys=True) + "\n").encode())
    return summary


def _parquet_bytes(table: Any) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file, compression="zstd", compression_level=1)
    return file.getvalue()
