"""What a lane can refuse before it touches memory."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Value
from amaranth.hdl import Const
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, descriptor_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import MAX_STAGES, StageKind, Status

__all__ = ["QueryCheck"]


class QueryCheck(wiring.Component):
    """Combinational validation of a QUERY descriptor.

    The first of BAD_STAGES, BAD_ITEMS, BAD_MODEL, BAD_K, BAD_RECORD that applies; then REGION for
    an address with bits above axi_address_bits. k of a stage is checked against the most items
    that the stage can get: the list, or k of the stage before. k of the last stage is not used.

    Members
    -------
    descriptor : In(descriptor_layout())
    loaded : In(model_slots)  slots that hold a valid model.
    status : Out(8)  spec.isa.Status
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "descriptor": In(descriptor_layout()),
                "loaded": In(config.model_slots),
                "status": Out(STATUS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, query = self.config, self.descriptor
        used = [query.stages > i for i in range(MAX_STAGES)]

        def stage(i: int, name: str) -> Value:
            return query[f"stage{i}_{name}"]

        def loaded(slot: Value) -> Value:
            # A slot past the table reads 0.
            return (self.loaded >> slot)[0]

        bad_stages = (query.stages < 1) | (query.stages > MAX_STAGES)
        bad_stages |= Cat(
            used[i] & (stage(i, "kind") != StageKind.RANK) for i in range(MAX_STAGES)
        ).any()
        bad_items = (query.items < 1) | (query.items > config.max_items)
        bad_model = Cat(used[i] & ~loaded(stage(i, "model")) for i in range(MAX_STAGES)).any()
        limits = [query.items] + [stage(i, "k") for i in range(MAX_STAGES)]
        bad_k = Cat(
            used[i + 1] & ((stage(i, "k") < 1) | (stage(i, "k") > limits[i]))
            for i in range(MAX_STAGES - 1)
        ).any()
        bad_k |= (query.top_n < 1) | (query.top_n > config.max_top_n)

        checks = [
            (bad_stages, Status.BAD_STAGES),
            (bad_items, Status.BAD_ITEMS),
            (bad_model, Status.BAD_MODEL),
            (bad_k, Status.BAD_K),
            (self._bad_record(), Status.BAD_RECORD),
            (self._out_of_reach(), Status.REGION),
        ]
        status: Value = Const(Status.OK, STATUS_BITS)
        for refused, code in reversed(checks):
            status = Mux(refused, Const(code, STATUS_BITS), status)
        m.d.comb += self.status.eq(status)
        return m

    def _bad_record(self) -> Value:
        """Return whether a record's size or an alignment is wrong."""
        config, query = self.config, self.descriptor
        beat = config.beat_bytes
        sizes = [1 << i for i in range(config.item_record_bytes.bit_length()) if 1 << i >= beat]
        item_fits = Cat(
            (query.item_record_bytes == size) & ((query.features_address & (size - 1)) == 0)
            for size in sizes
        ).any()
        unaligned = (
            query.user_address
            | query.candidates_address
            | query.result_address
            | query.user_record_bytes
        ) & (beat - 1)
        user_bytes = query.user_record_bytes
        return (
            ~item_fits
            | (unaligned != 0)
            | (user_bytes == 0)
            | (user_bytes > config.user_record_bytes)
        )

    def _out_of_reach(self) -> Value:
        """Return whether an address has bits that the bus does not have."""
        query = self.descriptor
        addresses = (
            query.user_address
            | query.candidates_address
            | query.features_address
            | query.result_address
        )
        return (addresses >> self.config.axi_address_bits) != 0
