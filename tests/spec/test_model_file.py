import pytest
import yaml
from pydantic import ValidationError

from rpaccel.spec.model_file import MODELS_DIR, ModelFile, load_model, model_names

OWN = {
    "name": "own", "dim": 5, "user_dense": 1, "item_dense": 2,
    "user_tables": [{"name": "history", "rows": 9, "ids": 3, "pooling": "mean"}],
    "item_tables": [{"name": "tag", "tables": 2, "rows": 7}, {"name": "item", "rows": 30}],
    "bottom": [70, 5], "top": [4096, 3, 1], "interaction": "concat",
}  # fmt: skip


def test_a_file_of_the_users_own(tmp_path):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(OWN))
    model = load_model(tmp_path / "own.yaml")
    assert (model.bottom, model.top) == ((70, 5), (4096, 3, 1))
    groups = [(side, group.names, group.ids, group.pooling) for side, group in model.groups]
    assert groups == [
        ("user", ("history",), 3, "mean"),
        ("item", ("tag0", "tag1"), 1, "sum"),
        ("item", ("item",), 1, "sum"),
    ]


@pytest.mark.parametrize("name", model_names())
def test_shipped_models_are_named_as_their_files(name):
    assert load_model(name).name == name
    assert load_model(MODELS_DIR / f"{name}.yaml") == load_model(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, r"colour\n +Extra inputs are not permitted"),
        ({"dim": 6}, r"bottom must end with dim 6, not 5"),
        ({"top": [4, 2]}, r"top must end with 1, the logit, not 2"),
        ({"top": [0, 1]}, r"layer widths must be at least 1"),
        ({"user_dense": 0, "item_dense": 0}, r"user_dense \+ item_dense must be at least 1, not 0"),
        ({"interaction": "sum"}, r"Input should be 'dot', 'concat' or 'product'"),
        ({"user_tables": [{"name": "tag1", "rows": 1}]}, r"must differ, not repeat 'tag1'"),
        ({"user_tables": [{"name": "x", "rows": 0}]}, r"user_tables.0.rows\n"),
        ({"user_tables": [{"name": "x", "rows": 1, "ids": 129}]}, r"user_tables.0.ids\n"),
        ({"late_products": -1}, r"late_products\n"),
        ({"user_tables": [{"name": "x", "ones": True, "rows": 2}]}, r"1 row and 1 id, not 2 and 1"),
        ({"user_tables": [{"rows": 1}]}, r"user_tables.0.name\n +Field required"),
    ],
)
def test_rejects(change, message):
    with pytest.raises(ValidationError, match=message):
        ModelFile.model_validate(OWN | change, strict=False)
