import json
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import rank
from rpaccel.host.compile import compile_models
from rpaccel.host.decode import OnChip
from rpaccel.host.image import Section, decode_image, encode_image
from rpaccel.host.listing import listing
from rpaccel.host.model_layout import row_bytes_of
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import IMAGE_HEADER, INSTRUCTION, SLOT, Destination, Op, Source, Target
from rpaccel.workloads import random_models

TINY = load_accelerator("tiny")
WIDE = TINY.model_copy(
    update={
        "name": "wide", "weight_words": 1 << 20, "param_entries": 1 << 16, "max_dim": 128,
        "pair_entries": 4096, "act_words": 4096, "feature_words": 4096, "user_words": 256,
        "feature_entries": 128, "item_record_bytes": 256, "user_record_bytes": 4096,
    }
)  # fmt: skip


def two_models(seed: int):
    rng = np.random.default_rng(seed)
    small = random_models.random_ranker(rng, TINY, name="small")
    return [small, random_models.shared_schema(rng, TINY, small, name="large", dim=16)]


def memory_of(compiled):
    memory = np.zeros(compiled.limit, dtype=np.uint8)
    for address, payload in compiled.segments():
        memory[address : address + len(payload)] = np.frombuffer(payload, dtype=np.uint8)
    return memory


def chip_of(compiled):
    chip = OnChip(compiled.config)
    for section in decode_image(compiled.image, compiled.config.array_size):
        chip.fill(section)
    return chip


SHAPES = [
    {},
    {"dim": 4, "user_tables": 0, "item_tables": 1, "top": ()},
    {"dim": 5, "user_dense": 0, "item_dense": 3},
    {"dim": 20, "user_dense": 9, "item_dense": 0, "bottom": ()},
    {"dim": 33, "user_tables": 3, "item_tables": 0, "bottom": (17, 9), "top": (31, 8, 7)},
    {"dim": 128, "item_tables": 1, "user_tables": 1},
    {"dim": 8, "user_tables": 20, "item_tables": 40, "max_ids": 1, "top": (100,)},
    {"dim": 8, "bottom": (3, 9, 5), "top": (9, 300, 3)},
    {"dim": 16, "user_dense": 40, "item_dense": 24, "user_tables": 1, "item_tables": 1},
]


@pytest.mark.parametrize("sizes", SHAPES)
def test_image_means_the_same_ranker(sizes):
    rng = np.random.default_rng(len(str(sizes)))
    ranker = random_models.random_ranker(rng, WIDE, **sizes)
    query = random_models.random_query(rng, WIDE, [ranker], items=20)
    compiled = compile_models([ranker], WIDE)
    decoded = chip_of(compiled).decode(0, memory_of(compiled))
    expected = rank(ranker, query.user_record, query.features, query.candidates)
    got = rank(decoded.ranker, query.user_record, query.features, query.candidates)
    assert got.logits.tolist() == expected.logits.tolist()
    assert np.ptp(expected.logits) > 0
    assert decoded.ranker.edges.tolist() == ranker.edges.tolist()
    assert decoded.ranker.threshold == ranker.threshold


def test_slots_do_not_overlap():
    rankers = two_models(0)
    compiled = compile_models(rankers, TINY)
    taken: dict[Target, set[int]] = {}
    for section in compiled.sections:
        entries = set(range(section.start, section.start + section.entries(TINY.array_size)))
        assert not entries & taken.setdefault(section.target, set())
        taken[section.target] |= entries
    assert len(taken[Target.WEIGHT]) == sum(x.weight_words for x in compiled.layouts)
    assert compiled.sections[-1].target is Target.SLOT


def test_tables_are_aligned_and_apart():
    rng = np.random.default_rng(1)
    rankers = [
        random_models.random_ranker(rng, WIDE, name="a", dim=3 + 1),
        random_models.random_ranker(rng, WIDE, name="b", dim=100),
    ]
    compiled = compile_models(rankers, WIDE)
    end = compiled.base
    for table in compiled.tables:
        assert table.address % max(table.row_bytes, WIDE.beat_bytes) == 0
        assert table.address >= end
        assert len(table.payload) == table.rows * table.row_bytes
        end = table.address + len(table.payload)
    assert compiled.image_address >= end
    assert compiled.limit >= compiled.image_address + len(compiled.image)


