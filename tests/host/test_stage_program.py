"""Images run word by word, as the instructions say, against the golden model of a stage."""

import numpy as np
import pytest

from rpaccel.golden.gather import gather_side, item_records, records_of
from rpaccel.golden.interaction import interact
from rpaccel.golden.lane import rank
from rpaccel.golden.requantise import requantise
from rpaccel.host.compile import compile_models
from rpaccel.host.decode import OnChip
from rpaccel.host.image import decode_image
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import (
    INSTRUCTION,
    PAIR,
    PARAM,
    SLOT,
    Destination,
    Interaction,
    Op,
    Source,
    Target,
)
from rpaccel.workloads import random_models

ITEMS = 5
WORDS = 4096
TINY = load_accelerator("tiny").model_copy(
    update={"weight_words": 1 << 15, "param_entries": 4096, "pair_entries": 512, "max_dim": 128,
            "act_words": 1024, "cross_words": 1024, "feature_words": 1024, "dense_words": 128,
            "user_words": 256}
)  # fmt: skip
GRID = TINY.model_copy(update={"array_size": 32})
SPLIT = GRID.model_copy(update={"lanes": 5, "lane_blocks": (4, (2, 8), (4, 1), (4, 8), (8, 2))})
LANES = [SPLIT.lane(n) for n in range(5)]  # rectangles of 8 x 8 blocks


