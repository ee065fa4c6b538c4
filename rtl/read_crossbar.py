"""Read crossbar: readers to the ports or banks that their addresses belong to, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rpaccel.rtl.interfaces import PlacedReadPort, SharedReadPort
from rpaccel.rtl.repeated import repeated
from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["ReadCrossbar", "round_robin"]


def round_robin(m: Module, valid: Value, moves: Value, name: str) -> Signal:
    """Return one of the set bits of `valid`: the first after the choice of the last `moves`."""
    after, later, pick = (
        Signal(len(valid), name=f"{name}_{n}") for n in ("after", "later", "pick")
    )
    m.d.comb += later.eq(valid & after)
    m.d.comb += pick.eq(Mux(later.any(), later & -later, valid & -valid))
    with m.If(moves):
        m.d.sync += after.eq(~((pick << 1) - 1))
    return pick


def _copy(m: Module, to: data.View, origin: data.View) -> None:
    """Assign field by field: the places of the two need not be as wide."""
    for name, _ in to.shape():
        m.d.comb += to[name].eq(origin[name])


class RequestChoice(wiring.Component):
    """One target's choice among the readers that ask for it.

    Members:
      asks      In   1 bit per reader
      bursts    In   each reader's request
      request   Out  stream of the target's port
      taken     Out  1 bit per reader
    """

    def __init__(self, port: SharedReadPort) -> None:
        burst = port.request_shape["burst"].shape
        super().__init__(
            {
                "asks": In(port.readers),
                "bursts": In(burst).array(port.readers),
                "request": Out(stream.Signature(port.request_shape)),
                "taken": Out(port.readers),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request = self.request
        pick = round_robin(m, self.asks, request.valid & request.ready, "request")
        m.d.comb += [
            request.valid.eq(self.asks.any()),
            self.taken.eq(Mux(request.ready, pick, 0)),
        ]
        with m.Switch(pick):
            for i in range(len(pick)):
                with m.Case(1 << i):
                    m.d.comb += [
                        request.payload.reader.eq(i),
                        request.payload.burst.eq(self.bursts[i]),
                    ]
        return m


class AnswerChoice(wiring.Component):
    """One reader's choice among the targets that have an answer for it.

    Members:
      number        In   of the reader
      valid, heads  In   each target's answer
      answer_valid, answer   Out  of the reader
      accepted      Out  1 bit per target
    """

    def __init__(self, port: SharedReadPort, targets: int) -> None:
        shape = port.answer_shape
        super().__init__(
            {
                "number": In(shape["reader"].shape),
                "valid": In(targets),
                "heads": In(shape).array(targets),
                "answer_valid": Out(1),
                "answer": Out(shape["beat"].shape),
                "accepted": Out(targets),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        targets = range(len(self.valid))
        mine = Signal(len(self.valid))
        m.d.comb += [
            mine[t].eq(self.valid[t] & (self.heads[t].reader == self.number)) for t in targets
        ]
        pick = mine if len(mine) == 1 else round_robin(m, mine, mine.any(), "answer")
        m.d.comb += [self.answer_valid.eq(mine.any()), self.accepted.eq(pick)]
        with m.Switch(pick):
            for t in targets:
                with m.Case(1 << t):
                    m.d.comb += self.answer.eq(self.heads[t].beat)
        return m


class ReadCrossbar(wiring.Component):
    """Per target one request per cycle, per reader one answer; both round-robin, 0 cycles.

    A target's request may change from cycle to cycle until it is taken: a target registers it. An
    answer for a reader that takes another target's in this cycle waits, and what is behind it too.

    Parameters
    ----------
    places : of each reader.
    targets : how many.
    target_of : address to the number of its target.
    rows : requests are rows.
    silent : the last readers, which get no answers.

    Members:
      readers  In   PlacedReadPort each
      targets  Out  SharedReadPort each
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        places: Sequence[int],
        targets: int,
        target_of: Callable[[Value], Value | int],
        *,
        rows: bool = False,
        silent: int = 0,
    ) -> None:
        self.config, self.places, self.target_of = config, tuple(places), target_of
        self.count, self.silent = targets, silent
        shared = SharedReadPort(config, len(places), max(places), rows=rows)
        members = {
            f"reader_{i}": In(PlacedReadPort(config, size, rows=rows))
            for i, size in enumerate(self.places)
        }
        super().__init__(members | {"targets": Out(shared).array(targets)})

    @property
    def readers(self) -> list[wiring.PureInterface]:
        """The readers' ports, in order."""
        return [getattr(self, f"reader_{i}") for i in range(len(self.places))]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._requests(m)
        self._answers(m)
        return m

    def _requests(self, m: Module) -> None:
        """Give every target one of the requests for it."""
        readers, port = self.readers, self.targets[0].signature
        chosen = []
        for i, reader in enumerate(readers):
            number = Signal(range(max(2, self.count)), name=f"target_of_{i}")
            m.d.comb += number.eq(self.target_of(reader.request.payload.address))
            chosen.append(number)
        taken = []
        for t, target in enumerate(self.targets):
            requests = RequestChoice(port)
            m.submodules[f"requests_{t}"] = repeated(requests)
            wiring.connect(m, requests.request, wiring.flipped(target.request))
            asks = (
                reader.request.valid & (number == t)
                for reader, number in zip(readers, chosen, strict=True)
            )
            m.d.comb += requests.asks.eq(Cat(asks))
            for reader, burst in zip(readers, requests.bursts, strict=True):
                _copy(m, burst, reader.request.payload)
            taken.append(requests.taken)
        for i, reader in enumerate(readers):
            m.d.comb += reader.request.ready.eq(Cat(bits[i] for bits in taken).any())

    def _answers(self, m: Module) -> None:
        """Give every reader one of the answers for it."""
        port = self.targets[0].signature
        accepted = []
        for i, reader in enumerate(self.readers[: len(self.places) - self.silent]):
            answers = AnswerChoice(port, self.count)
            m.submodules[f"answers_{i}"] = repeated(answers)
            m.d.comb += [
                answers.number.eq(i),
                answers.valid.eq(Cat(target.answer.valid for target in self.targets)),
                reader.answer_valid.eq(answers.answer_valid),
            ]
            for target, head in zip(self.targets, answers.heads, strict=True):
                m.d.comb += head.eq(target.answer.payload)
            _copy(m, reader.answer, answers.answer)
            accepted.append(answers.accepted)
        for t, target in enumerate(self.targets):
            m.d.comb += target.answer.ready.eq(Cat(bits[t] for bits in accepted).any())
