"""What the benches of the score filter and of its selector share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.streams import expect_silence, receive


async def receive_answers(
    ctx: Any, dut: Any, queries: int, sink: Iterator[int], limit_cycles: int
) -> list[list[tuple[int, int]]]:
    """Return the answer [(score, id)] of every query; nothing may follow, and the unit is idle."""
    answers = []
    for _ in range(queries):
        answer = []
        while True:
            row = (await receive(ctx, dut.result, 1, sink, limit_cycles))[0]
            if row["end"]:
                break
            answer.append((row["score"], row["id"]))
        answers.append(answer)
    await expect_silence(ctx, dut.result)
    assert ctx.get(dut.idle)
    return answers
