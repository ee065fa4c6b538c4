import json
import re
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.lane import rank
from rpaccel.host.compile import compile_models
from rpaccel.host.decode import OnChip
from rpaccel.host.image import Section, decode_image, encode_image
from rpaccel.host.listing import listing
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import (
    IMAGE_HEADER,
    INSTRUCTION,
    PARAM,
    SLOT,
    Destination,
    Interaction,
    Op,
    Source,
    Target,
)
from rpaccel.workloads import random_models

TINY = load_accelerator("tiny")
WIDE = TINY.model_copy(
    update={
        "name": "wide", "weight_words": 1 << 20, "param_entries": 1 << 16, "max_dim": 128,
        "pair_entries": 4096, "act_words": 4096, "feature_words": 4096, "user_words": 256,
        "cross_words": 4096, "dense_words": 4096, "feature_entries": 128, "program_entries": 64,
        "item_record_bytes": 256, "user_record_bytes": 4096,
    }
)  # fmt: skip
GRID = WIDE.model_copy(update={"name": "grid", "array_size": 32})  # 8 x 8 blocks of 4: stacks 8
SPLIT = GRID.model_copy(update={"lanes": 3, "lane_blocks": (4, (2, 8), (4, 1))})
LANES = [SPLIT.lane(n) for n in range(3)]  # rectangles of 8 x 8 blocks


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
    for section in decode_image(compiled.image, compiled.config.image_bytes):
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


CONFIGS = pytest.mark.parametrize("config", [WIDE, GRID, *LANES], ids=lambda c: c.name)
LATE_SHAPES = [
    {"dim": 4, "user_tables": 1, "item_tables": 1, "late_products": 1},
    {"dim": 4, "user_tables": 5, "item_tables": 4, "late_products": 2},
    {"dim": 33, "user_tables": 3, "item_tables": 4, "late_products": 3, "top": (70, 9)},
]


@CONFIGS
@pytest.mark.parametrize("kind", list(Interaction), ids=lambda kind: kind.name)
@pytest.mark.parametrize("sizes", SHAPES)
def test_image_means_the_same_ranker(sizes, kind, config):
    means_the_same(sizes, kind, config)


@CONFIGS
@pytest.mark.parametrize("sizes", LATE_SHAPES)
def test_image_means_the_same_late_products(sizes, config):
    means_the_same(sizes, Interaction.PRODUCT, config)


def means_the_same(sizes, kind, config):
    rng = np.random.default_rng(len(str(sizes)))
    ranker = random_models.random_ranker(rng, config, interaction=kind, **sizes)
    query = random_models.random_query(rng, config, [ranker], items=20)
    compiled = compile_models([ranker], config)
    decoded = chip_of(compiled).decode(0, memory_of(compiled))
    expected = rank(ranker, query.user_record, query.features, query.candidates)
    got = rank(decoded.ranker, query.user_record, query.features, query.candidates)
    assert got.logits.tolist() == expected.logits.tolist()
    assert np.ptp(expected.logits) > 0
    one_sided = kind is Interaction.PRODUCT and not len(ranker.pair_multiplier)
    assert decoded.ranker.interaction is (Interaction.CONCAT if one_sided else kind)
    assert decoded.ranker.edges.tolist() == ranker.edges.tolist()
    assert decoded.ranker.threshold == ranker.threshold


