import numpy as np
import pytest

from rpaccel.golden.lane import rank
from rpaccel.golden.requantise import requantise
from rpaccel.golden.vector_unit import layer, score_layer
from rpaccel.host.compile import compile_models
from rpaccel.host.decode import OnChip
from rpaccel.host.image import decode_image
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.model_file import ModelFile, load_model
from rpaccel.workloads.drawn_models import draw_rankers
from rpaccel.workloads.random_models import random_query

EDGE = load_accelerator("edge")
SMALL = {
    "name": "small", "dim": 4, "item_dense": 3, "bottom": [4], "top": [8, 1],
    "user_tables": [{"name": "user", "rows": 50}],
    "item_tables": [{"name": "item", "rows": 90}],
}  # fmt: skip
LARGE = {
    "name": "large", "dim": 33, "user_dense": 6, "item_dense": 9, "bottom": [100, 33],
    "top": [257, 31, 1], "interaction": "product",
    "user_tables": [{"name": "history", "rows": 20, "ids": 5, "pooling": "mean"}],
    "item_tables": [{"name": "tag", "tables": 2, "rows": 7, "ids": 2}, {"name": "item", "rows": 9}],
}  # fmt: skip


def models(*values):
    return [ModelFile.model_validate(each, strict=False) for each in values]


def test_a_drawn_ranker_has_the_shape_of_its_file():
    (large,) = draw_rankers(models(LARGE), 0)
    assert (large.dim, large.user_dense, large.item_dense) == (33, 6, 9)
    assert [layer.outputs for layer in large.bottom] == [100, 33]
    assert [(layer.inputs, layer.relu) for layer in large.top] == [
        (33 * 4, True), (257, True), (31, False),
    ]  # fmt: skip
    assert [(f.name, f.rows, f.max_ids, f.pooling.name) for f in large.features] == [
        ("history", 20, 5, "MEAN"), ("tag0", 7, 2, "SUM"), ("tag1", 7, 2, "SUM"),
        ("item", 9, 1, "SUM"),
    ]  # fmt: skip


def test_models_read_the_same_records():
    small, large = draw_rankers(models(SMALL, LARGE), 0)
    # 6 and 9 dense bytes: 2 and 3 words; a count and 5 ids; a count and 2 ids.
    assert {f.name: f.word for f in small.features} == {"user": 2, "item": 3}
    assert {f.name: f.word for f in large.features} == {
        "history": 3, "item": 3, "tag0": 4, "tag1": 7,
    }  # fmt: skip


@pytest.mark.parametrize("preset", ["edge", "default"])
def test_the_image_means_what_was_drawn(preset):
    update = {"param_entries": 8192, "weight_words": 1 << 16, "user_words": 256}
    config = load_accelerator(preset).model_copy(update=update)
    rankers = draw_rankers(models(SMALL, LARGE), 3)
    compiled = compile_models(rankers, config)
    memory = np.zeros(compiled.limit, dtype=np.uint8)
    for address, payload in compiled.segments():
        memory[address : address + len(payload)] = np.frombuffer(payload, dtype=np.uint8)
    chip = OnChip(config)
    for section in decode_image(compiled.image, config.image_bytes):
        chip.fill(section)
    query = random_query(np.random.default_rng(0), config, rankers, items=9)
    for slot, ranker in enumerate(rankers):
        decoded = chip.decode(slot, memory).ranker
        expected = rank(ranker, query.user_record, query.features, query.candidates).logits
        got = rank(decoded, query.user_record, query.features, query.candidates).logits
        assert got.tolist() == expected.tolist()
        assert np.ptp(expected) > 0


def test_neumf_by_its_formula():
    (neumf,) = draw_rankers([load_model("neumf")], 4)
    query = random_query(np.random.default_rng(2), EDGE, [neumf], items=12)
    logits = rank(neumf, query.user_record, query.features, query.candidates).logits
    words = query.features.view("<u4")[query.candidates]
    user = np.frombuffer(query.user_record, dtype="<u4")

    def vectors(name):
        (feature,) = (each for each in neumf.features if each.name == name)
        ids = words[:, feature.word] if feature.side == "item" else user[feature.word]
        return np.broadcast_to(feature.table[ids], (12, 64)).astype(np.int64)

    dense = np.frombuffer(query.user_record, np.int8)[:1]
    x0 = layer(np.repeat(dense[None], 12, axis=0), neumf.bottom[0])
    scale = neumf.pair_multiplier[0].astype(np.int64), neumf.pair_shift[0].astype(np.int64)
    factors = requantise(vectors("user_mf") * vectors("item_mf"), *scale, -127, 127)
    x = np.concatenate([x0, vectors("user_mlp"), vectors("item_mlp")], axis=1)
    for each in neumf.top[:-1]:
        x = layer(x, each)
    expected = score_layer(np.concatenate([factors, x], axis=1), neumf.top[-1])
    assert logits.tolist() == expected.tolist()
    assert np.ptp(factors) > 0


def test_large_tables_take_no_memory():
    wide = {**SMALL, "item_tables": [{"name": "item", "tables": 26, "rows": 40_000_000}]}
    (ranker,) = draw_rankers(models(wide), 0)
    compiled = compile_models([ranker], load_accelerator("default"))
    assert compiled.tables[-1].size == 4 * 40_000_000
    assert compiled.limit > 26 * compiled.tables[-1].size
    message = r"^edge: axi_address_bits must reach 0x\w+, not 0x100000000 \(\d+ B too few\)$"
    wider = load_accelerator("edge").model_copy(update={"pair_entries": 4096})
    with pytest.raises(ValueError, match=message):
        compile_models(draw_rankers(models({**wide, "dim": 32, "bottom": [32]}), 0), wider)


def test_a_shared_name_is_one_feature():
    other = {**SMALL, "name": "other", "item_tables": [{"name": "item", "rows": 5, "ids": 2}]}
    message = r"^model 'other': table 'item' must have 1 ids of the item as in 'small', not 2 of"
    with pytest.raises(ValueError, match=message):
        draw_rankers(models(SMALL, other), 0)
    other |= {"item_tables": [{"name": "user", "rows": 5}], "user_tables": []}
    with pytest.raises(ValueError, match=r"1 ids of the user as in 'small', not 1 of the item$"):
        draw_rankers(models(SMALL, other), 0)
    many = {**SMALL, "item_tables": [{"name": "t", "tables": 64, "rows": 5}]}
    with pytest.raises(ValueError, match=r"^small: tables must be in 1..64, not 65$"):
        draw_rankers(models(many), 0)
