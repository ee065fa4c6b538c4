import time
from dataclasses import replace

import numpy as np
import pytest

from rpaccel.golden.bucket_filter import bucket_filter
from rpaccel.golden.lane import rank, run_query
from rpaccel.golden.sigmoid import ctr
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.spec.isa import Interaction, Status, StatusFlag
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
    for index, layer in enumerate(layers):
        last = logit and index == len(layers) - 1
        low, high = (-32768, 32767) if last else (0 if layer.relu else -127, 127)
        x = [
            plain_scale(
                sum(v * int(w) for v, w in zip(x, layer.weights[:, c], strict=True))
                + int(layer.bias[c]),
                int(layer.multiplier[c]),
                int(layer.shift[c]),
                low,
                high,
            )
            for c in range(layer.outputs)
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