@pytest.mark.parametrize("seed", range(24))
def test_random_models_of_random_machines(seed):
    rng = np.random.default_rng(seed)
    array_size = int(rng.choice([8, 16, 32]))
    update = {
        "array_size": array_size,
        "axi_data_bits": int(rng.choice([64, 8 * array_size])),
        "block_size": int(rng.choice([4, array_size])),
    }
    config = WIDE.model_copy(update=update)
    if seed % 2 and config.blocks > 1:
        config = config.model_copy(update={"lanes": 2, "lane_blocks": (2, 1)}).lane(0)

    def widths():
        return tuple(int(x) for x in rng.integers(1, 4 * array_size, rng.integers(0, 4)))

    dims = rng.integers(1, 129, 2).tolist()
    first = random_models.random_ranker(
        rng, config, name="first", dim=dims[0], bottom=widths(), top=widths(), interaction=None,
        user_dense=int(rng.integers(0, 40)), item_dense=int(rng.integers(1, 40)),
        user_tables=int(rng.integers(0, 5)), item_tables=int(rng.integers(1, 8)), max_ids=2,
    )  # fmt: skip
    second = random_models.shared_schema(
        rng, config, first, name="second", dim=dims[1], bottom=widths(), top=widths(),
        interaction=None,
    )  # fmt: skip
    compiled = compile_models([first, second], config)
    chip, memory = chip_of(compiled), memory_of(compiled)
    query = random_models.random_query(rng, config, [first, second], items=7)
    for slot, ranker in enumerate([first, second]):
        decoded = chip.decode(slot, memory)
        assert decoded.sub_batch == compiled.layouts[slot].sub_batch
        expected = rank(ranker, query.user_record, query.features, query.candidates)
        got = rank(decoded.ranker, query.user_record, query.features, query.candidates)
        assert got.logits.tolist() == expected.logits.tolist()


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
    ranker = random_models.random_ranker(rng, TINY, dim=8, bottom=(12, 5), top=(16,))
    compiled = compile_models([ranker], TINY)
    chip = chip_of(compiled)
    slot = SLOT.from_bytes(chip.entry(Target.SLOT, 0))
    # 3 user and 5 item dense values take a word each; 2 + 2 vectors of 8 B, a vector word each.
    assert (slot["user_dense_words"], slot["item_dense_words"]) == (1, 1)
    assert (slot["user_vector_words"], slot["item_vector_words"]) == (2, 2)
    assert slot["program_length"] == 6
    steps = [INSTRUCTION.from_bytes(chip.entry(Target.PROGRAM, i)) for i in range(7)]
    assert [step["op"] for step in steps] == [
        Op.LAYER, Op.LAYER, Op.LAYER, Op.INTERACT, Op.LAYER, Op.LAYER, Op.END,
    ]  # fmt: skip
    layers = [step for step in steps if step["op"] == Op.LAYER]
    assert [(s["source_b"], s["destination"]) for s in layers] == [
        (Source.DENSE, Destination.ACT0),
        (Source.ACT0, Destination.ACT1),
        (Source.ACT1, Destination.BOTTOM),
        (Source.CROSS, Destination.ACT0),
        (Source.ACT0, Destination.SCORE),
    ]
    # 12 -> 2 words, 5 and 8 -> 1 word, 8 + 10 pairs -> 3 words, 16 -> 2 words.
    assert [(s["words_a"], s["words_b"], s["stride_b"], s["n_steps"]) for s in layers] == [
        (1, 1, 1, 2), (0, 2, 2, 1), (0, 1, 1, 1), (0, 3, 3, 2), (0, 2, 2, 1),
    ]  # fmt: skip
    assert [s["destination_stride"] for s in steps[:5]] == [2, 1, 1, 3, 2]
    assert [s["weight_base"] for s in layers] == [4 * x for x in (0, 4, 6, 7, 13)]
    assert [s["param_base"] for s in layers] == [0, 2, 3, 4, 6]
    assert not any(s[name] for s in layers for name in ("stack", "stride_a", "offset_a"))
    assert compiled.layouts[0].weight_words == 8 * (2 * 2 + 2 + 1 + 3 * 2 + 2)
    assert slot["sub_batch"] == 16


