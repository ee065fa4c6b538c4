"""What the dispatcher can refuse before a query touches memory."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.hdl import Const
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import STATUS_BITS, descriptor_layout
from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import MAX_STAGES, StageKind, StageMode, StageOption, Status

__all__ = ["QueryCheck"]


class QueryCheck(wiring.Component):
    """Validation of a QUERY descriptor, a cycle later.

    The first of BAD_LANE, BAD_STAGES, BAD_ITEMS, BAD_MODEL, BAD_K, BAD_TASK, BAD_RECORD that
    applies; then REGION for an address with bits above axi_address_bits. A stage needs a lane of
    those that it names that owns blocks, and all of these must have its model. k of a stage is
    checked against the most items that the stage can get: the list, or k of the stage before. k of
    the last stage, and its mode, options and task_k, are not used. Tasks of stage 0 begin at a
    beat of the list.

    With a retrieval engine stage 0 may retrieve: it needs neither lane nor model nor items, its k
    is at most retrieval_k_max, and the stage behind it begins at the list. A query that does
    nothing else needs no records either.

    Members
    -------
    descriptor : In(descriptor_layout())
    lane_owns : In(lanes)  lanes that own blocks.
    loaded : In(model_slots) per lane  slots that hold a valid model.
    status : Out(8)  spec.isa.Status, of the cycle before.
    """

    latency_cycles = 1

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__(
            {
                "descriptor": In(descriptor_layout()),
                "lane_owns": In(config.lanes),
                "loaded": In(config.model_slots).array(config.lanes),
                "status": Out(STATUS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, query = self.config, self.descriptor
        used = [query.stages > i for i in range(MAX_STAGES)]
        stages = range(MAX_STAGES)
        retrieves: Value = Const(0)
        if config.retrieval_queries:
            retrieves = self._of(0, "kind") == StageKind.RETRIEVE
        alone = retrieves & (query.stages == 1)
        ranks = [used[i] & ~(retrieves if i == 0 else 0) for i in stages]

        # Lanes that may run a stage; slots that all of them have.
        able = [Signal(config.lanes, name=f"able_{i}") for i in stages]
        has_model = []
        for i in stages:
            asked = self._of(i, "lanes")
            m.d.comb += able[i].eq(Mux(asked == 0, ~0, asked[: config.lanes]) & self.lane_owns)
            missing = Signal(config.model_slots, name=f"missing_{i}")
            for lane, slots in enumerate(self.loaded):
                with m.If(able[i][lane] & ~Array(slots)[self._of(i, "model")[:4]]):
                    m.d.comb += missing.eq(1)
            inside = self._of(i, "model") < config.model_slots
            has_model.append(inside & (missing == 0))

        bad_stages = (query.stages < 1) | (query.stages > MAX_STAGES)
        bad_stages |= self._any(ranks[i] & (self._of(i, "kind") != StageKind.RANK) for i in stages)
        bad_items = ~retrieves & ((query.items < 1) | (query.items > config.max_items))
        limits = [Mux(retrieves, 0xFFFF, query.items), *(self._of(i, "k") for i in stages)]
        bad_k = self._any(
            used[i + 1] & ((self._of(i, "k") < 1) | (self._of(i, "k") > limits[i]))
            for i in range(MAX_STAGES - 1)
        )
        bad_k |= ~alone & ((query.top_n < 1) | (query.top_n > config.max_top_n))
        if config.retrieval_queries:
            most = Mux(alone, config.retrieval_k_max, min(config.retrieval_k_max, config.max_items))
            k = self._of(0, "k")
            bad_k |= retrieves & ((k < 1) | (k > most))

        checks = [
            (
                self._any(self._needs(i, used, retrieves) & ~able[i].any() for i in stages),
                Status.BAD_LANE,
            ),
            (bad_stages, Status.BAD_STAGES),
            (bad_items, Status.BAD_ITEMS),
            (self._any(ranks[i] & ~has_model[i] for i in stages), Status.BAD_MODEL),
            (bad_k, Status.BAD_K),
            (self._bad_task(used, retrieves), Status.BAD_TASK),
            (self._bad_record(alone), Status.BAD_RECORD),
            (self._out_of_reach(), Status.REGION),
        ]
        status: Value = Const(Status.OK, STATUS_BITS)
        for refused, code in reversed(checks):
            status = Mux(refused, Const(code, STATUS_BITS), status)
        m.d.sync += self.status.eq(status)
        return m

    @staticmethod
    def _needs(stage: int, used: list[Value], retrieves: Value) -> Value:
        """Return whether a stage needs a lane."""
        return ~retrieves if stage == 0 else used[stage]

    def _of(self, stage: int, name: str) -> Value:
        return self.descriptor[f"stage{stage}_{name}"]

    @staticmethod
    def _any(conditions: object) -> Value:
        return Cat(conditions).any()

    def _bad_task(self, used: list[Value], retrieves: Value) -> Value:
        """Return whether mode, options or tasks of a stage are wrong."""
        first = Mux(
            retrieves, Mux(used[1], self._of(1, "task_items"), 0), self._of(0, "task_items")
        )
        wrong = [(first & (self.config.beat_bytes // 4 - 1)) != 0]
        for i in range(MAX_STAGES - 1):
            mode, options = self._of(i, "mode"), self._of(i, "options")
            shared = (mode == StageMode.LOCAL) | (mode == StageMode.PROPORTIONAL)
            exact = (options & StageOption.EXACT) != 0
            wrong.append(
                used[i + 1]
                & ~(retrieves if i == 0 else 0)
                & (
                    (mode > max(StageMode))
                    | (options > sum(StageOption))
                    | (exact & (mode == StageMode.PROPORTIONAL))
                    | (shared & ((self._of(i, "task_k") < 1) | (self._of(i, "task_items") == 0)))
                )
            )
        return self._any(wrong)

    def _bad_record(self, alone: Value) -> Value:
        """Return whether a record's size or an alignment is wrong."""
        config, query = self.config, self.descriptor
        beat = config.beat_bytes
        sizes = [1 << i for i in range(config.item_record_bytes.bit_length()) if 1 << i >= beat]
        item_fits = self._any(
            (query.item_record_bytes == size) & ((query.features_address & (size - 1)) == 0)
            for size in sizes
        )
        unaligned = (
            Mux(alone, 0, query.user_address | query.user_record_bytes)
            | query.candidates_address
            | query.result_address
        ) & (beat - 1)
        user_bytes = query.user_record_bytes
        return (unaligned != 0) | ~alone & (
            ~item_fits | (user_bytes == 0) | (user_bytes > config.user_record_bytes)
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
