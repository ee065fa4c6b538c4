import pytest

from rpaccel.spec.platform import load_platform
from rpaccel.spec.preset_file import names_in, read_preset
from rpaccel.spec.recpipe import load_recpipe


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.yaml").write_text("size: 2\n")
    (tmp_path / "a.yaml").write_text("size: 1\n")
    (tmp_path / "broken.yaml").write_text("lanes: [1\n")
    return tmp_path


def test_a_preset_is_found_by_name_or_by_path(folder):
    assert names_in(folder) == ["a", "b", "broken"]
    assert read_preset("b", folder, "thing") == {"size": 2}
    assert read_preset(folder / "a.yaml", folder / "elsewhere", "thing") == {"size": 1}


def test_an_unknown_name_says_which_there_are(folder):
    with pytest.raises(ValueError, match=r"^thing must be one of a, b, broken, not 'c'$"):
        read_preset("c", folder, "thing")


@pytest.mark.parametrize("load", [load_platform, load_recpipe])
def test_a_file_that_is_not_yaml_is_a_wrong_value(folder, load):
    with pytest.raises(ValueError, match=r"broken\.yaml must be YAML: while parsing"):
        load(folder / "broken.yaml")
