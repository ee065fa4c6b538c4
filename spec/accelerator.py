"""The accelerator's configuration, read from the presets in spec/presets/."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpaccel.spec.isa import BINS, MAX_BURST_BYTES

PRESETS_DIR = Path(__file__).parent / "presets"


def is_power_of_two(value: int) -> bool:
    """Return whether `value` is 1, 2, 4, ..."""
    return value > 0 and value & (value - 1) == 0


class AcceleratorConfig(BaseModel):
    """Every size of the machine. One object builds golden models, RTL and performance model.

    A *word* is `array_size` bytes: one row of activations. Memories are counted in words unless
    the name says otherwise. Each lane owns an array of array_size x array_size MACs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    array_size: int = Field(ge=4, le=128)  # rows = columns of a lane's array
    block_size: int = Field(ge=2, le=64)  # granularity of splitting (one lane = whole array here)
    lanes: int = Field(ge=1, le=16)
    memory_ports: int = Field(ge=1, le=16)
    axi_data_bits: int = Field(ge=64, le=1024)
    axi_address_bits: int = Field(ge=24, le=64)
    axi_id_bits: int = Field(ge=1, le=8)
    reads_in_flight: int = Field(ge=1, le=256)  # per requester
    sub_batch_max: int = Field(ge=1, le=4096)  # items per sub-batch
    max_items: int = Field(ge=1, le=16384)  # items per stage
    max_top_n: int = Field(ge=1, le=256)
    model_slots: int = Field(ge=1, le=16)
    max_dim: int = Field(ge=4, le=128)  # embedding dimension
    weight_words: int = Field(ge=1)
    user_words: int = Field(ge=1, le=256)
    feature_words: int = Field(ge=1)  # per bank; two banks
    act_words: int = Field(ge=1)  # per activation memory; two memories
    param_entries: int = Field(ge=1, le=65536)  # output channels of all layers
    pair_entries: int = Field(ge=1, le=65536)  # interaction pairs of all models
    program_entries: int = Field(ge=1, le=256)
    feature_entries: int = Field(ge=1, le=256)
    user_record_bytes: int = Field(ge=64, le=4096)
    item_record_bytes: int = Field(ge=8, le=MAX_BURST_BYTES)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("array_size", "block_size", "axi_data_bits", "max_items", "sub_batch_max",
                     "item_record_bytes", "user_record_bytes", "max_dim",
                     "feature_words", "act_words"):  # fmt: skip
            value = getattr(self, name)
            if not is_power_of_two(value):
                raise ValueError(f"{name} must be a power of two, not {value}")
        if self.array_size % self.block_size:
            raise ValueError(
                f"block_size must divide array_size {self.array_size}, not {self.block_size}"
            )
        if self.axi_data_bits > 8 * self.array_size:
            raise ValueError(
                f"axi_data_bits must be at most {8 * self.array_size} (one word of array_size "
                f"{self.array_size}), not {self.axi_data_bits}"
            )
        if self.lanes * 4 + 2 > 1 << self.axi_id_bits:
            raise ValueError(
                f"axi_id_bits must give {self.lanes * 4 + 2} ids for {self.lanes} lanes, "
                f"not {1 << self.axi_id_bits}"
            )
        return self

    @property
    def beat_bytes(self) -> int:
        """Bytes per AXI beat."""
        return self.axi_data_bits // 8

    @property
    def beats_per_word(self) -> int:
        """AXI beats per word of `array_size` bytes."""
        return self.array_size // self.beat_bytes

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
    return sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))


def load_accelerator(source: str | Path) -> AcceleratorConfig:
    """Read a preset by name, or a YAML file by path.

    Raises ValueError that names the preset, or every wrong key with its path.
    """
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"}:
        path = PRESETS_DIR / f"{source}.yaml"
        if not path.exists():
            raise ValueError(f"preset must be one of {', '.join(preset_names())}, not {source!r}")
    try:
        content = yaml.load(path.read_text(), yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML: {' '.join(str(error).split())}") from error
    return AcceleratorConfig.model_validate(content)
