"""What host and device say to each other in memory: descriptors, completions, programs, image.

Every layout here is versioned by `ISA_VERSION`. Compiler, driver, software device, RTL and the C
header are all built from these objects; docs/architecture.md explains them in words.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from rpaccel.spec.layout import PackedLayout

ISA_VERSION = 3
MAX_STAGES = 4  # ranking stages 1..3 plus an optional retrieval stage 0
MAX_IDS = 128  # ids in one multi-hot feature
LOGIT_FRACTION_BITS = 11  # logit int16 = round(logit * 2**11): range +-16
CTR_BITS = 16  # ctr uint16 = sigmoid * 65535
RECIPROCAL_SHIFT = 16  # mean pooling multiplies by round(2**16 / count)
MAX_BURST_BYTES = 256  # one row or item record is one burst, aligned to its size


class Opcode(IntEnum):
    """First byte of a submission descriptor."""

    NOP = 0
    LOAD = 1  # copy an image's sections into on-chip memories
    QUERY = 2


class StageKind(IntEnum):
    """What runs a stage. RETRIEVE: stage 0 only; `candidates_address` is a RETRIEVAL's."""

    NONE = 0
    RANK = 1
    RETRIEVE = 2


class StageMode(IntEnum):
    """How the filter after a stage treats the tasks that the stage's items are dealt out in.

    The filter takes the scores of the tasks in the order of the candidates, whichever lanes ran
    them. A release is what leaves the filter at a time; the next stage begins with the first one.
    """

    WHOLE = 0  # one release, after the last score
    LOCAL = 1  # after each task at least its share of k, of its own scores alone
    GLOBAL = 2  # after each task what is sure to be chosen; in all exactly the choice of WHOLE
    PROPORTIONAL = 3  # after each task the best of all so far, until its share of k has left


class StageOption(IntFlag):
    """Options of the filter after a stage."""

    EXACT = 1  # k, not at least k. Not with PROPORTIONAL
    ADAPTIVE = 2  # a floor that rises with the scores in place of the threshold


class Status(IntEnum):
    """Low byte of a completion's status. 0 is success; the first error of a query is kept."""

    OK = 0
    BAD_OPCODE = 1
    BAD_VERSION = 2
    BAD_STAGES = 3  # stage count or stage kind
    BAD_K = 4  # k outside 1..items of that stage, or top_n outside 1..max_top_n
    BAD_ITEMS = 5  # n outside 1..max_items
    BAD_MODEL = 6  # model slot out of range or not loaded
    BAD_RECORD = 7  # record size or alignment
    BAD_ID = 8  # candidate id, or an id in a record, outside its table
    BAD_COUNT = 9  # a multi-hot count above max_ids
    REGION = 10  # an access outside every registered region
    MEMORY = 11  # the memory answered with an error
    BAD_IMAGE = 12  # magic, version, target or length of an image
    BAD_LANE = 13  # none of the lanes asked for owns a part of the array
    BAD_UPDATE = 14  # size or alignment of a row update
    STALE = 15  # a row update that is not newer than the row
    BAD_TASK = 16  # mode, options, task_items or task_k of a stage
    LATE = 17  # the deadline has passed
    LANE_RESET = 18  # a lane that ran a part of the query made no progress and was reset
    ABORTED = 19  # the device was reset (CONTROL)
    BAD_CORPUS = 20  # version, row size, metric or alignment of a CORPUS or a RETRIEVAL


class StatusFlag(IntFlag):
    """High byte of a completion's status: conditions that are not errors."""

    UNDERFILL = 1  # fewer than k items passed the threshold of a filter
    OVERFILL = 2  # a filter chose more than survivor_limit; the rest is gone


