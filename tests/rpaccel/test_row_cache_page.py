"""The page of `rpaccel row-caches`, from rows made by hand."""

from rpaccel.main_job.row_cache_study import CacheCase, row_cache_text

CASES = [(False, False), (False, True), (True, False), (True, True)]


def case(pinned, ahead, cycles):
    counts = {
        "misses": 300 + 40 * ahead - 75 * pinned, "refused": 0, "pinned": 50 * pinned,
        "prefetches": 20 * ahead, "used": 12 * ahead, "late": 0, "unused": 8 * ahead,
    }  # fmt: skip
    return CacheCase(
        memory="far", pinned=pinned, ahead=ahead, queries=2, cycles=cycles,
        gather_cycles=(1000 + 100 * ahead, 600 - 20 * ahead), counts=counts,
    )  # fmt: skip


def text(*cycles):
    cases = [case(*kind, each) for kind, each in zip(CASES, cycles, strict=True)]
    return " ".join(row_cache_text(cases, "a log", "tiny").split())


def test_the_page_says_what_reading_ahead_brings():
    told = text(10_000, 10_200, 9_900, 9_900)
    assert (
        "In no row are queries noticeably shorter: reading ahead changes the cycles of a query by "
        "+0.00 to +2.00 %, most on *far*, nothing pinned: gather of the front end 500 -> 550 "
        "cycles, of the back end 300 -> 290."
    ) in told
    assert "there 6 a query, 4.0 % of the beats that are read without it." in told
    assert (
        "Pinning alone takes 25.0 % of the reads away and changes a query by -1.00 to -1.00 %"
    ) in told
    assert "(+30 beats read a query, with 10 read ahead)." in told


def test_the_page_says_so_if_queries_become_shorter():
    told = text(10_000, 10_000, 10_000, 9_000)
    assert (
        "In some rows queries are shorter: reading ahead changes the cycles of a query by -10.00 "
        "to +0.00 %, most on *far*, pinned:"
    ) in told
