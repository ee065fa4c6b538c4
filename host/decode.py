"""On-chip memories back to rankers: what a slot's program means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
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
    Interaction,
    Op,
    Pooling,
    Target,
    target_bits,
)
from rpaccel.spec.program_plan import ModelSizes, cross_rows, late_rows, pair_params

Memory = npt.NDArray[np.uint8]
Fields = dict[str, int]


def memory_entries(config: AcceleratorConfig) -> dict[Target, int]:
    """Return the number of entries of every on-chip memory."""
    return {
        Target.SLOT: config.model_slots,
        Target.PROGRAM: config.program_entries,
        Target.FEATURE: config.feature_entries,
        Target.WEIGHT: config.weight_words,
        Target.PARAM: config.block_rows * config.image_params,
        Target.PAIR: config.pair_entries,
        Target.EDGES: config.model_slots,
        Target.PIN_ENTRY: config.banks * config.pin_entries,
        Target.PIN_LINE: config.banks * config.pin_line_parts,
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
            target: bytearray(entries * target_bits(target, config.image_bytes) // 8)
            for target, entries in memory_entries(config).items()
        }

    def fill(self, section: Section) -> None:
        """Write a section; ValueError if it does not fit its memory."""
        entry_bytes = target_bits(section.target, self.config.image_bytes) // 8
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
        size = target_bits(target, self.config.image_bytes) // 8
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
        interact, features = program[place[0]], self._features(fields, memory)
        bottom, top = program[: place[0]], program[place[0] + 1 :]
        if not bottom or not top:
            raise ValueError(f"slot {slot}: INTERACT must stand between layers")
        dim, start = fields["row_bytes"], bottom[0]["words_a"] * self.config.array_size
        sizes = ModelSizes(
            dim=dim,
            user_dense=fields["user_dense_bytes"],
            item_dense=fields["item_dense_bytes"],
            user_tables=fields["user_features"],
            item_tables=fields["item_features"],
            bottom=(),
            top=(),
            interaction=Interaction(interact["kind"]),
            late_products=interact["words_a"],
        )
        dense_rows = [*range(sizes.user_dense), *range(start, start + sizes.item_dense)]
        multiplier, shift = self._pairs(interact["param_base"], pair_params(sizes))
        edges = EDGES.from_bytes(self.entry(Target.EDGES, slot))
        ranker = QuantisedRanker(
            name=f"slot {slot}",
            dim=dim,
            user_dense=sizes.user_dense,
            item_dense=sizes.item_dense,
            features=features,
            bottom=self._mlp(bottom, dense_rows, Destination.BOTTOM, dim),
            interaction=sizes.interaction,
            late_products=sizes.late_products,
            pair_multiplier=multiplier,
            pair_shift=shift,
            top=self._mlp(top, list(cross_rows(sizes)), Destination.SCORE, 1, late_rows(sizes)),
            edges=np.array([edges[f"edge{i}"] for i in range(BINS - 1)], dtype=np.int16),
            threshold=edges["threshold"],
        )
        tables = tuple(
            (raw["table_address"], raw["table_address"] + raw["rows"] * dim)
            for raw in self._raw_features(fields)
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
        self,
        steps: list[Fields],
        rows: list[int],
        destination: Destination,
        outputs: int,
        late: Sequence[int] = (),
    ) -> tuple[QuantisedLayer, ...]:
        """Return the layers of `steps`.

        The first reads `rows`; the last gives `outputs` channels to `destination`. Between them
        a layer is as wide as what the next one reads. late : bytes of CROSS that the last layer
        reads in front of that.
        """
        if not steps or steps[-1]["destination"] != destination:
            raise ValueError(f"the last layer of an MLP must write {destination.name}")
        layers = []
        size = self.config.array_size
        for step, following in zip_longest(steps, steps[1:]):
            width = following["words_b"] * size if following else outputs
            if following is None and late:
                behind = (step["words_a"] * size + row for row in rows)
                rows = [*(row - step["offset_a"] * size for row in late), *behind]
            layers.append(self._layer(step, rows, width))
            rows = list(range(width))
        return tuple(layers)

    def _layer(self, step: Fields, rows: list[int], width: int) -> QuantisedLayer:
        config, down = self.config, 1 << step["stack"]
        a, b, across = config.array_size, config.block_size, config.groups_across
        folds, steps, words = step["words_a"] + step["words_b"], step["n_steps"], self._words(step)
        if not config.groups_down <= down <= config.block_rows or width > steps * words * a:
            raise ValueError(
                f"a layer of {width} channels must have {steps} steps of {words} words"
            )
        height = config.block_rows // down  # block rows of a group
        count, entry = steps * folds * b, config.image_bytes
        blocks = np.zeros((config.block_rows, steps, folds, b, across * a), dtype=np.int8)
        for block_row, block in enumerate(blocks):
            start = (block_row * self.config.tile_weight_rows + step["weight_base"]) * entry
            raw = bytes(self.memories[Target.WEIGHT][start : start + count * entry])
            entries = np.frombuffer(raw, dtype=np.int8).reshape(count, entry)
            block[:] = entries[:, : across * a].reshape(block.shape)
        grouped = blocks.reshape(down, height, steps, folds, b, across, a)[:, :, :, :, ::-1]
        every = grouped.transpose(3, 1, 4, 2, 0, 5, 6).reshape(-1, steps, down * across, a)
        used = every[:, :, :words].reshape(folds * height * b, steps * words * a)
        weights = np.zeros((max(folds * a, max(rows) + 1), width), dtype=np.int8)
        weights[: len(used)] = used[:, :width]
        params = [self._param(step, channel) for channel in range(width)]
        return QuantisedLayer(
            weights=weights[np.array(rows)],
            bias=np.array([p["bias"] for p in params], dtype=np.int32),
            multiplier=np.array([p["multiplier"] for p in params], dtype=np.uint16),
            shift=np.array([p["shift"] for p in params], dtype=np.uint8),
            relu=bool(step["relu"]),
        )

    def _words(self, step: Fields) -> int:
        """Return the words that a layer gives per step: one per group, if they go to ACT."""
        if step["destination"] not in (Destination.ACT0, Destination.ACT1):
            return 1
        return self.config.groups_across << step["stack"]

    def _param(self, step: Fields, channel: int) -> Fields:
        """Return the PARAM fields of an output channel of a layer."""
        a, across = self.config.array_size, self.config.groups_across
        fold, word = divmod(channel // a, self._words(step))
        group, square = divmod(word, across)
        block_row = (group + 1) * (self.config.block_rows >> step["stack"]) - 1
        entry = (step["param_base"] + fold) * self.config.image_bytes + square * a + channel % a
        index = block_row * self.config.image_params + entry
        return PARAM.from_bytes(self.entry(Target.PARAM, index))

    def _pairs(self, base: int, count: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        pairs = [PAIR.from_bytes(self.entry(Target.PAIR, base + i)) for i in range(count)]
        multiplier = np.array([p["multiplier"] for p in pairs], dtype=np.uint16)
        return multiplier, np.array([p["shift"] for p in pairs], dtype=np.uint8)