DESCRIPTOR = PackedLayout(
    "descriptor",
    [
        ("opcode", 8), ("version", 8), ("stages", 8), ("flags", 8), ("tag", 32),
        ("user_address", 64),  # LOAD: address of the image
        ("candidates_address", 64),  # n uint32 ids
        ("items", 32), ("top_n", 16),  # LOAD: items = image bytes
        ("survivor_limit", 16),  # most ids that leave a filter at a time, 0: no limit
        ("features_address", 64),  # base of the feature table of this query
        ("features_rows", 32), ("item_record_bytes", 16), ("user_record_bytes", 16),
        ("result_address", 64),  # top_n RESULT entries are written here
        ("deadline_cycles", 64),  # after the descriptor was fetched; 0: none
        *[
            (f"stage{i}_{name}", bits)
            for i in range(MAX_STAGES)
            for name, bits in [
                ("kind", 8), ("model", 8),
                ("sub_batch", 16),  # most items that a lane works on at a time, 0: the model's
                ("k", 16), ("task_k", 16),  # task_k: k of a full task
                ("lanes", 32),  # may run it, 0: any. LOAD: of stage 0, the lanes that are loaded
                ("task_items", 16),  # items of a task, 0: all of the stage
                ("mode", 8), ("options", 8),  # StageMode, StageOption
            ]
        ],
    ],
    1024,
)  # fmt: skip

# An entry of the update queue: this, then the row's bytes, up to update_entry_bytes.
# version_address: of a uint32, the row's version, which must be smaller; 0: none. The host sets
# `status` to UPDATE_PENDING.
ROW_UPDATE = PackedLayout(
    "row_update",
    [
        ("row_address", 64), ("version_address", 64),
        ("version", 32), ("row_bytes", 16), ("status", 8), ("reserved", 8),
    ],
    256,
)  # fmt: skip
UPDATE_PENDING = 0xFF

# An entry of the task log. Times are the low bits of the cycle counter: the task was given to the
# lane, gathered, computed; its first and its last score went into the filter. lost : with a reset.
TASK_LOG = PackedLayout(
    "task_log",
    [
        ("tag", 32), ("lane", 8), ("stage", 8), ("lost", 8), ("reserved", 8), ("items", 32),
        ("given_at", 32), ("gathered_at", 32), ("computed_at", 32),
        ("first_score_at", 32), ("scored_at", 32),
    ],
    256,
)  # fmt: skip

RESULT = PackedLayout("result", [("id", 32), ("logit", -16), ("ctr", 16)], 64)

# A corpus: its rows are at base + id * row_bytes. `rows` is a version word: an append is a
# ROW_UPDATE of the row behind the last one; version_address = the corpus, version = rows + 1.
CORPUS = PackedLayout(
    "corpus",
    [
        ("rows", 32), ("row_bytes", 16), ("metric", 8), ("version", 8),  # retrieval.Metric
        ("base", 64),  # aligned to memory_ports * stripe_bytes
        ("live", 64),  # a bit per row: 0: the row is deleted. 0: all live. Aligned to a beat
        ("scales", 64),  # COSINE: uint16 per row, aligned to a beat
        ("reserved", 256),
    ],
    512,
)  # fmt: skip

# What a RETRIEVE stage is asked for; aligned to a beat, as are the addresses in it.
RETRIEVAL = PackedLayout(
    "retrieval",
    [
        ("corpus", 64),  # address of a CORPUS
        ("vector", 64),  # address of int8[row_bytes]
        ("list", 64),  # the ids found are written here, if a stage follows
        ("bitmap", 64),  # a bit per row: 0: the row is not looked at. 0: all are
        ("base", -32), ("shift", 8),  # of the histogram's buckets: any give the same rows
        ("flags", 8), ("version", 8), ("reserved", 8),  # RetrievalFlag
        ("floor", -32),  # FLOOR: lower scores are not found
        ("page_score", -32), ("page_id", 32),  # PAGE: only rows behind this one in the order
        ("reserved1", 96),
    ],
    512,
)  # fmt: skip


class RetrievalFlag(IntFlag):
    """Options of a RETRIEVAL."""

    FLOOR = 1
    PAGE = 2


# An entry of the answer to a query whose only stage is RETRIEVE.
RETRIEVED = PackedLayout("retrieved", [("id", 32), ("score", -32)], 64)

