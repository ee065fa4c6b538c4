import numpy as np
import pytest

from rpaccel.golden.interaction import interact, interaction_params, interaction_width
from rpaccel.perfmodel.interaction import drain_cycles, interaction_cycles
from rpaccel.rtl.interaction import Interaction as Unit
from rpaccel.spec.isa import PAIR, Interaction, Op, Target
from tests.rtl.conftest import small
from tests.streams import simulate, slow_but

DOT, CONCAT, PRODUCT = Interaction.DOT, Interaction.CONCAT, Interaction.PRODUCT
ONE_ENGINE = {
    4: small(4, user_words=256, feature_words=1024, cross_words=1024, max_dim=128,
             pair_entries=256),
    8: small(8, user_words=128, feature_words=512, cross_words=512, max_dim=64, pair_entries=256),
    16: small(16, user_words=128, feature_words=512, cross_words=256, max_dim=128,
              block_size=8, axi_data_bits=128, pair_entries=512),
}  # fmt: skip
FOUR_ENGINES = small(
    32, block_size=16, axi_data_bits=256, user_words=64, feature_words=256, cross_words=256,
    max_dim=64, pair_entries=128,
)  # fmt: skip


def as_int(values):
    return int.from_bytes(np.asarray(values, dtype=np.int8).tobytes(), "little")


def as_int8(value, size):
    return np.frombuffer(value.to_bytes(size, "little"), dtype=np.int8).astype(np.int64)


