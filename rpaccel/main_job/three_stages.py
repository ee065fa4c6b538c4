"""Retrieval in front of the main job's two stages: who is asked about which items, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rpaccel.golden.block_retrieval import retrieve_blocks
from rpaccel.golden.corpus import Corpus as GoldenCorpus
from rpaccel.golden.corpus import CorpusQuery, Found, new_corpus
from rpaccel.golden.lane import QueryResult, run_behind
from rpaccel.host.bus import Bus
from rpaccel.host.corpus import Corpus
from rpaccel.host.driver import Completion, Driver, Request
from rpaccel.host.task_log import TaskRecord
from rpaccel.main_job.inputs import JobInputs
from rpaccel.main_job.netlist import DEPTH, MEMORY_BYTES, TOP_N
from rpaccel.main_job.rankers import CompiledJob
from rpaccel.main_job.run_trace import LOG_ENTRIES, hit_share, row_totals

__all__ = [
    "KEEP", "RETRIEVED", "STAGES", "DeviceLog", "Vectors", "answers", "golden", "item_vectors",
]  # fmt: skip

RETRIEVED = 256  # rows that the retrieval stage finds
KEEP = 128  # survivors asked of the small ranker
STAGES = (("small", KEEP), ("large", TOP_N))
CORPUS_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """int8 vectors whose inner products order items for a user; row = item id or user id."""

    items: npt.NDArray[np.int8]
    users: npt.NDArray[np.int8]

    def corpus(self) -> GoldenCorpus:
        """Return the items as a corpus."""
        return new_corpus(self.items)

    def query(self, user: int, candidates: npt.NDArray[np.integer], k: int) -> CorpusQuery:
        """Return the query for a user's `k` best candidates."""
        looked_at = np.zeros(len(self.items), dtype=np.bool_)
        looked_at[candidates] = True
        return CorpusQuery(vector=self.users[user], k=k, bitmap=looked_at)


def item_vectors(inputs: JobInputs) -> Vectors:
    """Return the small ranker's own embeddings of items and users, nothing trained for retrieval.

    Their inner product is one of the terms that the small ranker's network is given. A user
    without training rows has no such vector. int8 in equal steps: one size for all items, one for
    each user, as a factor of the query changes no order.
    """
    tables, ids = inputs.small.tables, inputs.features.ids
    items, users = tables["item"][ids["item"][:, 0]], tables["user"][ids["user"][:, 0]]
    return Vectors(
        items=_rounded(items, np.abs(items).max()),
        users=_rounded(users, np.abs(users).max(axis=1, keepdims=True)),
    )


def _rounded(
    values: npt.NDArray[np.float32], largest: npt.NDArray[np.float32] | np.float32
) -> npt.NDArray[np.int8]:
    step = np.where(largest > 0, largest, 1) / 127
    return np.rint(values / step).astype(np.int8)


def golden(job: CompiledJob, vectors: Vectors, user: int) -> tuple[Found, QueryResult]:
    """Return what the golden models find for a user, and serve in the end."""
    query = job.query(user, STAGES, TOP_N)
    corpus = vectors.corpus()
    (found,) = retrieve_blocks(corpus, [vectors.query(user, query.candidates, RETRIEVED)])
    return found, run_behind(found, corpus.count, query, job.rankers)


@dataclass(kw_only=True)
class DeviceLog:
    """What a device did: its tasks, and the share of rows' beats that read no memory."""

    tasks: list[TaskRecord] = field(default_factory=list)
    hits: float = 0.0


def answers(
    job: CompiledJob,
    device: Bus,
    vectors: Vectors,
    users: Sequence[int],
    log: DeviceLog | None = None,
) -> Iterator[Completion]:
    """Yield a device's answer to every user's three-stage query, one after the other.

    log : is filled; the device then logs its tasks in memory.
    """
    driver = Driver(
        device,
        job.config,
        MEMORY_BYTES,
        depth=DEPTH,
        corpus_bytes=CORPUS_BYTES,
        task_log_entries=0 if log is None else LOG_ENTRIES,
    )
    driver.load_models(job.compiled)
    before = row_totals(driver)
    table = driver.register_feature_table(job.feature_table)
    corpus = Corpus(driver, vectors.items)
    for user in users:
        asked = vectors.query(user, job.inputs.split.candidates(user), RETRIEVED)
        assert asked.bitmap is not None
        mask = corpus.mask(asked.bitmap)
        request = Request(
            user_record=job.user_records[user].tobytes(),
            features=table,
            stages=STAGES,
            top_n=TOP_N,
            retrieval=corpus.query(asked.vector, RETRIEVED, mask=mask),
        )
        completion = driver.wait(driver.submit(request))
        if log is not None and driver.task_log is not None:
            log.tasks += driver.task_log.take()
            log.hits = hit_share(before, row_totals(driver))
        yield completion
        corpus.release_mask(mask)
