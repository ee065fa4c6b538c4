"""What an application asks and gets: requests, completions, handles of feature tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpaccel.spec.accelerator import AcceleratorConfig
from rpaccel.spec.isa import COMPLETION, MAX_STAGES, RESULT, Status, StatusFlag

RESULT_DTYPE = np.dtype([("id", "<u4"), ("logit", "<i2"), ("ctr", "<u2")])
assert RESULT_DTYPE.itemsize == RESULT.bytes


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """A registered feature table: item records in device memory, row = candidate id."""

    address: int
    rows: int
    record_bytes: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """One query: a user, candidates, and the stages that rank them.

    user_record : bytes  Padded to a multiple of the beat by the driver.
    candidates : uint32[n] rows of `features`.
    stages : (model name or slot, k) in order. k is how many at least go on; the last stage's k is
        not used (`top_n` says how many are served).
    sub_batch : items per sub-batch of every stage, 0: what the model was compiled for.
    lanes : numbers of the lanes that may run it; empty: all that hold its models.
    """

    user_record: bytes
    candidates: npt.NDArray[np.uint32] | Sequence[int]
    features: FeatureTable
    stages: Sequence[tuple[str | int, int]]
    top_n: int
    sub_batch: int = 0
    lanes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """The answer to one descriptor; the counters are per stage, [cycles].

    ids : uint32[count], logits : int16[count], ctr : uint16[count], best first.
    """

    tag: int
    status: Status
    flags: StatusFlag
    lane: int
    ids: npt.NDArray[np.uint32]
    logits: npt.NDArray[np.int16]
    ctr: npt.NDArray[np.uint16]
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


def parse_completion(raw: bytes, results: bytes) -> Completion:
    """Return the completion of `raw` with its served list, `count` RESULT entries."""
    fields = COMPLETION.from_bytes(raw)
    served = np.frombuffer(results, dtype=RESULT_DTYPE, count=len(results) // RESULT.bytes)

    def per_stage(name: str) -> tuple[int, ...]:
        return tuple(fields[f"{name}{i}"] for i in range(MAX_STAGES))

    return Completion(
        tag=fields["tag"],
        status=Status(fields["status"]),
        flags=StatusFlag(fields["flags"]),
        lane=fields["lane"],
        ids=served["id"],
        logits=served["logit"],
        ctr=served["ctr"],
        total_cycles=fields["total_cycles"],
        items=per_stage("items"),
        stage_cycles=per_stage("stage_cycles"),
        gather_cycles=per_stage("gather_cycles"),
        array_cycles=per_stage("array_cycles"),
        interaction_cycles=per_stage("interaction_cycles"),
        filter_cycles=per_stage("filter_cycles"),
    )


def check_request(
    request: Request, slots: Sequence[int], loaded: int, config: AcceleratorConfig
) -> None:
    """Check what the device would refuse.

    slots : model slot of each stage; loaded : slots that hold a model.

    Raises ValueError that names the parameter, the rule and the value.
    """
    n = len(request.candidates)
    if not 1 <= n <= config.max_items:
        raise ValueError(f"candidates must be 1..{config.max_items}, not {n}")
    if not 1 <= len(slots) <= MAX_STAGES:
        raise ValueError(f"stages must be 1..{MAX_STAGES}, not {len(slots)}")
    for slot in slots:
        if not 0 <= slot < loaded:
            raise ValueError(f"model must be a slot in 0..{loaded - 1}, not {slot}")
    limit = n
    for index, (_, k) in enumerate(request.stages[:-1]):
        if not 1 <= k <= limit:
            raise ValueError(f"k of stage {index} must be in 1..{limit}, not {k}")
        limit = k
    if not 1 <= request.top_n <= config.max_top_n:
        raise ValueError(f"top_n must be in 1..{config.max_top_n}, not {request.top_n}")
    if not 0 <= request.sub_batch <= config.sub_batch_max:
        raise ValueError(f"sub_batch must be in 0..{config.sub_batch_max}, not {request.sub_batch}")
    user_bytes = len(request.user_record)
    if not 1 <= user_bytes <= config.user_record_bytes:
        raise ValueError(
            f"user_record must have 1..{config.user_record_bytes} bytes, not {user_bytes}"
        )
    ids = np.asarray(request.candidates, dtype=np.int64)
    if int(ids.min()) < 0 or int(ids.max()) >= request.features.rows:
        wrong = ids[(ids < 0) | (ids >= request.features.rows)][0]
        raise ValueError(
            f"candidates must be rows 0..{request.features.rows - 1} of the feature table, "
            f"not {wrong}"
        )
