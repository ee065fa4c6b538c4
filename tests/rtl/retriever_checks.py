"""What an answer of the retriever must be, against the corpus that its scan saw."""

from rpaccel.spec.isa import RETRIEVED, Status, StatusFlag
from tests.rtl.retriever_bench import FILL, RESULT_BYTES

UNTOUCHED = bytes([FILL])


def send_all(bench, gap=0, source=None):
    async def feed(ctx):
        for query in bench.queries:
            await bench.submit(ctx, query, source)
            await ctx.tick().repeat(gap) if gap else None

    return feed


def check_nothing_written(bench, query, what=("list", "result")):
    for name in what:
        place = getattr(query, name)
        size = RESULT_BYTES if name == "result" else 0x100
        assert bytes(bench.bytes[place : place + size]) == size * UNTOUCHED


def check_failed(bench, query, status):
    assert query.passed is None
    assert (query.done["status"], query.done["count"]) == (status, 0)
    assert (query.done["flags"], query.done["overshoot"]) == (0, 0)
    check_nothing_written(bench, query)


def check(bench, query, state):
    """Check the answer of a query against what the corpus was; return its scan."""
    rows, qualify = state.answer(query)
    told = query.done or query.passed["found"]
    flags = StatusFlag(0)
    if len(rows) < query.k:
        flags |= StatusFlag.UNDERFILL
    if query.floor is not None and qualify > len(rows):
        flags |= StatusFlag.OVERFILL
    assert told["flags"] == flags
    assert told["overshoot"] == qualify - len(rows)
    assert (query.passed is not None) == (query.stages > 1 and len(rows) > 0)
    epoch = told["epoch"] if query.passed else told["interaction_cycles0"]
    scan = next(
        scan for scan in bench.scans if scan.head == epoch and scan.begun_at <= query_end(query)
    )
    if query.stages == 1:
        entries = b"".join(RETRIEVED.to_bytes({"id": i, "score": s}) for i, s in rows)
        check_nothing_written(bench, query, ["list"])
        written = query.result
    else:
        entries = b"".join(i.to_bytes(4, "little") for i, _ in rows)
        check_nothing_written(bench, query, ["result"])
        written = query.list
    behind = 0x100 - len(entries) if query.stages > 1 else RESULT_BYTES - len(entries)
    assert bytes(bench.bytes[written : written + len(entries) + behind]) == (
        entries + behind * UNTOUCHED
    )
    if query.passed:
        on = query.passed["descriptor"]
        assert (on["stages"], on["items"]) == (query.stages - 1, len(rows))
        assert on["candidates_address"] == query.list
        assert (on["user_address"], on["result_address"]) == (0x1230, query.result)
        kinds = [on[f"stage{s}_kind"] for s in range(4)]
        assert kinds == [1] * (query.stages - 1) + [0] * (5 - query.stages)
        assert [on[f"stage{s}_k"] for s in range(4)] == [
            10 * (s + 1) if s + 1 < query.stages else 0 for s in range(4)
        ]
        assert told["rows"] == len(state.rows)
    else:
        assert query.done["status"] == Status.OK and query.done["count"] == len(rows)
        assert query.done["items0"] == len(state.rows)
        assert query.done["queue_cycles"] == query.waited
        assert query.done["total_cycles"] == query.done["stage_cycles0"]
    return scan


def query_end(query):
    return (query.done or query.passed)["cycle"]


def states(bench, *stores):
    return {id(store): store.state(bench.bytes) for store in stores}