# Of a RETRIEVE stage: items0 rows of the corpus, stage_cycles0 from the query's way in to its last
# row's way out, gather_cycles0 of the scan, array_cycles0 beats scored, interaction_cycles0 the
# epoch (row updates dealt with before the scan, modulo 2**16), filter_cycles0 waits of the scan
# for the filter; overshoot: rows that qualify beyond those given.
COMPLETION = PackedLayout(
    "completion",
    [
        ("tag", 32), ("status", 8), ("flags", 8), ("version", 8), ("lane", 8),
        ("count", 32), ("total_cycles", 32),  # from leaving the queue
        ("queue_cycles", 32),  # from being fetched until then
        ("lanes", 32),  # that ran a task of it; `lane`: the last of them that was given one
        ("overshoot", 32),  # ids that filters let pass above k
        ("ended_at", 32),  # low bits of the cycle counter when it was completed
        *[(f"items{i}", 32) for i in range(MAX_STAGES)],
        *[(f"stage_cycles{i}", 32) for i in range(MAX_STAGES)],
        *[(f"gather_cycles{i}", 32) for i in range(MAX_STAGES)],
        *[(f"array_cycles{i}", 32) for i in range(MAX_STAGES)],
        *[(f"interaction_cycles{i}", 32) for i in range(MAX_STAGES)],
        *[(f"filter_cycles{i}", 32) for i in range(MAX_STAGES)],
    ],
    1024,
)  # fmt: skip


class Op(IntEnum):
    """Opcode of a stage-program instruction."""

    END = 0
    LAYER = 1
    INTERACT = 2


class Source(IntEnum):
    """Where a layer reads its activations."""

    USER = 0  # dense words of the user record: the same for all items, whatever the stride
    DENSE = 1  # dense words of the items of this sub-batch
    ACT0 = 2
    ACT1 = 3
    CROSS = 4  # outputs of the interaction for this sub-batch


class Destination(IntEnum):
    """Where a layer writes."""

    SCORE = 0  # channel 0 becomes the logit
    ACT0 = 1
    ACT1 = 2
    BOTTOM = 3  # vector 0 of the interaction


class Interaction(IntEnum):
    """What an INTERACT makes of vector 0 and the gathered vectors, after vector 0 itself."""

    DOT = 0  # dot products of all pairs (i, j), j < i
    CONCAT = 1  # the gathered vectors
    PRODUCT = 2  # element-wise products of user vector n and item vector n, then the rest


# One instruction. LAYER: `words_a` K folds from source a, then `words_b` from source b; fold k of
# an item is word offset + item * stride + k of its source. A program is layers, one INTERACT,
# layers: those before it make vector 0, those after it the logit.
INSTRUCTION = PackedLayout(
    "instruction",
    [
        ("op", 4), ("relu", 1), ("kind", 3), ("destination", 3),
        ("stack", 3),  # LAYER: log2 of the groups of block rows that hold N folds of their own
        ("reserved", 2),
        ("source_a", 4), ("source_b", 4),
        # INTERACT: words_a products go to the last layer alone (only software reads that).
        ("words_a", 12), ("stride_a", 12), ("offset_a", 12),
        ("words_b", 12), ("stride_b", 12), ("offset_b", 12),
        ("n_steps", 12),  # LAYER: passes of N folds; each gives 2**stack words per item
        ("destination_stride", 12),  # LAYER, INTERACT: words per item
        ("weight_base", 24),  # LAYER: row of the weight banks; tile (n, k) at base + (n*K + k)*b
        ("param_base", 16),  # LAYER: first N fold in the parameter banks; INTERACT: first pair
        ("user_vectors", 8), ("item_vectors", 8),  # INTERACT: gathered vectors
    ],
    256,
)  # fmt: skip

