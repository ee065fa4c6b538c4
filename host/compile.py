"""Rankers to device memory: image, tables, address map, manifest. The place that knows layouts.

Rankers are laid out one after the other in every on-chip memory; slot i holds ranker i.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.capacity import check_capacities
from rpaccel.host.image import Section, encode_image
from rpaccel.host.model_layout import ModelLayout, layout_model
from rpaccel.host.program import SlotBases, slot_sections
from rpaccel.host.row_pins import Pins, PinSections, pin_sections
from rpaccel.host.update_queue import PlacedUpdate
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import ISA_VERSION, Target
from rpaccel.spec.stripe import stripe_map

TABLE_BASE = 0x1_0000  # below it nothing is mapped, so that a null address is refused
IMAGE_ALIGN = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedTable:
    """An embedding table in device memory: rows of `row_bytes`, the first at `address`.

    values : int8[rows, dim]. versions_address : of a uint32 for each row, its version; 0: rows are
    not updated.
    """

    model: str
    feature: str
    address: int
    row_bytes: int
    values: npt.NDArray[np.int8]
    versions_address: int

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(self.values)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.rows * self.row_bytes

    @cached_property
    def payload(self) -> bytes:
        """The rows as they lie in memory, each followed by zeros."""
        rows = np.zeros((self.rows, self.row_bytes), dtype=np.int8)
        rows[:, : self.values.shape[1]] = self.values
        return rows.tobytes()


@dataclass(frozen=True, kw_only=True, eq=False)
class RowUpdate:
    """A new version of an embedding row.

    values : int8[dim]  of the model's quantised table. version : int  1..2**32 - 1; a row that is
    loaded has version 0.
    """

    model: str
    feature: str
    row: int
    values: npt.NDArray[np.int8]
    version: int


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledModels:
    """What `Driver.load_models` needs.

    Attributes
    ----------
    names : model of each slot; rankers : the same, as compiled; layouts : sizes per slot.
    image, image_address : bytes for LOAD and where they must lie.
    tables : embedding tables and their addresses, ascending.
    base, limit : the address range that tables and image take, `limit` excluded.
    static_split : lines of every static cache that are the front end's.
    manifest : JSON-ready description with addresses, sizes, ports, versions.
    """

    config: AcceleratorConfig
    names: tuple[str, ...]
    rankers: tuple[QuantisedRanker, ...]
    layouts: tuple[ModelLayout, ...]
    sections: tuple[Section, ...]
    image: bytes
    image_address: int
    tables: tuple[PlacedTable, ...]
    base: int
    limit: int
    static_split: int
    manifest: dict[str, Any]

    @property
    def live(self) -> bool:
        """Whether rows may be updated."""
        return any(table.versions_address for table in self.tables)

    def table(self, model: str, feature: str) -> PlacedTable:
        """Return the table of a model's feature; ValueError if there is none."""
        for table in self.tables:
            if (table.model, table.feature) == (model, feature):
                return table
        known = ", ".join(table.feature for table in self.tables if table.model == model)
        raise ValueError(f"feature of {model} must be one of {known}, not {feature!r}")

    def place_update(self, update: RowUpdate) -> PlacedUpdate:
        """Return where an update goes; ValueError for what is not there or does not fit."""
        table = self.table(update.model, update.feature)
        dim = self.rankers[self.slot(update.model)].dim
        if not table.versions_address:
            raise ValueError(f"{update.model} must be compiled with live=True for row updates")
        if not 0 <= update.row < table.rows:
            raise ValueError(f"row must be in 0..{table.rows - 1}, not {update.row}")
        if not 1 <= update.version < 1 << 32:
            raise ValueError(f"version must be in 1..{(1 << 32) - 1}, not {update.version}")
        values = np.asarray(update.values)
        if values.shape != (dim,) or values.dtype != np.int8:
            raise ValueError(f"values must be int8[{dim}], not {values.dtype}{list(values.shape)}")
        return PlacedUpdate(
            address=table.address + update.row * table.row_bytes,
            payload=values.tobytes() + bytes(table.row_bytes - dim),
            version=update.version,
            version_address=table.versions_address + 4 * update.row,
        )

    def slot(self, name: str) -> int:
        """Return the slot of model `name`; ValueError if there is none."""
        if name not in self.names:
            raise ValueError(f"model must be one of {', '.join(self.names)}, not {name!r}")
        return self.names.index(name)

    def segments(self) -> list[tuple[int, bytes]]:
        """Return (address, bytes) of everything that the host writes to device memory."""
        versions = [(t.versions_address, bytes(4 * t.rows)) for t in self.tables]
        return [
            *((t.address, t.payload) for t in self.tables),
            *((address, payload) for address, payload in versions if address),
            (self.image_address, self.image),
        ]


