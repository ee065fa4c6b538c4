import time
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest

from rpaccel.golden.bucket_filter import bucket_filter
from rpaccel.golden.gather import gather_side, item_records, records_of
from rpaccel.golden.interaction import interact
from rpaccel.golden.lane import StageScores, rank, run_query, survivors
from rpaccel.golden.sigmoid import ctr
from rpaccel.golden.vector_unit import layer, score_layer
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Interaction, StageMode, Status, StatusFlag
from rpaccel.spec.stage_tasks import StageTasks
from rpaccel.workloads import random_models

TINY = load_accelerator("tiny")


def two_models(seed: int):
    rng = np.random.default_rng(seed)
    small = random_models.random_ranker(rng, TINY, name="small")
    large = random_models.shared_schema(rng, TINY, small, name="large", dim=16)
    return rng, [small, large]


@pytest.mark.parametrize("seed", range(5))
def test_stages_compose(seed):
    rng, rankers = two_models(seed)
    query = random_models.random_query(rng, TINY, rankers, items=40, top_n=6)
    result = run_query(query, rankers, TINY)
    first = rank(rankers[0], query.user_record, query.features, query.candidates)
    k = query.stages[0][1]
    kept = bucket_filter(query.candidates, first.logits, rankers[0].edges, rankers[0].threshold, k)
    second = rank(rankers[1], query.user_record, query.features, kept.ids)
    expected = sorted(zip(-second.logits, kept.ids, strict=True))[:6]
    assert result.status is Status.OK
    assert result.items == (40, len(kept.ids), 0, 0)
    assert list(zip(-result.logits, result.ids, strict=True)) == expected
    assert result.ctr.tolist() == ctr(result.logits).tolist()


def test_order_of_candidates_changes_no_score():
    rng, rankers = two_models(11)
    query = random_models.random_query(rng, TINY, rankers, items=30)
    first = rank(rankers[0], query.user_record, query.features, query.candidates)
    again = rank(rankers[0], query.user_record, query.features, query.candidates[::-1])
    assert first.logits.tolist() == again.logits[::-1].tolist()
    assert len(set(first.logits.tolist())) > 10


@pytest.mark.parametrize("kind", list(Interaction))
@pytest.mark.parametrize("tables", [(2, 2), (3, 1), (1, 2)])
def test_a_ranker_by_hand(kind, tables):
    rng = np.random.default_rng(3)
    small = random_models.random_ranker(
        rng, TINY, user_tables=tables[0], item_tables=tables[1], interaction=kind
    )
    query = random_models.random_query(rng, TINY, [small], items=3)
    words = query.features.view("<u4")
    for item, logit in zip(
        query.candidates.tolist(),
        rank(small, query.user_record, query.features, query.candidates).logits,
        strict=True,
    ):
        record = query.features[item]
        user = np.frombuffer(query.user_record, dtype=np.uint8)
        x = [int(v) for v in user[: small.user_dense].view(np.int8)]
        x += [int(v) for v in record[: small.item_dense].view(np.int8)]
        x = plain_mlp(small.bottom, x)
        vectors = [x]
        for feature in small.features:
            source = user.view("<u4") if feature.side == "user" else words[item]
            vectors.append(plain_vector(feature, source))
        crossed = plain_interaction(small, vectors[1 : 1 + tables[0]], vectors[1 + tables[0] :], x)
        assert plain_mlp(small.top, x + crossed, logit=True) == [logit]


