"""The register map: one source for the RTL, the driver, the C header and the documentation.

32-bit registers on AXI4-Lite, 16-bit byte addresses. Reads of unmapped addresses return 0 and
DECERR-free OKAY; writes to them are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from rpaccel.spec.accelerator import AcceleratorConfig

DEVICE_ID = 0x31415052  # "RPA1"
DEVICE_VERSION = 0x0001_0000  # major << 16 | minor
HASH_DIGITS = 8  # hexadecimal digits of the configuration's digest in CONFIG_HASH
RING_MODULO = 1 << 16  # ring indices count modulo this
REGIONS = 8
REGION_BASE = 0x100
REGION_STRIDE = 0x20
PARTITION_BASE = 0x200  # per lane: row | col << 8 | rows << 16 | cols << 24, in blocks
LANES_MAX = 32
COUNTER_BASE = 0x400  # per lane: COUNTER_BASE + lane * COUNTER_LANE_STRIDE
COUNTER_LANE_STRIDE = 0x80
COUNTER_UNIT_STRIDE = 0x10  # per unit: busy, stalled_input, stalled_output, items
COUNTER_UNITS = ("gather", "array", "weights", "interaction")
COUNTER_WORDS = ("busy_cycles", "stalled_input_cycles", "stalled_output_cycles", "items")
ROW_COUNTER_BASE = 0x1800  # per row bank: ROW_COUNTER_BASE + bank * 0x40, 32 bits each
ROW_COUNTER_STRIDE = 0x40
ROW_COUNTERS = (
    "pinned", "hits", "merged", "misses", "refused", "evictions",
    "prefetches", "dropped", "used", "late", "unused",
)  # fmt: skip
FUNNEL_COUNTER_BASE = 0x3000  # per funnel: FUNNEL_COUNTER_BASE + funnel * 0x20, as of a lane
FUNNEL_COUNTER_STRIDE = 0x20
FUNNEL_COUNTER_UNITS = ("filter", "ordered_top_n")
RETRIEVAL_COUNTER_BASE = 0x3800
RETRIEVAL_COUNTERS = ("scans", "queries", "beats", "stalled_cycles")
PORT_COUNTER_BASE = 0x1400  # per port: PORT_COUNTER_BASE + port * 0x10: read beats, write beats


@dataclass(frozen=True, kw_only=True)
class Register:
    """One 32-bit register. `access` is "ro", "rw" or "w1c" (write one to clear)."""

    name: str
    address: int
    access: str
    text: str


class Control(IntFlag):
    """Bits of CONTROL."""

    RUN = 1  # the dispatcher and the row updater take what is in their rings
    PREFETCH = 2  # lanes read ahead for the next stage
    RESET = 4  # soft reset: end all queries with ABORTED, reset all lanes; clears itself


class Irq(IntFlag):
    """Bits of IRQ_STATUS and IRQ_ENABLE."""

    COMPLETION = 1  # a completion was written
    ERROR = 2  # an access was refused or failed; see ERROR_*
    UPDATE = 4  # the queue of row updates has become empty


class Permission(IntFlag):
    """Bits of REGION_PERMISSION."""

    READ = 1
    WRITE = 2


_FIXED = [
    ("ID", 0x000, "ro", "DEVICE_ID"),
    ("VERSION", 0x004, "ro", "major << 16 | minor of the register map"),
    ("CONFIG_ARRAY", 0x008, "ro", "array_size | lanes << 16 | memory_ports << 24"),
    ("CONFIG_BUS", 0x00C, "ro", "axi_data_bits | bins << 16 | model_slots << 24"),
    ("CONFIG_ITEMS", 0x010, "ro", "max_items"),
    ("CONFIG_TOP", 0x014, "ro", "max_top_n | sub_batch_max << 16"),
    ("CONFIG_WEIGHTS", 0x018, "ro", "weight_words"),
    ("CONFIG_HASH", 0x01C, "ro", "first 32 bits of the configuration's SHA-256"),
    (
        "CONTROL",
        0x020,
        "rw",
        "bit 0: take descriptors and updates, bit 1: read ahead for next stages, bit 2: soft reset",
    ),
    ("STATUS", 0x024, "ro", "bit 0: busy, bit 1: an error is captured"),
    ("IRQ_STATUS", 0x028, "w1c", "bit 0: completion, bit 1: error, bit 2: row updates"),
    ("IRQ_ENABLE", 0x02C, "rw", "mask of IRQ_STATUS onto the interrupt pin"),
    ("SQ_BASE_LO", 0x030, "rw", "submission ring, 128-byte aligned"),
    ("SQ_BASE_HI", 0x034, "rw", ""),
    ("SQ_SIZE", 0x038, "rw", "entries, a power of two; 1 is allowed"),
    ("SQ_TAIL", 0x03C, "rw", "doorbell: number of descriptors ever submitted (wraps at 2**16)"),
    ("SQ_HEAD", 0x040, "ro", "number of descriptors ever taken"),
    ("CQ_BASE_LO", 0x050, "rw", "completion ring, 128-byte aligned"),
    ("CQ_BASE_HI", 0x054, "rw", ""),
    ("CQ_SIZE", 0x058, "rw", "entries, a power of two; 1 is allowed"),
    ("CQ_HEAD", 0x05C, "rw", "number of completions the host has taken (wraps at 2**16)"),
    ("CQ_TAIL", 0x060, "ro", "number of completions ever written"),
    ("ERROR_LO", 0x080, "ro", "address of the first refused or failed access since IRQ clear"),
    ("ERROR_HI", 0x084, "ro", ""),
    ("ERROR_INFO", 0x088, "ro", "status code | write << 8 | requester << 16"),
    ("CYCLES_LO", 0x090, "ro", "cycles since reset"),
    ("CYCLES_HI", 0x094, "ro", ""),
    ("QUERIES", 0x098, "ro", "completions of QUERY descriptors"),
    ("LOADED_WORDS", 0x0A4, "ro", "64-bit words that the loader has read from memory"),
    ("CONFIG_BLOCKS", 0x09C, "ro", "block_size | blocks per side << 16"),
    ("PARTITION_APPLY", 0x0A0, "rw", "write 1: use PARTITION* when all lanes are idle; then 0"),
    ("UQ_BASE_LO", 0x0A8, "rw", "queue of row updates, aligned to an entry"),
    ("UQ_BASE_HI", 0x0AC, "rw", ""),
    ("UQ_SIZE", 0x0B0, "rw", "entries, a power of two; 0: closed"),
    ("UQ_TAIL", 0x0B4, "rw", "doorbell: number of updates ever submitted (wraps at 2**16)"),
    ("UQ_HEAD", 0x0B8, "ro", "number of updates ever dealt with"),
    ("UPDATES_APPLIED", 0x0BC, "ro", "updates that memory and caches have"),
    ("UPDATES_STALE", 0x0C0, "ro", "updates that were not newer than their row"),
    ("UPDATES_FAILED", 0x0C4, "ro", "updates that ended with an error"),
    ("STATIC_SPLIT", 0x0C8, "rw", "lines of each row bank's static cache for the front end"),
    ("WATCHDOG", 0x0D0, "rw", "cycles without progress until a lane is reset; 0: never"),
    ("LANE_RESET", 0x0D4, "rw", "write a mask of lanes to reset them; reads 0"),
    ("LANE_RESETS", 0x0D8, "ro", "lanes that were reset so far"),
    (
        "IRQ_COALESCE",
        0x0DC,
        "rw",
        "completions until bit 0 of IRQ_STATUS | cycles << 8 to wait at most",
    ),
    ("TASK_LOG_LO", 0x0E0, "rw", "log of the tasks that have ended, 64-byte aligned"),
    ("TASK_LOG_HI", 0x0E4, "rw", ""),
    ("TASK_LOG_SIZE", 0x0E8, "rw", "entries, a power of two; 0: no log"),
    ("TASK_LOG_TAIL", 0x0EC, "ro", "entries ever written (wraps at 2**16)"),
    ("TASK_LOG_DROPPED", 0x0F0, "ro", "entries that were not written"),
    (
        "CONFIG_RETRIEVAL",
        0x0F4,
        "ro",
        "queries of a scan | scores per cycle and port << 8 | k_max << 16; 0: no retrieval engine",
    ),
    ("CONFIG_ROWS", 0x0CC, "ro", "row banks | lines of a bank's static cache << 8"),
]
_REGION = [
    ("BASE_LO", 0x00, "first byte; 64-byte aligned"),
    ("BASE_HI", 0x04, ""),
    ("LIMIT_LO", 0x08, "first byte after the region; 64-byte aligned"),
    ("LIMIT_HI", 0x0C, ""),
    ("PERMISSION", 0x10, "bit 0: read, bit 1: write; 0: region off"),
]

REGISTERS: tuple[Register, ...] = tuple(
    [Register(name=n, address=a, access=x, text=t) for n, a, x, t in _FIXED]
    + [
        Register(
            name=f"REGION{i}_{n}", address=REGION_BASE + i * REGION_STRIDE + a, access="rw", text=t
        )
        for i in range(REGIONS)
        for n, a, t in _REGION
    ]
    + [
        Register(
            name=f"PARTITION{lane}",
            address=PARTITION_BASE + 4 * lane,
            access="rw",
            text="blocks that the lane owns: row | col << 8 | rows << 16 | cols << 24",
        )
        for lane in range(LANES_MAX)
    ]
)
ADDRESS = {register.name: register.address for register in REGISTERS}


def config_registers(config: AcceleratorConfig) -> dict[str, int]:
    """Return the registers whose value is fixed by `config`."""
    return {
        "ID": DEVICE_ID,
        "VERSION": DEVICE_VERSION,
        "CONFIG_ARRAY": config.array_size | config.lanes << 16 | config.memory_ports << 24,
        "CONFIG_BUS": config.axi_data_bits | config.bins << 16 | config.model_slots << 24,
        "CONFIG_ITEMS": config.max_items,
        "CONFIG_TOP": config.max_top_n | config.sub_batch_max << 16,
        "CONFIG_WEIGHTS": config.weight_words,
        "CONFIG_HASH": int(config.digest[:HASH_DIGITS], 16),
        "CONFIG_BLOCKS": config.block_size | config.blocks << 16,
        "CONFIG_ROWS": config.banks | config.static_cache_lines << 8,
        "CONFIG_RETRIEVAL": (
            config.retrieval_queries
            | config.retrieval_port_lanes << 8
            | config.retrieval_k_max << 16
            if config.retrieval_queries
            else 0
        ),
    }


def partition_word(row: int, col: int, rows: int, cols: int) -> int:
    """Return a PARTITION register: a rectangle of blocks; no rows: the lane owns nothing."""
    return row | col << 8 | rows << 16 | cols << 24


def row_counter_address(bank: int, name: str) -> int:
    """Byte address of one counter of a row bank."""
    return ROW_COUNTER_BASE + bank * ROW_COUNTER_STRIDE + 4 * ROW_COUNTERS.index(name)


def funnel_counter_address(funnel: int, unit: str, word: str) -> int:
    """Byte address of one counter of a funnel."""
    return (
        FUNNEL_COUNTER_BASE
        + funnel * FUNNEL_COUNTER_STRIDE
        + FUNNEL_COUNTER_UNITS.index(unit) * COUNTER_UNIT_STRIDE
        + 4 * COUNTER_WORDS.index(word)
    )


def counter_address(lane: int, unit: str, word: str) -> int:
    """Byte address of one lane counter."""
    return (
        COUNTER_BASE
        + lane * COUNTER_LANE_STRIDE
        + COUNTER_UNITS.index(unit) * COUNTER_UNIT_STRIDE
        + 4 * COUNTER_WORDS.index(word)
    )
