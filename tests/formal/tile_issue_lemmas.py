"""What carries the induction of TileIssueProperties: the controller's registers and the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import Assert, Module, Mux, Signal, Value
from amaranth.lib import data

from rpaccel.spec.isa import Source

if TYPE_CHECKING:
    from tests.formal.tile_issue_properties import TileIssueProperties


def lemmas(m: Module, model: TileIssueProperties) -> None:
    """Say how the controller's state and the model's correspond, so that a step is enough.

    They take nothing away: they are asserted like the properties.
    """
    dut, step, size = model.dut, model.step, model.config.block_size
    streams = dut.phase < dut.now.items
    none_begun = (dut.k == 0) & (dut.n == 0)  # `now` is the job before
    folds = dut.layer.code.words_a + dut.layer.code.words_b
    old = ~dut.held | none_begun
    head_last = (model.last_k) & (model.n + 1 == model.head.n_steps)
    index = dut.n * folds + dut.k
    tile = model.n * (model.head.words_a + model.head.words_b) + model.k
    loaded = model.rule.count == size
    since, items, stack = model.spaced
    far = dut.dependency_cycles
    held, phase, fold = dut.held, dut.phase, model.fold
    begun = model.before | step.first
    # The tile or the layer changed one and two cycles ago.
    changed, later = Signal(init=1), Signal(init=1)
    m.d.sync += [changed.eq(dut.go | dut.job.ready), later.eq(changed)]
    skewed = dut.layer.code.stack != dut.now.code.stack
    last_row = dut.now.items + Mux(skewed, dut.skew_cycles, 0) - 1
    last_k = dut.k + 1 == folds
    ahead, code = dut.ahead, dut.layer.code
    param_fold = step.param_address[size.bit_length() - 1 :]
    wants = {
        "item": model.item == Mux(streams, phase, 0),
        "jobs": model.jobs == Mux(old, held + streams, 1),
        "busy": ~streams | (dut.now.items <= model.items),
        "now": ~streams | model.same(model.head, dut.now),
        "layer": ~held | Mux(
            none_begun & streams, model.same(model.behind, dut.layer),
            model.same(model.head, dut.layer),
        ),
        "loading": ~held | model.same(model.loading, dut.layer),
        "position": Mux(old, ~streams | head_last, tile + streams == index),
        "start": ~(old & ~streams) | ((model.k == 0) & (model.n == 0)),
        "bounds": ~held | ((dut.k < folds) & (dut.n < dut.layer.code.n_steps)),
        "model": (model.jobs == 0) | (
            (model.k < model.head.words_a + model.head.words_b) & (model.n < model.head.n_steps)
        ),
        "loaded": dut.loaded == loaded,
        "count": model.rule.count <= size,
        "held": (model.rule.count == 0) | held,
        "idle": held | ~step.weight_address[: size.bit_length() - 1].any(),
        "wait": step.row | (model.jobs == 0) | (model.wait + _rest(model) <= far),
        "load": ~step.load | (held & ~loaded),
        "legal": ((model.jobs == 0) | model.legal(model.head))
        & ((model.jobs != 2) | model.legal(model.behind))
        & (~held | model.legal(model.loading)),
        "tile": ~held | (model.tile == index + loaded),
        "tiles": held | (model.tile == model.tiles),
        "fold": ~begun | (fold[: len(param_fold)] == param_fold),
        "last_k": ~begun | (model.now[4] == step.last_k),
        "loading takes": (model.rule.count == 0) | (phase >= size - 2 + model.rule.count),
        "settling takes": ~loaded | (phase >= 2 * size - 2 + (dut.settle == 0)),
        "before": begun | (phase == dut.phase.init),
        "now's items": dut.now.items <= model.items,
        "phases": phase <= dut.phase.init,
        "phase": model.rule.phase == Mux(phase < 2 * size, phase, 2 * size),
        "settle": ~loaded | ((dut.settle == 1) == (model.rule.quiet == 1)),
        "settles": dut.settle <= 1,
        "row": dut.row == streams,
        "first": dut.first == (phase == 0),
        "changed": ~changed | (~dut.loaded & (model.rule.count == 0)),
        "changed before": ~later | (~dut.loaded & (model.rule.count <= 1)),
        "last K fold": changed | (dut.last_k == last_k),
        "last tile": changed | (dut.last_tile == (last_k & (dut.n + 1 == code.n_steps))),
        "waits": changed | (ahead.waits == (none_begun & model.reads_acts(code))),
        "written": changed | (ahead.written == (phase >= far - 1)),
        "last row": changed | (ahead.last_row == last_row),
        "rows are in": changed | later | (ahead.rows_are_in == (phase >= last_row)),
        "since": (model.rule.phase == 0)
        | (since == Mux(phase < dut.dependency_cycles, phase, dut.dependency_cycles)),
        "items": (model.rule.phase == 0) | ~model.before | (items == dut.now.items),
        "stack": (model.rule.phase == 0) | (stack == dut.now.code.stack),
    }  # fmt: skip
    m.d.comb += [Assert(fact, f"lemma: {name}") for name, fact in wants.items()]
    row = (model.loading.tile_base + model.tile) * size + Mux(loaded, 0, model.rule.count)
    if model.addresses:
        _address_lemmas(m, model, streams)
    with m.If(held):
        m.d.comb += Assert(
            step.weight_address == row[: len(step.weight_address)], "lemma: weight_address"
        )


def _address_lemmas(m: Module, model: TileIssueProperties, streams: Value) -> None:
    """Say what the registers behind the addresses hold while rows are read (one engine)."""
    head, inner, (read, write, source) = model.head, model.inner, model.places
    bits = len(model.step.address)
    in_a = model.k < head.words_a
    stride = Mux(source == Source.USER, 0, Mux(in_a, head.stride_a, head.stride_b))
    tile = data.View(data.StructLayout({"k": 2, "last": 1, "source": 3}), inner["tile", 6])
    last = model.last_k & (model.n + 1 == head.n_steps)
    wants = {
        "read": (inner["read_place", bits] == read) & (inner["read_step", 12] == stride),
        "write": (inner["write_place", bits] == write)
        & (inner["write_step", 12] == head.destination_stride),
        "last": tile.last == last,
        "source": tile.source == source,
    }
    m.d.comb += [Assert(~streams | x, f"lemma: {name}") for name, x in wants.items()]


def _rest(model: TileIssueProperties) -> Value:
    """Return how many cycles it may take at most until the next row."""
    dut, size, skew = model.dut, model.config.block_size, model.dut.skew_cycles

    def until(cycle: Value | int) -> Value:
        return Mux(dut.phase < cycle, cycle - dut.phase, 0)[:8]

    load = until(size - 2 + skew) + size - model.rule.count + 3
    rests = [Mux(dut.loaded, dut.settle + 1, load), until(dut.dependency_cycles),
             until(dut.now.items + skew)]  # fmt: skip
    most = rests[0]
    for rest in rests[1:]:
        most = Mux(most > rest, most, rest)
    return most