@pytest.mark.parametrize("late", [1, 2])
def test_late_products_are_inputs_of_the_last_layer(late):
    rng = np.random.default_rng(late)
    ranker = random_models.random_ranker(
        rng, TINY, user_tables=2, item_tables=3, interaction=Interaction.PRODUCT,
        late_products=late, top=(9, 6),
    )  # fmt: skip
    query = random_models.random_query(rng, TINY, [ranker], items=8)
    logits = rank(ranker, query.user_record, query.features, query.candidates).logits
    dim, end = ranker.dim, ranker.dim * (1 + late)
    user, item = (
        gather_side(ranker, "user", records_of(query.user_record, len(query.user_record))),
        gather_side(ranker, "item", *item_records(query.features, query.candidates)),
    )
    x = np.concatenate([np.repeat(user.dense, 8, axis=0), item.dense], axis=1)
    for each in ranker.bottom:
        x = layer(x, each)
    vectors = np.concatenate([x[:, None], np.repeat(user.vectors, 8, axis=0), item.vectors], axis=1)
    row = interact(vectors, ranker.pair_multiplier, ranker.pair_shift, ranker.interaction, 2)
    x = np.concatenate([row[:, :dim], row[:, end:]], axis=1)
    for each in ranker.top[:-1]:
        x = layer(x, each)
    expected = score_layer(np.concatenate([row[:, dim:end], x], axis=1), ranker.top[-1])
    assert logits.tolist() == expected.tolist()
    assert np.ptp(expected) > 0


def plain_interaction(ranker, user, item, x):
    scales = zip(ranker.pair_multiplier.tolist(), ranker.pair_shift.tolist(), strict=True)
    if ranker.interaction == Interaction.CONCAT:
        return [v for vector in user + item for v in vector]
    if ranker.interaction == Interaction.PRODUCT:
        both = min(len(user), len(item))
        made = [
            plain_scale(a * b, *scale, -127, 127)
            for u, v, scale in zip(user[:both], item[:both], scales, strict=True)
            for a, b in zip(u, v, strict=True)
        ]
        return made + [v for vector in user[both:] + item[both:] for v in vector]
    vectors = [x, *user, *item]
    dots = [
        sum(a * b for a, b in zip(vectors[i], vectors[j], strict=True))
        for i in range(1, len(vectors))
        for j in range(i)
    ]
    return [plain_scale(dot, *scale, -127, 127) for dot, scale in zip(dots, scales, strict=True)]


def plain_scale(x, multiplier, shift, low, high):
    product, one = x * multiplier, 1 << shift
    floor, rest = product // one, product % one
    up = 2 * rest > one or (2 * rest == one and floor % 2 == 1)
    return min(high, max(low, floor + up))


def plain_vector(feature, words):
    if not feature.multi_hot:
        return [int(v) for v in feature.table[int(words[feature.word])]]
    count = int(words[feature.word])
    ids = words[feature.word + 1 : feature.word + 1 + count]
    sums = [int(v) for v in feature.table[ids].astype(int).sum(axis=0)]
    if feature.pooling == 1:
        multiplier, shift = round(65536 / count) if count else 0, 16
    else:
        multiplier, shift = feature.multiplier, feature.shift
    return [plain_scale(v, multiplier, shift, -127, 127) for v in sums]


def plain_mlp(layers, x, *, logit=False):
    for index, one in enumerate(layers):
        last = logit and index == len(layers) - 1
        low, high = (-32768, 32767) if last else (0 if one.relu else -127, 127)
        x = [
            plain_scale(
                sum(v * int(w) for v, w in zip(x, one.weights[:, c], strict=True))
                + int(one.bias[c]),
                int(one.multiplier[c]),
                int(one.shift[c]),
                low,
                high,
            )
            for c in range(one.outputs)
        ]
    return x


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"stages": ()}, Status.BAD_STAGES),
        ({"stages": ((0, 1),) * 5}, Status.BAD_STAGES),
        ({"candidates": np.zeros(0, np.uint32)}, Status.BAD_ITEMS),
        ({"candidates": np.zeros(65, np.uint32)}, Status.BAD_ITEMS),
        ({"stages": ((0, 5), (2, 5))}, Status.BAD_MODEL),
        ({"stages": ((0, 21), (1, 5))}, Status.BAD_K),
        ({"stages": ((0, 0), (1, 5))}, Status.BAD_K),
        ({"stages": ((0, 5), (0, 6), (1, 5))}, Status.BAD_K),
        ({"tasks": (StageTasks(task_items=3),)}, Status.BAD_TASK),
        ({"tasks": (StageTasks(task_items=4, mode=StageMode.LOCAL),)}, Status.BAD_TASK),
        ({"tasks": (StageTasks(task_k=4, mode=StageMode.PROPORTIONAL),)}, Status.BAD_TASK),
        ({"top_n": 0}, Status.BAD_K),
        ({"top_n": 9}, Status.BAD_K),
        ({"user_record": bytes(12)}, Status.BAD_RECORD),
        ({"user_record": bytes(264)}, Status.BAD_RECORD),
        ({"features": np.zeros((4, 24), np.uint8)}, Status.BAD_RECORD),
        ({"features": np.zeros((4, 128), np.uint8)}, Status.BAD_RECORD),
    ],
)
def test_refused_at_once(change, status):
    rng, rankers = two_models(0)
    query = random_models.random_query(rng, TINY, rankers, items=20)
    result = run_query(replace(query, **change), rankers, TINY)
    assert result.status is status
    assert result.count == 0
    assert result.items == (0, 0, 0, 0)


