"""Interfaces between units: one definition each, so that a width is typed once.

Streams are `amaranth.lib.stream`: once valid, payload and valid hold until ready.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.item_banks import BANK_BITS
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import DESCRIPTOR, Target, target_bits
from rpaccel.spec.layout import PackedLayout

BURST_BITS = 5  # beats per burst, 1..16
STATUS_BITS = 8  # spec.isa.Status


def struct(layout: PackedLayout) -> data.StructLayout:
    """Return `layout` as an Amaranth structure of exactly `layout.bits` bits."""
    members = {f.name: signed(f.bits) if f.signed else unsigned(f.bits) for f in layout}
    padding = layout.bits - sum(f.bits for f in layout)
    if padding:
        members["_padding"] = unsigned(padding)
    return data.StructLayout(members)


def row_size(config: AcceleratorConfig) -> range:
    """Return the shape of a row's size: 4 << size bytes."""
    return range(config.update_bytes_max.bit_length() - 2)


def row_note_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What a row bank is told of a row, besides where it is.

    stage : 0: of the front end, 1: of a later stage. size : 4 << size bytes.
    """
    return data.StructLayout({"stage": unsigned(1), "size": row_size(config)})


def burst_layout(config: AcceleratorConfig, *, rows: bool = False) -> data.StructLayout:
    """A request of ReadPort."""
    return data.StructLayout(
        {"address": unsigned(config.axi_address_bits), "beats": unsigned(BURST_BITS)}
        | ({"row": row_note_layout(config)} if rows else {})
    )


class ReadPort(wiring.Signature):
    """A requester's view of reading memory. Responses come in the order of requests.

    Members:
      request   Out  stream {address, beats}: one INCR burst of 1..16 beats, beat-aligned,
                     that does not cross 4 KiB. With `rows` also {row}, a row_note_layout, and the
                     address is that of a row, aligned to the row.
      response  In   stream {data, last, error}: exactly `beats` transfers per request, also
                     after an error (error is spec.isa.Status REGION or MEMORY, data are then 0).
    Answers may be held: there is room for them behind the port.
    """

    def __init__(self, config: AcceleratorConfig, *, rows: bool = False) -> None:
        response = data.StructLayout(
            {
                "data": unsigned(config.axi_data_bits),
                "last": unsigned(1),
                "error": unsigned(STATUS_BITS),
            }
        )
        super().__init__(
            {
                "request": Out(stream.Signature(burst_layout(config, rows=rows))),
                "response": In(stream.Signature(response)),
            }
        )


def read_request_layout(
    config: AcceleratorConfig, places: int, *, rows: bool = False
) -> data.StructLayout:
    """A burst to read: where it begins, its beats, the place of its first beat; `rows`: a row."""
    burst = burst_layout(config, rows=rows)
    return data.StructLayout(dict(burst.members) | {"place": range(max(2, places))})


def read_answer_layout(config: AcceleratorConfig, places: int) -> data.StructLayout:
    """A beat that was read. refused (REGION) or failed (MEMORY): data are 0."""
    return data.StructLayout(
        {
            "place": range(max(2, places)),
            "data": unsigned(config.axi_data_bits),
            "refused": unsigned(1),
            "failed": unsigned(1),
        }
    )


class PlacedReadPort(wiring.Signature):
    """Reading memory in any order: every beat of a burst comes back with a place of its own.

    Members:
      request       Out  stream of read_request_layout, bursts as in ReadPort
      answer_valid, answer   In  read_answer_layout: beat i of a burst has place + i; in any order,
                         one per cycle. No back-pressure: who asks has room for the answer.
    """

    def __init__(self, config: AcceleratorConfig, places: int, *, rows: bool = False) -> None:
        self.places = places
        request = read_request_layout(config, places, rows=rows)
        super().__init__(
            {
                "request": Out(stream.Signature(request)),
                "answer_valid": In(1),
                "answer": In(read_answer_layout(config, places)),
            }
        )


class SharedReadPort(wiring.Signature):
    """What several readers share: PlacedReadPort with the number of the reader, and back-pressure.

    Members:
      request  Out  stream of {reader, burst: read_request_layout}
      answer   In   stream of {reader, beat: read_answer_layout}
    """

    def __init__(
        self, config: AcceleratorConfig, readers: int, places: int, *, rows: bool = False
    ) -> None:
        reader = range(max(2, readers))
        self.readers, self.places = readers, places
        self.request_shape = data.StructLayout(
            {"reader": reader, "burst": read_request_layout(config, places, rows=rows)}
        )
        self.answer_shape = data.StructLayout(
            {"reader": reader, "beat": read_answer_layout(config, places)}
        )
        super().__init__(
            {
                "request": Out(stream.Signature(self.request_shape)),
                "answer": In(stream.Signature(self.answer_shape)),
            }
        )


class RowUpdatePort(wiring.Signature):
    """A new version of one row, on its way to memory and to what holds a copy of the row.

    Members:
      valid     Out  until all is done: reads of the row wait
      address, size  Out  of the row; see row_note_layout
      held      In   no read of the row is on its way; stays high while valid
      write     Out  stream {data, mask}: the row's beats in order, once memory has them; a row
                     shorter than a beat is repeated in it. mask: the row's words of 4 bytes.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        write = data.StructLayout(
            {
                "data": unsigned(config.axi_data_bits),
                "mask": unsigned(config.beat_bytes // 4),
            }
        )
        super().__init__(
            {
                "valid": Out(1),
                "address": Out(config.axi_address_bits),
                "size": Out(row_size(config)),
                "held": In(1),
                "write": Out(stream.Signature(write)),
            }
        )


