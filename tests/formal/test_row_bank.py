import pytest

from rpaccel.rtl import row_bank, row_front, row_updater
from rpaccel.spec.accelerator import load_accelerator
from tests.formal.mutants import mutant
from tests.formal.row_bank_properties import RowBankProperties
from tests.formal.row_updater_properties import RowUpdaterProperties
from tests.formal.sby import run
from tests.streams import slow_but, slow_rows_but

BANK, FRONT, UPDATER = row_bank, row_front, row_updater
QUEUE = ("ROWS_WAITING = 16", "ROWS_WAITING = 2")  # before the bank: the proof's, to be shorter
DEPTH, DEEP = 14, 19  # of the bank: until a read is filled, until it is answered
COPIED, WHOLE_UPDATE = 15, 22  # of the updater: a row of one beat, of two with all that follows
BUGS = {
    "an update does not wait for reads": (
        BANK, "held | ~(behind & self.reads.busy).any()", "1", "none is asked for"),
    "nor for what is being looked up": (
        FRONT, "m.d.sync += ahead.eq(behind_next)", "m.d.sync += ahead.eq(0)", "none is asked for"),
    "rows do not wait for an update": (
        FRONT, "return update.valid & ~far", "return update.valid & ~far & far",
        "none is asked for"),
    "copies are skipped": (
        BANK, "cache_done | self.updated", "1", "the cache gets the whole row"),
    "beats go to the first one": (
        BANK, "(self.update.address >> offset_bits) + self.beats_written",
        "self.update.address >> offset_bits", "beat after beat"),
    "the last waiter is kept back": (
        BANK, "(waiters != 0) &", "(waiters > 1) &", "what is inside moves"),
}  # fmt: skip

UPDATER_BUGS = {
    "a row is written before it is held": (
        'with m.State("HOLD"), m.If(self.row.held):', 'with m.State("HOLD"):',
        "a row is written once, held"),
    "no copies": ('m.next = "COPIES"', 'm.next = "VERSION"', "all copies are written"),
    "copies before memory": (
        'next_beat("ROW_WRITTEN")', 'next_beat("COPIES")', "copies come when memory has the row"),
    "copies of what memory refused": (
        "with m.If(port.response.payload.error != 0):",
        "with m.If(port.response.payload.error == 0xFF):", "copies come when memory has the row"),
    "an equal version": (
        "fields.version <= stored", "fields.version < stored",
        "only a good entry, newer than its row, is written"),
    "a beat twice": (
        "bytes_of_row.eq(turned)", "bytes_of_row.eq(bytes_of_row)", "the row as it was sent"),
    "held after its version": (
        "m.d.sync += self.row.valid.eq(1)",
        "m.d.sync += self.row.valid.eq(fields.version_address == 0)",
        "its row waits from before it is read"),
}  # fmt: skip


def bank_of(beats, reads, ways, changes=()):
    """A bank of one set; changes : (module, old text, new text) each."""
    config = load_accelerator("tiny").model_copy(
        update={
            "axi_data_bits": 32, "max_dim": 4 * beats, "axi_address_bits": 2 + beats,
            "row_cache_sets": 1, "row_cache_ways": ways, "row_reads": reads,
            "static_cache_lines": 0, "static_cache_sets": 1, "static_cache_ways": 1,
        }
    )  # fmt: skip
    texts = {module: [text for m, *pair in changes if m is module for text in pair]
             for module in (BANK, FRONT)}  # fmt: skip
    front, bank = mutant(FRONT, *QUEUE, *texts[FRONT]), mutant(BANK, *texts[BANK])
    bank.RowFront = front.RowFront
    return bank.RowBank(config, 1, 2 * beats, 1)


def updater_of(*texts):
    config = load_accelerator("tiny").model_copy(
        update={"axi_data_bits": 128, "max_dim": 32, "axi_address_bits": 10}
    )
    return mutant(UPDATER, *texts).RowUpdater(config)


def bank_proof(bank, depth, mode="bmc"):
    return run(RowBankProperties(bank, follow=True), depth, mode)


# beats of a row, reads in flight, ways: from one row in all
@pytest.mark.parametrize(
    ("beats", "reads", "ways"), slow_rows_but([(1, 1, 1)], [(1, 1, 1), (2, 2, 1), (1, 2, 2)])
)
def test_a_row_is_read_whole_and_all_ends(beats, reads, ways):
    found = bank_proof(bank_of(beats, reads, ways), DEPTH)
    assert found.passed, found


@pytest.mark.nightly
@pytest.mark.slow
def test_until_the_first_answers_come():
    found = bank_proof(bank_of(1, 1, 1), DEEP)
    assert found.passed, found


@pytest.mark.parametrize("bug", slow_but(list(BUGS)[:1], BUGS))
def test_planted_bug_of_the_bank_is_found(bug):
    module, old, new, broken = BUGS[bug]
    beats = 1 + (bug == "beats go to the first one")
    bank = bank_of(beats, beats, 1, [(module, old, new)])
    found = bank_proof(bank, DEPTH)
    assert not found.passed
    assert broken in found.broken, found


@pytest.mark.parametrize(
    "depth", slow_but([COPIED], [COPIED, WHOLE_UPDATE], nightly=[WHOLE_UPDATE])
)
def test_an_update_is_written_whole_or_not_at_all(depth):
    """Any entry, fetched, compared, written to memory and caches, and told of."""
    found = run(RowUpdaterProperties(updater_of()), depth)
    assert found.passed, found


@pytest.mark.parametrize("bug", slow_but(list(UPDATER_BUGS)[:1], UPDATER_BUGS))
def test_planted_bug_of_the_updater_is_found(bug):
    *texts, broken = UPDATER_BUGS[bug]
    found = run(RowUpdaterProperties(updater_of(*texts)), COPIED)
    assert not found.passed
    assert broken in found.broken, found


@pytest.mark.nightly
@pytest.mark.slow
def test_what_is_proved_is_reachable():
    bank = bank_proof(bank_of(1, 1, 1), DEEP, "cover")
    assert bank.passed, bank
    updater = run(RowUpdaterProperties(updater_of()), WHOLE_UPDATE, "cover")
    assert updater.passed, updater