@pytest.mark.parametrize("item_dense", [3, 7, 13, 30])
def test_weights_and_parameters_lie_where_the_array_reads_them(item_dense):
    # The address rules, one byte at a time.
    rng = np.random.default_rng(item_dense)
    small = random_models.random_ranker(rng, GRID, name="small")
    sizes = {"user_dense": 0, "item_dense": item_dense, "bottom": (70,), "dim": 40}
    ranker = random_models.random_ranker(rng, GRID, **sizes)
    chip = chip_of(compile_models([small, ranker], GRID))
    a, b, blocks = 32, 4, 8
    slot = SLOT.from_bytes(chip.entry(Target.SLOT, 1))
    at = slot["program_base"]
    steps = [INSTRUCTION.from_bytes(chip.entry(Target.PROGRAM, at + i)) for i in range(2)]
    for step, layer in zip(steps, ranker.bottom, strict=True):
        groups, folds = 1 << step["stack"], step["words_a"] + step["words_b"]
        height = blocks // groups
        weights = np.zeros((folds * a, step["n_steps"] * groups * a), np.int64)
        weights[: layer.inputs, : layer.outputs] = layer.weights
        bias = np.zeros(step["n_steps"] * groups * a, np.int64)
        bias[: layer.outputs] = layer.bias
        for i in range(blocks):
            for n in range(step["n_steps"]):
                word = n * groups + i // height
                for k in range(folds):
                    for r in range(b):
                        row = step["weight_base"] + (n * folds + k) * b + b - 1 - r
                        raw = chip.entry(Target.WEIGHT, i * GRID.tile_weight_rows + row)
                        expected = weights[k * a + (i % height) * b + r, word * a : (word + 1) * a]
                        assert np.frombuffer(raw, np.int8).tolist() == expected.tolist()
                if i % height == height - 1:
                    for c in range(a):
                        entry = (step["param_base"] + n) * a + c
                        raw = chip.entry(Target.PARAM, i * GRID.param_entries + entry)
                        assert PARAM.from_bytes(raw)["bias"] == bias[word * a + c]


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
        ({"user_words": 0}, r"user_words \(dense\) must be at least 1, not 0"),
        ({"user_words": 1}, r"user_vector_words \(from user_words\) must be at least 2, not 1"),
        (
            {"feature_words": 1},
            r"engine_vector_words \(from feature_words, one item\) must be at least 2, not 1",
        ),
        ({"dense_words": 0}, r"dense_words \(one item\) must be at least 1, not 0"),
        ({"act_words": 1}, r"act_words \(one item\) must be at least 2, not 1 \(1 too few\)"),
        (
            {"cross_words": 2},
            r"engine_cross_words \(from cross_words, one item\) must be at least 3, not 2",
        ),
        ({"max_dim": 4}, r"max_dim must be at least 8, not 4"),
        ({"axi_address_bits": 16}, r"axi_address_bits must reach 0x[0-9a-f]+, not 0x10000"),
    ],
)
def test_capacities(update, message):
    ranker = random_models.random_ranker(np.random.default_rng(0), TINY, dim=8)
    with pytest.raises(ValueError, match=message):
        compile_models([ranker], TINY.model_copy(update=update))


def test_all_exceeded_limits_are_named_at_once():
    ranker = random_models.random_ranker(np.random.default_rng(0), TINY, dim=8)
    update = {"act_words": 1, "max_dim": 4, "weight_words": 100, "model_slots": 1}
    rankers = [ranker, replace(ranker, name="other")]
    with pytest.raises(ValueError, match=r"^tiny, model 'model': max_dim") as caught:
        compile_models(rankers, TINY.model_copy(update=update))
    parts = str(caught.value).split("; ")
    assert [part.split(" must ")[0] for part in parts] == [
        "tiny, model 'model': max_dim", "tiny, model 'model': act_words (one item)",
        "tiny, model 'other': max_dim", "tiny, model 'other': act_words (one item)",
        "tiny: model_slots", "tiny: weight_words",
    ]  # fmt: skip
    assert parts[-1].endswith("at least 224 (model 112, other 112), not 100 (124 too few)")


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
    ranker = random_models.random_ranker(np.random.default_rng(0), WIDE, dim=8, top=(32768,))
    message = r"top layer 0 must take at most 4095 words of 8 B, not 4096 \(1 too many\)"
    with pytest.raises(ValueError, match=message):
        compile_models([ranker], WIDE)
    ranker = random_models.random_ranker(np.random.default_rng(0), WIDE, user_dense=256)
    with pytest.raises(ValueError, match=r"user_dense must be at most 255, not 256 \(1 too many\)"):
        compile_models([ranker], WIDE)


