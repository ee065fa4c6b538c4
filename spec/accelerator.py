"""The accelerator's configuration, read from the presets in spec/presets/."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from rpaccel.spec.isa import BINS, MAX_BURST_BYTES, ROW_UPDATE
from rpaccel.spec.preset_file import names_in, read_preset
from rpaccel.spec.retrieval import (
    LANES_LIMIT,
    MAX_ROW_BYTES,
    MIN_ROW_BYTES,
    QUERIES_LIMIT,
    RetrievalConfig,
)

BURST_BEATS = 16  # longest burst: HBM ports are AXI3
PRESETS_DIR = Path(__file__).parent / "presets"

LaneBlocks = int | Annotated[tuple[int, int], Strict(False)]


def is_power_of_two(value: int) -> bool:
    """Return whether `value` is 1, 2, 4, ..."""
    return value > 0 and value & (value - 1) == 0


class AcceleratorConfig(BaseModel):
    """Every size of the machine. One object builds golden models, RTL and performance model.

    A *word* is `array_size` bytes: one row of activations. Memories are counted in words unless
    the name says otherwise. The array is a grid of square blocks of block_size x block_size MACs;
    with `groups_down` and `groups_across` it is as many squares of array_size x array_size,
    one below the other and side by side, which share their inputs and give a word each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    array_size: int = Field(ge=4, le=128)  # rows = columns of the array, or of each square of it
    groups_down: int = Field(default=1, ge=1, le=32)
    groups_across: int = Field(default=1, ge=1, le=32)
    block_size: int = Field(ge=4, le=64)  # granularity of splitting, stacking and weight loading
    macs_per_dsp: int = Field(default=1, ge=1, le=2)  # cells that share a multiplier: rtl.pair_pe
    lanes: int = Field(ge=1, le=32)  # controllers; each owns a rectangle of blocks at run time
    # Blocks that a lane is made for: the side of a square, or (rows, columns).
    lane_blocks: tuple[LaneBlocks, ...] = Field(default=(), strict=False)  # empty: all, each
    image_word_bytes: int | None = None  # bytes of a weight entry in an image; None: a row's
    funnels: int = Field(default=2, ge=1, le=32)  # queries that are worked on at a time
    queue_entries: int = Field(default=64, ge=1, le=1024)  # descriptors that wait for them
    memory_ports: int = Field(ge=1, le=16)
    stripe_bytes: int = Field(default=4096, ge=128, le=4096)  # of memory, to one bank and port
    row_banks: int = Field(default=1, ge=1, le=64)  # of the row caches; at least one per port
    row_cache_sets: int = Field(default=1, ge=1, le=65536)  # of a bank's look-ahead cache
    row_cache_ways: int = Field(default=1, ge=1, le=16)  # lines of a beat
    static_cache_lines: int = Field(default=0, ge=0, le=65536)  # of a bank, a beat each; 0: none
    static_cache_sets: int = Field(default=1, ge=1, le=65536)  # of its table of pinned rows
    static_cache_ways: int = Field(default=2, ge=1, le=8)
    row_reads: int = Field(default=16, ge=1, le=256)  # of a bank, from memory, in flight
    axi_data_bits: int = Field(ge=64, le=1024)
    axi_address_bits: int = Field(ge=24, le=64)
    axi_id_bits: int = Field(ge=1, le=8)  # 2 ** axi_id_bits reads in flight per port
    reads_in_flight: int = Field(ge=1, le=256)  # per requester
    sub_batch_max: int = Field(ge=1, le=4096)  # items per sub-batch
    max_items: int = Field(ge=1, le=16384)  # items per stage
    max_top_n: int = Field(ge=1, le=256)
    model_slots: int = Field(ge=1, le=16)
    max_dim: int = Field(ge=4, le=128)  # embedding dimension
    weight_words: int = Field(ge=1)
    user_words: int = Field(ge=1, le=256)  # user side: dense words, and as much again for vectors
    dense_words: int = Field(ge=1)  # dense words of the items, per bank; two banks, or four halves
    feature_words: int = Field(ge=1)  # item vectors, per bank; two banks, or four halves
    act_words: int = Field(ge=1)  # per activation memory; two memories
    cross_words: int = Field(ge=1)  # interaction outputs, per bank; two banks
    param_entries: int = Field(ge=1, le=65536)  # output channels of all layers, per block row
    pair_entries: int = Field(ge=1, le=65536)  # interaction pairs of all models
    program_entries: int = Field(ge=1, le=256)
    feature_entries: int = Field(ge=1, le=256)
    user_record_bytes: int = Field(ge=64, le=4096)
    item_record_bytes: int = Field(ge=8, le=MAX_BURST_BYTES)
    retrieval_queries: int = Field(
        default=0, ge=0, le=QUERIES_LIMIT
    )  # that share a scan; 0: no engine
    retrieval_k_max: int = Field(default=1024, ge=16, le=4096)
    retrieval_port_lanes: int = Field(default=1, ge=1, le=8)  # scores per cycle and memory port
    retrieval_fifo_depth: int = Field(default=512, ge=16, le=4096)  # scores that wait per lane
    # 2: two queries share a multiplier for a row's byte: rtl.retrieval_score
    retrieval_products_per_dsp: int = Field(default=1, ge=1, le=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("queue_entries", "memory_ports", "stripe_bytes", "row_banks", "row_cache_sets",
                     "static_cache_sets",
                     "array_size", "groups_down", "groups_across", "block_size", "axi_data_bits",
                     "max_items", "sub_batch_max", "item_record_bytes", "user_record_bytes",
                     "max_dim",
                     "dense_words", "feature_words", "act_words", "cross_words",
                     "weight_words", "param_entries", "retrieval_port_lanes",
                     "retrieval_fifo_depth"):  # fmt: skip
            value = getattr(self, name)
            if not is_power_of_two(value):
                raise ValueError(f"{name} must be a power of two, not {value}")
        if self.array_size % self.block_size:
            raise ValueError(
                f"block_size must divide array_size {self.array_size}, not {self.block_size}"
            )
        if self.lane_blocks and len(self.lane_blocks) != self.lanes:
            raise ValueError(
                f"lane_blocks must have one entry for each of {self.lanes} lanes, "
                f"not {len(self.lane_blocks)}"
            )
        if (self.groups_down, self.groups_across) != (1, 1) and (
            self.lanes > 1 or self.lane_blocks
        ):
            raise ValueError(
                f"groups_down and groups_across must be 1 in an array that lanes share, "
                f"not {self.groups_down} and {self.groups_across}"
            )
        for number in range(self.lanes):
            for side in self.lane_shape(number):
                if not is_power_of_two(side) or side > max(self.block_rows, self.block_cols):
                    raise ValueError(
                        f"lane_blocks must be powers of two of at most {self.blocks}, not {side}"
                    )
        for name in ("weight_words", "param_entries"):
            value = getattr(self, name)
            if value < self.array_size:
                raise ValueError(
                    f"{name} must be at least array_size {self.array_size}, not {value}"
                )
        if self.item_record_bytes > BURST_BEATS * self.beat_bytes:
            raise ValueError(
                f"item_record_bytes must be at most {BURST_BEATS * self.beat_bytes} (a burst of "
                f"{BURST_BEATS} beats of axi_data_bits {self.axi_data_bits}), "
                f"not {self.item_record_bytes}"
            )
        if self.axi_data_bits > 8 * self.array_size:
            raise ValueError(
                f"axi_data_bits must be at most {8 * self.array_size} (one word of array_size "
                f"{self.array_size}), not {self.axi_data_bits}"
            )
        return self

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if self.memory_ports > 1 and self.stripe_bytes < BURST_BEATS * self.beat_bytes:
            raise ValueError(
                f"stripe_bytes must be at least {BURST_BEATS * self.beat_bytes} (a burst) with "
                f"several memory ports, not {self.stripe_bytes}"
            )
        if self.row_reads < self.row_beats_max:
            raise ValueError(
                f"row_reads must be at least {self.row_beats_max} (a row of {self.max_dim} bytes), "
                f"not {self.row_reads}"
            )
        return self

    @model_validator(mode="after")
    def _check_retrieval(self) -> Self:
        if self.retrieval_queries == 0:
            return self
        if self.beat_bytes < MIN_ROW_BYTES:
            raise ValueError(
                f"axi_data_bits must be at least {8 * MIN_ROW_BYTES} with a retrieval engine, "
                f"not {self.axi_data_bits}"
            )
        most = self.beat_bytes // MIN_ROW_BYTES
        if self.retrieval_port_lanes > most:
            raise ValueError(
                f"retrieval_port_lanes must be in 1..{most} (rows of a beat), "
                f"not {self.retrieval_port_lanes}"
            )
        lanes = self.memory_ports * self.retrieval_port_lanes
        if lanes > LANES_LIMIT:
            raise ValueError(
                f"memory_ports * retrieval_port_lanes must be at most {LANES_LIMIT}, not {lanes}"
            )
        _ = self.retrieval
        return self

    @property
    def retrieval(self) -> RetrievalConfig:
        """Sizes of the retrieval engine. Raises ValueError if there is none."""
        if self.retrieval_queries == 0:
            raise ValueError("retrieval_queries must be at least 1 for a retrieval engine, not 0")
        return RetrievalConfig(
            lanes=self.memory_ports * self.retrieval_port_lanes,
            k_max=self.retrieval_k_max,
            fifo_depth=self.retrieval_fifo_depth,
            beat_bytes=self.beat_bytes,
            products_per_dsp=self.retrieval_products_per_dsp,
        )

    @property
    def retrieval_row_bytes_max(self) -> int:
        """Bytes of the longest row of a corpus: a row lies in one burst."""
        return min(MAX_ROW_BYTES, self.retrieval_block_bytes)

    @property
    def retrieval_block_bytes(self) -> int:
        """Bytes of a corpus that a scan reads, or skips, at a time: a burst."""
        return BURST_BEATS * self.beat_bytes

    @property
    def beat_bytes(self) -> int:
        """Bytes per AXI beat."""
        return self.axi_data_bits // 8

    @property
    def banks(self) -> int:
        """Row banks of the machine: spec.stripe."""
        return max(self.row_banks, self.memory_ports)

    @property
    def burst_boundary_bytes(self) -> int:
        """Multiple of which no burst crosses: AXI's 4 KiB, or a stripe if there are several."""
        return 4096 if self.memory_ports == 1 else self.stripe_bytes

    @property
    def record_burst_beats(self) -> int:
        """Longest burst of records: the largest item record's."""
        return max(1, min(BURST_BEATS, self.item_record_bytes // self.beat_bytes))

    @property
    def row_beats_max(self) -> int:
        """Beats of the largest embedding row."""
        row_bytes = 1 << (self.max_dim - 1).bit_length()
        return max(1, row_bytes // self.beat_bytes)

    @property
    def pin_entries(self) -> int:
        """Entries of the table of a bank's static cache; 0: there is none."""
        return self.static_cache_sets * self.static_cache_ways if self.static_cache_lines else 0

    @property
    def pin_line_parts(self) -> int:
        """Entries that the lines of a bank's static cache take in an image: 8 bytes each."""
        return self.static_cache_lines * (self.beat_bytes // 8)

    @property
    def update_bytes_max(self) -> int:
        """Bytes that one row update writes at most: the largest embedding row, whole beats."""
        return self.row_beats_max * self.beat_bytes

    @property
    def update_entry_bytes(self) -> int:
        """Bytes of an entry of the queue of row updates: spec.isa.ROW_UPDATE and a row."""
        return 1 << (ROW_UPDATE.bytes + self.update_bytes_max - 1).bit_length()

    @property
    def beats_per_word(self) -> int:
        """AXI beats per word of `array_size` bytes; 1 if a beat holds several words."""
        return max(1, self.array_size // self.beat_bytes)

    @property
    def words_per_beat(self) -> int:
        """Words per AXI beat; 1 if a word takes several beats."""
        return max(1, self.beat_bytes // self.array_size)

    @property
    def image_bytes(self) -> int:
        """Bytes of a weight entry in an image: a row of the whole array."""
        return self.image_word_bytes or self.channels_across

    @property
    def image_params(self) -> int:
        """Channels per block row in an image's numbering of parameters."""
        return self.tile_params * self.image_bytes // self.block_size

    def lane_shape(self, number: int) -> tuple[int, int]:
        """Return the rows and columns of blocks that lane `number` is made for."""
        if not 0 <= number < self.lanes:
            raise ValueError(f"lane must be in 0..{self.lanes - 1}, not {number}")
        if not self.lane_blocks:
            return self.block_rows, self.block_cols
        shape = self.lane_blocks[number]
        return (shape, shape) if isinstance(shape, int) else shape

    def lane(self, number: int) -> AcceleratorConfig:
        """Return lane `number` as a machine of its own: its rectangle of the array, and its share.

        A rectangle is squares of its shorter side. Memories hold the share of bytes that its
        blocks are of all blocks.
        """
        rows, cols = self.lane_shape(number)
        if self.lanes == 1 and (rows, cols) == (self.block_rows, self.block_cols):
            return self
        side = min(rows, cols)
        least = max(1, self.beat_bytes // (side * self.block_size))
        shares = {"weight_words": rows, "param_entries": cols}
        words = {
            name: max(
                least,
                getattr(self, name) * shares.get(name, rows * cols // side) // self.blocks,
            )
            for name in ("weight_words", "param_entries", "dense_words", "feature_words",
                         "act_words", "cross_words")
        }  # fmt: skip
        return self.model_copy(
            update={
                **words,
                "name": f"{self.name} lane of {rows} x {cols} blocks",
                "array_size": side * self.block_size,
                "groups_down": rows // side,
                "groups_across": cols // side,
                "lanes": 1,
                "lane_blocks": (),
                "image_word_bytes": self.image_bytes,
            }
        )

    @property
    def blocks(self) -> int:
        """Rows and columns of blocks of the array, or of each square of it."""
        return self.array_size // self.block_size

    @property
    def block_rows(self) -> int:
        """Rows of the grid of blocks."""
        return self.blocks * self.groups_down

    @property
    def block_cols(self) -> int:
        """Columns of the grid of blocks."""
        return self.blocks * self.groups_across

    @property
    def channels_across(self) -> int:
        """Output channels of a row of blocks: a word per square."""
        return self.array_size * self.groups_across

    @property
    def array_macs(self) -> int:
        """Cells of the array."""
        return self.array_size**2 * self.groups_down * self.groups_across

    @property
    def tile_weight_rows(self) -> int:
        """Rows of `block_size` weights that a block's weight bank holds."""
        return self.weight_words // self.block_rows

    @property
    def tile_params(self) -> int:
        """Output channels whose parameters a block's bank holds."""
        return self.param_entries // self.block_cols

    @property
    def engines(self) -> int:
        """Interaction engines of the whole array: one per 16 x 16 MACs; see docs/decisions/0007."""
        return max(1, self.array_macs // 256)

    @property
    def gather_ports(self) -> int:
        """Embedding rows that a lane gathers per cycle: one per 32 x 32 MACs; each has its engines.

        See docs/decisions/0007: engines is a multiple of it.
        """
        return max(1, self.array_macs // 1024)

    @property
    def lane_gather_ports(self) -> tuple[int, ...]:
        """Gather ports of each lane."""
        return tuple(self.lane(number).gather_ports for number in range(self.lanes))

    @property
    def chunk_bytes(self) -> int:
        """Bytes that an interaction engine multiplies per cycle."""
        return min(16, self.array_size)

    @property
    def vector_word_bytes(self) -> int:
        """Bytes of a word of an engine's vector memory: a beat, or a chunk if that is more."""
        return max(self.beat_bytes, self.chunk_bytes)

    @property
    def user_vector_words(self) -> int:
        """Vector words for the user-side vectors, in every engine."""
        return self.user_words * self.array_size // self.vector_word_bytes

    @property
    def engine_vector_words(self) -> int:
        """Vector words of one bank in one engine, for its share of a sub-batch's item vectors."""
        return max(
            1, self.feature_words * self.array_size // self.vector_word_bytes // self.engines
        )

    @property
    def engine_cross_words(self) -> int:
        """Words of one bank in one engine, for the outputs of its share of a sub-batch."""
        return max(1, self.cross_words // self.engines)

    @property
    def engine_bottom_words(self) -> int:
        """Words of one bank in one engine, for the bottom outputs of its share of a sub-batch."""
        vector_words = -(-self.max_dim // self.array_size)
        return -(-self.sub_batch_max // self.engines) * vector_words

    @property
    def bins(self) -> int:
        """Counters of the bucket filter."""
        return BINS

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration, hexadecimal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def preset_names() -> list[str]:
    """Names of the presets in spec/presets/, sorted."""
    return names_in(PRESETS_DIR)


def load_accelerator(source: str | Path) -> AcceleratorConfig:
    """Read a preset by name, or a YAML file by path.

    Raises ValueError that names the preset, or every wrong key with its path.
    """
    return AcceleratorConfig.model_validate(read_preset(source, PRESETS_DIR, "preset"))
