import json

import pytest
import yaml

OWN = {
    "name": "own", "dim": 20, "user_dense": 3, "item_dense": 11, "bottom": [100, 20],
    "top": [60, 1], "interaction": "concat",
    "user_tables": [{"name": "history", "rows": 1000, "ids": 20, "pooling": "mean"}],
    "item_tables": [{"name": "item", "rows": 500}, {"name": "tag", "tables": 3, "rows": 70}],
}  # fmt: skip


@pytest.fixture
def own(tmp_path):
    def write(**change):
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(OWN | change))
        return path

    return write


def test_a_file_is_compiled_and_listed(rpaccel, own, tmp_path):
    status, text, error = rpaccel("compile", "--model", own(), "--listing", "--out", tmp_path / "a")
    assert (status, error) == (0, "")
    assert text == (tmp_path / "a" / "listing.txt").read_text() + "\n"
    lines = text.splitlines()
    assert lines[0].startswith("parameters are drawn")
    # 3 dense bytes, a count and 20 ids; 11 dense bytes and 4 ids.
    assert lines[1] == "user record: 96 B in memory, 88 B of them read"
    assert lines[2] == "item record: 32 B in memory, 28 B of them read"
    assert "slot 0: own" in lines
    assert any("CONCAT of vectors of 20 B in rows of 32 B: 1 + 1 user + 4 item" in x for x in lines)
    assert any(x.endswith("rows of  32 B  history: 20 ids, MEAN, user word 1") for x in lines)
    assert any(x.endswith("rows of  32 B  tag2: 1 id, item word 6") for x in lines)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    image = (tmp_path / "a" / "image.bin").read_bytes()
    assert manifest["image"]["bytes"] == len(image)
    assert [model["name"] for model in manifest["models"]] == ["own"]


def test_a_slot_for_each_file(rpaccel, own, tmp_path):
    status, text, _ = rpaccel(
        "compile", "--model", "rmlarge", "--model", own(item_dense=13), "--preset", "default",
        "--json", "--out", tmp_path / "a",
    )  # fmt: skip
    assert status == 0
    models = json.loads(text)["models"]
    assert [(model["slot"], model["name"]) for model in models] == [(0, "rmlarge"), (1, "own")]


def test_the_seed_draws_parameters_only(rpaccel, own, tmp_path):
    texts = []
    for seed in (0, 0, 1):
        out = tmp_path / str(len(texts))
        _, text, _ = rpaccel("compile", "--model", own(), "--seed", seed, "--out", out, "--listing")
        texts.append((text, (out / "image.bin").read_bytes()))
    assert texts[0] == texts[1]
    assert texts[0][0] == texts[2][0]
    assert texts[0][1] != texts[2][1]


def test_a_late_join_is_listed(rpaccel, tmp_path):
    status, text, _ = rpaccel(
        "compile", "--model", "neumf", "--preset", "default", "--listing", "--out", tmp_path / "a"
    )
    assert status == 0
    # Vectors of 64 B, two words each: the product lies behind vector 0.
    assert "INTERACT  1+3+3 vectors       CROSS[8] PRODUCT (1 for the last layer), PAIR+0" in text
    assert "LAYER     CROSS 2 + ACT0 2    SCORE[1]     128       1  4" in text


def test_every_exceeded_limit_is_named(rpaccel, own):
    path = own(top=[4096, 4096, 1], item_dense=300)
    status, _, error = rpaccel("compile", "--model", path, "--preset", "tiny")
    assert (status, error.count("\n")) == (2, 1)
    for part in (
        "error: tiny, model 'own': max_dim must be at least 20, not 16 (4 too few)",
        "tiny, model 'own': item_dense must be at most 255, not 300 (45 too many)",
        "tiny, model 'own': act_words (one item) must be at least 512, not 128 (384 too few)",
        "tiny: weight_words must be at least 2204024 (own 2204024), not 1024 (2203000 too few)",
        "tiny: param_entries must be at least 8336 (own 8336), not 128 (8208 too few)",
    ):
        assert part in error
    assert "pair_entries" not in error and "program_entries" not in error


def test_records_have_limits_too(rpaccel, own):
    path = own(item_tables=[{"name": "tag", "tables": 3, "rows": 70, "ids": 20}])
    _, _, error = rpaccel("compile", "--model", path, "--preset", "edge")
    assert error == (
        "error: edge: item_record_bytes must be at least 512, not 64 (448 B too few)\n"
    )


def test_an_unknown_model(rpaccel):
    status, _, error = rpaccel("compile", "--model", "huge")
    assert (status, error) == (2, "error: model must be one of neumf, rmlarge, not 'huge'\n")
    status, _, error = rpaccel("compile", "--model", "none.yaml")
    assert (status, error) == (2, "error: none.yaml: No such file or directory\n")
