"""The C header of a device: registers, packed layouts and codes, generated from spec/."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from rpaccel.spec import isa, registers, retrieval
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.layout import PackedLayout

__all__ = ["LAYOUTS", "c_header"]

LAYOUTS: tuple[PackedLayout, ...] = (
    isa.DESCRIPTOR,
    isa.RESULT,
    isa.COMPLETION,
    isa.TASK_LOG,
    isa.ROW_UPDATE,
    isa.CORPUS,
    isa.RETRIEVAL,
    isa.RETRIEVED,
    isa.INSTRUCTION,
    isa.SLOT,
    isa.FEATURE,
    isa.PARAM,
    isa.PAIR,
    isa.EDGES,
    isa.IMAGE_HEADER,
    isa.SECTION_HEADER,
)
_CODES: tuple[type[IntEnum] | type[IntFlag], ...] = (
    isa.Opcode,
    isa.StageKind,
    isa.StageMode,
    isa.StageOption,
    isa.Status,
    isa.StatusFlag,
    isa.Op,
    isa.Source,
    isa.Destination,
    isa.Interaction,
    isa.Pooling,
    isa.Target,
    isa.RetrievalFlag,
    retrieval.Metric,
    registers.Control,
    registers.Irq,
    registers.Permission,
)
_NAMES = {
    isa.StageKind: "STAGE_KIND",
    isa.StatusFlag: "STATUS_FLAG",
    isa.StageMode: "STAGE_MODE",
    isa.StageOption: "STAGE_OPTION",
    isa.RetrievalFlag: "RETRIEVAL_FLAG",
}

_ACCESSORS = """\
/* A field of a little-endian packed layout at `base`: its lowest bit and its width (1..64). */
static inline uint64_t rpaccel_get(const void *base, unsigned bit, unsigned bits)
{
    const uint8_t *bytes = (const uint8_t *)base;
    uint64_t value = 0;
    unsigned i;
    for (i = 0; i < bits; ++i)
        value |= (uint64_t)(bytes[(bit + i) / 8] >> ((bit + i) % 8) & 1u) << i;
    return value;
}

/* The same, sign-extended. */
static inline int64_t rpaccel_get_signed(const void *base, unsigned bit, unsigned bits)
{
    const uint64_t sign = (uint64_t)1 << (bits - 1);
    return (int64_t)((rpaccel_get(base, bit, bits) ^ sign) - sign);
}

static inline void rpaccel_set(void *base, unsigned bit, unsigned bits, uint64_t value)
{
    uint8_t *bytes = (uint8_t *)base;
    unsigned i;
    for (i = 0; i < bits; ++i) {
        const uint8_t mask = (uint8_t)(1u << ((bit + i) % 8));
        if (value >> i & 1u)
            bytes[(bit + i) / 8] |= mask;
        else
            bytes[(bit + i) / 8] &= (uint8_t)~mask;
    }
}

