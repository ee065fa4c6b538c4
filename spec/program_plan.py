"""What a ranker takes of a machine: words, strides, steps, stacking, and its stage program.

The compiler fills these programs with weights and addresses; the performance model times them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import Destination, Interaction, Op, Source

__all__ = [
    "LayerPlan", "ModelPlan", "ModelSizes", "cross_bytes", "cross_rows", "late_rows",
    "pair_params", "plan_model", "row_bytes_of", "stack_of",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """A ranker's shape.

    bottom, top : output widths of the layers. late_products : of a PRODUCT, so many of the
    products, the first ones, go past the top MLP to its last layer (NeuMF).
    """

    dim: int
    user_dense: int
    item_dense: int
    user_tables: int
    item_tables: int
    bottom: tuple[int, ...]
    top: tuple[int, ...]
    interaction: Interaction = Interaction.DOT
    late_products: int = 0

    @property
    def tables(self) -> int:
        """Gathered vectors."""
        return self.user_tables + self.item_tables


def row_bytes_of(dim: int) -> int:
    """Return the bytes of an embedding row in memory: a power of two, at least 4."""
    return max(4, 1 << (dim - 1).bit_length())


def pair_params(sizes: ModelSizes) -> int:
    """Return the PAIR entries of a ranker: dot products, or products of two vectors."""
    if sizes.interaction is Interaction.DOT:
        return (sizes.tables + 1) * sizes.tables // 2
    if sizes.interaction is Interaction.PRODUCT:
        return min(sizes.user_tables, sizes.item_tables)
    return 0


def _cross_vectors(sizes: ModelSizes) -> int:
    """Return the vectors in a CROSS row, vector 0 included."""
    if sizes.interaction is Interaction.DOT:
        return 1
    return 1 + sizes.tables - pair_params(sizes)  # a product takes two and gives one


def cross_bytes(sizes: ModelSizes) -> int:
    """Return the bytes that the interaction makes of an item: vectors, or one and the pairs."""
    scalars = pair_params(sizes) if sizes.interaction is Interaction.DOT else 0
    return _cross_vectors(sizes) * row_bytes_of(sizes.dim) + scalars


def cross_rows(sizes: ModelSizes) -> tuple[int, ...]:
    """Return the byte of a CROSS row that holds each input of the first top layer."""
    row_bytes, vectors = row_bytes_of(sizes.dim), _cross_vectors(sizes)
    early = [0, *range(1 + sizes.late_products, vectors)]
    rows = tuple(v * row_bytes + x for v in early for x in range(sizes.dim))
    return rows + tuple(range(vectors * row_bytes, cross_bytes(sizes)))


def late_rows(sizes: ModelSizes) -> tuple[int, ...]:
    """Return the bytes of a CROSS row that the last top layer reads before the layer before."""
    row_bytes = row_bytes_of(sizes.dim)
    late = range(1, 1 + sizes.late_products)
    return tuple(v * row_bytes + x for v in late for x in range(sizes.dim))


def least_stack(config: AcceleratorConfig) -> int:
    """Return log2 of the groups of block rows of a layer that does not stack: one per square."""
    return config.groups_down.bit_length() - 1


def stack_of(k_folds: int, used_rows: int, words: int, config: AcceleratorConfig) -> int:
    """Return log2 of the groups of block rows that give a layer of `words` the fewest steps.

    Only a layer of one K fold stacks, if its inputs fit one group. Fewest groups among equals.
    """

    def steps(stack: int) -> int:
        return -(-words // (config.groups_across << stack))

    best = least_stack(config)
    for stack in range(best + 1, config.block_rows.bit_length() if k_folds == 1 else best + 1):
        fits = used_rows <= config.block_rows * config.block_size >> stack
        if fits and steps(stack) < steps(best):
            best = stack
    return best


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One LAYER instruction without its bases.

    inputs, outputs : of the layer; words_a : of USER, or of CROSS from word `offset_a` of an item
    on, `stride_a` apart; words_b : of `source`, `stride` apart.
    step_words : that a step gives, one per group; 1 if the layer ends a chain.
    """

    name: str
    inputs: int
    outputs: int
    source: Source
    words_a: int
    words_b: int
    stride: int
    destination: Destination
    n_steps: int
    stack: int
    step_words: int
    source_a: Source = Source.USER
    offset_a: int = 0
    stride_a: int = 0

    @property
    def k_folds(self) -> int:
        """Words read per item."""
        return self.words_a + self.words_b

    @property
    def destination_stride(self) -> int:
        """Words written per item, those past the layer's outputs included."""
        return self.n_steps * self.step_words

    @property
    def tiles(self) -> int:
        """Weight tiles of the whole array."""
        return self.n_steps * self.k_folds

    @property
    def macs(self) -> int:
        """Useful MACs per item."""
        return self.inputs * self.outputs

    @property
    def fields(self) -> dict[str, int]:
        """INSTRUCTION fields."""
        return {
            "op": Op.LAYER, "stack": self.stack, "n_steps": self.n_steps,
            "source_a": self.source_a, "words_a": self.words_a,
            "stride_a": self.stride_a, "offset_a": self.offset_a,
            "source_b": self.source, "words_b": self.words_b, "stride_b": self.stride,
            "destination": self.destination, "destination_stride": self.destination_stride,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """A ranker on a machine; words of `array_size` bytes, vector words of `vector_word_bytes`."""

    sizes: ModelSizes
    config: AcceleratorConfig
    bottom: tuple[LayerPlan, ...]
    top: tuple[LayerPlan, ...]

    @property
    def layers(self) -> tuple[LayerPlan, ...]:
        """All layers in program order."""
        return self.bottom + self.top

    @property
    def row_bytes(self) -> int:
        """Bytes of an embedding row in memory, and of a vector."""
        return row_bytes_of(self.sizes.dim)

    @property
    def user_dense_words(self) -> int:
        """Words used in USER, whole beats."""
        return _dense_words(self.sizes.user_dense, self.config)

    @property
    def item_dense_words(self) -> int:
        """Words per item in DENSE, whole beats."""
        return _dense_words(self.sizes.item_dense, self.config)

    @property
    def user_vector_words(self) -> int:
        """Vector words of the user's vectors."""
        return -(-self.sizes.user_tables * self.row_bytes // self.config.vector_word_bytes)

    @property
    def item_vector_words(self) -> int:
        """Vector words per item."""
        return -(-self.sizes.item_tables * self.row_bytes // self.config.vector_word_bytes)

    @property
    def cross_stride(self) -> int:
        """Words per item in CROSS."""
        return _cross_stride(self.sizes, self.config)

    @property
    def act_stride(self) -> int:
        """Most words per item in an activation memory."""
        acts = (Destination.ACT0, Destination.ACT1)
        return max((x.destination_stride for x in self.layers if x.destination in acts), default=0)

    @property
    def most_items(self) -> int:
        """Most items per sub-batch: their data fit on chip; 0 if not even one does."""
        return self._most_items(1)

    @property
    def quarter_items(self) -> int:
        """Most items per sub-batch if four take turns in the memories of two; 0: not even one."""
        return self._most_items(2)

    def _most_items(self, parts: int) -> int:
        """Return the most items whose gathered data fit into 1 / parts of a bank."""
        config = self.config
        shares = (
            (1, config.act_words, self.act_stride),
            (1, config.dense_words // parts, self.item_dense_words),
            (config.engines, config.engine_vector_words // parts, self.item_vector_words),
            (config.engines, config.engine_cross_words, self.cross_stride),
        )
        fits = (engines * (words // stride) for engines, words, stride in shares if stride)
        return min(config.sub_batch_max // parts, *fits)

    @property
    def tiles(self) -> int:
        """Weight tiles that every sub-batch streams through."""
        return sum(layer.tiles for layer in self.layers)

    @property
    def weight_rows(self) -> int:
        """Rows of every weight bank."""
        return self.tiles * self.config.block_size

    @property
    def weight_words(self) -> int:
        """Entries of WEIGHT, over all block rows."""
        return self.weight_rows * self.config.block_rows

    @property
    def param_entries(self) -> int:
        """Entries of PARAM that the model takes in every block row."""
        return sum(layer.n_steps for layer in self.layers) * self.config.channels_across

    @property
    def program_entries(self) -> int:
        """Instructions with the interaction and END."""
        return len(self.layers) + 2

    @property
    def macs(self) -> int:
        """Useful MACs of the layers per item."""
        return sum(layer.macs for layer in self.layers)

    @property
    def program(self) -> list[dict[str, int]]:
        """INSTRUCTION fields without bases, relu and END."""
        kind = self.sizes.interaction
        if kind is Interaction.PRODUCT and not pair_params(self.sizes):
            kind = Interaction.CONCAT  # no two vectors to multiply: the same row
        interact: dict[str, int] = {
            "op": Op.INTERACT, "kind": kind,
            "destination_stride": self.cross_stride,
            "user_vectors": self.sizes.user_tables, "item_vectors": self.sizes.item_tables,
            "words_a": self.sizes.late_products,
        }  # fmt: skip
        return [*(x.fields for x in self.bottom), interact, *(x.fields for x in self.top)]

    @property
    def slot(self) -> dict[str, int]:
        """SLOT fields without those of sub-batches, bases and record bytes."""
        return {
            "valid": 1, "program_length": len(self.layers) + 1,
            "quarter_items": self.quarter_items,
            "user_features": self.sizes.user_tables, "item_features": self.sizes.item_tables,
            "user_dense_words": self.user_dense_words, "item_dense_words": self.item_dense_words,
            "user_vector_words": self.user_vector_words,
            "item_vector_words": self.item_vector_words, "row_bytes": self.row_bytes,
        }  # fmt: skip


def _dense_words(dense: int, config: AcceleratorConfig) -> int:
    width = config.array_size * config.words_per_beat
    return -(-dense // width) * config.words_per_beat


def _cross_stride(sizes: ModelSizes, config: AcceleratorConfig) -> int:
    return -(-cross_bytes(sizes) // config.array_size)


def _alternate() -> Iterator[tuple[Source, Destination]]:
    """Yield the activation memories in turn, as read and as written."""
    while True:
        yield Source.ACT0, Destination.ACT0
        yield Source.ACT1, Destination.ACT1


def _chain(
    part: str,
    widths: tuple[int, ...],
    first: tuple[int, int, int, int, int],
    source: Source,
    last: tuple[Destination, int],
    config: AcceleratorConfig,
) -> tuple[LayerPlan, ...]:
    """Return the layers of one MLP.

    first : (inputs, used rows, USER words, words of `source`, words from item to item there).
    last : (where, words written).
    """
    inputs, used_rows, words_a, words_b, stride = first
    planned, acts = [], _alternate()
    for index, outputs in enumerate(widths):
        is_last = index == len(widths) - 1
        words = last[1] if is_last else -(-outputs // config.array_size)
        stack, step_words = least_stack(config), 1
        if not is_last:
            stack = stack_of(words_a + words_b, used_rows, words, config)
            step_words = config.groups_across << stack
        following, destination = next(acts)
        layer = LayerPlan(
            name=f"{part} layer {index}",
            inputs=inputs,
            outputs=outputs,
            source=source,
            words_a=words_a,
            words_b=words_b,
            stride=stride,
            destination=last[0] if is_last else destination,
            n_steps=-(-words // step_words),
            stack=stack,
            step_words=step_words,
        )
        planned.append(layer)
        inputs = used_rows = outputs
        source, words_a, words_b, stride = following, 0, words, layer.destination_stride
    return tuple(planned)


def plan_model(sizes: ModelSizes, config: AcceleratorConfig) -> ModelPlan:
    """Return how a ranker of `sizes` runs on a machine, whether it fits or not."""
    a = config.array_size
    dense = (sizes.user_dense, sizes.item_dense)
    words_a, words_b = (-(-width // a) for width in dense)
    used_rows = words_a * a + dense[1] if words_b else dense[0]
    rows, cross = cross_rows(sizes), _cross_stride(sizes, config)
    bottom_words = -(-row_bytes_of(sizes.dim) // a)
    top = _chain(
        "top",
        sizes.top,
        (len(rows), rows[-1] + 1, 0, cross, cross),
        Source.CROSS,
        (Destination.SCORE, 1),
        config,
    )
    return ModelPlan(
        sizes=sizes,
        config=config,
        bottom=_chain(
            "bottom",
            sizes.bottom,
            (sum(dense), used_rows, words_a, words_b, _dense_words(dense[1], config)),
            Source.DENSE,
            (Destination.BOTTOM, bottom_words),
            config,
        ),
        top=(*top[:-1], _joined(top[-1], sizes, config)) if sizes.late_products else top,
    )


def _joined(last: LayerPlan, sizes: ModelSizes, config: AcceleratorConfig) -> LayerPlan:
    """Return the last top layer with the late products in front of its inputs."""
    rows, a = late_rows(sizes), config.array_size
    first = rows[0] // a
    return replace(
        last,
        inputs=len(rows) + last.inputs,
        source_a=Source.CROSS,
        words_a=rows[-1] // a + 1 - first,
        offset_a=first,
        stride_a=_cross_stride(sizes, config),
    )
