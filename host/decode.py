"""On-chip memories back to rankers: what a slot's program means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from rpaccel.golden.quantised import QuantisedFeature, QuantisedLayer, QuantisedRanker
from rpaccel.host.image import Section
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import (
    BINS,
    EDGES,
    FEATURE,
    INSTRUCTION,
    PAIR,
    PARAM,
    SLOT,
    Destination,
    Op,
    Pooling,
    Target,
    target_bits,
)

Memory = npt.NDArray[np.uint8]
Fields = dict[str, int]


def memory_entries(config: AcceleratorConfig) -> dict[Target, int]:
    """Return the number of entries of every on-chip memory."""
    return {
        Target.SLOT: config.model_slots,
        Target.PROGRAM: config.program_entries,
        Target.FEATURE: config.feature_entries,
        Target.WEIGHT: config.weight_words,
        Target.PARAM: config.param_entries,
        Target.PAIR: config.pair_entries,
        Target.EDGES: config.model_slots,
    }


@dataclass(frozen=True)
class DecodedSlot:
    """A slot as a ranker, and the address range of each of its tables."""

    ranker: QuantisedRanker
    sub_batch: int
    tables: tuple[tuple[int, int], ...]


class OnChip:
    """The on-chip memories of a lane, filled by images."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        self.memories: dict[Target, bytearray] = {
            target: bytearray(entries * target_bits(target, config.array_size) // 8)
            for target, entries in memory_entries(config).items()
        }

    def fill(self, section: Section) -> None:
        """Write a section; ValueError if it does not fit its memory."""
        entry_bytes = target_bits(section.target, self.config.array_size) // 8
        start = section.start * entry_bytes
        end, memory = start + len(section.payload), self.memories[section.target]
        if end > len(memory):
            raise ValueError(
                f"a {section.target.name} section must end at entry "
                f"{len(memory) // entry_bytes}, not {end // entry_bytes}"
            )
        memory[start:end] = section.payload

    def entry(self, target: Target, index: int) -> bytes:
        """Return one entry's bytes."""
        size = target_bits(target, self.config.array_size) // 8
        return bytes(self.memories[target][index * size : (index + 1) * size])

    def decode(self, slot: int, memory: Memory) -> DecodedSlot | None:
        """Return the ranker in `slot`, its tables being views of device `memory`.

        None for a slot that is not valid or has empty sub-batches. ValueError for contents that
        are no DLRM program, or for a table outside `memory`. `dim` is row_bytes: bytes past the
        model's own are zeros.
        """
        fields = SLOT.from_bytes(self.entry(Target.SLOT, slot))
        if not fields["valid"] or not fields["sub_batch"]:
            return None
        program = [
            INSTRUCTION.from_bytes(self.entry(Target.PROGRAM, fields["program_base"] + i))
            for i in range(fields["program_length"])
        ]
        place = [index for index, step in enumerate(program) if step["op"] == Op.INTERACT]
        if len(place) != 1 or any(s["op"] not in (Op.LAYER, Op.INTERACT) for s in program):
            raise ValueError(f"slot {slot}: a program must be layers around one INTERACT")
        features = self._features(fields, memory)
        dim = fields["row_bytes"]
        tables = tuple(
            (raw["table_address"], raw["table_address"] + raw["rows"] * dim)
            for raw in self._raw_features(fields)
        )
        interact = program[place[0]]
        dense_rows = [
            *range(fields["user_dense_bytes"]),
            *(
                fields["user_dense_words"] * self.config.array_size + i
                for i in range(fields["item_dense_bytes"])
            ),
        ]
        bottom = self._mlp(program[: place[0]], dense_rows, dim)
        vectors = 1 + len(features)
        pairs = vectors * (vectors - 1) // 2
        offset = interact["vector_words"] * self.config.array_size
        top_rows = [*range(dim), *(offset + p for p in range(pairs))]
        multiplier, shift = self._pairs(interact["param_base"], pairs)
        edges = EDGES.from_bytes(self.entry(Target.EDGES, slot))
        ranker = QuantisedRanker(
            name=f"slot {slot}",
            dim=dim,
            user_dense=fields["user_dense_bytes"],
            item_dense=fields["item_dense_bytes"],
            features=features,
            bottom=bottom,
            pair_multiplier=multiplier,
            pair_shift=shift,
            top=self._mlp(program[place[0] + 1 :], top_rows, 1),
            edges=np.array([edges[f"edge{i}"] for i in range(BINS - 1)], dtype=np.int16),
            threshold=edges["threshold"],
        )
        return DecodedSlot(ranker=ranker, sub_batch=fields["sub_batch"], tables=tables)

    def _raw_features(self, slot: Fields) -> list[Fields]:
        count = slot["user_features"] + slot["item_features"]
        return [
            FEATURE.from_bytes(self.entry(Target.FEATURE, slot["feature_base"] + i))
            for i in range(count)
        ]

    def _features(self, slot: Fields, memory: Memory) -> tuple[QuantisedFeature, ...]:
        features = []
        for index, raw in enumerate(self._raw_features(slot)):
            side: Literal["user", "item"] = "user" if index < slot["user_features"] else "item"
            start, length = raw["table_address"], raw["rows"] * slot["row_bytes"]
            if start + length > memory.size:
                raise ValueError(f"feature {index}: table must end inside {memory.size:#x}")
            table = memory[start : start + length].view(np.int8).reshape(-1, slot["row_bytes"])
            features.append(
                QuantisedFeature(
                    name=f"feature {index}",
                    side=side,
                    table=table,
                    word=raw["word"],
                    multi_hot=bool(raw["multi_hot"]),
                    max_ids=raw["max_ids"],
                    pooling=Pooling(raw["pooling"]),
                    multiplier=raw["multiplier"],
                    shift=raw["shift"],
                )
            )
        return tuple(features)

    def _mlp(
        self, steps: list[Fields], rows: list[int], outputs: int
    ) -> tuple[QuantisedLayer, ...]:
        """Return the layers of `steps`; the first reads `rows`, the last has `outputs` channels."""
        layers = []
        for index, step in enumerate(steps):
            last = index == len(steps) - 1
            width = outputs if last else step["n_folds"] * self.config.array_size
            layers.append(self._layer(step, rows, width))
            rows = list(range(width))
            if last and outputs == 1 and step["destination"] != Destination.SCORE:
                raise ValueError("the last layer must write SCORE")
        return tuple(layers)

    def _layer(self, step: Fields, rows: list[int], width: int) -> QuantisedLayer:
        a = self.config.array_size
        folds, outputs = step["user_words"] + step["words"], step["n_folds"]
        start, size = step["weight_base"] * a, outputs * folds * a * a
        raw = bytes(self.memories[Target.WEIGHT][start : start + size])
        tiles = np.frombuffer(raw, dtype=np.int8).reshape(outputs, folds, a, a)
        weights = tiles.transpose(1, 2, 0, 3).reshape(folds * a, outputs * a)
        params = [
            PARAM.from_bytes(self.entry(Target.PARAM, step["param_base"] + i)) for i in range(width)
        ]
        return QuantisedLayer(
            weights=weights[np.array(rows), :width].copy(),
            bias=np.array([p["bias"] for p in params], dtype=np.int32),
            multiplier=np.array([p["multiplier"] for p in params], dtype=np.uint16),
            shift=np.array([p["shift"] for p in params], dtype=np.uint8),
            relu=bool(step["relu"]),
        )

    def _pairs(self, base: int, count: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        pairs = [PAIR.from_bytes(self.entry(Target.PAIR, base + i)) for i in range(count)]
        multiplier = np.array([p["multiplier"] for p in pairs], dtype=np.uint16)
        return multiplier, np.array([p["shift"] for p in pairs], dtype=np.uint8)