class Case:
    """A random INTERACT and where its data lie; `values` are the int8 to draw from."""

    def __init__(self, config, kind, items, user, item, row_bytes, bank=0, seed=0,
                 values=range(-127, 128), scale=None):  # fmt: skip
        self.config, self.kind, self.items, self.bank = config, kind, items, bank
        self.user, self.item, self.row_bytes = user, item, row_bytes
        rng = self.rng = np.random.default_rng([seed, kind, items, user, item, row_bytes])
        self.vectors = rng.choice(np.array(values), (items, 1 + user + item, row_bytes))
        self.vectors[:, 1 : 1 + user] = self.vectors[:1, 1 : 1 + user]  # same user for all items
        params = interaction_params(kind, user, item)
        self.multiplier = rng.integers(20000, 65536, params)
        self.shift = rng.integers(21, 28, params)
        if scale is not None:
            self.multiplier[:], self.shift[:] = scale
        self.base = int(rng.integers(0, 5))
        self.width = interaction_width(kind, row_bytes, user, item)
        self.words = -(-self.width // config.array_size)
        self.stride = self.words + int(rng.integers(0, 2))
        word = config.vector_word_bytes
        self.item_words = -(-item * row_bytes // word) + int(rng.integers(0, 2))
        self.user_words = -(-user * row_bytes // word)
        groups = -(-items // config.engines)
        assert groups * self.stride <= config.engine_cross_words, "test: CROSS too small"
        assert groups * self.item_words <= config.engine_vector_words, "test: vectors too many"
        fits_half = groups * self.item_words <= config.engine_vector_words // 2
        self.item_bank = 2 * bank + (items % 2 if fits_half else 0)
        assert self.user_words <= config.user_vector_words, "test: user vectors too many"
        assert self.base + params <= config.pair_entries, "test: PAIR too small"

    @property
    def cycles(self):
        shape = self.user, self.item, self.row_bytes
        return interaction_cycles(self.config, self.kind, self.items, *shape)

    def expected(self):
        size = self.config.array_size
        output = interact(self.vectors, self.multiplier, self.shift, self.kind, self.user)
        padded = np.zeros((self.items, self.words * size), dtype=np.int64)
        padded[:, : output.shape[1]] = output
        return padded.reshape(self.items, self.words, size)

    def entries(self):
        for n, (multiplier, shift) in enumerate(zip(self.multiplier, self.shift, strict=True)):
            yield self.base + n, PAIR.pack({"multiplier": int(multiplier), "shift": int(shift)})

    def bottom_writes(self):
        size, engines = self.config.array_size, self.config.engines
        words = -(-self.row_bytes // size)
        for item in range(self.items):
            row = self.rng.integers(-127, 128, words * size)  # behind the vector: anything
            row[: self.row_bytes] = self.vectors[item, 0]
            base = self.bank * self.config.engine_bottom_words + item // engines * words
            for n in range(words):
                yield (base + n) * engines + item % engines, row[n * size : (n + 1) * size]

    def vector_writes(self):
        """Yield (user, address, word of bytes, mask), as gather does, over random bytes."""
        config, engines = self.config, self.config.engines
        for n in range(self.user_words):
            yield 1, n, self._noise(), -1
        for n in range(self.user):
            for word, values, mask in self._packed(n, self.vectors[0, 1 + n]):
                yield 1, word, values, mask
        for item in range(self.items):
            base = self.item_bank * config.engine_vector_words // 2
            base += item // engines * self.item_words
            for n in range(self.item_words):
                yield 0, (base + n) * engines + item % engines, self._noise(), -1
            for n in range(self.item):
                for word, values, mask in self._packed(n, self.vectors[item, 1 + self.user + n]):
                    yield 0, (base + word) * engines + item % engines, values, mask

    def _noise(self):
        size = max(self.config.array_size, self.config.vector_word_bytes)
        return self.rng.integers(-127, 128, size)

    def _packed(self, n, vector):
        size = self.config.vector_word_bytes
        step = min(size, self.row_bytes)
        for part in range(0, self.row_bytes, step):
            word, at = divmod(n * self.row_bytes + part, size)
            values = self._noise()
            values[at : at + step] = vector[part : part + step]
            yield word, values, (1 << step // 4) - 1 << at // 4

    def instruction(self):
        return {
            "op": Op.INTERACT, "kind": self.kind, "destination_stride": self.stride,
            "param_base": self.base, "user_vectors": self.user, "item_vectors": self.item,
        }  # fmt: skip


async def load(ctx, unit, case):
    ctx.set(unit.load.target, Target.PAIR)
    for index, entry in case.entries():
        ctx.set(unit.load.valid, 1)
        ctx.set(unit.load.index, index)
        ctx.set(unit.load.data, entry)
        await ctx.tick()
    ctx.set(unit.load.valid, 0)


async def write_bottom(ctx, unit, case):
    """Slice j of a word comes a cycle after slice j - 1, as from the array."""
    size, blocks = case.config.block_size, case.config.blocks
    writes = list(case.bottom_writes())
    for cycle in range(len(writes) + blocks):
        for j, port in enumerate(unit.bottom):
            here = 0 <= cycle - j < len(writes)
            ctx.set(port.valid, int(here))
            if here:
                address, word = writes[cycle - j]
                ctx.set(port.address, address)
                ctx.set(port.data, as_int(word[j * size : (j + 1) * size]))
        await ctx.tick()


async def write_vectors(ctx, unit, case):
    for user, address, word, mask in case.vector_writes():
        port = unit.vectors[0 if user else address % len(unit.vectors)]
        ctx.set(port.valid, 1)
        ctx.set(port.vector, 1)
        ctx.set(port.user, user)
        ctx.set(port.address, address)
        ctx.set(port.data, as_int(word))
        ctx.set(port.mask, mask & (1 << len(port.mask)) - 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
    # A dense word is no vector.
    ctx.set(port.valid, 1)
    ctx.set(port.vector, 0)
    ctx.set(port.data, as_int(case._noise()))
    await ctx.tick()
    ctx.set(port.valid, 0)


async def fill(ctx, unit, case):
    await load(ctx, unit, case)
    await write_bottom(ctx, unit, case)
    await write_vectors(ctx, unit, case)


async def execute(ctx, unit, case):
    """Run `case`; return its busy cycles and leave in the first cycle in which it is idle."""
    ctx.set(unit.start, 1)
    ctx.set(unit.instruction, case.instruction())
    ctx.set(unit.items, case.items)
    ctx.set(unit.bank, case.bank)
    ctx.set(unit.item_bank, case.item_bank)
    ctx.set(unit.row_bytes, case.row_bytes)
    ctx.set(unit.item_vector_words, case.item_words)
    await ctx.tick()
    ctx.set(unit.start, 0)
    for cycle in range(1, 10_000):
        _, _, busy, done = await ctx.tick().sample(unit.busy, unit.done)
        assert busy, f"idle before done in cycle {cycle}"
        if done:
            assert not ctx.get(unit.busy)
            return cycle
    raise AssertionError("never done")


async def read_back(ctx, unit, case):
    """Return the case's rows of CROSS; slice j is asked a cycle after slice j - 1."""
    config = case.config
    size, blocks, engines = config.block_size, config.blocks, config.engines
    addresses = [
        (case.bank * config.engine_cross_words + item // engines * case.stride + n) * engines
        + item % engines
        for item in range(case.items)
        for n in range(case.words)
    ]
    rows = np.zeros((len(addresses), config.array_size), dtype=np.int64)
    for cycle in range(len(addresses) + blocks):
        for j, port in enumerate(unit.cross):
            asked = cycle - 1 - j
            ctx.set(port.address, addresses[min(max(0, asked + 1), len(addresses) - 1)])
            if 0 <= asked < len(addresses):
                rows[asked, j * size : (j + 1) * size] = as_int8(ctx.get(port.data), size)
        await ctx.tick()
    return rows.reshape(case.items, case.words, config.array_size)


def check(case, busy, rows):
    assert np.array_equal(rows, case.expected())
    assert busy == case.cycles


def run_cases(config, cases):
    unit, results = Unit(config), []

    async def drive(ctx):
        for case in cases:
            await fill(ctx, unit, case)
            busy = await execute(ctx, unit, case)
            results.append((case, busy, await read_back(ctx, unit, case)))

    simulate(unit, drive)
    assert unit.drain_cycles == drain_cycles(config)
    for result in results:
        check(*result)
    assert len(results) == len(cases)


@pytest.mark.parametrize("size", slow_but([8], ONE_ENGINE, nightly=[4]))
@pytest.mark.parametrize("kind", Interaction)
def test_matches_golden_and_cycles(size, kind):
    rows = [n for n in (4, 8, 16, 32) if n <= ONE_ENGINE[size].max_dim]
    sides = [(1, 1), (3, 2), (2, 5)] + [(0, 6), (5, 0), (0, 1)] * (kind is not PRODUCT)
    cases = [
        Case(ONE_ENGINE[size], kind, 1 + n % 3, *side, row, bank=n % 2)
        for n, (side, row) in enumerate((side, row) for side in sides for row in rows)
    ]
    run_cases(ONE_ENGINE[size], cases)


def random_cases(config, count, seed, **limits):
    """Yield random cases that fit `config`: any kind, split, bank and number of items."""
    rng = np.random.default_rng(seed)
    limits = {"vectors": 7, "items": 2 * config.engines + 1, **limits}
    while count:
        user, item = rng.integers(0, limits["vectors"] + 1, 2).tolist()
        kind = Interaction(int(rng.integers(0, 3)))
        if user + item == 0 or (kind is PRODUCT and not (user and item)):
            continue
        row_bytes = 4 << int(rng.integers(0, (config.max_dim // 4).bit_length()))
        row_bytes = min(row_bytes, 32)
        items = int(rng.integers(1, limits["items"] + 1))
        yield Case(config, kind, items, user, item, row_bytes, int(rng.integers(0, 2)), seed)
        count -= 1


@pytest.mark.parametrize("size", ONE_ENGINE)
def test_random_shapes(size):
    run_cases(ONE_ENGINE[size], list(random_cases(ONE_ENGINE[size], 10, seed=size, items=2)))


@pytest.mark.parametrize("items", slow_but([1, 5], [1, 3, 4, 5, 9]))
def test_items_over_four_engines(items):
    kinds = [(DOT, 2, 3, 4), (CONCAT, 1, 2, 16), (PRODUCT, 3, 2, 8), (DOT, 0, 3, 32)]
    cases = [
        Case(FOUR_ENGINES, kind, items, *shape, bank=n % 2)
        for n, (kind, *shape) in enumerate(kinds[items % 2 :])
    ]
    run_cases(FOUR_ENGINES, cases)


def test_random_shapes_on_four_engines():
    run_cases(FOUR_ENGINES, list(random_cases(FOUR_ENGINES, 5, seed=1, vectors=6)))


@pytest.mark.parametrize("size", ONE_ENGINE)
def test_edges_of_int8(size):
    # Sums saturate, come out as they are, or round to nothing.
    scales = [(65535, 0), (1, 0), (65535, 16), (0, 47), (65535, 47)]
    cases = [
        Case(ONE_ENGINE[size], kind, 1, 2, 3, row, seed=n, values=(-127, 0, 127), scale=scale)
        for n, scale in enumerate(scales)
        for kind, row in ((DOT, 4 << n % 3), (PRODUCT, 8), (CONCAT, 4))
    ]
    run_cases(ONE_ENGINE[size], cases)


@pytest.mark.parametrize(("size", "dim"), [(4, 128), (4, 4), (8, 8), (16, 128), (16, 16)])
def test_longest_vectors(size, dim):
    config = ONE_ENGINE[size].model_copy(update={"max_dim": dim})
    cases = [Case(config, DOT, 2, 1, 2, dim, values=(-127, 127), scale=(65535, 30))]
    run_cases(config, [*cases, *(Case(config, kind, 1, 2, 1, dim) for kind in (CONCAT, PRODUCT))])


def test_shortest_groups():
    config = ONE_ENGINE[16]
    kinds = [(DOT, 1, 0), (DOT, 0, 1), (CONCAT, 0, 1), (PRODUCT, 1, 1)]
    run_cases(config, [Case(config, kind, 5, *sides, 4) for kind, *sides in kinds])


@pytest.mark.slow
def test_most_vectors():
    big = ONE_ENGINE[16].model_copy(update={"pair_entries": 4096})
    cases = [Case(big, DOT, 1, 64, 0, 8), Case(big, CONCAT, 1, 0, 64, 4)]
    run_cases(big, [*cases, Case(big, PRODUCT, 1, 64, 63, 4)])


def test_instructions_back_to_back():
    config = FOUR_ENGINES
    cases = [
        Case(config, DOT, 5, 0, 4, 4, bank=0), Case(config, DOT, 3, 0, 3, 32, bank=1),
    ]  # fmt: skip
    cases[1].base = cases[0].base + len(cases[0].shift)
    unit, results = Unit(config), []

    async def drive(ctx):
        for case in cases:
            await fill(ctx, unit, case)
        busy = [await execute(ctx, unit, case) for case in cases]
        for case, cycles in zip(cases, busy, strict=True):
            results.append((case, cycles, await read_back(ctx, unit, case)))

    simulate(unit, drive)
    for result in results:
        check(*result)
    assert len(results) == 2


@pytest.mark.parametrize("config", [ONE_ENGINE[16], FOUR_ENGINES], ids=["A16", "A32"])
def test_other_bank_is_written_and_read_meanwhile(config):
    items = 3 * config.engines
    # No user side: it has one copy for both banks.
    first = Case(config, PRODUCT, items, 1, 1, 4, bank=1)
    running = Case(config, DOT, items, 0, 9, 8, bank=0)
    then = Case(config, CONCAT, items, 0, 2, 16, bank=1)
    running.base = first.base + 1
    unit, results, wrote = Unit(config), [], []

    async def drive(ctx):
        await fill(ctx, unit, first)
        await execute(ctx, unit, first)
        await fill(ctx, unit, running)
        wrote.append("begin")
        busy = await execute(ctx, unit, running)
        assert len(wrote) == 4, "test: the others took longer"
        results.append((running, busy, await read_back(ctx, unit, running)))
        busy = await execute(ctx, unit, then)
        results.append((then, busy, await read_back(ctx, unit, then)))

    def meanwhile(work):
        async def bench(ctx):
            while not wrote:
                await ctx.tick()
            work_done = await work(ctx, unit)
            wrote.append("done")
            if work_done is not None:
                results.append((first, first.cycles, work_done))

        return bench

    works = [
        lambda ctx, unit: write_vectors(ctx, unit, then),
        lambda ctx, unit: write_bottom(ctx, unit, then),
        lambda ctx, unit: read_back(ctx, unit, first),
    ]
    simulate(unit, drive, *map(meanwhile, works))
    for result in results:
        check(*result)
    assert len(results) == 3


@pytest.mark.parametrize(("row_bytes", "cycles"), [(4, 99), (32, 710)], ids=["small", "large"])
def test_criteo_items(row_bytes, cycles):
    # RecPipe's RMsmall and RMlarge: 26 tables; 351 pairs.
    case = Case(ONE_ENGINE[16], DOT, 2, 0, 26, row_bytes)
    assert case.cycles == 2 * cycles + 18
    run_cases(ONE_ENGINE[16], [case])
