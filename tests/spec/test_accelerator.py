from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from rpaccel.spec.accelerator import (
    PRESETS_DIR,
    AcceleratorConfig,
    load_accelerator,
    preset_names,
)
from rpaccel.spec.registers import ADDRESS, COUNTER_BASE, REGISTERS


def tiny_with(**changes: object) -> dict[str, object]:
    values: dict[str, object] = yaml.safe_load((PRESETS_DIR / "tiny.yaml").read_text())
    return values | changes


@pytest.mark.parametrize("name", ["tiny", "edge", "default", "paper"])
def test_presets_load(name: str) -> None:
    config = load_accelerator(name)
    assert config.name == name
    assert config.beats_per_word * config.beat_bytes == config.array_size


def test_preset_names_are_the_files() -> None:
    assert preset_names() == ["default", "ecp5", "edge", "paper", "tiny"]


def test_rejects_unknown_preset() -> None:
    with pytest.raises(
        ValueError, match=r"^preset must be one of default, ecp5, edge, paper, tiny, not 'huge'$"
    ):
        load_accelerator("huge")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arry_size": 8}, "arry_size"),
        ({"array_size": 12}, "array_size must be a power of two, not 12"),
        ({"block_size": 16}, "block_size must divide array_size 8, not 16"),
        ({"axi_data_bits": 128}, "axi_data_bits must be at most 64"),
        (
            {"item_record_bytes": 256},
            r"item_record_bytes must be at most 128 \(a burst of 16 beats .* 64\), not 256",
        ),
        ({"memory_ports": 3}, "memory_ports must be a power of two, not 3"),
        ({"row_banks": 6}, "row_banks must be a power of two, not 6"),
        ({"row_reads": 1}, r"row_reads must be at least 2 \(a row of 16 bytes\), not 1"),
        (
            {"memory_ports": 2, "stripe_bytes": 128, "axi_data_bits": 128, "array_size": 16},
            r"stripe_bytes must be at least 256 \(a burst\) with several memory ports, not 128",
        ),
        ({"max_items": "64"}, "max_items"),
        ({"macs_per_dsp": 3}, "macs_per_dsp"),
        ({"retrieval_products_per_dsp": 3}, "retrieval_products_per_dsp"),
        ({"lane_blocks": [[1, 3]]}, "lane_blocks must be powers of two of at most 2, not 3"),
        ({"lane_blocks": [[1, 4]]}, "lane_blocks must be powers of two of at most 2, not 4"),
        (
            {"groups_across": 2, "lanes": 2},
            "groups_down and groups_across must be 1 in an array that lanes share, not 1 and 2",
        ),
    ],
)
def test_rejects(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AcceleratorConfig.model_validate(tiny_with(**changes))


def test_unknown_key_in_a_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tiny_with(colour="red")))
    with pytest.raises(ValidationError, match="colour"):
        load_accelerator(path)


def test_digest_follows_every_field() -> None:
    tiny = load_accelerator("tiny")
    assert tiny.digest == load_accelerator("tiny").digest
    assert tiny.digest != tiny.model_copy(update={"lanes": 2}).digest


def test_register_addresses_are_distinct_and_aligned() -> None:
    assert len(set(ADDRESS.values())) == len(REGISTERS)
    assert all(address % 4 == 0 for address in ADDRESS.values())
    assert max(ADDRESS.values()) < COUNTER_BASE


@pytest.mark.parametrize(
    ("name", "beats"), [("tiny", 2), ("edge", 4), ("default", 2), ("paper", 2)]
)
def test_beats_of_the_largest_row(name: str, beats: int) -> None:
    assert load_accelerator(name).row_beats_max == beats
