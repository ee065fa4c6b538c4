"""Random queries in tasks for the quarters of a small machine that splits."""

from __future__ import annotations

from rpaccel.golden.lane import Query
from rpaccel.host.driver import Request
from rpaccel.main_job.session import Session
from rpaccel.main_job.soak import QUARTERS, SPLIT, random_task_query

__all__ = ["QUARTERS", "SPLIT", "random_ask"]

LANES = ((), (1,), (4,), (1, 2), (2, 3, 4))


def random_ask(session: Session) -> tuple[Query, Request]:
    """Return a random query in tasks, and its request for some of the quarters."""
    query = random_task_query(session.rng, session.config, session.rankers)
    request = session.request(
        query,
        tasks=query.tasks,
        survivor_limit=query.survivor_limit,
        lanes=LANES[int(session.rng.integers(len(LANES)))],
    )
    return query, request
