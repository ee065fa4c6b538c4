import pytest
import yaml

from rpaccel.spec.deeprec import DEEPREC_DIR, DeeprecConfig, deeprec_names, load_deeprec

# Sizes that DeepRecSys' published configurations have: GB of tables, rows read per item, bytes
# read per item, million multiply-accumulates of the fully connected layers.
PUBLISHED = {
    "dlrm-rmc1": (4.10, 640, 81_920, 0.100),
    "dlrm-rmc2": (4.10, 3_840, 983_040, 0.320),
    "dlrm-rmc3": (2.56, 200, 25_600, 3.20),
    "wnd": (3.46, 27, 3_456, 2.06),
    "mt-wnd": (3.90, 43, 5_504, 3.77),
    "ncf": (0.086, 4, 1_024, 0.143),
    "din": (2.70, 762, 97_536, 0.042),
    "dien": (3.90, 43, 5_504, 0.048),
}
MEDIUM_MS = {
    "dlrm-rmc1": 100, "dlrm-rmc2": 400, "dlrm-rmc3": 100, "ncf": 5,
    "wnd": 25, "mt-wnd": 25, "din": 100, "dien": 35,
}  # fmt: skip


def test_holds_the_eight_models():
    assert deeprec_names() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_sizes_are_the_published_ones(name):
    config = load_deeprec(name)
    gigabytes, lookups, row_bytes, megamacs = PUBLISHED[name]
    assert config.name == name
    assert config.table_bytes / 1e9 == pytest.approx(gigabytes, rel=2e-3)
    assert config.lookups_per_item == lookups
    assert config.row_bytes_per_item == row_bytes
    # NCF: the published count joins no matrix factorisation branch in front of the last layer.
    joined = 64 * 64 if name == "ncf" else 0
    assert (config.macs["dense"] - joined) / 1e6 == pytest.approx(megamacs, rel=6e-3)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_targets(name):
    sla = load_deeprec(name).sla
    assert sla.ms("medium") == MEDIUM_MS[name]
    assert (sla.ms("low"), sla.ms("high")) == (0.5 * sla.medium_ms, 1.5 * sla.medium_ms)
    assert sla.percentile == 95.0


def test_one_task_of_mt_wnd_is_as_published():
    one = load_deeprec("mt-wnd").model_copy(update={"tasks": 1})
    assert one.macs["dense"] / 1e6 == pytest.approx(2.62, rel=2e-3)


def test_recurrent_layers_cost_three_tanh_layers():
    # Two tanh layers of 64 over 40 behaviours: 0.57 M; a GRU has three gates of that size.
    assert load_deeprec("dien").macs["recurrent"] / 3e6 == pytest.approx(0.57, rel=1e-2)


def test_parameters_by_hand():
    ncf = load_deeprec("ncf")
    layers = ((128, 256), (256, 256), (256, 128), (128, 64), (128, 64), (64, 1))
    assert ncf.parameters == sum(k * n + n for k, n in layers)
    dien = load_deeprec("dien")
    top = 160 * 200 + 200 + 200 * 80 + 80 + 80 * 2 + 2
    grus = 3 * 64 * (32 + 64 + 2) + 3 * 64 * (64 + 64 + 2)
    assert dien.parameters == top + grus + 64 * 32


def test_scales_rows():
    group = load_deeprec("dlrm-rmc1").groups[0]
    assert group.scaled_rows(0.25) == 1_000_000
    assert group.scaled_rows(1e-9) == 1
    for scale in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match=r"^scale_rows must be above 0 and at most 1, not"):
            group.scaled_rows(scale)


def document(name):
    return yaml.safe_load((DEEPREC_DIR / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ncf", {"rows": 3}, r"rows\n  Extra inputs are not permitted"),
        ("ncf", {"head": []}, "kind neumf must have a head and two vectors in each group"),
        ("ncf", {"dense": 3}, "dense must be 0 for kind neumf, not 3"),
        ("din", {"attention": []}, "attention must be given for kind interest"),
        ("din", {"attention": [2]}, "attention must end with 1, not 2"),
        ("dien", {"hidden": 0}, "hidden must be given for kind evolution"),
        ("wnd", {"kind": "interest"}, "groups of kind interest must be profile, behaviour, "),
        ("wnd", {"tasks": 2}, "head must not be empty with 2 tasks"),
        ("wnd", {"top": [4, 0]}, "layer widths must be at least 1"),
        ("wnd", {"dense": 0, "bottom": [4]}, "dense must be at least 1 with a bottom MLP, not 0"),
        (
            "wnd",
            {"groups": [{"name": "a", "tables": 4, "rows": 1_000_000_000}]},
            "group a must have at most 2147483648 rows, not 4 x 1000000000",
        ),
    ],
)
def test_rejects(name, change, message):
    with pytest.raises(ValueError, match=message):
        DeeprecConfig.model_validate(document(name) | change, strict=False)


def test_targets_must_grow():
    bad = document("ncf")
    bad["sla"]["low_ms"] = 9.0
    with pytest.raises(ValueError, match=r"SLA targets must grow from low to high, not 9\.0, 5\.0"):
        DeeprecConfig.model_validate(bad, strict=False)


def test_unknown_model():
    with pytest.raises(ValueError, match=r"^model must be one of dien, din, .*, not 'rm9'"):
        load_deeprec("rm9")
