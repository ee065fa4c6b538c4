import pytest

from rpaccel.spec.platform import load_platform, platform_names


@pytest.mark.parametrize("name", platform_names())
def test_presets_load(name):
    platform = load_platform(name)
    assert platform.name == name
    assert platform.accelerator.clock_source
    assert platform.link.source


def test_units():
    platform = load_platform("paper")
    assert platform.accelerator.seconds(250) == pytest.approx(1e-6)
    # RecPipe artifact: 40 us and 23.4 us per 1000 items of 156 B.
    assert platform.link.seconds(156_000) == pytest.approx(63.4e-6, rel=1e-3)


def test_unknown_preset():
    with pytest.raises(ValueError, match=r"^platform must be one of edge, paper, not 'moon'"):
        load_platform("moon")


def test_wrong_key_has_its_path(tmp_path):
    text = """name: x
accelerator: {preset: edge, clock_hz: -1}
cpu: {workers: 1}
link: {fixed_s: 0, bytes_per_s: 1, source: test, lanes: 4}
"""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        load_platform(path)
    for where in ("accelerator.clock_hz", "accelerator.memory", "cpu", "link.lanes"):
        assert where in str(caught.value)
