"""Rankers to device memory: image, tables, address map, manifest. The place that knows layouts.

Rankers are laid out one after the other in every on-chip memory; slot i holds ranker i.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.image import Section, encode_image
from rpaccel.host.model_layout import ModelLayout, layout_model
from rpaccel.host.program import SlotBases, slot_sections
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import ISA_VERSION, Target
from rpaccel.spec.stripe import stripe_map

TABLE_BASE = 0x1_0000  # below it nothing is mapped, so that a null address is refused
IMAGE_ALIGN = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedTable:
    """An embedding table in device memory: rows of `row_bytes`, the first at `address`."""

    model: str
    feature: str
    address: int
    rows: int
    row_bytes: int
    payload: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledModels:
    """What `Driver.load_models` needs.

    Attributes
    ----------
    names : model of each slot; rankers : the same, as compiled; layouts : sizes per slot.
    image, image_address : bytes for LOAD and where they must lie.
    tables : embedding tables and their addresses, ascending.
    base, limit : the address range that tables and image take, `limit` excluded.
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
    manifest: dict[str, Any]

    def slot(self, name: str) -> int:
        """Return the slot of model `name`; ValueError if there is none."""
        if name not in self.names:
            raise ValueError(f"model must be one of {', '.join(self.names)}, not {name!r}")
        return self.names.index(name)

    def segments(self) -> list[tuple[int, bytes]]:
        """Return (address, bytes) of everything that the host writes to device memory."""
        return [(t.address, t.payload) for t in self.tables] + [(self.image_address, self.image)]


def align(value: int, alignment: int) -> int:
    """Return `value` rounded up to a multiple of `alignment`."""
    return -(-value // alignment) * alignment


def _place_tables(
    rankers: Sequence[QuantisedRanker],
    layouts: Sequence[ModelLayout],
    config: AcceleratorConfig,
    base: int,
) -> list[PlacedTable]:
    placed, address = [], base
    for ranker, layout in zip(rankers, layouts, strict=True):
        row_bytes = layout.plan.row_bytes
        for feature in ranker.features:
            address = align(address, max(row_bytes, config.beat_bytes))
            rows = np.zeros((feature.rows, row_bytes), dtype=np.int8)
            rows[:, : ranker.dim] = feature.table
            payload = rows.tobytes()
            placed.append(
                PlacedTable(
                    model=ranker.name,
                    feature=feature.name,
                    address=address,
                    rows=feature.rows,
                    row_bytes=row_bytes,
                    payload=payload,
                )
            )
            address += len(payload)
    return placed


def _check_capacities(layouts: Sequence[ModelLayout], config: AcceleratorConfig) -> None:
    if len(layouts) > config.model_slots:
        raise ValueError(
            f"{config.name}: model_slots must be at least {len(layouts)} for "
            f"{', '.join(layout.name for layout in layouts)}, not {config.model_slots} "
            f"({len(layouts) - config.model_slots} too few)"
        )
    needs = {
        "weight_words": [layout.weight_words for layout in layouts],
        "param_entries": [layout.param_entries for layout in layouts],
        "pair_entries": [layout.pairs for layout in layouts],
        "program_entries": [layout.program_entries for layout in layouts],
        "feature_entries": [layout.features for layout in layouts],
    }
    for limit, parts in needs.items():
        available = getattr(config, limit)
        if sum(parts) > available:
            listed = ", ".join(
                f"{layout.name} {part}" for layout, part in zip(layouts, parts, strict=True)
            )
            raise ValueError(
                f"{config.name}: {limit} must be at least {sum(parts)} ({listed}), "
                f"not {available} ({sum(parts) - available} too few)"
            )


def compile_models(
    rankers: Sequence[QuantisedRanker],
    config: AcceleratorConfig,
    *,
    base: int = TABLE_BASE,
    sub_batch: int | None = None,
) -> CompiledModels:
    """Lay out `rankers` for a machine; ranker i goes to model slot i.

    base : first address of tables and image [B]. Same input, same bytes.
    sub_batch : items that the machine takes at a time; None: what takes a stage of
    config.max_items the fewest cycles (perfmodel.sub_batch).
    Raises ValueError that names the limit, the need and the excess.
    """
    names = tuple(ranker.name for ranker in rankers)
    if not names:
        raise ValueError("rankers must hold at least one ranker, not 0")
    if len(set(names)) != len(names):
        raise ValueError(f"model names must differ, not {', '.join(names)}")
    layouts = tuple(layout_model(ranker, config, sub_batch) for ranker in rankers)
    _check_capacities(layouts, config)
    tables = _place_tables(rankers, layouts, config, base)
    addresses = {(table.model, table.feature): table.address for table in tables}
    if len(addresses) != len(tables):
        raise ValueError("feature names of a model must differ")
    sections: list[Section] = []
    bases = SlotBases()
    for slot, (ranker, layout) in enumerate(zip(rankers, layouts, strict=True)):
        sections += slot_sections(slot, ranker, layout, bases, addresses)
        bases = bases.after(layout)
    sections.sort(key=lambda section: (section.target is Target.SLOT, section.target))
    image = encode_image(sections, config.image_bytes)
    end = tables[-1].address + len(tables[-1].payload)
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
        manifest=_manifest(config, layouts, tables, image, image_address, base, limit),
    )


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
                "bytes": len(table.payload),
                "row_version_field": None,
                "version": 1,
            }
            for table in tables
        ],
        "regions": [
            {"name": "tables", "base": base, "limit": image_address, "permission": "read"},
            {"name": "image", "base": image_address, "limit": limit, "permission": "read"},
        ],
    }