def test_same_input_same_bytes():
    first, second = compile_models(two_models(3), TINY), compile_models(two_models(3), TINY)
    assert first.image == second.image
    assert [t.payload for t in first.tables] == [t.payload for t in second.tables]
    texts = [json.dumps(c.manifest, sort_keys=True) for c in (first, second)]
    assert texts[0] == texts[1]
    assert listing(first) == listing(second)


def test_program_by_hand():
    rng = np.random.default_rng(0)
    ranker = random_models.random_ranker(rng, TINY, dim=8, bottom=(12,), top=(16,))
    compiled = compile_models([ranker], TINY)
    chip = chip_of(compiled)
    slot = SLOT.from_bytes(chip.entry(Target.SLOT, 0))
    # 3 user and 5 item dense values take a word each; 2 + 2 features of one word.
    assert slot["user_words"] == 3
    assert slot["item_words"] == 3
    assert slot["program_length"] == 5
    steps = [INSTRUCTION.from_bytes(chip.entry(Target.PROGRAM, i)) for i in range(6)]
    assert [step["op"] for step in steps] == [
        Op.LAYER, Op.LAYER, Op.INTERACT, Op.LAYER, Op.LAYER, Op.END,
    ]  # fmt: skip
    places = [(s["source"], s["destination"]) for s in steps[:5]]
    assert places == [
        (Source.GATHERED, Destination.ACT0),
        (Source.ACT0, Destination.ACT1),
        (Source.ACT1, Destination.ACT0),
        (Source.ACT0, Destination.ACT1),
        (Source.ACT1, Destination.SCORE),
    ]
    # 12 -> 2 words, 8 -> 1 word, 8 + 10 pairs -> 1 + 2 words, 16 -> 2 words.
    assert [s["destination_stride"] for s in steps[:4]] == [2, 1, 3, 2]
    assert [s["source_stride"] for s in steps[:5]] == [3, 2, 1, 3, 2]
    assert [s["user_words"] + s["words"] for s in steps[:5]] == [2, 2, 0, 3, 2]
    assert compiled.layouts[0].weight_words == 8 * (2 * 2 + 2 + 3 * 2 + 2)
    assert slot["sub_batch"] == 16  # 128 // 3 words is more than sub_batch_max


def test_sub_batch_is_the_largest_that_fits():
    small = TINY.model_copy(update={"act_words": 32, "sub_batch_max": 16})
    ranker = random_models.random_ranker(np.random.default_rng(0), small, dim=8)
    assert compile_models([ranker], small).layouts[0].sub_batch == 32 // 3
    small = TINY.model_copy(update={"feature_words": 16})
    assert compile_models([ranker], small).layouts[0].sub_batch == 16 // 3


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"weight_words": 100}, r"weight_words must be at least 112 \(model 112\), not 100 \(12 t"),
        ({"param_entries": 40}, r"param_entries must be at least 48 \(model 48\), not 40"),
        (
            {"pair_entries": 9},
            r"pair_entries must be at least 10 \(model 10\), not 9 \(1 too few\)",
        ),
        ({"program_entries": 5}, r"program_entries must be at least 6"),
        ({"feature_entries": 3}, r"feature_entries must be at least 4"),
        ({"user_words": 2}, r"user_words must be at least 3, not 2"),
        ({"feature_words": 2}, r"feature_words \(one item\) must be at least 3, not 2"),
        ({"act_words": 2}, r"act_words \(one item\) must be at least 3, not 2"),
        ({"max_dim": 4}, r"max_dim must be at least 8, not 4"),
        ({"axi_address_bits": 16}, r"axi_address_bits must reach 0x[0-9a-f]+, not 0x10000"),
    ],
)
def test_capacities(update, message):
    ranker = random_models.random_ranker(np.random.default_rng(0), TINY, dim=8)
    with pytest.raises(ValueError, match=message):
        compile_models([ranker], TINY.model_copy(update=update))


