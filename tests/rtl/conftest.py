import pytest

from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator


def small(array_size: int, **update: int) -> AcceleratorConfig:
    """The tiny preset with another array size; axi_data_bits must fit a word of 4 bytes."""
    base = {"array_size": array_size, "block_size": min(4, array_size)}
    tiny = load_accelerator("tiny")
    return tiny.model_copy(update={**base, "axi_data_bits": min(64, 8 * array_size), **update})


@pytest.fixture(params=[4, 8], ids=["A4", "A8"])
def config(request):
    return small(request.param, name=f"tiny{request.param}")
