import pytest
from pydantic import ValidationError

from rpaccel.spec.sweep import LaneSplit, SweepSpec, load_sweep, sweep_names


def spec(axes=None, **fields):
    return SweepSpec.model_validate({"name": "test", "axes": axes or {}} | fields)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (64, (64,)),
        ([64, 32], (64, 32)),
        ({"from": 16, "to": 64, "factor": 2}, (16, 32, 64)),
        ({"from": 16, "to": 70, "step": 24}, (16, 40, 64)),
        ({"from": 5, "to": 5, "step": 1}, (5,)),
    ],
)
def test_axes_are_values_or_ranges(given, values):
    assert spec({"front_sub_batch": given}).axes.front_sub_batch == values


@pytest.mark.parametrize(
    ("text", "lanes", "written"),
    [
        ("8*1x1+2*2x2", ((1, 1),) * 8 + ((2, 2),) * 2, "8*1x1+2*2x2"),
        (" 1*4x4 ", ((4, 4),), "1*4x4"),
        ("1*2x4 + 2*1x2", ((2, 4), (1, 2), (1, 2)), "1*2x4+2*1x2"),
    ],
)
def test_splits(text, lanes, written):
    split = LaneSplit.model_validate(text)
    assert (split.lanes, str(split)) == (lanes, written)
    assert LaneSplit.model_validate_json(split.model_dump_json()) == split


def test_shipped_sweeps_are_specs():
    assert sweep_names() == ["criteo", "criteo_10m", "rmlarge_layers"]
    for name in sweep_names():
        shipped = load_sweep(name)
        assert shipped.name == name
        assert SweepSpec.model_validate_json(shipped.model_dump_json()) == shipped


@pytest.mark.parametrize(
    ("axes", "place", "message"),
    [
        ({"kk": 3}, ("axes", "kk"), "Extra inputs are not permitted"),
        ({"k": []}, ("axes", "k"), "values must be 1 to 4096, not 0"),
        ({"k": [3, 3]}, ("axes", "k"), "every value must be given once"),
        ({"k": 1.5}, ("axes", "k", 0), "valid integer"),
        ({"k": True}, ("axes", "k", 0), "valid integer"),
        ({"k": "many"}, ("axes", "k", 0), "valid integer"),
        ({"array_size": 256}, ("axes", "array_size"), "values must be in 16..128, not 256"),
        ({"k": {"from": 1, "to": 9}}, ("axes", "k"), "must have a step of at least 1 or a factor"),
        ({"k": {"from": 1, "to": 9, "factor": 1}}, ("axes", "k"), "must have a step"),
        ({"k": {"from": 1, "to": 9, "step": 1, "factor": 2}}, ("axes", "k"), "must have a step"),
        ({"k": {"from": 9, "to": 1, "step": 1}}, ("axes", "k"), "must go up from , not 9 to 1"),
        ({"k": {"from": 0, "to": 9, "factor": 2}}, ("axes", "k"), "must go up from 1.., not 0"),
        ({"k": {"from": 1, "to": 9999, "step": 1}}, ("axes", "k"), "at most 4096 values"),
        ({"k": {"from": 1, "to": 9, "by": 1}}, ("axes", "k", "by"), "Extra inputs"),
        ({"memory_ports": [2, 1]}, ("axes", "memory_ports"), "powers of two and go up"),
        ({"beat_bytes": [24]}, ("axes", "beat_bytes"), "powers of two and go up"),
        ({"split": "8+2"}, ("axes", "split", 0), "must be like 8*1x1+2*2x2 or 1*4x4, not '8+2'"),
    ],
)
def test_errors_name_the_key(axes, place, message):
    with pytest.raises(ValidationError) as error:
        spec(axes)
    first = error.value.errors()[0]
    assert first["loc"] == place
    assert message in first["msg"]


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ({"minimise": ["speed"]}, "names must be of .*, not 'speed'"),
        ({"minimise": ["k"], "maximise": ["k"]}, "every name once"),
        ({"minimise": [], "maximise": []}, "at least one name"),
        ({"maximise": ["split"]}, "split must not be minimised or maximised"),
        ({"weights": [1]}, "Extra inputs"),
    ],
)
def test_fronts_are_of_columns(front, message):
    with pytest.raises(ValidationError, match=message):
        spec(front=front)


def test_unknown_sweep():
    with pytest.raises(
        ValueError, match=r"^sweep must be one of criteo, criteo_10m, rmlarge_layers, not 'big'$"
    ):
        load_sweep("big")


def test_a_topology_lies_beside_its_spec(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nworkload: net.csv\n")
    with pytest.raises(FileNotFoundError):
        load_sweep(path)
    (tmp_path / "net.csv").write_text("Layer,M,N,K\nonly,1,2,3\n")
    found = load_sweep(path)
    assert found.is_gemm
    assert [layer.inputs for layer in found.layers] == [3]
    assert SweepSpec.model_validate_json(found.model_dump_json()) == found