@pytest.mark.parametrize("preset", ["tiny", "edge", "default", "paper"])
def test_layers_of_4096_and_64_tables(preset):
    config = load_accelerator(preset).model_copy(
        update={
            "weight_words": 1 << 20, "param_entries": 1 << 16, "act_words": 4096, "max_dim": 128,
            "cross_words": 1 << 16, "feature_words": 1 << 19, "user_words": 256,
            "pair_entries": 4096, "feature_entries": 64, "item_record_bytes": 256,
        }
    )  # fmt: skip
    sizes = {"dim": 128, "user_dense": 0, "item_dense": 11, "user_tables": 9, "item_tables": 55}
    sizes |= {"bottom": (4096, 24), "top": (1000, 3), "max_ids": 1, "max_rows": 4}
    ranker = random_models.random_ranker(np.random.default_rng(0), config, **sizes)
    compiled = compile_models([ranker], config)
    assert compiled.layouts[0].plan.most_items == config.array_size  # 4096 words of activations
    decoded = chip_of(compiled).decode(0, memory_of(compiled))
    query = random_models.random_query(np.random.default_rng(0), config, [ranker], items=5)
    expected = rank(ranker, query.user_record, query.features, query.candidates).logits
    got = rank(decoded.ranker, query.user_record, query.features, query.candidates).logits
    assert got.tolist() == expected.tolist()


def test_programs_without_their_interaction_are_refused():
    compiled = compile_models(two_models(0)[:1], TINY)
    memory, broken = memory_of(compiled), chip_of(compiled)
    step = INSTRUCTION.from_bytes(broken.entry(Target.PROGRAM, 0))

    def decode(index, **change):
        chip = chip_of(compiled)
        raw = INSTRUCTION.to_bytes(step | change)
        chip.fill(Section(target=Target.PROGRAM, start=index, payload=raw))
        return chip.decode(0, memory)

    with pytest.raises(ValueError, match=r"a program must be layers around one INTERACT"):
        decode(0, op=Op.INTERACT)
    with pytest.raises(ValueError, match=r"^the last layer of an MLP must write BOTTOM$"):
        decode(1)
    with pytest.raises(ValueError, match=r"^a layer of 16 channels must have 1 steps of 1 words$"):
        decode(0, n_steps=1)
    with pytest.raises(ValueError, match=r"^a layer of 16 channels must have 4 steps of 4 words$"):
        decode(0, n_steps=4, stack=2)


def test_images_are_checked():
    section = Section(target=Target.PAIR, start=3, payload=bytes(16))
    image = encode_image([section], 8)
    assert decode_image(image, 8) == [section]
    wrong = [
        (image[:8], "an image must have 16 bytes, not 8"),
        (b"X" + image[1:], "image magic must be 0x31415052"),
        (image[:4] + b"\x09" + image[5:], "image version must be 0x3, not 0x9"),
        (image[:-8], "image length must be 48, not 40"),
        (image[:16] + b"\x63" + image[17:], r"section target must be in 0..8, not 99"),
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
    assert re.search(r"\n +0  LAYER +USER 1 \+ DENSE 1 +ACT0\[2\] +8 +12 +2 +2 x 1 +4 +37\.5", text)
    assert re.search(r"\n +2  INTERACT +1\+2\+2 vectors +CROSS\[3\] DOT, PAIR\+0\n", text)
    assert re.search(r"\n +12  END\n    total 19 tiles, ", text)
    assert text.count("END") == 2
    # 8 x 12 + 12 x 8 + 18 x 16 + 16 useful MACs in 14 tiles of 64.
    assert "total 14 tiles, 496 useful of 896 MACs per item: bound 55.4 %" in text
    assert re.search(r"WEIGHT +264 +1024 +25\.8\nPARAM +112 +128 +87\.5\n", text)


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