# One model slot: where its program and features are and how its gathered data are laid out.
SLOT = PackedLayout(
    "slot",
    [
        ("valid", 1), ("reserved", 7),
        ("sub_batch", 16),  # most items per sub-batch, as compiled
        ("program_base", 16), ("program_length", 8),  # instructions without END
        ("feature_base", 16), ("user_features", 8), ("item_features", 8),
        ("user_dense_words", 8), ("item_dense_words", 8),  # A-byte words in USER / DENSE
        ("user_dense_bytes", 8), ("item_dense_bytes", 8),  # bytes at the head of each record
        ("user_vector_words", 16), ("item_vector_words", 16),  # vector words per side / per item
        ("row_bytes", 16),  # bytes per embedding row in memory and per vector, a power of two
        # Sub-batches of up to so many items take turns at four banks, others at two; 0 (images from
        # before there was this field): all at two.
        ("quarter_items", 16),
    ],
    192,
)  # fmt: skip


class Pooling(IntEnum):
    """How the rows of a multi-hot feature are combined."""

    SUM = 0  # saturate(round(sum * multiplier >> shift))
    MEAN = 1  # round(sum * round(2**16 / count) >> 16)


FEATURE = PackedLayout(
    "feature",
    [
        ("table_address", 64), ("rows", 32),
        ("word", 16),  # 32-bit word of the record that holds the id, or the count
        ("max_ids", 8),  # 1..128
        ("multi_hot", 1), ("pooling", 1), ("reserved", 6),
        ("multiplier", 16), ("shift", 8),
    ],
    192,
)  # fmt: skip

# Output channel of a layer: out = clamp(round_half_even((acc + bias) * multiplier >> shift)).
PARAM = PackedLayout("param", [("bias", -32), ("multiplier", 16), ("shift", 8)], 64)
PAIR = PackedLayout("pair", [("multiplier", 16), ("shift", 8)], 64)

PIN_ENTRY_BITS = 128  # rtl.static_cache.entry_layout in its low bits
PIN_LINE_BITS = 64

BINS = 16
# Ascending bin edges of one slot: bin(logit) = number of edges <= logit; below threshold: dropped.
EDGES = PackedLayout(
    "edges", [("threshold", -16), *[(f"edge{i}", -16) for i in range(BINS - 1)]], 256
)


class Target(IntEnum):
    """On-chip memory that an image section fills. Entry widths: see `target_bits`."""

    SLOT = 0
    PROGRAM = 1
    FEATURE = 2
    WEIGHT = 3  # entry = row of the weight banks of a block row; block row i from i * rows on
    PARAM = 4  # entry = one channel; block row i from i * param_entries on, A channels per N fold
    PAIR = 5
    EDGES = 6
    PIN_ENTRY = 7  # entry of a row bank's static cache (its table), bank after bank
    PIN_LINE = 8  # 8 bytes (or the 4 that there are) of a line of it, bank after bank


def target_bits(target: Target, array_size: int) -> int:
    """Width of one entry of `target` in an image [bits]; always a multiple of 64.

    array_size : of the whole array (`AcceleratorConfig.image_bytes`).
    """
    fixed = {
        Target.SLOT: SLOT.bits, Target.PROGRAM: INSTRUCTION.bits, Target.FEATURE: FEATURE.bits,
        Target.PARAM: PARAM.bits, Target.PAIR: PAIR.bits, Target.EDGES: EDGES.bits,
        Target.PIN_ENTRY: PIN_ENTRY_BITS, Target.PIN_LINE: PIN_LINE_BITS,
    }  # fmt: skip
    return 8 * array_size if target is Target.WEIGHT else fixed[target]


IMAGE_MAGIC = 0x31415052  # "RPA1" in memory
# An image is this header, then `sections` times a section header and its entries.
IMAGE_HEADER = PackedLayout(
    "image_header",
    [("magic", 32), ("version", 16), ("sections", 16), ("total_bytes", 32), ("reserved", 32)],
    128,
)
SECTION_HEADER = PackedLayout(
    "section_header",
    [("target", 8), ("entry_words", 8), ("reserved", 16), ("start", 32), ("entries", 32),
     ("reserved1", 32)],
    128,
)  # fmt: skip
