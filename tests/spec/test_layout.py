import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpaccel.spec import isa
from rpaccel.spec.layout import PackedLayout

LAYOUTS = [
    isa.DESCRIPTOR, isa.RESULT, isa.COMPLETION, isa.INSTRUCTION, isa.SLOT, isa.FEATURE,
    isa.PARAM, isa.PAIR, isa.EDGES, isa.IMAGE_HEADER, isa.SECTION_HEADER,
]  # fmt: skip


def field_values(layout: PackedLayout) -> st.SearchStrategy[dict[str, int]]:
    ranges = {}
    for field in layout:
        low = -(1 << (field.bits - 1)) if field.signed else 0
        ranges[field.name] = st.integers(low, low + (1 << field.bits) - 1)
    return st.fixed_dictionaries(ranges)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_layouts_are_whole_words(layout: PackedLayout) -> None:
    assert layout.bits % 64 == 0


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@given(data=st.data())
def test_pack_and_unpack_agree(layout: PackedLayout, data: st.DataObject) -> None:
    values = data.draw(field_values(layout))
    assert layout.unpack(layout.pack(values)) == values
    assert layout.from_bytes(layout.to_bytes(values)) == values


def test_first_field_is_lowest() -> None:
    layout = PackedLayout("pair", [("a", 4), ("b", -4)], 64)
    assert layout.pack({"a": 3, "b": -1}) == 0xF3
    assert layout.to_bytes({"a": 1}) == b"\x01" + bytes(7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"c": 1}, r"^pair: unknown field 'c'$"),
        ({"a": 16}, r"^pair\.a must be in 0\.\.15, not 16$"),
        ({"b": -9}, r"^pair\.b must be in -8\.\.7, not -9$"),
    ],
)
def test_rejects(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedLayout("pair", [("a", 4), ("b", -4)], 64).pack(values)


def test_rejects_overfull_layout() -> None:
    with pytest.raises(ValueError, match=r"^wide: fields must fit 64 bits, not 65$"):
        PackedLayout("wide", [("a", 65)], 64)


def test_rejects_wrong_length() -> None:
    with pytest.raises(ValueError, match=r"^result must have 8 bytes, not 7$"):
        isa.RESULT.from_bytes(bytes(7))