def test_too_many_models():
    ranker = random_models.random_ranker(np.random.default_rng(0), WIDE)
    rankers = [replace(ranker, name=f"m{i}") for i in range(3)]
    with pytest.raises(ValueError, match=r"model_slots must be at least 3 for m0, m1, m2, not 2"):
        compile_models(rankers, WIDE)
    with pytest.raises(ValueError, match=r"^model names must differ"):
        compile_models([ranker, ranker], WIDE)
    with pytest.raises(ValueError, match=r"^rankers must hold at least one"):
        compile_models([], WIDE)


def test_layer_wider_than_the_fields():
    ranker = random_models.random_ranker(np.random.default_rng(0), WIDE, dim=8, top=(2048,))
    with pytest.raises(
        ValueError, match=r"top layer 0 must take at most 255 words of 8 B, not 256"
    ):
        compile_models([ranker], WIDE)


def test_layers_of_4096():
    paper = load_accelerator("paper").model_copy(update={"weight_words": 1 << 20})
    sizes = {"dim": 128, "top": (4096, 16), "user_dense": 200}
    ranker = random_models.random_ranker(np.random.default_rng(0), paper, **sizes)
    assert compile_models([ranker], paper).layouts[0].sub_batch == 16384 // 32


@pytest.mark.parametrize(("dim", "row_bytes"), [(1, 4), (4, 4), (5, 8), (16, 16), (65, 128)])
def test_row_bytes(dim, row_bytes):
    assert row_bytes_of(dim) == row_bytes


def test_images_are_checked():
    section = Section(target=Target.PAIR, start=3, payload=bytes(16))
    image = encode_image([section], 8)
    assert decode_image(image, 8) == [section]
    wrong = [
        (image[:8], "an image must have 16 bytes, not 8"),
        (b"X" + image[1:], "image magic must be 0x31415052"),
        (image[:4] + b"\x09" + image[5:], "image version must be 0x1, not 0x9"),
        (image[:-8], "image length must be 48, not 40"),
        (image[:16] + b"\x63" + image[17:], r"section target must be in 0\.\.6, not 99"),
        (image[:17] + b"\x02" + image[18:], "PAIR entries must have 1 words, not 2"),
        (image[:24] + b"\x09" + image[25:], "a PAIR section must end inside 48 bytes"),
    ]
    for raw, message in wrong:
        with pytest.raises(ValueError, match=message):
            decode_image(raw, 8)
    with pytest.raises(ValueError, match="a PAIR section must be a multiple of 8 bytes, not 9"):
        encode_image([replace(section, payload=bytes(9))], 8)
    assert IMAGE_HEADER.from_bytes(image[:16])["sections"] == 1


def test_sections_past_their_memory():
    with pytest.raises(ValueError, match=r"^a PAIR section must end at entry 64, not 65$"):
        OnChip(TINY).fill(Section(target=Target.PAIR, start=63, payload=bytes(16)))


def test_listing_tells_what_runs():
    text = listing(compile_models(two_models(0), TINY))
    assert "slot 0: small" in text
    assert "slot 1: large" in text
    assert "INTERACT ACT1[1] -> ACT0[3]" in text
    assert text.count("END") == 2
    assert "-> SCORE[1] 1 words" in text


def test_manifest_names_everything():
    compiled = compile_models(two_models(0), TINY)
    manifest = json.loads(json.dumps(compiled.manifest))
    assert [m["name"] for m in manifest["models"]] == ["small", "large"]
    assert manifest["stripe_map"]["text"] == "every port sees the whole address space"
    assert len(manifest["ports"]) == TINY.memory_ports
    assert sum(t["bytes"] for t in manifest["tables"]) == sum(
        len(t.payload) for t in compiled.tables
    )
    with pytest.raises(ValueError, match=r"^model must be one of small, large, not 'x'$"):
        compiled.slot("x")