class Machine:
    """The memories of a lane as int64[words, A], word 0 the first of a sub-batch."""

    def __init__(self, config, chip, slot):
        self.config, self.chip = config, chip
        self.slot = SLOT.from_bytes(chip.entry(Target.SLOT, slot))
        garbage = np.random.default_rng(0)
        self.memory = {
            place: garbage.integers(-127, 128, (WORDS, config.array_size))
            for place in (*Source, Destination.BOTTOM)
        }

    def place(self, memory, values, stride):
        """Write values[n, bytes] from word n * stride on, the last word filled with zeros."""
        size = self.config.array_size
        for n, row in enumerate(values):
            words = -(-len(row) // size)
            padded = np.pad(row, (0, words * size - len(row))).reshape(words, size)
            self.memory[memory][n * stride : n * stride + words] = padded

    def read(self, memory, words, stride, offset=0):
        """Return int64[items, words * A]."""
        rows = offset + np.arange(ITEMS)[:, None] * stride + np.arange(words)
        return self.memory[memory][rows].reshape(ITEMS, -1)

    def run(self, vectors):
        """Return the logits of ITEMS items with vectors[items, F - 1, row_bytes]."""
        for index in range(self.slot["program_length"]):
            raw = self.chip.entry(Target.PROGRAM, self.slot["program_base"] + index)
            step = INSTRUCTION.from_bytes(raw)
            if step["op"] == Op.INTERACT:
                self.interact(step, vectors)
            else:
                logits = self.layer(step)
        return logits

    def interact(self, step, vectors):
        row_bytes = self.slot["row_bytes"]
        words = -(-row_bytes // self.config.array_size)
        bottom = self.read(Destination.BOTTOM, words, words)[:, None, :row_bytes]
        inputs = np.concatenate([bottom, vectors], axis=1)
        tables, users = vectors.shape[1], step["user_vectors"]
        counts = {
            Interaction.DOT: (tables + 1) * tables // 2,
            Interaction.CONCAT: 0,
            Interaction.PRODUCT: min(users, step["item_vectors"]),
        }
        entries = [
            PAIR.from_bytes(self.chip.entry(Target.PAIR, step["param_base"] + p))
            for p in range(counts[Interaction(step["kind"])])
        ]
        made = interact(
            inputs,
            np.array([e["multiplier"] for e in entries], dtype=np.int64),
            np.array([e["shift"] for e in entries], dtype=np.int64),
            Interaction(step["kind"]),
            users,
        )
        self.place(Source.CROSS, made, step["destination_stride"])

    def layer(self, step):
        config, a, b = self.config, self.config.array_size, self.config.block_size
        parts = [np.zeros((ITEMS, 0), np.int64)]
        for letter in "ab":
            stride = 0 if step[f"source_{letter}"] == Source.USER else step[f"stride_{letter}"]
            words, offset = step[f"words_{letter}"], step[f"offset_{letter}"]
            parts.append(self.read(step[f"source_{letter}"], words, stride, offset))
        x = np.concatenate(parts, axis=1)
        down, folds = 1 << step["stack"], x.shape[1] // a
        across, height = config.groups_across, config.block_rows // down
        stride = step["destination_stride"]
        is_act = step["destination"] in (Destination.ACT0, Destination.ACT1)
        step_words = down * across if is_act else 1
        assert down >= config.groups_down and height * b <= a
        assert stride == step["n_steps"] * step_words
        for word in range(stride):
            n, group = divmod(word, step_words)
            g, square = divmod(group, across)
            sums = np.zeros((ITEMS, a), np.int64)
            for k in range(folds):
                for i in range(height):
                    start = (g * height + i) * self.config.tile_weight_rows + step["weight_base"]
                    for r in range(b):
                        row = start + (n * folds + k) * b + b - 1 - r
                        weights = np.frombuffer(self.chip.entry(Target.WEIGHT, row), np.int8)
                        weights = weights[square * a : (square + 1) * a].astype(np.int64)
                        sums += np.outer(x[:, k * a + i * b + r], weights)
            first = ((g + 1) * height - 1) * self.config.image_params
            first += (step["param_base"] + n) * self.config.image_bytes + square * a
            params = [PARAM.from_bytes(self.chip.entry(Target.PARAM, first + c)) for c in range(a)]
            out = [[p[name] for p in params] for name in ("bias", "multiplier", "shift")]
            if step["destination"] == Destination.SCORE:
                return requantise(sums + out[0], out[1], out[2], -32768, 32767)[:, 0]
            low = 0 if step["relu"] else -127
            result = requantise(sums + out[0], out[1], out[2], low, 127)
            places = {Destination.ACT0: Source.ACT0, Destination.ACT1: Source.ACT1}
            place = places.get(step["destination"], Destination.BOTTOM)
            self.memory[place][np.arange(ITEMS) * stride + word] = result
        return None


SHAPES = [
    {},
    {"user_dense": 0, "item_dense": 7, "bottom": (150, 70), "dim": 20, "top": (90,)},
    {"user_dense": 3, "item_dense": 0, "bottom": (), "dim": 40, "item_tables": 4},
    {"user_dense": 9, "item_dense": 33, "bottom": (16, 100), "dim": 5, "top": (4, 70, 3)},
    {"user_tables": 3, "item_tables": 1, "bottom": (4, 200, 3), "dim": 4, "top": ()},
]


CONFIGS = pytest.mark.parametrize("config", [TINY, GRID, *LANES], ids=lambda c: c.name)


@pytest.mark.parametrize("kind", list(Interaction), ids=lambda kind: kind.name)
@CONFIGS
@pytest.mark.parametrize("sizes", SHAPES)
def test_a_slot_run_by_its_instructions(sizes, config, kind):
    run_by_instructions(sizes, config, kind)


LATE_SHAPES = [
    {"dim": 4, "user_tables": 1, "item_tables": 1, "late_products": 1},
    {"dim": 20, "user_tables": 3, "item_tables": 4, "late_products": 2, "top": (70, 9)},
    {"dim": 5, "user_tables": 4, "item_tables": 3, "late_products": 3, "top": (3, 40)},
]


@CONFIGS
@pytest.mark.parametrize("sizes", LATE_SHAPES)
def test_late_products_reach_the_last_layer(sizes, config):
    run_by_instructions(sizes, config, Interaction.PRODUCT)


def run_by_instructions(sizes, config, kind):
    rng = np.random.default_rng(len(str(sizes)))
    other = random_models.random_ranker(rng, config, name="other")
    ranker = random_models.random_ranker(rng, config, interaction=kind, **sizes)
    query = random_models.random_query(rng, config, [ranker], items=ITEMS)
    compiled = compile_models([other, ranker], config)
    chip = OnChip(config)
    for section in decode_image(compiled.image, config.image_bytes):
        chip.fill(section)

    machine = Machine(config, chip, slot=1)
    user = gather_side(ranker, "user", records_of(query.user_record, len(query.user_record)))
    item = gather_side(ranker, "item", *item_records(query.features, query.candidates))
    machine.place(Source.USER, user.dense, 0)
    machine.place(Source.DENSE, item.dense, machine.slot["item_dense_words"])
    vectors = np.concatenate([np.repeat(user.vectors, ITEMS, axis=0), item.vectors], axis=1)
    padding = machine.slot["row_bytes"] - ranker.dim
    logits = machine.run(np.pad(vectors, ((0, 0), (0, 0), (0, padding))))
    expected = rank(ranker, query.user_record, query.features, query.candidates).logits
    assert logits.tolist() == expected.tolist()
    assert np.ptp(expected) > 0