def align(value: int, alignment: int) -> int:
    """Return `value` rounded up to a multiple of `alignment`."""
    return -(-value // alignment) * alignment


def _place_tables(
    rankers: Sequence[QuantisedRanker],
    layouts: Sequence[ModelLayout],
    config: AcceleratorConfig,
    base: int,
    live: bool,
) -> list[PlacedTable]:
    placed, address = [], base
    for ranker, layout in zip(rankers, layouts, strict=True):
        row_bytes = layout.plan.row_bytes
        for feature in ranker.features:
            address = align(address, max(row_bytes, config.beat_bytes))
            end = address + feature.rows * row_bytes
            versions = align(end, 64) if live else 0
            placed.append(
                PlacedTable(
                    model=ranker.name,
                    feature=feature.name,
                    address=address,
                    row_bytes=row_bytes,
                    values=feature.table,
                    versions_address=versions,
                )
            )
            address = versions + 4 * feature.rows if live else end
    return placed


def compile_models(
    rankers: Sequence[QuantisedRanker],
    config: AcceleratorConfig,
    *,
    base: int = TABLE_BASE,
    sub_batch: int | None = None,
    live: bool = False,
    pins: Pins | None = None,
    beside: Sequence[CompiledModels] = (),
) -> CompiledModels:
    """Lay out `rankers` for a machine; ranker i goes to model slot i.

    base : first address of tables and image [B]. Same input, same bytes.
    sub_batch : items that the machine takes at a time; None: what takes a stage of
    config.max_items the fewest cycles (perfmodel.sub_batch).
    live : rows have versions and may be updated while queries run.
    pins : rows for the static caches; None: none. They are those of the machine, not of a lane.
    beside : models of other lanes, loaded before, whose rows may be pinned as well.
    Raises ValueError that names every limit that is exceeded, the need and the excess.
    """
    names = tuple(ranker.name for ranker in rankers)
    if not names:
        raise ValueError("rankers must hold at least one ranker, not 0")
    if len(set(names)) != len(names):
        raise ValueError(f"model names must differ, not {', '.join(names)}")
    check_capacities({ranker.name: ranker.sizes for ranker in rankers}, config)
    layouts = tuple(layout_model(ranker, config, sub_batch) for ranker in rankers)
    tables = _place_tables(rankers, layouts, config, base, live)
    addresses = {(table.model, table.feature): table.address for table in tables}
    if len(addresses) != len(tables):
        raise ValueError("feature names of a model must differ")
    sections: list[Section] = []
    bases = SlotBases()
    for slot, (ranker, layout) in enumerate(zip(rankers, layouts, strict=True)):
        sections += slot_sections(slot, ranker, layout, bases, addresses)
        bases = bases.after(layout)
    others = [table for each in beside for table in each.tables]
    pinned = _pin(config, [*tables, *others], pins) if pins else None
    if pinned:
        sections += pinned.sections
    sections.sort(key=lambda section: (section.target is Target.SLOT, section.target))
    image = encode_image(sections, config.image_bytes)
    last = tables[-1]
    end = max(last.address + last.size, last.versions_address + 4 * last.rows)
    image_address = align(end, IMAGE_ALIGN)
    limit = align(image_address + len(image), IMAGE_ALIGN)
    space = 1 << config.axi_address_bits
    if limit > space:
        raise ValueError(
            f"{config.name}: axi_address_bits must reach {limit:#x}, not {space:#x} "
            f"({limit - space} B too few)"
        )
    return CompiledModels(
        config=config,
        names=names,
        rankers=tuple(rankers),
        layouts=layouts,
        sections=tuple(sections),
        image=image,
        image_address=image_address,
        tables=tuple(tables),
        base=base,
        limit=limit,
        static_split=pins.split if pins else 0,
        manifest=_manifest(config, layouts, tables, image, image_address, base, limit)
        | (_pin_summary(config, pins, pinned) if pins and pinned else {}),
    )


def _pin(config: AcceleratorConfig, tables: Sequence[PlacedTable], pins: Pins) -> PinSections:
    """Return the sections of rows by name; ValueError for a row that there is not."""
    placed = {(table.model, table.feature): table for table in tables}
    rows: list[dict[int, bytes]] = []
    for named in pins.rows:
        found = {}
        for model, feature, row in named:
            table = placed.get((model, feature))
            if table is None or not 0 <= row < table.rows:
                raise ValueError(f"pins must name rows of the models, not {model}.{feature}[{row}]")
            start = row * table.row_bytes
            found[table.address + start] = table.payload[start : start + table.row_bytes]
        rows.append(found)
    return pin_sections(config, pins.split, rows, pins.banks)


def _pin_summary(config: AcceleratorConfig, pins: Pins, pinned: PinSections) -> dict[str, Any]:
    return {
        "static_caches": {
            "split": pins.split,
            "banks": config.banks if pins.banks is None else pins.banks,
            "pinned_beats": list(pinned.pinned),
            "left_out_beats": list(pinned.left_out),
        }
    }


def _manifest(
    config: AcceleratorConfig,
    layouts: Sequence[ModelLayout],
    tables: Sequence[PlacedTable],
    image: bytes,
    image_address: int,
    base: int,
    limit: int,
) -> dict[str, Any]:
    return {
        "isa_version": ISA_VERSION,
        "accelerator": {"name": config.name, "digest": config.digest},
        "ports": [
            {"name": f"m_axi{port}", "data_bits": config.axi_data_bits}
            for port in range(config.memory_ports)
        ],
        "stripe_map": stripe_map(config),
        "image": {
            "address": image_address,
            "bytes": len(image),
            "sha256": hashlib.sha256(image).hexdigest(),
        },
        "models": [layout.summary(slot) for slot, layout in enumerate(layouts)],
        "tables": [
            {
                "model": table.model,
                "feature": table.feature,
                "address": table.address,
                "rows": table.rows,
                "row_bytes": table.row_bytes,
                "bytes": table.size,
                "versions_address": table.versions_address or None,
            }
            for table in tables
        ],
        "regions": [
            {"name": "tables", "base": base, "limit": image_address, "permission": "read"},
            {"name": "image", "base": image_address, "limit": limit, "permission": "read"},
        ],
    }