class WritePort(wiring.Signature):
    """A requester's view of writing memory: one burst at a time.

    Members:
      request   Out  stream {address, beats}, as in ReadPort.
      payload   Out  stream {data, strobe}: exactly `beats` transfers per request.
      response  In   stream {error}: one transfer per request (spec.isa.Status).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        request = data.StructLayout(
            {"address": unsigned(config.axi_address_bits), "beats": unsigned(BURST_BITS)}
        )
        payload = data.StructLayout(
            {"data": unsigned(config.axi_data_bits), "strobe": unsigned(config.beat_bytes)}
        )
        response = data.StructLayout({"error": unsigned(STATUS_BITS)})
        super().__init__(
            {
                "request": Out(stream.Signature(request)),
                "payload": Out(stream.Signature(payload)),
                "response": In(stream.Signature(response)),
            }
        )


def load_data_bits(config: AcceleratorConfig) -> int:
    """Width of the widest on-chip memory entry that an image can fill [bits]."""
    return max(target_bits(target, config.image_bytes) for target in Target)


class LoadBus(wiring.Signature):
    """Writes of image entries into on-chip memories, broadcast to all lanes; no back-pressure.

    Members (all Out): valid, target (spec.isa.Target), index (entry), data (entry, low-aligned).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "target": Out(4),
                "index": Out(24),
                "data": Out(load_data_bits(config)),
            }
        )


class VectorWrite(wiring.Signature):
    """Gathered data on their way into the lane's memories; no back-pressure.

    A lane has gather_ports of them. In one cycle one of them at most writes a dense word. Port 0
    writes the user's vectors, and the others write none until it has; port n writes those of the
    items whose engine is n modulo gather_ports.

    Members (all Out):
      valid, user   user: of the user's record, else of an item's.
      vector        1: part of a vector, for the interaction engines. 0: a dense word.
      address       dense, user: user bank * user_words + word of USER.
                    dense, item: bank * dense_words / 2 + item * item_dense_words + word.
                    vector, user: user bank * user_vector_words + word, into every engine.
                    vector, item: (bank * engine_vector_words / 2 + (item // engines) *
                    item_vector_words + word) * engines + item % engines.
      data          dense: one word of A bytes, or a beat of several. vector: a vector word in the
                    low bytes.
      mask          one bit per 4 bytes that are written, of `data`.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        data_bytes = max(config.array_size, config.vector_word_bytes)
        super().__init__(
            {
                "valid": Out(1),
                "user": Out(1),
                "vector": Out(1),
                "address": Out(vector_write_address(config)),
                "data": Out(8 * data_bytes),
                "mask": Out(data_bytes // 4),
            }
        )


def vector_write_address(config: AcceleratorConfig) -> range:
    """Return the shape of an address of VectorWrite."""
    return range(
        max(
            2 * config.dense_words,
            2 * config.user_words,
            2 * config.user_vector_words,
            2 * config.engine_vector_words * config.engines,
        )
    )


def batch_layout() -> data.StructLayout:
    """A gathered sub-batch: bank (rtl.item_banks), items (1..sub_batch_max), last of its stage."""
    return data.StructLayout(
        {"bank": unsigned(BANK_BITS), "items": unsigned(16), "last": unsigned(1)}
    )


def score_layout() -> data.StructLayout:
    """A scored candidate between stages. `last` marks the stage's last item."""
    return data.StructLayout(
        {"id": unsigned(32), "logit": signed(16), "ctr": unsigned(16), "last": unsigned(1)}
    )


def result_layout() -> data.StructLayout:
    """One entry of the served list (spec.isa.RESULT)."""
    return data.StructLayout({"id": unsigned(32), "logit": signed(16), "ctr": unsigned(16)})


def descriptor_layout() -> data.StructLayout:
    """A submission descriptor as fetched from the ring."""
    return struct(DESCRIPTOR)