/* RPACCEL_GET(descriptor, RPACCEL_DESCRIPTOR_TAG) */
#define RPACCEL_GET(base, field) rpaccel_get((base), field##_BIT, field##_BITS)
#define RPACCEL_GET_SIGNED(base, field) rpaccel_get_signed((base), field##_BIT, field##_BITS)
#define RPACCEL_SET(base, field, value) rpaccel_set((base), field##_BIT, field##_BITS, (value))
"""


def _define(name: str, value: int, text: str = "", *, hexadecimal: bool = False) -> str:
    number = f"0x{value:X}u" if hexadecimal else f"{value}u"
    line = f"#define RPACCEL_{name.upper()} {number}"
    return f"{line}  /* {text} */" if text else line


def _config_lines(config: AcceleratorConfig) -> list[str]:
    values = config.model_dump()
    lines = [f"/* Preset {config.name}. */", f'#define RPACCEL_PRESET "{config.name}"']
    lines += [
        _define(f"CONFIG_{key}", value) for key, value in values.items() if isinstance(value, int)
    ]
    lines.append(_define("CONFIG_HASH", int(config.digest[:8], 16), hexadecimal=True))
    return lines


def _register_lines(config: AcceleratorConfig) -> list[str]:
    lines = ["/* AXI4-Lite registers: byte addresses. */"]
    for register in registers.REGISTERS:
        text = f"{register.access}; {register.text}" if register.text else register.access
        lines.append(_define(f"REG_{register.name}", register.address, text, hexadecimal=True))
    lines += [
        _define("REGIONS", registers.REGIONS),
        _define("DEVICE_ID", registers.DEVICE_ID, hexadecimal=True),
        _define("DEVICE_VERSION", registers.DEVICE_VERSION, hexadecimal=True),
        "/* Performance counters, read only. */",
    ]
    lines += [
        _define(
            f"REG_LANE{lane}_{unit}_{word}",
            registers.counter_address(lane, unit, word),
            hexadecimal=True,
        )
        for lane in range(config.lanes)
        for unit in registers.COUNTER_UNITS
        for word in registers.COUNTER_WORDS
    ]
    lines += [
        _define(
            f"REG_FUNNEL{funnel}_{unit}_{word}",
            registers.funnel_counter_address(funnel, unit, word),
            hexadecimal=True,
        )
        for funnel in range(config.funnels)
        for unit in registers.FUNNEL_COUNTER_UNITS
        for word in registers.COUNTER_WORDS
    ]
    for port in range(config.memory_ports):
        base = registers.PORT_COUNTER_BASE + port * 0x10
        lines.append(_define(f"REG_PORT{port}_READ_BEATS", base, hexadecimal=True))
        lines.append(_define(f"REG_PORT{port}_WRITE_BEATS", base + 4, hexadecimal=True))
    lines += [
        _define(
            f"REG_BANK{bank}_{name}", registers.row_counter_address(bank, name), hexadecimal=True
        )
        for bank in range(config.banks)
        for name in registers.ROW_COUNTERS
    ]
    if config.retrieval_queries:
        lines += [
            _define(
                f"REG_RETRIEVAL_{name}",
                registers.RETRIEVAL_COUNTER_BASE + 4 * number,
                hexadecimal=True,
            )
            for number, name in enumerate(registers.RETRIEVAL_COUNTERS)
        ]
    return lines


def _layout_lines(layout: PackedLayout) -> list[str]:
    prefix = layout.name.upper()
    lines = [f"/* {layout.name}: bit offsets and widths, little-endian. */"]
    lines.append(_define(f"{prefix}_BYTES", layout.bytes))
    for field in layout:
        name = f"{prefix}_{field.name}"
        lines.append(_define(f"{name}_BIT", field.offset, "signed" if field.signed else ""))
        lines.append(_define(f"{name}_BITS", field.bits))
    return lines


def _code_lines(codes: type[IntEnum] | type[IntFlag]) -> list[str]:
    prefix = _NAMES.get(codes, codes.__name__)
    return [_define(f"{prefix}_{code.name}", int(code)) for code in codes]


def c_header(config: AcceleratorConfig) -> str:
    """Return the C99 header for a device built from `config`."""
    blocks = [
        ["#ifndef RPACCEL_H", "#define RPACCEL_H", "", "#include <stdint.h>"],
        _config_lines(config),
        _register_lines(config),
        [
            "/* Versions and limits of the instruction set. */",
            _define("ISA_VERSION", isa.ISA_VERSION),
            _define("MAX_STAGES", isa.MAX_STAGES),
            _define("IMAGE_MAGIC", isa.IMAGE_MAGIC, hexadecimal=True),
            _define("LOGIT_FRACTION_BITS", isa.LOGIT_FRACTION_BITS),
        ],
        ["/* Codes. */"],
        *[_code_lines(codes) for codes in _CODES],
        *[_layout_lines(layout) for layout in LAYOUTS],
        [_ACCESSORS.rstrip()],
        ["#endif"],
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"