def test_empty_slot():
    rng, rankers = two_models(0)
    query = random_models.random_query(rng, TINY, rankers)
    assert run_query(query, [rankers[0], None], TINY).status is Status.BAD_MODEL


def test_bad_candidate_serves_nothing_and_runs_on():
    rng, rankers = two_models(1)
    query = random_models.random_query(rng, TINY, rankers, items=20)
    candidates = query.candidates.copy()
    candidates[7] = 50
    result = run_query(replace(query, candidates=candidates), rankers, TINY)
    assert result.status is Status.BAD_ID
    assert result.count == 0
    assert result.items[0] == 20
    assert result.items[1] >= 1


def test_underfill():
    rng, rankers = two_models(2)
    query = random_models.random_query(rng, TINY, rankers, items=20)
    none = replace(rankers[0], threshold=32767)
    result = run_query(query, [none, rankers[1]], TINY)
    assert result.status is Status.OK
    assert result.flags == StatusFlag.UNDERFILL
    assert result.items == (20, 0, 0, 0)
    assert result.count == 0


def test_four_stages():
    rng, rankers = two_models(4)
    query = random_models.random_query(
        rng, TINY, rankers, items=60, keep=(40, 20, 10), slots=(0, 1, 0, 1), top_n=8
    )
    result = run_query(query, rankers, TINY)
    assert result.status is Status.OK
    assert result.count == 8
    assert list(result.items) == sorted(result.items, reverse=True)
    assert result.items[3] >= 10


ONE_PER_BIN = SimpleNamespace(edges=np.arange(1, 16), threshold=0)  # logit b is in bin b


def released(logits, k, tasks, *, first=True, limit=0, ranker=ONE_PER_BIN):
    """Return the logits of each release; id i is item i."""
    logits = np.array(logits)
    scores = StageScores(ids=np.arange(len(logits)), logits=logits, error=Status.OK)
    releases = survivors(scores, ranker, k, tasks, limit, first)
    assert all(logits[release.ids].tolist() == release.logits.tolist() for release in releases)
    return [release.logits.tolist() for release in releases]


@pytest.mark.parametrize(
    ("mode", "k", "releases"),
    [
        (StageMode.WHOLE, 4, [[7, 6, 5, 4]]),
        # each task gives the best 2 of its own
        (StageMode.LOCAL, 4, [[3, 2], [7, 6]]),
        # 4 are to come: of the first task 6 - 4 are sure
        (StageMode.GLOBAL, 4, [[], [7, 6, 5, 4]]),
        (StageMode.GLOBAL, 6, [[3, 2], [7, 6, 5, 4]]),
        # the best 2 of all so far, then the best 4
        (StageMode.PROPORTIONAL, 4, [[3, 2], [7, 6, 5, 4]]),
    ],
)
def test_modes_by_hand(mode, k, releases):
    tasks = StageTasks(task_items=4, task_k=2, mode=mode)
    assert released([3, 1, 2, 0, 7, 6, 5, 4], k, tasks) == releases


