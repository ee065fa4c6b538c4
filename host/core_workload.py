"""A compiled ranker for a compute core alone: image, gathered data, expected logits from golden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rpaccel.golden.gather import Gathered, gather_side, item_records, records_of
from rpaccel.golden.lane import Query, rank
from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.golden.sigmoid import ctr
from rpaccel.host.compile import CompiledModels, compile_models
from rpaccel.host.image import Section, decode_image
from rpaccel.perfmodel.sequencer import ProgramShape
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import INSTRUCTION, SLOT, Op, Target, target_bits
from rpaccel.workloads.random_models import random_query

Array = np.ndarray


def section_entries(section: Section, config: AcceleratorConfig) -> Iterator[tuple[int, int, int]]:
    """Yield (target, index, value) of every entry."""
    size = target_bits(section.target, config.image_bytes) // 8
    for n in range(len(section.payload) // size):
        value = int.from_bytes(section.payload[n * size : (n + 1) * size], "little")
        yield int(section.target), section.start + n, value


def image_entries(compiled: CompiledModels) -> list[tuple[int, int, int]]:
    """Return what the loader puts on the load bus."""
    config = compiled.config
    sections = decode_image(compiled.image, config.image_bytes)
    return [entry for section in sections for entry in section_entries(section, config)]


def slot_fields(compiled: CompiledModels, slot: int = 0) -> dict[str, int]:
    """Return the SLOT entry."""
    config = compiled.config
    for section in decode_image(compiled.image, config.image_bytes):
        if section.target is Target.SLOT and section.start == slot:
            return SLOT.from_bytes(section.payload)
    raise ValueError(f"slot {slot} is not in the image")


def program_shape(compiled: CompiledModels, slot: int = 0) -> ProgramShape:
    """Return slot's program as timing sees it."""
    config, fields = compiled.config, slot_fields(compiled, slot)
    memory: dict[int, dict[str, int]] = {}
    for section in decode_image(compiled.image, config.image_bytes):
        if section.target is Target.PROGRAM:
            for _, index, value in section_entries(section, config):
                memory[index] = INSTRUCTION.unpack(value)
    first, length = fields["program_base"], fields["program_length"]
    program = [memory[n] for n in range(first, first + length)]
    assert all(step["op"] in (Op.LAYER, Op.INTERACT) for step in program)
    return ProgramShape.of(program, fields["row_bytes"])


@dataclass
class Write:
    """One cycle of a VectorWrite: that of gather port `port`."""

    port: int
    user: int
    vector: int
    address: int
    data: int
    mask: int


class Workload:
    """A stage of `counts` sub-batches of one ranker, as gather would deliver it."""

    def __init__(
        self,
        config: AcceleratorConfig,
        ranker: QuantisedRanker,
        counts: list[int],
        seed: int = 0,
        query: Query | None = None,
        four_banks: bool = False,
    ) -> None:
        self.config, self.counts = config, counts
        self.banks = 4 if four_banks else 2
        rng = np.random.default_rng(seed)
        if not counts or min(counts) < 1:
            raise ValueError(f"counts must be at least 1, not {counts}")
        self.compiled = compile_models([ranker], config, sub_batch=max(counts))
        self.slot = slot_fields(self.compiled)
        if four_banks and max(counts) > self.slot["quarter_items"]:
            raise ValueError(
                f"counts must be at most {self.slot['quarter_items']} in four banks, not {counts}"
            )
        self.query = query or random_query(rng, config, [ranker], items=sum(counts))
        record = self.query.user_record
        self.user = gather_side(ranker, "user", records_of(record, len(record)))
        records, errors = item_records(self.query.features, self.query.candidates)
        self.item = gather_side(ranker, "item", records, errors)
        logits = rank(ranker, record, self.query.features, self.query.candidates).logits
        pairs = zip(logits.tolist(), ctr(logits).tolist(), strict=True)
        self.expected = [{"logit": a, "ctr": b} for a, b in pairs]

    def entries(self) -> list[tuple[int, int, int]]:
        """Return what the loader writes."""
        return image_entries(self.compiled)

    def user_writes(self) -> Iterator[Write]:
        """Yield the user's dense words and vectors."""
        yield from self._dense(self.user, 0, 1, 0, self.slot["user_dense_words"])
        yield from self._vectors(self.user, 0, 1, 0, self.slot["user_vector_words"], 1)

    def bank(self, number: int) -> int:
        """Return the bank of a sub-batch (rtl.item_banks)."""
        return number % self.banks * (4 // self.banks)

    def batch_writes(self, number: int) -> Iterator[Write]:
        """Yield the dense words and vectors of a sub-batch's items."""
        config, slot = self.config, self.slot
        bank, first = self.bank(number), sum(self.counts[:number])
        words, area = slot["item_dense_words"], slot["item_vector_words"]
        for n in range(self.counts[number]):
            base = bank * config.dense_words // 2 + n * words
            yield from self._dense(self.item, first + n, 0, base, words)
            place = bank * config.engine_vector_words // 2 + n // config.engines * area
            base = place * config.engines + n % config.engines
            writes = self._vectors(self.item, first + n, 0, base, area, config.engines)
            yield from (replace(write, port=n % config.gather_ports) for write in writes)

    def _dense(self, side: Gathered, row: int, user: int, base: int, words: int) -> Iterator[Write]:
        """Yield dense words, a word or a beat at a time."""
        config = self.config
        width = config.array_size * config.words_per_beat
        raw = side.dense[row].astype(np.int8).tobytes().ljust(words * config.array_size, b"\0")
        for n in range(0, words, config.words_per_beat):
            part = raw[n * config.array_size :][:width]
            data, mask = int.from_bytes(part, "little"), (1 << width // 4) - 1
            yield Write(0, user, 0, base + n, data, mask)

    def _vectors(
        self, side: Gathered, row: int, user: int, base: int, words: int, engines: int
    ) -> Iterator[Write]:
        """Yield one write of port 0 per vector, or per vector word of a longer one."""
        size, length = self.config.vector_word_bytes, self.slot["row_bytes"]
        for n, vector in enumerate(side.vectors[row].astype(np.int8)):
            raw = vector.tobytes().ljust(length, b"\0")
            for at in range(0, length, size):
                word, offset = divmod(n * length + at, size)
                part = raw[at : at + size]
                assert word < words
                yield Write(
                    0,
                    user,
                    1,
                    base + word * engines,
                    int.from_bytes(part, "little") << 8 * offset,
                    ((1 << len(part) // 4) - 1) << offset // 4,
                )
