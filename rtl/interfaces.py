"""Interfaces between units: one definition each, so that a width is typed once.

Streams are `amaranth.lib.stream`: once valid, payload and valid hold until ready.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

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


class ReadPort(wiring.Signature):
    """A requester's view of reading memory. Responses come in the order of requests.

    Members:
      request   Out  stream {address, beats}: one INCR burst of 1..16 beats, beat-aligned,
                     that does not cross 4 KiB.
      response  In   stream {data, last, error}: exactly `beats` transfers per request, also
                     after an error (error is spec.isa.Status REGION or MEMORY, data are then 0).
    Answers may be held: there is room for them behind the port.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        request = data.StructLayout(
            {"address": unsigned(config.axi_address_bits), "beats": unsigned(BURST_BITS)}
        )
        response = data.StructLayout(
            {
                "data": unsigned(config.axi_data_bits),
                "last": unsigned(1),
                "error": unsigned(STATUS_BITS),
            }
        )
        super().__init__(
            {
                "request": Out(stream.Signature(request)),
                "response": In(stream.Signature(response)),
            }
        )


def read_request_layout(config: AcceleratorConfig, places: int) -> data.StructLayout:
    """A burst to read: where it begins, its beats, the place of its first beat."""
    return data.StructLayout(
        {
            "address": unsigned(config.axi_address_bits),
            "beats": unsigned(BURST_BITS),
            "place": range(max(2, places)),
        }
    )


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

    def __init__(self, config: AcceleratorConfig, places: int) -> None:
        self.places = places
        super().__init__(
            {
                "request": Out(stream.Signature(read_request_layout(config, places))),
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

    def __init__(self, config: AcceleratorConfig, readers: int, places: int) -> None:
        reader = range(max(2, readers))
        self.readers, self.places = readers, places
        self.request_shape = data.StructLayout(
            {"reader": reader, "burst": read_request_layout(config, places)}
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

    Members (all Out):
      valid, user   user: of the user's record, else of an item's.
      vector        1: part of a vector, for the interaction engines. 0: a dense word.
      address       dense: word of USER, or bank * dense_words + item * item_dense_words + word.
                    vector, user: vector word, into every engine.
                    vector, item: (bank * engine_vector_words + (item // engines) *
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
            config.user_words,
            config.user_vector_words,
            2 * config.engine_vector_words * config.engines,
        )
    )


def batch_layout() -> data.StructLayout:
    """A gathered sub-batch: its FEATURE bank, its items (1..sub_batch_max), last of the stage."""
    return data.StructLayout({"bank": unsigned(1), "items": unsigned(16), "last": unsigned(1)})


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