def test_of_a_later_stage_nothing_is_sure_before_its_end():
    tasks = StageTasks(task_items=4, mode=StageMode.GLOBAL)
    logits = [3, 1, 2, 0, 7, 6, 5, 4]
    assert released(logits, 6, tasks, first=False) == [[], [7, 6, 5, 4, 3, 2]]


def test_a_share_that_is_used_up_still_lets_one_pass():
    tasks = StageTasks(task_items=2, task_k=2, mode=StageMode.LOCAL)
    assert released([1, 0, 3, 2, 5, 4], 2, tasks) == [[1, 0], [3], [5]]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_modes_choose_what_the_whole_stage_would(seed, adaptive):
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 16, 60).tolist()
    k, task_items = int(rng.integers(1, 60)), int(rng.integers(1, 30))
    for exact in (False, True):
        options = {"task_items": task_items, "exact": exact, "adaptive": adaptive}
        (whole,) = released(logits, k, StageTasks(exact=exact, adaptive=adaptive))
        for first in (False, True):
            split = StageTasks(mode=StageMode.GLOBAL, **options)
            parts = released(logits, k, split, first=first)
            assert sorted(chain(*parts)) == sorted(whole)
        assert len(whole) == k if exact else len(whole) >= k
        local = StageTasks.shared(task_items, k, 60)
        shares = np.diff(local.shares(k, len(local.sizes(60))), prepend=0)
        parts = released(logits, k, replace(local, exact=exact, adaptive=adaptive))
        sizes = [min(n, max(1, s)) for n, s in zip(local.sizes(60), shares, strict=True)]
        assert all(len(p) == n if exact else len(p) >= n for p, n in zip(parts, sizes, strict=True))
    more = StageTasks.shared(task_items, k, 60, StageMode.PROPORTIONAL)
    parts = list(chain(*released(logits, k, replace(more, adaptive=adaptive))))
    (whole,) = released(logits, k, StageTasks())
    assert all(parts.count(logit) >= whole.count(logit) for logit in range(16))


def test_a_limit_counts_per_release():
    tasks = StageTasks(task_items=4, task_k=3, mode=StageMode.LOCAL)
    logits = [3, 1, 2, 0, 7, 6, 5, 4]
    assert released(logits, 6, tasks, limit=2) == [[3, 2], [7, 6]]


def test_tasks_over_stages_serve_the_same_list():
    rng, rankers = two_models(7)
    query = random_models.random_query(rng, TINY, rankers, items=60, keep=(20,), top_n=8)
    whole = run_query(query, rankers, TINY)
    for task_items in (2, 10, 32, 60, 64):
        tasks = StageTasks(task_items=task_items, mode=StageMode.GLOBAL)
        split = run_query(replace(query, tasks=(tasks,)), rankers, TINY)
        assert split.ids.tolist() == whole.ids.tolist()
        assert (split.items, split.overshoot) == (whole.items, whole.overshoot)
        assert split.overshoot == whole.items[1] - 20


def test_an_error_keeps_items_flags_and_overshoot():
    rng, rankers = two_models(1)
    query = random_models.random_query(rng, TINY, rankers, items=20)
    good = run_query(query, rankers, TINY)
    record = replace(query, candidates=np.append(query.candidates[:-1], 50).astype(np.uint32))
    bad = run_query(record, rankers, TINY)
    assert (good.status, bad.status, bad.count) == (Status.OK, Status.BAD_ID, 0)
    assert bad.overshoot == bad.items[1] - query.stages[0][1]


def test_a_large_query_is_quick():
    config = load_accelerator("edge")
    rng = np.random.default_rng(0)
    sizes = {"dim": 64, "user_tables": 4, "item_tables": 5, "top": (128, 64), "max_ids": 6}
    ranker = random_models.random_ranker(rng, config, max_rows=2000, **sizes)
    query = random_models.random_query(rng, config, [ranker], items=1682, feature_rows=1700)
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        run_query(query, [ranker], config)
        best = min(best, time.perf_counter() - start)
    assert best < 1.0  # about 0.1 on one core; a bound against a loop over items
