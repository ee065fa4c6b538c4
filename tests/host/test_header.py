import re
import subprocess
from enum import EnumType

import pytest

from rpaccel.host.header import LAYOUTS, c_header
from rpaccel.spec import isa, registers
from rpaccel.spec.accelerator import load_accelerator, preset_names
from rpaccel.spec.layout import PackedLayout
from rpaccel.spec.retrieval import Metric

TINY = load_accelerator("tiny")

PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "rpaccel.h"
int main(void)
{{
    uint8_t raw[RPACCEL_{name}_BYTES];
    unsigned i;
    memset(raw, 0xff, sizeof raw);
    for (i = 0; i < RPACCEL_{name}_BYTES * 8; ++i)
        rpaccel_set(raw, i, 1, 0);
{sets}
    for (i = 0; i < sizeof raw; ++i)
        printf("%02x", raw[i]);
    printf("\\n%lld %lld\\n", (long long)RPACCEL_GET_SIGNED(raw, RPACCEL_RESULT_LOGIT),
           (long long)RPACCEL_GET(raw, RPACCEL_RESULT_CTR));
    return 0;
}}
"""


def defines(text):
    pairs = re.findall(r"^#define RPACCEL_(\w+) (0x[0-9A-F]+|\d+)u", text, re.MULTILINE)
    assert len(pairs) == len(dict(pairs)), "a name is defined twice"
    return {name: int(value, 0) for name, value in pairs}


def test_has_every_register_layout_and_code():
    values = defines(c_header(TINY))
    for register in registers.REGISTERS:
        assert values[f"REG_{register.name}"] == register.address
    for layout in LAYOUTS:
        assert values[f"{layout.name.upper()}_BYTES"] == layout.bytes
        for field in layout:
            name = f"{layout.name}_{field.name}".upper()
            assert (values[f"{name}_BIT"], values[f"{name}_BITS"]) == (field.offset, field.bits)
    assert values["STATUS_BAD_IMAGE"] == isa.Status.BAD_IMAGE
    assert values["ISA_VERSION"] == isa.ISA_VERSION
    assert values["CONFIG_ARRAY_SIZE"] == TINY.array_size
    assert values["STAGE_MODE_PROPORTIONAL"] == isa.StageMode.PROPORTIONAL
    assert values["STAGE_OPTION_ADAPTIVE"] == isa.StageOption.ADAPTIVE
    last = registers.funnel_counter_address(1, "ordered_top_n", "items")
    assert values["REG_FUNNEL1_ORDERED_TOP_N_ITEMS"] == last
    assert values["REG_LANE0_GATHER_ITEMS"] == registers.counter_address(0, "gather", "items")
    assert values["REG_BANK0_UNUSED"] == registers.row_counter_address(0, "unused")
    assert "REG_BANK1_UNUSED" not in values and "REG_RETRIEVAL_SCANS" not in values


def test_a_device_that_retrieves_has_what_it_takes():
    values = defines(c_header(load_accelerator("edge")))
    assert values["REG_BANK1_HITS"] == registers.row_counter_address(1, "hits")
    assert values["REG_RETRIEVAL_BEATS"] == registers.RETRIEVAL_COUNTER_BASE + 8
    assert values["RETRIEVAL_FLOOR_BIT"] == isa.RETRIEVAL.fields["floor"].offset
    assert values["RETRIEVAL_FLAG_PAGE"] == isa.RetrievalFlag.PAGE
    assert values["METRIC_COSINE"] == Metric.COSINE
    assert values["CORPUS_BYTES"] == isa.CORPUS.bytes


@pytest.mark.parametrize("preset", preset_names())
def test_every_code_and_layout_of_the_instruction_set_is_there(preset):
    values = defines(c_header(load_accelerator(preset)))
    for name, each in vars(isa).items():
        if isinstance(each, PackedLayout):
            assert f"{each.name.upper()}_BYTES" in values, name
        elif isinstance(each, EnumType) and each.__module__ == isa.__name__:
            words = re.sub(r"(?<!^)(?=[A-Z])", "_", each.__name__).upper()
            for code in each:
                assert values[f"{words}_{code.name}"] == code


@pytest.mark.parametrize("layout", [isa.DESCRIPTOR, isa.INSTRUCTION], ids=lambda x: x.name)
def test_c_program_packs_like_python(tmp_path, layout):
    (tmp_path / "rpaccel.h").write_text(c_header(TINY))
    fields = {f.name: (0x0123456789ABCDEF >> n) & ((1 << f.bits) - 1) for n, f in enumerate(layout)}
    name = layout.name.upper()
    sets = "\n".join(
        f"    RPACCEL_SET(raw, RPACCEL_{name}_{field.upper()}, 0x{value:x}ull);"
        for field, value in fields.items()
    )
    source = tmp_path / "pack.c"
    source.write_text(PROGRAM.format(name=name, sets=sets))
    program = tmp_path / "pack"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-long-long"]
    subprocess.run(["g++", "-x", "c", *flags, "-o", program, source], check=True)
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split("\n")
    raw = layout.to_bytes(fields)
    assert lines[0] == raw.hex()
    result = isa.RESULT.from_bytes(raw[: isa.RESULT.bytes])
    assert lines[1] == f"{result['logit']} {result['ctr']}"


def test_same_input_same_bytes():
    assert c_header(TINY) == c_header(load_accelerator("tiny"))
    assert c_header(TINY) != c_header(load_accelerator("edge"))
