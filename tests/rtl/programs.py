"""Random stage programs and what they mean, in terms of golden functions, for the core's tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rpaccel.golden.interaction import interact
from rpaccel.golden.sigmoid import ctr
from rpaccel.golden.systolic_array import matmul
from rpaccel.golden.vector_unit import activate, score
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, PAIR, PARAM, Destination, Op, Source, Target

Array = np.ndarray


def pack_word(values: Array) -> int:
    return int.from_bytes(np.asarray(values, dtype=np.int8).tobytes(), "little")


@dataclass
class RandomProgram:
    """Layers and an interaction with random sizes, weights and addresses.

    entries : (target, index, value) for the load bus.
    """

    config: AcceleratorConfig
    seed: int
    entries: list[tuple[int, int, int]] = field(default_factory=list)
    instructions: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = rng = np.random.default_rng(self.seed)
        size = self.config.array_size
        self.weight = np.zeros((self.config.weight_words, size), dtype=np.int64)
        self.param = np.zeros((self.config.param_entries, 3), dtype=np.int64)
        self.pair = np.zeros((self.config.pair_entries, 2), dtype=np.int64)
        self.next = {"weight": int(rng.integers(4)), "param": int(rng.integers(4)), "pair": 1}
        self.vector_words = int(rng.integers(1, 3))
        self.user_vectors, self.item_vectors = (int(x) for x in rng.integers(0, 3, 2))
        self.item_vectors += not (self.user_vectors + self.item_vectors)
        user_dense, item_dense = (int(x) for x in (rng.integers(0, 3), rng.integers(0, 3)))
        item_dense += not (user_dense + item_dense)
        self.user_words = user_dense + self.user_vectors * self.vector_words
        self.item_words = item_dense + self.item_vectors * self.vector_words
        self.program_base = int(rng.integers(0, 3))
        self._build(user_dense, item_dense)
        for index, instruction in enumerate(self.instructions):
            packed = INSTRUCTION.pack(instruction)
            self.entries.append((Target.PROGRAM, self.program_base + index, packed))

    def _build(self, user_dense: int, item_dense: int) -> None:
        words, size = self.vector_words, self.config.array_size
        hidden = int(self.rng.integers(1, 4))
        self._layer(Source.GATHERED, Destination.ACT0, user_dense, item_dense, hidden)
        self._layer(Source.ACT0, Destination.ACT1, 0, hidden, words)
        vectors = 1 + self.user_vectors + self.item_vectors
        pairs = vectors * (vectors - 1) // 2
        output = words - (-pairs // size)
        self._interact(user_dense, item_dense, pairs, output)
        hidden = int(self.rng.integers(1, 3))
        self._layer(Source.ACT0, Destination.ACT1, 0, output, hidden)
        self._layer(Source.ACT1, Destination.SCORE, 0, hidden, 1)

    def _layer(self, source: int, destination: int, user: int, words: int, n_folds: int) -> None:
        size = self.config.array_size
        strides = {Source.GATHERED: self.item_words, Source.ACT0: 12, Source.ACT1: 12}
        score_layer = destination == Destination.SCORE
        instruction = {
            "op": Op.LAYER, "source": source, "destination": destination,
            "relu": 0 if score_layer else int(self.rng.integers(2)),
            "user_words": user, "words": words, "n_folds": n_folds,
            "source_stride": strides[source] if source == Source.GATHERED else self._stride,
            "weight_base": self.next["weight"], "param_base": self.next["param"],
        }  # fmt: skip
        self._stride = n_folds + int(self.rng.integers(2))
        instruction["destination_stride"] = self._stride
        self.instructions.append(instruction)
        for _ in range((user + words) * n_folds * size):
            row, index = self.rng.integers(-127, 128, size), self.next["weight"]
            self.weight[index] = row
            self.entries.append((Target.WEIGHT, index, pack_word(row)))
            self.next["weight"] += 1
        shift = 15 if score_layer else 23
        for _ in range(n_folds * size):
            values = self.rng.integers([-3000, 20000, shift], [3000, 65536, shift + 3])
            self.param[self.next["param"]] = values
            packed = PARAM.pack(dict(zip(("bias", "multiplier", "shift"), values, strict=True)))
            self.entries.append((Target.PARAM, self.next["param"], packed))
            self.next["param"] += 1

    def _interact(self, user_offset: int, item_offset: int, pairs: int, output: int) -> None:
        instruction = {
            "op": Op.INTERACT, "source": Source.ACT1, "destination": Destination.ACT0,
            "source_stride": self._stride, "vector_words": self.vector_words,
            "user_vectors": self.user_vectors, "item_vectors": self.item_vectors,
            "user_offset": user_offset, "item_offset": item_offset,
            "param_base": self.next["pair"],
        }  # fmt: skip
        self._stride = output + int(self.rng.integers(2))
        instruction["destination_stride"] = self._stride
        self.instructions.append(instruction)
        for _ in range(pairs):
            values = self.rng.integers([20000, 22], [65536, 25])
            self.pair[self.next["pair"]] = values
            packed = PAIR.pack(dict(zip(("multiplier", "shift"), values, strict=True)))
            self.entries.append((Target.PAIR, self.next["pair"], packed))
            self.next["pair"] += 1

    def slot(self) -> dict[str, int]:
        names = ("user_words", "item_words", "vector_words", "program_base")
        values = {name: getattr(self, name) for name in names}
        return {"valid": 1, "program_length": len(self.instructions), **values}

    def random_words(self, *shape: int) -> Array:
        return self.rng.integers(-127, 128, (*shape, self.config.array_size))

    def scores(self, user: Array, items: Array) -> list[dict[str, int]]:
        """Return {logit, ctr} of items[B, item_words, A] with user[user_words, A]."""
        acts: dict[int, Any] = {}
        for code in self.instructions[:-1]:
            run = self._run_interact if code["op"] == Op.INTERACT else self._run_layer
            acts[code["destination"]] = run(code, user, items, acts)
        logits = self._run_layer(self.instructions[-1], user, items, acts)
        return [{"logit": int(a), "ctr": int(b)} for a, b in zip(logits, ctr(logits), strict=True)]

    def _run_layer(self, code: dict, user: Array, items: Array, acts: dict) -> Array:
        size, count = self.config.array_size, len(items)
        rows = items if code["source"] == Source.GATHERED else acts[code["source"]]
        shared = np.broadcast_to(user[: code["user_words"]], (count, code["user_words"], size))
        inputs = np.concatenate([shared, rows[:, : code["words"]]], axis=1).reshape(count, -1)
        k, n = inputs.shape[1] // size, code["n_folds"]
        tiles = self.weight[code["weight_base"] :][: n * k * size].reshape(n, k * size, size)
        sums = matmul(inputs, tiles.transpose(1, 0, 2).reshape(k * size, n * size))
        bias, multiplier, shift = self.param[code["param_base"] :][: n * size].T
        if code["destination"] == Destination.SCORE:
            return score(sums[:, 0], bias[0], multiplier[0], shift[0])
        output = activate(sums, bias, multiplier, shift, relu=bool(code["relu"]))
        return output.reshape(count, n, size)

    def _run_interact(self, code: dict, user: Array, items: Array, acts: dict) -> Array:
        size, count, words = self.config.array_size, len(items), code["vector_words"]
        first = acts[code["source"]][:, :words].reshape(count, 1, -1)
        mine = user[code["user_offset"] :].reshape(1, code["user_vectors"], words * size)
        mine = np.broadcast_to(mine, (count, code["user_vectors"], words * size))
        theirs = items[:, code["item_offset"] :].reshape(count, code["item_vectors"], words * size)
        vectors = np.concatenate([first, mine, theirs], axis=1)
        pairs = vectors.shape[1] * (vectors.shape[1] - 1) // 2
        multiplier, shift = self.pair[code["param_base"] :][:pairs].T
        output = interact(vectors, multiplier, shift)
        padded = np.zeros((count, (words - (-pairs // size)) * size), dtype=np.int64)
        padded[:, : output.shape[1]] = output
        return padded.reshape(count, -1, size)
