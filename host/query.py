"""What an application asks and gets: requests, completions, handles of feature tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.host.retrieval import Retrieval, check_retrieval
from rpaccel.spec.accelerator import AcceleratorConfig, is_power_of_two
from rpaccel.spec.isa import COMPLETION, MAX_STAGES, RESULT, RETRIEVED, Status, StatusFlag
from rpaccel.spec.stage_tasks import StageTasks

RESULT_DTYPE = np.dtype([("id", "<u4"), ("logit", "<i2"), ("ctr", "<u2")])
RETRIEVED_DTYPE = np.dtype([("id", "<u4"), ("score", "<i4")])
assert RESULT_DTYPE.itemsize == RESULT.bytes == RETRIEVED_DTYPE.itemsize == RETRIEVED.bytes


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """A registered feature table: item records in device memory, row = candidate id."""

    address: int
    rows: int
    record_bytes: int


def feature_records(
    records: bytes | npt.NDArray[np.uint8],
    rows: int | None,
    record_bytes: int | None,
    config: AcceleratorConfig,
) -> tuple[bytes, int, int]:
    """Return the bytes of a feature table, its rows, and the bytes of each.

    records : uint8[rows, record_bytes], or bytes with `rows` and `record_bytes`.
    Raises ValueError for records that the device cannot read.
    """
    if isinstance(records, np.ndarray):
        rows, record_bytes = records.shape
        records = np.ascontiguousarray(records, dtype=np.uint8).tobytes()
    if rows is None or record_bytes is None:
        raise ValueError("rows and record_bytes must be given with bytes")
    low, high = config.beat_bytes, config.item_record_bytes
    if not is_power_of_two(record_bytes) or not low <= record_bytes <= high:
        raise ValueError(
            f"record_bytes must be a power of two in {low}..{high}, not {record_bytes}"
        )
    if rows < 1 or len(records) != rows * record_bytes:
        raise ValueError(
            f"records must have {rows * record_bytes} bytes ({rows} rows of {record_bytes}), "
            f"not {len(records)}"
        )
    return records, rows, record_bytes


@dataclass(frozen=True, kw_only=True)
class Request:
    """One query: a user, candidates, and the stages that rank them.

    retrieval : finds the candidates, as the query's stage 0; `candidates` is then empty. The ids
    of a corpus are rows of `features`.
    user_record : bytes  Padded to a multiple of the beat by the driver.
    candidates : uint32[n] rows of `features`.
    stages : (model name or slot, k) in order. k is how many at least go on; the last stage's k is
        not used (`top_n` says how many are served).
    sub_batch : items that a lane works on at a time, 0: what the model was compiled for.
    lanes : numbers of the lanes that may run it; empty: all that hold a stage's model.
    tasks : how each stage's items are dealt out to its lanes; fewer than stages: the others WHOLE.
    survivor_limit : most ids that leave a filter at a time, 0: no limit.
    deadline_cycles : from when the device fetches the query; 0: none.
    """

    user_record: bytes
    candidates: npt.NDArray[np.uint32] | Sequence[int] = ()
    features: FeatureTable
    stages: Sequence[tuple[str | int, int]]
    top_n: int
    sub_batch: int = 0
    lanes: tuple[int, ...] = ()
    tasks: tuple[StageTasks, ...] = ()
    survivor_limit: int = 0
    deadline_cycles: int = 0
    retrieval: Retrieval | None = None

    def tasks_of(self, stage: int) -> StageTasks:
        """Return how a stage's items are dealt out."""
        return self.tasks[stage] if stage < len(self.tasks) else StageTasks()


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """The answer to one descriptor; the counters are per stage, [cycles].

    lane, lanes : the last lane that was given a task of it, and the mask of all.
    queue_cycles : from being fetched until it was begun; total_cycles : from then on.
    ended_at : low 32 bits of the device's cycle counter when it was completed.
    overshoot : ids that filters let pass above k.
    ids : uint32[count], logits : int16[count], ctr : uint16[count], best first.
    scores : int32[count], of a query that only retrieves; it has no logits.
    """

    tag: int
    status: Status
    flags: StatusFlag
    lane: int
    lanes: int
    queue_cycles: int
    ended_at: int
    overshoot: int
    ids: npt.NDArray[np.uint32]
    logits: npt.NDArray[np.int16]
    ctr: npt.NDArray[np.uint16]
    scores: npt.NDArray[np.int32]
    total_cycles: int
    items: tuple[int, ...]
    stage_cycles: tuple[int, ...]
    gather_cycles: tuple[int, ...]
    array_cycles: tuple[int, ...]
    interaction_cycles: tuple[int, ...]
    filter_cycles: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether the query was answered."""
        return self.status is Status.OK

    @property
    def underfill(self) -> bool:
        """Whether a filter found fewer than k items above its threshold."""
        return StatusFlag.UNDERFILL in self.flags

    @property
    def found(self) -> int:
        """Of a query that only retrieves: rows that qualify, those beyond k included."""
        return len(self.ids) + self.overshoot

    @property
    def epoch(self) -> int:
        """Of a retrieval stage: row updates dealt with before its scan, modulo 2**16."""
        return self.interaction_cycles[0] & 0xFFFF

    @property
    def next_page(self) -> tuple[int, int] | None:
        """Of a query that only retrieves: `Retrieval.page` of what comes next; None: no rows."""
        return (int(self.scores[-1]), int(self.ids[-1])) if len(self.scores) else None


def fetched_after(completions: Sequence[Completion]) -> list[int]:
    """Return when queries were fetched, from the first of them on [cycles].

    Of queries that were fetched within 2**31 cycles: the device's counter may wrap meanwhile.
    """
    ends = [each.ended_at - each.total_cycles - each.queue_cycles for each in completions]
    after = [(end - ends[0] + (1 << 31)) % (1 << 32) for end in ends]
    return [each - min(after) for each in after]


def parse_completion(raw: bytes, results: bytes, *, retrieved: bool = False) -> Completion:
    """Return the completion of `raw` with its served list, `count` RESULT entries.

    retrieved : they are RETRIEVED entries.
    """
    fields = COMPLETION.from_bytes(raw)
    served = np.frombuffer(b"" if retrieved else results, dtype=RESULT_DTYPE)
    rows = np.frombuffer(results if retrieved else b"", dtype=RETRIEVED_DTYPE)

    def per_stage(name: str) -> tuple[int, ...]:
        return tuple(fields[f"{name}{i}"] for i in range(MAX_STAGES))

    return Completion(
        tag=fields["tag"],
        status=Status(fields["status"]),
        flags=StatusFlag(fields["flags"]),
        lane=fields["lane"],
        lanes=fields["lanes"],
        queue_cycles=fields["queue_cycles"],
        ended_at=fields["ended_at"],
        overshoot=fields["overshoot"],
        ids=rows["id"] if retrieved else served["id"],
        logits=served["logit"],
        ctr=served["ctr"],
        scores=rows["score"],
        total_cycles=fields["total_cycles"],
        items=per_stage("items"),
        stage_cycles=per_stage("stage_cycles"),
        gather_cycles=per_stage("gather_cycles"),
        array_cycles=per_stage("array_cycles"),
        interaction_cycles=per_stage("interaction_cycles"),
        filter_cycles=per_stage("filter_cycles"),
    )


def _check_tasks(request: Request, config: AcceleratorConfig) -> None:
    beat_ids = config.beat_bytes // 4
    for stage in range(len(request.stages)):
        tasks = request.tasks_of(stage)
        if not 0 <= tasks.task_items <= config.max_items or (
            stage == 0 and tasks.task_items % beat_ids
        ):
            raise ValueError(
                f"task_items of stage {stage} must be a multiple of {beat_ids if not stage else 1} "
                f"in 0..{config.max_items}, not {tasks.task_items}"
            )
        if stage < len(request.stages) - 1 and not tasks.legal:
            raise ValueError(
                f"tasks of stage {stage} must have task_k and task_items if {tasks.mode.name}, and "
                f"no exact k if PROPORTIONAL, not {tasks}"
            )


def _check_candidates(request: Request, config: AcceleratorConfig) -> int:
    """Check the candidates, or what is to find them; return how many there are at most."""
    n = len(request.candidates)
    if request.retrieval is not None:
        if n:
            raise ValueError(f"candidates must be empty with a retrieval, not {n}")
        check_retrieval(request.retrieval, config, len(request.stages))
        return request.retrieval.k
    if not 1 <= n <= config.max_items:
        raise ValueError(f"candidates must be 1..{config.max_items}, not {n}")
    ids = np.asarray(request.candidates, dtype=np.int64)
    if int(ids.min()) < 0 or int(ids.max()) >= request.features.rows:
        wrong = ids[(ids < 0) | (ids >= request.features.rows)][0]
        raise ValueError(
            f"candidates must be rows 0..{request.features.rows - 1} of the feature table, "
            f"not {wrong}"
        )
    return n


def check_request(
    request: Request, placed: Sequence[tuple[int, int]], config: AcceleratorConfig
) -> None:
    """Check what the device would refuse.

    placed : model slot of each stage, and how many slots hold a model where it runs.

    Raises ValueError that names the parameter, the rule and the value.
    """
    limit = _check_candidates(request, config)
    most = MAX_STAGES - (request.retrieval is not None)
    if not 1 <= len(placed) <= most:
        raise ValueError(f"stages must be 1..{most}, not {len(placed)}")
    for slot, loaded in placed:
        if not 0 <= slot < loaded:
            raise ValueError(f"model must be a slot in 0..{loaded - 1}, not {slot}")
    for index, (_, k) in enumerate(request.stages[:-1]):
        if not 1 <= k <= limit:
            raise ValueError(f"k of stage {index} must be in 1..{limit}, not {k}")
        limit = k
    if not 1 <= request.top_n <= config.max_top_n:
        raise ValueError(f"top_n must be in 1..{config.max_top_n}, not {request.top_n}")
    if not 0 <= request.sub_batch <= config.sub_batch_max:
        raise ValueError(f"sub_batch must be in 0..{config.sub_batch_max}, not {request.sub_batch}")
    for name in ("survivor_limit", "deadline_cycles"):
        if getattr(request, name) < 0:
            raise ValueError(f"{name} must be at least 0, not {getattr(request, name)}")
    _check_tasks(request, config)
    user_bytes = len(request.user_record)
    if not 1 <= user_bytes <= config.user_record_bytes:
        raise ValueError(
            f"user_record must have 1..{config.user_record_bytes} bytes, not {user_bytes}"
        )
